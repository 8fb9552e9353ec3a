//! kill -9 at every write of create, stateless upgrade and delete: before it is forwarded, after it, after the reply.

use std::{fmt, time::Duration};

use devcluster::{
    fake::FakeOptions,
    proxy::{Held, Moment},
};
use parking_lot::Mutex;

use super::{
    Failure,
    flow::{Flow, Kind},
    run_all,
    world::{Operator, World},
};

/// One moment of one flow.
#[derive(Debug, Clone)]
pub(super) struct Plan {
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

/// A cluster whose jobs pass through no state that a poll sees only if it comes in time: each run of a flow makes the same
/// writes, so that every plan comes to its moment.
pub(super) fn cluster() -> FakeOptions {
    FakeOptions {
        initializing: Duration::ZERO,
        created: Duration::ZERO,
        cancelling: Duration::ZERO,
        ..FakeOptions::default()
    }
}

/// Runs the flows without a fault and counts the writes of each.
pub(super) async fn record() -> Vec<Plan> {
    let world = World::new(cluster()).await;
    let operator = world.operator().await;
    let mut plans = Vec::new();
    let result: Result<(), Failure> = async {
        world.until_session_ready().await?;
        let mut before = [0; Kind::ALL.len()];
        for flow in Flow::ALL {
            flow.begin(&world).await;
            flow.ends(&world).await?;
            // What is written last belongs to this flow too.
            world.polls(4).await?;
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

impl Plan {
    /// Runs the flow up to the plan's moment. Tells the job's UID, and the request that is held; None when the flow ended
    /// without it.
    async fn reach(&self, world: &World, operator: &Operator) -> Result<(String, Option<Held>), Failure> {
        let uid = self.flow.prepare(world).await?;
        let proxy = if self.kind.is_flinks() {
            &world.flink
        } else {
            &operator.kube
        };
        let mut gate = proxy.gate(self.kind.rule(self.nth, self.moment));
        let begun = self.flow.begin(world).await;
        let uid = uid.or(begun).unwrap_or_default();
        let mut reached = tokio::select! {
            biased;
            held = gate.reached() => Some(held),
            ended = self.flow.ends(world) => ended.map(|()| None)?,
        };
        if reached.is_none() {
            // The last write is what ends the flow: its gate opens a moment later.
            reached = tokio::time::timeout(Duration::from_secs(1), gate.reached()).await.ok();
        }
        Ok((uid, reached))
    }

    /// What must be in the end.
    async fn check(&self, world: &World, uid: &str, polls: u64) -> Result<(), Failure> {
        self.flow.ends(world).await?;
        // Every process has seen the cluster, and had its chance to do something wrong.
        world.polls(polls).await?;
        self.flow.check(world, uid).await
    }

    /// kill -9 at the moment, and a new process. Tells whether the moment came.
    async fn kill(&self, world: &World, operator: &mut Operator) -> Result<bool, Failure> {
        let (uid, held) = self.reach(world, operator).await?;
        let hit = held.is_some();
        if let Some(held) = held {
            operator.process.kill().map_err(|error| error.to_string())?;
            held.cut();
            world.restart(operator);
        }
        self.check(world, &uid, 4).await?;
        Ok(hit)
    }

    /// Freezes the operator at the moment, and what it sent with it; another one takes over and comes to the end; then
    /// the request arrives, and the first one goes on where it was. No lease keeps them apart.
    pub(super) async fn freeze(
        &self,
        world: &World,
        first: &Operator,
        second: &mut Option<Operator>,
    ) -> Result<bool, Failure> {
        let (uid, held) = self.reach(world, first).await?;
        let hit = held.is_some();
        if let Some(held) = held {
            first.process.freeze().map_err(|error| error.to_string())?;
            *second = Some(world.operator().await);
            self.flow.ends(world).await?;
            held.pass();
            first.process.thaw().map_err(|error| error.to_string())?;
        }
        self.check(world, &uid, 12).await?;
        Ok(hit)
    }
}

/// Every plan must have come to its moment: one that did not has shown nothing.
pub(super) fn none_missed(total: usize, missed: &[String]) {
    println!("{total} plans");
    assert!(missed.is_empty(), "these plans never came to their write: {missed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_write_neither_doubles_nor_loses_a_job() {
    if devcluster::skip_real("crash::plans") {
        return;
    }
    let plans = record().await;
    let (total, missed) = (plans.len(), Mutex::new(Vec::new()));
    run_all(plans, 8, Plan::to_string, async |plan| {
        let world = World::new(cluster()).await;
        let mut operator = world.operator().await;
        let result = plan.kill(&world, &mut operator).await;
        if result == Ok(false) {
            missed.lock().push(plan.to_string());
        }
        world.judge(result.map(drop), &[&operator]).await
    })
    .await;
    none_missed(total, &missed.into_inner());
}
