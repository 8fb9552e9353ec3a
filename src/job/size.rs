//! How large a status may become: paths of savepoints can be long, and a status that is too large could not be written.

use crate::api::{JobStatus, status::Run};

/// The longest status, in bytes of JSON.
pub(super) const MAX_STATUS: usize = 32 * 1024;

/// Leaves out the paths of the oldest runs until the status fits. What is restored from stands elsewhere in it.
pub(super) fn trim(status: &mut JobStatus) {
    let length = |status: &JobStatus| serde_json::to_vec(status).map_or(usize::MAX, |json| json.len());
    let long = |run: &Run| run.restored_from.is_some() || run.last_state.is_some();
    while let Some(oldest) = status.runs.iter().rposition(long) {
        if length(status) <= MAX_STATUS {
            return;
        }
        if let Some(run) = status.runs.get_mut(oldest) {
            run.restored_from = None;
            run.last_state = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::{
            Reason,
            condition::{self, ConditionStatus, ConditionType},
            intent::{CancelPurpose, KeepIntent, StopIntent},
            job::SavepointFormat,
            state::{MAX_PATH, RestorePoint, RestoredFrom, StateKind},
            status::RunOutcome,
        },
        flink::TriggerId,
        job::{case::Case, change},
    };

    fn path(n: usize) -> String {
        format!("s3://{}", n.to_string().repeat(MAX_PATH))
            .chars()
            .take(MAX_PATH)
            .collect()
    }

    const CONDITIONS: [ConditionType; 7] = [
        ConditionType::Accepted,
        ConditionType::ClusterReady,
        ConditionType::ConfigEffective,
        ConditionType::Ready,
        ConditionType::Running,
        ConditionType::Stalled,
        ConditionType::StateSafe,
    ];

    /// Everything as long as it may be: a job in the middle of a stop, after many runs.
    fn longest() -> Case {
        let mut case = Case::running();
        case.spec.job.args = vec!["x".repeat(1000); 14];
        case.status.accepted_spec = Some(change::accept(&case.spec));
        let id = case.id();
        for kind in CONDITIONS {
            let message = "m".repeat(2000);
            condition::set(
                &mut case.status.conditions,
                kind,
                ConditionStatus::True,
                Reason::ClusterUnreachable,
                &condition::bounded(&message),
                1,
                case.now,
            );
        }
        let run = case.status.runs[0].clone();
        case.status.runs = (0..10)
            .map(|n| Run {
                outcome: (n > 0).then_some(RunOutcome::Replaced),
                restored_from: Some(path(n)),
                last_state: Some(path(n + 1)),
                ..run.clone()
            })
            .collect();
        let state = case.status.state_mut();
        state.latest = Some(RestorePoint {
            kind: StateKind::Savepoint,
            path: path(0),
            job_id: Some(id),
            time: Some(case.now),
            savepoint_ref: None,
            gone: false,
        });
        state.restored_from = Some(RestoredFrom {
            kind: StateKind::Savepoint,
            path: path(1),
            savepoint_ref: None,
            claimed: true,
            confirmed: Some(true),
        });
        state.claimed = vec!["d".repeat(32); 10];
        let intent = case.status.intent_mut();
        intent.stop = Some(StopIntent {
            job_id: id,
            purpose: CancelPurpose::Upgrade,
            trigger_id: TriggerId([1; 16]),
            directory: path(2),
            format: SavepointFormat::Native,
            tries: 1,
            decided: case.now,
            due: Some(case.now),
            location: Some(path(0)),
        });
        intent.keep = Some(KeepIntent {
            name: "k".repeat(253),
            path: path(0),
            job_id: id,
            purpose: CancelPurpose::Upgrade,
            format: SavepointFormat::Native,
            time: case.now,
        });
        case
    }

    #[test]
    fn the_longest_paths_fit_and_the_oldest_runs_give_way_first() {
        let mut status = longest().status;
        let length = |status: &JobStatus| serde_json::to_vec(status).unwrap().len();
        assert!(
            length(&status) > MAX_STATUS,
            "{}: nothing is to be done",
            length(&status)
        );
        let before = status.clone();
        trim(&mut status);
        assert!(length(&status) <= MAX_STATUS, "{}", length(&status));
        assert_eq!((&status.state, &status.intent), (&before.state, &before.intent));
        let kept = status.runs.iter().take_while(|run| run.last_state.is_some()).count();
        assert!(status.runs[kept..].iter().all(|run| run.last_state.is_none()));
        assert_eq!(status.runs[..kept], before.runs[..kept]);
        // One more would have fitted only by a little.
        let next = &before.runs[kept];
        status.runs[kept].clone_from(next);
        assert!(length(&status) > MAX_STATUS, "{kept}: more is left out than needed");
    }

    #[test]
    fn every_plan_is_trimmed() {
        let mut case = longest();
        case.confirmed = true;
        let plan = case.decide();
        assert_ne!(plan.status, case.status, "{}", plan.rule);
        assert!(
            serde_json::to_vec(&plan.status).unwrap().len() <= MAX_STATUS,
            "{}",
            plan.rule
        );
    }
}
