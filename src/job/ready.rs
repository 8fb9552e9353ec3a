//! Whether everything is there that a start needs.

use super::{Input, Observed, Program, Refusal, Slots, Wants, verdict};
use crate::{
    api::{Reason, job::SlotCheck},
    flink::JarId,
};

/// What a start needs besides the permit.
pub(super) enum Readiness<'a> {
    Ready {
        program: &'a Program,
        jar_id: JarId,
        job_manager: String,
    },
    Refused(Refusal),
    Waiting {
        refusal: Option<Refusal>,
        wants: Wants,
    },
}

/// Whether program, jar and slots are ready. `own_slots` are those that the job gives back before it starts again.
pub(super) fn prepared<'a>(o: &Observed<'a>, own_slots: i32) -> Readiness<'a> {
    let waiting = |refusal, wants| Readiness::Waiting { refusal, wants };
    let basic = Wants {
        program: true,
        jar: true,
        attention: true,
        ..Wants::default()
    };
    let program: &'a Program = match &o.program {
        Input::Ready(program) => program,
        Input::Refused(refusal) => return Readiness::Refused(refusal.clone()),
        Input::Retrying(refusal) => return waiting(Some(refusal.clone()), basic),
        Input::Pending => return waiting(None, basic),
    };
    let Some(cluster) = o.up() else {
        return waiting(None, basic);
    };
    if !cluster.submission_enabled {
        return Readiness::Refused(verdict::submission_disabled());
    }
    let slot_check = o.spec.slot_check.unwrap_or_default();
    let needed = program.parallelism.unwrap_or(1);
    let slots = match cluster.slots {
        Slots::Unknown if slot_check != SlotCheck::Off => {
            return waiting(None, Wants { slots: true, ..basic });
        }
        Slots::Free(free) if slot_check != SlotCheck::Off && free + own_slots < needed => {
            Some((free + own_slots, needed))
        }
        Slots::Free(_) | Slots::Growing | Slots::Unknown => None,
    };
    if let Some((free, needed)) = slots {
        let message = format!(
            "the job needs {needed} task slots and {free} are free; it starts when there are enough. Add TaskManagers, or \
             lower spec.job.parallelism"
        );
        let wants = Wants {
            slots: true,
            ..Wants::default()
        };
        return waiting(Some(Refusal::new(Reason::InsufficientSlots, message)), wants);
    }
    match &o.jar {
        Input::Ready((jar_id, job_manager)) => Readiness::Ready {
            program,
            jar_id: jar_id.clone(),
            job_manager: job_manager.clone(),
        },
        Input::Refused(refusal) => Readiness::Refused(refusal.clone()),
        Input::Retrying(refusal) => waiting(Some(refusal.clone()), basic),
        Input::Pending => waiting(None, basic),
    }
}
