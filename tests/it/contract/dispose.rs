//! Disposal, and what can be started from.

use std::time::Duration;

use flink_job_operator::flink::{Checkpoint, DisposalStatus, FailureKind, FlinkError, JarId, JobState, RunRequest};

use super::{
    state::{Left, completed, new_trigger, sooner_or_later},
    target::{PATIENCE, Target},
};

/// The path of a savepoint of a job that was cancelled since.
async fn a_savepoint(flink: &Target, jar: &JarId) -> String {
    let job = flink.running(jar, &[]).await;
    let request = flink.savepoint_request();
    flink.client.trigger_savepoint(job, &request).await.unwrap();
    let location = completed(flink.outcome(job, request.trigger_id).await);
    flink.stop(job).await;
    location
}

/// Tries to start a job from a path that it cannot be started from. Trap 4: the job is FAILED, and its id is used up.
async fn refused(flink: &Target, jar: &JarId, path: &str) -> String {
    let run = RunRequest {
        savepoint_path: Some(path.to_owned()),
        ..flink.counting(&[])
    };
    let error = flink.client.run_jar(jar, &run, PATIENCE).await.unwrap_err();
    assert!(matches!(error, FlinkError::Rejected { status: 400, .. }), "{error:?}");
    flink.reaches(run.job_id, JobState::Failed).await;
    error.message().to_owned()
}

pub async fn a_savepoint_is_disposed_of_once_and_restores_no_more(flink: &Target) {
    let jar = flink.jar().await;
    let location = a_savepoint(flink, &jar).await;
    assert_eq!(flink.dispose(&location).await, DisposalStatus::Completed);
    assert_eq!(flink.left_of(&location), Left::Nothing);
    assert_eq!(flink.dispose_in_vain(&location).await, FailureKind::NothingThere);
    let told = refused(flink, &jar, &location).await;
    assert!(
        told.contains("Cannot find checkpoint or savepoint file/directory"),
        "{told}"
    );
}

pub async fn a_savepoint_can_be_named_by_its_metadata(flink: &Target) {
    let jar = flink.jar().await;
    let location = a_savepoint(flink, &jar).await;
    let metadata = format!("{location}/_metadata");
    assert_eq!(flink.dispose(&metadata).await, DisposalStatus::Completed);
    assert_eq!(flink.left_of(&location), Left::Nothing);
}

/// A disposal that was broken off after the metadata cannot be taken up again: what is left is left.
pub async fn a_savepoint_without_metadata_is_neither_disposed_of_nor_restored(flink: &Target) {
    let jar = flink.jar().await;
    let location = a_savepoint(flink, &jar).await;
    flink.delete_metadata(&location);
    assert_eq!(flink.dispose_in_vain(&location).await, FailureKind::NoMetadata);
    assert_eq!(flink.left_of(&location), Left::NoMetadata);
    let told = refused(flink, &jar, &location).await;
    assert!(told.contains("Cannot find meta data file '_metadata'"), "{told}");
}

pub async fn a_path_with_nothing_there_is_told_apart(flink: &Target) {
    for path in ["/nothing/there", "file:///nothing/there/_metadata"] {
        assert_eq!(flink.dispose_in_vain(path).await, FailureKind::NothingThere, "{path}");
    }
}

/// The newest checkpoint of a job that was cancelled.
async fn cancelled_with_checkpoint(flink: &Target, jar: &JarId, retention: Option<&str>) -> Checkpoint {
    let mut run = flink.counting(&["--checkpoint-ms", "200"]);
    if let Some(retention) = retention {
        let key = "execution.checkpointing.externalized-checkpoint-retention";
        run.flink_configuration.insert(key.to_owned(), retention.to_owned());
    }
    let job = flink.run_counting(jar, &run).await;
    sooner_or_later("a checkpoint", async || {
        flink.client.checkpoints(job).await.unwrap().completed
    })
    .await;
    flink.stop(job).await;
    // Trap 8: what is said of the newest is up to three seconds old.
    tokio::time::sleep(Duration::from_millis(3100)).await;
    flink.client.checkpoints(job).await.unwrap().completed.unwrap()
}

pub async fn a_retained_checkpoint_restores_its_count_after_a_cancel_and_can_be_disposed_of(flink: &Target) {
    let jar = flink.jar().await;
    let newest = cancelled_with_checkpoint(flink, &jar, Some("RETAIN_ON_CANCELLATION")).await;
    assert!(!newest.discarded, "{newest:?}");
    let path = newest.path.unwrap();
    let job = flink.restored(&jar, &path).await;
    flink.stop(job).await;
    assert_eq!(flink.dispose(&path).await, DisposalStatus::Completed);
    refused(flink, &jar, &path).await;
}

/// The answer about checkpoints still names it, as discarded.
pub async fn a_checkpoint_that_is_not_retained_is_gone_after_a_cancel(flink: &Target) {
    let jar = flink.jar().await;
    let newest = cancelled_with_checkpoint(flink, &jar, None).await;
    assert!(newest.discarded, "{newest:?}");
    let path = newest.path.unwrap();
    let told = refused(flink, &jar, &path).await;
    assert!(
        told.contains("Cannot find checkpoint or savepoint file/directory"),
        "{told}"
    );
}

pub async fn an_unknown_disposal_is_unknown(flink: &Target) {
    let status = flink.client.disposal_status(new_trigger()).await;
    assert_eq!(status, Ok(DisposalStatus::Unknown));
}
