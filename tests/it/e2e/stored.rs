//! State in S3, where the operator may look: Flink writes it by its own file system, and the operator finds it.

use devcluster::{
    ControlPlane, Flink, FlinkOptions, ObjectStore,
    jars::{self, TestJob},
    skip_real,
};
use flink_job_operator::api::{
    FlinkSessionJob, JobStatus, Reason, SavepointPhase,
    state::{RestorePoint, StateKind},
    status::RunOutcome,
};
use serde_json::{Value, json};

use super::kept::{began_with, checkpointed, counted, goes_on};
use crate::harness::{Job, Kstatus, Operator, Scene, install, taken::message};

/// A Flink whose state is in the store.
async fn flink(store: &ObjectStore) -> Flink {
    let keys = [
        ("s3.endpoint", store.url()),
        ("s3.path.style.access", "true"),
        ("s3.access-key", "test"),
        ("s3.secret-key", "test"),
        // The store takes a part of an upload as it is, not in signed chunks.
        ("s3.signing-algorithm", "S3SignerType"),
        // Where the smallest state is a file of its own, and not a part of _metadata.
        ("execution.checkpointing.data-inline-threshold", "0"),
        ("heartbeat.timeout", "5000"),
        ("heartbeat.interval", "500"),
        ("cluster.registration.error-delay", "500"),
        ("cluster.registration.max-timeout", "1000"),
    ];
    let options = FlinkOptions {
        configuration: keys.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        plugins: vec![jars::s3_file_system().await.unwrap()],
        ..FlinkOptions::default()
    };
    Flink::start(options).await.unwrap()
}

/// An operator that may look into the state of a namespace.
async fn operator(plane: &ControlPlane, store: &ObjectStore, namespace: &str) -> Operator {
    install(&plane.client().await.unwrap()).await;
    let flags = [
        format!("--s3-endpoint={}", store.url()),
        "--s3-anonymous".to_owned(),
        format!("--state-prefix={namespace}=s3://state/{namespace}/"),
    ];
    Operator::start_with(plane, "15s", flags.into()).await
}

fn directory(scene: &Scene<'_>, name: &str) -> String {
    format!("s3://state/{}/{name}", scene.namespace)
}

/// The spec of a job that counts, with checkpoints twice a second, of which Flink retains the newest.
async fn counting(scene: &Scene<'_>) -> Value {
    let mut spec = Job::spec(scene, TestJob::Counter, &["--checkpoint-ms", "500"]).await;
    spec["upgradeMode"] = json!("LastState");
    spec["savepointPolicy"] = json!({ "directory": directory(scene, "savepoints") });
    spec["flinkConfiguration"] = json!({
        "execution.checkpointing.dir": directory(scene, "checkpoints"),
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
    });
    spec
}

fn latest(job: &FlinkSessionJob) -> Option<&RestorePoint> {
    job.status.as_ref()?.latest_state()
}

/// The number of a checkpoint.
fn number(path: &str) -> u64 {
    path.rsplit_once("/chk-").unwrap().1.parse().unwrap()
}

/// The count that the job wrote into a checkpoint.
fn snapshot(scene: &Scene<'_>, status: &JobStatus, number: u64) -> u64 {
    let id = status.job_id.unwrap().to_string();
    let snapshots = Job::ledger_at(scene).snapshots();
    let mut own = snapshots.iter().rev();
    let taken = own.find(|taken| taken.job_id == id && taken.checkpoint == number);
    taken.unwrap().count
}

#[tokio::test]
async fn a_lost_job_goes_on_from_the_newest_checkpoint_that_flink_wrote_to_s3() {
    if skip_real("a_lost_job_goes_on_from_the_newest_checkpoint_that_flink_wrote_to_s3") {
        return;
    }
    let (plane, store) = tokio::join!(ControlPlane::start(), ObjectStore::start());
    let (plane, store) = (plane.unwrap(), store.unwrap());
    let namespace = Scene::namespace("stored", &plane).await;
    let (flink, operator) = tokio::join!(flink(&store), operator(&plane, &store, &namespace));
    let scene = Scene::within(namespace, &plane, &operator, &flink).await;
    scene.session().await;
    let job = scene.job("orders", counting(&scene).await).await;
    let first = job.runs().await;
    let seen = job.is("a checkpoint is on record", |job| {
        latest(job).is_some_and(|latest| latest.kind == StateKind::Checkpoint)
    });
    let recorded = latest(&seen.await).unwrap().path.clone();
    // The next one is on record a minute later. Flink deletes this one at once.
    let newer = number(&recorded) + 4;
    checkpointed(&scene, &first, newer).await;
    counted(&scene, &first, 20).await;
    flink.kill_jobmanager().unwrap();
    flink.restart_jobmanager().await.unwrap();

    let status = goes_on(&job, 2).await;
    assert_eq!(job.submissions().len(), 2, "one for each attempt");
    assert_eq!(status.runs[1].outcome, Some(RunOutcome::Lost));
    let from = status.state.as_ref().unwrap().restored_from.clone().unwrap();
    assert_ne!(from.path, recorded, "it is gone");
    assert!(number(&from.path) >= newer, "{} after checkpoint {newer}", from.path);
    let counted = snapshot(&scene, &first, number(&from.path));
    assert_eq!(began_with(&scene, &status).await, counted);

    savepoints_are_looked_at(&scene, &from.path).await;
    job.delete().await;
    job.gone().await;
}

/// A path is imported where there is state, and refused where there is none.
async fn savepoints_are_looked_at(scene: &Scene<'_>, checkpoint: &str) {
    let of = json!({ "jobRef": { "name": "orders" } });
    let taken = scene.savepoint("taken", of).await.completes().await.path.unwrap();
    assert!(taken.starts_with(&directory(scene, "savepoints")), "{taken}");
    for (name, path, kind) in [
        ("savepoint", taken.as_str(), "Savepoint"),
        ("checkpoint", checkpoint, "Checkpoint"),
    ] {
        let import = json!({ "existing": { "path": path, "kind": kind } });
        let status = scene.savepoint(name, import).await.completes().await;
        assert!(
            message(&status).contains("its _metadata is there"),
            "{}",
            message(&status)
        );
    }
    let import = json!({ "existing": { "path": directory(scene, "savepoints") } });
    let refused = scene.savepoint("above", import).await;
    let status = refused
        .reaches(SavepointPhase::Failed, Reason::StateNotFound, Kstatus::Failed)
        .await;
    assert!(
        message(&status).contains("there is no _metadata"),
        "{}",
        message(&status)
    );
}
