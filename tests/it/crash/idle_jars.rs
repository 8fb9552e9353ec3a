//! Jars that nobody needs are deleted; one that is needed, or that is somebody else's, never is.

use std::collections::BTreeSet;

use devcluster::{fake::FakeOptions, proxy::Moment};
use flink_job_operator::{
    api::JobStatus,
    flink::{ClusterEndpoint, FlinkClient, JarContent},
};
use serde_json::json;

use super::{
    Failure, WITHIN, chosen,
    flow::Kind,
    ground::Flags,
    passed,
    world::{JOB, Operator, World, eventually},
};

fn impatient() -> Flags {
    Flags::from([("--jar-idle-time", "3s"), ("--sweep-interval", "1s")])
}

impl World {
    fn jars(&self) -> BTreeSet<String> {
        self.cluster.jars().into_iter().map(|jar| jar.id).collect()
    }

    /// The jar that a submission that is under way has recorded.
    async fn recorded_jar(&self, name: &str) -> Result<String, Failure> {
        let job = self.jobs.get(name).await.map_err(|error| error.to_string())?;
        let intent = job.status.as_ref().and_then(JobStatus::submission);
        intent
            .map(|intent| intent.jar_id.to_string())
            .ok_or_else(|| format!("{name} has no submission under way"))
    }

    async fn until_deleted(&self, jar: &str) -> Result<(), Failure> {
        eventually("an idle jar is deleted", async || {
            let there = self.jars().contains(jar);
            (!there).then_some(()).ok_or_else(|| format!("{jar} is there"))
        })
        .await
    }

    /// Uploads a jar as somebody else does.
    async fn upload(&self, name: &str) -> Result<String, Failure> {
        let url = self.cluster.url().parse().map_err(|_| "no URL".to_owned())?;
        let client = FlinkClient::new(&ClusterEndpoint::new(url)).map_err(|error| error.to_string())?;
        let content = JarContent::from_bytes("PK".into());
        let uploaded = client.upload_jar(name, content).await;
        uploaded
            .map(|uploaded| uploaded.id.to_string())
            .map_err(|error| error.to_string())
    }

    fn jar_of_last_submission(&self) -> String {
        self.cluster
            .submissions()
            .pop()
            .map(|last| last.jar_id)
            .unwrap_or_default()
    }
}

async fn idle(world: &World, operator: &mut Operator) -> Result<(), Failure> {
    world.until_session_ready().await?;
    let ours = world.installation().await?;
    let other: String = ours
        .to_string()
        .chars()
        .rev()
        .map(|c| if c == '0' { '1' } else { '0' })
        .collect();
    let foreign = [
        world.upload("report.jar").await?,
        world.upload(&format!("{other}-{}.jar", "0".repeat(64))).await?,
    ];
    world.create(JOB).await;
    world.until_running(JOB).await?;
    let first = world.jar_of_last_submission();

    let mut gate = world.flink.gate(Kind::Run.rule(1, Moment::BeforeForward));
    // Not given up while it is held.
    let mut spec = world.other_program();
    spec["submitTimeout"] = json!("10m");
    world.create_with("held", spec).await;
    let held = tokio::time::timeout(WITHIN, gate.reached())
        .await
        .map_err(|_| "no submission".to_owned())?;
    let needed = world.recorded_jar("held").await?;
    world.until_deleted(&first).await?;
    // Once more, so that the jar that is needed has been idle for longer than any that was deleted.
    world.edit(JOB).await;
    world.until_running(JOB).await?;
    let again = world.jar_of_last_submission();
    world.until_deleted(&again).await?;
    if !world.jars().contains(&needed) {
        return Err("the jar of a submission that is under way was deleted".to_owned());
    }
    held.pass();
    world.until_running("held").await?;
    world.runs_once("held", 1).await?;
    if world.jar_of_last_submission() != needed {
        return Err("another jar than the recorded one was run".to_owned());
    }
    world.until_deleted(&needed).await?;

    // An operator that ended left its jars behind.
    world.edit(JOB).await;
    world.until_running(JOB).await?;
    let left = world.jar_of_last_submission();
    operator.process.kill().map_err(|error| error.to_string())?;
    world.restart(operator);
    world.until_deleted(&left).await?;
    world.runs_once(JOB, 3).await?;
    if !foreign.iter().all(|jar| world.jars().contains(jar)) {
        return Err("a jar of somebody else was deleted".to_owned());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_jar_is_deleted_and_a_needed_or_foreign_one_never() {
    if devcluster::skip_real("crash::idle_jars") || !chosen("jars/idle") {
        return;
    }
    let world = World::new(FakeOptions::default()).await;
    let mut operator = world.operator_with(impatient()).await;
    let result = idle(&world, &mut operator).await;
    passed(world.judge(result, &[&operator]).await);
}

async fn under_our_name(world: &World, operator: &mut Operator) -> Result<(), Failure> {
    world.until_session_ready().await?;
    world.create(JOB).await;
    world.until_running(JOB).await?;
    let name = world.cluster.jars().pop().map(|jar| jar.name).unwrap_or_default();
    operator.process.kill().map_err(|error| error.to_string())?;
    world.upload(&name).await?;
    let before = world.jars();
    let looked = world.cluster.count("GET", "/jars");
    world.restart(operator);
    eventually("the upload folder is looked through", async || {
        (world.cluster.count("GET", "/jars") > looked)
            .then_some(())
            .ok_or_else(String::new)
    })
    .await?;
    world.polls(4).await?;
    world.edit(JOB).await;
    world.until_running(JOB).await?;
    let run = world.jar_of_last_submission();
    if before.contains(&run) {
        return Err(format!("{run} was run, which this operator did not upload"));
    }
    world.runs_once(JOB, 2).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jar_that_was_found_under_our_name_is_not_run() {
    if devcluster::skip_real("crash::idle_jars") || !chosen("jars/name") {
        return;
    }
    let world = World::new(FakeOptions::default()).await;
    let mut operator = world.operator_with(Flags::from([("--sweep-interval", "1s")])).await;
    let result = under_our_name(&world, &mut operator).await;
    passed(world.judge(result, &[&operator]).await);
}

async fn deleted_later(world: &World) -> Result<(), Failure> {
    use devcluster::fake::{Action, Fault, Reply};
    world.until_session_ready().await?;
    let refusal = Action::Answer(Reply::json(500, r#"{"errors":["disk"]}"#));
    let refused = world
        .cluster
        .inject(Fault::on("DELETE", "/jars/:jarid", refusal).first(1));
    world.create(JOB).await;
    world.until_running(JOB).await?;
    let jar = world.jar_of_last_submission();
    world.until_deleted(&jar).await?;
    (refused.hits() == 1)
        .then_some(())
        .ok_or_else(|| "the deletion was not refused".to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jar_whose_deletion_failed_is_deleted_later() {
    if devcluster::skip_real("crash::idle_jars") || !chosen("jars/later") {
        return;
    }
    let world = World::new(FakeOptions::default()).await;
    let operator = world.operator_with(impatient()).await;
    let result = deleted_later(&world).await;
    passed(world.judge(result, &[&operator]).await);
}
