//! Processes that stop, and others that take their place.

use std::time::Duration;

use devcluster::jars::TestJob;
use flink_job_operator::flink::{DisposalStatus, FlinkError, JobState, RunReply, SavepointStatus};

use super::{
    state::{completed, sooner_or_later},
    target::{Target, new_id, request},
};

/// Trap 4: requests that timed out on a frozen process have their effect after the thaw, and, with one JobID, one effect.
pub async fn a_frozen_jobmanager_runs_the_job_after_the_thaw_and_once(flink: &Target) {
    let jar = flink.jar().await;
    let id = new_id();
    let run = request(id, TestJob::Counter, &[]);
    flink.freeze();
    for _ in 0..2 {
        let reply = flink.client.run_jar(&jar, &run, Duration::from_millis(500)).await;
        assert!(matches!(reply, Err(FlinkError::Timeout(_))), "{reply:?}");
    }
    flink.thaw();
    flink.reaches(id, JobState::Running).await;
    // The second request may come to its refusal later than the first to its job.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(flink.starts(id), 1);
    flink.stop(id).await;
}

/// Traps 2 and 3: another process is told by its identity, has no job and no jar, refuses the old jar id, and would run an
/// ended job again.
pub async fn another_process_has_another_identity_and_no_memory(flink: &Target) {
    let identity = async || flink.client.jobmanager_config().await.unwrap().identity();
    let jar = flink.jar().await;
    let before = identity().await;
    let running = flink.start(&jar, TestJob::Counter, &[]).await;
    let finished = flink.start(&jar, TestJob::Bounded, &[]).await;
    flink.reaches(finished, JobState::Finished).await;

    flink.kill();
    let down = flink.client.jobs_overview().await.unwrap_err();
    assert!(matches!(down, FlinkError::NotSent(_) | FlinkError::Lost(_)), "{down:?}");
    let refused = flink.run(&jar, new_id(), TestJob::Counter, &[]).await.unwrap_err();
    assert!(
        matches!(refused, FlinkError::NotSent(_)) && refused.proves_no_effect(),
        "{refused:?}"
    );

    flink.start_again().await;
    let after = identity().await;
    assert!(
        before.is_some() && after.is_some() && before != after,
        "{before:?} {after:?}"
    );
    assert_eq!(flink.client.jobs_overview().await, Ok(Vec::new()));
    assert_eq!(flink.client.jars().await, Ok(Vec::new()));
    for id in [running, finished] {
        let again = flink.run(&jar, id, TestJob::Counter, &[]).await;
        assert!(matches!(again, Err(FlinkError::JarMissing(_))), "{again:?}");
    }
    assert_eq!(flink.client.jobs_overview().await, Ok(Vec::new()));
    assert_eq!((flink.starts(running), flink.starts(finished)), (1, 1));

    // The trap itself: with a new jar, the finished job runs a second time. Only the jar id stands between.
    let jar = flink.jar().await;
    assert_eq!(
        flink.run(&jar, finished, TestJob::Bounded, &[]).await,
        Ok(RunReply::Started)
    );
    assert_eq!(flink.starts(finished), 2);
}

/// Its job is lost with the process, and can go on from there.
pub async fn a_checkpoint_outlives_its_process_and_restores_the_count(flink: &Target) {
    let jar = flink.jar().await;
    let mut run = flink.counting(&[]);
    let key = "execution.checkpointing.interval";
    run.flink_configuration.insert(key.to_owned(), "6 s".to_owned());
    let job = flink.run_counting(&jar, &run).await;
    // The first one of 2.x may be empty.
    let newest = sooner_or_later("a checkpoint", async || {
        let completed = flink.client.checkpoints(job).await.unwrap().completed;
        completed.filter(|checkpoint| checkpoint.id >= 2)
    });
    let path = newest.await.path.unwrap();
    let counted = flink.count(job);
    // The answer is up to 3 s old, so there is no newer one yet.
    flink.kill();
    flink.start_again().await;
    assert_eq!(flink.listed(job).await, None);
    flink.wait_for_taskmanagers().await;
    let jar = flink.jar().await;
    let second = flink.restored(&jar, &path).await;
    assert!(flink.restored_count(second) <= counted, "more than was counted");
    flink.stop(second).await;
}

/// Trap 7: another process knows no trigger, of savepoints and of disposals; the savepoint itself is as good as before.
pub async fn outcomes_are_gone_with_their_process_and_savepoints_are_not(flink: &Target) {
    let jar = flink.jar().await;
    let job = flink.running(&jar, &[]).await;
    let request = flink.savepoint_request();
    flink.client.trigger_savepoint(job, &request).await.unwrap();
    let location = completed(flink.outcome(job, request.trigger_id).await);
    let disposal = flink.client.dispose_savepoint("/nothing/there").await.unwrap();

    flink.kill();
    flink.start_again().await;
    let status = flink.client.savepoint_status(job, request.trigger_id).await;
    assert_eq!(status, Ok(SavepointStatus::Unknown));
    let status = flink.client.disposal_status(disposal).await;
    assert_eq!(status, Ok(DisposalStatus::Unknown));
    flink.wait_for_taskmanagers().await;
    let jar = flink.jar().await;
    let restored = flink.restored(&jar, &location).await;
    flink.stop(restored).await;
}
