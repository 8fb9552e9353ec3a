//! A savepoint is to be taken: wait until the job runs and it is its turn, and write the intent.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Cluster, Job, Observed, Plan, Sibling, Wants, attempt, directory,
    ready::{Readiness, ready},
    resolve,
    verdict::{Verdict, stands, tell},
};
use crate::{
    api::{Reason, SavepointPhase, SavepointStatus, savepoint_status::TriggerIntent},
    flink::{JobId, TriggerId, lies_under},
    job::{Refusal, SUBMIT_WITHIN, after},
};

/// What no change brings to light is looked at again after this time.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// For what a poll of the cluster brings to light.
pub(super) const SOON: Duration = Duration::from_secs(1);

/// Takes a savepoint, as soon as that is possible.
pub(super) fn rule(o: &Observed<'_>) -> Plan {
    match ready(o) {
        Readiness::Prove => stands(o, "pending/prove").want(Wants {
            job_proof: true,
            ..Wants::default()
        }),
        Readiness::NotKnown => stands(o, "pending/not-known").at(after(o.now, SOON)),
        Readiness::Over(refusal) => abandoned(o, refusal),
        Readiness::Waits(refusal) => waits(o, refusal),
        Readiness::Runs { job, job_id, cluster } => runs(o, job, job_id, cluster),
    }
}

/// An attempt failed, and the time for the next has not come.
fn in_back_off(o: &Observed<'_>) -> Option<Timestamp> {
    let again = o.status.intent.as_ref().and_then(|intent| intent.again);
    again.filter(|again| o.now < *again)
}

/// The job does not run, and is not expected to.
fn abandoned(o: &Observed<'_>, refusal: Refusal) -> Plan {
    let mut status = o.status.clone();
    status.intent = None;
    let verdict = Verdict::stalled(SavepointPhase::Abandoned, refusal);
    tell(o, "pending/abandoned", status, verdict)
}

/// The job does not run now: that is waited for, but not for ever.
fn waits(o: &Observed<'_>, refusal: Refusal) -> Plan {
    if let Some(again) = in_back_off(o) {
        return stands(o, "pending/back-off").at(again);
    }
    let mut status = o.status.clone();
    let intent = status.intent_mut();
    let until = after(*intent.waiting_since.get_or_insert(o.now), o.spec.timeout());
    if o.now >= until {
        let message = format!(
            "the job did not run for {}s: {}",
            o.spec.timeout().as_secs(),
            refusal.message
        );
        return abandoned(o, Refusal::new(refusal.reason, message));
    }
    let verdict = Verdict::reconciling(SavepointPhase::Pending, refusal);
    tell(o, "pending/waits", owned(o, status), verdict).at(until.min(after(o.now, LOOK_AGAIN)))
}

/// The record is ours from now on.
pub(super) fn owned(o: &Observed<'_>, mut status: SavepointStatus) -> SavepointStatus {
    status.intent_mut().owner = Some(o.installation.to_string());
    status
}

fn runs(o: &Observed<'_>, job: &Job<'_>, job_id: JobId, cluster: &Cluster<'_>) -> Plan {
    if let Some(again) = in_back_off(o) {
        return stands(o, "pending/back-off").at(again);
    }
    if let Some(first) = goes_first(o) {
        let message = format!("Savepoint {:?} of the same job goes first", first.name);
        let mut status = owned(o, o.status.clone());
        // A turn that takes long is no reason to give up.
        status.intent_mut().waiting_since = None;
        let verdict = Verdict::reconciling(SavepointPhase::Pending, Refusal::new(Reason::Queued, message));
        return tell(o, "pending/queued", status, verdict).at(after(o.now, LOOK_AGAIN));
    }
    let Some(job_manager) = cluster.job_manager else {
        let wants = Wants {
            identity: true,
            ..Wants::default()
        };
        return stands(o, "pending/identify").want(wants).at(after(o.now, SOON));
    };
    if o.meta.finalizer
        && o.status.attempt.is_none()
        && let Some(plan) = lost_record(o)
    {
        return plan;
    }
    let attempt = o.status.attempt.unwrap_or_default().max(0).saturating_add(1);
    match directory::of_attempt(o, job, cluster, attempt) {
        Err(refusal) => {
            let mut status = o.status.clone();
            status.intent = None;
            tell(
                o,
                "pending/no-directory",
                status,
                Verdict::stalled(SavepointPhase::Failed, refusal),
            )
        }
        Ok(directory) => {
            let intent = TriggerIntent {
                job_id,
                trigger_id: TriggerId::new(o.meta.uid, attempt.unsigned_abs()),
                attempt,
                directory,
                format: o.spec.format(),
                job_manager: job_manager.to_owned(),
                decided: o.now,
                not_after: after(o.now, SUBMIT_WITHIN),
            };
            intend(o, &job.spec.session_ref.name, intent)
        }
    }
}

/// The Savepoint whose turn it is before this one: one is taken at a time, the oldest first.
fn goes_first<'o>(o: &'o Observed<'_>) -> Option<&'o Sibling<'o>> {
    let ours = o.installation.to_string();
    let own = (o.meta.created, o.meta.uid);
    o.siblings.iter().find(|other| {
        let intent = other.status.intent.as_ref();
        let owner = intent.and_then(|intent| intent.owner.as_ref());
        if !other.is_taken || owner.is_some_and(|owner| *owner != ours) {
            return false;
        }
        let waits = matches!(other.status.phase, None | Some(SavepointPhase::Pending))
            && intent
                .and_then(|intent| intent.again)
                .is_none_or(|again| again <= o.now);
        let is_older = (other.created, other.uid) < own;
        other.status.triggered().is_some() || (waits && is_older && !other.deleting)
    })
}

/// A finalizer without a record of an attempt: the status was lost. Is there a savepoint of this resource already?
fn lost_record(o: &Observed<'_>) -> Option<Plan> {
    let Some(history) = o.history else {
        let wants = Wants {
            history: true,
            ..Wants::default()
        };
        return Some(stands(o, "pending/look-for-lost").want(wants).at(after(o.now, SOON)));
    };
    let ours = format!("{}-", o.meta.uid);
    let is_ours = |path: &str| {
        let path = path.parse::<crate::flink::StatePath>();
        path.is_ok_and(|path| path.names().iter().any(|name| name.starts_with(&ours)))
    };
    let found = resolve::completed(history, is_ours)?;
    Some(attempt::complete(o, "pending/found", &found))
}

/// Writes down what is about to be asked for.
fn intend(o: &Observed<'_>, session: &str, trigger: TriggerIntent) -> Plan {
    let mut status = owned(o, o.status.clone());
    status.attempt = Some(trigger.attempt);
    status.trigger_id = Some(trigger.trigger_id);
    status.job_id = Some(trigger.job_id);
    status.session = Some(session.to_owned());
    status.format = Some(trigger.format);
    status.start_time = Some(trigger.decided);
    let message = format!("Flink takes the savepoint, attempt {}", trigger.attempt);
    let intent = status.intent_mut();
    intent.again = None;
    intent.waiting_since = None;
    intent.trigger = Some(trigger);
    let refusal = Refusal::new(Reason::InProgress, message);
    let verdict = Verdict::reconciling(SavepointPhase::InProgress, refusal);
    tell(o, "pending/intend", status, verdict)
}

/// Whether a path lies in the directory of an attempt.
pub(super) fn is_of(trigger: &TriggerIntent, path: &str) -> bool {
    lies_under(path, &trigger.directory)
}

#[cfg(test)]
mod tests {
    use super::super::case::{
        Case, DIRECTORY, INSTALLATION, JobCase, P1, Reach, UID, effect, entry, failure, job_id, location, refusal,
        seconds, seen, start,
    };
    use super::*;
    use crate::{
        api::job::SavepointFormat,
        flink::{FailureKind, JobState, SavepointStatus as Told},
        savepoint::{Effect, TriggerOutcome},
    };

    #[test]
    fn the_intent_is_written_then_the_finalizer_is_put_on_then_flink_is_asked() {
        let mut case = Case::new();
        assert_eq!(effect(&case.persist("pending/intend")), "AddFinalizer");
        let trigger = case.trigger().clone();
        assert_eq!(
            (
                trigger.job_id,
                trigger.trigger_id,
                trigger.directory.as_str(),
                trigger.job_manager.as_str()
            ),
            (job_id(), TriggerId::new(UID, 1), DIRECTORY, P1)
        );
        assert_eq!(
            (trigger.decided, trigger.not_after),
            (case.now, after(case.now, SUBMIT_WITHIN))
        );
        let status = &case.status;
        assert_eq!(
            (
                status.attempt,
                status.trigger_id,
                status.job_id,
                status.session.as_deref(),
                status.start_time
            ),
            (
                Some(1),
                Some(trigger.trigger_id),
                Some(job_id()),
                Some("etl"),
                Some(case.now)
            )
        );
        assert_eq!(status.intent.as_ref().unwrap().owner, Some(INSTALLATION.to_string()));
        assert_eq!(effect(&case.still("resolve/send")), "AddFinalizer");
        case.finalizer = true;
        let Some(Effect::Trigger(request)) = case.still("resolve/send").effect else {
            panic!("nothing is sent");
        };
        assert_eq!((request.intent, request.session.as_str()), (trigger, "etl"));
    }

    #[test]
    fn what_the_spec_says_is_what_is_asked_for() {
        let mut case = Case::new();
        case.set_trigger(|trigger| trigger.format = Some(SavepointFormat::Canonical));
        case.settle();
        assert_eq!(case.trigger().format, SavepointFormat::Canonical);
        assert_eq!(case.status.format, Some(SavepointFormat::Canonical));
        assert_eq!(Case::triggered().trigger().format, SavepointFormat::Native);
    }

    #[test]
    fn a_job_that_does_not_run_is_waited_for_as_long_as_an_attempt_may_take() {
        let mut case = Case::new();
        case.set_trigger(|trigger| trigger.timeout = Some("2m".parse().unwrap()));
        case.jobs.clear();
        assert_eq!(seconds(&case, &case.clone().settle()), Some(30));
        case.settle();
        case.wait(100);
        assert_eq!(seconds(&case, &case.still("pending/waits")), Some(20));
        let mut late = case.clone();
        late.jobs = vec![seen(job_id(), JobState::Running)];
        late.persist("pending/intend");
        assert_eq!(late.status.intent.as_ref().unwrap().waiting_since, None);
        case.wait(20);
        case.settle();
        assert_eq!(case.reads(), "Abandoned/WaitingForCluster Ready=False Stalled");
        assert!(case.message().contains("did not run for 120s"), "{}", case.message());
        assert_eq!(case.status.intent, None);
    }

    #[test]
    fn the_jobmanager_must_be_known() {
        let mut case = Case::new();
        case.job_manager = None;
        let plan = case.still("pending/identify");
        assert!(plan.wants.identity && seconds(&case, &plan) == Some(1));
    }

    #[test]
    fn one_is_taken_at_a_time_the_oldest_first() {
        let waiting = || {
            let mut case = Case::new();
            case.jobs.clear();
            case.settle();
            case
        };
        let in_turn = |change: fn(&mut super::super::case::Other)| {
            let mut case = waiting();
            case.jobs = vec![seen(job_id(), JobState::Running)];
            let mut older = case.sibling("older", -60);
            change(&mut older);
            case.siblings = vec![older];
            case.settle();
            case
        };
        let queued = in_turn(|_| {});
        assert_eq!(queued.reads(), "Pending/Queued Ready=False Reconciling");
        assert!(queued.message().contains("\"older\""), "{}", queued.message());
        assert_eq!(
            queued.status.intent.as_ref().unwrap().waiting_since,
            None,
            "a turn takes what it takes"
        );
        let goes = vec![
            in_turn(|other| other.created = start() + jiff::SignedDuration::from_secs(1)),
            in_turn(|other| other.deleting = true),
            in_turn(|other| other.is_taken = false),
            in_turn(|other| other.status.phase = Some(SavepointPhase::Failed)),
            in_turn(|other| other.status.intent_mut().owner = Some("ffffffff".to_owned())),
            in_turn(|other| other.status.intent_mut().again = Some(start() + jiff::SignedDuration::from_secs(1))),
        ];
        for case in goes {
            assert_eq!(
                case.reads(),
                "InProgress/InProgress Ready=False Reconciling",
                "{:?}",
                case.siblings
            );
        }
        // One that is under way goes first, however old it is, and also when it is to be deleted.
        let mut case = Case::new();
        let mut younger = case.sibling("younger", 60);
        younger.status = Case::triggered().status;
        younger.deleting = true;
        case.siblings = vec![younger];
        case.settle();
        assert_eq!(case.reads(), "Pending/Queued Ready=False Reconciling");
        // Of the same second: by UID.
        for (uid, goes_first) in [("0", true), ("z", false)] {
            let mut case = waiting();
            case.jobs = vec![seen(job_id(), JobState::Running)];
            case.siblings = vec![case.sibling(uid, 0)];
            case.settle();
            assert_eq!(case.status.triggered().is_none(), goes_first, "{uid}");
        }
    }

    #[test]
    fn the_next_attempt_waits_for_its_time_and_a_job_that_ended_is_not_waited_for() {
        let mut case = Case::accepted();
        case.told(Ok(Told::Failed(failure(FailureKind::Other, "java.io.IOException"))));
        case.settle();
        assert_eq!(case.reads(), "Pending/SavepointFailed Ready=False Reconciling");
        assert_eq!(seconds(&case, &case.still("pending/back-off")), Some(10));
        let mut ended = case.clone();
        ended.job_status.phase = Some(crate::api::Phase::Finished);
        ended.job_status.runs.clear();
        ended.settle();
        assert_eq!(ended.reads(), "Abandoned/Running Ready=False Stalled");
        case.reach = Reach::Down(crate::api::Reason::ClusterUnreachable);
        case.still("pending/back-off");
        case.reach = Reach::Up;
        case.wait(10);
        case.persist("pending/intend");
        assert_eq!(
            (case.trigger().trigger_id, case.trigger().attempt),
            (TriggerId::new(UID, 2), 2)
        );
    }

    // The status was removed by hand, or came back from an old backup.
    #[test]
    fn a_lost_record_is_looked_for_in_the_history_before_another_savepoint_is_taken() {
        let mut case = Case::new();
        case.finalizer = true;
        assert!(case.still("pending/look-for-lost").wants.history);
        let mut found = case.clone();
        found.looked(0, vec![entry("s3://bucket/elsewhere"), entry(&location())]);
        found.persist("pending/found");
        assert_eq!(found.reads(), "Completed/Completed Ready=True");
        assert_eq!(found.status.path, Some(location()));
        case.looked(0, vec![entry("s3://bucket/elsewhere")]);
        case.persist("pending/intend");
    }

    #[test]
    fn a_savepoint_of_a_job_that_is_gone_is_not_begun_and_one_under_way_is_seen_to_its_end() {
        let mut case = Case::accepted();
        case.job = JobCase::Absent { proven: true };
        case.told(Ok(Told::InProgress));
        case.settle();
        assert_eq!(case.reads(), "InProgress/InProgress Ready=False Reconciling");
        case.told(Ok(Told::Completed { location: location() }));
        case.settle();
        assert_eq!(case.reads(), "Completed/Completed Ready=True");
        let mut case = Case::triggered();
        case.sent(TriggerOutcome::Unknown(refusal(crate::api::Reason::ClusterUnreachable)));
        case.job = JobCase::Absent { proven: true };
        case.unknown();
        case.looked(0, Vec::new());
        case.still("resolve/not-running");
    }
}
