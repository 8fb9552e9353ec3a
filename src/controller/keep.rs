//! The Savepoints that a job makes: of what a stop left behind, and on a schedule.

use std::collections::BTreeMap;

use kube::{Api, ResourceExt, api::PostParams};
use tracing::info;

use super::context::{API_DEADLINE, Context};
use crate::{
    api::{
        FlinkSessionJob, Reason,
        intent::KeepIntent,
        keys,
        savepoint::{Existing, JobRef, Savepoint, SavepointSpec, Trigger},
    },
    job::{Refusal, ScheduledSavepoint, origin},
    kubernetes::{ApiError, within},
};

/// Creates the Savepoint, or finds it: its name, or why it cannot be there. Fails when it may be there tomorrow.
///
/// A name that another savepoint has (a job of the same name that was deleted) gets the end of the JobID behind it.
pub(super) async fn create(
    ctx: &Context,
    job: &FlinkSessionJob,
    keep: &KeepIntent,
) -> Result<Result<String, Refusal>, ApiError> {
    let namespace = job.namespace().unwrap_or_default();
    let api: Api<Savepoint> = Api::namespaced(ctx.client.clone(), &namespace);
    let mark: String = keep.job_id.to_string().chars().skip(24).collect();
    for name in [keep.name.clone(), format!("{}-{mark}", keep.name)] {
        let wanted = savepoint(&name, job, keep);
        match within(API_DEADLINE, "create Savepoint", api.create(&creation(), &wanted)).await {
            Ok(_) => {
                info!(namespace, name, path = keep.path, "made a savepoint a resource");
                return Ok(Ok(name));
            }
            Err(error) if error.is_already_exists() => {
                let there = within(API_DEADLINE, "get Savepoint", api.get_opt(&name)).await?;
                let existing = there.and_then(|there| there.spec.existing);
                if existing.is_some_and(|existing| existing.path == keep.path) {
                    return Ok(Ok(name));
                }
            }
            Err(error) if !error.retry_later() => {
                return Ok(Err(Refusal::new(Reason::SavepointFailed, error.to_string())));
            }
            Err(error) => return Err(error),
        }
    }
    let message = format!("other Savepoints have the names {0} and {0}-{mark}", keep.name);
    Ok(Err(Refusal::new(Reason::SavepointFailed, message)))
}

/// Creates a Savepoint that the schedule asks for, or finds it: the outer error is one that may pass.
pub(super) async fn schedule(
    ctx: &Context,
    job: &FlinkSessionJob,
    scheduled: &ScheduledSavepoint,
) -> Result<Result<(), Refusal>, ApiError> {
    let namespace = job.namespace().unwrap_or_default();
    let api: Api<Savepoint> = Api::namespaced(ctx.client.clone(), &namespace);
    let spec = SavepointSpec {
        job_ref: Some(reference(job)),
        trigger: Some(Trigger {
            format: Some(scheduled.format),
            ..Trigger::default()
        }),
        existing: None,
        deletion_policy: None,
    };
    let mut wanted = Savepoint::new(&scheduled.name, spec);
    wanted.metadata.labels = Some(labels(job, "schedule"));
    match within(API_DEADLINE, "create Savepoint", api.create(&creation(), &wanted)).await {
        Ok(_) => {
            info!(namespace, name = scheduled.name, "created a scheduled Savepoint");
            Ok(Ok(()))
        }
        Err(error) if error.is_already_exists() => Ok(Ok(())),
        Err(error) if !error.retry_later() => Ok(Err(Refusal::new(Reason::SavepointFailed, error.to_string()))),
        Err(error) => Err(error),
    }
}

fn creation() -> PostParams {
    PostParams {
        field_manager: Some(keys::FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

fn reference(job: &FlinkSessionJob) -> JobRef {
    JobRef {
        kind: None,
        name: job.name_any(),
    }
}

fn labels(job: &FlinkSessionJob, origin: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (keys::JOB_LABEL.to_owned(), job.name_any()),
        (keys::ORIGIN_LABEL.to_owned(), origin.to_owned()),
    ])
}

fn savepoint(name: &str, job: &FlinkSessionJob, keep: &KeepIntent) -> Savepoint {
    let spec = SavepointSpec {
        job_ref: Some(reference(job)),
        trigger: None,
        existing: Some(Existing {
            path: keep.path.clone(),
            kind: None,
            // Flink has just said that it is there.
            verify: Some(false),
        }),
        deletion_policy: None,
    };
    let mut savepoint = Savepoint::new(name, spec);
    savepoint.metadata.labels = Some(labels(job, origin(keep.purpose)));
    savepoint.metadata.annotations = Some(BTreeMap::from([
        (keys::JOB_ID_ANNOTATION.to_owned(), keep.job_id.to_string()),
        (keys::COMPLETION_TIME_ANNOTATION.to_owned(), keep.time.to_string()),
        (keys::FORMAT_ANNOTATION.to_owned(), format!("{:?}", keep.format)),
    ]));
    savepoint
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::intent::CancelPurpose;

    /// It outlives its job: nothing owns it, and everything about it stands on itself.
    #[test]
    fn a_savepoint_that_a_stop_left_says_whose_it_was_and_belongs_to_nobody() {
        let job: FlinkSessionJob = serde_json::from_value(json!({
            "apiVersion": "flinkjobs.dev/v1alpha1", "kind": "FlinkSessionJob",
            "metadata": { "name": "orders", "namespace": "n", "uid": "u" },
            "spec": { "sessionRef": { "name": "s" }, "job": { "entryClass": "a.B" } },
        }))
        .unwrap();
        for (purpose, origin) in [
            (CancelPurpose::Upgrade, "upgrade"),
            (CancelPurpose::Suspend, "suspend"),
            (CancelPurpose::Delete, "deletion"),
        ] {
            let keep = KeepIntent {
                name: "orders-1-x".to_owned(),
                path: "s3://b/savepoint-1".to_owned(),
                job_id: crate::flink::JobId([7; 16]),
                purpose,
                format: crate::api::job::SavepointFormat::Canonical,
                time: "2027-01-15T08:00:00Z".parse().unwrap(),
            };
            let made = serde_json::to_value(savepoint("orders-1-x", &job, &keep)).unwrap();
            let expected = json!({
                "apiVersion": "flinkjobs.dev/v1alpha1", "kind": "Savepoint",
                "metadata": {
                    "name": "orders-1-x",
                    "labels": { keys::JOB_LABEL: "orders", keys::ORIGIN_LABEL: origin },
                    "annotations": {
                        keys::JOB_ID_ANNOTATION: "07070707070707070707070707070707",
                        keys::COMPLETION_TIME_ANNOTATION: "2027-01-15T08:00:00Z",
                        keys::FORMAT_ANNOTATION: "Canonical",
                    },
                },
                "spec": {
                    "jobRef": { "name": "orders" },
                    "existing": { "path": "s3://b/savepoint-1", "verify": false },
                },
            });
            assert_eq!(made, expected);
        }
    }
}
