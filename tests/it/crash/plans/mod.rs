//! kill -9 at every write of every flow: before it is forwarded, after it, after the reply; on the fake and on a real Flink.
//!
//! The writes are those of a run without a fault. What must hold in the end is one value, the [`Truth`](super::truth::Truth) of
//! the flow: how often each job was accepted and what it was started from, how many savepoints were asked for and which are
//! there, what the resources say. Nothing of it is asked of the operator but the last.
//!
//! `cargo test` runs a fixed choice. All of them, with a table in the end:
//! `CRASH_PLANS=all cargo test --test it crash::plans -- --nocapture`

mod choice;
mod report;

use std::{fmt, time::Duration};

use devcluster::{
    fake::FakeFlink,
    proxy::{Held, Moment},
};
use futures::{StreamExt, stream};

use super::{
    Failure,
    cluster::{Cluster, RealFlink},
    flow::{Flow, Kind},
    world::{Operator, World},
};

pub(super) use choice::Choice;
pub(super) use report::Report;

/// A plan that did not come to its moment is begun so often: what a flow writes varies a little with the time that things
/// take, most of all on a real Flink. One that is not sure to come is told of then; one that is has failed.
const TRIES: usize = 3;

/// What a plan came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    /// The flow came to its end without the write.
    Missed,
    Failed,
}

/// One moment of one flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) flow: Flow,
    pub(super) kind: Kind,
    nth: u64,
    pub(super) moment: Moment,
    /// Whether each run of the flow comes to it.
    sure: bool,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (flow, kind, nth, moment) = (self.flow, self.kind.as_str(), self.nth, self.moment.as_str());
        write!(f, "{flow}/{kind}-{nth}/{moment}")
    }
}

/// How many writes of each kind there are.
type Counts = [u64; Kind::ALL.len()];

fn counts<C: Cluster>(world: &World<C>, operator: &Operator) -> Counts {
    let writes = [operator.kube.writes(), world.flink.writes()].concat();
    Kind::ALL.map(|kind| writes.iter().filter(|write| kind.is(write)).count() as u64)
}

/// Runs a flow without a fault, and counts its writes.
async fn go_through<C: Cluster>(world: &World<C>, operator: &Operator, flow: Flow) -> Result<Counts, Failure> {
    flow.prepare(world).await?;
    // What the operator writes last is not the flow's.
    world.polls(4).await?;
    let before = counts(world, operator);
    flow.begin(world).await;
    flow.ends(world).await?;
    world.comes_to(&flow.expected()).await?;
    tokio::time::sleep(C::LATE).await;
    world.is_as(&flow.expected()).await?;
    let mut counts = counts(world, operator);
    counts
        .iter_mut()
        .zip(before)
        .for_each(|(count, before)| *count -= before);
    Ok(counts)
}

async fn count<C: Cluster>(flow: Flow) -> Counts {
    let mut world = World::<C>::of_plan().await;
    world.more = flow.spec(&world).await;
    let operator = world.operator().await;
    let counted = go_through(&world, &operator, flow).await;
    world.clear().await;
    match counted {
        Ok(counts) => counts,
        Err(failure) => panic!("{flow}: {}", world.report(&failure, &[&operator]).await),
    }
}

/// The plans that a flow's writes make, as two runs of it were seen to make them.
fn plans_of(flow: Flow, one: Counts, two: Counts) -> Vec<Plan> {
    let mut plans = Vec::new();
    for ((kind, one), two) in Kind::ALL.into_iter().zip(one).zip(two) {
        // Two changes that come together make one status.
        let sure = one.min(two) - u64::from(kind.is_status() && one.min(two) > 1);
        for nth in 1..=one.max(two) {
            plans.extend(Moment::ALL.map(|moment| Plan {
                flow,
                kind,
                nth,
                moment,
                sure: nth <= sure,
            }));
        }
    }
    plans
}

/// The plans of the flows that a choice has something of, by what they write without a fault.
pub(super) async fn record<C: Cluster>(choice: &Choice, prefix: &str) -> Vec<Plan> {
    let flows = Flow::ALL.into_iter().filter(|flow| choice.concerns(prefix, *flow));
    let recorded = stream::iter(flows)
        .map(async |flow| {
            let (one, two) = tokio::join!(count::<C>(flow), count::<C>(flow));
            plans_of(flow, one, two)
        })
        .buffered(C::AT_ONCE / 2);
    recorded.collect::<Vec<_>>().await.concat()
}

impl<C: Cluster> World<C> {
    /// Waits until what happened is what should have.
    async fn comes_to(&self, expected: &super::truth::Truth) -> Result<(), Failure> {
        super::world::eventually("the flow leaves what it should", async || {
            let is = self.is_as(expected).await;
            if is.is_err() {
                tokio::time::sleep(Duration::from_millis(80)).await;
            }
            is
        })
        .await
    }
}

impl Plan {
    /// Runs the flow up to the plan's moment. Tells the request that is held; None when the flow ended without it.
    async fn reach<C: Cluster>(&self, world: &World<C>, operator: &Operator) -> Result<Option<Held>, Failure> {
        self.flow.prepare(world).await?;
        world.polls(4).await?;
        let proxy = if self.kind.is_flinks() {
            &world.flink
        } else {
            &operator.kube
        };
        let mut gate = proxy.gate(self.kind.rule(self.nth, self.moment));
        self.flow.begin(world).await;
        let expected = self.flow.expected();
        // What ends the flow is not its last write.
        let over = async {
            self.flow.ends(world).await?;
            world.comes_to(&expected).await?;
            tokio::time::sleep(C::LATE).await;
            Ok(())
        };
        tokio::select! {
            biased;
            held = gate.reached() => Ok(Some(held)),
            over = over => over.map(|()| None),
        }
    }

    /// What must be in the end.
    async fn check<C: Cluster>(&self, world: &World<C>, polls: usize) -> Result<(), Failure> {
        let expected = self.flow.expected();
        self.flow.ends(world).await?;
        world.comes_to(&expected).await?;
        // Every process has seen the cluster, and had its chance to do something wrong.
        world.polls(polls).await?;
        world.is_as(&expected).await
    }

    /// kill -9 at the moment, and a new process. Tells whether the moment came.
    async fn kill<C: Cluster>(&self, world: &World<C>, operator: &mut Operator) -> Result<bool, Failure> {
        let held = self.reach(world, operator).await?;
        let hit = held.is_some();
        if let Some(held) = held {
            operator.process.kill().map_err(|error| error.to_string())?;
            held.cut();
            world.restart(operator);
        }
        self.check(world, 4).await?;
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
        let held = self.reach(world, first).await?;
        let hit = held.is_some();
        if let Some(held) = held {
            first.process.freeze().map_err(|error| error.to_string())?;
            *second = Some(world.operator().await);
            self.flow.ends(world).await?;
            held.pass();
            first.process.thaw().map_err(|error| error.to_string())?;
        }
        self.check(world, 12).await?;
        Ok(hit)
    }

    /// Runs the plan in a world of its own.
    async fn run<C: Cluster>(&self) -> (Outcome, Failure) {
        let mut world = World::<C>::of_plan().await;
        world.more = self.flow.spec(&world).await;
        let mut operator = world.operator().await;
        let result = self.kill(&world, &mut operator).await;
        let hit = result == Ok(true);
        let judged = world.judge(result.map(drop), &[&operator]).await;
        let outcome = match judged {
            Ok(()) if hit => (Outcome::Passed, Failure::new()),
            Ok(()) => {
                let traces = world.report("it never came to its write", &[&operator]).await;
                (Outcome::Missed, traces)
            }
            Err(failure) => (Outcome::Failed, failure),
        };
        world.clear().await;
        outcome
    }

    /// Runs the plan until it comes to its moment.
    async fn run_to_its_moment<C: Cluster>(&self) -> (Outcome, Failure) {
        let mut last = self.run::<C>().await;
        for _ in 1..TRIES {
            if last.0 != Outcome::Missed {
                break;
            }
            last = self.run::<C>().await;
        }
        last
    }
}

/// Records the flows, and runs the plans that are chosen.
async fn run_plans<C: Cluster>(choice: &Choice) -> Report {
    let recorded = if *choice == Choice::Gravest {
        Vec::new()
    } else {
        record::<C>(choice, C::PREFIX).await
    };
    let plans = choice.of(C::PREFIX, recorded);
    let report = Report::new(C::NAME, C::PREFIX, plans.len());
    stream::iter(plans)
        .for_each_concurrent(C::AT_ONCE, async |plan| {
            let (outcome, failure) = plan.run_to_its_moment::<C>().await;
            report.note(&plan, outcome, &failure);
        })
        .await;
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_write_neither_doubles_nor_loses_a_job_or_its_state() {
    if devcluster::skip_real("crash::plans") {
        return;
    }
    let choice = Choice::of_user().unwrap_or(Choice::Sample);
    run_plans::<FakeFlink>(&choice).await.passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_a_write_to_a_real_flink_neither_doubles_nor_loses_a_job_or_its_state() {
    if devcluster::skip_real("crash::plans") {
        return;
    }
    let choice = Choice::of_user().unwrap_or(Choice::Gravest);
    run_plans::<RealFlink>(&choice).await.passed();
}
