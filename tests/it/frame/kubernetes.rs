//! The Kubernetes client and the installation's identity.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use flink_job_operator::kubernetes::{ApiError, IDENTITY_KEY, IdentityError, Limits, connect, installation_id, within};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::watcher,
};
use serde_json::json;

use super::{Ground, link::Link};

fn configmap(name: &str, key: &str, value: &str) -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": name }, "data": { key: value } })).unwrap()
}

#[tokio::test]
async fn replicas_that_start_together_agree_on_one_identity() {
    let ground = Ground::new("identity").await;
    let client = ground.client_with("", "configmaps", &["get", "create"]).await;
    let made =
        futures::future::join_all((0..8).map(|_| installation_id(&client, &ground.namespace, "op-identity"))).await;
    let ids: Vec<_> = made.into_iter().map(Result::unwrap).collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
    assert_eq!(
        installation_id(&client, &ground.namespace, "op-identity")
            .await
            .unwrap(),
        ids[0],
        "also after a restart"
    );

    let api: Api<ConfigMap> = Api::namespaced(ground.admin.clone(), &ground.namespace);
    let change = Patch::Merge(json!({ "data": { IDENTITY_KEY: "00000000" } }));
    let refused = api
        .patch("op-identity", &PatchParams::default(), &change)
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, kube::Error::Api(status) if status.code == 422),
        "not even the administrator: {refused}"
    );

    api.delete("op-identity", &DeleteParams::default()).await.unwrap();
    assert_ne!(
        installation_id(&client, &ground.namespace, "op-identity")
            .await
            .unwrap(),
        ids[0]
    );
}

#[tokio::test]
async fn a_broken_identity_is_never_overwritten() {
    let ground = Ground::new("identity").await;
    let api: Api<ConfigMap> = Api::namespaced(ground.admin.clone(), &ground.namespace);
    api.create(
        &PostParams::default(),
        &configmap("op-identity", IDENTITY_KEY, "not hex!"),
    )
    .await
    .unwrap();
    let client = ground.client(&Limits::default()).await;
    let error = installation_id(&client, &ground.namespace, "op-identity")
        .await
        .unwrap_err();
    assert!(matches!(error, IdentityError::Broken { .. }), "{error}");
    let kept = api.get("op-identity").await.unwrap();
    assert_eq!(kept.data.unwrap()[IDENTITY_KEY], "not hex!");
}

#[tokio::test]
async fn a_missing_right_is_named() {
    let ground = Ground::new("identity").await;
    let client = ground.client_with("", "configmaps", &["get"]).await;
    let error = installation_id(&client, &ground.namespace, "op-identity")
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot create resource \"configmaps\""), "{error}");
    assert!(error.contains("needs get and create on configmaps"), "{error}");
}

#[tokio::test]
async fn a_server_that_stops_answering_is_given_up_and_taken_up_again() {
    let ground = Ground::new("client").await;
    let config = ground.config().await;
    let agent = config.headers.iter().find(|(name, _)| name == "user-agent").unwrap();
    assert_eq!(agent.1, concat!("flink-job-operator/", env!("CARGO_PKG_VERSION")));
    let link = Link::to(&config).await;
    let limits = Limits {
        deadline: Duration::from_secs(2),
        ..Limits::default()
    };
    let api: Api<ConfigMap> = Api::namespaced(connect(&link.config(&config), &limits).unwrap(), &ground.namespace);
    let object = configmap("a", "k", "v");
    api.create(&PostParams::default(), &object).await.unwrap();

    link.cut();
    let start = Instant::now();
    let error = within(Duration::from_secs(60), "get configmap", api.get("a"))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            ApiError::Timeout {
                call: "get configmap",
                ..
            }
        ),
        "{error}"
    );
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "the client's own deadline, also for bodies: {:?}",
        start.elapsed()
    );
    let start = Instant::now();
    let (options, late) = (PostParams::default(), configmap("late", "k", "v"));
    let write = api.create(&options, &late);
    let error = within(Duration::from_millis(500), "create configmap", write)
        .await
        .unwrap_err();
    assert!(!error.nothing_changed() && error.retry_later(), "{error}");
    assert!(
        start.elapsed() < limits.deadline,
        "the call's own: {:?}",
        start.elapsed()
    );

    link.mend();
    within(Duration::from_secs(5), "get configmap", api.get("a"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_watch_that_went_silent_is_taken_up_where_it_was() {
    let ground = Ground::new("client").await;
    let config = ground.config().await;
    let link = Link::to(&config).await;
    let limits = Limits {
        deadline: Duration::from_secs(2),
        watch_silence: Duration::from_secs(2),
        ..Limits::default()
    };
    let ours: Api<ConfigMap> = Api::namespaced(connect(&link.config(&config), &limits).unwrap(), &ground.namespace);
    let theirs: Api<ConfigMap> = Api::namespaced(ground.admin.clone(), &ground.namespace);

    let mut events = watcher(ours, watcher::Config::default()).boxed();
    while !matches!(events.try_next().await, Ok(Some(watcher::Event::InitDone))) {}
    link.cut();
    let during = configmap("written-while-blind", "k", "v");
    theirs.create(&PostParams::default(), &during).await.unwrap();
    // The old connection stays dead for ever: only a new watch can bring the event.
    let mended = tokio::time::timeout(Duration::from_secs(3), events.next()).await;
    assert!(!matches!(mended, Ok(Some(Ok(_)))), "nothing can come through");
    link.mend();
    let seen = async {
        loop {
            match events.next().await {
                Some(Ok(watcher::Event::Apply(object))) if object.metadata.name == during.metadata.name => return,
                Some(Ok(watcher::Event::Init)) => panic!("listed everything again"),
                Some(_) => {}
                None => panic!("the watcher ended"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), seen).await.unwrap();
}

/// A type that does not fit, as after an incompatible change of the API.
#[derive(Debug, serde::Deserialize)]
struct Wrong {
    #[allow(dead_code, reason = "it is only decoded")]
    data: HashMap<String, u32>,
}

#[tokio::test]
async fn secrets_that_cannot_be_decoded_stay_out_of_errors() {
    let ground = Ground::new("client").await;
    let secret: Secret = serde_json::from_value(json!({
        "metadata": { "name": "s" }, "stringData": { "password": "canary" }
    }))
    .unwrap();
    Api::namespaced(ground.admin.clone(), &ground.namespace)
        .create(&PostParams::default(), &secret)
        .await
        .unwrap();
    let client = ground.client(&Limits::default()).await;
    let path = format!("/api/v1/namespaces/{}/secrets/s", ground.namespace);
    let request = hyper::Request::get(path).body(Vec::new()).unwrap();
    let error = within(Duration::from_secs(5), "get secret", client.request::<Wrong>(request))
        .await
        .unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(
        shown.starts_with("get secret: the answer could not be decoded, at line 1"),
        "{shown}"
    );
    assert!(!shown.contains("canary") && !shown.contains("Y2FuYXJ5"), "{shown}");
}
