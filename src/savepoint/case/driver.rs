//! What the driver does with what is decided.

use super::Case;
use crate::{
    api::SavepointStatus,
    savepoint::{Effect, Plan, decide},
};

impl Case {
    pub(in crate::savepoint) fn decide(&self) -> Plan {
        self.observed(decide)
    }

    /// One write, by the rule that is named.
    #[track_caller]
    pub(in crate::savepoint) fn persist(&mut self, rule: &str) -> Plan {
        let plan = self.decide();
        assert_eq!(plan.rule, rule, "{plan:#?}");
        assert_ne!(plan.status, self.status, "{rule} writes nothing");
        self.write(&plan);
        plan
    }

    /// The status of a plan is written.
    fn write(&mut self, plan: &Plan) {
        let triggered = |status: &SavepointStatus| status.triggered().map(|trigger| trigger.trigger_id);
        if triggered(&plan.status) != triggered(&self.status) {
            self.task.unsent = triggered(&plan.status);
        }
        self.status.clone_from(&plan.status);
        // Another version of the resource: what was proven for the one before counts no more.
        self.proof = None;
    }

    /// One turn of the driver while nothing else happens: a write, or an effect, where a request stays under way; a list that
    /// is asked for shows what the cache does. False when the driver rests.
    pub(in crate::savepoint) fn turn(&mut self, plan: &Plan) -> bool {
        if plan.status != self.status {
            self.write(plan);
            return true;
        }
        match &plan.effect {
            Some(Effect::AddFinalizer) => self.finalizer = true,
            Some(Effect::RemoveFinalizer) => {
                self.finalizer = false;
                self.gone = self.deleting.is_some();
                return !self.gone;
            }
            Some(Effect::Trigger(_)) => {
                self.task.unsent = None;
                self.task.running = true;
            }
            Some(Effect::Dispose(_)) => self.task.running = true,
            Some(Effect::Delete) => {
                self.gone = !self.finalizer;
                self.deleting = Some(self.now);
                return !self.gone;
            }
            None => {
                let asked = plan.wants.proof && self.proof.is_none();
                if asked {
                    self.proof = Some((self.usage.clone(), self.siblings.clone()));
                }
                return asked;
            }
        }
        true
    }

    /// The rule that is named decides, and writes nothing.
    #[track_caller]
    pub(in crate::savepoint) fn still(&self, rule: &str) -> Plan {
        let plan = self.decide();
        assert_eq!(plan.rule, rule, "{plan:#?}");
        assert_eq!(plan.status, self.status, "{rule} writes");
        plan
    }

    /// Writes until there is nothing more to write, without any effect. The plan that is left.
    #[track_caller]
    pub(in crate::savepoint) fn settle(&mut self) -> Plan {
        for _ in 0..6 {
            let plan = self.decide();
            if plan.status == self.status {
                return plan;
            }
            self.write(&plan);
        }
        panic!("it does not settle: {:#?}", self.decide());
    }
}
