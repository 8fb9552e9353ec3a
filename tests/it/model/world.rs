//! The world of the model: what is true, what each operator process believes, and every step that can happen.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
};

use flink_job_operator::{
    api::{FlinkSessionJobSpec, JobStatus, Phase, Reason, condition, job::DesiredState, status::RunOutcome},
    flink::{InstallationId, JarId, JobId, JobState, UidHash},
    job::{
        CANCEL_AGAIN, Cluster, ClusterView, Effect, Input, JobSeen, Meta, Observed, Permit, Plan, Program, RetryWindow,
        SUBMIT_GRACE, SUBMIT_WITHIN, Session, Slots, SubmitOutcome, Task, decide, submit_again,
    },
};
use jiff::Timestamp;

const UID: &str = "7b0f6f1c-6a3e-4f6a-9d61-4f3f0d8f5a11";
thread_local! {
    static OWNER: UidHash = UidHash::of(UID);
}

const INSTALLATION: InstallationId = InstallationId([0xaa, 0xbb, 0xcc, 0xdd]);

/// How often each fault and each user action may happen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    pub crashes: u8,
    pub timeouts: u8,
    pub restarts: u8,
    pub edits: u8,
    pub deletes: u8,
    pub suspends: u8,
    pub ends: u8,
    pub wipes: u8,
}

/// What is explored.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    pub budget: Budget,
    pub leaders: usize,
    pub ha: bool,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            budget: Budget::default(),
            leaders: 1,
            ha: false,
        }
    }
}

/// The resource, as the API server has it or as someone read it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Object {
    version: u32,
    generation: i64,
    spec: FlinkSessionJobSpec,
    status: JobStatus,
    deleting: bool,
    finalizer: bool,
}

/// A run request under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Post {
    leader: usize,
    job_id: JobId,
    tries: i32,
    process: u8,
    expires: Timestamp,
}

/// What one operator process has in memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Leader {
    object: Option<Object>,
    fresh: bool,
    view: Option<View>,
    confirm: Option<u32>,
    waiting: bool,
    submitted: Option<(JobId, i32, SubmitOutcome)>,
    cancelled: Option<(JobId, Timestamp)>,
    unsent: Option<(JobId, i32)>,
}

impl Leader {
    fn new() -> Self {
        Self {
            object: None,
            fresh: false,
            view: None,
            confirm: None,
            waiting: false,
            submitted: None,
            cancelled: None,
            unsent: None,
        }
    }
}

/// A job list that an operator process has read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct View {
    jobs: BTreeMap<JobId, JobState>,
    process: u8,
    /// It was begun after the operator asked to confirm.
    confirmed: bool,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    now: Timestamp,
    object: Option<Object>,
    process: u8,
    jobs: BTreeMap<JobId, JobState>,
    /// JobIDs that this JobManager process has accepted, ended ones included.
    known: Vec<JobId>,
    starts: BTreeMap<JobId, u8>,
    posts: Vec<Post>,
    leaders: Vec<Leader>,
    left: Budget,
    /// Starts that the user has asked for.
    allowed: usize,
}

/// Something that can happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// An operator process sees the newest version of the resource.
    Watch(usize),
    /// An operator process reads the job list.
    Poll(usize),
    /// One turn: observe, decide, then one write or one effect.
    Turn(usize),
    /// A turn whose write is applied, but its reply is lost.
    TurnReplyLost(usize),
    /// Flink takes a request, and its answer arrives.
    Deliver(usize),
    /// A request waits for longer than the client does.
    Timeout(usize),
    /// A request dies before it reaches Flink, and the client sees that.
    Refuse(usize),
    Crash(usize),
    Restart,
    Edit,
    Suspend,
    Resume,
    Delete,
    Finish,
    Wipe,
    /// Long enough for a repeat.
    Seconds,
    /// Long enough that nothing under way can still take effect.
    Minutes,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Step {
    /// Whether it happens by itself: no fault and no user.
    pub fn is_fair(&self) -> bool {
        matches!(
            self,
            Self::Watch(_) | Self::Poll(_) | Self::Turn(_) | Self::Deliver(_) | Self::Seconds | Self::Minutes
        )
    }
}

fn spec(variant: i64) -> FlinkSessionJobSpec {
    serde_json::from_value(serde_json::json!({
        "sessionRef": { "name": "s" },
        "job": { "entryClass": "A", "args": [variant.to_string()] },
        "upgradeMode": "Stateless",
    }))
    .unwrap()
}

fn program(spec: &FlinkSessionJobSpec) -> Program {
    Program {
        entry_class: None,
        args: spec.job.args.clone(),
        parallelism: None,
        configuration: BTreeMap::new(),
    }
}

fn jar(process: u8) -> JarId {
    format!("00000000-0000-0000-0000-0000000000{process:02}_x.jar")
        .parse()
        .unwrap()
}

fn process_name(process: u8) -> String {
    format!("flink-web-{process}")
}

impl World {
    pub fn start(scenario: &Scenario) -> Self {
        let object = Object {
            version: 1,
            generation: 1,
            spec: spec(0),
            status: JobStatus::default(),
            deleting: false,
            finalizer: false,
        };
        Self {
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            object: Some(object),
            process: 1,
            jobs: BTreeMap::new(),
            known: Vec::new(),
            starts: BTreeMap::new(),
            posts: Vec::new(),
            leaders: vec![Leader::new(); scenario.leaders],
            left: scenario.budget,
            allowed: 1,
        }
    }

    /// Every step that is possible, with the world after it.
    pub fn steps(&self, scenario: &Scenario) -> Vec<(Step, Self)> {
        let mut steps = Vec::new();
        let mut try_step = |step: Step, after: Option<Self>| {
            if let Some(after) = after
                && after != *self
            {
                steps.push((step, after));
            }
        };
        for n in 0..self.leaders.len() {
            try_step(Step::Watch(n), self.watch(n));
            try_step(Step::Poll(n), Some(self.poll(n)));
            try_step(Step::Turn(n), self.turn(n, false));
            try_step(
                Step::TurnReplyLost(n),
                self.spend(|left| &mut left.timeouts)
                    .and_then(|world| world.turn(n, true)),
            );
            let crashed = self.spend(|left| &mut left.crashes).map(|mut world| {
                world.leaders[n] = Leader::new();
                world
            });
            try_step(Step::Crash(n), crashed);
        }
        for n in 0..self.posts.len() {
            try_step(Step::Deliver(n), Some(self.deliver(n)));
            try_step(
                Step::Timeout(n),
                self.spend(|left| &mut left.timeouts).and_then(|world| world.timeout(n)),
            );
            try_step(
                Step::Refuse(n),
                self.spend(|left| &mut left.timeouts).and_then(|world| world.refuse(n)),
            );
        }
        try_step(
            Step::Restart,
            self.spend(|left| &mut left.restarts)
                .map(|world| world.restart(scenario.ha)),
        );
        try_step(Step::Edit, self.spend(|left| &mut left.edits).and_then(Self::edit));
        try_step(
            Step::Suspend,
            self.spend(|left| &mut left.suspends)
                .and_then(|w| w.desire(DesiredState::Suspended)),
        );
        try_step(
            Step::Resume,
            self.spend(|left| &mut left.suspends)
                .and_then(|w| w.desire(DesiredState::Running)),
        );
        try_step(
            Step::Delete,
            self.spend(|left| &mut left.deletes).and_then(Self::delete),
        );
        try_step(Step::Finish, self.spend(|left| &mut left.ends).and_then(Self::finish));
        try_step(Step::Wipe, self.spend(|left| &mut left.wipes).and_then(Self::wipe));
        try_step(Step::Seconds, self.pass(6));
        try_step(Step::Minutes, self.pass(720));
        steps
    }

    fn spend(&self, pick: impl Fn(&mut Budget) -> &mut u8) -> Option<Self> {
        let mut world = self.clone();
        let left = pick(&mut world.left);
        *left = left.checked_sub(1)?;
        Some(world)
    }

    fn watch(&self, n: usize) -> Option<Self> {
        let mut world = self.clone();
        let leader = &mut world.leaders[n];
        if leader.object == self.object {
            return None;
        }
        leader.object.clone_from(&self.object);
        leader.fresh = false;
        Some(world)
    }

    fn poll(&self, n: usize) -> Self {
        let mut world = self.clone();
        let leader = &mut world.leaders[n];
        let version = leader.object.as_ref().map(|object| object.version);
        let confirmed = leader.confirm.is_some() && leader.confirm == version;
        leader.view = Some(View {
            jobs: self.jobs.clone(),
            process: self.process,
            confirmed,
        });
        world
    }

    fn plan(&self, n: usize) -> Option<Plan> {
        let leader = &self.leaders[n];
        let object = leader.object.as_ref()?;
        let owner = OWNER.with(|owner| *owner);
        let process = leader.view.as_ref().map(|view| process_name(view.process));
        let cluster = match (&leader.view, &process) {
            (Some(view), Some(process)) => ClusterView::Up(Cluster {
                url: "http://flink",
                jobs: view
                    .jobs
                    .iter()
                    .map(|(id, state)| JobSeen {
                        id: *id,
                        state: *state,
                        start_time: None,
                        end_time: None,
                    })
                    .collect(),
                job_manager: Some(process),
                confirmed: view.confirmed && leader.confirm == Some(object.version),
                retry_window: RetryWindow::Unlimited,
                submission_enabled: true,
                slots: Slots::Growing,
            }),
            _ => ClusterView::NotPolled,
        };
        let jar = match &leader.view {
            Some(view) => Input::Ready((jar(view.process), process_name(view.process))),
            None => Input::Pending,
        };
        let program = program(&object.spec);
        let observed = Observed {
            now: self.now,
            installation: INSTALLATION,
            meta: Meta {
                name: "j",
                uid: UID,
                owner,
                generation: object.generation,
                deleting: object.deleting,
                finalizer: object.finalizer,
            },
            spec: &object.spec,
            status: &object.status,
            session: Session::Present { deleting: false },
            cluster,
            program: Input::Ready(&program),
            jar,
            permit: Permit::Granted,
            task: Task {
                running: leader.waiting,
                submitted: leader.submitted.clone(),
                cancelled: leader.cancelled.map(|(id, time)| (id, time, None)),
                released: None,
                unsent: leader.unsent,
            },
            failure_cause: Input::Ready("java.lang.RuntimeException: x".to_owned()),
            namespace_terminating: false,
            ineffective: &[],
        };
        Some(decide(&observed))
    }

    /// One turn of the driver, as `controller` does it.
    #[allow(clippy::too_many_lines, reason = "a turn is one walk from observation to record")]
    fn turn(&self, n: usize, reply_lost: bool) -> Option<Self> {
        let plan = self.plan(n)?;
        let mut world = self.clone();
        let leader = &mut world.leaders[n];
        let object = leader.object.clone()?;
        if plan.wants.confirm && leader.confirm != Some(object.version) {
            leader.confirm = Some(object.version);
            if let Some(view) = leader.view.as_mut() {
                view.confirmed = false;
            }
        }
        if plan.status != object.status {
            let server = world.object.as_mut();
            let Some(server) = server.filter(|server| server.version == object.version) else {
                // 409 or 404: read again.
                leader.object.clone_from(&world.object);
                leader.fresh = true;
                return (!reply_lost).then_some(world);
            };
            let before = server.status.submission().map(|intent| (intent.job_id, intent.tries));
            server.status = plan.status;
            server.version += 1;
            let after = server.status.submission().map(|intent| (intent.job_id, intent.tries));
            if reply_lost {
                return Some(world);
            }
            leader.object = Some(server.clone());
            leader.fresh = true;
            if after != before {
                leader.unsent = after;
            }
            return Some(world);
        }
        if reply_lost {
            return None;
        }
        let Some(effect) = plan.effect else {
            leader.fresh = false;
            return Some(world);
        };
        if !leader.fresh {
            leader.object.clone_from(&world.object);
            leader.fresh = true;
            return Some(world);
        }
        match effect {
            Effect::AddFinalizer => {
                let server = world.object.as_mut()?;
                if server.version != object.version {
                    leader.object = Some(server.clone());
                    return Some(world);
                }
                server.finalizer = true;
                server.version += 1;
                leader.object = Some(server.clone());
            }
            Effect::RemoveFinalizer => {
                let server = world.object.as_mut()?;
                if server.version != object.version {
                    leader.object = Some(server.clone());
                    return Some(world);
                }
                server.finalizer = false;
                if server.deleting {
                    world.object = None;
                    leader.object = None;
                }
            }
            Effect::Submit(submission) => {
                leader.unsent = None;
                if self.now > submission.not_after {
                    let late = flink_job_operator::job::Refusal::new(Reason::SubmissionTimeout, "too late");
                    leader.submitted = Some((submission.job_id, submission.tries, SubmitOutcome::NotSent(late)));
                    return Some(world);
                }
                leader.waiting = true;
                leader.fresh = false;
                let process = (1..=9).find(|process| jar(*process) == submission.jar_id)?;
                world.posts.push(Post {
                    leader: n,
                    job_id: submission.job_id,
                    tries: submission.tries,
                    process,
                    expires: submission.not_after + submission.timeout + flink_job_operator::job::SETTLE,
                });
            }
            Effect::Cancel(id) => {
                leader.cancelled = Some((id, self.now));
                leader.fresh = false;
                if let Some(state) = world.jobs.get_mut(&id)
                    && !state.is_globally_terminal()
                {
                    *state = JobState::Canceled;
                }
            }
            Effect::Release(_) => return None,
        }
        Some(world)
    }

    /// Flink handles a request and the client, if it still waits, gets the answer.
    fn deliver(&self, n: usize) -> Self {
        let mut world = self.clone();
        let post = world.posts.remove(n);
        let outcome = if post.process != world.process {
            SubmitOutcome::JarMissing
        } else if world.known.contains(&post.job_id) {
            SubmitOutcome::Duplicate
        } else {
            world.known.push(post.job_id);
            world.jobs.insert(post.job_id, JobState::Running);
            *world.starts.entry(post.job_id).or_default() += 1;
            SubmitOutcome::Accepted
        };
        answer(&mut world, &post, outcome);
        world
    }

    fn timeout(mut self, n: usize) -> Option<Self> {
        let post = self.posts[n].clone();
        let waits = self.leaders[post.leader].waiting;
        let refusal = flink_job_operator::job::Refusal::new(Reason::SubmissionTimeout, "no answer");
        answer(&mut self, &post, SubmitOutcome::Unknown(refusal));
        waits.then_some(self)
    }

    #[allow(clippy::unnecessary_wraps, reason = "it is one of the steps")]
    fn refuse(mut self, n: usize) -> Option<Self> {
        let post = self.posts.remove(n);
        let refusal = flink_job_operator::job::Refusal::new(Reason::ClusterUnreachable, "refused");
        answer(&mut self, &post, SubmitOutcome::NotSent(refusal));
        Some(self)
    }

    fn restart(mut self, ha: bool) -> Self {
        self.process += 1;
        if ha {
            self.jobs.retain(|_, state| !state.is_globally_terminal());
        } else {
            self.jobs.clear();
        }
        self.known = self.jobs.keys().copied().collect();
        self
    }

    fn edit(mut self) -> Option<Self> {
        let object = self.object.as_mut().filter(|object| !object.deleting)?;
        let state = object.spec.state;
        object.generation += 1;
        object.spec = spec(object.generation);
        object.spec.state = state;
        object.version += 1;
        self.allowed += 1;
        Some(self)
    }

    fn desire(mut self, state: DesiredState) -> Option<Self> {
        let object = self
            .object
            .as_mut()
            .filter(|object| !object.deleting && object.spec.state != state)?;
        object.generation += 1;
        object.spec.state = state;
        object.version += 1;
        if state == DesiredState::Running {
            self.allowed += 1;
        }
        Some(self)
    }

    fn delete(mut self) -> Option<Self> {
        let object = self.object.as_mut().filter(|object| !object.deleting)?;
        object.deleting = true;
        object.generation += 1;
        object.version += 1;
        if !object.finalizer {
            self.object = None;
        }
        Some(self)
    }

    fn finish(mut self) -> Option<Self> {
        let state = self.jobs.values_mut().find(|state| !state.is_globally_terminal())?;
        *state = JobState::Finished;
        Some(self)
    }

    fn wipe(mut self) -> Option<Self> {
        let object = self.object.as_mut()?;
        object.status = JobStatus::default();
        object.version += 1;
        Some(self)
    }

    fn pass(&self, seconds: i64) -> Option<Self> {
        // Nothing happens only because time passes while something could happen at once: that keeps the world small.
        let horizon = self
            .object
            .as_ref()
            .and_then(|object| object.status.submission().map(|intent| intent.unresolved));
        let repeats = self
            .object
            .as_ref()
            .and_then(|object| object.status.submission())
            .is_some();
        let cancels = self
            .object
            .as_ref()
            .and_then(|object| object.status.cancellation())
            .is_some();
        if !(repeats || cancels) {
            return None;
        }
        let mut world = self.clone();
        world.now = self.now + std::time::Duration::from_secs(seconds.unsigned_abs());
        if seconds > 60 {
            // Past the horizon nothing that was under way can take effect: that is what the horizon means.
            world.now = world.now.max(horizon?);
        }
        let now = world.now;
        let (expired, posts): (Vec<_>, Vec<_>) = world.posts.drain(..).partition(|post| now > post.expires);
        world.posts = posts;
        for post in expired {
            let refusal = flink_job_operator::job::Refusal::new(Reason::SubmissionTimeout, "no answer");
            answer(&mut world, &post, SubmitOutcome::Unknown(refusal));
        }
        Some(world)
    }

    /// What must hold in every state.
    pub fn violation(&self, scenario: &Scenario) -> Option<String> {
        let live: Vec<_> = self
            .jobs
            .iter()
            .filter(|(_, state)| !state.is_globally_terminal())
            .collect();
        if live.len() > 1 {
            return Some(format!("I1: {} jobs of one resource run at once: {live:?}", live.len()));
        }
        if let Some((id, starts)) = self.starts.iter().find(|(_, starts)| **starts > 1) {
            return Some(format!("I1: job {id} was started {starts} times"));
        }
        let unlimited_wipe = scenario.budget.wipes > 0;
        if self.starts.len() > self.allowed && !unlimited_wipe {
            return Some(format!(
                "I1: {} starts, and the user asked for {}",
                self.starts.len(),
                self.allowed
            ));
        }
        if unlimited_wipe && self.starts.len() > self.allowed {
            return Some("I1: a lost status led to a second start".to_owned());
        }
        let Some(object) = &self.object else {
            return (!live.is_empty()).then(|| "I4: the resource is gone and its job runs".to_owned());
        };
        let status = &object.status;
        let ready = condition::find(&status.conditions, flink_job_operator::api::ConditionType::Ready);
        let settled = ready.is_some_and(|c| c.status == flink_job_operator::api::ConditionStatus::True);
        if settled
            && status.phase == Some(Phase::Suspended)
            && !live.is_empty()
            && self.left.wipes == scenario.budget.wipes
        {
            return Some("I5: Suspended, and a job runs".to_owned());
        }
        if status.last_outcome() == Some(RunOutcome::Finished)
            && !self.jobs.values().any(|state| *state == JobState::Finished)
            && scenario.budget.restarts == 0
        {
            return Some("I5: Finished, and no job did".to_owned());
        }
        None
    }

    /// Whether the world has come to rest: every operator process knows the truth and has nothing to do.
    pub fn is_settled(&self) -> bool {
        if !self.posts.is_empty() {
            return false;
        }
        let Some(object) = &self.object else {
            return true;
        };
        if object.deleting || object.status.submission().is_some() || object.status.cancellation().is_some() {
            return false;
        }
        let rest = (0..self.leaders.len()).all(|n| {
            let leader = &self.leaders[n];
            let informed = leader.object.as_ref() == Some(object)
                && leader
                    .view
                    .as_ref()
                    .is_some_and(|view| view.jobs == self.jobs && view.process == self.process);
            informed
                && self
                    .plan(n)
                    .is_some_and(|plan| plan.status == object.status && plan.effect.is_none() && !plan.wants.confirm)
        });
        rest && self.is_truth(object)
    }

    /// Whether the status says what is.
    fn is_truth(&self, object: &Object) -> bool {
        let live = self.jobs.values().any(|state| !state.is_globally_terminal());
        match object.status.phase {
            Some(Phase::Running) => live,
            Some(Phase::Suspended | Phase::Finished | Phase::Failed | Phase::Lost | Phase::Cancelled) => !live,
            _ => false,
        }
    }

    /// What one process would do, for traces.
    pub fn explain(&self) -> String {
        let object = self.object.as_ref();
        let status = object.map(|object| &object.status);
        let mut text = format!(
            "phase {:?}, reason {:?}, jobs {:?}, posts {}",
            status.and_then(|status| status.phase),
            status
                .and_then(|status| condition::find(&status.conditions, flink_job_operator::api::ConditionType::Ready))
                .map(|ready| ready.reason.clone()),
            self.jobs.values().collect::<Vec<_>>(),
            self.posts.len()
        );
        for n in 0..self.leaders.len() {
            if let Some(plan) = self.plan(n) {
                let known = &self.leaders[n];
                let stale = known.object.as_ref().map(|o| o.version) != object.map(|o| o.version);
                let _ = write!(
                    text,
                    "; operator {n}{}: {}",
                    if stale { " (stale)" } else { "" },
                    plan.rule
                );
            }
        }
        text
    }
}

impl World {
    /// The same world with everything that cannot matter taken out: absolute times become "due or not", versions become
    /// "current or not", JobIDs become their order, and the wording of messages goes.
    pub fn canonical(&self) -> Self {
        let mut world = self.clone();
        let zero = Timestamp::UNIX_EPOCH;
        world.forget();
        let current = self.object.as_ref().map(|object| object.version);
        let now = self.now;
        if let Some(object) = world.object.as_mut() {
            canonical_object(object, now, 0);
        }
        for leader in &mut world.leaders {
            let version = leader.object.as_ref().map(|object| object.version);
            leader.confirm = leader.confirm.filter(|confirm| Some(*confirm) == version).map(|_| 0);
            if leader.confirm.is_none()
                && let Some(view) = leader.view.as_mut()
            {
                view.confirmed = false;
            }
            if let Some(object) = leader.object.as_mut() {
                canonical_object(object, now, u32::from(version != current));
            }
            if let Some((_, time)) = leader.cancelled.as_mut() {
                *time = if now >= *time + CANCEL_AGAIN {
                    Timestamp::MAX
                } else {
                    zero
                };
            }
        }
        for post in &mut world.posts {
            post.expires = zero;
        }
        world.rename();
        world
            .posts
            .sort_by_key(|post| (post.leader, post.job_id, post.tries, post.process));
        world.known.sort();
        world.now = zero;
        world
    }
}

impl World {
    /// What a process remembers of requests that nobody will ask about any more.
    fn forget(&mut self) {
        let named = |object: &Option<Object>| {
            let submission = object.as_ref().and_then(|object| object.status.submission());
            submission.map(|intent| (intent.job_id, intent.tries))
        };
        let server = named(&self.object);
        for leader in &mut self.leaders {
            let own = named(&leader.object);
            let asked = |id: JobId, tries: i32| [own, server].contains(&Some((id, tries)));
            leader.submitted = leader.submitted.take().filter(|(id, tries, _)| asked(*id, *tries));
            leader.unsent = leader.unsent.filter(|(id, tries)| asked(*id, *tries));
            let jobs = &self.jobs;
            leader.cancelled = leader
                .cancelled
                .filter(|(id, _)| jobs.get(id).is_some_and(|state| !state.is_globally_terminal()));
        }
    }

    /// Every JobID in the world becomes its rank: only the order of the attempts matters.
    fn rename(&mut self) {
        let mut ids = Vec::new();
        self.each_id(|id| ids.push(*id));
        ids.sort();
        ids.dedup();
        self.each_id(|id| {
            let rank = ids.binary_search(id).unwrap();
            *id = JobId::new(INSTALLATION, OWNER.with(|owner| *owner), u32::try_from(rank).unwrap());
        });
    }

    fn each_id(&mut self, mut f: impl FnMut(&mut JobId)) {
        fn keys<V>(map: &mut BTreeMap<JobId, V>, f: &mut impl FnMut(&mut JobId)) {
            *map = std::mem::take(map)
                .into_iter()
                .map(|(mut id, value)| {
                    f(&mut id);
                    (id, value)
                })
                .collect();
        }
        fn status(status: &mut JobStatus, f: &mut impl FnMut(&mut JobId)) {
            status.job_id.iter_mut().for_each(&mut *f);
            status.runs.iter_mut().for_each(|run| f(&mut run.job_id));
            if let Some(intent) = status.intent.as_mut() {
                intent.submit.iter_mut().for_each(|submit| f(&mut submit.job_id));
                intent.cancel.iter_mut().for_each(|cancel| f(&mut cancel.job_id));
            }
            if let Some(url) = status.web_ui_url.as_mut() {
                url.clear();
            }
        }
        keys(&mut self.jobs, &mut f);
        keys(&mut self.starts, &mut f);
        self.known.iter_mut().for_each(&mut f);
        self.posts.iter_mut().for_each(|post| f(&mut post.job_id));
        self.object
            .iter_mut()
            .for_each(|object| status(&mut object.status, &mut f));
        for leader in &mut self.leaders {
            leader
                .object
                .iter_mut()
                .for_each(|object| status(&mut object.status, &mut f));
            leader.view.iter_mut().for_each(|view| keys(&mut view.jobs, &mut f));
            leader.submitted.iter_mut().for_each(|(id, ..)| f(id));
            leader.cancelled.iter_mut().for_each(|(id, _)| f(id));
            leader.unsent.iter_mut().for_each(|(id, _)| f(id));
        }
    }
}

fn canonical_object(object: &mut Object, now: Timestamp, version: u32) {
    let zero = Timestamp::UNIX_EPOCH;
    let due = |time: Timestamp| if now > time { Timestamp::MAX } else { zero };
    object.version = version;
    let status = &mut object.status;
    status.updated_at = None;
    for condition in &mut status.conditions {
        condition.last_transition_time = zero;
        condition.message.clear();
        condition.observed_generation = None;
    }
    if let Some(failure) = status.failure.as_mut() {
        failure.time = None;
        failure.message.clear();
    }
    if let Some(submit) = status.intent.as_mut().and_then(|intent| intent.submit.as_mut()) {
        let pause = submit_again(submit.tries);
        submit.first_try = if now >= submit.not_after - SUBMIT_WITHIN + pause {
            Timestamp::MAX
        } else {
            zero
        };
        let early = now < submit.not_after - SUBMIT_WITHIN + SUBMIT_GRACE;
        submit.not_after = if early { Timestamp::MIN } else { due(submit.not_after) };
        submit.unresolved = due(submit.unresolved);
        submit.earlier_unresolved = submit.earlier_unresolved.map(due);
        submit.tries = submit.tries.min(4);
    }
}

fn answer(world: &mut World, post: &Post, outcome: SubmitOutcome) {
    let leader = &mut world.leaders[post.leader];
    if leader.waiting {
        leader.waiting = false;
        leader.submitted = Some((post.job_id, post.tries, outcome));
    }
}
