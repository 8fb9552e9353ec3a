//! From caches, registry and memory to the inputs of a decision. Synchronous, and without side effects.

use std::{sync::Arc, time::Instant};

use jiff::Timestamp;
use kube::{ResourceExt, runtime::reflector::ObjectRef};

use super::{context::Context, memory::Memory, program, restorable, stored, told};
use crate::{
    api::{FlinkSession, FlinkSessionJob, JobStatus, Reason, job::SlotCheck, keys::JOB_FINALIZER, state::RestorePoint},
    flink::{JarId, JobId, UidHash},
    job::{
        Cluster, ClusterView, Input, JobSeen, Meta, Observed, Program, Refusal, SavepointKnown, Session, StateSeen,
        Task, UnderWay,
    },
    registry::{Cluster as Followed, Reach, SessionKey, State},
};

/// What a decision borrows from.
pub(super) struct Inputs {
    pub(super) key: SessionKey,
    pub(super) owner: UidHash,
    pub(super) followed: Option<Arc<Followed>>,
    state: Option<Arc<State>>,
    pub(super) session: Option<Arc<FlinkSession>>,
    program: Input<Arc<Program>>,
    pub(super) jar_need: Option<super::jars::Need>,
    jar: Input<(JarId, String)>,
    task: Task,
    confirmed_since: Option<Instant>,
    failure_cause: Input<String>,
    session_proven_absent: bool,
    pub(super) namespace_terminating: bool,
    ineffective: Vec<String>,
    refused: Option<Refusal>,
    status: JobStatus,
    seen: Input<Arc<StateSeen>>,
    savepoints: Input<Arc<Vec<SavepointKnown>>>,
    stored: Input<Option<String>>,
    claimed_by: Option<String>,
    newest_savepoint: Option<RestorePoint>,
    savepoint_under_way: Option<UnderWay>,
}

impl Inputs {
    /// Gathers everything.
    pub(super) fn gather(ctx: &Context, job: &FlinkSessionJob, owner: UidHash) -> Self {
        let key = super::context::session_key(job);
        let session = ctx.sessions.get(&ObjectRef::new(&key.name).within(&key.namespace));
        let followed = session.as_ref().and_then(|_| ctx.registry.cluster(&key));
        let state = followed.as_ref().map(|cluster| cluster.state());
        let version = job.resource_version().unwrap_or_default();
        let status = job.status.clone().unwrap_or_default();
        let submitted = || status.submission().map(|intent| intent.job_id);
        let current = status.live_run().map(|run| run.job_id).or_else(submitted);
        let ended = ended(&status, state.as_deref());
        let (loaded, memory) = ctx.memories.with(owner, |memory| {
            if let Some((job_id, listed)) = ended {
                memory.state.has_ended(job_id, listed);
            }
            let program = program::current(ctx, memory, job, session.as_deref());
            (program, snapshot(memory, job, status.job_id))
        });
        let (newest_savepoint, savepoint_under_way) = restorable::of_attempt(ctx, job, &status);
        let program = loaded.result;
        let ready = matches!(program, Input::Ready(_));
        let jar_need = ready.then(|| super::jars::Need::new(&key, loaded.jar_uri, job.spec.job.sha256.as_deref()));
        let job_manager = state
            .as_ref()
            .and_then(|state| state.job_manager.as_ref())
            .map(|(id, _)| Arc::clone(id));
        let jar = match (&jar_need, &job_manager) {
            (Some(need), Some(process)) => ctx.jars.state(need, process),
            _ => Input::Pending,
        };
        Self {
            followed,
            state,
            session,
            program,
            jar_need,
            jar,
            task: memory.task,
            confirmed_since: memory
                .confirm
                .filter(|(asked, _)| *asked == version)
                .map(|(_, since)| since),
            failure_cause: memory
                .failure_cause
                .filter(|(id, _)| Some(*id) == current)
                .map_or(Input::Pending, |(_, cause)| cause),
            session_proven_absent: memory.session_absent.is_some_and(|at| at.elapsed().as_secs() < 30),
            namespace_terminating: memory.namespace_terminating,
            ineffective: program::ineffective(&job.spec),
            refused: told::refused(ctx, &job.spec),
            seen: memory.seen,
            savepoints: memory.savepoints,
            stored: memory.stored,
            claimed_by: restorable::claimed_by(ctx, job),
            newest_savepoint,
            savepoint_under_way,
            status,
            key,
            owner,
        }
    }

    /// The inputs as the decision takes them.
    pub(super) fn observed<'a>(&'a self, ctx: &'a Context, job: &'a FlinkSessionJob) -> Observed<'a> {
        let session = match &self.session {
            Some(session) => Session::Present {
                deleting: session.metadata.deletion_timestamp.is_some(),
            },
            None => Session::Absent {
                proven: self.session_proven_absent,
            },
        };
        let program = match &self.program {
            Input::Ready(program) => Input::Ready(program.as_ref()),
            Input::Pending => Input::Pending,
            Input::Refused(refusal) => Input::Refused(refusal.clone()),
            Input::Retrying(refusal) => Input::Retrying(refusal.clone()),
        };
        Observed {
            now: now(),
            installation: ctx.installation,
            meta: Meta {
                namespace: job.metadata.namespace.as_deref().unwrap_or_default(),
                name: job.metadata.name.as_deref().unwrap_or_default(),
                uid: job.metadata.uid.as_deref().unwrap_or_default(),
                owner: self.owner,
                generation: job.metadata.generation.unwrap_or_default(),
                deleting: job.metadata.deletion_timestamp.is_some(),
                finalizer: job.finalizers().iter().any(|finalizer| finalizer == JOB_FINALIZER),
            },
            spec: &job.spec,
            status: &self.status,
            session,
            cluster: self.cluster_view(job),
            program,
            jar: self.jar.clone(),
            permit: ctx.permits.state(self.owner),
            task: self.task.clone(),
            failure_cause: self.failure_cause.clone(),
            state: match &self.seen {
                Input::Ready(seen) => Input::Ready(seen.as_ref()),
                Input::Pending => Input::Pending,
                Input::Refused(refusal) => Input::Refused(refusal.clone()),
                Input::Retrying(refusal) => Input::Retrying(refusal.clone()),
            },
            savepoints: match &self.savepoints {
                Input::Ready(known) => Input::Ready(known.as_slice()),
                Input::Pending => Input::Pending,
                Input::Refused(refusal) => Input::Refused(refusal.clone()),
                Input::Retrying(refusal) => Input::Retrying(refusal.clone()),
            },
            stored: self.stored.clone(),
            claimed_by: self.claimed_by.as_deref(),
            newest_savepoint: self.newest_savepoint.clone(),
            savepoint_under_way: self.savepoint_under_way,
            namespace_terminating: self.namespace_terminating,
            ineffective: &self.ineffective,
            prefixes: &ctx.settings.state_prefixes,
            refused: self.refused.as_ref(),
        }
    }

    /// The Savepoints of the job were read not long ago.
    pub(super) fn knows_savepoints(&self) -> bool {
        matches!(self.savepoints, Input::Ready(_))
    }

    fn cluster_view(&self, job: &FlinkSessionJob) -> ClusterView<Cluster<'_>> {
        let (Some(followed), Some(state)) = (&self.followed, &self.state) else {
            return match self.session.as_deref().and_then(unresolved) {
                Some(refusal) => ClusterView::Down(refusal),
                None => ClusterView::NotPolled,
            };
        };
        match &state.reach {
            Reach::NotPolled => return ClusterView::NotPolled,
            Reach::Down(refusal) => return ClusterView::Down(refusal.clone()),
            Reach::Up => {}
        }
        let mut jobs: Vec<JobSeen> = state.snapshot.of(self.owner).to_vec();
        let named = [
            self.status.job_id,
            self.status.submission().map(|intent| intent.job_id),
            self.status.cancellation().map(|intent| intent.job_id),
            job.spec.adopt.as_ref().map(|adopt| adopt.job_id),
        ];
        for id in named.into_iter().flatten().filter(|id| id.owner() != self.owner) {
            if let Some(seen) = state.snapshot.job(id)
                && !jobs.iter().any(|known| known.id == id)
            {
                jobs.push(seen.clone());
            }
        }
        let identified = state.job_manager.as_ref();
        let confirmed = self
            .confirmed_since
            .filter(|_| state.snapshot.started > state.identified_since)
            .is_some_and(|since| state.snapshot.started > since && identified.is_some_and(|(_, asked)| *asked > since));
        let enforce = job.spec.slot_check == Some(SlotCheck::Enforce);
        ClusterView::Up(Cluster {
            url: &followed.connection().url,
            jobs,
            job_manager: identified.map(|(id, _)| id.as_ref()),
            confirmed,
            retry_window: state.facts.retry_window,
            submission_enabled: state.submission_enabled,
            slots: followed.slots(state, self.owner, enforce),
            savepoint_directory: state.facts.savepoints.directory.as_deref(),
        })
    }
}

/// The wall clock, to the millisecond: what people read need not be finer.
pub(super) fn now() -> Timestamp {
    Timestamp::from_millisecond(Timestamp::now().as_millisecond()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Why a session that is there does not say where its cluster is.
pub(super) fn unresolved(session: &FlinkSession) -> Option<Refusal> {
    let status = session.status.as_ref()?;
    let current = Some(status.observed_generation) == session.metadata.generation;
    let ready = crate::api::condition::find(&status.conditions, crate::api::ConditionType::Ready)?;
    let refused = current && status.url.is_none() && ready.status != crate::api::ConditionStatus::True;
    refused.then(|| {
        Refusal::new(
            Reason::ClusterNotFound,
            format!("FlinkSession {}: {}", session.name_any(), ready.message),
        )
    })
}

/// The parts of a memory that a decision reads.
struct Remembered {
    task: Task,
    seen: Input<Arc<StateSeen>>,
    savepoints: Input<Arc<Vec<SavepointKnown>>>,
    stored: Input<Option<String>>,
    confirm: Option<(String, Instant)>,
    failure_cause: Option<(crate::flink::JobId, Input<String>)>,
    session_absent: Option<Instant>,
    namespace_terminating: bool,
}

/// A job list that shows the end of the current attempt's job: which, and when it was begun.
fn ended(status: &JobStatus, state: Option<&State>) -> Option<(JobId, Instant)> {
    let (job_id, snapshot) = (status.job_id?, &state?.snapshot);
    let job = snapshot.job(job_id)?;
    (!job.is_live()).then_some((job_id, snapshot.started))
}

fn snapshot(memory: &Memory, job: &FlinkSessionJob, job_id: Option<JobId>) -> Remembered {
    Remembered {
        savepoints: restorable::known(memory.savepoints.as_ref(), memory.savepoints_changed, job),
        seen: memory.state.of(job_id),
        stored: stored::known(memory, job.status.as_ref()),
        task: Task {
            running: memory.running,
            submitted: memory.submitted.clone(),
            cancelled: memory.cancelled.clone(),
            released: memory.released,
            unsent: memory.unsent,
            stop_unsent: memory.stop_unsent,
            stop_sent: memory.stop_sent.clone(),
            stop_seen: memory.stop_seen.clone(),
            kept: memory.kept.clone(),
            scheduled: memory.scheduled.clone(),
        },
        confirm: memory.confirm.clone(),
        failure_cause: memory.failure_cause.clone(),
        session_absent: memory.session_absent,
        namespace_terminating: memory.namespace_terminating,
    }
}
