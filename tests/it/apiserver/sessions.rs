//! The rules of `FlinkSession`.

use devcluster::skip_real;
use serde_json::json;

use super::{Ground, refused, with};

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "a table: one row for each rule")]
async fn sessions_are_accepted_or_refused_by_their_rules() {
    if skip_real("sessions_are_accepted_or_refused_by_their_rules") {
        return;
    }
    let sessions = Ground::new("rules", "FlinkSession").await;
    let service = json!({ "endpoint": { "serviceRef": { "name": "etl-rest" } } });
    let url = json!({ "endpoint": { "url": "https://flink.example:8081/etl" } });
    let auth = json!({ "basicSecretRef": { "name": "rest" } });
    for spec in [
        service.clone(),
        url.clone(),
        json!({ "flinkDeploymentRef": { "name": "etl" } }),
        with(
            &service,
            &[
                ("/endpoint/serviceRef/port", json!(65535)),
                ("/endpoint/serviceRef/scheme", json!("https")),
                ("/endpoint/auth", auth.clone()),
            ],
        ),
        with(
            &url,
            &[(
                "/endpoint/auth",
                json!({ "bearerSecretRef": { "name": "rest", "key": "token" } }),
            )],
        ),
        with(
            &url,
            &[
                ("/endpoint/url", json!("http://127.0.0.1:8081")),
                ("/endpoint/auth", auth.clone()),
            ],
        ),
        with(
            &url,
            &[(
                "/endpoint/tls",
                json!({ "caSecretRef": { "name": "ca" }, "serverName": "flink.example" }),
            )],
        ),
        with(
            &service,
            &[("/jobPolicy", json!({ "deniedConfiguration": ["state.*"] }))],
        ),
    ] {
        sessions
            .create(&spec)
            .await
            .unwrap_or_else(|error| panic!("{spec}: {error}"));
    }
    let both = "set exactly one of endpoint and flinkDeploymentRef";
    for (spec, words) in [
        (json!({}), vec!["spec", both]),
        (
            with(&service, &[("/flinkDeploymentRef", json!({ "name": "etl" }))]),
            vec![both],
        ),
        (
            json!({ "endpoint": {} }),
            vec!["spec.endpoint", "set exactly one of serviceRef and url"],
        ),
        (
            with(&service, &[("/endpoint/url", json!("http://x"))]),
            vec!["spec.endpoint", "set exactly one of serviceRef and url"],
        ),
        (
            with(&url, &[("/endpoint/url", json!("ftp://x"))]),
            vec!["spec.endpoint.url", "should match"],
        ),
        (
            with(&url, &[("/endpoint/url", json!("http://user:pw@x"))]),
            vec!["spec.endpoint.url", "should match"],
        ),
        (
            with(&service, &[("/endpoint/serviceRef/name", json!("A_b"))]),
            vec!["spec.endpoint.serviceRef.name"],
        ),
        (
            with(&service, &[("/endpoint/serviceRef/port", json!(0))]),
            vec!["spec.endpoint.serviceRef.port"],
        ),
        (
            with(&service, &[("/endpoint/serviceRef/scheme", json!("ftp"))]),
            vec!["spec.endpoint.serviceRef.scheme"],
        ),
        (
            with(&service, &[("/endpoint/auth", auth.clone())]),
            vec!["spec.endpoint", "serviceRef.scheme: https"],
        ),
        (
            with(
                &url,
                &[("/endpoint/url", json!("http://x")), ("/endpoint/auth", auth.clone())],
            ),
            vec!["spec.endpoint", "plain http"],
        ),
        (
            with(
                &url,
                &[
                    ("/endpoint/url", json!("http://127.0.0.1.evil.example")),
                    ("/endpoint/auth", auth.clone()),
                ],
            ),
            vec!["spec.endpoint", "plain http"],
        ),
        (
            with(&url, &[("/endpoint/auth", json!({}))]),
            vec!["spec.endpoint.auth", "basicSecretRef and bearerSecretRef"],
        ),
        (
            with(
                &service,
                &[("/jobPolicy", json!({ "deniedConfiguration": vec!["x"; 65] }))],
            ),
            vec!["spec.jobPolicy.deniedConfiguration"],
        ),
    ] {
        refused(sessions.create(&spec).await, &spec, &words);
    }
}

#[tokio::test]
async fn a_session_does_not_move() {
    if skip_real("a_session_does_not_move") {
        return;
    }
    let sessions = Ground::new("move", "FlinkSession").await;
    let url = json!({ "endpoint": { "url": "https://flink.example:8081" } });
    sessions.create_named("url", &url).await.unwrap();
    let service = json!({ "endpoint": { "serviceRef": { "name": "etl-rest", "port": 8081 } } });
    sessions.create_named("service", &service).await.unwrap();
    let deployment = json!({ "flinkDeploymentRef": { "name": "etl" } });
    sessions.create_named("deployment", &deployment).await.unwrap();
    let moves = "does not move to another cluster";
    for (name, change, words) in [
        (
            "url",
            json!({ "endpoint": { "url": "https://other.example" } }),
            vec!["spec.endpoint", moves],
        ),
        (
            "url",
            json!({ "endpoint": { "url": null, "serviceRef": { "name": "x" } } }),
            vec!["spec.endpoint", moves],
        ),
        (
            "url",
            json!({ "endpoint": null, "flinkDeploymentRef": { "name": "etl" } }),
            vec![moves],
        ),
        (
            "service",
            json!({ "endpoint": { "serviceRef": { "name": "other" } } }),
            vec!["spec.endpoint", moves],
        ),
        (
            "service",
            json!({ "endpoint": { "serviceRef": { "port": 80 } } }),
            vec!["spec.endpoint", moves],
        ),
        (
            "deployment",
            json!({ "flinkDeploymentRef": { "name": "other" } }),
            vec!["spec.flinkDeploymentRef", moves],
        ),
        (
            "deployment",
            json!({ "flinkDeploymentRef": null, "endpoint": { "url": "https://x" } }),
            vec![moves],
        ),
    ] {
        let patch = json!({ "spec": change });
        refused(sessions.patch(name, patch.clone()).await, &patch, &words);
    }
    // Credentials and certificates may change.
    let auth = json!({ "spec": { "endpoint": { "auth": { "basicSecretRef": { "name": "new" } }, "tls": { "serverName": "x" } } } });
    sessions.patch("url", auth).await.unwrap();
    sessions
        .patch("url", json!({ "spec": { "endpoint": { "auth": null } } }))
        .await
        .unwrap();
}
