//! Submission: what a run does, and what its answer proves.

use std::time::Duration;

use devcluster::jars::TestJob;
use flink_job_operator::flink::{FlinkError, JobId, JobState, RunReply, RunRequest};
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::target::{PATIENCE, Target, new_id, request};

/// Trap 1: within one process a JobID is accepted once, however often it is sent.
pub async fn a_job_id_is_taken_once(flink: &Target) {
    let jar = flink.jar().await;
    let id = flink.start(&jar, TestJob::Counter, &[]).await;
    for _ in 0..2 {
        let again = flink.run(&jar, id, TestJob::Counter, &[]).await;
        assert!(matches!(again, Err(FlinkError::Duplicate(_))), "{again:?}");
    }
    flink.reaches(id, JobState::Running).await;
    assert_eq!(flink.starts(id), 1);
    flink.stop(id).await;
}

/// Trap 1, in parallel: all four `main()`s run, one job is accepted.
pub async fn four_runs_at_once_start_one_job(flink: &Target) {
    let jar = flink.jar().await;
    let id = new_id();
    let one = || flink.run(&jar, id, TestJob::SleepingMain, &["--sleep-seconds", "1"]);
    let (a, b, c, d) = tokio::join!(one(), one(), one(), one());
    let (won, lost): (Vec<_>, Vec<_>) = [a, b, c, d].into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 3));
    assert!(
        lost.iter().all(|reply| matches!(reply, Err(FlinkError::Duplicate(_)))),
        "{lost:?}"
    );
    assert_eq!(flink.starts(id), 1);
    flink.stop(id).await;
}

/// Trap 1, after the end: finished, cancelled and failed ids are refused too.
pub async fn an_ended_job_keeps_its_id(flink: &Target) {
    let jar = flink.jar().await;
    for (job, state) in [
        (TestJob::Bounded, JobState::Finished),
        (TestJob::Counter, JobState::Canceled),
        (TestJob::FailingTask, JobState::Failed),
    ] {
        let id = flink.start(&jar, job, &[]).await;
        if state == JobState::Canceled {
            flink.client.cancel(id).await.unwrap();
        }
        flink.reaches(id, state).await;
        let again = flink.run(&jar, id, TestJob::Bounded, &[]).await;
        assert!(matches!(again, Err(FlinkError::Duplicate(_))), "{state}: {again:?}");
        assert_eq!(flink.starts(id), 1);
    }
}

/// Trap 4: a client that hangs up does not stop its run.
pub async fn a_dropped_connection_does_not_stop_the_run(flink: &Target) {
    let jar = flink.jar().await;
    let id = new_id();
    let run = request(id, TestJob::SleepingMain, &["--sleep-seconds", "1"]);
    let body = serde_json::to_string(&run).unwrap();
    let mut socket = TcpStream::connect(flink.url().trim_start_matches("http://"))
        .await
        .unwrap();
    let head = format!(
        "POST /jars/{jar}/run HTTP/1.1\r\nHost: flink\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all((head + &body).as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(socket);
    flink.reaches(id, JobState::Running).await;
    assert_eq!(flink.starts(id), 1);
    flink.stop(id).await;
}

/// Trap 4: nor does a deadline; the error says that nothing is known.
pub async fn a_deadline_does_not_stop_the_run(flink: &Target) {
    let jar = flink.jar().await;
    let id = new_id();
    let run = request(id, TestJob::SleepingMain, &["--sleep-seconds", "1"]);
    let reply = flink.client.run_jar(&jar, &run, Duration::from_millis(300)).await;
    let error = reply.unwrap_err();
    assert!(
        matches!(error, FlinkError::Timeout(_)) && !error.proves_no_effect(),
        "{error:?}"
    );
    flink.reaches(id, JobState::Running).await;
    flink.stop(id).await;
}

/// Trap 5: a typing error in a field starts a job with a random id, from empty state, with status 200. The client cannot
/// make one; that the reply's id is compared with the requested one is what would catch it.
pub async fn unknown_fields_are_ignored_and_the_reply_tells(flink: &Target) {
    let jar = flink.jar().await;
    let wanted = new_id();
    let body = json!({"jobID": wanted, "savepointpath": "/nowhere", "entryClass": TestJob::Counter.class()});
    let (status, reply) = flink.raw("POST", &format!("/jars/{jar}/run"), Some(body)).await;
    assert_eq!(status, 200, "{reply}");
    let reply: serde_json::Value = serde_json::from_str(&reply).unwrap();
    let other = reply["jobid"].as_str().unwrap().parse().unwrap();
    assert_ne!(other, wanted);
    flink.reaches(other, JobState::Running).await;
    assert_eq!(flink.listed(wanted).await, None);
    flink.stop(other).await;
}

/// Everything in the request is understood. Trap 9: the name that the configuration asks for is the program's to decide.
pub async fn the_request_arrives_as_it_was_meant(flink: &Target) {
    let jar = flink.jar().await;
    let id = new_id();
    let run = RunRequest {
        parallelism: Some(1),
        flink_configuration: [("pipeline.name".to_owned(), "asked-for".to_owned())].into(),
        claim_mode: Some(flink_job_operator::flink::ClaimMode::NoClaim),
        allow_non_restored_state: true,
        ..request(id, TestJob::Counter, &["--name", "named by an argument"])
    };
    assert_eq!(flink.client.run_jar(&jar, &run, PATIENCE).await, Ok(RunReply::Started));
    let details = flink.client.job(id).await.unwrap();
    assert_eq!((details.id, details.name.as_str()), (id, "named by an argument"));
    flink.stop(id).await;
}

/// Trap 10: a job's configuration is what the request says. And the path, claim mode and flag of a restore are spelled as
/// Flink reads them: only what a job was restored from proves it (trap 5).
pub async fn the_configuration_of_a_run_takes_effect_and_its_state_is_restored(flink: &Target) {
    let jar = flink.jar().await;
    let with_checkpoints = |id: JobId| RunRequest {
        flink_configuration: [
            ("execution.checkpointing.interval", "200ms"),
            (
                "execution.checkpointing.externalized-checkpoint-retention",
                "RETAIN_ON_CANCELLATION",
            ),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into(),
        ..request(id, TestJob::Counter, &[])
    };
    let first = new_id();
    assert_eq!(
        flink.client.run_jar(&jar, &with_checkpoints(first), PATIENCE).await,
        Ok(RunReply::Started)
    );
    let checkpoint = sooner_or_later(async || {
        let latest = flink.client.checkpoints(first).await.unwrap();
        assert_eq!((&latest.savepoint, &latest.restored), (&None, &None));
        latest.completed
    });
    let checkpoint = checkpoint.await;
    assert!(checkpoint.time.is_some() && !checkpoint.is_savepoint, "{checkpoint:?}");
    flink.stop(first).await;
    // Newer ones completed since, and only the newest is kept. Trap 8: what is said of it is up to three seconds old.
    tokio::time::sleep(Duration::from_millis(3100)).await;
    let kept = flink.client.checkpoints(first).await.unwrap().completed.unwrap();
    let path = kept.path.unwrap();
    let second = new_id();
    let run = RunRequest {
        savepoint_path: Some(path.clone()),
        claim_mode: Some(flink_job_operator::flink::ClaimMode::NoClaim),
        ..with_checkpoints(second)
    };
    assert_eq!(flink.client.run_jar(&jar, &run, PATIENCE).await, Ok(RunReply::Started));
    let restored = sooner_or_later(async || flink.client.checkpoints(second).await.unwrap().restored).await;
    assert_eq!(restored.path, Some(path));
    flink.stop(second).await;
}

/// Asks until there is an answer.
async fn sooner_or_later<T>(ask: impl AsyncFn() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap()
}

/// A `main()` that throws: 400, the cause, no job, and the id is as good as new.
pub async fn a_throwing_main_uses_up_nothing(flink: &Target) {
    let jar = flink.jar().await;
    let id = new_id();
    let error = flink.run(&jar, id, TestJob::ThrowingMain, &[]).await.unwrap_err();
    assert!(matches!(error, FlinkError::Rejected { status: 400, .. }), "{error:?}");
    assert!(
        error.message().starts_with("java.lang.IllegalArgumentException: "),
        "{error}"
    );
    assert_eq!((flink.listed(id).await, flink.starts(id)), (None, 0));
    assert_eq!(flink.run(&jar, id, TestJob::Counter, &[]).await, Ok(RunReply::Started));
    flink.stop(id).await;
}

/// A `main()` that returns without a job: 400, on both versions in the same words.
pub async fn a_main_that_never_executes_is_refused(flink: &Target) {
    let jar = flink.jar().await;
    let id = new_id();
    let error = flink.run(&jar, id, TestJob::NoExecute, &[]).await.unwrap_err();
    assert!(matches!(error, FlinkError::Rejected { status: 400, .. }), "{error:?}");
    assert!(error.message().contains("No jobs included in application"), "{error}");
    assert_eq!((flink.listed(id).await, flink.starts(id)), (None, 0));
}

/// A `main()` that executes twice: 400, and its first job runs under the requested id.
pub async fn a_main_that_executes_twice_leaves_one_job(flink: &Target) {
    let jar = flink.jar().await;
    let id = new_id();
    let error = flink.run(&jar, id, TestJob::TwoExecutes, &[]).await.unwrap_err();
    assert!(
        matches!(error, FlinkError::Rejected { status: 400, .. }) && !error.proves_no_effect(),
        "{error:?}"
    );
    assert!(error.message().contains("in a single environment"), "{error}");
    first_of_two_runs(flink, id).await;
}

/// The same in two environments, where only the cluster can refuse the second job. It never exists; the first runs.
///
/// 1.20 answers 200. 2.3 answers that the second is a duplicate of the first: so the very first POST of an attempt can
/// end in [`FlinkError::Duplicate`].
pub async fn a_main_with_two_environments_leaves_one_job(flink: &Target) {
    let jar = flink.jar().await;
    let id = new_id();
    let reply = flink.run(&jar, id, TestJob::TwoEnvironments, &[]).await;
    if flink.is_1x() {
        assert_eq!(reply, Ok(RunReply::Started));
    } else {
        assert!(matches!(reply, Err(FlinkError::Duplicate(_))), "{reply:?}");
    }
    first_of_two_runs(flink, id).await;
}

async fn first_of_two_runs(flink: &Target, id: JobId) {
    flink.reaches(id, JobState::Running).await;
    assert_eq!(flink.client.job(id).await.unwrap().name, "first");
    assert_eq!(flink.starts(id), 1);
    flink.stop(id).await;
}

/// A refusal does not prove that nothing runs: here it does, and says 400.
pub async fn a_main_that_throws_after_execute_leaves_its_job(flink: &Target) {
    let jar = flink.jar().await;
    let id = new_id();
    let reply = flink.run(&jar, id, TestJob::ThrowsAfterExecute, &[]).await;
    let error = reply.unwrap_err();
    assert!(
        matches!(error, FlinkError::Rejected { status: 400, .. }) && !error.proves_no_effect(),
        "{error:?}"
    );
    assert!(error.message().contains("main throws after execute"), "{error}");
    flink.reaches(id, JobState::Running).await;
    flink.stop(id).await;
}

/// Trap 4: a savepoint that is not there: 400, and a FAILED job with this id, which is used up.
pub async fn a_missing_savepoint_uses_up_the_id(flink: &Target) {
    let jar = flink.jar().await;
    let id = new_id();
    let run = RunRequest {
        savepoint_path: Some("/missing/savepoint".to_owned()),
        ..request(id, TestJob::Counter, &[])
    };
    let error = flink.client.run_jar(&jar, &run, PATIENCE).await.unwrap_err();
    assert!(matches!(error, FlinkError::Rejected { status: 400, .. }), "{error:?}");
    assert!(error.message().contains("/missing/savepoint"), "{error}");
    flink.reaches(id, JobState::Failed).await;
    let failures = flink.client.job_exceptions(id, 1).await.unwrap();
    assert_eq!(failures[0].root_cause().unwrap().class, "java.io.FileNotFoundException");
    assert_eq!(flink.client.job(id).await.unwrap().parallelism, None);
    let again = flink.run(&jar, id, TestJob::Counter, &[]).await;
    assert!(matches!(again, Err(FlinkError::Duplicate(_))), "{again:?}");
}

/// A class that the jar does not have: 500, nothing started.
pub async fn a_missing_class_is_refused(flink: &Target) {
    let jar = flink.jar().await;
    let id = new_id();
    let run = RunRequest {
        entry_class: Some("org.example.MissingClass".to_owned()),
        ..RunRequest::new(id)
    };
    let error = flink.client.run_jar(&jar, &run, PATIENCE).await.unwrap_err();
    assert!(matches!(error, FlinkError::Rejected { status: 500, .. }), "{error:?}");
    assert!(error.message().contains("MissingClass"), "{error}");
    assert_eq!((flink.listed(id).await, flink.starts(id)), (None, 0));
}

/// Values that Flink does not take: 400, nothing started.
pub async fn a_malformed_run_is_refused(flink: &Target) {
    let jar = flink.jar().await;
    let id = new_id();
    let class = TestJob::Counter.class();
    for body in [
        json!({"jobId": id, "entryClass": class, "parallelism": "many"}),
        json!({"jobId": "no id", "entryClass": class}),
        json!({"jobId": id, "entryClass": class, "parallelism": 0}),
    ] {
        let (status, reply) = flink.raw("POST", &format!("/jars/{jar}/run"), Some(body)).await;
        assert_eq!(status, 400, "{reply}");
    }
    assert_eq!(flink.starts(id), 0);
}
