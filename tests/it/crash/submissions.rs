//! Submissions to one cluster: never more at once than allowed, and no namespace waits for all of another's.

use std::{collections::BTreeSet, time::Duration};

use devcluster::{fake::FakeOptions, proxy::Moment};
use flink_job_operator::{api::FlinkSessionJob, flink::UidHash};
use futures::future::{join_all, try_join_all};
use kube::{Api, ResourceExt, runtime::wait::await_condition};
use serde_json::json;

use super::{
    Failure, WITHIN, chosen,
    flow::Kind,
    passed,
    world::{SESSION, World, eventually, is_running},
};

/// The default of `--max-submissions`.
const BOUND: usize = 8;
const CROWD: usize = 30;
const SINGLE: &str = "single";

/// The jobs that asked for their turn, by the operator's log.
fn queued(world: &World) -> BTreeSet<String> {
    let log = world.log();
    let lines = log.lines().filter(|line| line.contains(r#"rule="start/queued""#));
    lines
        .filter_map(|line| line.split("name=").nth(1)?.split(' ').next())
        .map(str::to_owned)
        .collect()
}

async fn until_queued(world: &World, jobs: usize) -> Result<(), Failure> {
    eventually("all jobs wait for their turn", async || {
        let (queued, sent) = (queued(world).len(), runs(world));
        (queued == jobs && sent == BOUND)
            .then_some(())
            .ok_or_else(|| format!("{queued} asked, {sent} were sent"))
    })
    .await
}

/// The submissions that were sent.
fn runs(world: &World) -> usize {
    world.flink.writes().iter().filter(|write| Kind::Run.is(write)).count()
}

async fn take_turns(world: &World, other: &str) -> Result<(), Failure> {
    world.until_session_ready().await?;
    let nth = 1..=u64::try_from(BOUND).unwrap_or_default();
    let gates: Vec<_> = nth
        .map(|nth| world.flink.gate(Kind::Run.rule(nth, Moment::BeforeForward)))
        .collect();
    let crowd: Vec<String> = (0..CROWD).map(|n| format!("crowd-{n}")).collect();
    // It is held for several steps, which none of the submissions may give up meanwhile.
    let patient = json!({ "submitTimeout": "10m" });
    join_all(crowd.iter().map(|name| world.create_with(name, patient.clone()))).await;
    let held = join_all(gates.into_iter().map(async |mut gate| gate.reached().await));
    let held = tokio::time::timeout(WITHIN, held)
        .await
        .map_err(|_| "fewer submissions at once than allowed".to_owned())?;
    until_queued(world, CROWD).await?;
    let single = world.create_in(other, SINGLE, json!({})).await;
    until_queued(world, CROWD + 1).await?;
    world.polls(6).await?;
    if runs(world) != BOUND {
        return Err(format!("{} submissions at once", runs(world)));
    }
    held.into_iter().for_each(devcluster::proxy::Held::pass);
    let others: Api<FlinkSessionJob> = Api::namespaced(world.client.clone(), other);
    let running = await_condition(others, SINGLE, |job: Option<&FlinkSessionJob>| is_running(job));
    tokio::time::timeout(WITHIN, running)
        .await
        .map_err(|_| "the single job does not run".to_owned())?
        .map_err(|error| error.to_string())?;
    try_join_all(crowd.iter().map(|name| world.until_running(name))).await?;
    try_join_all(crowd.iter().map(|name| world.runs_once(name, 1))).await?;

    let mark = UidHash::of(&single.uid().unwrap_or_default()).to_string();
    let order = world.cluster.submissions();
    let turn = order
        .iter()
        .position(|one| one.job_id.get(8..24) == Some(mark.as_str()));
    // Behind those that were under way, and side by side with the crowd's next.
    if turn.is_none_or(|turn| turn >= 2 * BOUND) {
        return Err(format!("the single job had turn {turn:?} of {}", order.len()));
    }
    let most = world.cluster.most_at_once("POST", "/jars/:jarid/run");
    if most > BOUND || order.len() != CROWD + 1 {
        return Err(format!("{} submissions, {most} at once", order.len()));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn submissions_to_one_cluster_are_bounded_and_namespaces_take_turns() {
    if devcluster::skip_real("crash::submissions") || !chosen("submissions") {
        return;
    }
    let options = FakeOptions {
        initializing: Duration::from_millis(200),
        ..FakeOptions::default()
    };
    let world = World::wide(options).await;
    let other = format!("{}-other", world.namespace);
    world.add_namespace(&other).await;
    world.add_session_in(&other, SESSION, &world.flink.url()).await;
    let operator = world.operator().await;
    let result = take_turns(&world, &other).await;
    passed(world.judge(result, &[&operator]).await);
}
