//! Notifications of what happens to a job.

use devcluster::{jars::TestJob, skip_real};
use flink_job_operator::api::{Phase, Reason};
use serde_json::json;
use tokio::net::TcpListener;

use crate::{
    harness::{Job, Kstatus, Scene, notified},
    notify::receiver::Receiver,
};

#[tokio::test]
async fn whoever_a_job_names_is_told_what_happens_to_it() {
    if skip_real("whoever_a_job_names_is_told_what_happens_to_it") {
        return;
    }
    let listener = notified().try_clone().unwrap();
    let receiver = Receiver::on(TcpListener::from_std(listener).unwrap());
    let scene = Scene::new("notifies").await;
    let mut spec = Job::spec(&scene, TestJob::FailingTask, &["--fail-after", "200"]).await;
    spec["notifications"] = json!([
        { "name": "pager", "url": receiver.url(1, "/pager"), "on": ["Failed"] },
        { "name": "chat", "url": receiver.url(1, "/chat"), "on": ["Running", "Failed"] },
    ]);
    let job = scene.job("orders", spec).await;
    job.runs().await;
    let status = job.reaches(Phase::Failed, Reason::JobFailed, Kstatus::Failed).await;
    let told = scene
        .eventually("all were told", async || {
            let (chat, pager) = (receiver.requests("/chat"), receiver.requests("/pager"));
            (chat.len() >= 2 && !pager.is_empty()).then_some((chat, pager))
        })
        .await;
    let (chat, pager) = told;
    assert_eq!((chat.len(), pager.len()), (2, 1));
    let reasons: Vec<_> = chat
        .iter()
        .map(|request| request.body["data"]["reason"].clone())
        .collect();
    assert_eq!(reasons, ["Running", "JobFailed"]);
    let event = &pager[0].body;
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["id"], chat[1].body["id"], "one occurrence");
    assert_eq!(event["data"]["name"], "orders");
    assert_eq!(event["data"]["jobId"], json!(status.job_id));
    let message = event["data"]["message"].as_str().unwrap();
    assert!(message.contains("the task fails on purpose"), "{message}");

    // Another place than those that the administrator allows.
    job.edit(json!({ "notifications": [{ "name": "chat", "url": "http://127.0.0.1:9/", "on": ["Failed"] }] }))
        .await;
    job.is("the address is refused", |job| {
        let conditions = &job.status.as_ref().unwrap().conditions;
        conditions
            .iter()
            .any(|condition| condition.message.contains("--allowed-notification-url"))
    })
    .await;
    scene.end().await;
}
