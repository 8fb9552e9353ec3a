//! The decision core of `Savepoint`: what to do with one, as a pure function.
//!
//! It keeps to the discipline of [`crate::job`]: [`decide`] takes everything that is known ([`Observed`]) and returns a
//! [`Plan`]: the status as it should be, persisted before anything else, and at most one effect.
//!
//! # How a savepoint is taken once
//! 1. **Intent**: the Flink job, a trigger id, and a directory that no other attempt has are written into the status
//!    ([`crate::api::savepoint_status::TriggerIntent`]).
//! 2. **Trigger** is sent with them. Flink answers an id that it knows with the operation that it stands for, so that a
//!    request whose answer was lost is sent again with the same id.
//! 3. The outcome is asked for by that id. A process that does not know it (any more) says so; then the job's history of
//!    checkpoints is looked through for a savepoint in the directory.
//! 4. Only when neither finds it, and the first request cannot start any more, another attempt is made, with another id and
//!    another directory.
//!
//! # How files are deleted only when nobody needs them
//! The phase `Disposing` is written first, from when on no job may choose the savepoint. A list of all jobs that is begun
//! after that proves that none has chosen it before. Then it is written that Flink is being asked, and then it is asked.

#[cfg(test)]
mod anything;
mod attempt;
#[cfg(test)]
mod case;
mod decide;
mod deletion;
mod directory;
mod dispose;
mod import;
mod observed;
mod plan;
#[cfg(test)]
mod props;
mod ready;
mod resolve;
mod retention;
mod settled;
mod trigger;
mod usage;
mod verdict;

pub use decide::decide;
pub use observed::{
    Cluster, DisposalOutcome, History, Job, JobView, Made, Meta, Metadata, Observed, Polled, Proof, SessionSeen,
    Sibling, Task, TriggerOutcome,
};
pub use plan::{DisposalRequest, Effect, Plan, TriggerRequest, Wants};
pub use usage::{Touch, Usage, touch, usage};
