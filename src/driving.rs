//! What the tests of both decisions have in common: a case that is driven as the driver drives a resource, while the world
//! stands still.

use std::fmt::{Debug, Write as _};

use proptest::test_runner::{Config as ProptestConfig, RngSeed};

use crate::{
    api::{Condition, ConditionStatus, ConditionType, condition},
    plan::Plan,
};

/// More turns than a driver takes for what is there already.
const TURNS: usize = 12;

/// The same cases in each run, so that a change is judged by what it changes. Others are looked for with
/// `PROPTEST_RNG_SEED=7 PROPTEST_CASES=5000 cargo test --lib props`.
pub(crate) fn config() -> ProptestConfig {
    let chosen = ProptestConfig::default();
    ProptestConfig {
        max_shrink_iters: chosen.max_shrink_iters.min(3000),
        failure_persistence: None,
        rng_seed: match chosen.rng_seed {
            RngSeed::Random => RngSeed::Fixed(1),
            fixed @ RngSeed::Fixed(_) => fixed,
        },
        ..chosen
    }
}

/// A resource with everything that a decision is made from.
pub(crate) trait Case: Clone {
    /// `status`.
    type Status: Debug + PartialEq;
    /// What a plan may do.
    type Effect: Debug + Clone;
    /// What a plan may ask for.
    type Wants: Debug;

    /// The status.
    fn status(&self) -> &Self::Status;
    /// What is decided.
    fn decided(&self) -> PlanOf<Self>;
    /// The status of a plan is written.
    fn write(&mut self, plan: &PlanOf<Self>);
    /// An effect is performed, or what is asked for is there at once. False when the driver rests.
    fn perform(&mut self, plan: &PlanOf<Self>) -> bool;

    /// One turn of the driver. False when it rests.
    fn turn(&mut self, plan: &PlanOf<Self>) -> bool {
        if plan.status == *self.status() {
            return self.perform(plan);
        }
        self.write(plan);
        true
    }
}

/// What is decided about a case.
pub(crate) type PlanOf<C> = Plan<<C as Case>::Status, <C as Case>::Effect, <C as Case>::Wants>;

/// Everything that the driver decides on from here, and what it decides.
pub(crate) fn turns<C: Case>(mut case: C) -> Vec<(C, PlanOf<C>)> {
    let mut turns = Vec::new();
    for _ in 0..TURNS {
        let plan = case.decided();
        let before = case.clone();
        let goes_on = case.turn(&plan);
        turns.push((before, plan));
        if !goes_on {
            break;
        }
    }
    turns
}

/// What is done: an effect of a plan that writes nothing.
pub(crate) fn done<'p, C: Case>(seen: &C, plan: &'p PlanOf<C>) -> Option<&'p C::Effect> {
    plan.effect.as_ref().filter(|_| plan.status == *seen.status())
}

/// All that is done from here.
pub(crate) fn deeds<C: Case>(case: C) -> Vec<(C, C::Effect, PlanOf<C>)> {
    let turns = turns(case).into_iter();
    turns
        .filter_map(|(seen, plan)| Some((done(&seen, &plan)?.clone(), seen, plan)))
        .map(|(effect, seen, plan)| (seen, effect, plan))
        .collect()
}

/// One write, by the rule that is named.
#[track_caller]
pub(crate) fn persist<C: Case>(case: &mut C, rule: &str) -> PlanOf<C> {
    let plan = case.decided();
    assert_eq!(plan.rule, rule, "{plan:#?}");
    assert_ne!(plan.status, *case.status(), "{rule} writes nothing");
    case.write(&plan);
    plan
}

/// The rule that is named decides, and writes nothing.
#[track_caller]
pub(crate) fn still<C: Case>(case: &C, rule: &str) -> PlanOf<C> {
    let plan = case.decided();
    assert_eq!(plan.rule, rule, "{plan:#?}");
    assert_eq!(plan.status, *case.status(), "{rule} writes");
    plan
}

/// Writes until there is nothing more to write, without any effect. The plan that is left.
#[track_caller]
pub(crate) fn settle<C: Case>(case: &mut C) -> PlanOf<C> {
    for _ in 0..6 {
        let plan = case.decided();
        if plan.status == *case.status() {
            return plan;
        }
        case.write(&plan);
    }
    panic!("it does not settle: {:#?}", case.decided());
}

/// What people and tools read: `Phase/Reason Ready=… [Reconciling|Stalled]`.
pub(crate) fn told(phase: Option<&str>, conditions: &[Condition]) -> String {
    let reason = condition::find(conditions, ConditionType::Ready).map_or("-", |ready| &ready.reason);
    let ready = word(conditions, ConditionType::Ready);
    let mut text = format!("{}/{reason} Ready={ready}", phase.unwrap_or("-"));
    for kind in [ConditionType::Reconciling, ConditionType::Stalled] {
        if word(conditions, kind) == "True" {
            let _ = write!(text, " {kind:?}");
        }
    }
    text
}

/// How a condition stands.
pub(crate) fn word(conditions: &[Condition], kind: ConditionType) -> &'static str {
    match condition::find(conditions, kind).map(|found| found.status) {
        Some(ConditionStatus::True) => "True",
        Some(ConditionStatus::False) => "False",
        Some(ConditionStatus::Unknown) => "Unknown",
        None => "-",
    }
}
