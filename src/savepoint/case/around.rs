//! What stands around a Savepoint, and the words for what is decided.

use jiff::{SignedDuration, Timestamp};

use super::{Case, INSTALLATION};
use crate::{
    api::{
        ConditionStatus, ConditionType, JobStatus, Phase, Reason, SavepointPhase, SavepointStatus, condition,
        status::Run,
    },
    driving,
    flink::{
        Cause, FailureKind, JobId, JobState, OperationFailure, SavepointEntry, SavepointState, TriggerId, UidHash,
    },
    job::{JobSeen, Refusal},
    plan::Next,
    savepoint::{Effect, Plan, Sibling},
};

/// Another Savepoint of the job.
#[derive(Debug, Clone)]
pub(in crate::savepoint) struct Other {
    pub(in crate::savepoint) name: &'static str,
    pub(in crate::savepoint) created: Timestamp,
    pub(in crate::savepoint) deleting: bool,
    pub(in crate::savepoint) is_taken: bool,
    pub(in crate::savepoint) status: SavepointStatus,
}

/// The time at which every case begins.
pub(in crate::savepoint) fn start() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// The Flink job that runs.
pub(in crate::savepoint) fn job_id() -> JobId {
    JobId::new(INSTALLATION, UidHash::of("the job"), 3)
}

pub(in crate::savepoint) fn refusal(reason: Reason) -> Refusal {
    Refusal::new(reason, "told by the test; do this")
}

pub(in crate::savepoint) fn seen(id: JobId, state: JobState) -> JobSeen {
    JobSeen {
        id,
        state,
        start_time: None,
        end_time: None,
        tasks_run: state == JobState::Running,
    }
}

impl Other {
    pub(super) fn seen(&self) -> Sibling<'_> {
        Sibling {
            name: self.name,
            uid: self.name,
            created: self.created,
            deleting: self.deleting,
            is_taken: self.is_taken,
            status: &self.status,
        }
    }
}

/// The status of a job that runs.
pub(super) fn running_job() -> JobStatus {
    let mut status = JobStatus {
        observed_generation: 1,
        phase: Some(Phase::Running),
        job_id: Some(job_id()),
        runs: vec![Run::new(1, job_id())],
        ..JobStatus::default()
    };
    ready_condition(&mut status, Reason::Running);
    status
}

/// What a job says of itself.
pub(in crate::savepoint) fn ready_condition(status: &mut JobStatus, reason: Reason) {
    condition::set(
        &mut status.conditions,
        ConditionType::Ready,
        ConditionStatus::False,
        reason,
        "as the job says",
        1,
        start(),
    );
}

/// A complete savepoint in the history.
pub(in crate::savepoint) fn entry(path: &str) -> SavepointEntry {
    SavepointEntry {
        id: 7,
        state: SavepointState::Completed,
        stops_job: false,
        path: Some(path.to_owned()),
        time: Some(start()),
        completed: Some(start() + SignedDuration::from_secs(2)),
        size: Some(4711),
    }
}

/// A failure that Flink tells.
pub(in crate::savepoint) fn failure(kind: FailureKind, class: &str) -> OperationFailure {
    let cause = |class: &str, message: &str| Cause {
        class: class.to_owned(),
        message: message.to_owned(),
    };
    let outer = cause("java.util.concurrent.CompletionException", "around it");
    OperationFailure {
        kind,
        causes: vec![outer, cause(class, "the root of it")],
    }
}

pub(in crate::savepoint) fn reads(status: &SavepointStatus) -> String {
    driving::told(status.phase.map(SavepointPhase::as_str), &status.conditions)
}

/// The effect, in one word.
pub(in crate::savepoint) fn effect(plan: &Plan) -> &'static str {
    match &plan.effect {
        None => "-",
        Some(Effect::AddFinalizer) => "AddFinalizer",
        Some(Effect::RemoveFinalizer) => "RemoveFinalizer",
        Some(Effect::Trigger(_)) => "Trigger",
        Some(Effect::Dispose(_)) => "Dispose",
        Some(Effect::Delete) => "Delete",
    }
}

/// In how many seconds the plan is to be made again.
pub(in crate::savepoint) fn seconds(case: &Case, plan: &Plan) -> Option<i64> {
    match plan.next {
        Next::OnChange => None,
        Next::At(time) => Some(time.duration_since(case.now).as_secs()),
    }
}

/// Another trigger than that of the attempt.
pub(in crate::savepoint) fn other_trigger() -> TriggerId {
    TriggerId([9; 16])
}
