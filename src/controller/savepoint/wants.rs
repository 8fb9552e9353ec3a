//! What a decision asks for before it can go on. Each wish is idempotent, and fulfilled off the reconcile path.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kube::{Api, ResourceExt, runtime::reflector::ObjectRef};
use tracing::{debug, warn};

use super::{
    memory::{HistoryRead, ProofRead, Question},
    metadata,
    observe::Inputs,
};
use crate::{
    api::{FlinkSessionJob, Savepoint},
    controller::{
        act::refusal,
        context::{API_DEADLINE, Shared},
        quorum,
        wants::is_terminating,
    },
    flink::{Cause, FlinkError, OperationFailure, SavepointStatus as Told, UidHash},
    kubernetes::{ApiError, within},
    savepoint::{Plan, Polled, Touch, touch, usage},
};

/// After something could not be read the decision is not woken before this time.
const PAUSE: Duration = Duration::from_secs(2);

/// Sees to what the plan wants.
pub(super) fn fulfil(ctx: &Shared, savepoint: &Arc<Savepoint>, inputs: &Inputs, plan: &Plan) {
    let wants = plan.wants;
    let wish = Wish {
        ctx: Arc::clone(ctx),
        object: ObjectRef::from_obj(savepoint.as_ref()),
        owner: inputs.owner,
        namespace: inputs.namespace.clone(),
    };
    if wants.identity
        && let Some(cluster) = &inputs.followed
    {
        cluster.identify();
    }
    if wants.outcome {
        outcome(wish.clone(), inputs);
    }
    if wants.history {
        history(wish.clone(), inputs);
    }
    if wants.metadata {
        look(wish.clone(), savepoint);
    }
    if wants.proof {
        prove(wish.clone(), savepoint);
    }
    if wants.job_proof {
        prove_job_absent(wish.clone(), savepoint);
    }
    if wants.namespace {
        look_at_namespace(wish);
    }
}

/// For whom something is found out.
#[derive(Clone)]
struct Wish {
    ctx: Shared,
    object: ObjectRef<Savepoint>,
    owner: UidHash,
    namespace: String,
}

impl Wish {
    fn remember<T>(&self, change: impl FnOnce(&mut super::SavepointMemory) -> T) -> T {
        self.ctx.savepoint_memories.with(self.owner, change)
    }

    /// Takes up a question, unless it is being asked already. How many requests were sent before it.
    fn ask(&self, question: Question) -> Option<u64> {
        self.remember(|memory| memory.open.insert(question).then_some(memory.requests))
    }

    fn wake(self) {
        let _ = self.ctx.wake.savepoints.send(self.object);
    }
}

/// Asks what became of the attempt.
fn outcome(wish: Wish, inputs: &Inputs) {
    let (Some(cluster), Some(trigger)) = (inputs.followed.clone(), inputs.status().triggered().cloned()) else {
        return;
    };
    let Some(requests) = wish.ask(Question::Outcome) else {
        return;
    };
    // Whose secrets Flink's words may have in them.
    let job = inputs.job.as_ref().and_then(|job| job.uid());
    tokio::spawn(async move {
        let _turn = cluster.turn().await;
        let (begun, at) = (Instant::now(), Timestamp::now());
        let asked = cluster
            .client()
            .savepoint_status(trigger.job_id, trigger.trigger_id)
            .await;
        let redact = |text: &str| match &job {
            Some(uid) => wish.ctx.memories.with(UidHash::of(uid), |memory| memory.redact(text)),
            None => text.to_owned(),
        };
        let told = match asked {
            Ok(Told::Failed(failure)) => Ok(Told::Failed(redacted(failure, redact))),
            Ok(told) => Ok(told),
            Err(error) => {
                debug!(resource = %wish.object, %error, "what became of a savepoint could not be asked");
                Err(refusal(&error))
            }
        };
        if matches!(told, Ok(Told::Completed { .. } | Told::Failed(_))) {
            wish.ctx.taking.ended(trigger.job_id, trigger.trigger_id);
        }
        wish.remember(|memory| {
            memory.open.remove(&Question::Outcome);
            if memory.requests != requests {
                return;
            }
            let before = memory
                .polled
                .as_ref()
                .filter(|(polled, _)| polled.id == trigger.trigger_id);
            let before = before.and_then(|(polled, _)| polled.under_way);
            let under_way = if told == Ok(Told::InProgress) { Some(at) } else { before };
            let polled = Polled {
                id: trigger.trigger_id,
                at,
                told,
                under_way,
            };
            memory.polled = Some((polled, begun));
        });
        wish.wake();
    });
}

fn redacted(failure: OperationFailure, redact: impl Fn(&str) -> String) -> OperationFailure {
    let cause = |cause: Cause| Cause {
        message: redact(&cause.message),
        ..cause
    };
    OperationFailure {
        causes: failure.causes.into_iter().map(cause).collect(),
        ..failure
    }
}

/// Reads the history of checkpoints.
fn history(wish: Wish, inputs: &Inputs) {
    let (Some(cluster), Some(job_id)) = (inputs.followed.clone(), inputs.history_of()) else {
        return;
    };
    if wish.ask(Question::History).is_none() {
        return;
    }
    tokio::spawn(async move {
        let (begun, read) = {
            let _turn = cluster.turn().await;
            (Instant::now(), cluster.client().checkpoints(job_id).await)
        };
        let checkpoints = match read {
            Ok(checkpoints) => Some(Some(Arc::new(checkpoints))),
            Err(FlinkError::NotFound(_)) => Some(None),
            Err(error) => {
                debug!(resource = %wish.object, %job_id, %error, "the history of checkpoints could not be read");
                tokio::time::sleep(PAUSE).await;
                None
            }
        };
        wish.remember(|memory| {
            memory.open.remove(&Question::History);
            if let Some(checkpoints) = checkpoints {
                memory.history = Some(HistoryRead {
                    job_id,
                    begun,
                    checkpoints,
                });
            }
        });
        wish.wake();
    });
}

/// Looks whether `_metadata` of an import is there.
fn look(wish: Wish, savepoint: &Savepoint) {
    let Some(existing) = &savepoint.spec.existing else {
        return;
    };
    if wish.ask(Question::Metadata).is_none() {
        return;
    }
    let path = existing.path.clone();
    tokio::spawn(async move {
        let found = metadata::look(&wish.ctx, &wish.namespace, &path).await;
        wish.remember(|memory| {
            memory.open.remove(&Question::Metadata);
            memory.metadata = Some(found);
        });
        wish.wake();
    });
}

/// Finds out who needs the savepoint, by lists that are begun after this version of it was written.
fn prove(wish: Wish, savepoint: &Savepoint) {
    let status = savepoint.status.as_ref();
    let path = status.and_then(|status| status.path.clone());
    let version = savepoint.resource_version().unwrap_or_default();
    let job = savepoint.spec.job().map(ToOwned::to_owned);
    if wish.ask(Question::Users).is_none() {
        return;
    }
    tokio::spawn(async move {
        let lists = lists(&wish, job.as_deref()).await;
        if let Err(error) = &lists {
            warn!(resource = %wish.object, %error, "could not prove that nothing needs the savepoint");
            tokio::time::sleep(PAUSE).await;
        }
        wish.remember(|memory| {
            memory.open.remove(&Question::Users);
            if let Ok((jobs, siblings)) = lists {
                let touches = jobs.iter().map(|(name, touch)| (name.as_str(), touch));
                memory.proof = Some(ProofRead {
                    version,
                    usage: usage(touches, path.as_deref(), &wish.object.name),
                    siblings,
                });
            }
        });
        wish.wake();
    });
}

type Lists = (Vec<(String, Touch)>, Vec<Arc<Savepoint>>);

async fn lists(wish: &Wish, job: Option<&str>) -> Result<Lists, ApiError> {
    let (client, namespace) = (&wish.ctx.client, &wish.namespace);
    let jobs: Vec<FlinkSessionJob> = quorum::all_in(client, namespace, "list FlinkSessionJobs").await?;
    let touches = jobs
        .iter()
        .map(|job| (job.name_any(), touch(&job.spec, job.status.as_ref())))
        .collect();
    let siblings = match job {
        Some(job) => quorum::savepoints_of(client, namespace, job).await?,
        None => Vec::new(),
    };
    let others = siblings
        .into_iter()
        .filter(|other| other.name_any() != wish.object.name)
        .map(Arc::new)
        .collect();
    Ok((touches, others))
}

/// A quorum read of a job that the cache does not have.
fn prove_job_absent(wish: Wish, savepoint: &Savepoint) {
    let Some(job) = savepoint.spec.job().map(ToOwned::to_owned) else {
        return;
    };
    let asked = Instant::now();
    tokio::spawn(async move {
        let jobs: Api<FlinkSessionJob> = Api::namespaced(wish.ctx.client.clone(), &wish.namespace);
        match within(API_DEADLINE, "get FlinkSessionJob", jobs.get_opt(&job)).await {
            Ok(None) => wish.remember(|memory| memory.job_absent = Some(asked)),
            // The watch brings it.
            Ok(Some(_)) => return,
            Err(error) => {
                warn!(resource = %wish.object, %error, "could not prove that the job does not exist");
                tokio::time::sleep(PAUSE).await;
            }
        }
        wish.wake();
    });
}

/// Finds out whether the namespace is being deleted.
fn look_at_namespace(wish: Wish) {
    if wish.remember(|memory| memory.namespace_terminating) {
        return;
    }
    tokio::spawn(async move {
        if is_terminating(&wish.ctx, &wish.namespace).await {
            wish.remember(|memory| memory.namespace_terminating = true);
            wish.wake();
        }
    });
}
