//! What the tests of this module share.

use kube::api::ObjectMeta;

use super::*;
use crate::api::{FlinkSessionJob, FlinkSessionJobSpec};

/// A notice about a job of this name in namespace `etl`, for nobody yet.
pub(super) fn notice(name: &str) -> Notice {
    let spec: FlinkSessionJobSpec = serde_json::from_value(serde_json::json!({
        "sessionRef": { "name": "s" }, "job": { "jarURI": "https://repo.example/x.jar" }
    }))
    .unwrap();
    let mut job = FlinkSessionJob::new(name, spec);
    job.metadata = ObjectMeta {
        namespace: Some("etl".to_owned()),
        uid: Some(format!("uid-of-{name}")),
        generation: Some(3),
        ..job.metadata
    };
    Notice {
        subject: Subject::of(&job),
        reason: Reason::JobFailed,
        phase: "Failed",
        message: "it failed".to_owned(),
        time: "2026-11-21T05:00:00.5Z".parse().unwrap(),
        job_id: "0123456789abcdef0123456789abcdef".parse().ok(),
        attempt: Some(7),
        targets: Vec::new(),
    }
}

/// A target with an address of its own.
pub(super) fn target(url: &str) -> Target {
    let place = Place::Url(url.parse().expect(url));
    let name = "hook".to_owned();
    Target { name, place }
}
