//! Support for the table tests of the rules: a resource with everything that a decision is made from, and the words that
//! a row of a table is compared with.

use jiff::Timestamp;

mod state;
mod words;

pub(super) use words::{effect, told};

use super::{
    Cluster, ClusterView, Effect, Input, JobSeen, Meta, Observed, Permit, Plan, Program, Refusal, RetryWindow,
    SavepointKnown, Session, Slots, StateSeen, SubmitOutcome, Task, UnderWay, Wants, decide,
};
use crate::{
    api::{
        FlinkSessionJobSpec, JobStatus, Reason,
        state::{CheckpointRetention, RestorePoint},
        status::{Run, RunOutcome},
    },
    driving,
    flink::{InstallationId, JarId, JobId, JobState, UidHash},
    state_prefix::StatePrefixes,
};

pub(super) const UID: &str = "0d7c5e5e-8d7b-4b1f-9a66-1f4b1c5d8e21";
pub(super) const INSTALLATION: InstallationId = InstallationId([1, 2, 3, 4]);
pub(super) const P1: &str = "flink-web-1";
pub(super) const P2: &str = "flink-web-2";

/// What is known of the cluster.
#[derive(Debug, Clone)]
pub(super) enum Reach {
    NotPolled,
    Down(Reason),
    Up,
}

/// A resource and everything around it.
#[expect(clippy::struct_excessive_bools, reason = "what is observed is that simple")]
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) now: Timestamp,
    pub(super) spec: FlinkSessionJobSpec,
    pub(super) status: JobStatus,
    pub(super) generation: i64,
    pub(super) deleting: bool,
    pub(super) finalizer: bool,
    pub(super) session: Session,
    pub(super) reach: Reach,
    pub(super) jobs: Vec<JobSeen>,
    pub(super) job_manager: Option<&'static str>,
    pub(super) confirmed: bool,
    pub(super) window: RetryWindow,
    pub(super) takes_jars: bool,
    pub(super) slots: Slots,
    pub(super) program: Input<()>,
    pub(super) jar: Input<(JarId, String)>,
    pub(super) permit: Permit,
    pub(super) task: Task,
    pub(super) failure_cause: Input<String>,
    pub(super) namespace_terminating: bool,
    pub(super) state: Input<StateSeen>,
    pub(super) savepoints: Input<Vec<SavepointKnown>>,
    pub(super) stored: Input<Option<String>>,
    pub(super) claimed_by: Option<&'static str>,
    pub(super) newest_savepoint: Option<RestorePoint>,
    pub(super) savepoint_under_way: Option<UnderWay>,
    pub(super) savepoint_directory: Option<&'static str>,
    pub(super) ineffective: Vec<String>,
    pub(super) prefixes: StatePrefixes,
    pub(super) refused: Option<Refusal>,
}

pub(super) fn jar(process: &str) -> JarId {
    format!("00000000-0000-0000-0000-000000000000_{process}.jar")
        .parse()
        .unwrap()
}

pub(super) fn refusal(reason: Reason) -> Refusal {
    Refusal::new(reason, "told by the test; do this")
}

fn borrowed<T>(input: &Input<T>) -> Input<&T> {
    match input {
        Input::Ready(value) => Input::Ready(value),
        Input::Pending => Input::Pending,
        Input::Refused(refusal) => Input::Refused(refusal.clone()),
        Input::Retrying(refusal) => Input::Retrying(refusal.clone()),
    }
}

impl Case {
    /// A new resource whose session's cluster answers, with program, jar and permit at hand.
    pub(super) fn new() -> Self {
        let spec = serde_json::json!({
            "sessionRef": { "name": "s" },
            "job": { "jarURI": "https://repo.example/x.jar", "args": ["--rate", "5"], "parallelism": 2 },
            "upgradeMode": "Stateless",
        });
        Self {
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            spec: serde_json::from_value(spec).unwrap(),
            status: JobStatus::default(),
            generation: 1,
            deleting: false,
            finalizer: false,
            session: Session::Present { deleting: false },
            reach: Reach::Up,
            jobs: Vec::new(),
            job_manager: Some(P1),
            confirmed: false,
            window: RetryWindow::Unlimited,
            takes_jars: true,
            slots: Slots::Growing,
            program: Input::Ready(()),
            jar: Input::Ready((jar(P1), P1.to_owned())),
            permit: Permit::Granted,
            task: Task::default(),
            failure_cause: Input::Ready("java.lang.IllegalStateException: no".to_owned()),
            namespace_terminating: false,
            state: Input::Pending,
            savepoints: Input::Pending,
            stored: Input::Refused(refusal(Reason::StateUnknown)),
            claimed_by: None,
            newest_savepoint: None,
            savepoint_under_way: None,
            savepoint_directory: Some("s3://b/savepoints"),
            ineffective: Vec::new(),
            prefixes: StatePrefixes::default(),
            refused: None,
        }
    }

    /// One whose submission is written down, finalizer and all; the process that wrote it is gone.
    pub(super) fn submitting() -> Self {
        let mut case = Self::new();
        case.persist("start/intend");
        case.finalizer = true;
        case.task = Task::default();
        case
    }

    /// One whose submission ended in this way, as this process saw it.
    pub(super) fn submitted(outcome: SubmitOutcome) -> Self {
        let mut case = Self::submitting();
        case.outcome(outcome);
        case
    }

    /// One whose job runs.
    pub(super) fn running() -> Self {
        let mut case = Self::submitting();
        case.list(JobState::Running);
        case.state = Input::Ready(case.stateless());
        case.persist("submit/seen");
        case.still("follow/steady");
        case
    }

    /// What Flink tells of a job that takes no checkpoints.
    pub(super) fn stateless(&self) -> StateSeen {
        StateSeen {
            job_id: self.id(),
            retention: CheckpointRetention::NoCheckpoints,
            interval: None,
            checkpoint: None,
            savepoints: Vec::new(),
            restored: None,
            read: self.now,
            last: false,
        }
    }

    /// One whose only run has ended like that.
    pub(super) fn ended(outcome: RunOutcome) -> Self {
        let mut case = Self::running();
        case.jobs.clear();
        case.status.runs[0].outcome = Some(outcome);
        case
    }

    /// The last try ended in this way, as this process saw it.
    pub(super) fn outcome(&mut self, outcome: SubmitOutcome) {
        let intent = self.status.submission().unwrap();
        self.task.submitted = Some((intent.job_id, intent.tries, outcome));
    }

    /// The JobID that the status names.
    pub(super) fn id(&self) -> JobId {
        self.status.job_id.unwrap()
    }

    /// The current attempt's job is listed, in this state.
    pub(super) fn list(&mut self, state: JobState) {
        self.jobs = vec![seen(self.id(), state)];
    }

    /// The spec is edited.
    pub(super) fn edit(&mut self, change: impl FnOnce(&mut FlinkSessionJobSpec)) {
        change(&mut self.spec);
        self.generation += 1;
    }

    /// The JobManager is replaced, and has its own copy of the jar.
    pub(super) fn replace(&mut self) {
        self.job_manager = Some(P2);
        self.jar = Input::Ready((jar(P2), P2.to_owned()));
    }

    /// Time passes.
    pub(super) fn wait(&mut self, seconds: i64) {
        self.now += jiff::SignedDuration::from_secs(seconds);
    }

    /// The program of the spec.
    pub(super) fn program_of(spec: &FlinkSessionJobSpec) -> Program {
        Program {
            entry_class: spec.job.entry_class.clone(),
            args: spec.job.args.clone(),
            parallelism: spec.job.parallelism,
            configuration: spec.flink_configuration.clone(),
        }
    }

    /// Lets `look` see what a decision is made from.
    pub(super) fn observed<T>(&self, look: impl FnOnce(&Observed<'_>) -> T) -> T {
        let owner = UidHash::of(UID);
        let program = Self::program_of(&self.spec);
        look(&Observed {
            now: self.now,
            installation: INSTALLATION,
            meta: Meta {
                namespace: "n",
                name: "j",
                uid: UID,
                owner,
                generation: self.generation,
                deleting: self.deleting,
                finalizer: self.finalizer,
            },
            spec: &self.spec,
            status: &self.status,
            session: self.session,
            cluster: match &self.reach {
                Reach::NotPolled => ClusterView::NotPolled,
                Reach::Down(reason) => ClusterView::Down(refusal(*reason)),
                Reach::Up => ClusterView::Up(Cluster {
                    url: "http://flink:8081/",
                    jobs: self.jobs.clone(),
                    job_manager: self.job_manager,
                    confirmed: self.confirmed,
                    retry_window: self.window,
                    submission_enabled: self.takes_jars,
                    slots: self.slots,
                    savepoint_directory: self.savepoint_directory,
                }),
            },
            program: match &self.program {
                Input::Ready(()) => Input::Ready(&program),
                Input::Pending => Input::Pending,
                Input::Refused(refusal) => Input::Refused(refusal.clone()),
                Input::Retrying(refusal) => Input::Retrying(refusal.clone()),
            },
            jar: self.jar.clone(),
            permit: self.permit,
            task: self.task.clone(),
            failure_cause: self.failure_cause.clone(),
            namespace_terminating: self.namespace_terminating,
            state: borrowed(&self.state),
            savepoints: match borrowed(&self.savepoints) {
                Input::Ready(known) => Input::Ready(known.as_slice()),
                Input::Pending => Input::Pending,
                Input::Refused(refusal) => Input::Refused(refusal),
                Input::Retrying(refusal) => Input::Retrying(refusal),
            },
            stored: self.stored.clone(),
            claimed_by: self.claimed_by,
            newest_savepoint: self.newest_savepoint.clone(),
            savepoint_under_way: self.savepoint_under_way,
            ineffective: &self.ineffective,
            prefixes: &self.prefixes,
            refused: self.refused.as_ref(),
        })
    }

    pub(super) fn decide(&self) -> Plan {
        self.observed(decide)
    }

    /// One write, by the rule that is named.
    #[track_caller]
    pub(super) fn persist(&mut self, rule: &str) -> Plan {
        driving::persist(self, rule)
    }

    /// One turn of the driver while nothing else happens. False when it rests.
    pub(super) fn turn(&mut self, plan: &Plan) -> bool {
        driving::Case::turn(self, plan)
    }

    /// The rule that is named decides, and writes nothing.
    #[track_caller]
    pub(super) fn still(&self, rule: &str) -> Plan {
        driving::still(self, rule)
    }

    /// Writes until there is nothing more to write, without any effect. The plan that is left.
    #[track_caller]
    pub(super) fn settle(&mut self) -> Plan {
        driving::settle(self)
    }
}

impl driving::Case for Case {
    type Status = JobStatus;
    type Effect = Effect;
    type Wants = Wants;

    fn status(&self) -> &JobStatus {
        &self.status
    }

    fn decided(&self) -> Plan {
        self.observed(decide)
    }

    fn write(&mut self, plan: &Plan) {
        let tried = |status: &JobStatus| status.submission().map(|intent| (intent.job_id, intent.tries));
        if tried(&plan.status) != tried(&self.status) {
            self.task.unsent = tried(&plan.status);
        }
        let stop = |status: &JobStatus| status.stop().map(|stop| stop.trigger_id);
        if stop(&plan.status) != stop(&self.status) {
            self.task.stop_unsent = stop(&plan.status);
        }
        self.status.clone_from(&plan.status);
        // Another version of the resource: what was confirmed for the one before counts no more.
        self.confirmed = false;
    }

    /// A request to Flink stays under way; a cluster that answers is asked for a list that confirms.
    fn perform(&mut self, plan: &Plan) -> bool {
        match &plan.effect {
            Some(Effect::AddFinalizer) => self.finalizer = true,
            Some(Effect::RemoveFinalizer) => self.finalizer = false,
            Some(Effect::Submit(_)) => {
                self.task.unsent = None;
                self.task.running = true;
            }
            Some(Effect::Stop(_)) => {
                self.task.stop_unsent = None;
                self.task.running = true;
            }
            Some(Effect::Keep(keep)) => self.task.kept = Some((keep.path.clone(), Ok(keep.name.clone()))),
            Some(Effect::Schedule(savepoint)) => self.task.scheduled = Some((savepoint.slot, Ok(()))),
            Some(Effect::Cancel(_)) => self.task.running = true,
            Some(Effect::Release(id)) => self.task.released = Some(*id),
            None => {
                let asked = plan.wants.confirm && !self.confirmed && matches!(self.reach, Reach::Up);
                self.confirmed |= asked;
                return asked;
            }
        }
        true
    }
}

/// A job of the list.
pub(super) fn seen(id: JobId, state: JobState) -> JobSeen {
    JobSeen {
        id,
        state,
        start_time: Timestamp::from_second(1_800_000_003).ok(),
        end_time: state
            .is_globally_terminal()
            .then(|| Timestamp::from_second(1_800_000_009).unwrap()),
        tasks_run: state == JobState::Running,
    }
}

/// A run on record.
pub(super) fn run(id: JobId, outcome: Option<RunOutcome>) -> Run {
    Run {
        outcome,
        job_manager: Some(P1.to_owned()),
        ..Run::new(1, id)
    }
}
