//! What a job gets: its jar, as it is at its place now, for as little traffic as possible.

use std::time::{Duration, Instant};

use devcluster::{jar_host::Fault, port};
use flink_job_operator::{
    api::Reason,
    artifact::{ArtifactError, ArtifactPolicy, Fetcher, JarSource, Sha256Sum, stub_jar},
};

use super::{Ground, content, error_of, jar_of, source};

#[tokio::test]
async fn a_jar_is_fetched_and_verified() {
    let ground = Ground::new();
    let jar = jar_of(300_000, 1);
    let sum = Sha256Sum::of(&jar);
    let plain = ground.jar("/x.jar", jar.clone());
    let secure = source(&ground.host.https_url("/x.jar"));
    let fetcher = ground.fetcher();
    for wanted in [plain, secure] {
        let got = fetcher
            .fetch(&JarSource {
                sha256: Some(sum),
                ..wanted
            })
            .await
            .unwrap();
        assert_eq!(content(&got), jar);
        assert_eq!((got.sha256(), got.size()), (sum, jar.len() as u64));
        assert!(got.validator().unwrap().etag().is_some() && !got.is_revalidated());
    }
    assert_eq!(fetcher.cache_use().files, 1, "equal content is stored once");
    for request in ground.host.requests() {
        let header = |name: &str| {
            request
                .headers
                .iter()
                .find(|(own, _)| own == name)
                .map(|(_, value)| value.as_str())
        };
        assert_eq!(header("accept-encoding"), Some("identity"));
        assert_eq!(
            (header("authorization"), header("referer"), header("cookie")),
            (None, None, None)
        );
    }
}

#[tokio::test]
async fn an_unchanged_jar_costs_no_body_but_always_a_question() {
    let ground = Ground::new();
    let wanted = ground.jar("/x.jar", jar_of(1000, 1));
    let fetcher = ground.fetcher();
    let first = fetcher.fetch(&wanted).await.unwrap();
    let second = fetcher.fetch(&wanted).await.unwrap();
    assert!(second.is_revalidated() && second.path() == first.path());
    assert_eq!(
        (ground.host.count("/x.jar", 200), ground.host.count("/x.jar", 304)),
        (1, 1)
    );

    // Another namespace asks for itself.
    let other = JarSource {
        namespace: "team-b".to_owned(),
        ..wanted.clone()
    };
    assert!(!fetcher.fetch(&other).await.unwrap().is_revalidated());
    assert_eq!(ground.host.count("/x.jar", 200), 2);

    // The right to read it can be taken away, and the content can change.
    ground.host.fault("/x.jar", Fault::Status(403));
    assert_eq!(
        fetcher.fetch(&wanted).await.unwrap_err().reason(),
        Reason::ArtifactForbidden
    );
    ground.host.mend("/x.jar");
    ground.host.serve("/x.jar", jar_of(1000, 2));
    let third = fetcher.fetch(&wanted).await.unwrap();
    assert!(!third.is_revalidated() && third.sha256() != first.sha256());
    ground.host.remove("/x.jar");
    assert_eq!(
        fetcher.fetch(&wanted).await.unwrap_err().reason(),
        Reason::ArtifactNotFound
    );
    assert!(first.path().exists(), "whoever holds a jar keeps it");
}

#[tokio::test]
async fn a_checksum_verifies_and_never_replaces_the_question() {
    let ground = Ground::new();
    let (jar, other) = (jar_of(1000, 1), jar_of(1000, 2));
    let wanted = JarSource {
        sha256: Some(Sha256Sum::of(&jar)),
        ..ground.jar("/x.jar", jar.clone())
    };
    let fetcher = ground.fetcher();
    fetcher.fetch(&wanted).await.unwrap();
    // The content is in the cache, but it is no longer at its place.
    ground.host.serve("/x.jar", other.clone());
    let error = fetcher.fetch(&wanted).await.unwrap_err();
    assert_eq!((error.reason(), error.is_permanent()), (Reason::ChecksumMismatch, true));
    let message = error.to_string();
    assert!(
        message.contains(&Sha256Sum::of(&other).to_string()) && message.contains("correct sha256"),
        "{message}"
    );
    // Other bytes under a known ETag do not pass either.
    ground.host.serve("/x.jar", jar);
    ground.host.fault("/x.jar", Fault::OtherContent(other));
    let fresh = ground.fetcher();
    assert_eq!(
        fresh.fetch(&wanted).await.unwrap_err().reason(),
        Reason::ChecksumMismatch
    );
}

#[tokio::test]
async fn requests_at_the_same_time_are_one() {
    let ground = Ground::new();
    let wanted = ground.jar("/x.jar", jar_of(1000, 1));
    ground.host.fault("/x.jar", Fault::Delay(Duration::from_millis(300)));
    let fetcher = ground.fetcher();
    let impatient = tokio::time::timeout(Duration::from_millis(100), fetcher.fetch(&wanted));
    let wrong = JarSource {
        sha256: Some(Sha256Sum::of(b"")),
        ..wanted.clone()
    };
    let patient = futures::future::join_all((0..50).map(|_| fetcher.fetch(&wanted)));
    let (impatient, patient, wrong) = tokio::join!(impatient, patient, fetcher.fetch(&wrong));
    assert!(impatient.is_err(), "the first caller gave up");
    assert_eq!(patient.iter().filter(|outcome| outcome.is_ok()).count(), 50);
    assert_eq!(
        wrong.unwrap_err().reason(),
        Reason::ChecksumMismatch,
        "each caller has a checksum of its own"
    );
    assert_eq!(ground.host.requests().len(), 1);

    // When nobody waits any more, the request ends, and the next caller starts a new one.
    ground.host.fault("/x.jar", Fault::Delay(Duration::from_secs(60)));
    assert!(
        tokio::time::timeout(Duration::from_millis(100), fetcher.fetch(&wanted))
            .await
            .is_err()
    );
    ground.host.mend("/x.jar");
    assert!(fetcher.fetch(&wanted).await.unwrap().is_revalidated());
}

#[tokio::test]
async fn one_namespace_does_not_take_the_turns_of_another() {
    let ground = Ground::new();
    let fetcher = ground.fetcher_with(|policy| (policy.concurrent, policy.concurrent_per_namespace) = (3, 2));
    let mut slow = tokio::task::JoinSet::new();
    for number in 0..20 {
        let path = format!("/slow-{number}.jar");
        let wanted = ground.jar(&path, jar_of(1000, 1));
        ground.host.fault(&path, Fault::Delay(Duration::from_secs(60)));
        let fetcher = fetcher.clone();
        slow.spawn(async move { fetcher.fetch(&wanted).await.map(drop) });
    }
    let begun = Instant::now();
    while ground.host.requests().len() < 2 {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{:?}",
            ground.host.requests()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(ground.host.requests().len(), 2);
    let other = JarSource {
        namespace: "team-b".to_owned(),
        ..ground.jar("/x.jar", jar_of(1000, 2))
    };
    tokio::time::timeout(Duration::from_secs(5), fetcher.fetch(&other))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_server_that_refuses_is_told_from_one_that_fails() {
    let ground = Ground::new();
    let wanted = ground.jar("/x.jar", jar_of(1000, 1));
    let fetcher = ground.fetcher();
    for (status, reason, permanent) in [
        (401, Reason::ArtifactForbidden, true),
        (403, Reason::ArtifactForbidden, true),
        (404, Reason::ArtifactNotFound, true),
        (410, Reason::ArtifactNotFound, true),
        (400, Reason::ArtifactNotFound, true),
        (204, Reason::ArtifactNotFound, true),
        (206, Reason::ArtifactNotFound, true),
        (304, Reason::ArtifactNotFound, true),
        (429, Reason::Submitting, false),
        (500, Reason::Submitting, false),
        (503, Reason::Submitting, false),
    ] {
        ground.host.fault("/x.jar", Fault::Status(status));
        let error = error_of(&ground, &fetcher, &wanted).await;
        assert_eq!(
            (error.reason(), error.is_permanent()),
            (reason, permanent),
            "{status}: {error}"
        );
        assert!(error.to_string().contains(&format!("HTTP {status}")), "{error}");
    }
    ground.host.mend("/x.jar");
    assert!(fetcher.fetch(&wanted).await.is_ok());
}

#[tokio::test]
async fn a_host_that_is_not_there_is_named() {
    let ground = Ground::new();
    let port = port::Closed::take().unwrap();
    let closed = port.address();
    let prefix = format!("http://{closed}/").parse().unwrap();
    let fetcher = ground.fetcher_with(|policy| {
        policy.allowed.push(prefix);
        policy.allow_http = true;
    });
    let error = error_of(&ground, &fetcher, &source(&format!("http://{closed}/x.jar?sig=s3cr3t"))).await;
    let message = error.to_string();
    assert!(
        !error.is_permanent() && message.contains(&closed.to_string()) && message.contains("refused"),
        "{message}"
    );
    assert!(!message.contains("s3cr3t"), "{message}");
    // `invalid` never resolves (RFC 6761).
    let error = error_of(&ground, &fetcher, &source("https://repo.invalid/x.jar")).await;
    assert!(
        !error.is_permanent() && error.to_string().contains("does not resolve"),
        "{error}"
    );
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let ground = Ground::new();
    ground.host.serve("/x.jar", stub_jar());
    let fetcher = ground.fetcher_with(|policy| policy.ca_bundle = None);
    let error = error_of(&ground, &fetcher, &source(&ground.host.https_url("/x.jar"))).await;
    assert!(matches!(error, ArtifactError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("--artifact-ca"), "{error}");
    assert!(ground.host.requests().is_empty());
}

#[tokio::test]
async fn settings_that_cannot_work_are_said_at_start() {
    let ground = Ground::new();
    let text = ground.folder.path().join("text");
    std::fs::write(&text, "no certificate").unwrap();
    for (bundle, folder) in [
        (Some(text.clone()), None),
        (Some("/nowhere/ca.crt".into()), None),
        (None, Some(text.clone())),
    ] {
        let mut policy = ground.policy.clone();
        policy.ca_bundle = bundle;
        policy.cache_dir = folder.unwrap_or(policy.cache_dir);
        let message = Fetcher::new(policy).unwrap_err().to_string();
        assert!(
            message.contains("--artifact-ca") || message.contains("--artifact-cache-dir"),
            "{message}"
        );
    }
    let message = |change: fn(&mut ArtifactPolicy)| {
        let mut policy = ground.policy.clone();
        change(&mut policy);
        Fetcher::new(policy).unwrap_err().to_string()
    };
    assert!(message(|policy| policy.cache_bytes = 1000).contains("--artifact-cache-size"));
}

#[tokio::test]
async fn the_stub_is_a_file_like_any_other() {
    let ground = Ground::new();
    let fetcher = ground.fetcher();
    let (first, second) = (fetcher.stub().await.unwrap(), fetcher.stub().await.unwrap());
    assert_eq!((first.path(), content(&first)), (second.path(), stub_jar()));
    assert_eq!(first.size(), stub_jar().len() as u64);
    assert_eq!(fetcher.cache_use().files, 1);
    drop((fetcher, second));
    assert!(first.path().exists());
    drop(first);
    assert_eq!(ground.files(), 0, "nothing is left when the process ends");
}
