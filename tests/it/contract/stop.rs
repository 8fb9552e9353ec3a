//! Stops with savepoint.

use flink_job_operator::flink::{
    FailureKind, JobState, SavepointRequest, SavepointState, SavepointStatus, TriggerReply, lies_under,
};

use super::{
    state::{Left, completed, failed, sooner_or_later},
    target::Target,
};

/// When the outcome is there, the job is FINISHED.
pub async fn a_stop_ends_the_job_as_finished_and_its_savepoint_restores_the_count(flink: &Target) {
    let jar = flink.jar().await;
    let job = flink.running(&jar, &[]).await;
    let request = flink.savepoint_request();
    let reply = flink.client.stop_with_savepoint(job, &request).await;
    assert_eq!(reply, Ok(TriggerReply::Accepted));
    let location = completed(flink.outcome(job, request.trigger_id).await);
    let state = flink.listed(job).await.map(|job| job.state);
    assert_eq!(state, Some(JobState::Finished));
    assert!(lies_under(&location, &request.target_directory), "{location}");
    assert_eq!(flink.left_of(&location), Left::All);
    let second = flink.restored(&jar, &location).await;
    // Nothing is counted after the savepoint, and all of it is in there.
    let restored = flink.restored_count(second);
    assert_eq!(restored, flink.count(job));
    sooner_or_later("it counts on", async || (flink.count(second) > restored).then_some(())).await;
    flink.stop(second).await;
}

/// Trap 8: by its type and directory, and some seconds late.
pub async fn the_savepoint_of_a_stop_is_found_in_the_history_when_its_trigger_is_lost(flink: &Target) {
    let jar = flink.jar().await;
    let job = flink.running(&jar, &[]).await;
    let (savepoint, stop) = (flink.savepoint_request(), flink.savepoint_request());
    flink.client.trigger_savepoint(job, &savepoint).await.unwrap();
    completed(flink.outcome(job, savepoint.trigger_id).await);
    flink.client.stop_with_savepoint(job, &stop).await.unwrap();
    let location = completed(flink.outcome(job, stop.trigger_id).await);
    let found = sooner_or_later("the savepoint of the stop", async || {
        let checkpoints = flink.client.checkpoints(job).await.unwrap();
        let newest = checkpoints.savepoints.into_iter().next()?;
        (newest.stops_job && newest.state == SavepointState::Completed).then_some((newest.path, checkpoints.savepoint))
    });
    let (path, latest) = found.await;
    assert_eq!(path.as_ref(), Some(&location));
    assert_eq!(latest.and_then(|latest| latest.path), Some(location));
}

/// Trap 7.
pub async fn one_trigger_stops_once_however_often_it_is_sent(flink: &Target) {
    let jar = flink.jar().await;
    let job = flink.running(&jar, &[]).await;
    let request = flink.savepoint_request();
    let stop = || flink.client.stop_with_savepoint(job, &request);
    let (a, b, c) = tokio::join!(stop(), stop(), stop());
    assert!(a.is_ok() && b.is_ok() && c.is_ok(), "{a:?} {b:?} {c:?}");
    let location = completed(flink.outcome(job, request.trigger_id).await);
    assert_eq!(stop().await, Ok(TriggerReply::Accepted));
    assert_eq!(completed(flink.outcome(job, request.trigger_id).await), location);
    assert_eq!(flink.savepoints_in(&request.target_directory), 1);
    flink.reaches(job, JobState::Finished).await;
}

/// So "it failed" of a second stop says nothing about the first.
pub async fn another_stop_of_a_stopped_job_fails_and_says_that_it_does_not_run(flink: &Target) {
    let jar = flink.jar().await;
    let job = flink.running(&jar, &[]).await;
    let (first, second) = (flink.savepoint_request(), flink.savepoint_request());
    flink.client.stop_with_savepoint(job, &first).await.unwrap();
    completed(flink.outcome(job, first.trigger_id).await);
    assert_eq!(
        flink.client.stop_with_savepoint(job, &second).await,
        Ok(TriggerReply::Accepted)
    );
    let failure = failed(flink.outcome(job, second.trigger_id).await);
    assert_eq!(failure.kind, FailureKind::JobNotRunning, "{failure:?}");
    completed(flink.outcome(job, first.trigger_id).await);
}

/// A stop with a new id while another is under way breaks that one off. With luck the second is done; without, the job has
/// failed and neither is.
pub async fn two_stops_at_once_are_never_both_done(flink: &Target) {
    let jar = flink.jar().await;
    let job = flink.running(&jar, &[]).await;
    let (first, second) = (flink.savepoint_request(), flink.savepoint_request());
    let (a, b) = tokio::join!(
        flink.client.stop_with_savepoint(job, &first),
        flink.client.stop_with_savepoint(job, &second)
    );
    assert_eq!((a, b), (Ok(TriggerReply::Accepted), Ok(TriggerReply::Accepted)));
    let mut done = 0;
    for request in [&first, &second] {
        if let SavepointStatus::Completed { location } = flink.outcome(job, request.trigger_id).await {
            assert_eq!(flink.left_of(&location), Left::All);
            done += 1;
        }
    }
    assert!(done <= 1, "both were done");
    let end = if done == 1 {
        JobState::Finished
    } else {
        JobState::Failed
    };
    flink.reaches(job, end).await;
}

pub async fn a_stop_with_a_wrong_directory_leaves_the_job_running(flink: &Target) {
    let jar = flink.jar().await;
    let job = flink.running(&jar, &[]).await;
    let wrong = SavepointRequest {
        target_directory: "/proc/nowhere/x".to_owned(),
        ..flink.savepoint_request()
    };
    flink.client.stop_with_savepoint(job, &wrong).await.unwrap();
    let failure = failed(flink.outcome(job, wrong.trigger_id).await);
    assert_eq!(failure.root_cause().unwrap().class, "java.io.IOException");
    flink.tasks_run(job).await;
    let right = flink.savepoint_request();
    flink.client.stop_with_savepoint(job, &right).await.unwrap();
    completed(flink.outcome(job, right.trigger_id).await);
}

/// The savepoint is taken, and the job fails before it has ended: it is FAILED, and the failure is the only place that names
/// the savepoint for as long as the history is late.
pub async fn a_stop_whose_job_fails_at_its_end_names_the_savepoint(flink: &Target) {
    let jar = flink.jar().await;
    let job = flink
        .run_counting(&jar, &flink.restarted(&["--on-complete", "fail"]))
        .await;
    let request = flink.savepoint_request();
    flink.client.stop_with_savepoint(job, &request).await.unwrap();
    let failure = failed(flink.outcome(job, request.trigger_id).await);
    let FailureKind::StoppingFailed { location } = failure.kind else {
        panic!("{failure:?}");
    };
    assert!(lies_under(&location, &request.target_directory), "{location}");
    // Whatever its restart strategy.
    flink.reaches(job, JobState::Failed).await;
    let second = flink.restored(&jar, &location).await;
    flink.stop(second).await;
}

/// The savepoint is taken, and the job never ends: under way for ever, complete in the history. A cancellation ends both, and
/// the outcome names the savepoint.
pub async fn a_stop_that_hangs_names_its_savepoint_when_the_job_is_cancelled(flink: &Target) {
    let jar = flink.jar().await;
    let job = flink.running(&jar, &["--on-complete", "hang"]).await;
    let request = flink.savepoint_request();
    flink.client.stop_with_savepoint(job, &request).await.unwrap();
    let path = sooner_or_later("the savepoint in the history", async || {
        let savepoints = flink.client.checkpoints(job).await.unwrap().savepoints;
        savepoints
            .into_iter()
            .find_map(|entry| entry.stops_job.then_some(entry.path?))
    });
    let path = path.await;
    let status = flink.client.savepoint_status(job, request.trigger_id).await;
    assert_eq!(status, Ok(SavepointStatus::InProgress));
    assert_eq!(flink.listed(job).await.map(|job| job.state), Some(JobState::Running));
    flink.stop(job).await;
    let failure = failed(flink.outcome(job, request.trigger_id).await);
    assert_eq!(failure.kind, FailureKind::StoppingFailed { location: path.clone() });
    assert_eq!(flink.left_of(&path), Left::All);
}
