//! The resource as the API server has it, and what its user does.

use std::rc::Rc;

use flink_job_operator::{
    api::{
        FlinkSessionJobSpec, JobStatus,
        job::{DeletionPolicy, DeletionType, DesiredState, OnUnknownResult, Restore, RestoreFrom, UpgradeMode},
    },
    flink::{JobId, TriggerId},
    job::Program,
};

/// The parts of a spec that the model varies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wish {
    /// Which program.
    pub variant: u8,
    pub nonce: u8,
    pub state: DesiredState,
    pub deletion: DeletionType,
    pub resubmit: bool,
    pub mode: UpgradeMode,
    /// `restore.nonce`, which asks for an empty start.
    pub restore: u8,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            variant: 0,
            nonce: 0,
            state: DesiredState::Running,
            deletion: DeletionType::Cancel,
            resubmit: false,
            mode: UpgradeMode::Stateless,
            restore: 0,
        }
    }
}

impl Wish {
    pub fn spec(self) -> FlinkSessionJobSpec {
        let mut spec: FlinkSessionJobSpec = serde_json::from_value(serde_json::json!({
            "sessionRef": { "name": "s" },
            "job": { "entryClass": "A", "args": [self.variant.to_string()] },
        }))
        .unwrap();
        spec.state = self.state;
        spec.restart_nonce = Some(i64::from(self.nonce));
        spec.upgrade_mode = self.mode;
        spec.restore = Some(Restore {
            from: Some(RestoreFrom::None),
            nonce: Some(i64::from(self.restore)),
            ..Restore::default()
        });
        spec.on_unknown_result = self.resubmit.then_some(OnUnknownResult::Resubmit);
        spec.deletion_policy = Some(DeletionPolicy {
            kind: Some(self.deletion),
            timeout: None,
        });
        spec
    }

    pub fn program(self) -> Program {
        Program {
            entry_class: None,
            args: vec![self.variant.to_string()],
            parallelism: None,
            configuration: std::collections::BTreeMap::new(),
        }
    }
}

/// One version of the resource.
#[derive(Debug, Clone)]
pub struct Object {
    pub version: u32,
    pub generation: i64,
    pub wish: Wish,
    pub spec: Rc<FlinkSessionJobSpec>,
    pub program: Rc<Program>,
    pub status: JobStatus,
    pub deleting: bool,
    pub finalizer: bool,
}

impl Object {
    pub fn new(wish: Wish) -> Self {
        Self {
            version: 1,
            generation: 1,
            wish,
            spec: Rc::new(wish.spec()),
            program: Rc::new(wish.program()),
            status: JobStatus::default(),
            deleting: false,
            finalizer: false,
        }
    }

    /// The next version, with something changed.
    pub fn next(&self, change: impl FnOnce(&mut Self)) -> Rc<Self> {
        let mut next = self.clone();
        next.version += 1;
        change(&mut next);
        Rc::new(next)
    }

    /// The next version, with another spec.
    pub fn wished(&self, change: impl FnOnce(&mut Wish)) -> Rc<Self> {
        self.next(|next| {
            change(&mut next.wish);
            next.generation += 1;
            next.spec = Rc::new(next.wish.spec());
            next.program = Rc::new(next.wish.program());
        })
    }

    /// The submission that is recorded, by JobID and number of tries.
    pub fn submission(&self) -> Option<(JobId, i32)> {
        self.status.submission().map(|intent| (intent.job_id, intent.tries))
    }

    /// The stop that is recorded.
    pub fn stop(&self) -> Option<TriggerId> {
        self.status.stop().map(|stop| stop.trigger_id)
    }

    /// The JobID that the status takes for the current attempt.
    pub fn current(&self) -> Option<JobId> {
        let run = self.status.live_run().map(|run| run.job_id);
        run.or_else(|| self.submission().map(|(id, _)| id))
    }
}
