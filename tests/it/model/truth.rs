//! What must hold in every state, and when the world has come to rest.

use flink_job_operator::{
    api::{ConditionStatus, ConditionType, Phase, condition, status::RunOutcome},
    flink::{JobId, JobState},
    job::{Input, Plan},
};

use super::{
    flink::live,
    operator::{Armed, View, post},
    resource::Object,
    shape,
    world::World,
};

impl World {
    /// JobIDs that a request under way, or one that a late process is about to send, can still start.
    fn threats(&self) -> impl Iterator<Item = JobId> {
        let armed = self.leaders.iter().filter_map(|leader| match &leader.armed {
            Some(Armed::Submit(submission)) if self.now <= submission.not_after => Some(post(submission, None)),
            Some(Armed::Submit(_) | Armed::Stop(_) | Armed::Keep(_) | Armed::Cancel(_) | Armed::Release(_)) | None => {
                None
            }
        });
        let posts = self.flink.posts.iter().cloned().chain(armed);
        posts
            .filter(|post| self.flink.can_start(post, self.setup))
            .map(|post| post.job_id)
    }

    /// What must never happen.
    pub fn violation(&self) -> Option<String> {
        if let Some(bug) = self.bug {
            return Some(bug.to_owned());
        }
        if let Some(lost) = self.unkept() {
            return Some(lost);
        }
        let Some(object) = &self.object else {
            let left = live(&self.flink.jobs).next().is_some() && !self.orphaned;
            return (!self.excused && (left || self.threats().next().is_some()))
                .then(|| "I4: the resource is gone, and its job runs or can still start".to_owned());
        };
        if self.wiped {
            return None;
        }
        let current = object.current();
        let cancelled = object.status.cancellation().map(|cancel| cancel.job_id);
        if let Some(id) = live(&self.flink.jobs).find(|id| Some(*id) != current && Some(*id) != cancelled) {
            return Some(format!("I2: job {id} runs, and its attempt was closed"));
        }
        if let Some(id) = self.threats().find(|id| Some(*id) != current) {
            return Some(format!("I1: job {id} can still start, and its attempt was closed"));
        }
        self.unrecorded(object).or_else(|| self.untrue(object))
    }

    /// Every job that was started is on record.
    fn unrecorded(&self, object: &Object) -> Option<String> {
        let recorded =
            |id: JobId| object.status.runs.iter().any(|run| run.job_id == id) || object.current() == Some(id);
        let (id, ..) = self.flink.history.iter().find(|(id, ..)| !recorded(*id))?;
        Some(format!("I5: job {id} was started, and no run of it is on record"))
    }

    /// What the status says of the last run is what happened.
    fn untrue(&self, object: &Object) -> Option<String> {
        let status = &object.status;
        let ready = condition::find(&status.conditions, ConditionType::Ready);
        let reached = ready.is_some_and(|ready| ready.status == ConditionStatus::True);
        let idle = matches!(
            status.phase,
            Some(Phase::Suspended | Phase::Cancelled | Phase::Finished | Phase::Draft)
        );
        if reached && idle && live(&self.flink.jobs).next().is_some() {
            return Some("I5: nothing runs by the status, and a job runs".to_owned());
        }
        if reached && (ready.and_then(|ready| ready.observed_generation) != Some(status.observed_generation)) {
            return Some("I5: Ready is of another generation".to_owned());
        }
        let run = status.runs.first()?;
        let fate = self.flink.fate(run.job_id);
        let holds = match run.outcome? {
            RunOutcome::Finished => fate == Some(JobState::Finished),
            RunOutcome::Failed => fate == Some(JobState::Failed),
            RunOutcome::Canceled => fate == Some(JobState::Canceled),
            RunOutcome::Rejected => !self.flink.started(run.job_id),
            RunOutcome::Replaced
            | RunOutcome::Suspended
            | RunOutcome::Cancelled
            | RunOutcome::Lost
            | RunOutcome::Unknown => true,
        };
        (!holds).then(|| {
            format!(
                "I5: the run is told as {:?}, and the job's fate was {fate:?}",
                run.outcome
            )
        })
    }

    /// Whether the world has come to rest: every operator process knows the truth and has nothing to do.
    pub fn is_settled(&self) -> bool {
        if !self.flink.posts.is_empty() || !self.flink.states.posts.is_empty() || self.flink.down {
            return false;
        }
        let Some(object) = &self.object else {
            return true;
        };
        if object.deleting {
            return false;
        }
        let rest = (0..self.leaders.len()).all(|n| {
            let leader = &self.leaders[n];
            let informed = match &leader.view {
                View::NotPolled | View::Down => false,
                View::Up { jobs, process, .. } => *jobs == self.flink.jobs && *process == self.flink.process,
            };
            let watched = !self.stale_caches
                || leader
                    .cache
                    .as_ref()
                    .is_some_and(|cache| cache.version == object.version);
            if !informed || !watched || leader.armed.is_some() {
                return false;
            }
            let plan = self.plan(n, object);
            plan.effect.is_none()
                && !plan.wants.confirm
                && !self.asks(n, object, &plan)
                && shape::alike(self, object, &plan.status)
        });
        rest && (!self.session || self.is_truth(object))
    }

    /// Whether a process has yet to hear what it asks about the job's state.
    fn asks(&self, n: usize, object: &Object, plan: &Plan) -> bool {
        let unread = matches!(self.leaders[n].state.state(&object.status), Input::Pending);
        self.setup.retention.is_some() && (plan.wants.stop || (plan.wants.state && unread))
    }

    /// Whether the status says what is.
    fn is_truth(&self, object: &Object) -> bool {
        let status = &object.status;
        let live = live(&self.flink.jobs).next().is_some();
        let waits = status.submission().is_some()
            || status.cancellation().is_some()
            || status.stop().is_some()
            || status.keep().is_some();
        let told = status.observed_generation == object.generation;
        told && !waits
            && match status.phase {
                Some(Phase::Running) => live,
                Some(Phase::Suspended | Phase::Finished | Phase::Failed | Phase::Lost | Phase::Cancelled) => !live,
                Some(
                    Phase::Draft
                    | Phase::Pending
                    | Phase::Submitting
                    | Phase::Restarting
                    | Phase::Suspending
                    | Phase::Cancelling
                    | Phase::Unknown
                    | Phase::Deleting,
                )
                | None => false,
            }
    }

    /// What is, and what each process would do, for traces.
    pub fn explain(&self) -> String {
        let object = self.object.as_ref();
        let mut parts = vec![object.map_or_else(|| "the resource is gone".to_owned(), |object| told(&object.status))];
        let jobs: Vec<String> = self
            .flink
            .jobs
            .iter()
            .map(|(id, state)| format!("{}={state}", id.attempt()))
            .collect();
        parts.push(format!("process {}, jobs [{}]", self.flink.process, jobs.join(" ")));
        parts.extend(self.flink.posts.iter().map(|post| {
            let waiter = post
                .waiter
                .map_or_else(|| "nobody".to_owned(), |n| format!("operator {n}"));
            format!(
                "POST {} with the jar of process {}, {waiter} waits",
                post.job_id.attempt(),
                post.process
            )
        }));
        for (n, leader) in self.leaders.iter().enumerate() {
            let plan = object.map(|object| self.plan(n, object).rule).unwrap_or_default();
            let at = match (&leader.armed, &leader.held) {
                (Some(_), _) => ", late with an effect",
                (None, Some(_)) => ", at work",
                (None, None) => "",
            };
            parts.push(format!("operator {n}: {plan}{at}"));
        }
        if self.is_settled() {
            parts.push("settled".to_owned());
        }
        parts.join("; ")
    }
}

fn told(status: &flink_job_operator::api::JobStatus) -> String {
    let ready = condition::find(&status.conditions, ConditionType::Ready);
    let submission = match status.submission() {
        Some(intent) => format!(", try {} of {}", intent.tries, intent.job_id.attempt()),
        None => String::new(),
    };
    format!(
        "{} {}{submission}, last outcome {:?}",
        status.phase.map_or("-", flink_job_operator::api::Phase::as_str),
        ready.map_or("-", |ready| &ready.reason),
        status.last_outcome(),
    )
}
