//! Savepoints under crashes, lost answers and a forgetful JobManager: one is taken, known and, where that is asked for,
//! deleted, whatever happens on the way.

use std::time::Duration;

use devcluster::{
    fake::{
        Action, FakeOperation, FakeOptions, FakeSavepoint, Fault, OperationEnd, OperationKind, Reply, SavepointFiles,
    },
    proxy::{Moment, Rule},
};
use flink_job_operator::api::Savepoint;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::{
    Failure, chosen,
    cluster::steady,
    passed, run_all,
    world::{JOB, Operator, World, eventually, object},
};

const NAME: &str = "one";
const TRIGGER: (&str, &str) = ("POST", "/jobs/*/savepoints");

impl World {
    /// What the JobManager was asked for, of one kind.
    fn asked(&self, kind: OperationKind) -> Vec<FakeOperation> {
        let mut operations = self.cluster.operations();
        operations.retain(|operation| operation.kind == kind);
        operations
    }

    /// The savepoints whose files are all there.
    fn whole(&self) -> Vec<FakeSavepoint> {
        let mut savepoints = self.cluster.savepoints();
        savepoints.retain(|savepoint| savepoint.files == SavepointFiles::Complete);
        savepoints
    }

    /// One savepoint was asked for and is there, and the resource says where.
    async fn one_is_taken(&self) -> Result<(), Failure> {
        let status = self.until_complete(NAME).await?;
        // Every process has had its chance to do something wrong.
        self.polls(4).await?;
        let (asked, whole) = (self.asked(OperationKind::Savepoint), self.whole());
        let path = status.path.clone().unwrap_or_default();
        let right = asked.len() == 1 && whole.len() == 1 && whole[0].path == path;
        if right && status.abandoned_paths.is_empty() && status.failures.is_none() {
            return Ok(());
        }
        Err(format!(
            "asked for {asked:?}; there is {whole:?}; the resource says {status:?}"
        ))
    }
}

/// A savepoint goes into a directory that the job names.
fn more() -> Value {
    json!({ "savepointPolicy": { "directory": "s3://bucket/savepoints" } })
}

fn spec() -> Value {
    json!({ "jobRef": { "name": JOB } })
}

/// A job runs of which a savepoint can be taken.
async fn prepare(world: &World) -> Result<(), Failure> {
    world.until_session_ready().await?;
    world.create_with(JOB, more()).await;
    world.until_running(JOB).await.map(drop)
}

/// A savepoint is asked for.
async fn begin(world: &World) {
    world.savepoint(NAME, spec()).await;
}

/// What happens to the first requests for a savepoint.
#[derive(Debug, Clone, Copy)]
enum Unanswered {
    /// It does not arrive.
    Lost,
    /// It arrives, and its answer does not.
    Silent,
    /// What stands before Flink says that nothing is there, twice.
    Unavailable,
}

impl Unanswered {
    async fn taken(self, world: &World) -> Result<(), Failure> {
        prepare(world).await?;
        let moment = match self {
            Self::Lost => Moment::BeforeForward,
            Self::Silent => Moment::AfterForward,
            Self::Unavailable => {
                let answer = Action::Answer(Reply::html(503));
                let fault = Fault::on("POST", "/jobs/:jobid/savepoints", answer);
                world.cluster.inject(fault.first(2));
                begin(world).await;
                return world.one_is_taken().await;
            }
        };
        let mut gate = world.flink.gate(Rule::on(TRIGGER.0, TRIGGER.1, moment));
        begin(world).await;
        gate.reached().await.cut();
        world.one_is_taken().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_an_answer_takes_one_savepoint() {
    if devcluster::skip_real("crash::savepoints") {
        return;
    }
    run_all(
        vec![Unanswered::Lost, Unanswered::Silent, Unanswered::Unavailable],
        3,
        |how| format!("savepoint/unanswered/{how:?}"),
        async |how| {
            let world = World::new(steady()).await;
            let operator = world.operator().await;
            world.judge(how.taken(&world).await, &[&operator]).await
        },
    )
    .await;
}

/// The operator is away while the savepoint completes and its outcome is forgotten.
async fn forgotten(world: &World, operator: &mut Operator) -> Result<(), Failure> {
    prepare(world).await?;
    let mut gate = world.flink.gate(Rule::on(TRIGGER.0, TRIGGER.1, Moment::AfterForward));
    begin(world).await;
    let held = gate.reached().await;
    operator.process.kill().map_err(|error| error.to_string())?;
    held.cut();
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.restart(operator);
    world.one_is_taken().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_savepoint_whose_outcome_was_forgotten_is_found_by_its_directory() {
    if devcluster::skip_real("crash::savepoints") || !chosen("savepoint/forgotten") {
        return;
    }
    let options = FakeOptions {
        async_store_duration: Duration::from_secs(1),
        configuration: vec![("rest.async.store-duration".to_owned(), "1 s".to_owned())],
        ..steady()
    };
    let world = World::new(options).await;
    let mut operator = world.operator().await;
    let result = forgotten(&world, &mut operator).await;
    passed(world.judge(result, &[&operator]).await);
}

/// The JobManager dies while the savepoint is being taken, and its job goes on in the next process.
async fn lost(world: &World) -> Result<(), Failure> {
    prepare(world).await?;
    world
        .cluster
        .configure(|options| options.savepoint_takes = Duration::from_secs(3600));
    begin(world).await;
    super::world::eventually("it is under way", async || {
        let asked = world.asked(OperationKind::Savepoint);
        let under_way = asked.iter().any(|one| one.end == OperationEnd::UnderWay);
        under_way.then_some(()).ok_or_else(|| format!("{asked:?}"))
    })
    .await?;
    // The operator has the answer by then.
    world.polls(4).await?;
    world
        .cluster
        .configure(|options| options.savepoint_takes = Duration::from_millis(20));
    let restarted = world.cluster.restart_jobmanager(true).await;
    restarted.map_err(|error| error.to_string())?;
    let status = world.until_complete(NAME).await?;
    let asked = world.asked(OperationKind::Savepoint);
    let (ids, dirs): (Vec<_>, Vec<_>) = asked.iter().map(|one| (&one.trigger_id, &one.directory)).unzip();
    let another = asked.len() == 2 && ids[0] != ids[1] && dirs[0] != dirs[1];
    let told = status.abandoned_paths == [dirs[0].clone()] && status.failures == Some(1);
    if another && told && world.whole().len() == 1 {
        return Ok(());
    }
    Err(format!("asked for {asked:?}; the resource says {status:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_savepoint_that_died_with_its_jobmanager_is_taken_anew_elsewhere() {
    if devcluster::skip_real("crash::savepoints") || !chosen("savepoint/lost") {
        return;
    }
    let world = World::new(steady()).await;
    let operator = world.operator().await;
    passed(world.judge(lost(&world).await, &[&operator]).await);
}

/// Of what the operator made, only the newest is kept; it goes with its files.
async fn expired(world: &World) -> Result<(), Failure> {
    world.until_session_ready().await?;
    let mut more = more();
    more["savepointPolicy"]["retention"] = json!({ "count": 1 });
    world.create_with(JOB, more).await;
    world.until_running(JOB).await?;
    let made = json!({ "flinkjobs.dev/origin": "schedule" });
    for name in [NAME, "two"] {
        let metadata = json!({ "name": name, "labels": made });
        let savepoint: Savepoint = object("Savepoint", json!({ "metadata": metadata, "spec": spec() }));
        let created = world.savepoint_api().create(&PostParams::default(), &savepoint).await;
        created.map_err(|error| error.to_string())?;
        world.until_complete(name).await?;
    }
    world.savepoint("users", spec()).await;
    world.until_complete("users").await?;
    world.until_no_savepoint(NAME).await?;
    world.polls(8).await?;
    let (two, users) = (world.until_complete("two").await?, world.until_complete("users").await?);
    let mut left: Vec<_> = world.whole().into_iter().map(|one| Some(one.path)).collect();
    left.sort();
    let mut kept = vec![two.path, users.path];
    kept.sort();
    if left == kept {
        Ok(())
    } else {
        Err(format!("{left:?} is left, not {kept:?}"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_lets_the_older_ones_go_with_their_files() {
    if devcluster::skip_real("crash::savepoints") || !chosen("savepoint/expired") {
        return;
    }
    let world = World::new(steady()).await;
    let operator = world.operator().await;
    passed(world.judge(expired(&world).await, &[&operator]).await);
}

/// The policy is set in the moment before the deletion: nobody could hold the resource.
async fn unheld(world: &World, operator: &Operator) -> Result<(), Failure> {
    prepare(world).await?;
    begin(world).await;
    let path = world.until_complete(NAME).await?.path.unwrap_or_default();
    operator.kube.stall_watches(true);
    let (savepoints, policy) = (
        world.savepoint_api(),
        json!({ "spec": { "deletionPolicy": "Dispose" } }),
    );
    let patched = savepoints
        .patch(NAME, &PatchParams::default(), &Patch::Merge(policy))
        .await;
    patched.map_err(|error| error.to_string())?;
    let deleted = savepoints.delete(NAME, &DeleteParams::default()).await;
    deleted.map_err(|error| error.to_string())?;
    world.until_no_savepoint(NAME).await?;
    operator.kube.stall_watches(false);
    eventually("an Event says where the files are", async || {
        let events = world.events_about(NAME).await?;
        let told = |(reason, note): &(String, String)| reason == "DeletionBlocked" && note.contains(&path);
        let told = events.iter().any(told);
        told.then_some(()).ok_or_else(|| format!("{events:?}"))
    })
    .await?;
    let left = world.whole();
    (left.len() == 1 && left[0].path == path)
        .then_some(())
        .ok_or_else(|| format!("{left:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_stay_because_their_resource_was_gone_too_soon_are_told() {
    if devcluster::skip_real("crash::savepoints") || !chosen("savepoint/unheld") {
        return;
    }
    let world = World::new(steady()).await;
    let operator = world.operator().await;
    let result = unheld(&world, &operator).await;
    passed(world.judge(result, &[&operator]).await);
}
