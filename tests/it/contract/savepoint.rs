//! Savepoints of jobs that go on.

use std::time::Duration;

use devcluster::jars::{STATE_MACHINE, TestJob};
use flink_job_operator::flink::{
    CheckpointConfig, FailureKind, JobState, RunReply, RunRequest, SavepointFormat, SavepointRequest, SavepointState,
    SavepointStatus, TriggerReply, lies_under,
};
use serde_json::json;

use super::{
    state::{Left, completed, failed, sooner_or_later},
    target::{PATIENCE, Target, new_id},
};

/// Were the directory misspelt, the savepoint would be in the cluster's default one: Flink skips names that it does not know.
pub async fn a_savepoint_completes_under_its_directory_and_the_job_goes_on(flink: &Target) {
    let jar = flink.jar().await;
    let job = flink.running(&jar, &[]).await;
    for format in [SavepointFormat::Native, SavepointFormat::Canonical] {
        let request = SavepointRequest {
            format,
            ..flink.savepoint_request()
        };
        let reply = flink.client.trigger_savepoint(job, &request).await;
        assert_eq!(reply, Ok(TriggerReply::Accepted));
        let location = completed(flink.outcome(job, request.trigger_id).await);
        assert!(lies_under(&location, &request.target_directory), "{location}");
        assert_eq!(flink.left_of(&location), Left::All);
        let entry = sooner_or_later("the savepoint in the history", async || {
            let savepoints = flink.client.checkpoints(job).await.unwrap().savepoints;
            savepoints
                .into_iter()
                .find(|entry| entry.path.as_deref() == Some(location.as_str()))
        });
        let entry = entry.await;
        assert_eq!((entry.state, entry.stops_job), (SavepointState::Completed, false));
        assert!(entry.time.is_some(), "{entry:?}");
    }
    flink.reaches(job, JobState::Running).await;
    flink.stop(job).await;
}

/// Trap 7: within one process a trigger acts once, at the same time, afterwards, and for another directory.
pub async fn one_trigger_makes_one_savepoint_however_often_it_is_sent(flink: &Target) {
    let jar = flink.jar().await;
    let job = flink.running(&jar, &[]).await;
    let request = flink.savepoint_request();
    let trigger = || flink.client.trigger_savepoint(job, &request);
    let (a, b, c) = tokio::join!(trigger(), trigger(), trigger());
    let accepted = Ok(TriggerReply::Accepted);
    assert_eq!((a, b, c), (accepted.clone(), accepted.clone(), accepted.clone()));
    let location = completed(flink.outcome(job, request.trigger_id).await);
    let elsewhere = SavepointRequest {
        trigger_id: request.trigger_id,
        ..flink.savepoint_request()
    };
    assert_eq!(flink.client.trigger_savepoint(job, &elsewhere).await, accepted);
    assert_eq!(completed(flink.outcome(job, request.trigger_id).await), location);
    let begun = |directory: &str| flink.savepoints_in(directory);
    assert_eq!(
        (begun(&request.target_directory), begun(&elsewhere.target_directory)),
        (1, 0)
    );
    flink.stop(job).await;
}

/// Trap 7: so a retry after a failure needs another id, or it fails for ever.
pub async fn a_failure_is_remembered_under_its_trigger(flink: &Target) {
    let jar = flink.jar().await;
    let job = flink.running(&jar, &[]).await;
    let good = flink.savepoint_request();
    let bad = SavepointRequest {
        target_directory: "/proc/nowhere/x".to_owned(),
        ..good.clone()
    };
    flink.client.trigger_savepoint(job, &bad).await.unwrap();
    let failure = failed(flink.outcome(job, bad.trigger_id).await);
    let root = failure.root_cause().unwrap();
    assert_eq!(
        (&failure.kind, root.class.as_str()),
        (&FailureKind::Other, "java.io.IOException")
    );
    assert!(root.message.contains("/proc/nowhere/x"), "{root}");

    assert_eq!(
        flink.client.trigger_savepoint(job, &good).await,
        Ok(TriggerReply::Accepted)
    );
    assert_eq!(failed(flink.outcome(job, good.trigger_id).await), failure);
    assert_eq!(flink.savepoints_in(&good.target_directory), 0);

    let other = flink.savepoint_request();
    flink.client.trigger_savepoint(job, &other).await.unwrap();
    completed(flink.outcome(job, other.trigger_id).await);
    flink.stop(job).await;
}

pub async fn an_unknown_trigger_is_unknown(flink: &Target) {
    let jar = flink.jar().await;
    let job = flink.running(&jar, &[]).await;
    let request = flink.savepoint_request();
    let status = flink.client.savepoint_status(job, request.trigger_id).await;
    assert_eq!(status, Ok(SavepointStatus::Unknown));
    flink.client.trigger_savepoint(job, &request).await.unwrap();
    completed(flink.outcome(job, request.trigger_id).await);
    let of_another_job = flink.client.savepoint_status(new_id(), request.trigger_id).await;
    assert_eq!(of_another_job, Ok(SavepointStatus::Unknown));
    flink.stop(job).await;
}

/// Trap 6: accepted, and only the outcome tells.
pub async fn a_savepoint_of_a_job_that_does_not_run_is_accepted_and_fails(flink: &Target) {
    let jar = flink.jar().await;
    let finished = flink.start(&jar, TestJob::Bounded, &[]).await;
    flink.reaches(finished, JobState::Finished).await;
    let cancelled = flink.running(&jar, &[]).await;
    flink.stop(cancelled).await;
    for job in [finished, cancelled, new_id()] {
        let (savepoint, stop) = (flink.savepoint_request(), flink.savepoint_request());
        assert_eq!(
            flink.client.trigger_savepoint(job, &savepoint).await,
            Ok(TriggerReply::Accepted)
        );
        assert_eq!(
            flink.client.stop_with_savepoint(job, &stop).await,
            Ok(TriggerReply::Accepted)
        );
        for request in [savepoint, stop] {
            let failure = failed(flink.outcome(job, request.trigger_id).await);
            assert_eq!(failure.kind, FailureKind::JobNotRunning, "{failure:?}");
            assert_eq!(flink.savepoints_in(&request.target_directory), 0);
        }
    }
}

/// RUNNING does not mean that tasks run.
pub async fn a_savepoint_before_all_tasks_run_fails_and_harms_nothing(flink: &Target) {
    let jar = flink.examples().await;
    let job = new_id();
    let run = RunRequest {
        entry_class: Some(STATE_MACHINE.to_owned()),
        parallelism: Some(20),
        ..RunRequest::new(job)
    };
    assert_eq!(flink.client.run_jar(&jar, &run, PATIENCE).await, Ok(RunReply::Started));
    flink.reaches(job, JobState::Running).await;
    let (savepoint, stop) = (flink.savepoint_request(), flink.savepoint_request());
    flink.client.trigger_savepoint(job, &savepoint).await.unwrap();
    let failure = failed(flink.outcome(job, savepoint.trigger_id).await);
    assert_eq!(failure.kind, FailureKind::TasksNotRunning, "{failure:?}");
    flink.client.stop_with_savepoint(job, &stop).await.unwrap();
    let failure = failed(flink.outcome(job, stop.trigger_id).await);
    assert_eq!(failure.kind, FailureKind::TasksNotRunning, "{failure:?}");
    assert_eq!(flink.listed(job).await.map(|job| job.state), Some(JobState::Running));
    flink.stop(job).await;
}

/// Trap 11: a failed savepoint is not harmless.
pub async fn a_task_that_fails_in_a_savepoint_fails_its_job(flink: &Target) {
    let jar = flink.jar().await;
    let job = flink.running(&jar, &["--on-snapshot", "fail"]).await;
    let request = flink.savepoint_request();
    flink.client.trigger_savepoint(job, &request).await.unwrap();
    let failure = failed(flink.outcome(job, request.trigger_id).await);
    let root = failure.root_cause().unwrap();
    assert!(root.message.starts_with("the task fails on purpose"), "{root}");
    flink.reaches(job, JobState::Failed).await;
    sooner_or_later("what there was of it is deleted", async || {
        (flink.savepoints_in(&request.target_directory) == 0).then_some(())
    })
    .await;
}

pub async fn a_task_that_fails_in_a_savepoint_restarts_a_job_that_may_restart(flink: &Target) {
    let jar = flink.jar().await;
    let job = flink
        .run_counting(&jar, &flink.restarted(&["--on-snapshot", "fail"]))
        .await;
    let request = flink.savepoint_request();
    flink.client.trigger_savepoint(job, &request).await.unwrap();
    let failure = failed(flink.outcome(job, request.trigger_id).await);
    assert_eq!(failure.kind, FailureKind::Other, "{failure:?}");
    flink.tasks_run(job).await;
    flink.stop(job).await;
}

/// Trap 11, on Flink's own example. 1.20 can.
pub async fn the_canonical_format_fails_a_job_of_2_x_that_the_native_one_does_not(flink: &Target) {
    let jar = flink.examples().await;
    let run = RunRequest {
        entry_class: Some(STATE_MACHINE.to_owned()),
        parallelism: Some(1),
        ..RunRequest::new(new_id())
    };
    let job = flink.run_counting(&jar, &run).await;
    let native = flink.savepoint_request();
    flink.client.trigger_savepoint(job, &native).await.unwrap();
    completed(flink.outcome(job, native.trigger_id).await);
    let canonical = SavepointRequest {
        format: SavepointFormat::Canonical,
        ..flink.savepoint_request()
    };
    flink.client.trigger_savepoint(job, &canonical).await.unwrap();
    let status = flink.outcome(job, canonical.trigger_id).await;
    if flink.is_1x() {
        completed(status);
    } else {
        assert_eq!(failed(status).kind, FailureKind::Other);
        // The job restarts because of it.
        flink.tasks_run(job).await;
    }
    flink.stop(job).await;
}

pub async fn the_configuration_of_checkpoints_is_told(flink: &Target) {
    let jar = flink.jar().await;
    let file_system = CheckpointConfig {
        interval: None,
        retained_on_cancellation: false,
        retained_on_failure: false,
        storage: "FileSystemCheckpointStorage".to_owned(),
        state_backend: "HashMapStateBackend".to_owned(),
    };
    let without = flink.running(&jar, &[]).await;
    assert_eq!(flink.client.checkpoint_config(without).await, Ok(file_system.clone()));
    flink.stop(without).await;
    for (word, retained_on_cancellation) in [("RETAIN_ON_CANCELLATION", true), ("DELETE_ON_CANCELLATION", false)] {
        let mut run = flink.counting(&["--checkpoint-ms", "60000"]);
        let key = "execution.checkpointing.externalized-checkpoint-retention";
        run.flink_configuration.insert(key.to_owned(), word.to_owned());
        let job = flink.run_counting(&jar, &run).await;
        let expected = CheckpointConfig {
            interval: Some(Duration::from_secs(60)),
            retained_on_cancellation,
            retained_on_failure: true,
            ..file_system.clone()
        };
        assert_eq!(flink.client.checkpoint_config(job).await, Ok(expected));
        flink.stop(job).await;
    }
}

/// Whatever the interval, here twenty days: a job of 2.x has a point to be restored from within a second, 2.3.0 at times even a
/// second one. 1.x waits for a random part of the interval.
pub async fn the_first_checkpoint_of_2_x_comes_at_once(flink: &Target) {
    let jar = flink.jar().await;
    let job = flink.running(&jar, &["--checkpoint-ms", "1728000000"]).await;
    let completed = async || flink.client.checkpoints(job).await.unwrap().completed;
    if flink.is_1x() {
        // Longer than the answer is late.
        tokio::time::sleep(Duration::from_millis(3500)).await;
        assert_eq!(completed().await, None);
    } else {
        let first = sooner_or_later("the first checkpoint", &completed).await;
        assert!(first.path.is_some() && !first.is_savepoint, "{first:?}");
    }
    flink.stop(job).await;
}

/// Values that Flink does not take: 400, nothing is begun.
pub async fn a_malformed_savepoint_is_refused(flink: &Target) {
    let job = new_id();
    for (method, path, body) in [
        (
            "POST",
            format!("/jobs/{job}/savepoints"),
            Some(json!({"triggerId": "no id"})),
        ),
        (
            "POST",
            format!("/jobs/{job}/savepoints"),
            Some(json!({"formatType": "OTHER"})),
        ),
        ("POST", format!("/jobs/{job}/stop"), Some(json!({"triggerId": "no id"}))),
        ("POST", "/savepoint-disposal".to_owned(), Some(json!({}))),
        ("GET", format!("/jobs/{job}/savepoints/no-id"), None),
    ] {
        let (status, reply) = flink.raw(method, &path, body).await;
        assert_eq!(status, 400, "{method} {path}: {reply}");
    }
}

/// Trap 7: an outcome is kept for `rest.async.store-duration`. Then its trigger is as good as new, and acts a second time.
pub async fn an_outcome_expires_and_its_trigger_acts_again(flink: &Target) {
    let (job, request) = (new_id(), flink.savepoint_request());
    let trigger = request.trigger_id;
    for _ in 0..2 {
        flink.client.trigger_savepoint(job, &request).await.unwrap();
        failed(flink.outcome(job, trigger).await);
        sooner_or_later("the outcome expires", async || {
            // Longer than it is kept, in case that reading it keeps it.
            tokio::time::sleep(Duration::from_millis(1500)).await;
            let status = flink.client.savepoint_status(job, trigger).await.unwrap();
            (status == SavepointStatus::Unknown).then_some(())
        })
        .await;
    }
}
