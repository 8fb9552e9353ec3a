//! kill -9 at every write of create, stateless upgrade and delete: before it is forwarded, after it, after the reply.

use std::{fmt, time::Duration};

use devcluster::{fake::FakeOptions, proxy::Moment};
use kube::ResourceExt;
use parking_lot::Mutex;

use super::{
    Failure,
    flow::{Flow, Kind},
    run_all,
    world::{JOB, Operator, World},
};

#[derive(Debug, Clone)]
struct Plan {
    flow: Flow,
    kind: Kind,
    nth: u64,
    moment: Moment,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (flow, kind, nth, moment) = (self.flow, self.kind.as_str(), self.nth, self.moment.as_str());
        write!(f, "{flow}/{kind}-{nth}/{moment}")
    }
}

/// Runs the flows without a fault and counts the writes of each.
async fn record() -> Vec<Plan> {
    let world = World::new(FakeOptions::default()).await;
    let operator = world.operator().await;
    let mut plans = Vec::new();
    let result: Result<(), Failure> = async {
        world.until_session_ready().await?;
        let mut before = [0; Kind::ALL.len()];
        for flow in Flow::ALL {
            flow.begin(&world).await;
            flow.ends(&world).await?;
            let writes = [operator.kube.writes(), world.flink.writes()].concat();
            for (before, kind) in before.iter_mut().zip(Kind::ALL) {
                let count = writes.iter().filter(|write| kind.is(write)).count() as u64;
                let new = std::mem::replace(before, count);
                for nth in 1..=count - new {
                    plans.extend(Moment::ALL.map(|moment| Plan {
                        flow,
                        kind,
                        nth,
                        moment,
                    }));
                }
            }
        }
        Ok(())
    }
    .await;
    match result {
        Ok(()) => plans,
        Err(failure) => panic!("{}", world.report(&failure, &[&operator]).await),
    }
}

/// Whether the operator was killed where the plan says.
async fn follow(plan: &Plan, world: &World, operator: &mut Operator) -> Result<bool, Failure> {
    let uid = plan.flow.prepare(world).await?;
    let proxy = if plan.kind.is_flinks() {
        &world.flink
    } else {
        &operator.kube
    };
    let mut gate = proxy.gate(plan.kind.rule(plan.nth, plan.moment));
    plan.flow.begin(world).await;
    let uid = match uid {
        Some(uid) => uid,
        None => world
            .jobs
            .get(JOB)
            .await
            .map_err(|error| error.to_string())?
            .uid()
            .unwrap_or_default(),
    };
    let mut reached = tokio::select! {
        biased;
        held = gate.reached() => Some(held),
        ended = plan.flow.ends(world) => ended.map(|()| None)?,
    };
    if reached.is_none() {
        // The last write is what ends the flow: its gate opens a moment later.
        reached = tokio::time::timeout(Duration::from_secs(1), gate.reached()).await.ok();
    }
    let hit = reached.is_some();
    if let Some(held) = reached {
        operator.process.kill().map_err(|error| error.to_string())?;
        held.cut();
        world.restart(operator);
    }
    plan.flow.ends(world).await?;
    // The new process has seen the cluster, and had its chance to do something wrong.
    world.polls(4).await?;
    plan.flow.check(world, &uid).await?;
    Ok(hit)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_write_neither_doubles_nor_loses_a_job() {
    if devcluster::skip_real("crash::plans") {
        return;
    }
    let plans = record().await;
    let (total, missed) = (plans.len(), Mutex::new(Vec::new()));
    run_all(plans, 8, Plan::to_string, async |plan| {
        let world = World::new(FakeOptions::default()).await;
        let mut operator = world.operator().await;
        match follow(plan, &world, &mut operator).await {
            Ok(hit) => {
                if !hit {
                    missed.lock().push(plan.to_string());
                }
                Ok(())
            }
            Err(failure) => Err(world.report(&failure, &[&operator]).await),
        }
    })
    .await;
    let missed = missed.into_inner();
    println!(
        "{total} plans, {} of which never came to their write: {missed:?}",
        missed.len()
    );
    // Which intermediate states are written depends on timing a little.
    assert!(missed.len() * 10 <= total, "too many plans killed nothing: {missed:?}");
}
