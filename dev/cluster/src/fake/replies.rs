//! Flink's answers, in the shapes measured on 1.20.5 and 2.3.0. Fields that only one of them has depend on the version.

use std::{collections::BTreeMap, fmt::Write, time::Instant};

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    job::{Job, State},
    jobmanager::{JobManager, uuid},
};

/// The states of tasks, each a field of `tasks`.
const TASK_STATES: [&str; 10] = [
    "running",
    "canceling",
    "canceled",
    "created",
    "scheduled",
    "deploying",
    "reconciling",
    "finished",
    "initializing",
    "failed",
];

/// The state of all tasks of a job.
fn task_state(job: &Job, now: Instant) -> &'static str {
    match job.state(now) {
        State::Initializing => "initializing",
        State::Created => "created",
        State::Running if job.has_slots() => "running",
        State::Running | State::Restarting => "scheduled",
        State::Cancelling => "canceling",
        State::Canceled => "canceled",
        State::Failed => "failed",
        State::Finished => "finished",
    }
}

pub(super) fn config(jm: &JobManager) -> Value {
    json!({
        "refresh-interval": 3000,
        "timezone-name": "Coordinated Universal Time",
        "timezone-offset": 0,
        "flink-version": jm.options.version,
        "flink-revision": "0000000 @ 2026-01-01T00:00:00+00:00",
        "features": {
            "web-submit": jm.options.submission_enabled,
            "web-cancel": true,
            "web-rescale": false,
            "web-history": false,
        },
    })
}

pub(super) fn overview(jm: &JobManager, now: Instant) -> Value {
    let count = |wanted: Option<State>| {
        let states = jm.process.jobs.values().map(|job| job.state(now));
        let matches = |state: State| wanted.map_or_else(|| !state.is_terminal(), |wanted| wanted == state);
        states.filter(|state| matches(*state)).count()
    };
    json!({
        "taskmanagers": jm.options.task_managers,
        "slots-total": jm.options.slots(),
        "slots-available": jm.free_slots(),
        "jobs-running": count(None),
        "jobs-finished": count(Some(State::Finished)),
        "jobs-cancelled": count(Some(State::Canceled)),
        "jobs-failed": count(Some(State::Failed)),
        "flink-version": jm.options.version,
        "flink-commit": "0000000",
    })
}

/// The folder that is the process's own.
fn web_folder(jm: &JobManager) -> String {
    format!("/tmp/flink-web-{}", uuid(jm.process.identity))
}

/// The folder of uploaded jars.
pub(super) fn upload_folder(jm: &JobManager) -> String {
    let parent = if jm.options.upload_dir {
        "/opt/flink/uploads".to_owned()
    } else {
        web_folder(jm)
    };
    format!("{parent}/flink-web-upload")
}

pub(super) fn jobmanager_config(jm: &JobManager) -> Value {
    let mut entries: BTreeMap<String, String> = jm.options.configuration.iter().cloned().collect();
    entries.insert("web.tmpdir".to_owned(), web_folder(jm));
    entries.insert("parallelism.default".to_owned(), "1".to_owned());
    entries.insert("execution.checkpointing.dir".to_owned(), jm.checkpoints().to_owned());
    if jm.options.upload_dir {
        entries.insert("web.upload.dir".to_owned(), "/opt/flink/uploads".to_owned());
    }
    entries
        .into_iter()
        .map(|(key, value)| json!({"key": key, "value": value}))
        .collect()
}

/// The job list. Written by hand: with ten thousand jobs it is four megabytes.
pub(super) fn jobs_overview(jm: &JobManager, now: Instant) -> Bytes {
    let mut body = String::with_capacity(512 * jm.process.jobs.len() + 16);
    body.push_str("{\"jobs\":[");
    for (n, job) in jm.process.jobs.values().enumerate() {
        if n > 0 {
            body.push(',');
        }
        write_job(&mut body, jm, job, now);
    }
    body.push_str("]}");
    body.into()
}

fn write_job(body: &mut String, jm: &JobManager, job: &Job, now: Instant) {
    let (start, end) = (jm.millis(job.started()), jm.millis(job.ended(now)));
    let duration = if end < 0 {
        jm.millis(Some(now)) - start
    } else {
        end - start
    };
    let name = Value::from(job.name.as_str());
    let kind = if jm.options.is_1x() {
        ""
    } else {
        "\"jobType\":\"STREAMING\",\"schedulerType\":\"Default\","
    };
    // Writing to a String cannot fail.
    let _ = write!(
        body,
        "{{\"jid\":\"{}\",\"name\":{name},{kind}\"start-time\":{start},\"end-time\":{end},\"duration\":{duration},\
         \"state\":\"{}\",\"last-modification\":{},\"tasks\":{{\"total\":{}",
        job.id,
        job.state(now).word(),
        jm.millis(job.modified(now)),
        job.parallelism,
    );
    let of_tasks = task_state(job, now);
    for state in TASK_STATES {
        let tasks = if state == of_tasks { job.parallelism } else { 0 };
        let _ = write!(body, ",\"{state}\":{tasks}");
    }
    body.push('}');
    if !jm.options.is_1x() {
        body.push_str(",\"pending-operators\":0");
    }
    body.push('}');
}

pub(super) fn job(jm: &JobManager, job: &Job, now: Instant) -> Value {
    let (start, end) = (jm.millis(job.started()), jm.millis(job.ended(now)));
    let entered = |state: State| jm.millis(job.last_entered(state, now)).max(0);
    let words = ["FAILING", "SUSPENDED", "RECONCILING"].map(|word| (word, 0));
    let timestamps: BTreeMap<&str, i64> = State::ALL
        .iter()
        .map(|state| (state.word(), entered(*state)))
        .chain(words)
        .collect();
    let of_tasks = task_state(job, now);
    let counts: BTreeMap<String, u32> = TASK_STATES
        .iter()
        .map(|state| (state.to_uppercase(), u32::from(*state == of_tasks)))
        .collect();
    let initialized = job.last_entered(State::Created, now).is_some();
    let vertices = if initialized {
        json!([{
            "id": "cbc357ccb763df2852fee8c4fc7d55f2", "name": "Source: numbers", "maxParallelism": 128,
            "parallelism": job.parallelism, "status": of_tasks.to_uppercase(), "start-time": start, "end-time": end,
            "duration": 0, "tasks": counts, "metrics": {"read-bytes": 0, "accumulated-busy-time": "NaN"},
        }])
    } else {
        json!([])
    };
    let mut reply = json!({
        "jid": job.id.to_string(), "name": job.name, "isStoppable": false, "state": job.state(now).word(),
        "job-type": "STREAMING", "start-time": start, "end-time": end, "duration": 0, "maxParallelism": -1,
        "now": jm.millis(Some(now)), "timestamps": timestamps, "vertices": vertices,
        "status-counts": if initialized { json!(counts) } else { json!({}) },
        "plan": {"jid": job.id.to_string(), "name": job.name, "type": "STREAMING", "nodes": []},
    });
    if let (false, Some(fields)) = (jm.options.is_1x(), reply.as_object_mut()) {
        fields.insert("application-id".to_owned(), json!(job.id.to_string()));
        fields.insert("schedulerType".to_owned(), json!("Default"));
        fields.insert("pending-operators".to_owned(), json!(0));
    }
    reply
}

pub(super) fn exceptions(jm: &JobManager, job: &Job, now: Instant) -> Value {
    let failed = job.last_entered(State::Failed, now);
    let failure = failed.and_then(|at| Some((jm.millis(Some(at)), job.failure.as_deref()?)));
    let entries: Value = failure
        .iter()
        .map(|(at, printed)| {
            let class = printed.split([':', '\n']).next().unwrap_or_default();
            json!({
                "exceptionName": class, "stacktrace": printed, "timestamp": at, "failureLabels": {},
                "concurrentExceptions": [],
            })
        })
        .collect();
    let history = json!({"entries": entries, "truncated": false});
    if jm.options.is_1x() {
        json!({
            "root-exception": failure.map(|(_, printed)| printed), "timestamp": failure.map(|(at, _)| at),
            "all-exceptions": [], "truncated": false, "exceptionHistory": history,
        })
    } else {
        json!({ "exceptionHistory": history })
    }
}

pub(super) fn jars(jm: &JobManager) -> Value {
    let jar = |(id, jar): (&String, &super::jobmanager::Jar)| {
        let entries = if jar.is_zip {
            json!([{"name": "dev.flinkjobs.testjobs.CounterJob", "description": null}])
        } else {
            json!([])
        };
        json!({"id": id, "name": jar.name, "uploaded": jar.uploaded.as_millisecond(), "entry": entries})
    };
    let files: Value = jm.process.jars.iter().map(jar).collect();
    json!({"address": "http://127.0.0.1:8081", "files": files})
}
