//! Savepoints on a schedule (`spec.savepointPolicy.schedule`): when one is due, a Savepoint resource is created, which is
//! taken like any other.
//!
//! Its name is made of the slot, so that the same slot never gets two, whoever asks and however often.

use jiff::{Timestamp, tz::TimeZone};

use super::{Effect, NoteKind, Observed, Plan, plan::Next};
use crate::{
    api::{FlinkSessionJobSpec, JobStatus, Reason, job::SavepointFormat},
    schedule::{Due, InvalidSchedule, Schedule},
};

/// A Savepoint to be created.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ScheduledSavepoint {
    /// `metadata.name`.
    pub name: String,
    /// The slot that it is for.
    pub slot: Timestamp,
    /// The format.
    pub format: SavepointFormat,
}

/// The schedule of a spec, where it has one.
pub(super) fn of(spec: &FlinkSessionJobSpec) -> Option<Result<Schedule, InvalidSchedule>> {
    let policy = spec.savepoint_policy.as_ref()?;
    let schedule = policy.schedule.as_deref()?;
    Some(Schedule::parse(schedule, policy.time_zone.as_deref()))
}

/// The same with the resource's own share of the spread; None where there is none that can be read.
pub(super) fn own(o: &Observed<'_>) -> Option<Schedule> {
    of(o.spec)?.ok().map(|schedule| schedule.spread_by(o.meta.uid))
}

/// Sees to the schedule of a job that runs, in a plan that is otherwise complete.
pub(super) fn see_to(o: &Observed<'_>, mut plan: Plan) -> Plan {
    let Some(schedule) = own(o) else {
        if let Some(state) = plan.status.state.as_mut() {
            state.scheduled = None;
        }
        return plan;
    };
    let Some(last) = plan.status.state.as_ref().and_then(|state| state.scheduled) else {
        // The schedule counts from when it was first seen.
        plan.status.state_mut().scheduled = Some(o.now);
        return plan;
    };
    let slot = match schedule.due(Some(last), last, o.now) {
        Due::Not { next } => return earlier(plan, next),
        Due::Now { slot } | Due::Missed { slot } => slot,
    };
    match o.task.scheduled.as_ref().filter(|(done, _)| *done == slot) {
        None => {
            let policy = o.spec.savepoint_policy.as_ref();
            plan.then(Effect::Schedule(Box::new(ScheduledSavepoint {
                name: name(o.meta.name, slot),
                slot,
                format: policy.and_then(|policy| policy.format).unwrap_or_default(),
            })))
        }
        Some((_, outcome)) => {
            record(&mut plan.status, slot);
            match outcome {
                Ok(()) => plan,
                Err(refusal) => {
                    let message = format!("the savepoint of {slot} could not be created: {}", refusal.message);
                    plan.note(NoteKind::Warning, Reason::SavepointFailed, message)
                }
            }
        }
    }
}

fn record(status: &mut JobStatus, slot: Timestamp) {
    status.state_mut().scheduled = Some(slot);
}

fn earlier(mut plan: Plan, next: Timestamp) -> Plan {
    plan.next = match plan.next {
        Next::At(time) if time <= next => plan.next,
        Next::At(_) | Next::OnChange => Next::At(next),
    };
    plan
}

/// `<job>-schedule-<date>-<time>`, in UTC. A slot is a whole minute.
fn name(job: &str, slot: Timestamp) -> String {
    let slot = slot.to_zoned(TimeZone::UTC);
    format!("{job}-schedule-{}", slot.strftime("%Y%m%d-%H%M"))
}

#[cfg(test)]
mod tests {
    use super::super::{
        case::{Case, effect, refusal, told},
        plan::Next,
    };
    use super::*;
    use crate::{api::job::SavepointPolicy, flink::JobState};

    /// A job that runs since two seconds past a full hour, with savepoints every four minutes: too often to be spread.
    fn running() -> Case {
        let mut case = Case::running();
        case.now = "2027-01-15T08:00:02Z".parse().unwrap();
        case.edit(|spec| {
            spec.savepoint_policy = Some(SavepointPolicy {
                schedule: Some("*/4 * * * *".to_owned()),
                ..SavepointPolicy::default()
            });
        });
        case.settle();
        case
    }

    fn at(time: &str) -> Timestamp {
        format!("2027-01-15T{time}Z").parse().unwrap()
    }

    fn last(case: &Case) -> Option<Timestamp> {
        case.status.state.as_ref().and_then(|state| state.scheduled)
    }

    #[test]
    fn each_slot_gets_one_savepoint_named_after_it() {
        let mut case = running();
        assert_eq!(last(&case), Some(case.now), "it counts from when it was first seen");
        let plan = case.settle();
        assert_eq!((effect(&plan), plan.next), ("-", Next::At(at("08:04:00"))));
        case.now = at("08:04:01");
        let plan = case.settle();
        let Some(Effect::Schedule(savepoint)) = &plan.effect else {
            panic!("{plan:?}");
        };
        assert_eq!(savepoint.name, "j-schedule-20270115-0804");
        assert!(case.turn(&plan));
        let plan = case.settle();
        assert_eq!((effect(&plan), plan.next), ("-", Next::At(at("08:08:00"))));
        assert_eq!(last(&case), Some(at("08:04:00")));
        // Another process, which remembers nothing of it.
        case.task.scheduled = None;
        assert_eq!(effect(&case.settle()), "-");
    }

    #[test]
    fn of_the_slots_that_nobody_saw_the_newest_is_made_up_for() {
        let mut case = running();
        case.now = at("08:17:00");
        let plan = case.settle();
        let Some(Effect::Schedule(savepoint)) = &plan.effect else {
            panic!("{plan:?}");
        };
        assert_eq!(savepoint.slot, at("08:16:00"));
        case.turn(&plan);
        assert_eq!(effect(&case.settle()), "-");
    }

    #[test]
    fn a_job_that_does_not_run_has_none_taken() {
        for state in [JobState::Restarting, JobState::Created, JobState::Failed] {
            let mut case = running();
            case.now = at("08:04:01");
            case.list(state);
            assert_eq!(effect(&case.settle()), "-", "{state}");
            assert_ne!(last(&case), Some(at("08:04:00")), "{state}");
        }
    }

    #[test]
    fn one_that_cannot_be_created_is_told_and_not_tried_again() {
        let mut case = running();
        case.now = at("08:04:01");
        case.task.scheduled = Some((at("08:04:00"), Err(refusal(Reason::SavepointFailed))));
        let plan = case.decide();
        let told: Vec<_> = plan.notes.iter().map(|note| (note.kind, note.reason)).collect();
        assert_eq!(told, [(NoteKind::Warning, Reason::SavepointFailed)]);
        assert_eq!(effect(&case.settle()), "-");
        assert_eq!(last(&case), Some(at("08:04:00")));
    }

    #[test]
    fn a_schedule_that_cannot_be_is_refused_and_the_job_runs_on() {
        for (schedule, zone) in [
            ("0 0 30 2 *", None),
            ("every day", None),
            ("0 3 * * *", Some("Mars/Olympus")),
        ] {
            let mut case = Case::running();
            case.edit(|spec| {
                spec.savepoint_policy = Some(SavepointPolicy {
                    schedule: Some(schedule.to_owned()),
                    time_zone: zone.map(str::to_owned),
                    ..SavepointPolicy::default()
                });
            });
            case.settle();
            assert_eq!(
                told(&case.status),
                "Running/InvalidSpec Ready=False Stalled Running=True"
            );
        }
    }

    #[test]
    fn without_a_schedule_nothing_is_remembered_of_one() {
        let mut case = running();
        case.edit(|spec| spec.savepoint_policy = None);
        case.settle();
        assert_eq!(last(&case), None);
    }
}
