//! Bodies that are too large, too slow, or no jar.

use std::time::{Duration, Instant};

use devcluster::jar_host::Fault;
use flink_job_operator::{
    api::Reason,
    artifact::{ArtifactError, JarFault, Pace, stub_jar},
};

use super::{Ground, RawHost, error_of, jar_of, source};

#[tokio::test]
async fn too_many_bytes_are_refused_whatever_the_server_announces() {
    let ground = Ground::new();
    let wanted = ground.jar("/x.jar", jar_of(100_000, 1));
    let fetcher = ground.fetcher_with(|policy| policy.max_bytes = 50_000);
    let mut errors = vec![error_of(&ground, &fetcher, &wanted).await];
    for fault in [
        Fault::Endless,
        Fault::ContentLength(u64::MAX - 5),
        Fault::ContentLength(1 << 40),
    ] {
        ground.host.fault("/x.jar", fault);
        errors.push(error_of(&ground, &fetcher, &wanted).await);
    }
    for error in errors {
        assert_eq!(
            (error.reason(), error.is_permanent()),
            (Reason::ArtifactTooLarge, true),
            "{error}"
        );
        assert!(error.to_string().contains("50000 bytes"), "{error}");
    }
    // A length that is too small cuts the jar.
    ground.host.fault("/x.jar", Fault::ContentLength(40_000));
    let error = error_of(&ground, &fetcher, &wanted).await;
    assert!(
        matches!(
            error,
            ArtifactError::NotAJar {
                fault: JarFault::Truncated,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn an_endless_chunked_body_is_cut() {
    let ground = Ground::new();
    let chunk = [b"10000\r\nPK\x03\x04".to_vec(), vec![0; 0x10000 - 4], b"\r\n".to_vec()].concat();
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let host = RawHost::start([head, chunk.repeat(100)].concat());
    let fetcher = ground.fetcher_with(|policy| {
        policy.max_bytes = 1 << 20;
        policy.allowed.push(host.url("/").parse().unwrap());
    });
    let error = error_of(&ground, &fetcher, &source(&host.url("/x.jar"))).await;
    assert_eq!(error.reason(), Reason::ArtifactTooLarge, "{error}");
}

#[tokio::test]
async fn a_server_that_drips_is_cut() {
    let ground = Ground::new();
    let wanted = ground.jar("/x.jar", jar_of(100_000, 1));
    ground.host.fault("/x.jar", Fault::Drip(1000));
    let begun = Instant::now();
    let window = Duration::from_millis(400);
    let fetcher = ground.fetcher_with(|policy| {
        policy.pace = Pace {
            bytes_per_second: 16 << 10,
            window,
        }
    });
    let error = error_of(&ground, &fetcher, &wanted).await;
    assert!(
        matches!(error, ArtifactError::TooSlow { .. }) && !error.is_permanent(),
        "{error}"
    );
    assert!(error.to_string().contains("16384 bytes a second"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    // Slow, but fast enough, and that for more than one window.
    let wanted = ground.jar("/y.jar", jar_of(500_000, 1));
    let fetcher = ground.fetcher_with(|policy| {
        policy.pace = Pace {
            bytes_per_second: 20_000,
            window: Duration::from_secs(2),
        }
    });
    ground.host.fault("/y.jar", Fault::Drip(100_000));
    assert!(fetcher.fetch(&wanted).await.is_ok());
}

#[tokio::test]
async fn the_whole_fetch_has_a_deadline() {
    let ground = Ground::new();
    let wanted = ground.jar("/x.jar", jar_of(100_000, 1));
    let fetcher = ground.fetcher_with(|policy| {
        policy.deadline = Duration::from_millis(500);
        policy.pace.bytes_per_second = 1;
    });
    for fault in [Fault::Drip(20_000), Fault::Delay(Duration::from_secs(60))] {
        ground.host.fault("/x.jar", fault);
        let error = error_of(&ground, &fetcher, &wanted).await;
        assert!(
            matches!(error, ArtifactError::Deadline { .. }) && !error.is_permanent(),
            "{error}"
        );
    }
    let fetcher = ground.fetcher_with(|policy| {
        policy.connect_timeout = Duration::from_millis(200);
        policy.reply_timeout = Duration::from_millis(200);
    });
    let error = error_of(&ground, &fetcher, &wanted).await;
    assert!(error.to_string().contains("no answer within"), "{error}");
}

#[tokio::test]
async fn what_is_no_jar_is_named() {
    let ground = Ground::new();
    let fetcher = ground.fetcher();
    let jar = jar_of(1000, 1);
    for (content, expected) in [
        (b"<!DOCTYPE html><html><title>Sign in</title>".to_vec(), JarFault::Html),
        (b"{\"errors\": [{\"status\": 404}]}".to_vec(), JarFault::NotZip),
        (b"PK\x03\x04".repeat(300), JarFault::Truncated),
        (jar[..jar.len() - 10].to_vec(), JarFault::Truncated),
        (b"PK".to_vec(), JarFault::NotZip),
        (Vec::new(), JarFault::NotZip),
    ] {
        let wanted = ground.jar("/x.jar", content.into());
        let error = error_of(&ground, &fetcher, &wanted).await;
        assert!(
            matches!(&error, ArtifactError::NotAJar { fault, .. } if *fault == expected),
            "{error}"
        );
        assert_eq!((error.reason(), error.is_permanent()), (Reason::ArtifactNotFound, true));
    }
}

#[tokio::test]
async fn replies_that_are_half_or_encoded_are_refused() {
    let ground = Ground::new();
    let jar = stub_jar();
    let reply = |head: &str, body: &[u8]| [head.as_bytes(), b"\r\n\r\n", body].concat();
    let half = &jar[..jar.len() / 2];
    let many = "X-A: b\r\n".repeat(200);
    for (reply, expected, permanent) in [
        // Encoded bytes are neither decoded nor taken for the jar.
        (
            reply(
                "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4",
                b"\x1f\x8b\x08\0",
            ),
            "Content-Encoding",
            true,
        ),
        (
            reply(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 12",
                b"<p>Hello</p>",
            ),
            "HTML page",
            true,
        ),
        // Without a length the end of the body may be a broken connection.
        (reply("HTTP/1.0 200 OK", half), "ended before it was complete", false),
        (
            reply("HTTP/1.1 200 OK\r\nContent-Length: 1000", half),
            "could not be reached",
            false,
        ),
        (
            reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", b"4\r\nPK\x03\x04\r\n"),
            "could not be reached",
            false,
        ),
        (
            reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", b"zzz"),
            "could not be reached",
            false,
        ),
        (
            reply(&format!("HTTP/1.1 200 OK\r\n{many}X: y"), half),
            "could not be reached",
            false,
        ),
        (b"SSH-2.0-OpenSSH\r\n".to_vec(), "could not be reached", false),
        (Vec::new(), "could not be reached", false),
        (b"HTTP/1.1 200 OK\r\n".to_vec(), "could not be reached", false),
    ] {
        let host = RawHost::start(reply);
        let fetcher = ground.fetcher_with(|policy| policy.allowed.push(host.url("/").parse().unwrap()));
        let error = error_of(&ground, &fetcher, &source(&host.url("/x.jar"))).await;
        assert!(
            error.to_string().contains(expected) && error.is_permanent() == permanent,
            "{expected}: {error}"
        );
        assert_eq!(host.connections(), 1, "nothing is retried behind the caller's back");
    }
}

#[tokio::test]
async fn the_cache_stays_under_its_cap() {
    let ground = Ground::new();
    let fetcher = ground.fetcher_with(|policy| (policy.max_bytes, policy.cache_bytes) = (200_000, 250_000));
    let wanted: Vec<_> = (0..5)
        .map(|n| ground.jar(&format!("/{n}.jar"), jar_of(100_000, n)))
        .collect();
    for source in &wanted {
        fetcher.fetch(source).await.unwrap();
        assert!(fetcher.cache_use().bytes <= 250_000);
    }
    assert_eq!((fetcher.cache_use().files, ground.files()), (2, 2));
    assert!(fetcher.fetch(&wanted[4]).await.unwrap().is_revalidated());
    assert!(!fetcher.fetch(&wanted[0]).await.unwrap().is_revalidated(), "evicted");
    let held = [
        fetcher.fetch(&wanted[1]).await.unwrap(),
        fetcher.fetch(&wanted[2]).await.unwrap(),
    ];
    let error = fetcher.fetch(&wanted[3]).await.unwrap_err();
    assert!(
        matches!(error, ArtifactError::CacheFull { .. }) && !error.is_permanent(),
        "{error}"
    );
    assert!(held.iter().all(|held| held.path().exists()));
    drop(held);
    assert!(fetcher.fetch(&wanted[3]).await.is_ok());
}
