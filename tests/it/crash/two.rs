//! Two operators that both act, with no lease between them.

use devcluster::fake::{FakeFlink, FakeOptions};
use futures::{
    StreamExt,
    future::{join_all, try_join_all},
    stream,
};
use kube::ResourceExt;

use super::{
    Failure, chosen,
    cluster::Cluster,
    passed,
    plans::{Choice, Outcome, Plan, Report, record},
    world::World,
};

const JOBS: usize = 20;
/// Of the ids of plans with two operators.
const PREFIX: &str = "frozen/";

async fn all_flows(world: &World) -> Result<(), Failure> {
    world.until_session_ready().await?;
    let names: Vec<String> = (0..JOBS).map(|n| format!("job-{n}")).collect();
    let created = join_all(names.iter().map(|name| world.create(name))).await;
    let uids: Vec<String> = created.iter().filter_map(ResourceExt::uid).collect();
    try_join_all(names.iter().map(|name| world.until_running(name))).await?;
    world.polls(6).await?;
    try_join_all(names.iter().map(|name| world.runs_once(name, 1))).await?;

    join_all(names.iter().map(|name| world.edit(name))).await;
    try_join_all(names.iter().map(|name| world.until_running(name))).await?;
    world.polls(6).await?;
    try_join_all(names.iter().map(|name| world.runs_once(name, 2))).await?;

    join_all(names.iter().map(|name| world.delete(name))).await;
    try_join_all(names.iter().map(|name| world.until_gone(name))).await?;
    world.polls(6).await?;
    uids.iter().try_for_each(|uid| world.nothing_runs(uid))?;
    let submissions = world.cluster.submissions().len();
    if submissions != 2 * JOBS {
        return Err(format!("{} submissions were to be made, {submissions} were", 2 * JOBS));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_are_active_at_once_submit_each_job_once() {
    if devcluster::skip_real("crash::two") || !chosen("two-active") {
        return;
    }
    let world = World::new(FakeOptions::default()).await;
    let (first, second) = (world.operator().await, world.operator().await);
    passed(world.judge(all_flows(&world).await, &[&first, &second]).await);
}

async fn freeze(plan: &Plan) -> (Outcome, Failure) {
    let mut world = World::<FakeFlink>::of_plan().await;
    world.more = plan.flow.spec(&world).await;
    let (first, mut second) = (world.operator().await, None);
    let result = plan.freeze(&world, &first, &mut second).await;
    let outcome = if result == Ok(true) {
        Outcome::Passed
    } else {
        Outcome::Missed
    };
    let operators: Vec<_> = [Some(&first), second.as_ref()].into_iter().flatten().collect();
    match world.judge(result.map(drop), &operators).await {
        Ok(()) => (outcome, Failure::new()),
        Err(failure) => (Outcome::Failed, failure),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_frozen_at_any_write_and_thawed_later_does_no_harm() {
    if devcluster::skip_real("crash::two") {
        return;
    }
    let choice = Choice::of_user().unwrap_or(Choice::Frozen);
    let plans = choice.of(PREFIX, record::<FakeFlink>(&choice, PREFIX).await);
    let report = Report::new("two operators", PREFIX, plans.len());
    stream::iter(plans)
        .for_each_concurrent(FakeFlink::AT_ONCE, async |plan| {
            let (outcome, failure) = freeze(&plan).await;
            report.note(&plan, outcome, &failure);
        })
        .await;
    report.passed();
}
