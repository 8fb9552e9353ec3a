//! Objects of a store that speaks S3.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use devcluster::{ObjectStore, skip_real};
use flink_job_operator::{
    api::Reason,
    artifact::{ArtifactError, ArtifactPolicy, Fetcher, JarSource, S3Credentials, S3Settings, Sha256Sum, stub_jar},
    sensitive::Sensitive,
};
use futures::{StreamExt, stream};
use parking_lot::Mutex;

use super::{Names, content, jar_of, source};

/// What the store was asked.
#[derive(Debug, Clone)]
struct Asked {
    target: String,
    headers: HeaderMap,
    status: u16,
}

/// A store with the few requests that are needed: GET of an object, conditional and signed, and the folders in a folder.
#[derive(Clone, Default)]
pub(crate) struct Store {
    objects: Arc<Mutex<HashMap<String, Bytes>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// Instead of an answer.
    fault: Arc<Mutex<Option<StatusCode>>>,
    endless: Arc<std::sync::atomic::AtomicBool>,
}

impl Store {
    pub(crate) async fn start(&self) -> url::Url {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/{bucket}/{*key}", axum::routing::get(answer))
            .route("/{bucket}", axum::routing::get(list))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url.parse().unwrap()
    }

    pub(crate) fn put(&self, name: &str, content: Bytes) {
        self.objects.lock().insert(name.to_owned(), content);
    }

    /// A page of the folders below a prefix.
    fn folders(&self, bucket: &str, prefix: &str, token: Option<&String>) -> String {
        let root = format!("{bucket}/{prefix}");
        let folder = |key: &String| Some(key.strip_prefix(&root)?.split_once('/')?.0.to_owned());
        let folders: BTreeSet<String> = self.objects.lock().keys().filter_map(folder).collect();
        let from: usize = token.map_or(0, |token| token.parse().unwrap());
        let more = folders.len() > from + 2;
        let mut page = format!("<ListBucketResult><IsTruncated>{more}</IsTruncated>");
        if more {
            write!(page, "<NextContinuationToken>{}</NextContinuationToken>", from + 2).unwrap();
        }
        for name in folders.iter().skip(from).take(2) {
            write!(
                page,
                "<CommonPrefixes><Prefix>{prefix}{name}/</Prefix></CommonPrefixes>"
            )
            .unwrap();
        }
        page + "</ListBucketResult>"
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }
}

/// `ListObjectsV2` with a delimiter, two names to a page.
async fn list(
    State(store): State<Store>,
    Path(bucket): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Response {
    let fault = *store.fault.lock();
    let response = if let Some(status) = fault {
        (status, "<Error><Message>s3cr3t words of the server</Message></Error>").into_response()
    } else {
        assert_eq!((query["list-type"].as_str(), query["delimiter"].as_str()), ("2", "/"));
        store
            .folders(&bucket, &query["prefix"], query.get("continuation-token"))
            .into_response()
    };
    store.asked.lock().push(Asked {
        target: request.uri().to_string(),
        headers: request.headers().clone(),
        status: response.status().as_u16(),
    });
    response
}

async fn answer(State(store): State<Store>, Path((bucket, key)): Path<(String, String)>, request: Request) -> Response {
    let tag = request
        .headers()
        .get(header::IF_NONE_MATCH)
        .and_then(|tag| tag.to_str().ok())
        .map(str::to_owned);
    let object = store.objects.lock().get(&format!("{bucket}/{key}")).cloned();
    let error = |status| (status, "<Error><Message>s3cr3t words of the server</Message></Error>").into_response();
    let fault = *store.fault.lock();
    let response = match (fault, object) {
        (Some(status), _) => error(status),
        (None, None) => error(StatusCode::NOT_FOUND),
        (None, Some(object)) => {
            let etag = format!("\"{}\"", Sha256Sum::of(&object));
            let headers = [
                (header::ETAG, etag.clone()),
                (header::LAST_MODIFIED, "Sun, 06 Nov 1994 08:49:37 GMT".into()),
            ];
            if tag.as_deref() == Some(&etag) {
                (StatusCode::NOT_MODIFIED, headers).into_response()
            } else if store.endless.load(Ordering::Relaxed) {
                let zeros = stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[0; 4096])));
                let body = stream::iter([Ok(object)]).chain(zeros);
                let length = [(header::CONTENT_LENGTH, (1_u64 << 40).to_string())];
                (headers, length, Body::from_stream(body)).into_response()
            } else {
                let version = [("x-amz-version-id", "v1")];
                (headers, version, object).into_response()
            }
        }
    };
    let (target, headers) = (request.uri().to_string(), request.headers().clone());
    store.asked.lock().push(Asked {
        target,
        headers,
        status: response.status().as_u16(),
    });
    response
}

struct Ground {
    store: Store,
    policy: ArtifactPolicy,
    _folder: tempfile::TempDir,
}

impl Ground {
    async fn new() -> Self {
        let (store, folder) = (Store::default(), tempfile::tempdir().unwrap());
        let mut policy = ArtifactPolicy::new(folder.path());
        policy.allowed.push("team-a=s3://jars/team-a/".parse().unwrap());
        policy.s3 = S3Settings {
            endpoint: Some(store.start().await),
            region: Some("eu-test-1".to_owned()),
            credentials: S3Credentials::Static {
                key_id: "AKIDEXAMPLE".into(),
                secret: Sensitive::new("s3cr3t key"),
            },
            reads_state: false,
        };
        Self {
            store,
            policy,
            _folder: folder,
        }
    }

    fn fetcher(&self) -> Fetcher {
        Fetcher::new(self.policy.clone()).unwrap()
    }
}

#[tokio::test]
async fn an_object_is_fetched_signed_and_asked_for_again() {
    let ground = Ground::new().await;
    let jar = jar_of(300_000, 1);
    ground.store.put("jars/team-a/a b/x=1.jar", jar.clone());
    let fetcher = ground.fetcher();
    let wanted = JarSource {
        sha256: Some(Sha256Sum::of(&jar)),
        ..source("s3://jars/team-a/a b/x=1.jar")
    };
    let first = fetcher.fetch(&wanted).await.unwrap();
    assert_eq!(content(&first), jar);
    let validator = first.validator().unwrap();
    assert!(validator.etag().is_some() && validator.version() == Some("v1"));
    assert!(fetcher.fetch(&wanted).await.unwrap().is_revalidated());
    let asked = ground.store.asked();
    assert!(asked.iter().map(|asked| asked.status).eq([200, 304]));
    for asked in &asked {
        let signature = asked.headers[header::AUTHORIZATION].to_str().unwrap();
        assert!(
            signature.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"),
            "{signature}"
        );
        assert!(signature.contains("/eu-test-1/s3/aws4_request"), "{signature}");
        assert_eq!(asked.target, "/jars/team-a/a%20b/x%3D1.jar");
    }
    ground.store.put("jars/team-a/a b/x=1.jar", jar_of(1000, 2));
    assert_eq!(
        fetcher.fetch(&wanted).await.unwrap_err().reason(),
        Reason::ChecksumMismatch
    );
    assert!(!format!("{:?}", ground.policy).contains("s3cr3t"));
}

#[tokio::test]
async fn only_objects_that_the_administrator_names_are_read() {
    let ground = Ground::new().await;
    ground.store.put("jars/team-b/x.jar", stub_jar());
    ground.store.put("jars/team-a/x.jar", stub_jar());
    let fetcher = ground.fetcher();
    let stranger = JarSource {
        namespace: "team-b".into(),
        ..source("s3://jars/team-a/x.jar")
    };
    for closed in [
        source("s3://jars/team-b/x.jar"),
        source("s3://other/team-a/x.jar"),
        stranger,
    ] {
        let error = fetcher.fetch(&closed).await.unwrap_err();
        assert_eq!(error.reason(), Reason::ArtifactForbidden, "{error}");
        assert!(error.to_string().contains("--allowed-artifact"), "{error}");
    }
    assert!(ground.store.asked().is_empty());

    // Without credentials nobody's rights are lent.
    let mut policy = ground.policy.clone();
    policy.s3.credentials = S3Credentials::Anonymous;
    let fetcher = Fetcher::new(policy).unwrap();
    assert!(fetcher.fetch(&source("s3://jars/team-b/x.jar")).await.is_ok());
    assert!(!ground.store.asked()[0].headers.contains_key(header::AUTHORIZATION));
}

#[tokio::test]
async fn the_store_s_answers_have_the_same_words() {
    let ground = Ground::new().await;
    let fetcher = ground.fetcher();
    let wanted = source("s3://jars/team-a/x.jar");
    let error = fetcher.fetch(&wanted).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ArtifactNotFound, "{error}");
    ground.store.put("jars/team-a/x.jar", stub_jar());
    for (status, reason, permanent) in [
        (StatusCode::FORBIDDEN, Reason::ArtifactForbidden, true),
        (StatusCode::UNAUTHORIZED, Reason::ArtifactForbidden, true),
        (StatusCode::MOVED_PERMANENTLY, Reason::ArtifactForbidden, true),
        (StatusCode::SERVICE_UNAVAILABLE, Reason::Submitting, false),
        (StatusCode::INTERNAL_SERVER_ERROR, Reason::Submitting, false),
    ] {
        *ground.store.fault.lock() = Some(status);
        let before = ground.store.asked().len();
        let error = fetcher.fetch(&wanted).await.unwrap_err();
        assert_eq!(
            (error.reason(), error.is_permanent()),
            (reason, permanent),
            "{status}: {error}"
        );
        assert!(!format!("{error} {error:?}").contains("s3cr3t"), "{error:?}");
        assert_eq!(
            ground.store.asked().len(),
            before + 1,
            "nothing is retried behind the caller's back"
        );
    }
    *ground.store.fault.lock() = None;
    assert!(fetcher.fetch(&wanted).await.is_ok());
}

#[tokio::test]
async fn whether_an_object_is_there_is_told_where_state_is_looked_at() {
    let mut ground = Ground::new().await;
    let key = "team-a/savepoint-1/_metadata";
    // Nothing is asked of a store that nobody has allowed.
    ground.policy.allowed.clear();
    let error = ground.fetcher().has_object("state", key).await.unwrap_err();
    assert!(error.to_string().contains("not set up"), "{error}");
    ground.policy.s3.reads_state = true;
    let fetcher = ground.fetcher();
    assert_eq!(fetcher.has_object("state", key).await, Ok(false));
    ground
        .store
        .put(&format!("state/{key}"), Bytes::from_static(b"metadata"));
    assert_eq!(fetcher.has_object("state", key).await, Ok(true));
    let asked = ground.store.asked();
    assert_eq!(asked.len(), 2);
    assert!(
        asked
            .iter()
            .all(|asked| asked.headers.contains_key(header::AUTHORIZATION))
    );
    // That the store does not say is not that it is not there.
    for status in [StatusCode::FORBIDDEN, StatusCode::SERVICE_UNAVAILABLE] {
        *ground.store.fault.lock() = Some(status);
        let error = fetcher.has_object("state", key).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cr3t"), "{error:?}");
    }
    // Jars come from where they came from before.
    *ground.store.fault.lock() = None;
    ground.store.put("jars/team-a/x.jar", stub_jar());
    assert!(fetcher.fetch(&source("s3://jars/team-a/x.jar")).await.is_err());
}

#[tokio::test]
async fn the_folders_of_a_folder_are_listed_where_state_is_looked_at() {
    let mut ground = Ground::new().await;
    let folder = "team-a/checkpoints/0123";
    ground.policy.allowed.clear();
    let error = ground.fetcher().folders("state", folder).await.unwrap_err();
    assert!(error.to_string().contains("not set up"), "{error}");
    ground.policy.s3.reads_state = true;
    let fetcher = ground.fetcher();
    assert_eq!(fetcher.folders("state", folder).await, Ok(Vec::new()));
    for key in [
        "chk-9/_metadata",
        "chk-9/a",
        "chk-10/_metadata",
        "chk-8/b",
        "shared/x",
        "y",
    ] {
        ground
            .store
            .put(&format!("state/{folder}/{key}"), Bytes::from_static(b"x"));
    }
    ground.store.put(
        "state/team-a/checkpoints/01234/chk-99/_metadata",
        Bytes::from_static(b"x"),
    );
    let mut folders = fetcher.folders("state", folder).await.unwrap();
    folders.sort();
    assert_eq!(folders, ["chk-10", "chk-8", "chk-9", "shared"]);
    let asked = ground.store.asked();
    assert!(
        asked
            .iter()
            .all(|asked| asked.headers.contains_key(header::AUTHORIZATION))
    );
    for (status, permanent) in [(StatusCode::FORBIDDEN, true), (StatusCode::SERVICE_UNAVAILABLE, false)] {
        *ground.store.fault.lock() = Some(status);
        let error = fetcher.folders("state", folder).await.unwrap_err();
        assert_eq!(error.is_permanent(), permanent, "{error}");
        assert!(!format!("{error} {error:?}").contains("s3cr3t"), "{error:?}");
    }
}

/// What the operator hears from a store with these objects: of each object and of each folder.
async fn told(mut policy: ArtifactPolicy, endpoint: &str) -> Vec<String> {
    policy.s3.endpoint = Some(endpoint.parse().unwrap());
    policy.s3.reads_state = true;
    let fetcher = Fetcher::new(policy).unwrap();
    let mut told = Vec::new();
    for key in [
        "team-a/chk-1/_metadata",
        "team-a/chk-1",
        "team-a/chk-3/_metadata",
        "team-a/b c=1.jar",
    ] {
        told.push(format!("{key}: {:?}", fetcher.has_object("jars", key).await));
    }
    for folder in ["team-a", "team-a/chk-1", "team-a/chk", "team", "none"] {
        let mut folders = fetcher.folders("jars", folder).await.unwrap();
        folders.sort();
        told.push(format!("{folder}/: {folders:?}"));
    }
    for jar in ["b c=1.jar", "none.jar"] {
        let wanted = source(&format!("s3://jars/team-a/{jar}"));
        for _ in 0..2 {
            let answer = fetcher.fetch(&wanted).await;
            let answer = answer.map(|jar| (Sha256Sum::of(&content(&jar)), jar.is_revalidated()));
            told.push(format!("{jar}: {:?}", answer.map_err(|error| error.reason())));
        }
    }
    told
}

#[tokio::test]
async fn the_imitated_store_answers_as_another_s3_server_does() {
    if skip_real("the_imitated_store_answers_as_another_s3_server_does") {
        return;
    }
    let ground = Ground::new().await;
    let imitated = ground.policy.s3.endpoint.clone().unwrap();
    let other = ObjectStore::start().await.unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for name in [
        "chk-1/_metadata",
        "chk-1/x",
        "chk-2/y",
        "chk-10/_metadata",
        "shared/z",
        "b c=1.jar",
    ] {
        let name = format!("jars/team-a/{name}");
        ground.store.put(&name, stub_jar());
        let url = format!("{}{name}", other.url());
        http.put(url)
            .body(stub_jar())
            .send()
            .await
            .unwrap()
            .error_for_status()
            .unwrap();
    }
    let expected = told(ground.policy.clone(), imitated.as_str()).await;
    assert_eq!(told(ground.policy.clone(), other.url()).await, expected);
    assert!(
        expected.contains(&"team-a/: [\"chk-1\", \"chk-10\", \"chk-2\", \"shared\"]".to_owned()),
        "{expected:#?}"
    );
}

#[tokio::test]
async fn the_same_bounds_hold() {
    let ground = Ground::new().await;
    let wanted = source("s3://jars/team-a/x.jar");
    ground.store.put("jars/team-a/x.jar", Bytes::from_static(b"<html>"));
    let error = ground.fetcher().fetch(&wanted).await.unwrap_err();
    assert!(matches!(error, ArtifactError::NotAJar { .. }), "{error}");

    ground.store.put("jars/team-a/x.jar", jar_of(10_000, 1));
    let mut policy = ArtifactPolicy {
        max_bytes: 5000,
        ..ground.policy.clone()
    };
    let error = Fetcher::new(policy.clone()).unwrap().fetch(&wanted).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ArtifactTooLarge, "{error}");
    ground.store.endless.store(true, Ordering::Relaxed);
    (policy.max_bytes, policy.cache_bytes) = (1 << 50, 1 << 50);
    policy.deadline = Duration::from_millis(300);
    let fetcher = Fetcher::new(policy).unwrap();
    let error = fetcher.fetch(&wanted).await.unwrap_err();
    assert!(matches!(error, ArtifactError::Deadline { .. }), "{error}");
    assert_eq!(fetcher.cache_use().bytes, 0);
}

#[tokio::test]
async fn the_store_s_address_is_checked_too() {
    let ground = Ground::new().await;
    let wanted = source("s3://jars/team-a/x.jar");
    let names = Names::default();
    names.answer("s3.corp.example", &["169.254.169.254"]);
    names.answer("s3.eu-test-1.amazonaws.com", &["10.0.0.1"]);
    let mut policy = ground.policy.clone();
    for (endpoint, expected) in [
        (Some("https://s3.corp.example"), "link-local address 169.254.169.254"),
        (None, "private address 10.0.0.1"),
    ] {
        policy.s3.endpoint = endpoint.map(|endpoint| endpoint.parse().unwrap());
        let fetcher = Fetcher::with_lookup(policy.clone(), names.clone()).unwrap();
        let error = fetcher.fetch(&wanted).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.reason(), Reason::ArtifactForbidden);
    }
    policy.s3.endpoint = Some("http://169.254.169.254/".parse().unwrap());
    assert!(Fetcher::new(policy).unwrap_err().to_string().contains("--s3-endpoint"));
}
