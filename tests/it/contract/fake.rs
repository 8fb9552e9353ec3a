//! What only the fake can do: hands behind the operator's back. Seen through the client, as the operator sees it.

use std::time::Duration;

use devcluster::{
    fake::{Action, FakeFlink, FakeOptions, Fault},
    jars::TestJob,
};
use flink_job_operator::flink::{ClusterEndpoint, FlinkClient, FlinkError, JarContent, JarId, JobId, JobState};

use super::target::{PATIENCE, new_id, request};

struct Fixture {
    fake: FakeFlink,
    client: FlinkClient,
    jar: JarId,
}

async fn fixture(options: FakeOptions) -> Fixture {
    let fake = FakeFlink::start(options).await.unwrap();
    let client = FlinkClient::new(&ClusterEndpoint::new(fake.url().parse().unwrap())).unwrap();
    let jar = client
        .upload_jar("any.jar", JarContent::from_bytes("PK".into()))
        .await
        .unwrap()
        .id;
    Fixture { fake, client, jar }
}

impl Fixture {
    async fn start(&self) -> JobId {
        let id = new_id();
        let run = request(id, TestJob::Counter, &[]);
        self.client.run_jar(&self.jar, &run, PATIENCE).await.unwrap();
        id
    }

    async fn state(&self, id: JobId) -> Option<JobState> {
        let jobs = self.client.jobs_overview().await.unwrap();
        jobs.iter().find(|job| job.id == id).map(|job| job.state)
    }
}

fn at_once() -> FakeOptions {
    FakeOptions {
        initializing: Duration::ZERO,
        created: Duration::ZERO,
        cancelling: Duration::ZERO,
        ..FakeOptions::default()
    }
}

#[tokio::test]
async fn jobs_end_as_they_are_told_to() {
    let flink = fixture(at_once()).await;
    let (failed, cancelled, finished, restarted, forgotten) = (
        flink.start().await,
        flink.start().await,
        flink.start().await,
        flink.start().await,
        flink.start().await,
    );
    assert!(flink.fake.fail_job(failed, "java.io.IOException: disk full"));
    assert!(flink.fake.cancel_in_ui(cancelled));
    assert!(flink.fake.finish_job(finished));
    assert!(flink.fake.restart_job(restarted, Duration::from_secs(60)));
    assert!(flink.fake.forget_job(forgotten));
    assert!(!flink.fake.finish_job(cancelled), "it has ended");
    for (id, state) in [
        (failed, Some(JobState::Failed)),
        (cancelled, Some(JobState::Canceled)),
        (finished, Some(JobState::Finished)),
        (restarted, Some(JobState::Restarting)),
        (forgotten, None),
    ] {
        assert_eq!(flink.state(id).await, state);
    }
    let failures = flink.client.job_exceptions(failed, 1).await.unwrap();
    assert_eq!(
        failures[0].root_cause().unwrap().to_string(),
        "java.io.IOException: disk full"
    );
    assert_eq!(flink.fake.count("PATCH", "/jobs/:jobid"), 0);
}

#[tokio::test]
async fn a_recovered_job_keeps_its_id_and_everything_else_is_gone() {
    let flink = fixture(at_once()).await;
    let (running, finished) = (flink.start().await, flink.start().await);
    flink.fake.finish_job(finished);
    let before = flink.fake.identity();
    flink.fake.restart_jobmanager(true).await.unwrap();
    assert_eq!(
        (flink.state(running).await, flink.state(finished).await),
        (Some(JobState::Running), None)
    );
    assert_ne!(flink.fake.identity(), before);
    assert_eq!(
        (flink.fake.recoveries(), flink.fake.most_live_of(running.owner())),
        (1, 1)
    );
    let again = flink
        .client
        .run_jar(&flink.jar, &request(running, TestJob::Counter, &[]), PATIENCE)
        .await;
    assert!(matches!(again, Err(FlinkError::JarMissing(_))), "{again:?}");
}

#[tokio::test]
async fn a_job_that_runs_twice_is_found_out() {
    let flink = fixture(at_once()).await;
    let id = flink.start().await;
    let other = JobId::new(id.installation(), id.owner(), id.attempt() + 1);
    flink
        .client
        .run_jar(&flink.jar, &request(other, TestJob::Counter, &[]), PATIENCE)
        .await
        .unwrap();
    assert_eq!(flink.fake.most_live(), Some((id.owner().to_string(), 2)));
    assert_eq!((flink.fake.starts(id), flink.fake.submissions().len()), (1, 2));
}

#[tokio::test]
async fn windows_without_a_leader_and_latency_are_as_long_as_asked() {
    let flink = fixture(at_once()).await;
    flink.fake.set_unavailable(true);
    let down = flink.client.jobs_overview().await.unwrap_err();
    assert!(matches!(down, FlinkError::Unavailable(_)), "{down:?}");
    flink.fake.set_unavailable(false);
    flink
        .fake
        .configure(|options| options.latency = Duration::from_millis(50));
    let began = std::time::Instant::now();
    flink.client.overview().await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(50));
}

/// How a crash test kills its operator between Flink's effect and Flink's answer.
#[tokio::test]
async fn a_test_can_wait_until_a_fault_has_acted() {
    let flink = fixture(at_once()).await;
    let fault = flink
        .fake
        .inject(Fault::on("POST", "/jars/:jarid/run", Action::HandleThenHang).nth(1));
    let id = new_id();
    let (run, client, jar) = (
        request(id, TestJob::Counter, &[]),
        flink.client.clone(),
        flink.jar.clone(),
    );
    let caller = tokio::spawn(async move { client.run_jar(&jar, &run, PATIENCE).await });
    fault.wait_for_hits(1).await;
    assert_eq!((flink.fake.starts(id), caller.is_finished()), (1, false));
    caller.abort();
    assert_eq!(flink.state(id).await, Some(JobState::Running));
}
