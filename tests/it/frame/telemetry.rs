//! What the libraries under our client log.

use std::{io, sync::Arc, time::Duration};

use flink_job_operator::{
    kubernetes::{Limits, connect, within},
    telemetry::{LogFormat, subscriber},
};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, api::PostParams};
use parking_lot::Mutex;
use serde_json::json;

use super::Ground;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_is_logged_even_at_trace() {
    let ground = Ground::new("telemetry").await;
    let log = Log::default();
    let writer = log.clone();
    let subscriber = subscriber(LogFormat::Json, Some("trace"), false, move || writer.clone()).unwrap();
    // The test's runtime has one thread, so this covers the client's tasks as well.
    let _guard = tracing::subscriber::set_default(subscriber);

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
    let text = String::from_utf8(log.0.lock().clone()).unwrap();
    assert!(text.contains("the end"));
    assert!(!text.contains("canary") && !text.contains("Y2FuYXJ5"), "{text}");
}
