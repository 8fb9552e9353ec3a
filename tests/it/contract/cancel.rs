//! Cancelling.

use std::time::{Duration, Instant};

use devcluster::jars::TestJob;
use flink_job_operator::flink::{FlinkError, JobState};

use super::target::{PATIENCE, Target, new_id};

pub async fn a_cancelled_job_ends_and_stays_known(flink: &Target) {
    let jar = flink.jar().await;
    let id = flink.start(&jar, TestJob::Counter, &[]).await;
    flink.client.cancel(id).await.unwrap();
    let job = flink.reaches(id, JobState::Canceled).await;
    assert!(
        job.end_time() >= job.start_time() && job.start_time().is_some(),
        "{job:?}"
    );
}

/// Trap 6: cancelling a cancelled job is accepted.
pub async fn cancelling_twice_is_no_error(flink: &Target) {
    let jar = flink.jar().await;
    let id = flink.start(&jar, TestJob::Counter, &[]).await;
    flink.client.cancel(id).await.unwrap();
    flink.client.cancel(id).await.unwrap();
    flink.reaches(id, JobState::Canceled).await;
    flink.client.cancel(id).await.unwrap();
}

/// Trap 6: cancelling a finished or failed one is 409; for an instant after its end, while it is archived, Flink accepts it.
pub async fn cancelling_an_ended_job_is_a_conflict(flink: &Target) {
    let jar = flink.jar().await;
    for (job, state) in [
        (TestJob::Bounded, JobState::Finished),
        (TestJob::FailingTask, JobState::Failed),
    ] {
        let id = flink.start(&jar, job, &[]).await;
        flink.reaches(id, state).await;
        let mut answer = flink.client.cancel(id).await;
        let begun = Instant::now();
        while answer.is_ok() && begun.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(50)).await;
            answer = flink.client.cancel(id).await;
        }
        assert!(matches!(answer, Err(FlinkError::Conflict(_))), "{answer:?}");
        flink.reaches(id, state).await;
    }
}

pub async fn cancelling_an_unknown_job_is_not_found(flink: &Target) {
    let error = flink.client.cancel(new_id()).await.unwrap_err();
    assert!(matches!(error, FlinkError::NotFound(_)), "{error:?}");
}
