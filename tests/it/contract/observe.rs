//! Reading: what Flink says of itself and of its jobs.

use std::time::Duration;

use devcluster::jars::{STATE_MACHINE, TestJob};
use flink_job_operator::flink::{ClusterEndpoint, FlinkClient, FlinkError, JobState, RunReply, RunRequest};

use super::target::{PATIENCE, Target, new_id, request};

pub async fn every_read_can_be_read(flink: &Target) {
    let overview = flink.client.overview().await.unwrap();
    assert_eq!((overview.task_managers, overview.slots_total), (1, 8));
    assert_eq!(overview.flink_version, flink.version.as_str());
    let features = flink.client.config().await.unwrap();
    assert!(features.submission_enabled && features.cancel_enabled, "{features:?}");
    assert_eq!(features.flink_version, overview.flink_version);
    assert_eq!(features.refresh_interval, Duration::from_secs(3));
    let config = flink.client.jobmanager_config().await.unwrap();
    assert!(
        config.identity().is_some() && config.get("web.upload.dir").is_none(),
        "{config:?}"
    );

    let jar = flink.jar().await;
    let id = flink.start(&jar, TestJob::Counter, &[]).await;
    flink.reaches(id, JobState::Running).await;
    assert_eq!(flink.client.job_exceptions(id, 5).await, Ok(Vec::new()));
    assert_eq!(
        flink.client.checkpoints(id).await,
        Ok(flink_job_operator::flink::Checkpoints::default())
    );
    flink.stop(id).await;
}

/// Trap 6.
pub async fn status_codes_are_the_odd_ones_that_were_measured(flink: &Target) {
    let unknown = new_id();
    let jar = "b8a1b5ce-38ab-4bd8-a76f-9d4d02c0d2b9_absent.jar";
    for (method, path, expected) in [
        ("GET", format!("/jobs/{unknown}"), 404),
        ("GET", format!("/jobs/{unknown}/status"), 500),
        ("GET", format!("/jobs/{unknown}/exceptions"), 404),
        ("GET", format!("/jobs/{unknown}/checkpoints"), 404),
        ("PATCH", format!("/jobs/{unknown}?mode=cancel"), 404),
        ("GET", "/jobs/no-id".to_owned(), 400),
        ("DELETE", format!("/jars/{jar}"), 400),
        ("POST", format!("/jars/{jar}/run"), 500),
        ("GET", "/no/such/thing".to_owned(), 404),
    ] {
        let (status, body) = flink.raw(method, &path, None).await;
        assert_eq!(status, expected, "{method} {path}: {body}");
    }
    for reply in [
        flink.client.job(unknown).await.map(|_| ()),
        flink.client.job_exceptions(unknown, 1).await.map(|_| ()),
        flink.client.checkpoints(unknown).await.map(|_| ()),
    ] {
        assert!(matches!(reply, Err(FlinkError::NotFound(_))), "{reply:?}");
    }
}

/// "Not found" does not mean "will not be": the program is on its way.
pub async fn a_job_is_unknown_while_its_main_method_runs(flink: &Target) {
    let jar = flink.jar().await;
    let id = new_id();
    let run = flink.run(&jar, id, TestJob::SleepingMain, &["--sleep-seconds", "2"]);
    let look = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        (flink.client.job(id).await, flink.listed(id).await)
    };
    let (reply, (details, listed)) = tokio::join!(run, look);
    assert_eq!(reply, Ok(RunReply::Started));
    assert!(matches!(details, Err(FlinkError::NotFound(_))), "{details:?}");
    assert_eq!(listed, None);
    flink.stop(id).await;
}

pub async fn the_details_of_a_running_job(flink: &Target) {
    let jar = flink.jar().await;
    let id = flink.start(&jar, TestJob::Counter, &[]).await;
    let listed = flink.reaches(id, JobState::Running).await;
    assert!(
        listed.start_time().is_some() && listed.end_time().is_none(),
        "{listed:?}"
    );
    // Answers about one job are up to three seconds old.
    let mut details = flink.client.job(id).await.unwrap();
    for _ in 0..100 {
        if details.all_tasks_running {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        details = flink.client.job(id).await.unwrap();
    }
    assert!(details.all_tasks_running, "{details:?}");
    assert!(flink.reaches(id, JobState::Running).await.tasks_run);
    assert_eq!((details.name.as_str(), details.parallelism), ("counter", Some(1)));
    assert_eq!(details.start_time, listed.start_time());
    let entered: Vec<JobState> = details.entered.keys().copied().collect();
    assert_eq!(entered, [JobState::Initializing, JobState::Created, JobState::Running]);
    flink.stop(id).await;
}

pub async fn the_root_cause_of_a_failed_job(flink: &Target) {
    let jar = flink.jar().await;
    let id = flink.start(&jar, TestJob::FailingTask, &[]).await;
    let listed = flink.reaches(id, JobState::Failed).await;
    let failures = flink.client.job_exceptions(id, 3).await.unwrap();
    assert_eq!(failures.len(), 1, "{failures:?}");
    let root = failures[0].root_cause().unwrap();
    assert_eq!(root.class, "java.lang.IllegalStateException");
    assert!(root.message.starts_with("the task fails on purpose"), "{root}");
    assert_eq!(failures[0].causes[0].class, "org.apache.flink.runtime.JobException");
    assert!(failures[0].time.is_some() && listed.end_time().is_some());
}

pub async fn a_bounded_job_stays_in_the_list(flink: &Target) {
    let jar = flink.jar().await;
    let id = flink.start(&jar, TestJob::Bounded, &[]).await;
    let job = flink.reaches(id, JobState::Finished).await;
    assert!(job.end_time().is_some(), "{job:?}");
    assert_eq!(flink.client.job(id).await.unwrap().id, id);
}

/// RUNNING does not mean that tasks run: that takes slots.
pub async fn a_job_without_slots_is_running_all_the_same(flink: &Target) {
    let jar = flink.examples().await;
    let id = new_id();
    let run = RunRequest {
        entry_class: Some(STATE_MACHINE.to_owned()),
        parallelism: Some(20),
        ..RunRequest::new(id)
    };
    assert_eq!(flink.client.run_jar(&jar, &run, PATIENCE).await, Ok(RunReply::Started));
    let listed = flink.reaches(id, JobState::Running).await;
    let details = flink.client.job(id).await.unwrap();
    assert_eq!((details.parallelism, details.all_tasks_running), (Some(20), false));
    assert!(!listed.tasks_run, "{listed:?}");
    flink.stop(id).await;
}

/// A wrong path prefix, or a web server in Flink's place, must not look like a JobManager without our job.
pub async fn a_path_that_is_not_flinks_is_not_a_missing_job(flink: &Target) {
    let endpoint = ClusterEndpoint::new(format!("{}/wrong/prefix", flink.url()).parse().unwrap());
    let lost = FlinkClient::new(&endpoint).unwrap();
    for reply in [
        lost.job(new_id()).await.map(|_| ()),
        lost.cancel(new_id()).await,
        lost.jobs_overview().await.map(|_| ()),
        lost.overview().await.map(|_| ()),
    ] {
        assert!(matches!(reply, Err(FlinkError::NotFlink(_))), "{reply:?}");
    }
    let jar = "b8a1b5ce-38ab-4bd8-a76f-9d4d02c0d2b9_any.jar".parse().unwrap();
    let run = lost
        .run_jar(&jar, &request(new_id(), TestJob::Counter, &[]), PATIENCE)
        .await;
    assert!(run.is_err(), "{run:?}");
}
