//! Garbage in: whatever a server answers, reading it neither panics nor says more than it may.

use proptest::prelude::*;
use reqwest::StatusCode;
use serde::de::DeserializeOwned;

use super::{
    ClusterEndpoint,
    reply::{
        CheckpointConfig, CheckpointConfigInfo, CheckpointingStatistics, Checkpoints, ConfigEntry,
        DashboardConfiguration, DisposalStatus, FailureKind, JarList, JarRunResponse, JarUploadResponse, JobDetails,
        JobDetailsInfo, JobExceptionsInfo, JobsOverview, OperationFailure, OperationResult, SavepointStatus,
        TriggerResponse,
    },
    text::MESSAGE_CHARS,
    transport::{Call, Transport},
};

/// Bodies as Flink 1.20.5 and 2.3.0 write them, shortened: what mutations start from.
const BODIES: &[&str] = &[
    r#"{"jobs":[{"jid":"91792b5b58e34ec4b6c17be22d869fc9","name":"long","jobType":"STREAMING","start-time":1795241233545,"end-time":-1,"duration":2438,"state":"RUNNING","last-modification":1795241234262,"tasks":{"running":1,"total":1},"pending-operators":0}]}"#,
    r#"{"jid":"91792b5b58e34ec4b6c17be22d869fc9","name":"long","state":"RUNNING","start-time":1795241233545,"end-time":-1,"timestamps":{"CREATED":1795241233727,"FAILING":0},"vertices":[{"parallelism":1}],"status-counts":{"RUNNING":1},"plan":{"nodes":[]}}"#,
    r#"{"root-exception":"a.B: c\n\tat d\nCaused by: e.F: g","timestamp":1,"exceptionHistory":{"entries":[{"exceptionName":"a.B","stacktrace":"a.B: c\n\tat d","timestamp":1795241234262,"taskName":"t"}],"truncated":false}}"#,
    r#"{"latest":{"completed":{"id":3,"external_path":"file:/c/chk-3","trigger_timestamp":1795241234262,"is_savepoint":false,"discarded":false},"savepoint":null,"restored":{"id":1,"restore_timestamp":1,"is_savepoint":true,"external_path":"file:/s"}},"history":[{"id":2,"status":"COMPLETED","is_savepoint":true,"trigger_timestamp":1795241234262,"checkpoint_type":"SYNC_SAVEPOINT","external_path":"file:/s/2","discarded":false}]}"#,
    r#"{"mode":"at_least_once","interval":9223372036854775807,"externalization":{"enabled":true,"delete_on_cancellation":false},"state_backend":"HashMapStateBackend","checkpoint_storage":"FileSystemCheckpointStorage"}"#,
    r#"{"request-id":"4dad7334d9dc4bee98cab027b778fe2f"}"#,
    r#"{"status":{"id":"COMPLETED"},"operation":{"location":"file:/s/savepoint-a4985c-3476d9813565"}}"#,
    r#"{"status":{"id":"IN_PROGRESS"},"operation":null}"#,
    r#"{"status":{"id":"COMPLETED"},"operation":{"failure-cause":{"class":"a.B","stack-trace":"a.B: c\n\tat d\nCaused by: e.StopWithSavepointStoppingException: A savepoint has been created at: file:/s, but the corresponding job 0 failed during stopping.","serialized-throwable":"rO0ABXNy"}}}"#,
    r#"{"address":"http://h","files":[{"id":"f0eadf60-d4fd-4662-8e41-6c2923eac1b7_a.jar","name":"a.jar","uploaded":1795241233261,"entry":[]}]}"#,
    r#"{"filename":"/tmp/flink-web-e08b1742-3491-4144-b944-f101708fe9fe/flink-web-upload/f0eadf60-d4fd-4662-8e41-6c2923eac1b7_a.jar","status":"success"}"#,
    r#"{"refresh-interval":3000,"flink-version":"2.3.0","features":{"web-submit":true,"web-cancel":true}}"#,
    r#"[{"key":"web.tmpdir","value":"/tmp/flink-web-e08b1742-3491-4144-b944-f101708fe9fe"}]"#,
    r#"{"errors":["Internal server error.","<Exception on server side:\na.B: c\n\tat d\nCaused by: e.F: g\n\nEnd of exception on server side>"]}"#,
    r#"{"jobid":"91792b5b58e34ec4b6c17be22d869fc9"}"#,
];

/// One edit of a body.
#[derive(Debug, Clone)]
enum Edit {
    Cut(prop::sample::Index),
    Put(prop::sample::Index, Vec<u8>),
    Drop(prop::sample::Index),
    Repeat(prop::sample::Index, u8),
}

fn edit() -> impl Strategy<Value = Edit> {
    let tokens = prop::sample::select(vec![
        "null",
        "NaN",
        "-1e999",
        "[]",
        "{}",
        "\"",
        "\\",
        "\\ud800",
        "99999999999999999999",
        "true",
    ]);
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..4),
        tokens.prop_map(|token| token.as_bytes().to_vec())
    ];
    prop_oneof![
        any::<prop::sample::Index>().prop_map(Edit::Cut),
        (any::<prop::sample::Index>(), bytes).prop_map(|(at, bytes)| Edit::Put(at, bytes)),
        any::<prop::sample::Index>().prop_map(Edit::Drop),
        (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, n)| Edit::Repeat(at, n)),
    ]
}

fn apply(mut body: Vec<u8>, edits: Vec<Edit>) -> Vec<u8> {
    for edit in edits {
        if body.is_empty() {
            return body;
        }
        match edit {
            Edit::Cut(at) => body.truncate(at.index(body.len())),
            Edit::Put(at, bytes) => {
                let at = at.index(body.len());
                body.splice(at..at, bytes);
            }
            Edit::Drop(at) => {
                body.remove(at.index(body.len()));
            }
            Edit::Repeat(at, n) => {
                let tail = body[at.index(body.len())..].to_vec();
                for _ in 0..n % 4 {
                    body.extend_from_slice(&tail);
                }
            }
        }
    }
    body
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let mutated = (prop::sample::select(BODIES), prop::collection::vec(edit(), 0..4));
    prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..200),
        1 => ".{0,200}".prop_map(String::into_bytes),
        6 => mutated.prop_map(|(body, edits)| apply(body.as_bytes().to_vec(), edits)),
    ]
}

/// Reads a body as one kind of answer; an error must be fit to be shown.
fn read<T: DeserializeOwned>(transport: &Transport, name: &'static str, status: StatusCode, body: &[u8]) -> Option<T> {
    match transport.read::<T>(Call::get(name), status, body) {
        Ok(value) => Some(value),
        Err(error) => {
            let sentence = error.to_string();
            assert!(sentence.chars().count() <= MESSAGE_CHARS, "{sentence}");
            assert!(error.message().chars().count() <= MESSAGE_CHARS, "{error:?}");
            assert!(!sentence.chars().any(char::is_control), "{sentence:?}");
            None
        }
    }
}

/// The path and the failure in a savepoint's outcome.
fn outcome(status: Option<SavepointStatus>) -> (Option<String>, Option<OperationFailure>) {
    match status {
        Some(SavepointStatus::Completed { location }) => (Some(location), None),
        Some(SavepointStatus::Failed(failure)) => {
            let location = if let FailureKind::StoppingFailed { location } = &failure.kind {
                Some(location.clone())
            } else {
                None
            };
            (location, Some(failure))
        }
        _ => (None, None),
    }
}

fn disposed(status: Option<DisposalStatus>) -> Option<OperationFailure> {
    match status {
        Some(DisposalStatus::Failed(failure)) => Some(failure),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_body_panics_and_no_answer_grows(body in body(), status in prop::sample::select(vec![200_u16, 202, 400, 404, 500, 503])) {
        let transport = Transport::new(&ClusterEndpoint::new("http://flink:8081".parse().unwrap())).unwrap();
        let status = StatusCode::from_u16(status).unwrap();
        let size = body.len();
        if let Some(list) = read::<JobsOverview>(&transport, "GET /jobs/overview", status, &body) {
            // A job is an id and a state at least.
            prop_assert!(list.jobs.len() * 40 <= size);
        }
        if let Some(info) = read::<JobDetailsInfo>(&transport, "GET /jobs/:jobid", status, &body) {
            let details = JobDetails::from(info);
            prop_assert!(details.name.chars().count() <= MESSAGE_CHARS);
        }
        if let Some(info) = read::<JobExceptionsInfo>(&transport, "GET /jobs/:jobid/exceptions", status, &body) {
            let failures = info.failures(3);
            prop_assert!(failures.len() <= 3 && failures.iter().all(|failure| !failure.causes.is_empty()));
        }
        if let Some(statistics) = read::<CheckpointingStatistics>(&transport, "GET /jobs/:jobid/checkpoints", status, &body) {
            let _ = Checkpoints::from(statistics);
        }
        if let Some(list) = read::<JarList>(&transport, "GET /jars", status, &body) {
            let _ = list.jars();
        }
        if let Some(response) = read::<JarUploadResponse>(&transport, "POST /jars/upload", status, &body) {
            let _ = response.uploaded();
        }
        for savepoint in [true, false] {
            let call = if savepoint { "GET /jobs/:jobid/savepoints/:triggerid" } else { "GET /savepoint-disposal/:triggerid" };
            if let Some(result) = read::<OperationResult>(&transport, call, status, &body) {
                let (location, failure) = if savepoint { outcome(result.savepoint()) } else { (None, disposed(result.disposal())) };
                prop_assert!(location.is_none_or(|path| path.len() <= size && !path.contains(char::is_control)));
                prop_assert!(failure.is_none_or(|failure| failure.causes.len() <= 16));
            }
        }
        if let Some(info) = read::<CheckpointConfigInfo>(&transport, "GET /jobs/:jobid/checkpoints/config", status, &body) {
            let config = CheckpointConfig::from(info);
            prop_assert!(config.storage.chars().count() <= MESSAGE_CHARS);
        }
        let _ = read::<TriggerResponse>(&transport, "POST /jobs/:jobid/savepoints", status, &body);
        let _ = read::<JarRunResponse>(&transport, "POST /jars/:jarid/run", status, &body);
        let _ = read::<DashboardConfiguration>(&transport, "GET /config", status, &body);
        let _ = read::<Vec<ConfigEntry>>(&transport, "GET /jobmanager/config", status, &body);
    }
}
