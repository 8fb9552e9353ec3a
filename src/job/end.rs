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
    job.takes_savepoints()
        && o.savepoint_under_way.is_none()
        && !directory::is_unexpanded(o)
        && directory::base(o).is_ok()
}

/// With a savepoint, as soon as one can be taken.
pub(super) fn savepoint(o: &Observed<'_>, status: JobStatus, job: &JobSeen, purpose: CancelPurpose) -> Plan {
    if !job.takes_savepoints() {
        let message = "not all tasks of the job run just now, and a savepoint can only be taken when they do; it is stopped \
                       then. To go on from its last checkpoint instead, set upgradeMode: LastState";
        return wait(o, status, job, purpose, message);
    }
    if o.savepoint_under_way.is_some() {
        return wait(o, status, job, purpose, stop::AFTER_SAVEPOINT);
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
    // What becomes of a job's checkpoints is in its JobGraph: that alone does not age.
    let holds = |seen: &StateSeen| {
        let is_new = o.now < after(seen.read, READ_STATE);
        seen.job_id == job.id && (is_new || seen.retention != CheckpointRetention::Retained)
    };
    let seen: &StateSeen = match &o.state {
        Input::Ready(seen) if holds(seen) => seen,
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

#[cfg(test)]
mod tests {
    use super::super::{
        Next, UnderWay,
        case::{Case, effect, refusal, told},
    };
    use super::*;
    use crate::{api::job::DesiredState, flink::JobState};

    const CHECKPOINT: &str = "s3://b/checkpoints/chk-7";
    const SUSPENDING: &str = "Suspending/Suspended Ready=False Reconciling Running=True";

    /// A job that runs in this mode and is to be suspended.
    fn suspending(mode: UpgradeMode) -> Case {
        let mut case = Case::running();
        case.edit(|spec| {
            spec.upgrade_mode = mode;
            spec.state = DesiredState::Suspended;
        });
        case
    }

    fn with(mut case: Case, change: impl FnOnce(&mut Case)) -> Case {
        change(&mut case);
        case
    }

    /// The checkpoints were read that many seconds ago.
    fn read(retention: CheckpointRetention, checkpoint: Option<&str>, ago: i64) -> Case {
        with(suspending(UpgradeMode::LastState), |case| {
            case.read(retention, checkpoint);
            case.wait(ago);
        })
    }

    /// By what the job is ended, or why it runs on: the rule of the first plan, and what people read.
    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn a_job_is_ended_in_its_mode_when_what_that_needs_is_there() {
        use CheckpointRetention::{DeletedOnEnd, NoCheckpoints, Retained, RetainedOnFailure};
        let unsupported = "follow/refused Running/UpgradeModeUnsupported Ready=False Stalled Running=True";
        let waits = "end/waits Suspending/Suspended Ready=False Reconciling Running=True";
        let cancels = "end/cancel Suspending/Suspended Ready=False Reconciling Running=True";
        let stops = "stop/intend Suspending/Suspended Ready=False Reconciling Running=True";
        let rows: Vec<(&str, Case, &str)> = vec![
            ("Stateless", suspending(UpgradeMode::Stateless), cancels),
            (
                "Stateless, the job restarts",
                with(suspending(UpgradeMode::Stateless), |case| {
                    case.list(JobState::Restarting);
                }),
                cancels,
            ),
            ("Savepoint", suspending(UpgradeMode::Savepoint), stops),
            (
                "Savepoint, the job restarts",
                with(suspending(UpgradeMode::Savepoint), |case| {
                    case.list(JobState::Restarting);
                }),
                "end/waits Suspending/Suspended Ready=False Reconciling Running=False",
            ),
            (
                "Savepoint, another one is being taken",
                with(suspending(UpgradeMode::Savepoint), |case| {
                    case.savepoint_under_way = Some(UnderWay::Asked);
                }),
                waits,
            ),
            (
                "Savepoint, without a directory",
                with(suspending(UpgradeMode::Savepoint), |case| {
                    case.savepoint_directory = None;
                }),
                "follow/refused Running/SavepointFailed Ready=False Stalled Running=True",
            ),
            ("LastState", read(Retained, Some(CHECKPOINT), 0), cancels),
            ("LastState, read long ago", read(Retained, Some(CHECKPOINT), 60), waits),
            (
                "LastState, read just in time",
                read(Retained, Some(CHECKPOINT), 59),
                cancels,
            ),
            (
                "LastState, not read yet",
                with(suspending(UpgradeMode::LastState), |case| case.state = Input::Pending),
                waits,
            ),
            (
                "LastState, cannot be read now",
                with(suspending(UpgradeMode::LastState), |case| {
                    case.state = Input::Retrying(refusal(Reason::ClusterUnreachable));
                }),
                waits,
            ),
            (
                "LastState, Flink does not know the job",
                with(suspending(UpgradeMode::LastState), |case| {
                    case.state = Input::Refused(refusal(Reason::StateUnknown));
                }),
                unsupported,
            ),
            (
                "LastState, read of the job before",
                with(read(Retained, Some(CHECKPOINT), 0), |case| {
                    if let Input::Ready(seen) = &mut case.state {
                        seen.job_id = crate::flink::JobId([7; 16]);
                    }
                }),
                waits,
            ),
            ("LastState, none is complete", read(Retained, None, 0), waits),
            (
                "LastState, the job takes none",
                read(NoCheckpoints, None, 0),
                unsupported,
            ),
            (
                "LastState, they are deleted when it ends",
                read(DeletedOnEnd, Some(CHECKPOINT), 0),
                unsupported,
            ),
            (
                "LastState, they are deleted when it is cancelled",
                read(RetainedOnFailure, Some(CHECKPOINT), 0),
                unsupported,
            ),
            (
                "LastState, they are deleted when it is cancelled, read long ago",
                read(RetainedOnFailure, Some(CHECKPOINT), 600),
                unsupported,
            ),
        ];
        for (row, case, expected) in rows {
            let plan = case.decide();
            assert_eq!(format!("{} {}", plan.rule, told(&plan.status)), expected, "{row}");
            assert_eq!(effect(&plan), "-", "{row}");
        }
    }

    #[test]
    fn the_last_checkpoint_is_on_record_before_the_job_is_cancelled() {
        let mut case = read(CheckpointRetention::Retained, Some(CHECKPOINT), 0);
        assert_eq!(case.status.latest_state(), None);
        case.persist("end/cancel");
        assert_eq!(told(&case.status), SUSPENDING);
        let latest = case.status.latest_state().map(|latest| latest.path.as_str());
        assert_eq!(latest, Some(CHECKPOINT));
        assert!(case.status.cancellation().unwrap().last_state);
        let mut case = suspending(UpgradeMode::Stateless);
        case.persist("end/cancel");
        assert!(!case.status.cancellation().unwrap().last_state);
    }

    #[test]
    fn the_checkpoints_are_read_again_until_one_is_complete_but_not_all_the_time() {
        let mut case = read(CheckpointRetention::Retained, None, 0);
        let plan = case.persist("end/waits");
        let later = case.now + jiff::SignedDuration::from_secs(10);
        assert_eq!((plan.wants.state, plan.next), (false, Next::At(later)));
        case.wait(10);
        assert!(case.still("end/waits").wants.state);
        for state in [Input::Pending, Input::Retrying(refusal(Reason::ClusterUnreachable))] {
            let case = with(suspending(UpgradeMode::LastState), |case| case.state = state);
            assert!(case.decide().wants.state);
        }
    }

    #[test]
    fn what_the_job_is_ended_for_is_told() {
        let mut case = Case::running();
        case.edit(|spec| {
            spec.upgrade_mode = UpgradeMode::Savepoint;
            spec.job.args.clear();
        });
        case.savepoint_under_way = Some(UnderWay::Asked);
        case.persist("end/waits");
        assert_eq!(
            told(&case.status),
            "Restarting/Upgrading Ready=False Reconciling Running=True"
        );
        assert_eq!(case.status.pending_change, Some(PendingChange::Restart));
        case.savepoint_under_way = None;
        case.persist("stop/intend");
        assert_eq!(case.status.stop().unwrap().purpose, CancelPurpose::Upgrade);
        let mut case = suspending(UpgradeMode::Savepoint);
        case.persist("stop/intend");
        assert_eq!(case.status.stop().unwrap().purpose, CancelPurpose::Suspend);
        // `Cancelled` means without its state, whatever the mode is.
        let mut case = suspending(UpgradeMode::Savepoint);
        case.spec.state = DesiredState::Cancelled;
        case.persist("end/cancel");
        assert_eq!(
            told(&case.status),
            "Cancelling/Cancelled Ready=False Reconciling Running=True"
        );
        assert_eq!(case.status.cancellation().unwrap().purpose, CancelPurpose::Cancel);
    }

    #[test]
    fn a_deletion_that_cannot_take_its_savepoint_warns_once() {
        let mut case = Case::running();
        case.savepoint_directory = None;
        case.edit(|spec| {
            spec.deletion_policy = Some(crate::api::job::DeletionPolicy {
                kind: Some(crate::api::job::DeletionType::Savepoint),
                timeout: None,
            });
        });
        case.deleting = true;
        let plan = case.persist("end/delete-blocked");
        let warned = |plan: &Plan| plan.notes.iter().any(|note| note.reason == Reason::DeletionBlocked);
        assert!(warned(&plan));
        let plan = case.still("end/delete-blocked");
        assert!(plan.notes.is_empty(), "{:?}", plan.notes);
    }
}
