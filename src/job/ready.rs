//! Whether everything that a start needs, besides the permit, is there.

use super::{Input, Observed, Program, Refusal, Slots, Wants, verdict};
use crate::{
    api::{Reason, job::SlotCheck},
    flink::JarId,
};

/// What a start needs besides the permit.
pub(super) enum Readiness<'a> {
    /// Everything is there.
    Ready {
        program: &'a Program,
        jar_id: JarId,
        job_manager: String,
    },
    /// Something cannot be had until a person acts.
    Refused(Refusal),
    /// Something is not there yet; why, if there is more to say than that.
    Waiting { refusal: Option<Refusal>, wants: Wants },
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
    let checked = o.spec.slot_check.unwrap_or_default() != SlotCheck::Off;
    let needed = program.parallelism.unwrap_or(1);
    match cluster.slots {
        Slots::Unknown if checked => return waiting(None, Wants { slots: true, ..basic }),
        Slots::Free(free) if checked && free.saturating_add(own_slots) < needed => {
            let free = free.saturating_add(own_slots);
            let message = format!(
                "the job needs {needed} task slots and {free} are free; it starts when there are enough. Add TaskManagers, \
                 or lower spec.job.parallelism"
            );
            // The jar is not wanted yet: it would only take room on the cluster.
            let wants = Wants {
                program: true,
                slots: true,
                ..Wants::default()
            };
            return waiting(Some(Refusal::new(Reason::InsufficientSlots, message)), wants);
        }
        Slots::Free(_) | Slots::Growing | Slots::Unknown => {}
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
