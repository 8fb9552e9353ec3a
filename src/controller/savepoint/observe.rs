//! From caches, registry and memory to the inputs of a decision. Synchronous, and without side effects.

use std::{sync::Arc, time::Instant};

use kube::{ResourceExt, runtime::reflector::ObjectRef};

use super::memory::{HistoryRead, ProofRead, SavepointMemory};
use crate::{
    api::{
        FlinkSession, FlinkSessionJob, JobStatus, Reason, Savepoint, SavepointPhase, SavepointStatus,
        job::SavepointFormat,
        keys::{COMPLETION_TIME_ANNOTATION, FORMAT_ANNOTATION, JOB_ID_ANNOTATION, ORIGIN_LABEL, SAVEPOINT_FINALIZER},
        savepoint_status::SavepointOrigin,
    },
    controller::{
        context::Context,
        observe::{now, unresolved},
    },
    flink::{JobId, UidHash},
    job::{ClusterView, JobSeen, Refusal},
    registry::{Cluster as Followed, Reach, SessionKey, State},
    savepoint::{
        Cluster, History, Job, JobView, Made, Meta, Metadata, Observed, Proof, SessionSeen, Sibling, Task, Usage,
    },
};

/// A quorum read is believed for so long.
const PROVEN_SECONDS: u64 = 30;

/// What a decision borrows from.
pub struct Inputs {
    pub(super) owner: UidHash,
    pub(super) namespace: String,
    pub(super) job: Option<Arc<FlinkSessionJob>>,
    /// The session that is asked, as far as one is named.
    key: Option<SessionKey>,
    session: Option<Arc<FlinkSession>>,
    pub(super) followed: Option<Arc<Followed>>,
    state: Option<Arc<State>>,
    sessions: Vec<(String, bool)>,
    siblings: Vec<Arc<Savepoint>>,
    usage: Usage,
    remembered: Remembered,
    status: SavepointStatus,
    job_status: JobStatus,
}

/// The parts of a memory that a decision reads.
struct Remembered {
    task: Task,
    polled: Option<Instant>,
    history: Option<HistoryRead>,
    proof: Option<ProofRead>,
    metadata: Option<Metadata>,
    job_proven_absent: bool,
    namespace_terminating: bool,
}

impl Inputs {
    /// Gathers everything.
    pub(super) fn gather(ctx: &Context, savepoint: &Savepoint, owner: UidHash) -> Self {
        let namespace = savepoint.namespace().unwrap_or_default();
        let name = savepoint.name_any();
        let status = savepoint.status.clone().unwrap_or_default();
        let job = savepoint
            .spec
            .job()
            .and_then(|job| ctx.jobs.get(&ObjectRef::new(job).within(&namespace)));
        let key = session(&status, job.as_deref()).map(|session| SessionKey::new(&namespace, session));
        let session = key.as_ref().and_then(|key| {
            let reference = ObjectRef::new(&key.name).within(&key.namespace);
            ctx.sessions.get(&reference)
        });
        let followed = key
            .as_ref()
            .filter(|_| session.is_some())
            .and_then(|key| ctx.registry.cluster(key));
        let version = savepoint.resource_version().unwrap_or_default();
        let history_of = history_of(&status, job.as_deref());
        Self {
            owner,
            state: followed.as_ref().map(|cluster| cluster.state()),
            followed,
            session,
            key,
            sessions: sessions(ctx, &namespace),
            siblings: siblings(ctx, &namespace, savepoint),
            // One that is there already is told of with its users in one write.
            usage: ctx.savepoint_index.usage(&namespace, path(&status, savepoint), &name),
            remembered: ctx
                .savepoint_memories
                .with(owner, |memory| remembered(memory, &version, history_of)),
            job_status: job.as_ref().and_then(|job| job.status.clone()).unwrap_or_default(),
            job,
            status,
            namespace,
        }
    }

    /// The inputs as the decision takes them.
    pub(super) fn observed<'a>(&'a self, ctx: &'a Context, savepoint: &'a Savepoint) -> Observed<'a> {
        let now = now();
        Observed {
            now,
            installation: ctx.installation,
            meta: Meta {
                namespace: &self.namespace,
                name: savepoint.metadata.name.as_deref().unwrap_or_default(),
                uid: savepoint.metadata.uid.as_deref().unwrap_or_default(),
                generation: savepoint.metadata.generation.unwrap_or_default(),
                created: created(savepoint),
                deleting: savepoint.metadata.deletion_timestamp.as_ref().map(|time| time.0),
                finalizer: savepoint.finalizers().iter().any(|name| name == SAVEPOINT_FINALIZER),
                made: made(savepoint),
            },
            spec: &savepoint.spec,
            status: &self.status,
            prefixes: &ctx.settings.state_prefixes,
            job: self.job_view(savepoint),
            cluster: self.cluster_view(),
            sessions: self
                .sessions
                .iter()
                .map(|(name, up)| SessionSeen { name, up: *up })
                .collect(),
            siblings: self.siblings.iter().filter_map(|other| sibling(other)).collect(),
            usage: self.usage.clone(),
            proof: self.remembered.proof.as_ref().map(|proof| Proof {
                usage: proof.usage.clone(),
                siblings: proof.siblings.iter().filter_map(|other| sibling(other)).collect(),
            }),
            task: self.remembered.task.clone(),
            history: self.remembered.history.as_ref().map(|read| History {
                checkpoints: read.checkpoints.as_deref(),
                since_poll: self
                    .remembered
                    .polled
                    .and_then(|polled| read.begun.checked_duration_since(polled)),
            }),
            metadata: self.remembered.metadata.clone().unwrap_or(Metadata::Pending),
            namespace_terminating: self.remembered.namespace_terminating,
        }
    }

    /// The Flink job whose history of checkpoints tells of the savepoint.
    pub(super) fn history_of(&self) -> Option<JobId> {
        history_of(&self.status, self.job.as_deref())
    }

    /// The attempt that is under way, or the last one.
    pub(super) fn status(&self) -> &SavepointStatus {
        &self.status
    }

    fn job_view(&self, savepoint: &Savepoint) -> JobView<'_> {
        match &self.job {
            Some(job) => JobView::Present(Job {
                generation: job.metadata.generation.unwrap_or_default(),
                deleting: job.metadata.deletion_timestamp.is_some(),
                spec: &job.spec,
                status: &self.job_status,
            }),
            None if savepoint.spec.job_ref.is_none() => JobView::NotNamed,
            None => JobView::Absent {
                proven: self.remembered.job_proven_absent,
            },
        }
    }

    fn cluster_view(&self) -> ClusterView<Cluster<'_>> {
        let Some(key) = &self.key else {
            return ClusterView::NotPolled;
        };
        let Some(state) = &self.state else {
            let Some(session) = self.session.as_deref() else {
                let message = format!("FlinkSession {:?} does not exist in this namespace", key.name);
                return ClusterView::Down(Refusal::new(Reason::ClusterNotFound, message));
            };
            return unresolved(session).map_or(ClusterView::NotPolled, ClusterView::Down);
        };
        match &state.reach {
            Reach::NotPolled => return ClusterView::NotPolled,
            Reach::Down(refusal) => return ClusterView::Down(refusal.clone()),
            Reach::Up => {}
        }
        let named = [
            self.status.triggered().map(|trigger| trigger.job_id),
            self.job_status.live_run().map(|run| run.job_id),
        ];
        let listed = named.into_iter().flatten().filter_map(|id| state.snapshot.job(id));
        let mut jobs: Vec<JobSeen> = listed.cloned().collect();
        jobs.dedup_by_key(|job| job.id);
        let identified = state.job_manager.as_ref();
        ClusterView::Up(Cluster {
            jobs,
            job_manager: identified.map(|(id, _)| id.as_ref()),
            identified_since_poll: self
                .remembered
                .polled
                .is_some_and(|polled| identified.is_some_and(|(_, asked)| *asked > polled)),
            facts: &state.facts.savepoints,
        })
    }
}

/// The session whose cluster knows of the savepoint: that of the attempt, else the job's.
fn session<'a>(status: &'a SavepointStatus, job: Option<&'a FlinkSessionJob>) -> Option<&'a str> {
    let taken = status.triggered().is_some() || status.phase == Some(SavepointPhase::Completed);
    let own = status.session.as_deref().filter(|_| taken);
    own.or_else(|| job.map(|job| job.spec.session_ref.name.as_str()))
}

/// Where it is, or is said to be.
fn path<'a>(status: &'a SavepointStatus, savepoint: &'a Savepoint) -> Option<&'a str> {
    let existing = savepoint.spec.existing.as_ref().map(|existing| existing.path.as_str());
    status.path.as_deref().or(existing)
}

fn history_of(status: &SavepointStatus, job: Option<&FlinkSessionJob>) -> Option<JobId> {
    if let Some(trigger) = status.triggered() {
        return Some(trigger.job_id);
    }
    if status.phase == Some(SavepointPhase::Completed) {
        return status.job_id;
    }
    job?.status.as_ref()?.live_run().map(|run| run.job_id)
}

fn sessions(ctx: &Context, namespace: &str) -> Vec<(String, bool)> {
    let in_namespace = |session: &Arc<FlinkSession>| session.metadata.namespace.as_deref() == Some(namespace);
    let seen = |session: Arc<FlinkSession>| {
        let name = session.name_any();
        let cluster = ctx.registry.cluster(&SessionKey::new(namespace, &name));
        let up = cluster.is_some_and(|cluster| cluster.state().reach == Reach::Up);
        (name, up)
    };
    let mut sessions: Vec<_> = ctx
        .sessions
        .state()
        .into_iter()
        .filter(in_namespace)
        .map(seen)
        .collect();
    sessions.sort_unstable();
    sessions
}

fn siblings(ctx: &Context, namespace: &str, savepoint: &Savepoint) -> Vec<Arc<Savepoint>> {
    let Some(job) = savepoint.spec.job() else {
        return Vec::new();
    };
    let names = ctx.savepoint_index.of_job(namespace, job, &savepoint.name_any());
    names
        .iter()
        .filter_map(|name| ctx.savepoints.get(&ObjectRef::new(name).within(namespace)))
        .collect()
}

fn created(savepoint: &Savepoint) -> jiff::Timestamp {
    let created = savepoint.metadata.creation_timestamp.as_ref();
    created.map_or(jiff::Timestamp::UNIX_EPOCH, |time| time.0)
}

/// Another Savepoint, as a decision sees it. One without a status has not been looked at yet.
fn sibling(savepoint: &Savepoint) -> Option<Sibling<'_>> {
    static NOTHING: std::sync::LazyLock<SavepointStatus> = std::sync::LazyLock::new(SavepointStatus::default);
    Some(Sibling {
        name: savepoint.metadata.name.as_deref()?,
        uid: savepoint.metadata.uid.as_deref()?,
        created: created(savepoint),
        deleting: savepoint.metadata.deletion_timestamp.is_some(),
        is_taken: savepoint.spec.existing.is_none(),
        status: savepoint.status.as_ref().unwrap_or(&NOTHING),
    })
}

/// What labels and annotations say. What cannot be read is ignored.
fn made(savepoint: &Savepoint) -> Made {
    let label = |key: &str| savepoint.labels().get(key).map(String::as_str);
    let annotation = |key: &str| savepoint.annotations().get(key).map(String::as_str);
    Made {
        origin: label(ORIGIN_LABEL).and_then(SavepointOrigin::of_label),
        job_id: annotation(JOB_ID_ANNOTATION).and_then(|text| text.parse().ok()),
        completion_time: annotation(COMPLETION_TIME_ANNOTATION).and_then(|text| text.parse().ok()),
        format: annotation(FORMAT_ANNOTATION).and_then(|text| match text {
            "Native" => Some(SavepointFormat::Native),
            "Canonical" => Some(SavepointFormat::Canonical),
            _ => None,
        }),
    }
}

fn remembered(memory: &SavepointMemory, version: &str, history_of: Option<JobId>) -> Remembered {
    let polled = memory.polled.as_ref();
    Remembered {
        task: Task {
            running: memory.running,
            unsent: memory.unsent,
            sent: memory.sent.clone(),
            polled: polled.map(|(polled, _)| polled.clone()),
            disposed: memory.disposed.clone(),
        },
        polled: polled.map(|(_, begun)| *begun),
        history: memory.history.clone().filter(|read| Some(read.job_id) == history_of),
        proof: memory.proof.clone().filter(|proof| proof.version == version),
        metadata: memory.metadata.clone(),
        job_proven_absent: memory
            .job_absent
            .is_some_and(|asked| asked.elapsed().as_secs() < PROVEN_SECONDS),
        namespace_terminating: memory.namespace_terminating,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_needs_an_import_is_known_before_it_is_registered() {
        let savepoint: Savepoint = serde_json::from_value(json!({
            "apiVersion": "flinkjobs.dev/v1alpha1", "kind": "Savepoint", "metadata": { "name": "a" },
            "spec": { "existing": { "path": "s3://b/x/" } },
        }))
        .unwrap();
        let mut status = SavepointStatus::default();
        assert_eq!(path(&status, &savepoint), Some("s3://b/x/"));
        status.path = Some("s3://b/x".to_owned());
        assert_eq!(path(&status, &savepoint), Some("s3://b/x"));
    }

    #[test]
    fn what_the_operator_wrote_on_a_savepoint_is_read_back_and_anything_else_ignored() {
        let read = |origin: &str, job_id: &str, time: &str, format: &str| {
            let savepoint: Savepoint = serde_json::from_value(json!({
                "apiVersion": "flinkjobs.dev/v1alpha1", "kind": "Savepoint",
                "metadata": { "name": "a", "labels": { ORIGIN_LABEL: origin }, "annotations": {
                    JOB_ID_ANNOTATION: job_id, COMPLETION_TIME_ANNOTATION: time, FORMAT_ANNOTATION: format,
                } },
                "spec": { "jobRef": { "name": "a" } },
            }))
            .unwrap();
            made(&savepoint)
        };
        let id = JobId([7; 16]);
        let time: jiff::Timestamp = "2027-01-15T08:00:00Z".parse().unwrap();
        for format in [SavepointFormat::Native, SavepointFormat::Canonical] {
            let written = read("suspend", &id.to_string(), &time.to_string(), &format!("{format:?}"));
            let expected = Made {
                origin: Some(SavepointOrigin::Suspend),
                job_id: Some(id),
                completion_time: Some(time),
                format: Some(format),
            };
            assert_eq!(written, expected);
        }
        assert_eq!(read("Suspend", "7", "yesterday", "native"), Made::default());
    }
}
