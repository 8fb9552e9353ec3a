//! Jobs that fail, and what they leave to go on from.

use std::{fs, time::Duration};

use devcluster::jars::TestJob;
use flink_job_operator::flink::{Checkpoint, FlinkError, JarId, JobId, JobState, RunReply, RunRequest};

use super::{
    state::sooner_or_later,
    target::{PATIENCE, Server, Target, new_id},
};

/// A run of the job that counts, keeps its count and fails, and whether its newest checkpoint is to stay then.
fn failing(flink: &Target, args: &[&str], retention: Option<&str>) -> RunRequest {
    let mut run = RunRequest {
        entry_class: Some(TestJob::FailingTask.class()),
        ..flink.counting(&[&["--checkpoint-ms", "300"], args].concat())
    };
    if let Some(retention) = retention {
        let key = "execution.checkpointing.externalized-checkpoint-retention";
        run.flink_configuration.insert(key.to_owned(), retention.to_owned());
    }
    run
}

/// The newest checkpoint of a job that has failed.
async fn left_behind(flink: &Target, job: JobId) -> Checkpoint {
    flink.reaches(job, JobState::Failed).await;
    // Trap 8: what is said of the newest is up to three seconds old.
    tokio::time::sleep(Duration::from_millis(3100)).await;
    flink.client.checkpoints(job).await.unwrap().completed.unwrap()
}

async fn start(flink: &Target, jar: &JarId, run: &RunRequest) -> Result<RunReply, FlinkError> {
    flink.client.run_jar(jar, run, PATIENCE).await
}

/// Twice, so that it is known to make progress in between.
pub async fn a_failed_job_goes_on_from_the_checkpoint_that_it_left_behind(flink: &Target) {
    let jar = flink.jar().await;
    let first = failing(flink, &["--fail-after-kept", "12"], Some("RETAIN_ON_CANCELLATION"));
    assert_eq!(start(flink, &jar, &first).await, Ok(RunReply::Started));
    let newest = left_behind(flink, first.job_id).await;
    assert!(!newest.discarded, "{newest:?}");
    let second = RunRequest {
        savepoint_path: newest.path,
        ..failing(flink, &["--fail-after-kept", "12"], Some("RETAIN_ON_CANCELLATION"))
    };
    assert_eq!(start(flink, &jar, &second).await, Ok(RunReply::Started));
    let newest = left_behind(flink, second.job_id).await;
    let counted = flink.restored_count(second.job_id);
    assert!(counted >= 12, "{counted}");
    let third = flink.restored(&jar, &newest.path.unwrap()).await;
    let restored = flink.restored_count(third);
    assert!(restored >= counted + 12, "{restored} after {counted}");
    assert!(restored <= flink.count(second.job_id), "more than was counted");
    flink.stop(third).await;
}

/// What goes with a job that is cancelled stays where one has failed. The job fails when it is told to, and no sooner.
pub async fn a_checkpoint_that_goes_with_a_cancel_stays_after_a_failure(flink: &Target) {
    let jar = flink.jar().await;
    let file = flink
        .real()
        .map(|real| real.directory().join(format!("fail-{}", new_id())));
    let path = file
        .as_ref()
        .map_or_else(|| "/on/demand".to_owned(), |file| file.display().to_string());
    let run = failing(flink, &["--fail-when", &path], Some("DELETE_ON_CANCELLATION"));
    let job = flink.run_counting(&jar, &run).await;
    // The first ones of 2.x may be empty.
    sooner_or_later("a checkpoint with a count", async || {
        let completed = flink.client.checkpoints(job).await.unwrap().completed;
        completed.filter(|checkpoint| checkpoint.id >= 3)
    })
    .await;
    assert_eq!(flink.listed(job).await.unwrap().state, JobState::Running);
    match (&flink.server, file) {
        (Server::Fake(fake), _) => {
            let cause = "java.lang.IllegalStateException: the task fails on purpose after 90 records";
            assert!(fake.fail_job(job, cause));
        }
        (_, file) => fs::write(file.unwrap(), "").unwrap(),
    }
    let newest = left_behind(flink, job).await;
    assert!(!newest.discarded, "{newest:?}");
    let restored = flink.restored(&jar, &newest.path.unwrap()).await;
    flink.stop(restored).await;
}

/// The answer about checkpoints still names it, as discarded.
pub async fn a_checkpoint_that_is_not_retained_is_gone_after_a_failure(flink: &Target) {
    let jar = flink.jar().await;
    let run = failing(flink, &["--fail-after-kept", "1"], None);
    assert_eq!(start(flink, &jar, &run).await, Ok(RunReply::Started));
    let newest = left_behind(flink, run.job_id).await;
    assert!(newest.discarded, "{newest:?}");
    let again = RunRequest {
        savepoint_path: newest.path,
        ..failing(flink, &[], None)
    };
    let error = start(flink, &jar, &again).await.unwrap_err();
    let told = error.message();
    assert!(
        told.contains("Cannot find checkpoint or savepoint file/directory"),
        "{error:?}"
    );
    flink.reaches(again.job_id, JobState::Failed).await;
}
