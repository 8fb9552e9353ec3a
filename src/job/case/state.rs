//! Support for the tables about state: jobs with checkpoints, and stops with savepoint.

use std::time::Duration;

use super::{
    super::{Input, StateSeen, StopSeen},
    Case,
};
use crate::{
    api::{
        job::UpgradeMode,
        state::{CheckpointRetention, RestorePoint, StateKind},
    },
    flink::{JobId, JobState},
};

/// A point of a job's state.
pub(in super::super) fn point(kind: StateKind, job_id: JobId, path: &str) -> RestorePoint {
    RestorePoint {
        kind,
        path: path.to_owned(),
        job_id: Some(job_id),
        time: None,
        savepoint_ref: None,
        gone: false,
    }
}

impl Case {
    /// One whose job runs in this mode, and has completed that checkpoint, which outlives it; or takes none.
    pub(in super::super) fn stateful(mode: UpgradeMode, checkpoint: Option<&str>) -> Self {
        let mut case = Self::running();
        case.edit(|spec| spec.upgrade_mode = mode);
        if checkpoint.is_some() {
            case.read(CheckpointRetention::Retained, checkpoint);
        }
        case.settle();
        case
    }

    /// The checkpoints are read now: that one is the newest.
    pub(in super::super) fn read(&mut self, retention: CheckpointRetention, checkpoint: Option<&str>) {
        let interval = (retention != CheckpointRetention::NoCheckpoints).then_some(Duration::from_secs(10));
        self.state = Input::Ready(StateSeen {
            retention,
            interval,
            checkpoint: checkpoint.map(|path| point(StateKind::Checkpoint, self.id(), path)),
            ..self.stateless()
        });
    }

    /// Flink lists the job as ended, and what it left was read after that.
    pub(in super::super) fn ends(&mut self, state: JobState) {
        self.list(state);
        if let Input::Ready(seen) = &mut self.state {
            seen.last = true;
        }
        self.settle();
    }

    /// Where the savepoint of the stop under way comes to be.
    pub(in super::super) fn location(&self) -> String {
        format!("{}/savepoint-1", self.status.stop().unwrap().directory)
    }

    /// The request to stop went out, and Flink told this of it when it was asked.
    pub(in super::super) fn hear(&mut self, seen: StopSeen) {
        let id = self.status.stop().unwrap().trigger_id;
        self.task.stop_unsent = None;
        self.task.stop_seen = Some((id, self.now, seen));
    }

    /// The stop that is due is decided on and succeeds; its savepoint becomes a resource. Where it is.
    pub(in super::super) fn stop(&mut self) -> String {
        self.persist("stop/intend");
        let location = self.location();
        self.hear(StopSeen::Taken(location.clone()));
        self.list(JobState::Finished);
        let keep = self.settle();
        assert_eq!(keep.rule, "keep/create");
        self.turn(&keep);
        self.settle();
        location
    }
}
