//! `StateSafe`: what a running job would lose if it died now.
//!
//! True while there is a point to restore it from that is not older than three checkpoint intervals, or as young as the
//! schedule of its savepoints makes it. A job that wants no
//! state (`upgradeMode: Stateless`, no checkpoints, no savepoint) has no such condition, nor has one that does not run.

use std::time::Duration;

use jiff::{Timestamp, Unit};

use super::{Note, NoteKind, Observed, Plan, backoff::after, decide, ledger::READ_STATE, plan::Next, scheduled};
use crate::api::{
    JobStatus, Phase, Reason,
    condition::{self, ConditionStatus, ConditionType},
    job::UpgradeMode,
    state::{CheckpointRetention, RestorePoint},
    status::Run,
};

/// What is read once a minute may be that much older, and a little more.
const SLACK: Duration = READ_STATE.saturating_add(Duration::from_secs(30));

/// A scheduled savepoint may take this long.
const LATE: Duration = Duration::from_secs(600);

/// How safe a running job's state is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Safety {
    /// It wants none.
    Stateless,
    /// Nothing was read yet: what was told before stands.
    NotRead,
    /// A young point is there, and is young until then.
    Safe(Timestamp),
    /// The newest point is too old.
    Old,
    /// The newest point that was read is too old, and newer ones cannot be read now.
    Unreachable,
    /// There is no point, for that reason.
    Nothing(&'static str),
}

impl Safety {
    const fn status(self) -> ConditionStatus {
        match self {
            Self::Safe(_) => ConditionStatus::True,
            Self::Unreachable => ConditionStatus::Unknown,
            Self::Stateless | Self::NotRead | Self::Old | Self::Nothing(_) => ConditionStatus::False,
        }
    }

    const fn reason(self) -> Reason {
        match self {
            Self::Safe(_) => Reason::Completed,
            Self::Unreachable => Reason::ClusterUnreachable,
            Self::Stateless | Self::NotRead | Self::Old => Reason::StateOutdated,
            Self::Nothing(_) => Reason::StateNotFound,
        }
    }
}

/// When the newest point of a running job's state was complete; None where there is none. A job that was just restored has
/// the state of its start.
#[must_use]
pub fn newest(status: &JobStatus) -> Option<Timestamp> {
    let run = status.live_run()?;
    point(status).and_then(|point| time(point, run))
}

fn point(status: &JobStatus) -> Option<&RestorePoint> {
    status.latest_state().filter(|latest| !latest.gone)
}

fn time(point: &RestorePoint, run: &Run) -> Option<Timestamp> {
    point.time.or(run.start_time)
}

fn safety(o: &Observed<'_>, status: &JobStatus, run: &Run) -> Safety {
    const ON_REQUEST: &str = "the job takes no checkpoints; set execution.checkpointing.interval in flinkConfiguration";
    const DELETED: &str = "Flink deletes the job's checkpoints when it ends; set \
         execution.checkpointing.externalized-checkpoint-retention: RETAIN_ON_CANCELLATION in flinkConfiguration";
    let state = status.state.as_ref();
    let known = state.and_then(|state| state.checkpointing.as_ref());
    let known = known.filter(|known| known.job_id == run.job_id);
    let seen = o.state_of(run.job_id);
    let Some(retention) = known
        .map(|known| known.retention)
        .or_else(|| seen.map(|seen| seen.retention))
    else {
        return Safety::NotRead;
    };
    let Some(point) = point(status) else {
        return match retention {
            CheckpointRetention::NoCheckpoints if o.spec.upgrade_mode == UpgradeMode::Stateless => Safety::Stateless,
            CheckpointRetention::NoCheckpoints => Safety::Nothing(ON_REQUEST),
            CheckpointRetention::DeletedOnEnd => Safety::Nothing(DELETED),
            CheckpointRetention::RetainedOnFailure | CheckpointRetention::Retained => {
                Safety::Nothing("no checkpoint of the job is complete yet")
            }
        };
    };
    let Some(time) = time(point, run) else {
        return Safety::Old;
    };
    let interval = known.and_then(|known| known.interval_seconds);
    let interval = interval.and_then(|seconds| u64::try_from(seconds).ok());
    let checkpoint = interval.map(|seconds| Duration::from_secs(seconds.saturating_mul(3)).saturating_add(SLACK));
    let savepoint = scheduled::own(o).map(|schedule| after(schedule.due_time(schedule.next(time)), LATE));
    let Some(until) = checkpoint.map(|pause| after(time, pause)).max(savepoint) else {
        return Safety::Old;
    };
    if o.now < until {
        Safety::Safe(until)
    } else if o.not_polled() {
        Safety::NotRead
    } else if o.up().is_none() {
        Safety::Unreachable
    } else {
        Safety::Old
    }
}

/// Tells how safe the state is, in a plan that is otherwise complete. It writes no status of its own accord unless it
/// changed, and none that does not say how the spec stands.
pub(super) fn tell(o: &Observed<'_>, mut plan: Plan) -> Plan {
    let kind = ConditionType::StateSafe;
    if decide::is_foreign(o) || plan.status.observed_generation != o.meta.generation {
        return plan;
    }
    let safety = plan.status.live_run().map(|run| safety(o, &plan.status, run));
    let safety = match safety {
        None | Some(Safety::Stateless) => {
            condition::remove(&mut plan.status.conditions, kind);
            return plan;
        }
        Some(Safety::NotRead) => return plan,
        Some(safety) => safety,
    };
    if let Safety::Safe(until) = safety {
        plan.next = match plan.next {
            Next::At(next) if next <= until => plan.next,
            Next::At(_) | Next::OnChange => Next::At(until),
        };
    }
    let before = condition::find(&plan.status.conditions, kind);
    let was = before.map(|before| before.status);
    let same =
        before.is_some_and(|before| before.status == safety.status() && before.reason == safety.reason().as_str());
    if plan.status == *o.status && (same || is_contradictory(&plan.status)) {
        return plan;
    }
    let message = message(&plan.status, safety);
    let generation = o.meta.generation;
    let conditions = &mut plan.status.conditions;
    condition::set(
        conditions,
        kind,
        safety.status(),
        safety.reason(),
        &message,
        generation,
        o.now,
    );
    if was == Some(ConditionStatus::True) && safety.status() == ConditionStatus::False {
        plan.notes.push(Note {
            kind: NoteKind::Warning,
            reason: safety.reason(),
            message,
        });
    }
    plan
}

/// Whether a status that somebody edited says Ready and does not run: the next verdict sets it right, and this adds nothing.
fn is_contradictory(status: &JobStatus) -> bool {
    let ready = condition::find(&status.conditions, ConditionType::Ready);
    ready.is_some_and(|ready| ready.status == ConditionStatus::True) && status.phase != Some(Phase::Running)
}

fn message(status: &JobStatus, safety: Safety) -> String {
    let newest = newest(status).and_then(|time| time.round(Unit::Second).ok());
    let newest = newest.map_or_else(|| "an unknown time".to_owned(), |time| time.to_string());
    match safety {
        Safety::Safe(_) => format!("the job can be restored from its state of {newest}"),
        Safety::Nothing(why) => format!("the job could not be restored from any state: {why}"),
        Safety::Unreachable => format!(
            "the newest state on record is of {newest}; whether there is a newer one cannot be asked, for the cluster does not \
             answer"
        ),
        Safety::Stateless | Safety::NotRead | Safety::Old => format!(
            "the newest state that the job can be restored from is of {newest}, and what it did since then would be done again; \
             see in Flink's web UI why its checkpoints fail, or take a Savepoint"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Input, StateSeen,
        case::{Case, Reach},
    };
    use super::*;
    use crate::api::state::StateKind;

    /// A job that takes a checkpoint every ten seconds and keeps state.
    fn running(retention: CheckpointRetention) -> Case {
        let mut case = Case::running();
        case.edit(|spec| spec.upgrade_mode = UpgradeMode::LastState);
        read(&mut case, retention, None);
        case.settle();
        case
    }

    /// The checkpoints are read: the newest was complete that many seconds ago.
    fn read(case: &mut Case, retention: CheckpointRetention, age: Option<i64>) {
        let interval = (retention != CheckpointRetention::NoCheckpoints).then_some(Duration::from_secs(10));
        case.state = Input::Ready(StateSeen {
            retention,
            interval,
            checkpoint: age.map(|age| RestorePoint {
                kind: StateKind::Checkpoint,
                path: format!("s3://b/chk-{}", case.now.as_second() - age),
                job_id: Some(case.id()),
                time: Some(case.now - jiff::SignedDuration::from_secs(age)),
                savepoint_ref: None,
                gone: false,
            }),
            ..case.stateless()
        });
    }

    fn safe(case: &Case) -> String {
        let condition = condition::find(&case.status.conditions, ConditionType::StateSafe);
        condition.map_or_else(|| "-".to_owned(), |c| format!("{:?}/{}", c.status, c.reason))
    }

    #[test]
    fn a_job_without_a_point_to_restore_from_is_not_safe() {
        for (retention, why) in [
            (CheckpointRetention::NoCheckpoints, "execution.checkpointing.interval"),
            (CheckpointRetention::DeletedOnEnd, "RETAIN_ON_CANCELLATION"),
            (CheckpointRetention::RetainedOnFailure, "complete yet"),
            (CheckpointRetention::Retained, "complete yet"),
        ] {
            let case = running(retention);
            assert_eq!(safe(&case), "False/StateNotFound", "{retention:?}");
            let condition = condition::find(&case.status.conditions, ConditionType::StateSafe).unwrap();
            assert!(condition.message.contains(why), "{}", condition.message);
        }
    }

    #[test]
    fn a_job_that_wants_no_state_has_no_such_condition() {
        let mut case = Case::running();
        read(&mut case, CheckpointRetention::NoCheckpoints, None);
        case.settle();
        assert_eq!(safe(&case), "-");
        assert_eq!(newest(&case.status), None);
    }

    #[test]
    fn a_point_is_young_for_three_intervals_and_the_time_between_two_readings() {
        let mut case = running(CheckpointRetention::Retained);
        read(&mut case, CheckpointRetention::Retained, Some(5));
        case.settle();
        assert_eq!(safe(&case), "True/Completed");
        assert_eq!(
            newest(&case.status),
            Some(case.now - jiff::SignedDuration::from_secs(5))
        );
        // 30 s for three intervals, 60 s between two readings, 30 s besides.
        case.wait(114);
        assert_eq!(
            case.settle().next,
            Next::At(case.now + jiff::SignedDuration::from_secs(1))
        );
        assert_eq!(safe(&case), "True/Completed");
        case.wait(1);
        let plan = case.decide();
        case.settle();
        assert_eq!(safe(&case), "False/StateOutdated");
        let warned: Vec<_> = plan.notes.iter().map(|note| (note.kind, note.reason)).collect();
        assert_eq!(warned, [(NoteKind::Warning, Reason::StateOutdated)]);
        // A new one is complete.
        read(&mut case, CheckpointRetention::Retained, Some(1));
        case.settle();
        assert_eq!(safe(&case), "True/Completed");
    }

    #[test]
    fn what_cannot_be_read_is_not_known() {
        let mut case = running(CheckpointRetention::Retained);
        read(&mut case, CheckpointRetention::Retained, Some(5));
        case.settle();
        case.reach = Reach::Down(Reason::ClusterUnreachable);
        case.settle();
        assert_eq!(
            safe(&case),
            "True/Completed",
            "it is young whether the cluster answers or not"
        );
        case.wait(120);
        case.settle();
        assert_eq!(safe(&case), "Unknown/ClusterUnreachable");
    }

    #[test]
    fn a_restart_of_the_operator_says_nothing_new() {
        let mut case = running(CheckpointRetention::Retained);
        read(&mut case, CheckpointRetention::Retained, Some(5));
        case.settle();
        case.reach = Reach::NotPolled;
        case.state = Input::Pending;
        case.wait(600);
        let plan = case.decide();
        assert_eq!(plan.status, case.status, "{plan:#?}");
    }

    #[test]
    fn a_job_that_has_ended_is_at_no_risk() {
        let mut case = running(CheckpointRetention::Retained);
        read(&mut case, CheckpointRetention::Retained, Some(5));
        case.settle();
        assert_eq!(safe(&case), "True/Completed");
        case.list(crate::flink::JobState::Finished);
        case.settle();
        assert_eq!(safe(&case), "-");
    }
}
