//! What the fake answers about state: savepoints, stops, disposals, checkpoints.

use std::time::Instant;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Shared,
    handlers::{Body, Handled, job_id, reading},
    job::{Id, Job, State},
    jobmanager::JobManager,
    operations::Outcome,
    printed::{Refusal, printed},
    storage::Snapshot,
    triggers::Trigger,
};

/// `web.checkpoints.history`.
const HISTORY: usize = 10;

/// The body of `POST /jobs/:jobid/savepoints`. Names that are not here are skipped, as Flink does.
#[derive(Deserialize, Default)]
#[serde(default)]
struct SavepointBody {
    #[serde(rename = "target-directory")]
    target_directory: Option<String>,
    #[serde(rename = "formatType")]
    format_type: Format,
    #[serde(rename = "triggerId")]
    trigger_id: Option<String>,
}

/// The body of `POST /jobs/:jobid/stop`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct StopBody {
    target_directory: Option<String>,
    format_type: Format,
    trigger_id: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct DisposalBody {
    savepoint_path: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Format {
    #[default]
    Canonical,
    Native,
}

fn read<'a, T: Deserialize<'a>>(body: &'a Body, class: &str) -> Result<T, Refusal> {
    let malformed = || Refusal::handler(400, &format!("Request did not match expected format {class}."));
    match body {
        Body::Bytes(bytes) => serde_json::from_slice(bytes).map_err(|_| malformed()),
        Body::Jar(_) => Err(malformed()),
    }
}

pub(super) fn trigger(shared: &Shared, job: &str, body: &Body, stops_job: bool) -> Handled {
    let job = job_id(job)?;
    let (class, (directory, format, id)) = if stops_job {
        let class = "StopWithSavepointRequestBody";
        let body: StopBody = read(body, class)?;
        (class, (body.target_directory, body.format_type, body.trigger_id))
    } else {
        let class = "SavepointTriggerRequestBody";
        let body: SavepointBody = read(body, class)?;
        (class, (body.target_directory, body.format_type, body.trigger_id))
    };
    let malformed = || Refusal::handler(400, &format!("Request did not match expected format {class}."));
    let id = id.map(|id| id.parse().map_err(|()| malformed())).transpose()?;
    let format = match format {
        Format::Canonical => "CANONICAL",
        Format::Native => "NATIVE",
    };
    reading(shared, |jm, now| {
        let id = id.unwrap_or_else(|| jm.random_id());
        let trigger = Trigger {
            job,
            id,
            directory: directory.unwrap_or_else(|| "file:/savepoints".to_owned()),
            format: format.to_owned(),
            stops_job,
        };
        jm.trigger(&trigger, now);
        Ok(json!({"request-id": id.to_string()}))
    })
}

fn trigger_id(text: &str) -> Result<Id, Refusal> {
    let told = format!(
        "Bad request, could not parse parameters: Cannot resolve path parameter (triggerid) from value \"{text}\"."
    );
    text.parse().map_err(|()| Refusal::handler(400, &told))
}

pub(super) fn savepoint_status(shared: &Shared, job: &str, trigger: &str) -> Handled {
    let (job, trigger) = (job_id(job)?, trigger_id(trigger)?);
    let outcome = reading(shared, |jm, now| jm.outcome((Some(job), trigger), now));
    let outcome = outcome.ok_or_else(|| Refusal::trigger_not_found(trigger, Some(job)))?;
    Ok(result(outcome, true))
}

pub(super) fn dispose(shared: &Shared, body: &Body) -> Handled {
    let body: DisposalBody = read(body, "SavepointDisposalRequest")?;
    let missing = || Refusal::handler(400, "Field savepoint-path must not be omitted or be null.");
    let path = body.savepoint_path.ok_or_else(missing)?;
    let id = reading(shared, |jm, now| jm.dispose(&path, now));
    Ok(json!({"request-id": id.to_string()}))
}

pub(super) fn disposal_status(shared: &Shared, trigger: &str) -> Handled {
    let trigger = trigger_id(trigger)?;
    let outcome = reading(shared, |jm, now| jm.outcome((None, trigger), now));
    let outcome = outcome.ok_or_else(|| Refusal::trigger_not_found(trigger, None))?;
    Ok(result(outcome, false))
}

fn result(outcome: Outcome, is_savepoint: bool) -> Value {
    let operation = match outcome {
        Outcome::Pending => return json!({"status": {"id": "IN_PROGRESS"}, "operation": null}),
        Outcome::Done(location) if is_savepoint => json!({"location": location}),
        Outcome::Done(_) => json!({}),
        Outcome::Failed(mut causes) => {
            let outermost = causes.first().cloned().unwrap_or_default();
            if is_savepoint {
                causes.insert(0, format!("java.util.concurrent.CompletionException: {outermost}"));
            }
            let printed = printed(&causes);
            let class = printed.split(':').next().unwrap_or_default();
            json!({"failure-cause": {"class": class, "stack-trace": printed, "serialized-throwable": "rO0ABXNy"}})
        }
    };
    json!({"status": {"id": "COMPLETED"}, "operation": operation})
}

pub(super) fn checkpoint_config(_: &JobManager, job: &Job, _: Instant) -> Value {
    let interval = job.settings.checkpoint_interval.map_or(i64::MAX, |interval| {
        i64::try_from(interval.as_millis()).unwrap_or(i64::MAX)
    });
    let (enabled, delete) = match job.settings.retention.as_deref() {
        Some("RETAIN_ON_CANCELLATION") => (true, false),
        Some("DELETE_ON_CANCELLATION") => (true, true),
        _ => (false, true),
    };
    let mode = if job.settings.checkpoint_interval.is_some() {
        "exactly_once"
    } else {
        "at_least_once"
    };
    json!({
        "mode": mode, "interval": interval, "timeout": 600_000, "min_pause": 0, "max_concurrent": 1,
        "externalization": {"enabled": enabled, "delete_on_cancellation": delete},
        "state_backend": "HashMapStateBackend", "checkpoint_storage": "FileSystemCheckpointStorage",
        "unaligned_checkpoints": false, "tolerable_failed_checkpoints": 0,
    })
}

/// A savepoint as `latest` and `history` show it.
fn entry(jm: &JobManager, snapshot: &Snapshot, seen: Instant) -> Value {
    let ended = snapshot.ended.filter(|(at, _)| *at <= seen);
    let (class, status) = match ended {
        None => ("in_progress", "IN_PROGRESS"),
        Some((_, true)) => ("completed", "COMPLETED"),
        Some((_, false)) => ("failed", "FAILED"),
    };
    let mut entry = json!({
        "className": class, "id": snapshot.number, "status": status, "is_savepoint": true,
        "savepointFormat": snapshot.format, "trigger_timestamp": jm.millis(Some(snapshot.triggered)),
        "checkpoint_type": if snapshot.stops_job { "SYNC_SAVEPOINT" } else { "SAVEPOINT" }, "tasks": {},
    });
    if let (Some((at, complete)), Some(fields)) = (ended, entry.as_object_mut()) {
        if complete {
            fields.insert("external_path".to_owned(), json!(snapshot.path));
            fields.insert("discarded".to_owned(), json!(false));
        } else {
            fields.insert("failure_timestamp".to_owned(), json!(jm.millis(Some(at))));
            fields.insert("failure_message".to_owned(), json!("Task has failed."));
        }
    }
    entry
}

pub(super) fn checkpoints(jm: &JobManager, job: &Job, now: Instant) -> Value {
    let restored = job
        .savepoint
        .as_ref()
        .filter(|_| job.last_entered(State::Created, now).is_some())
        .map(|path| {
            let at = jm.millis(job.started());
            json!({"id": 1, "restore_timestamp": at, "is_savepoint": !path.contains("/chk-"), "external_path": path})
        });
    let newest = job.checkpoint(now);
    let completed = newest.map(|checkpoint| {
        json!({
            "id": checkpoint.number, "status": "COMPLETED", "is_savepoint": false,
            "trigger_timestamp": jm.millis(Some(checkpoint.triggered)),
            "external_path": jm.checkpoint_path(job, checkpoint.number),
            "discarded": !job.settings.keeps_checkpoint(job.state(now)),
        })
    });
    let done = newest.map_or(0, |checkpoint| checkpoint.number);
    let seen = now.checked_sub(jm.options.history_is_late).unwrap_or(now);
    let known = job.snapshots.iter().rev().filter(|snapshot| snapshot.triggered <= seen);
    let history: Vec<Value> = known.take(HISTORY).map(|snapshot| entry(jm, snapshot, seen)).collect();
    let newest = |status: &str| history.iter().find(|entry| entry["status"] == status).cloned();
    let nothing = json!({"min": 0, "max": 0, "avg": 0, "p50": "NaN", "p90": "NaN", "p99": "NaN"});
    json!({
        "counts": {
            "restored": u8::from(restored.is_some()), "total": done, "in_progress": 0, "completed": done,
            "failed": 0,
        },
        "summary": {"state_size": nothing, "end_to_end_duration": nothing},
        "latest": {
            "completed": completed, "savepoint": newest("COMPLETED"), "failed": newest("FAILED"), "restored": restored,
        },
        "history": history,
    })
}
