//! What only the fake can do with state: slow savepoints, disposals that break off, a late history, answers of others.

use std::time::Duration;

use devcluster::{
    fake::{
        Action, Behavior, FakeFlink, FakeJob, FakeOperation, FakeOptions, Fault, OperationEnd, OperationKind, Reply,
        SavepointFiles,
    },
    jars::TestJob,
};
use flink_job_operator::flink::{
    ClusterEndpoint, DisposalStatus, FailureKind, FlinkClient, FlinkError, JarContent, JarId, JobId, RunRequest,
    SavepointFormat, SavepointRequest, SavepointStatus,
};

use super::{
    state::{completed, failed, new_trigger, sooner_or_later},
    target::{PATIENCE, new_id, request},
};

struct Fixture {
    fake: FakeFlink,
    client: FlinkClient,
}

async fn fixture(options: FakeOptions) -> Fixture {
    let at_once = FakeOptions {
        initializing: Duration::ZERO,
        created: Duration::ZERO,
        cancelling: Duration::ZERO,
        disposal_takes: Duration::ZERO,
        ..options
    };
    let fake = FakeFlink::start(at_once).await.unwrap();
    let client = FlinkClient::new(&ClusterEndpoint::new(fake.url().parse().unwrap())).unwrap();
    Fixture { fake, client }
}

fn savepoint() -> SavepointRequest {
    SavepointRequest {
        trigger_id: new_trigger(),
        target_directory: "s3://bucket/savepoints".to_owned(),
        format: SavepointFormat::Native,
    }
}

impl Fixture {
    fn job(&self) -> JobId {
        let id = new_id();
        assert!(self.fake.add_job(id, "counter"));
        id
    }

    async fn outcome(&self, job: JobId, request: &SavepointRequest) -> SavepointStatus {
        sooner_or_later("the outcome", async || {
            let status = self.client.savepoint_status(job, request.trigger_id).await.unwrap();
            (status != SavepointStatus::InProgress).then_some(status)
        })
        .await
    }

    async fn jar(&self) -> JarId {
        let content = JarContent::from_bytes("PK".into());
        self.client.upload_jar("any.jar", content).await.unwrap().id
    }

    async fn start_from(&self, path: &str) -> Result<JobId, FlinkError> {
        let run = RunRequest {
            savepoint_path: Some(path.to_owned()),
            ..request(new_id(), TestJob::Counter, &[])
        };
        let jar = self.jar().await;
        self.client.run_jar(&jar, &run, PATIENCE).await.map(|_| run.job_id)
    }

    fn of(&self, job: JobId) -> FakeJob {
        let id = job.to_string();
        self.fake.jobs().into_iter().find(|job| job.id == id).unwrap()
    }

    /// What was accepted with a trigger.
    fn accepted(&self, request: &SavepointRequest) -> Vec<FakeOperation> {
        let trigger = request.trigger_id.to_string();
        let mut accepted = self.fake.operations();
        accepted.retain(|operation| operation.trigger_id == trigger);
        accepted
    }

    async fn disposed(&self, path: &str) -> DisposalStatus {
        let trigger = self.client.dispose_savepoint(path).await.unwrap();
        sooner_or_later("the outcome", async || {
            let status = self.client.disposal_status(trigger).await.unwrap();
            (status != DisposalStatus::InProgress).then_some(status)
        })
        .await
    }
}

fn ends(accepted: &[FakeOperation]) -> Vec<(OperationKind, OperationEnd)> {
    accepted
        .iter()
        .map(|operation| (operation.kind, operation.end))
        .collect()
}

#[tokio::test]
async fn a_thousand_savepoints_are_under_way_at_once_and_all_complete() {
    let flink = fixture(FakeOptions {
        savepoint_takes: Duration::from_secs(30),
        ..FakeOptions::default()
    })
    .await;
    let slow = flink.job();
    let waits = savepoint();
    flink.client.trigger_savepoint(slow, &waits).await.unwrap();
    flink
        .fake
        .configure(|options| options.savepoint_takes = Duration::from_millis(300));
    let jobs: Vec<JobId> = (0..1000).map(|_| flink.job()).collect();
    let requests: Vec<SavepointRequest> = jobs.iter().map(|_| savepoint()).collect();
    for (job, request) in jobs.iter().zip(&requests) {
        flink.client.trigger_savepoint(*job, request).await.unwrap();
    }
    for (job, request) in jobs.iter().zip(&requests) {
        completed(flink.outcome(*job, request).await);
    }
    let savepoints = flink.fake.savepoints();
    let complete = savepoints
        .iter()
        .filter(|savepoint| savepoint.files == SavepointFiles::Complete);
    assert_eq!((savepoints.len(), complete.count()), (1001, 1000));
    let status = flink.client.savepoint_status(slow, waits.trigger_id).await;
    assert_eq!(status, Ok(SavepointStatus::InProgress));
}

#[tokio::test]
async fn two_thousand_stops_end_at_once_and_are_all_on_record() {
    let flink = fixture(FakeOptions {
        savepoint_takes: Duration::from_secs(3),
        ..FakeOptions::default()
    })
    .await;
    let ids: Vec<JobId> = (0..2000).map(|_| flink.job()).collect();
    let requests: Vec<SavepointRequest> = ids.iter().map(|_| savepoint()).collect();
    for (job, request) in ids.iter().zip(&requests) {
        flink.client.stop_with_savepoint(*job, request).await.unwrap();
    }
    sooner_or_later("all have finished", async || {
        let jobs = flink.fake.jobs();
        jobs.iter().all(|job| job.state == "FINISHED").then_some(())
    })
    .await;
    let accepted = flink.fake.operations();
    let done = accepted.iter().zip(&requests).filter(|(operation, request)| {
        operation.trigger_id == request.trigger_id.to_string()
            && operation.directory == request.target_directory
            && (operation.kind, operation.end) == (OperationKind::Stop, OperationEnd::Completed)
    });
    assert_eq!((accepted.len(), done.count()), (ids.len(), ids.len()));
}

#[tokio::test]
async fn what_was_accepted_is_on_record_with_its_end() {
    let flink = fixture(FakeOptions::default()).await;
    let (job, request, nobody, elsewhere) = (flink.job(), savepoint(), new_id(), savepoint());
    for _ in 0..2 {
        flink.client.trigger_savepoint(job, &request).await.unwrap();
    }
    let location = completed(flink.outcome(job, &request).await);
    flink.client.stop_with_savepoint(nobody, &elsewhere).await.unwrap();
    failed(flink.outcome(nobody, &elsewhere).await);
    assert_eq!(flink.disposed(&location).await, DisposalStatus::Completed);
    let accepted = flink.fake.operations();
    let kinds = [OperationKind::Savepoint, OperationKind::Stop, OperationKind::Disposal];
    let expected = [OperationEnd::Completed, OperationEnd::Failed, OperationEnd::Completed];
    assert_eq!(ends(&accepted), kinds.into_iter().zip(expected).collect::<Vec<_>>());
    let jobs: Vec<_> = accepted.iter().map(|operation| operation.job_id.clone()).collect();
    assert_eq!(jobs, [Some(job.to_string()), Some(nobody.to_string()), None]);
    let directories: Vec<&str> = accepted.iter().map(|operation| operation.directory.as_str()).collect();
    assert_eq!(
        directories,
        [&request.target_directory, &elsewhere.target_directory, &location]
    );
    let locations: Vec<_> = accepted.iter().map(|operation| operation.location.clone()).collect();
    assert_eq!(locations, [Some(location), None, None]);

    flink
        .fake
        .configure(|options| options.savepoint_takes = Duration::from_secs(600));
    let dies = savepoint();
    flink.client.trigger_savepoint(job, &dies).await.unwrap();
    assert_eq!(flink.accepted(&dies)[0].end, OperationEnd::UnderWay);
    flink.fake.restart_jobmanager(true).await.unwrap();
    assert_eq!(flink.accepted(&dies)[0].end, OperationEnd::Lost);
}

#[tokio::test]
async fn the_next_of_a_kind_fails_with_what_was_asked_for_and_no_other() {
    let flink = fixture(FakeOptions::default()).await;
    let job = flink.job();
    for kind in [OperationKind::Savepoint, OperationKind::Stop, OperationKind::Disposal] {
        flink.fake.fail_next(kind, "java.io.IOException: disk full");
    }
    for kind in [OperationKind::Savepoint, OperationKind::Stop] {
        let request = savepoint();
        if kind == OperationKind::Savepoint {
            flink.client.trigger_savepoint(job, &request).await.unwrap();
        } else {
            flink.client.stop_with_savepoint(job, &request).await.unwrap();
        }
        let failure = failed(flink.outcome(job, &request).await);
        assert_eq!(failure.kind, FailureKind::Other);
        assert_eq!(
            failure.root_cause().unwrap().to_string(),
            "java.io.IOException: disk full"
        );
        assert_eq!(ends(&flink.accepted(&request)), [(kind, OperationEnd::Failed)]);
    }
    assert_eq!(flink.of(job).state, "RUNNING");
    let request = savepoint();
    flink.client.stop_with_savepoint(job, &request).await.unwrap();
    let location = completed(flink.outcome(job, &request).await);
    let status = flink.disposed(&location).await;
    let DisposalStatus::Failed(failure) = status else {
        panic!("{status:?}");
    };
    assert_eq!(
        failure.root_cause().unwrap().to_string(),
        "java.io.IOException: disk full"
    );
    assert_eq!(flink.disposed(&location).await, DisposalStatus::Completed);
}

#[tokio::test]
async fn the_next_stop_hangs_with_its_savepoint_complete() {
    let flink = fixture(FakeOptions::default()).await;
    flink.fake.hang_next_stop();
    flink.fake.hang_next_stop();
    let (cancelled, finished, third) = (flink.job(), flink.job(), flink.job());
    let mut hanging = Vec::new();
    for job in [cancelled, finished] {
        let request = savepoint();
        flink.client.stop_with_savepoint(job, &request).await.unwrap();
        let location = sooner_or_later("the savepoint is complete", async || {
            flink.accepted(&request)[0].location.clone()
        });
        hanging.push((job, location.await, request));
    }
    let request = savepoint();
    flink.client.stop_with_savepoint(third, &request).await.unwrap();
    completed(flink.outcome(third, &request).await);
    for (job, _, request) in &hanging {
        let status = flink.client.savepoint_status(*job, request.trigger_id).await;
        assert_eq!(
            (status, flink.of(*job).state),
            (Ok(SavepointStatus::InProgress), "RUNNING")
        );
        assert_eq!(flink.accepted(request)[0].end, OperationEnd::UnderWay);
    }
    flink.client.cancel(cancelled).await.unwrap();
    assert!(flink.fake.finish_job(finished));
    let (_, location, request) = &hanging[0];
    let kind = failed(flink.outcome(cancelled, request).await).kind;
    assert_eq!(
        kind,
        FailureKind::StoppingFailed {
            location: location.clone()
        }
    );
    let (_, location, request) = &hanging[1];
    assert_eq!(completed(flink.outcome(finished, request).await), *location);
}

/// A stop that hangs before its savepoint is complete fails when its job is cancelled, and names no savepoint.
#[tokio::test]
async fn the_next_of_a_kind_hangs_and_no_other() {
    let flink = fixture(FakeOptions::default()).await;
    for kind in [OperationKind::Savepoint, OperationKind::Stop, OperationKind::Disposal] {
        flink.fake.hang_next(kind);
    }
    let (job, hanging, works) = (flink.job(), savepoint(), savepoint());
    flink.client.trigger_savepoint(job, &hanging).await.unwrap();
    flink.client.trigger_savepoint(job, &works).await.unwrap();
    let location = completed(flink.outcome(job, &works).await);
    let disposal = flink.client.dispose_savepoint(&location).await.unwrap();
    let (other, stop) = (flink.job(), savepoint());
    flink.client.stop_with_savepoint(other, &stop).await.unwrap();
    // Longer than each of them takes.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let expected = [
        (OperationKind::Savepoint, OperationEnd::UnderWay),
        (OperationKind::Savepoint, OperationEnd::Completed),
        (OperationKind::Disposal, OperationEnd::UnderWay),
        (OperationKind::Stop, OperationEnd::UnderWay),
    ];
    assert_eq!(ends(&flink.fake.operations()), expected);
    let status = flink.client.disposal_status(disposal).await;
    assert_eq!(status, Ok(DisposalStatus::InProgress));
    assert_eq!(flink.of(other).state, "RUNNING");
    flink.client.cancel(other).await.unwrap();
    assert_eq!(failed(flink.outcome(other, &stop).await).kind, FailureKind::Other);
    assert_eq!(flink.accepted(&stop)[0].location, None);
    assert_eq!(flink.disposed(&location).await, DisposalStatus::Completed);
}

#[tokio::test]
async fn forgotten_outcomes_are_unknown_and_what_is_under_way_goes_on() {
    let flink = fixture(FakeOptions::default()).await;
    let (job, other, ended, under_way) = (flink.job(), flink.job(), savepoint(), savepoint());
    flink.client.trigger_savepoint(job, &ended).await.unwrap();
    let location = completed(flink.outcome(job, &ended).await);
    let disposal = flink.client.dispose_savepoint("/nothing/there").await.unwrap();
    flink
        .fake
        .configure(|options| options.savepoint_takes = Duration::from_millis(300));
    flink.client.trigger_savepoint(other, &under_way).await.unwrap();
    flink.fake.forget_outcomes();
    let status = flink.client.savepoint_status(job, ended.trigger_id).await;
    assert_eq!(status, Ok(SavepointStatus::Unknown));
    assert_eq!(
        flink.client.disposal_status(disposal).await,
        Ok(DisposalStatus::Unknown)
    );
    completed(flink.outcome(other, &under_way).await);

    flink.client.trigger_savepoint(job, &ended).await.unwrap();
    assert_ne!(completed(flink.outcome(job, &ended).await), location);
    let twice = (OperationKind::Savepoint, OperationEnd::Completed);
    assert_eq!(ends(&flink.accepted(&ended)), [twice, twice]);
}

/// As with high availability: from its newest checkpoint, and not from the beginning.
#[tokio::test]
async fn a_recovered_job_counts_on_from_its_newest_checkpoint() {
    let flink = fixture(FakeOptions::default()).await;
    let mut run = request(new_id(), TestJob::Counter, &[]);
    for (key, value) in [
        ("execution.checkpointing.interval", "200 ms"),
        ("execution.checkpointing.dir", "s3://bucket/checkpoints"),
    ] {
        run.flink_configuration.insert(key.to_owned(), value.to_owned());
    }
    let (jar, job) = (flink.jar().await, run.job_id);
    flink.client.run_jar(&jar, &run, PATIENCE).await.unwrap();
    let newest = async || flink.client.checkpoints(job).await.unwrap().completed;
    let before = sooner_or_later("a checkpoint with a count", async || {
        newest().await.filter(|point| point.id > 2)
    })
    .await;
    flink.fake.kill_jobmanager();
    let counted = flink.of(job).count;
    tokio::time::sleep(Duration::from_millis(500)).await;
    flink.fake.start_jobmanager(true).await.unwrap();
    let recovered = flink.of(job).count;
    assert!(recovered >= 20 && recovered <= counted, "{recovered} of {counted}");
    let after = sooner_or_later("another checkpoint", async || {
        newest().await.filter(|point| point.id > before.id)
    })
    .await;
    let directory = format!("s3://bucket/checkpoints/{job}");
    assert_eq!(after.path, Some(format!("{directory}/chk-{}", after.id)));
    // Older ones are gone; the newest is there for a process that knows nothing of the job.
    flink.fake.restart_jobmanager(false).await.unwrap();
    let mut restored = Vec::new();
    for n in 1..after.id + 100 {
        if let Ok(job) = flink.start_from(&format!("{directory}/chk-{n}")).await {
            restored.push((n, i64::try_from(flink.of(job).restored_count).unwrap()));
        }
    }
    // The first of each of its two lives was taken at once.
    assert!(
        restored.len() == 1 && restored[0].1 == 20 * (restored[0].0 - 2),
        "{restored:?}"
    );
}

#[tokio::test]
async fn the_history_is_as_late_as_asked() {
    let flink = fixture(FakeOptions {
        history_is_late: Duration::from_secs(600),
        ..FakeOptions::default()
    })
    .await;
    let (job, request) = (flink.job(), savepoint());
    flink.client.trigger_savepoint(job, &request).await.unwrap();
    let location = completed(flink.outcome(job, &request).await);
    let before = flink.client.checkpoints(job).await.unwrap();
    assert_eq!((before.savepoint, before.savepoints), (None, Vec::new()));
    flink.fake.configure(|options| options.history_is_late = Duration::ZERO);
    let after = flink.client.checkpoints(job).await.unwrap();
    assert_eq!(after.savepoint.and_then(|savepoint| savepoint.path), Some(location));
}

#[tokio::test]
async fn a_disposal_that_breaks_off_leaves_what_nobody_can_dispose_of() {
    let flink = fixture(FakeOptions {
        disposal: Behavior::Fails,
        ..FakeOptions::default()
    })
    .await;
    let (job, request) = (flink.job(), savepoint());
    flink.client.trigger_savepoint(job, &request).await.unwrap();
    let location = completed(flink.outcome(job, &request).await);
    for expected in [FailureKind::Other, FailureKind::NoMetadata] {
        let status = flink.disposed(&location).await;
        let DisposalStatus::Failed(failure) = status else {
            panic!("{status:?}");
        };
        assert_eq!(failure.kind, expected);
        assert_eq!(flink.fake.savepoints()[0].files, SavepointFiles::WithoutMetadata);
    }
    flink.start_from(&location).await.unwrap_err();
}

#[tokio::test]
async fn a_savepoint_under_way_dies_with_its_process_and_leaves_a_directory() {
    let flink = fixture(FakeOptions {
        savepoint_takes: Duration::from_secs(30),
        ..FakeOptions::default()
    })
    .await;
    let (job, request) = (flink.job(), savepoint());
    flink.client.trigger_savepoint(job, &request).await.unwrap();
    flink.fake.restart_jobmanager(true).await.unwrap();
    let status = flink.client.savepoint_status(job, request.trigger_id).await;
    assert_eq!(status, Ok(SavepointStatus::Unknown));
    assert!(flink.client.checkpoints(job).await.unwrap().savepoints.is_empty());
    let left = flink.fake.savepoints();
    assert_eq!((left.len(), left[0].files), (1, SavepointFiles::Partial));
    flink.start_from(&left[0].path).await.unwrap_err();
}

#[tokio::test]
async fn a_stop_breaks_off_a_savepoint_that_is_under_way() {
    let flink = fixture(FakeOptions {
        savepoint_takes: Duration::from_millis(300),
        ..FakeOptions::default()
    })
    .await;
    let (job, first, stop) = (flink.job(), savepoint(), savepoint());
    flink.client.trigger_savepoint(job, &first).await.unwrap();
    flink.client.stop_with_savepoint(job, &stop).await.unwrap();
    assert_eq!(failed(flink.outcome(job, &first).await).kind, FailureKind::Other);
    let location = completed(flink.outcome(job, &stop).await);
    let second = flink.start_from(&location).await.unwrap();
    let restores = flink
        .fake
        .savepoints()
        .into_iter()
        .find(|savepoint| savepoint.path == location);
    assert_eq!(
        restores.map(|savepoint| (savepoint.restores, savepoint.stops_job)),
        Some((1, true))
    );
    assert!(flink.fake.jobs().iter().any(|job| job.id == second.to_string()));
}

/// "I do not know this trigger" leads to another savepoint, so only Flink itself is believed.
#[tokio::test]
async fn a_404_that_is_not_flinks_does_not_make_a_trigger_unknown() {
    let flink = fixture(FakeOptions::default()).await;
    let (job, request) = (flink.job(), savepoint());
    flink.client.trigger_savepoint(job, &request).await.unwrap();
    for reply in [
        Reply::html(404),
        Reply::json(404, "{}"),
        Reply::json(404, r#"{"errors":["no healthy upstream"]}"#),
        Reply::json(404, r#"{"errors":["Not found: /jobs"]}"#),
    ] {
        let fault = flink.fake.inject(Fault::on("GET", "*", Action::Answer(reply)));
        let status = flink.client.savepoint_status(job, request.trigger_id).await;
        assert!(matches!(status, Err(FlinkError::NotFlink(_))), "{status:?}");
        let status = flink.client.disposal_status(request.trigger_id).await;
        assert!(matches!(status, Err(FlinkError::NotFlink(_))), "{status:?}");
        fault.remove();
    }
    completed(flink.outcome(job, &request).await);
}
