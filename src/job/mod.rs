//! The decision core: what to do with a job resource, as a pure function.
//!
//! [`decide`] takes everything that is known ([`Observed`]) and returns a [`Plan`]: the status as it should be, and at most
//! one effect. It does no IO, reads no clock and draws no random numbers, so that a model test can run it against every
//! order of crashes, lost replies and edits.
//!
//! The status is the write-ahead record. A plan's status is always persisted first, guarded by the resourceVersion that
//! was decided on; its effect runs only when there is nothing left to persist.

#[cfg(test)]
mod anything;
mod backoff;
mod cancel;
#[cfg(test)]
mod case;
mod change;
mod decide;
mod delete;
mod directory;
mod end;
mod follow;
mod idle;
mod keep;
mod ledger;
mod observed;
mod plan;
mod program;
#[cfg(test)]
mod props;
mod ready;
mod redact;
mod restart;
mod restore;
mod safe;
mod scheduled;
mod seen;
mod size;
mod standing;
mod start;
mod stop;
mod stopped;
mod stored;
mod submit;
pub mod variables;
mod verdict;

pub(crate) use backoff::after;
pub use backoff::{CANCEL_AGAIN, SETTLE, SUBMIT_GRACE, SUBMIT_WITHIN, stop_again, submit_again};
pub use decide::decide;
pub use ledger::READ_STATE;
pub use observed::{
    Cluster, ClusterView, Input, JobSeen, Meta, Observed, Permit, RetryWindow, Session, Slots, SubmitOutcome, Task,
    UnderWay,
};
pub use plan::{Effect, Next, Note, NoteKind, Plan, Stop, Submission, Wants};
pub use program::{Program, Refusal};
pub use redact::Redactor;
pub use safe::newest as newest_state;
pub use scheduled::ScheduledSavepoint;
pub use seen::{SavepointKnown, SavepointStanding, StateSeen, StopAnswer, StopSeen};
pub use stopped::origin;
pub use stored::{folder as checkpoints_folder, newest_first as newest_checkpoints_first};
pub use verdict::registry_id;
