//! Support for the table tests of the rules: a Savepoint with everything that a decision is made from, and the words that
//! a row of a table is compared with.

mod around;
mod driver;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{
    Cluster, DisposalOutcome, History, Job, JobView, Made, Meta, Metadata, Observed, Polled, Proof, SessionSeen,
    Sibling, Task, TriggerOutcome, Usage,
};
use crate::{
    api::{
        ConditionType, FlinkSessionJobSpec, JobStatus, Reason, SavepointSpec, SavepointStatus, condition,
        savepoint::{DisposalPolicy, Existing, Trigger},
        savepoint_status::{SavepointOrigin, TriggerIntent},
    },
    flink::{Checkpoints, InstallationId, JobState, SavepointEntry, SavepointStatus as Told},
    job::{ClusterView, JobSeen, Refusal},
    registry::SavepointFacts,
    state_prefix::StatePrefixes,
};

pub(super) use around::{
    Other, effect, entry, failure, job_id, other_trigger, ready_condition, refusal, seconds, seen, start,
};
use around::{reads, running_job};

pub(in crate::savepoint) const NAMESPACE: &str = "team-a";
pub(in crate::savepoint) const UID: &str = "0d7c5e5e-8d7b-4b1f-9a66-1f4b1c5d8e21";
pub(in crate::savepoint) const INSTALLATION: InstallationId = InstallationId([1, 2, 3, 4]);
pub(in crate::savepoint) const P1: &str = "flink-web-1";
pub(in crate::savepoint) const P2: &str = "flink-web-2";
pub(in crate::savepoint) const SESSION: &str = "etl";

/// The directory of the first attempt.
pub(in crate::savepoint) const DIRECTORY: &str =
    "s3://bucket/savepoints/team-a/orders/0d7c5e5e-8d7b-4b1f-9a66-1f4b1c5d8e21-1";

/// Where Flink puts the savepoint of the first attempt.
pub(in crate::savepoint) fn location() -> String {
    format!("{DIRECTORY}/savepoint-01")
}

/// What is known of the cluster.
#[derive(Debug, Clone)]
pub(in crate::savepoint) enum Reach {
    NotPolled,
    Down(Reason),
    Up,
}

/// The job resource.
#[derive(Debug, Clone)]
pub(in crate::savepoint) enum JobCase {
    NotNamed,
    Absent { proven: bool },
    Present,
}

/// A Savepoint and everything around it.
#[expect(clippy::struct_excessive_bools, reason = "what is observed is that simple")]
#[derive(Debug, Clone)]
pub(in crate::savepoint) struct Case {
    pub(in crate::savepoint) now: Timestamp,
    pub(in crate::savepoint) spec: SavepointSpec,
    pub(in crate::savepoint) status: SavepointStatus,
    pub(in crate::savepoint) generation: i64,
    pub(in crate::savepoint) created: Timestamp,
    pub(in crate::savepoint) deleting: Option<Timestamp>,
    pub(in crate::savepoint) finalizer: bool,
    pub(in crate::savepoint) gone: bool,
    pub(in crate::savepoint) made: Made,
    pub(in crate::savepoint) prefixes: StatePrefixes,
    pub(in crate::savepoint) job: JobCase,
    pub(in crate::savepoint) job_generation: i64,
    pub(in crate::savepoint) job_deleting: bool,
    pub(in crate::savepoint) job_spec: FlinkSessionJobSpec,
    pub(in crate::savepoint) job_status: JobStatus,
    pub(in crate::savepoint) reach: Reach,
    pub(in crate::savepoint) jobs: Vec<JobSeen>,
    pub(in crate::savepoint) job_manager: Option<&'static str>,
    pub(in crate::savepoint) identified: bool,
    pub(in crate::savepoint) facts: SavepointFacts,
    pub(in crate::savepoint) sessions: Vec<(&'static str, bool)>,
    pub(in crate::savepoint) siblings: Vec<Other>,
    pub(in crate::savepoint) usage: Usage,
    pub(in crate::savepoint) proof: Option<(Usage, Vec<Other>)>,
    pub(in crate::savepoint) task: Task,
    pub(in crate::savepoint) history: Option<(Option<Checkpoints>, Option<Duration>)>,
    pub(in crate::savepoint) metadata: Metadata,
    pub(in crate::savepoint) namespace_terminating: bool,
}

impl Case {
    /// A new Savepoint of a job that runs on a cluster that answers.
    pub(in crate::savepoint) fn new() -> Self {
        let job_spec = serde_json::json!({ "sessionRef": { "name": SESSION }, "job": { "entryClass": "a.B" } });
        let spec = serde_json::json!({ "jobRef": { "name": "orders" } });
        Self {
            now: start(),
            spec: serde_json::from_value(spec).unwrap(),
            status: SavepointStatus::default(),
            generation: 1,
            created: start(),
            deleting: None,
            finalizer: false,
            gone: false,
            made: Made::default(),
            prefixes: StatePrefixes::default(),
            job: JobCase::Present,
            job_generation: 1,
            job_deleting: false,
            job_spec: serde_json::from_value(job_spec).unwrap(),
            job_status: running_job(),
            reach: Reach::Up,
            jobs: vec![seen(job_id(), JobState::Running)],
            job_manager: Some(P1),
            identified: false,
            facts: SavepointFacts {
                directory: Some("s3://bucket/savepoints".into()),
                remembered: Duration::from_secs(240),
                ..SavepointFacts::unknown()
            },
            sessions: vec![(SESSION, true)],
            siblings: Vec::new(),
            usage: Usage::default(),
            proof: None,
            task: Task::default(),
            history: None,
            metadata: Metadata::Pending,
            namespace_terminating: false,
        }
    }

    /// One whose attempt is written down, finalizer and all; the process that wrote it is gone.
    pub(in crate::savepoint) fn triggered() -> Self {
        let mut case = Self::new();
        case.persist("pending/intend");
        case.finalizer = true;
        case.task = Task::default();
        case
    }

    /// One whose request Flink has.
    pub(in crate::savepoint) fn accepted() -> Self {
        let mut case = Self::triggered();
        case.sent(TriggerOutcome::Accepted);
        case
    }

    /// One that is complete, with nothing left to do.
    pub(in crate::savepoint) fn completed() -> Self {
        let mut case = Self::accepted();
        case.told(Ok(Told::Completed { location: location() }));
        case.persist("resolve/complete");
        case.finalizer = false;
        case.task = Task::default();
        case.wait(3600);
        case.still("settled/keep");
        case
    }

    /// An import of that path, with that policy.
    pub(in crate::savepoint) fn import(path: &str) -> Self {
        let mut case = Self::new();
        case.spec.job_ref = None;
        case.job = JobCase::NotNamed;
        case.spec.existing = Some(Existing {
            path: path.to_owned(),
            kind: None,
            verify: None,
        });
        case
    }

    /// One that the operator made for an upgrade and that is complete; its newest sibling came a minute later.
    pub(in crate::savepoint) fn made() -> Self {
        let mut case = Self::completed();
        case.status.origin = Some(SavepointOrigin::Upgrade);
        case.siblings = vec![case.sibling("newer", 60)];
        case
    }

    /// A complete sibling of the same origin that is so many seconds younger.
    pub(in crate::savepoint) fn sibling(&self, name: &'static str, younger: i64) -> Other {
        let mut status = self.status.clone();
        status.completion_time = status
            .completion_time
            .map(|time| time + SignedDuration::from_secs(younger));
        Other {
            name,
            created: self.created + SignedDuration::from_secs(younger),
            deleting: false,
            is_taken: true,
            status,
        }
    }

    /// The attempt under way.
    pub(in crate::savepoint) fn trigger(&self) -> &TriggerIntent {
        self.status.triggered().unwrap()
    }

    pub(in crate::savepoint) fn set_trigger(&mut self, change: impl FnOnce(&mut Trigger)) {
        change(self.spec.trigger.get_or_insert_default());
    }

    /// The request of the attempt came to this, now.
    pub(in crate::savepoint) fn sent(&mut self, outcome: TriggerOutcome) {
        self.task.running = false;
        if !matches!(outcome, TriggerOutcome::NotSent(_)) {
            self.task.unsent = None;
        }
        self.task.sent = Some((self.trigger().trigger_id, self.now, outcome));
        self.task.polled = None;
        self.history = None;
        self.identified = false;
    }

    /// Flink was asked for the outcome just now, and said this.
    pub(in crate::savepoint) fn told(&mut self, told: Result<Told, Refusal>) {
        let before = self.task.polled.as_ref().and_then(|polled| polled.under_way);
        let under_way = if told == Ok(Told::InProgress) {
            Some(self.now)
        } else {
            before
        };
        self.task.polled = Some(Polled {
            id: self.trigger().trigger_id,
            at: self.now,
            told,
            under_way,
        });
        self.history = None;
        self.identified = false;
    }

    /// Flink does not know the trigger, and who the JobManager is was asked after that.
    pub(in crate::savepoint) fn unknown(&mut self) {
        self.told(Ok(Told::Unknown));
        self.identified = true;
    }

    /// The history was asked for so many seconds after the last outcome, and has these savepoints.
    pub(in crate::savepoint) fn looked(&mut self, since: u64, savepoints: Vec<SavepointEntry>) {
        let checkpoints = Checkpoints {
            savepoints,
            ..Checkpoints::default()
        };
        self.history = Some((Some(checkpoints), Some(Duration::from_secs(since))));
    }

    /// The disposal that was decided on last came to this, now.
    pub(in crate::savepoint) fn disposed(&mut self, outcome: DisposalOutcome) {
        let asked = self.status.disposal().and_then(|dispose| dispose.asked).unwrap();
        self.task.running = false;
        self.task.disposed = Some((asked, self.now, outcome));
    }

    /// The resource is being deleted from now on, with its files.
    pub(in crate::savepoint) fn delete(&mut self, policy: DisposalPolicy) {
        self.policy(policy);
        self.deleting = Some(self.now);
    }

    /// What the job's `savepointPolicy` keeps.
    pub(in crate::savepoint) fn spec_retention(&mut self, count: Option<i32>, age: Option<&str>) {
        let retention = serde_json::json!({ "count": count, "age": age });
        let policy = serde_json::json!({ "retention": retention });
        self.job_spec.savepoint_policy = serde_json::from_value(policy).unwrap();
    }

    pub(in crate::savepoint) fn policy(&mut self, policy: DisposalPolicy) {
        self.spec.deletion_policy = Some(policy);
        self.generation += 1;
    }

    /// Time passes.
    pub(in crate::savepoint) fn wait(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    /// Lets `look` see what a decision is made from.
    pub(in crate::savepoint) fn observed<T>(&self, look: impl FnOnce(&Observed<'_>) -> T) -> T {
        fn siblings(others: &[Other]) -> Vec<Sibling<'_>> {
            others.iter().map(Other::seen).collect()
        }
        look(&Observed {
            now: self.now,
            installation: INSTALLATION,
            meta: Meta {
                namespace: NAMESPACE,
                name: "sp",
                uid: UID,
                generation: self.generation,
                created: self.created,
                deleting: self.deleting,
                finalizer: self.finalizer,
                made: self.made,
            },
            spec: &self.spec,
            status: &self.status,
            prefixes: &self.prefixes,
            job: match self.job {
                JobCase::NotNamed => JobView::NotNamed,
                JobCase::Absent { proven } => JobView::Absent { proven },
                JobCase::Present => JobView::Present(Job {
                    generation: self.job_generation,
                    deleting: self.job_deleting,
                    spec: &self.job_spec,
                    status: &self.job_status,
                }),
            },
            cluster: match &self.reach {
                Reach::NotPolled => ClusterView::NotPolled,
                Reach::Down(reason) => ClusterView::Down(refusal(*reason)),
                Reach::Up => ClusterView::Up(Cluster {
                    jobs: self.jobs.clone(),
                    job_manager: self.job_manager,
                    identified_since_poll: self.identified,
                    facts: &self.facts,
                }),
            },
            sessions: self
                .sessions
                .iter()
                .map(|(name, up)| SessionSeen { name, up: *up })
                .collect(),
            siblings: siblings(&self.siblings),
            usage: self.usage.clone(),
            proof: self.proof.as_ref().map(|(usage, others)| Proof {
                usage: usage.clone(),
                siblings: siblings(others),
            }),
            task: self.task.clone(),
            history: self.history.as_ref().map(|(checkpoints, since_poll)| History {
                checkpoints: checkpoints.as_ref(),
                since_poll: *since_poll,
            }),
            metadata: self.metadata.clone(),
            namespace_terminating: self.namespace_terminating,
        })
    }

    /// What people and tools read: `Phase/Reason Ready=… [Reconciling|Stalled]`.
    pub(in crate::savepoint) fn reads(&self) -> String {
        reads(&self.status)
    }

    /// The message of Ready.
    pub(in crate::savepoint) fn message(&self) -> &str {
        let ready = condition::find(&self.status.conditions, ConditionType::Ready);
        ready.map_or("-", |ready| &ready.message)
    }
}
