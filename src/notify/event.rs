//! Notices as CloudEvents 1.0, in JSON.

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Notice, Subject};
use crate::{
    api::{Reason, condition::bounded},
    flink::JobId,
};

/// The media type of the body (HTTP protocol binding 1.0.2, §3.2: structured mode).
pub(super) const CONTENT_TYPE: &str = "application/cloudevents+json";

/// An event, ready to be sent.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) id: EventId,
    /// What it is about.
    pub(super) subject: Subject,
    pub(super) reason: Reason,
    pub(super) body: Bytes,
}

/// The id of an event: the same for each telling of the same occurrence, so that a receiver, and we, can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct EventId([u8; 16]);

impl EventId {
    /// Of the resource, the attempt, the reason and the second: Kubernetes keeps times of conditions in whole seconds.
    fn of(notice: &Notice) -> Self {
        let attempt = notice.attempt.map_or_else(String::new, |attempt| attempt.to_string());
        let second = notice.time.as_second().to_string();
        let parts = [&notice.subject.uid, attempt.as_str(), notice.reason.as_str(), &second];
        // None of them holds a line break.
        let digest = Sha256::digest(parts.join("\n"));
        let mut id = [0; 16];
        id.iter_mut().zip(digest).for_each(|(byte, hash)| *byte = hash);
        Self(id)
    }

    fn hex(self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    specversion: &'static str,
    id: String,
    source: String,
    r#type: String,
    subject: String,
    time: Timestamp,
    datacontenttype: &'static str,
    data: Data<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
    uid: &'a str,
    generation: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<JobId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<i64>,
    phase: &'a str,
    reason: &'static str,
    message: String,
}

impl Event {
    /// The event of a notice. None when it cannot be written as JSON, which no notice is known to cause.
    pub(super) fn of(notice: Notice) -> Option<Self> {
        let id = EventId::of(&notice);
        let subject = notice.subject;
        let reason = notice.reason.as_str();
        let envelope = Envelope {
            specversion: "1.0",
            id: id.hex(),
            source: format!(
                "/apis/{}/namespaces/{}/{}/{}",
                subject.api_version, subject.namespace, subject.plural, subject.name
            ),
            r#type: format!("dev.flinkjobs.job.{}", reason.to_ascii_lowercase()),
            subject: format!("{}/{}", subject.namespace, subject.name),
            time: notice.time,
            datacontenttype: "application/json",
            data: Data {
                kind: &subject.kind,
                namespace: &subject.namespace,
                name: &subject.name,
                uid: &subject.uid,
                generation: subject.generation,
                job_id: notice.job_id,
                attempt: notice.attempt,
                phase: notice.phase,
                reason,
                message: bounded(&notice.message),
            },
        };
        let body = serde_json::to_vec(&envelope).ok()?.into();
        Some(Self {
            id,
            subject,
            reason: notice.reason,
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::notify::test::notice;

    fn event(change: impl FnOnce(&mut Notice)) -> Value {
        let mut notice = notice("top-speed");
        change(&mut notice);
        serde_json::from_slice(&Event::of(notice).unwrap().body).unwrap()
    }

    #[test]
    fn an_event_has_the_attributes_of_cloudevents() {
        let id = event(|_| {})["id"].clone();
        assert!(id.as_str().unwrap().len() == 32, "{id}");
        let expected = json!({
            "specversion": "1.0",
            "id": id,
            "source": "/apis/flinkjobs.dev/v1alpha1/namespaces/etl/flinksessionjobs/top-speed",
            "type": "dev.flinkjobs.job.jobfailed",
            "subject": "etl/top-speed",
            "time": "2026-11-21T05:00:00.5Z",
            "datacontenttype": "application/json",
            "data": {
                "kind": "FlinkSessionJob",
                "namespace": "etl",
                "name": "top-speed",
                "uid": "uid-of-top-speed",
                "generation": 3,
                "jobId": "0123456789abcdef0123456789abcdef",
                "attempt": 7,
                "phase": "Failed",
                "reason": "JobFailed",
                "message": "it failed",
            },
        });
        assert_eq!(event(|_| {}), expected);
        let early = event(|notice| (notice.job_id, notice.attempt) = (None, None));
        assert!(early["data"].get("jobId").is_none() && early["data"].get("attempt").is_none());
    }

    #[test]
    fn the_id_is_of_the_occurrence() {
        let id = |change: fn(&mut Notice)| event(change)["id"].clone();
        let same = id(|_| {});
        assert_eq!(same, id(|notice| notice.message = "other words".to_owned()));
        assert_eq!(same, id(|notice| notice.time = "2026-11-21T05:00:00Z".parse().unwrap()));
        let others = [
            id(|notice| notice.time = "2026-11-21T05:00:01Z".parse().unwrap()),
            id(|notice| notice.attempt = Some(8)),
            id(|notice| notice.attempt = None),
            id(|notice| notice.reason = Reason::JobLost),
            id(|notice| notice.subject.uid = "another".to_owned()),
        ];
        for (at, other) in others.iter().enumerate() {
            assert!(*other != same && !others[..at].contains(other), "{at}");
        }
    }

    #[test]
    fn an_event_is_small_whatever_the_message() {
        // "Consumers SHOULD accept events of a size of at least 64 KiB" (CloudEvents 1.0.2, Size Limits).
        let long = event(|notice| notice.message = "\u{1}\"é".repeat(100_000));
        assert!(long.to_string().len() < 4096);
        assert!(long["data"]["message"].as_str().unwrap().len() <= 1024);
    }
}
