//! The Savepoints that a job could start from, or has to do with.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kube::{Api, ResourceExt, runtime::reflector::ObjectRef};

use super::{
    context::{API_DEADLINE, Context},
    quorum,
};
use crate::{
    api::{
        ConditionType, FlinkSessionJob, JobStatus, Reason, Savepoint, SavepointPhase, condition,
        intent::RestoreIntent,
        job::{LocalRef, RestoreFrom},
        state::{RestorePoint, StateKind},
    },
    flink::{UidHash, is_same_place},
    job::{Input, Refusal, SavepointKnown, SavepointStanding, UnderWay},
    kubernetes::{ApiError, within},
};

/// A start is decided on lists that were begun so long ago at the most.
const FRESH: Duration = Duration::from_secs(10);

/// What quorum reads said about the Savepoints of a job.
#[derive(Debug, Clone)]
pub(super) struct SavepointsRead {
    /// The one that `spec.restore` names, which was asked for besides those of the job.
    named: Option<String>,
    /// When the first request was begun.
    begun: Instant,
    known: Arc<Vec<SavepointKnown>>,
}

/// The Savepoints of a job, as the last reads told of them, if that is not long ago and none has changed since.
pub(super) fn known(
    read: Option<&SavepointsRead>,
    changed: Option<Instant>,
    job: &FlinkSessionJob,
) -> Input<Arc<Vec<SavepointKnown>>> {
    let read = read.filter(|read| {
        let unchanged = changed.is_none_or(|changed| changed < read.begun);
        unchanged && read.begun.elapsed() < FRESH && read.named.as_deref() == named(job)
    });
    read.map_or(Input::Pending, |read| Input::Ready(Arc::clone(&read.known)))
}

/// The Savepoint that `spec.restore` names.
fn named(job: &FlinkSessionJob) -> Option<&str> {
    let savepoint = job.spec.restore.as_ref()?.savepoint_ref.as_ref()?;
    Some(&savepoint.name)
}

/// Reads the Savepoints of a job, and the one that it names, from the API server's store.
pub(super) async fn read(ctx: &Context, job: &FlinkSessionJob, owner: UidHash) -> Result<(), ApiError> {
    let namespace = job.namespace().unwrap_or_default();
    let begun = Instant::now();
    let listed = quorum::savepoints_of(&ctx.client, &namespace, &job.name_any()).await?;
    let mut known: Vec<SavepointKnown> = listed.iter().map(as_known).collect();
    let named = named(job);
    if let Some(name) = named.filter(|name| known.iter().all(|other| other.name != *name)) {
        let api: Api<Savepoint> = Api::namespaced(ctx.client.clone(), &namespace);
        let found = within(API_DEADLINE, "get Savepoint", api.get_opt(name)).await?;
        known.extend(found.as_ref().map(as_known));
    }
    let read = SavepointsRead {
        named: named.map(ToOwned::to_owned),
        begun,
        known: Arc::new(known),
    };
    ctx.memories.with(owner, |memory| memory.savepoints = Some(read));
    Ok(())
}

fn as_known(savepoint: &Savepoint) -> SavepointKnown {
    let kind = savepoint.spec.existing.as_ref().and_then(|existing| existing.kind);
    SavepointKnown {
        name: savepoint.name_any(),
        kind: kind.unwrap_or(StateKind::Savepoint),
        job: savepoint.spec.job().map(ToOwned::to_owned),
        standing: standing(savepoint),
        job_id: savepoint.status.as_ref().and_then(|status| status.job_id),
    }
}

fn standing(savepoint: &Savepoint) -> SavepointStanding {
    let unusable = |why: String| SavepointStanding::Unusable(why);
    if savepoint.metadata.deletion_timestamp.is_some() {
        return unusable("it is being deleted".to_owned());
    }
    let Some(status) = &savepoint.status else {
        return SavepointStanding::Pending;
    };
    match (status.phase, &status.path, &status.claimed_by) {
        (Some(SavepointPhase::Completed), _, Some(job)) => unusable(format!(
            "its files belong to {job}, which was started from it with claimMode: Claim"
        )),
        (Some(SavepointPhase::Completed), Some(path), None) => SavepointStanding::Completed {
            path: path.clone(),
            // An import of unknown age is not newer than anything.
            time: status.completion_time.unwrap_or(Timestamp::MIN),
        },
        (Some(SavepointPhase::Completed), None, None) => unusable("where it is is not known".to_owned()),
        (None | Some(SavepointPhase::Pending | SavepointPhase::InProgress), ..) => SavepointStanding::Pending,
        (Some(SavepointPhase::Disposing), ..) => unusable("its files are being deleted".to_owned()),
        (Some(SavepointPhase::Failed | SavepointPhase::Abandoned), ..) => {
            let ready = condition::find(&status.conditions, ConditionType::Ready);
            unusable(ready.map_or_else(|| "there is none".to_owned(), |ready| ready.message.clone()))
        }
    }
}

/// What the cache says of the Savepoints of a job's current attempt: the newest that is complete, and whether one is being
/// taken.
pub(super) fn of_attempt(
    ctx: &Context,
    job: &FlinkSessionJob,
    status: &JobStatus,
) -> (Option<RestorePoint>, Option<UnderWay>) {
    let (namespace, name) = (job.namespace().unwrap_or_default(), job.name_any());
    let names = ctx.savepoint_index.of_job(&namespace, &name, "");
    let of_job: Vec<Arc<Savepoint>> = names
        .iter()
        .filter_map(|name| ctx.savepoints.get(&ObjectRef::new(name).within(&namespace)))
        .collect();
    let under_way = of_job.iter().filter_map(|savepoint| {
        let trigger = savepoint.status.as_ref()?.triggered()?;
        let owner = UidHash::of(savepoint.metadata.uid.as_deref().unwrap_or_default());
        let unsent = || {
            ctx.savepoint_memories
                .with(owner, |memory| memory.is_unsent(trigger.trigger_id))
        };
        let how = || if unsent() { UnderWay::Intended } else { UnderWay::Asked };
        (Some(trigger.job_id) == status.job_id).then(how)
    });
    let under_way = under_way.max();
    let points = of_job.iter().filter_map(|savepoint| point(savepoint));
    let newest = points
        .filter(|point| point.job_id.is_some() && point.job_id == status.job_id)
        .max_by(|one, other| (one.time, &one.path).cmp(&(other.time, &other.path)));
    (newest, under_way)
}

/// Another job that took over the files that this one names by their path.
pub(super) fn claimed_by(ctx: &Context, job: &FlinkSessionJob) -> Option<String> {
    let restore = job.spec.restore.as_ref()?;
    let path = restore
        .path
        .as_deref()
        .filter(|_| restore.from == Some(RestoreFrom::Named))?;
    let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
    // No Savepoint has that name: jobs are looked up by the path alone.
    let claimed_by = ctx.savepoint_index.usage(namespace, Some(path), "").claimed_by?;
    let own = format!("FlinkSessionJob/{}", job.name_any());
    (claimed_by != own).then_some(claimed_by)
}

fn point(savepoint: &Savepoint) -> Option<RestorePoint> {
    let status = savepoint.status.as_ref()?;
    let usable = status.is_restorable() && savepoint.metadata.deletion_timestamp.is_none();
    let known = as_known(savepoint);
    Some(RestorePoint {
        kind: known.kind,
        path: status.path.clone().filter(|_| usable)?,
        job_id: known.job_id,
        time: Some(status.completion_time?),
        savepoint_ref: Some(LocalRef { name: known.name }),
        gone: false,
    })
}

/// Whether the Savepoint that a submission starts from is still there to be started from; if not, why. Asked after the
/// intent was written, which names the path: whoever was to delete the files has either seen that, or has said before that
/// it deletes them.
pub(super) async fn is_kept(ctx: &Context, namespace: &str, restore: &RestoreIntent) -> Result<(), Refusal> {
    let Some(reference) = &restore.savepoint_ref else {
        return Ok(());
    };
    let api: Api<Savepoint> = Api::namespaced(ctx.client.clone(), namespace);
    let found = within(API_DEADLINE, "get Savepoint", api.get_opt(&reference.name)).await;
    let found = found.map_err(|error| Refusal::new(Reason::Submitting, error.to_string()))?;
    // One that is gone may have left its files; Flink says whether it has.
    let same = |savepoint: &Savepoint| {
        let path = savepoint.status.as_ref().and_then(|status| status.path.as_deref());
        path.is_some_and(|path| is_same_place(path, &restore.path))
    };
    let Some(savepoint) = found.filter(same) else {
        return Ok(());
    };
    let disposing = savepoint
        .status
        .is_some_and(|status| status.phase == Some(SavepointPhase::Disposing));
    if disposing {
        let message = format!(
            "the files of Savepoint {:?}, which the job was to start from, are being deleted; change spec.restore to start \
             from other state",
            reference.name
        );
        return Err(Refusal::new(Reason::StateNotFound, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn savepoint(status: &Value) -> Savepoint {
        serde_json::from_value(json!({
            "apiVersion": "flinkjobs.dev/v1alpha1", "kind": "Savepoint",
            "metadata": { "name": "one", "namespace": "n", "uid": "one" },
            "spec": { "jobRef": { "name": "orders" } }, "status": status,
        }))
        .unwrap()
    }

    fn standing_of(status: &Value) -> String {
        match standing(&savepoint(status)) {
            SavepointStanding::Completed { path, time } => format!("{path} {time}"),
            SavepointStanding::Pending => "pending".to_owned(),
            SavepointStanding::Unusable(why) => why,
        }
    }

    #[test]
    fn what_can_be_started_from_is_told_from_what_cannot() {
        let complete = |more: Value| {
            let mut status =
                json!({ "phase": "Completed", "path": "s3://b/x", "completionTime": "2027-01-15T08:00:00Z" });
            status
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            status
        };
        let failed = json!({ "phase": "Failed", "conditions": [{
            "type": "Ready", "status": "False", "reason": "SavepointFailed", "message": "no room",
            "lastTransitionTime": "2027-01-15T08:00:00Z",
        }] });
        let table = [
            (complete(json!({})), "s3://b/x 2027-01-15T08:00:00Z"),
            (
                complete(json!({ "claimedBy": "FlinkSessionJob/a" })),
                "claimMode: Claim",
            ),
            (complete(json!({ "phase": "Disposing" })), "being deleted"),
            (json!({}), "pending"),
            (json!({ "phase": "Pending" }), "pending"),
            (json!({ "phase": "InProgress" }), "pending"),
            (failed, "no room"),
        ];
        for (status, expected) in table {
            let told = standing_of(&status);
            assert!(told.contains(expected), "{status}: {told}");
        }
        let mut deleted = savepoint(&complete(json!({})));
        assert!(point(&deleted).is_some());
        deleted.metadata.deletion_timestamp = serde_json::from_value(json!("2027-01-15T08:00:00Z")).unwrap();
        assert!(matches!(standing(&deleted), SavepointStanding::Unusable(_)));
        assert_eq!(point(&deleted), None);
        // An import whose age nobody knows is older than any other.
        let mut import = complete(json!({}));
        import.as_object_mut().unwrap().remove("completionTime");
        let told = standing(&savepoint(&import));
        assert!(matches!(told, SavepointStanding::Completed { time, .. } if time == Timestamp::MIN));
        assert_eq!(point(&savepoint(&import)), None);
    }

    #[test]
    fn what_was_read_counts_until_a_savepoint_changes_or_another_is_named() {
        let job = |restore: Value| -> FlinkSessionJob {
            serde_json::from_value(json!({
                "apiVersion": "flinkjobs.dev/v1alpha1", "kind": "FlinkSessionJob", "metadata": { "name": "orders" },
                "spec": { "sessionRef": { "name": "s" }, "job": { "entryClass": "a.B" }, "restore": restore },
            }))
            .unwrap()
        };
        let begun = Instant::now();
        let read = SavepointsRead {
            named: None,
            begun,
            known: Arc::default(),
        };
        let is_ready = |changed, job: &FlinkSessionJob| matches!(known(Some(&read), changed, job), Input::Ready(_));
        let latest = job(json!({ "from": "Latest" }));
        assert!(is_ready(None, &latest));
        assert!(is_ready(begun.checked_sub(Duration::from_millis(1)), &latest));
        assert!(!is_ready(Some(begun), &latest), "it may have changed after it was read");
        assert!(!is_ready(
            None,
            &job(json!({ "from": "Named", "savepointRef": { "name": "one" } }))
        ));
        assert!(matches!(known(None, None, &latest), Input::Pending));
        let old = SavepointsRead {
            begun: begun.checked_sub(FRESH).unwrap(),
            ..read.clone()
        };
        assert!(matches!(known(Some(&old), None, &latest), Input::Pending));
    }
}
