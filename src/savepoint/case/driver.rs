//! What the driver does with what is decided.

use super::Case;
use crate::{
    api::SavepointStatus,
    driving,
    savepoint::{Effect, Plan, Wants, decide},
};

impl driving::Case for Case {
    type Status = SavepointStatus;
    type Effect = Effect;
    type Wants = Wants;

    fn status(&self) -> &SavepointStatus {
        &self.status
    }

    fn decided(&self) -> Plan {
        self.observed(decide)
    }

    fn write(&mut self, plan: &Plan) {
        let triggered = |status: &SavepointStatus| status.triggered().map(|trigger| trigger.trigger_id);
        if triggered(&plan.status) != triggered(&self.status) {
            self.task.unsent = triggered(&plan.status);
        }
        self.status.clone_from(&plan.status);
        // Another version of the resource: what was proven for the one before counts no more.
        self.proof = None;
    }

    /// A request stays under way; a list that is asked for shows what the cache does.
    fn perform(&mut self, plan: &Plan) -> bool {
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
}

impl Case {
    pub(in crate::savepoint) fn decide(&self) -> Plan {
        self.observed(decide)
    }

    /// One write, by the rule that is named.
    #[track_caller]
    pub(in crate::savepoint) fn persist(&mut self, rule: &str) -> Plan {
        driving::persist(self, rule)
    }

    /// The rule that is named decides, and writes nothing.
    #[track_caller]
    pub(in crate::savepoint) fn still(&self, rule: &str) -> Plan {
        driving::still(self, rule)
    }

    /// Writes until there is nothing more to write, without any effect. The plan that is left.
    #[track_caller]
    pub(in crate::savepoint) fn settle(&mut self) -> Plan {
        driving::settle(self)
    }
}
