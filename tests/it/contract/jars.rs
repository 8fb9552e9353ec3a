//! Uploaded jars: whose they are, and how long they stay.

use devcluster::jars::TestJob;
use flink_job_operator::flink::{FlinkError, JarContent, JobState};

use super::target::{PATIENCE, Target, new_id, request};

/// The identity of a process can be had without an upload.
pub async fn the_upload_names_the_process_that_the_configuration_names(flink: &Target) {
    let content = JarContent::from_bytes("PK".into());
    let uploaded = flink.client.upload_jar("named.jar", content).await.unwrap();
    let config = flink.client.jobmanager_config().await.unwrap();
    assert!(uploaded.job_manager.is_some(), "{uploaded:?}");
    assert_eq!(uploaded.job_manager, config.identity());
    assert_eq!(uploaded.id.file_name(), "named.jar");
    flink.client.delete_jar(&uploaded.id).await.unwrap();
}

pub async fn an_uploaded_jar_is_listed_until_it_is_deleted(flink: &Target) {
    let id = flink.jar().await;
    let jars = flink.client.jars().await.unwrap();
    let jar = jars
        .iter()
        .find(|jar| jar.id == id)
        .expect("the uploaded jar is listed");
    assert!(jar.name == "test-jobs.jar" && jar.uploaded.is_some(), "{jar:?}");
    flink.client.delete_jar(&id).await.unwrap();
    assert!(flink.client.jars().await.unwrap().iter().all(|jar| jar.id != id));
    let again = flink.client.delete_jar(&id).await.unwrap_err();
    assert!(matches!(again, FlinkError::JarMissing(_)), "{again:?}");
}

/// Trap 3: the jar is needed for the submission only.
pub async fn a_job_outlives_its_jar(flink: &Target) {
    let jar = flink.jar().await;
    let id = flink.start(&jar, TestJob::Counter, &[]).await;
    flink.client.delete_jar(&jar).await.unwrap();
    flink.reaches(id, JobState::Running).await;
    let again = flink.run(&jar, new_id(), TestJob::Counter, &[]).await;
    assert!(matches!(again, Err(FlinkError::JarMissing(_))), "{again:?}");
    flink.stop(id).await;
}

/// Trap 3: the fence. A jar that is not there means that this request started nothing.
pub async fn a_run_of_an_absent_jar_starts_nothing(flink: &Target) {
    let absent = "b8a1b5ce-38ab-4bd8-a76f-9d4d02c0d2b9_absent.jar".parse().unwrap();
    let id = new_id();
    let run = request(id, TestJob::Counter, &[]);
    let error = flink.client.run_jar(&absent, &run, PATIENCE).await.unwrap_err();
    assert!(
        matches!(error, FlinkError::JarMissing(_)) && error.proves_no_effect(),
        "{error:?}"
    );
    assert_eq!((flink.listed(id).await, flink.starts(id)), (None, 0));
}

pub async fn what_is_no_jar_is_uploaded_but_does_not_run(flink: &Target) {
    let content = JarContent::from_bytes("no jar at all".into());
    let uploaded = flink.client.upload_jar("nonsense.jar", content).await.unwrap();
    let run = request(new_id(), TestJob::Counter, &[]);
    let error = flink.client.run_jar(&uploaded.id, &run, PATIENCE).await.unwrap_err();
    assert!(matches!(error, FlinkError::Rejected { status: 500, .. }), "{error:?}");
    flink.client.delete_jar(&uploaded.id).await.unwrap();
}

/// `web.submit.enable: false`: the endpoints are not there, and `/config` says so beforehand.
pub async fn a_cluster_without_submission_says_so(flink: &Target) {
    assert!(!flink.client.config().await.unwrap().submission_enabled);
    let jar = "b8a1b5ce-38ab-4bd8-a76f-9d4d02c0d2b9_any.jar".parse().unwrap();
    let upload = flink
        .client
        .upload_jar("any.jar", JarContent::from_bytes("PK".into()))
        .await
        .map(|_| ());
    let run = flink
        .client
        .run_jar(&jar, &request(new_id(), TestJob::Counter, &[]), PATIENCE)
        .await
        .map(|_| ());
    let delete = flink.client.delete_jar(&jar).await;
    let list = flink.client.jars().await.map(|_| ());
    for (what, reply) in [("upload", upload), ("run", run), ("delete", delete), ("list", list)] {
        assert!(
            matches!(reply, Err(FlinkError::SubmissionDisabled(_))),
            "{what}: {reply:?}"
        );
    }
    let unknown = flink.client.cancel(new_id()).await;
    assert!(
        matches!(unknown, Err(FlinkError::NotFound(_))),
        "jobs can be cancelled still: {unknown:?}"
    );
}

/// Trap 3, its exception: with `web.upload.dir` jars outlive the process, so a retry with the same jar can run a job twice.
/// The upload does not name a process then; the configuration still does.
pub async fn an_upload_folder_of_its_own_outlives_the_process(flink: &Target) {
    let uploaded = flink
        .client
        .upload_jar("kept.jar", JarContent::from_bytes("PK".into()))
        .await
        .unwrap();
    let before = flink.client.jobmanager_config().await.unwrap();
    assert_eq!(uploaded.job_manager, None);
    assert!(
        before.identity().is_some() && before.get("web.upload.dir").is_some(),
        "{before:?}"
    );
    flink.kill();
    flink.start_again().await;
    let after = flink.client.jobmanager_config().await.unwrap();
    assert!(after.identity().is_some() && after.identity() != before.identity());
    let jars = flink.client.jars().await.unwrap();
    assert!(jars.iter().any(|jar| jar.id == uploaded.id), "{jars:?}");
}
