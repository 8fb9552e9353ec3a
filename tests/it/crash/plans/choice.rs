//! Which plans are run.

use std::collections::BTreeSet;

use devcluster::proxy::Moment;

use super::{
    super::flow::{Flow, Kind},
    Plan,
};

/// A choice of plans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::crash) enum Choice {
    /// `CRASH_PLANS=all`.
    All,
    /// `CRASH_PLAN`: those whose ids begin so.
    Named(String),
    /// Those that are sure to come: all of the grave kinds; of the others each kind in each flow and at each moment, and some
    /// more.
    Sample,
    /// One of each flow: where most is at stake.
    Gravest,
    /// For an operator that is frozen: all of the three simplest flows, and of the others what asks Flink for something that
    /// must not be done twice.
    Frozen,
}

/// Three moments make a write: with this stride the moments take turns.
const STRIDE: usize = 4;

impl Choice {
    /// What the environment asks for.
    pub(in crate::crash) fn of_user() -> Option<Self> {
        let named = std::env::var("CRASH_PLAN").ok().map(Self::Named);
        named.or_else(|| (std::env::var("CRASH_PLANS").as_deref() == Ok("all")).then_some(Self::All))
    }

    /// Whether it has something of a flow.
    pub(super) fn concerns(&self, prefix: &str, flow: Flow) -> bool {
        let beginning = format!("{prefix}{flow}/");
        match self {
            Self::Named(start) => beginning.starts_with(start) || start.starts_with(&beginning),
            Self::All | Self::Sample | Self::Gravest | Self::Frozen => true,
        }
    }

    /// The chosen ones.
    pub(in crate::crash) fn of(&self, prefix: &str, mut plans: Vec<Plan>) -> Vec<Plan> {
        match self {
            Self::All => {}
            Self::Named(start) => {
                let some = !plans.is_empty();
                plans.retain(|plan| format!("{prefix}{plan}").starts_with(start));
                assert!(
                    !(some && plans.is_empty()),
                    "no plan has an id that begins with {start}"
                );
            }
            Self::Sample => {
                plans.retain(|plan| plan.sure);
                let (mut seen, mut rest) = (BTreeSet::new(), 0);
                plans.retain(|plan| {
                    let kind = plan.kind.as_str();
                    let of_flow = seen.insert((kind, plan.flow.to_string()));
                    let at_moment = seen.insert((kind, plan.moment.as_str().to_owned()));
                    rest += 1;
                    plan.kind.is_grave() || of_flow || at_moment || rest % STRIDE == 0
                });
            }
            Self::Gravest => plans = gravest(),
            Self::Frozen => {
                let simple = [Flow::Create, Flow::Upgrade, Flow::Delete];
                let asks = [Kind::Stop, Kind::Trigger, Kind::Disposal];
                plans.retain(|plan| plan.sure && (simple.contains(&plan.flow) || asks.contains(&plan.kind)));
            }
        }
        plans
    }
}

/// The writes that may be made only once, of which the operator does not hear what came of them: of each flow the first. It
/// takes no record to know them.
pub(super) fn gravest() -> Vec<Plan> {
    let kind = |flow| match flow {
        Flow::Create | Flow::Resume | Flow::Import | Flow::Upgrade => Kind::Run,
        Flow::UpgradeSavepoint | Flow::Suspend | Flow::DeleteSavepoint => Kind::Stop,
        Flow::UpgradeLastState | Flow::Delete => Kind::Cancel,
        Flow::Savepoint => Kind::Trigger,
        Flow::Dispose => Kind::Disposal,
    };
    let plan = |flow| Plan {
        flow,
        kind: kind(flow),
        nth: 1,
        moment: Moment::AfterForward,
        sure: true,
    };
    Flow::ALL.map(plan).to_vec()
}
