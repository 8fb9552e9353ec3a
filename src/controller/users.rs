//! Who still needs the cluster of a session that is being deleted.

use std::time::Duration;

use jiff::Timestamp;
use kube::{Api, ResourceExt, api::ListParams};

use super::{
    context::{API_DEADLINE, Context},
    quorum,
};
use crate::{
    api::{
        FlinkSession, FlinkSessionJob, Phase, Savepoint,
        keys::{JOB_FINALIZER, SAVEPOINT_FINALIZER},
    },
    job::after,
    kubernetes::{ApiError, within},
};

/// A session waits for savepoints that are being deleted with their files as long as this, from the later of the two
/// deletions: such a savepoint may itself wait for a job that nobody deletes.
const DISPOSALS: Duration = Duration::from_secs(60);

/// The resources that may still have something on the cluster, as `KIND/NAME`, by quorum lists.
pub(super) async fn users(
    ctx: &Context,
    session: &FlinkSession,
    namespace: &str,
    now: Timestamp,
) -> Result<Vec<String>, ApiError> {
    let name = session.name_any();
    let jobs: Api<FlinkSessionJob> = Api::namespaced(ctx.client.clone(), namespace);
    let selected = ListParams::default().fields(&format!("spec.sessionRef.name={name}"));
    let jobs = within(API_DEADLINE, "list FlinkSessionJobs", jobs.list(&selected)).await?;
    let jobs = jobs.items.iter().filter(|job| is_at_work(job));
    let mut users: Vec<String> = jobs.map(|job| format!("FlinkSessionJob/{}", job.name_any())).collect();
    let savepoints: Api<Savepoint> = Api::namespaced(ctx.client.clone(), namespace);
    let savepoints = quorum::all(&savepoints, ListParams::default(), "list Savepoints").await?;
    let disposed = savepoints.iter().filter(|one| needs(one, session, now));
    users.extend(disposed.map(|one| format!("Savepoint/{}", one.name_any())));
    Ok(users)
}

/// Whether a job may still have something on the cluster.
fn is_at_work(job: &FlinkSessionJob) -> bool {
    let status = job.status.as_ref();
    let settled = status.is_some_and(|status| {
        status.live_run().is_none() && status.submission().is_none() && status.cancellation().is_none()
    });
    let phase = status.and_then(|status| status.phase);
    let ended = settled
        && matches!(
            phase,
            Some(Phase::Finished | Phase::Failed | Phase::Lost | Phase::Cancelled | Phase::Suspended | Phase::Draft)
        );
    job.finalizers().iter().any(|name| name == JOB_FINALIZER) && !ended
}

/// Whether a savepoint is being deleted with its files, which takes a cluster, and this one is not known to be the wrong one.
fn needs(savepoint: &Savepoint, session: &FlinkSession, now: Timestamp) -> bool {
    let (Some(deleted), Some(ends)) = (
        savepoint.metadata.deletion_timestamp.as_ref(),
        session.metadata.deletion_timestamp.as_ref(),
    ) else {
        return false;
    };
    let taken_on = savepoint.status.as_ref().and_then(|status| status.session.as_deref());
    savepoint.finalizers().iter().any(|name| name == SAVEPOINT_FINALIZER)
        && savepoint.spec.disposes()
        && taken_on.is_none_or(|name| name == session.name_any())
        && now < after(deleted.0.max(ends.0), DISPOSALS)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn session() -> FlinkSession {
        let object = json!({
            "apiVersion": "flinkjobs.dev/v1alpha1", "kind": "FlinkSession",
            "metadata": { "name": "s", "deletionTimestamp": "2027-01-15T08:00:00Z" },
            "spec": { "endpoint": { "url": "http://flink:8081" } },
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn a_session_waits_for_disposals_that_may_need_it_but_not_for_long() {
        let savepoint = |change: Value| -> Savepoint {
            let mut object = json!({
                "apiVersion": "flinkjobs.dev/v1alpha1", "kind": "Savepoint",
                "metadata": {
                    "name": "one", "deletionTimestamp": "2027-01-15T08:00:30Z", "finalizers": [SAVEPOINT_FINALIZER],
                },
                "spec": { "jobRef": { "name": "orders" }, "deletionPolicy": "Dispose" },
                "status": { "session": "s", "phase": "Completed" },
            });
            for (part, fields) in change.as_object().unwrap() {
                let into = object[part].as_object_mut().unwrap();
                into.extend(fields.as_object().unwrap().clone());
            }
            serde_json::from_value(object).unwrap()
        };
        let at = |time: &str, change: Value| needs(&savepoint(change), &session(), time.parse().unwrap());
        let (early, late) = ("2027-01-15T08:01:29Z", "2027-01-15T08:01:30Z");
        assert!(at(early, json!({})));
        assert!(!at(late, json!({})));
        assert!(at(early, json!({ "status": { "session": null } })));
        for other in [
            json!({ "status": { "session": "other" } }),
            json!({ "spec": { "deletionPolicy": "Retain" } }),
            json!({ "metadata": { "deletionTimestamp": null } }),
            json!({ "metadata": { "finalizers": [] } }),
        ] {
            assert!(!at(early, other.clone()), "{other}");
        }
    }
}
