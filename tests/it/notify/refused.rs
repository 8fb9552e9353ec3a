//! Addresses that are not connected to.

use axum::http::header;
use devcluster::JarHost;

use super::*;

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let receiver = Receiver::start().await;
    let ground = Ground::new(&[&receiver.url(1, "/"), &receiver.url(2, "/")]);
    for (n, status) in (1..).zip([301, 302, 303, 307, 308]) {
        let path = format!("/{status}");
        let elsewhere = Answer::Header(status, header::LOCATION, receiver.url(2, "/elsewhere"));
        receiver.answers(&path, [elsewhere]);
        ground.tell(&format!("job-{status}"), &receiver.url(1, &path));
        ground.outcome("Refused", n).await;
        assert_eq!(receiver.requests(&path).len(), 1);
    }
    assert!(receiver.requests("/elsewhere").is_empty());
}

#[tokio::test]
async fn without_the_administrators_word_nothing_goes_inside() {
    let host = JarHost::start().unwrap();
    let port = host.https_address().port();
    let inside = [
        ("inside.example", "127.0.0.1"),
        ("private.example", "10.0.0.1"),
        ("mapped.example", "::ffff:127.0.0.1"),
        ("metadata.example", "169.254.169.254"),
    ];
    let ground = Ground::with(&[], names(inside), |policy| policy.ca_bundle = Some(host.ca_file()));
    let mut urls = vec![
        format!("https://127.0.0.1:{port}/x"),
        format!("https://2130706433:{port}/x"),
        format!("https://[::ffff:127.0.0.1]:{port}/x"),
        format!("https://localhost:{port}/x"),
        host.url("/x"),
        "https://169.254.169.254/latest/meta-data".to_owned(),
    ];
    urls.extend(inside.map(|(name, _)| format!("https://{name}:{port}/x")));
    for (n, url) in (1..).zip(&urls) {
        ground.tell(&format!("job-{n}"), url);
        ground.outcome("Refused", n).await;
    }
    assert!(host.requests().is_empty(), "{:?}", host.requests());
}

#[tokio::test]
async fn with_a_list_only_what_it_names_is_connected_to() {
    let receiver = Receiver::start().await;
    let port = receiver.url(1, "").rsplit(':').next().unwrap().to_owned();
    let named = format!("http://hook.example:{port}/");
    let prefix = receiver.url(1, "/hooks");
    let lookup = names([("hook.example", "127.0.0.1")]);
    let ground = Ground::with(&[&prefix, &named], lookup, |_| {});
    let refused = [
        receiver.url(1, "/hooks-of-others/x"),
        receiver.url(1, "/hooks/%2e%2e/x"),
        receiver.url(2, "/hooks/x"),
        "https://hooks.example/".to_owned(),
        // A name that was allowed does not lead to the own host.
        format!("{named}x"),
    ];
    let mut told = 0;
    for (n, url) in refused.iter().enumerate() {
        let entries = [hook(json!({ "url": url }))];
        // What no spec check lets through is not even queued.
        told += u64::from(!notice("x", &entries).targets.is_empty());
        ground.publish(&format!("job-{n}"), &entries);
        ground.outcome("Refused", told).await;
    }
    assert_eq!(told, 4);
    assert!(receiver.requests("/x").is_empty() && receiver.requests("/hooks/x").is_empty());
}

#[tokio::test]
async fn certificates_are_checked() {
    let host = JarHost::start().unwrap();
    let url = host.https_url("/x");
    let trusting = Ground::with(&[&url], SystemLookup, |policy| policy.ca_bundle = Some(host.ca_file()));
    // This host takes no POST, which is an answer.
    trusting.tell("a", &url);
    trusting.outcome("Refused", 1).await;
    let requests = host.requests();
    assert_eq!(
        (requests.len(), requests[0].method.as_str(), requests[0].tls),
        (1, "POST", true)
    );
    let strict = Ground::new(&[&url]);
    strict.tell("a", &url);
    strict.outcome("Failed", 1).await;
    assert_eq!(host.requests().len(), 1);
}

#[tokio::test]
async fn authorities_that_cannot_be_read_are_told_at_once() {
    let policy = NotifyPolicy {
        ca_bundle: Some("/nowhere/ca.pem".into()),
        ..NotifyPolicy::default()
    };
    let error = Notifier::new(Secrets::default().client(), policy, Metrics::new(), Timestamp::now).unwrap_err();
    assert!(error.to_string().contains("correct --notification-ca"), "{error}");
}
