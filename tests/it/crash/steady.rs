//! A fleet at rest, as the fake and the API server's proxy see it: nothing but the job list once an interval, watches, and
//! the renewals of the Lease.

use std::time::{Duration, Instant};

use devcluster::fake::FakeOptions;
use flink_job_operator::api::{JobStatus, Phase};
use futures::future::{join_all, try_join_all};
use serde_json::json;

use super::{
    Failure, WITHIN, chosen,
    ground::Flags,
    passed,
    world::{Operator, World},
};

const RUNNING: usize = 20;
const INTERVAL: Duration = Duration::from_millis(200);
/// Longer than the 10 s in which a session's numbers are written at most once, and than two rounds of the sweeper.
const POLLS: usize = 60;

impl World {
    pub(super) async fn until_phase(&self, name: &str, phase: Phase) -> Result<JobStatus, Failure> {
        let found = self
            .until(name, phase.as_str(), |job| {
                let status = job.and_then(|job| job.status.as_ref());
                status.is_some_and(|status| status.phase == Some(phase))
            })
            .await?;
        found
            .and_then(|job| job.status)
            .ok_or_else(|| format!("{name} is gone"))
    }

    async fn job_id(&self, name: &str) -> Result<String, Failure> {
        let status = self.until_running(name).await?;
        let id = status.job_id.ok_or_else(|| format!("{name} has no JobID"))?;
        Ok(id.to_string())
    }
}

/// Everything that is not there in steady state.
fn noise(world: &World, operator: &Operator) -> Vec<String> {
    let mut noise = Vec::new();
    for ((method, endpoint), n) in world.cluster.requests() {
        if (method.as_str(), endpoint) != ("GET", "/jobs/overview") {
            noise.push(format!("{n} × {method} {endpoint} to Flink"));
        }
    }
    let renewal = |write: &devcluster::proxy::Write| write.method == "PUT" && write.path.contains("/leases/");
    let writes = operator.kube.writes();
    noise.extend(writes.iter().filter(|write| !renewal(write)).map(ToString::to_string));
    let reads = operator.kube.reads();
    noise.extend(reads.iter().filter(|read| !read.watch).map(ToString::to_string));
    noise
}

async fn all_kinds(world: &World) -> Result<(), Failure> {
    world.until_session_ready().await?;
    let running: Vec<String> = (0..RUNNING).map(|n| format!("running-{n}")).collect();
    join_all(running.iter().map(|name| world.create(name))).await;
    let others = ["finished", "suspended", "failed", "lost"];
    join_all(others.iter().map(|name| world.create(name))).await;
    try_join_all(running.iter().map(|name| world.until_running(name))).await?;
    let ids = try_join_all(others.iter().map(|name| world.job_id(name))).await?;
    let fake = &world.cluster;
    let done = [
        fake.finish_job(&ids[0]),
        fake.fail_job(&ids[2], "java.lang.IllegalStateException: disk full"),
        fake.forget_job(&ids[3]),
    ];
    if done.contains(&false) {
        return Err("the fake does not know one of the jobs".to_owned());
    }
    world.patch("suspended", json!({"spec": {"state": "Suspended"}})).await;
    world.until_phase("finished", Phase::Finished).await?;
    world.until_phase("suspended", Phase::Suspended).await?;
    world.until_phase("failed", Phase::Failed).await?;
    world.until_phase("lost", Phase::Lost).await.map(drop)
}

async fn rests(world: &World, operator: &Operator) -> Result<(), Failure> {
    all_kinds(world).await?;
    let begun = Instant::now();
    let mut before = noise(world, operator);
    loop {
        world.polls(POLLS).await?;
        let after = noise(world, operator);
        if after == before {
            break;
        }
        if begun.elapsed() > WITHIN {
            return Err(format!("it never becomes quiet: {after:#?}"));
        }
        before = after;
    }
    let polled = || world.cluster.count("GET", "/jobs/overview");
    let (from, begun) = (polled(), Instant::now());
    world.polls(POLLS).await?;
    let (times, took) = (polled() - from, begun.elapsed());
    let after = noise(world, operator);
    if after != before {
        return Err(format!("it was quiet and then: {after:#?}"));
    }
    // One may have been under way, and one is begun at each tick.
    let ticks = took.as_millis() / INTERVAL.as_millis() + 2;
    if u128::from(times) > ticks {
        return Err(format!("{times} polls in {took:?}"));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_at_rest_costs_one_job_list_an_interval_and_no_request_to_the_api_server() {
    if devcluster::skip_real("crash::steady") || !chosen("steady") {
        return;
    }
    let world = World::new(FakeOptions::default()).await;
    let flags = Flags::from([("--leader-elect", "true"), ("--lease-duration", "15s")]);
    let operator = world.operator_with(flags).await;
    let result = rests(&world, &operator).await;
    passed(world.judge(result, &[&operator]).await);
}
