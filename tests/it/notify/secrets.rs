//! Addresses that are kept in Secrets.

use axum::http::header::LOCATION;

use super::*;
use crate::harness::Log;

#[tokio::test]
async fn an_address_in_a_secret_is_read_once_for_a_burst() {
    let receiver = Receiver::start().await;
    let ground = Ground::new(&[&receiver.url(1, "/")]);
    ground
        .secrets
        .put("hook", "jobs", &format!("{}\n", receiver.url(1, "/t0ken")));
    ground.tell_secret("job-0", "hook");
    ground.outcome("Delivered", 1).await;
    for n in 1..20 {
        ground.tell_secret(&format!("job-{n}"), "hook");
    }
    ground.outcome("Delivered", 20).await;
    assert_eq!((receiver.requests("/t0ken").len(), ground.secrets.asked()), (20, 1));
}

#[tokio::test]
async fn a_secret_that_changed_is_read_again() {
    let receiver = Receiver::start().await;
    let ground = Ground::with(
        &[&receiver.url(1, "/"), &receiver.url(2, "/")],
        SystemLookup,
        |policy| {
            policy.limits.secret_age = Duration::from_millis(50);
        },
    );
    ground.secrets.put("hook", "jobs", &receiver.url(1, "/old"));
    ground.tell_secret("a", "hook");
    ground.outcome("Delivered", 1).await;
    ground.secrets.put("hook", "jobs", &receiver.url(2, "/new"));
    tokio::time::sleep(Duration::from_millis(60)).await;
    ground.tell_secret("b", "hook");
    ground.outcome("Delivered", 2).await;
    assert_eq!(
        (receiver.requests("/old").len(), receiver.requests("/new").len()),
        (1, 1)
    );
}

#[tokio::test]
async fn a_secret_that_is_not_for_jobs_is_not_used() {
    let receiver = Receiver::start().await;
    let ground = Ground::new(&[&receiver.url(1, "/")]);
    ground.secrets.put("other", "sessions", &receiver.url(1, "/x"));
    ground.secrets.put("unlabelled", "", &receiver.url(1, "/x"));
    ground.secrets.put("no-address", "jobs", "what is this");
    ground.secrets.put("elsewhere", "jobs", "https://10.0.0.1/x");
    for (n, name) in (1..).zip(["other", "unlabelled", "no-address", "elsewhere", "missing", "forbidden"]) {
        ground.tell_secret(name, name);
        ground.outcome("Refused", n).await;
    }
    assert!(receiver.requests("/x").is_empty());
}

#[tokio::test]
async fn an_api_server_that_fails_is_asked_again() {
    let receiver = Receiver::start().await;
    let ground = Ground::with(&[&receiver.url(1, "/")], SystemLookup, |policy| {
        policy.limits.first_pause = Duration::from_secs(60);
        policy.limits.longest_pause = Duration::from_millis(400);
    });
    ground.tell_secret("a", "broken");
    while ground.secrets.asked() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ground.secrets.put("broken", "jobs", &receiver.url(1, "/x"));
    ground.outcome("Delivered", 1).await;
    assert_eq!(receiver.requests("/x").len(), 1);
}

/// Also where it leads to, which the log of an address in a spec tells.
#[tokio::test]
async fn where_an_address_in_a_secret_leads_to_is_not_printed() {
    let (log, _guard) = Log::listen();
    let names = || names([("inside.example", "10.11.12.13")]);
    for url in ["https://inside.example/", "https://10.11.12.13/"] {
        let ground = Ground::with(&[], names(), |_| {});
        ground.secrets.put("hook", "jobs", url);
        ground.tell_secret("a", "hook");
        ground.outcome("Refused", 1).await;
    }
    let text = log.text();
    assert_eq!(text.matches("leads to a private address, which").count(), 2, "{text}");
    assert!(
        !text.contains("10.11.12.13") && !text.contains("inside.example"),
        "{text}"
    );
    let ground = Ground::with(&[], names(), |_| {});
    ground.tell("b", "https://inside.example/");
    ground.outcome("Refused", 1).await;
    assert!(
        log.text().contains("leads to the private address 10.11.12.13"),
        "{text}"
    );
}

/// Every way that a delivery can end, at the most talkative level.
#[tokio::test]
async fn no_address_is_printed_whatever_happens() {
    let (log, _guard) = Log::listen();
    let receiver = Receiver::start().await;
    let ground = Ground::with(
        &[&receiver.url(1, "/"), "http://127.0.0.1:9/", "http://nobody.invalid/"],
        SystemLookup,
        |policy| {
            policy.limits.timeout = Duration::from_millis(300);
            policy.limits.burst = 1000;
        },
    );
    let path = |n: u32| format!("/canary-{n}?canary=canary");
    receiver.answers(&path(1), vec![Answer::Status(404); 10]);
    receiver.answers(&path(2), vec![Answer::Status(500); 10]);
    receiver.answers(&path(3), vec![Answer::After(PATIENCE, 204); 10]);
    let elsewhere = Answer::Header(302, LOCATION, receiver.url(1, "/canary"));
    receiver.answers(&path(4), vec![elsewhere; 10]);
    let urls = [
        receiver.url(1, &path(0)),
        receiver.url(1, &path(1)),
        receiver.url(1, &path(2)),
        receiver.url(1, &path(3)),
        receiver.url(1, &path(4)),
        format!("http://127.0.0.1:9{}", path(5)),
        format!("http://nobody.invalid{}", path(6)),
        format!("https://not-listed.example{}", path(7)),
        "https://user:canary@h.example/".to_owned(),
        "canary canary".to_owned(),
    ];
    let mut ends = 0;
    for (n, url) in urls.iter().enumerate() {
        let name = format!("secret-{n}");
        ground.secrets.put(&name, "jobs", url);
        ground.tell_secret(&format!("of-secret-{n}"), &name);
        let entries = [hook(json!({ "url": url }))];
        let notice = notice(&format!("of-spec-{n}"), &entries);
        assert!(
            !format!("{notice:?} {:?}", ground.notifier).contains("canary"),
            "{notice:?}"
        );
        ends += 1 + notice.targets.len() as u64;
        ground.notifier.publish(notice);
        let ended = || ground.count("Delivered") + ground.count("Refused") + ground.count("Failed");
        let began = Instant::now();
        while ended() < ends {
            assert!(began.elapsed() < PATIENCE, "{url}: {}", ground.metrics.text());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert_eq!(
        (
            ground.count("Delivered"),
            ground.count("Failed"),
            ground.count("Refused")
        ),
        (2, 8, 8)
    );
    let text = log.text();
    let given_up = text
        .lines()
        .filter(|line| line.contains("notification given up"))
        .count();
    assert_eq!(given_up, 16, "one line each");
    assert!(
        !text.contains("canary") && !ground.metrics.text().contains("canary"),
        "{text}"
    );
    // What is of help is there: the host of an address in a spec, and the Secret's name.
    assert!(
        text.contains("\"to\":\"nobody.invalid\"") && text.contains("the answer was 404"),
        "{text}"
    );
    assert!(text.contains("Secret \\\"secret-6\\\""), "{text}");
}
