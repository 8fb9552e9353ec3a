//! Savepoints under crashes, lost answers and a forgetful JobManager: one is taken, known and, where that is asked for,
//! deleted, whatever happens on the way.

use std::time::Duration;

use devcluster::{
    fake::{
        Action, FakeOperation, FakeOptions, FakeSavepoint, Fault, OperationEnd, OperationKind, Reply, SavepointFiles,
    },
    proxy::{Held, Moment, Rule},
};
use flink_job_operator::api::{Savepoint, SavepointPhase, SavepointStatus};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
    runtime::wait::await_condition,
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{
    Failure, WITHIN, chosen, passed, plans, run_all,
    world::{JOB, Operator, World, object},
};

const NAME: &str = "one";
const RESOURCE: &str = "/apis/flinkjobs.dev/v1alpha1/namespaces/*/savepoints/*";
const TRIGGER: (&str, &str) = ("POST", "/jobs/*/savepoints");

impl World {
    fn savepoint_api(&self) -> Api<Savepoint> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn savepoint(&self, name: &str, spec: Value) {
        let savepoint: Savepoint = object("Savepoint", json!({ "metadata": { "name": name }, "spec": spec }));
        let created = self.savepoint_api().create(&PostParams::default(), &savepoint).await;
        created.unwrap();
    }

    async fn until_savepoint(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(Option<&Savepoint>) -> bool,
    ) -> Result<Option<SavepointStatus>, Failure> {
        let reached = await_condition(self.savepoint_api(), name, holds);
        match tokio::time::timeout(WITHIN, reached).await {
            Ok(Ok(found)) => Ok(found.and_then(|found| found.status)),
            Ok(Err(error)) => Err(format!("the watch of {name} failed: {error}")),
            Err(_) => {
                let now = self.savepoint_api().get_opt(name).await;
                let now = now.map(|found| found.map(|found| found.status));
                Err(format!("{name}: not {what} within {WITHIN:?}: {now:?}"))
            }
        }
    }

    async fn until_complete(&self, name: &str) -> Result<SavepointStatus, Failure> {
        let complete = |savepoint: Option<&Savepoint>| {
            let status = savepoint.and_then(|savepoint| savepoint.status.as_ref());
            status.is_some_and(|status| status.phase == Some(SavepointPhase::Completed))
        };
        let status = self.until_savepoint(name, "Completed", complete).await?;
        status.ok_or_else(|| format!("{name} is gone"))
    }

    async fn until_no_savepoint(&self, name: &str) -> Result<(), Failure> {
        let gone = self
            .until_savepoint(name, "gone", |savepoint| savepoint.is_none())
            .await;
        gone.map(drop)
    }

    async fn delete_savepoint(&self, name: &str) {
        self.savepoint_api()
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }

    /// What the JobManager was asked for, of one kind.
    fn asked(&self, kind: OperationKind) -> Vec<FakeOperation> {
        let mut operations = self.fake.operations();
        operations.retain(|operation| operation.kind == kind);
        operations
    }

    /// The savepoints whose files are all there.
    fn whole(&self) -> Vec<FakeSavepoint> {
        let mut savepoints = self.fake.savepoints();
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

/// What is done with a savepoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Take,
    Dispose,
}

impl Flow {
    /// The writes that it consists of, by what they are and how many there are.
    fn writes(self) -> Vec<(&'static str, &'static str, String, u64)> {
        let status = ("status", "PUT", format!("{RESOURCE}/status"), 2);
        match self {
            Self::Take => vec![
                status,
                // The finalizer comes, and goes.
                ("finalizer", "PATCH", RESOURCE.to_owned(), 2),
                ("trigger", TRIGGER.0, TRIGGER.1.to_owned(), 1),
            ],
            Self::Dispose => vec![
                status,
                ("finalizer", "PATCH", RESOURCE.to_owned(), 1),
                ("dispose", "POST", "/savepoint-disposal".to_owned(), 1),
            ],
        }
    }

    async fn prepare(self, world: &World) -> Result<(), Failure> {
        world.until_session_ready().await?;
        world.create_with(JOB, more()).await;
        world.until_running(JOB).await?;
        if self == Self::Dispose {
            let mut spec = spec();
            spec["deletionPolicy"] = json!("Dispose");
            world.savepoint(NAME, spec).await;
            world.until_complete(NAME).await?;
            // Its newest state is needed by the job.
            world.delete(JOB).await;
            world.until_gone(JOB).await?;
            let unused = |savepoint: Option<&Savepoint>| {
                savepoint.is_some_and(|savepoint| {
                    let status = savepoint.status.as_ref();
                    savepoint.metadata.finalizers.is_some() && status.is_some_and(|status| status.used_by.is_empty())
                })
            };
            world.until_savepoint(NAME, "unused", unused).await?;
            world.polls(4).await?;
        }
        Ok(())
    }

    async fn begin(self, world: &World) {
        match self {
            Self::Take => world.savepoint(NAME, spec()).await,
            Self::Dispose => world.delete_savepoint(NAME).await,
        }
    }

    async fn check(self, world: &World) -> Result<(), Failure> {
        match self {
            Self::Take => world.one_is_taken().await,
            Self::Dispose => {
                world.until_no_savepoint(NAME).await?;
                let left = world.whole();
                if left.is_empty() {
                    Ok(())
                } else {
                    Err(format!("{left:?} is left"))
                }
            }
        }
    }
}

/// A moment of a flow.
#[derive(Debug, Clone)]
struct Plan {
    flow: Flow,
    name: String,
    method: &'static str,
    path: String,
    nth: u64,
    moment: Moment,
}

fn all_plans() -> Vec<Plan> {
    let mut plans = Vec::new();
    for flow in [Flow::Take, Flow::Dispose] {
        for (name, method, path, times) in flow.writes() {
            for (nth, moment) in (1..=times).flat_map(|nth| Moment::ALL.map(|moment| (nth, moment))) {
                plans.push(Plan {
                    flow,
                    name: format!("savepoint/{flow:?}/{name}-{nth}/{}", moment.as_str()),
                    method,
                    path: path.clone(),
                    nth,
                    moment,
                });
            }
        }
    }
    plans
}

impl Plan {
    /// kill -9 at the moment, and a new process. Tells whether the moment came.
    async fn kill(&self, world: &World, operator: &mut Operator) -> Result<bool, Failure> {
        self.flow.prepare(world).await?;
        let is_flinks = !self.path.starts_with("/apis");
        let proxy = if is_flinks { &world.flink } else { &operator.kube };
        // What was written before the flow counts, too.
        let rule = Rule::on(self.method, &self.path, self.moment);
        let before = proxy.writes();
        let before = before
            .iter()
            .filter(|write| rule.matches(&write.method, &write.path))
            .count() as u64;
        let mut gate = proxy.gate(rule.nth(if is_flinks { self.nth } else { before + self.nth }));
        self.flow.begin(world).await;
        let held: Option<Held> = tokio::time::timeout(Duration::from_secs(20), gate.reached()).await.ok();
        let hit = held.is_some();
        if let Some(held) = held {
            operator.process.kill().map_err(|error| error.to_string())?;
            held.cut();
            world.restart(operator);
        }
        self.flow.check(world).await?;
        Ok(hit)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_write_neither_doubles_nor_loses_a_savepoint() {
    if devcluster::skip_real("crash::savepoints") {
        return;
    }
    let plans = all_plans();
    let (total, missed) = (plans.len(), Mutex::new(Vec::new()));
    run_all(
        plans,
        6,
        |plan| plan.name.clone(),
        async |plan| {
            let world = World::new(plans::cluster()).await;
            let mut operator = world.operator().await;
            let result = plan.kill(&world, &mut operator).await;
            if result == Ok(false) {
                missed.lock().push(plan.name.clone());
            }
            world.judge(result.map(drop), &[&operator]).await
        },
    )
    .await;
    plans::none_missed(total, &missed.into_inner());
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
        Flow::Take.prepare(world).await?;
        let moment = match self {
            Self::Lost => Moment::BeforeForward,
            Self::Silent => Moment::AfterForward,
            Self::Unavailable => {
                let answer = Action::Answer(Reply::html(503));
                let fault = Fault::on("POST", "/jobs/:jobid/savepoints", answer);
                world.fake.inject(fault.first(2));
                Flow::Take.begin(world).await;
                return world.one_is_taken().await;
            }
        };
        let mut gate = world.flink.gate(Rule::on(TRIGGER.0, TRIGGER.1, moment));
        Flow::Take.begin(world).await;
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
            let world = World::new(plans::cluster()).await;
            let operator = world.operator().await;
            world.judge(how.taken(&world).await, &[&operator]).await
        },
    )
    .await;
}

/// The operator is away while the savepoint completes and its outcome is forgotten.
async fn forgotten(world: &World, operator: &mut Operator) -> Result<(), Failure> {
    Flow::Take.prepare(world).await?;
    let mut gate = world.flink.gate(Rule::on(TRIGGER.0, TRIGGER.1, Moment::AfterForward));
    Flow::Take.begin(world).await;
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
        ..plans::cluster()
    };
    let world = World::new(options).await;
    let mut operator = world.operator().await;
    let result = forgotten(&world, &mut operator).await;
    passed(world.judge(result, &[&operator]).await);
}

/// The JobManager dies while the savepoint is being taken, and its job goes on in the next process.
async fn lost(world: &World) -> Result<(), Failure> {
    Flow::Take.prepare(world).await?;
    world
        .fake
        .configure(|options| options.savepoint_takes = Duration::from_secs(3600));
    Flow::Take.begin(world).await;
    super::world::eventually("it is under way", async || {
        let asked = world.asked(OperationKind::Savepoint);
        let under_way = asked.iter().any(|one| one.end == OperationEnd::UnderWay);
        under_way.then_some(()).ok_or_else(|| format!("{asked:?}"))
    })
    .await?;
    world
        .fake
        .configure(|options| options.savepoint_takes = Duration::from_millis(20));
    let restarted = world.fake.restart_jobmanager(true).await;
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
    let world = World::new(plans::cluster()).await;
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
    let world = World::new(plans::cluster()).await;
    let operator = world.operator().await;
    passed(world.judge(expired(&world).await, &[&operator]).await);
}
