//! What the libraries under our client log.

use std::time::Duration;

use flink_job_operator::kubernetes::{Limits, connect, within};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, api::PostParams};
use serde_json::json;

use super::Ground;
use crate::harness::Log;

#[tokio::test]
async fn no_secret_is_logged_even_at_trace() {
    let ground = Ground::new("telemetry").await;
    let (log, _guard) = Log::listen();

    let mut config = ground.config().await;
    let client = connect(&config, &Limits::default()).unwrap();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &ground.namespace);
    let secret: Secret =
        serde_json::from_value(json!({ "metadata": { "name": "s" }, "stringData": { "password": "canary" } })).unwrap();
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    secrets.get("s").await.unwrap();
    // kube logs the whole answer when it is not what was expected, here a Secret where a list of numbers should be.
    let path = format!("/api/v1/namespaces/{}/secrets/s", ground.namespace);
    let request = hyper::Request::get(path).body(Vec::new()).unwrap();
    within(Duration::from_secs(5), "get", client.request::<Vec<u32>>(request))
        .await
        .unwrap_err();
    // And a token that the server does not know.
    config.auth_info = serde_json::from_value(json!({ "token": "token-canary" })).unwrap();
    let stranger: Api<Secret> = Api::namespaced(connect(&config, &Limits::default()).unwrap(), &ground.namespace);
    let error = within(Duration::from_secs(5), "get", stranger.get("s"))
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "ApiUnauthorized");

    tracing::info!(target: "flink_job_operator", "the end");
    let text = log.text();
    assert!(text.contains("the end"));
    assert!(!text.contains("canary") && !text.contains("Y2FuYXJ5"), "{text}");
}
