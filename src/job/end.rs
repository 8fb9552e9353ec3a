//! Ending a live job as `upgradeMode` says: with a savepoint, keeping its last checkpoint, or without its state.
//!
//! Whatever the mode needs is there before the job is touched; where it is not, the job runs on.

use super::{
    Input, JobSeen, NoteKind, Observed, Plan, Refusal, StateSeen, Wants,
    backoff::after,
    cancel, directory, follow,
    ledger::{self, READ_STATE},
    stop,
    verdict::Verdict,
};
use crate::api::{
    JobStatus, Phase, Reason, intent::CancelPurpose, job::UpgradeMode, state::CheckpointRetention,
    status::PendingChange,
};

/// Ends the job by `upgradeMode`, to restart or to suspend it.
pub(super) fn by_mode(o: &Observed<'_>, status: JobStatus, job: &JobSeen, purpose: CancelPurpose) -> Plan {
    match o.spec.upgrade_mode {
        UpgradeMode::Stateless => cancel(o, status, job, purpose, false),
        UpgradeMode::LastState => last_state(o, status, job, purpose),
        UpgradeMode::Savepoint => savepoint(o, status, job, purpose),
    }
}

/// Records that the job is to be cancelled.
pub(super) fn cancel(
    o: &Observed<'_>,
    mut status: JobStatus,
    job: &JobSeen,
    purpose: CancelPurpose,
    last_state: bool,
) -> Plan {
    cancel::intend(o, &mut status, job.id, purpose);
    if let Some(cancel) = status.intent_mut().cancel.as_mut() {
        cancel.last_state = last_state;
    }
    cancel::describe(o, &mut status, purpose, None);
    Plan::with("end/cancel", status).want(Wants {
        attention: true,
        ..Wants::default()
    })
}

/// Whether a savepoint can be taken of the job now.
pub(super) fn takes_savepoint(o: &Observed<'_>, job: &JobSeen) -> bool {
    job.takes_savepoints() && !o.savepoint_under_way && !directory::is_unexpanded(o) && directory::base(o).is_ok()
}

/// With a savepoint, as soon as one can be taken.
pub(super) fn savepoint(o: &Observed<'_>, status: JobStatus, job: &JobSeen, purpose: CancelPurpose) -> Plan {
    if !job.takes_savepoints() {
        let message = "not all tasks of the job run just now, and a savepoint can only be taken when they do; it is stopped \
                       then. To go on from its last checkpoint instead, set upgradeMode: LastState";
        return wait(o, status, job, purpose, message);
    }
    if o.savepoint_under_way {
        let message =
            "a Savepoint of the job is being taken, which a stop would break off; the job is stopped after it";
        return wait(o, status, job, purpose, message);
    }
    if directory::is_unexpanded(o) {
        let wants = Wants {
            program: true,
            ..Wants::default()
        };
        let plan = match &o.program {
            Input::Refused(refusal) => refuse(o, status, job, purpose, refusal),
            Input::Ready(_) | Input::Pending | Input::Retrying(_) => {
                let message = "looks up the variables of the directory that savepoints go to";
                wait(o, status, job, purpose, message)
            }
        };
        return plan.want(wants);
    }
    stop::intend(o, status, job, purpose, 1)
}

/// By a cancellation, if the last checkpoint outlives it.
fn last_state(o: &Observed<'_>, mut status: JobStatus, job: &JobSeen, purpose: CancelPurpose) -> Plan {
    let read = |plan: Plan| {
        plan.want(Wants {
            state: true,
            attention: true,
            ..Wants::default()
        })
    };
    let seen: &StateSeen = match &o.state {
        Input::Ready(seen) if seen.job_id == job.id && o.now < after(seen.read, READ_STATE) => seen,
        Input::Refused(refusal) => return refuse(o, status, job, purpose, &nothing(&refusal.message)),
        Input::Ready(_) | Input::Pending | Input::Retrying(_) => {
            return read(wait(o, status, job, purpose, "looks at the job's checkpoints"));
        }
    };
    match (seen.retention, &seen.checkpoint) {
        (CheckpointRetention::Retained, Some(_)) => {
            // The JobManager that told of it can be gone before it is asked again.
            ledger::take_over(&mut status, seen);
            cancel(o, status, job, purpose, true)
        }
        (CheckpointRetention::Retained, None) => {
            let message = "no checkpoint of the job is complete yet; it is stopped when one is";
            let plan = wait(o, status, job, purpose, message);
            // A minute is long for somebody who waits.
            let next = after(seen.read, READ_STATE / 6);
            if o.now >= next { read(plan) } else { plan.at(next) }
        }
        (CheckpointRetention::NoCheckpoints, _) => {
            refuse(o, status, job, purpose, &nothing("the job takes no checkpoints"))
        }
        (CheckpointRetention::DeletedOnEnd | CheckpointRetention::RetainedOnFailure, _) => {
            let why = "Flink deletes the job's checkpoints when it is cancelled. Set \
                       execution.checkpointing.externalized-checkpoint-retention: RETAIN_ON_CANCELLATION in flinkConfiguration";
            refuse(o, status, job, purpose, &nothing(why))
        }
    }
}

fn nothing(why: &str) -> Refusal {
    let why = why.trim_end_matches('.');
    Refusal::new(
        Reason::UpgradeModeUnsupported,
        format!(
            "upgradeMode: LastState goes on from the job's last checkpoint, and none would be left: {why}. Or set upgradeMode to \
             Savepoint or Stateless"
        ),
    )
}

/// It cannot be ended in this way now: the job runs on, and it is looked at again.
fn wait(o: &Observed<'_>, mut status: JobStatus, job: &JobSeen, purpose: CancelPurpose, message: &str) -> Plan {
    let (phase, reason) = match purpose {
        CancelPurpose::Upgrade => (Phase::Restarting, Reason::Upgrading),
        CancelPurpose::Suspend => (Phase::Suspending, Reason::Suspended),
        CancelPurpose::Cancel | CancelPurpose::Stray => (Phase::Cancelling, Reason::Cancelled),
        CancelPurpose::Delete => (Phase::Deleting, Reason::Cancelled),
    };
    if purpose == CancelPurpose::Upgrade {
        status.pending_change = Some(PendingChange::Restart);
    }
    let mut verdict = Verdict::reconciling(phase, reason, message);
    verdict.running = follow::state_of(job).running;
    verdict.write(o, &mut status);
    Plan::with("end/waits", status).want(Wants {
        attention: true,
        ..Wants::default()
    })
}

/// It cannot be ended in this way until a person acts: the job runs on.
pub(super) fn refuse(
    o: &Observed<'_>,
    mut status: JobStatus,
    job: &JobSeen,
    purpose: CancelPurpose,
    refusal: &Refusal,
) -> Plan {
    if purpose != CancelPurpose::Delete {
        return follow::refuse(o, status, job, refusal);
    }
    let message = format!(
        "the job keeps running, for the savepoint that deletionPolicy.type asks for cannot be taken: {}. To delete without \
         one, set deletionPolicy.type to Cancel or Orphan",
        refusal.message.trim_end_matches('.')
    );
    Verdict::reconciling(Phase::Deleting, Reason::DeletionBlocked, message.clone())
        .running(true)
        .write(o, &mut status);
    let told = status == *o.status;
    let plan = Plan::with("end/delete-blocked", status);
    if told {
        plan
    } else {
        plan.note(NoteKind::Warning, Reason::DeletionBlocked, message)
    }
}
