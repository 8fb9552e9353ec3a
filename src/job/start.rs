//! A job is to be started: see that everything is there, and write the intent.

use super::{
    ClusterView, Observed, Permit, Plan, Program, Refusal, SUBMIT_GRACE, SUBMIT_WITHIN, Session, Wants,
    backoff::after,
    change, decide, ledger,
    ready::{Readiness, prepared},
    restart,
    restore::{self, Choice},
    submit,
    verdict::Verdict,
};
use crate::{
    api::{
        JobStatus, Phase, Reason, condition,
        intent::{RestoreIntent, SubmitIntent},
        state::Resume,
        status::{Failure, PendingChange, RunOutcome},
    },
    flink::{JarId, JobId},
};

/// A wait for a permit is told after this time: a short one is not worth a write.
const TELL_QUEUED: std::time::Duration = std::time::Duration::from_secs(60);

/// Asks for a job list that proves absence.
pub(super) fn confirm(rule: &'static str, status: JobStatus) -> Plan {
    Plan::with(rule, status).want(Wants {
        confirm: true,
        attention: true,
        ..Wants::default()
    })
}

/// Records why there is no job.
pub(super) fn fail(status: &mut JobStatus, o: &Observed<'_>, reason: Reason, message: &str) {
    status.failure = Some(Failure {
        reason: reason.to_string(),
        message: condition::bounded(message),
        time: Some(o.now),
        root_cause: None,
    });
}

/// Starts the job, as soon as everything is there.
pub(super) fn start(o: &Observed<'_>, mut status: JobStatus) -> Plan {
    if let Some(refusal) = change::refused(o) {
        return refused(o, status, &refusal, Wants::default());
    }
    if let Some((refusal, rule)) = not_reachable(o) {
        let verdict = if refusal.reason == Reason::Unauthorized {
            Verdict::stalled(Phase::Pending, refusal.reason, refusal.message)
        } else {
            Verdict::reconciling(Phase::Pending, refusal.reason, refusal.message)
        };
        verdict.write(o, &mut status);
        return Plan::with(rule, status);
    }
    if matches!(o.cluster, ClusterView::NotPolled) {
        about_to(o, &mut status);
        return Plan::with("start/not-polled", status);
    }
    if let Some(adopt) = o.spec.adopt.as_ref().filter(|_| decide::is_blank(o)) {
        return take_over(o, status, adopt.job_id);
    }
    let (restore, resume) = match restore::choose(o, &status) {
        Choice::Start(restore, resume) => (restore, resume),
        Choice::Refused(refusal) => return no_state(o, status, &refusal),
        Choice::Waiting { refusal, wants } => return waits(o, status, refusal, wants),
    };
    match prepared(o, 0) {
        Readiness::Refused(refusal) => {
            // Asking again is what notices that a jar, a ConfigMap or a setting is there now.
            let wants = Wants {
                program: true,
                jar: true,
                ..Wants::default()
            };
            refused(o, status, &refusal, wants)
        }
        Readiness::Waiting { refusal, wants } => waits(o, status, refusal, wants),
        Readiness::Ready {
            program,
            jar_id,
            job_manager,
        } => match o.permit {
            Permit::Granted => {
                let start = Start {
                    program,
                    jar_id,
                    job_manager,
                    restore: restore.map(|restore| *restore),
                    resume,
                };
                intend(o, status, start)
            }
            Permit::Waiting { long } => {
                if long {
                    let message = "other submissions to this cluster go first";
                    Verdict::reconciling(Phase::Pending, Reason::Queued, message).write(o, &mut status);
                } else {
                    about_to(o, &mut status);
                }
                let wants = Wants {
                    program: true,
                    jar: true,
                    permit: true,
                    ..Wants::default()
                };
                let plan = Plan::with("start/queued", status).want(wants);
                // Nothing else brings the word to the user: a permit that is free wakes only who gets it.
                if long { plan } else { plan.at(after(o.now, TELL_QUEUED)) }
            }
        },
    }
}

/// Something is not there yet.
fn waits(o: &Observed<'_>, mut status: JobStatus, refusal: Option<Refusal>, wants: Wants) -> Plan {
    match refusal {
        Some(refusal) => Verdict::reconciling(Phase::Pending, refusal.reason, refusal.message).write(o, &mut status),
        None => about_to(o, &mut status),
    }
    Plan::with("start/waiting", status)
        .want(wants)
        .at(after(o.now, SUBMIT_GRACE))
}

/// There was state, and there is none to start from. The spec is not at fault; only a person can choose.
fn no_state(o: &Observed<'_>, mut status: JobStatus, refusal: &Refusal) -> Plan {
    status.pending_change = Some(PendingChange::Restart);
    Verdict::stalled(Phase::Failed, refusal.reason, &refusal.message).write(o, &mut status);
    Plan::with("start/no-state", status)
}

/// Nothing is worth a write of its own; where the status changes anyway, it says what comes next.
fn about_to(o: &Observed<'_>, status: &mut JobStatus) {
    Verdict::reconciling(Phase::Pending, Reason::Submitting, "the job is about to be started")
        .write_if_changed(o, status);
}

/// Why the cluster cannot be asked now.
fn not_reachable(o: &Observed<'_>) -> Option<(Refusal, &'static str)> {
    match (o.session, &o.cluster) {
        (Session::Present { deleting: true }, _) => {
            let message = "the FlinkSession is being deleted; no new job starts on it";
            Some((
                Refusal::new(Reason::WaitingForCluster, message),
                "start/session-deleting",
            ))
        }
        (Session::Absent { .. }, _) => Some((o.down(), "start/session-absent")),
        (Session::Present { .. }, ClusterView::Down(refusal)) => {
            let told = matches!(refusal.reason, Reason::Unauthorized | Reason::ClusterNotFound);
            let reason = if told {
                refusal.reason
            } else {
                Reason::WaitingForCluster
            };
            let refusal = Refusal::new(reason, refusal.message.clone());
            Some((refusal, "start/cluster-down"))
        }
        (Session::Present { .. }, ClusterView::NotPolled | ClusterView::Up(_)) => None,
    }
}

/// The spec cannot be run as it is.
fn refused(o: &Observed<'_>, mut status: JobStatus, refusal: &Refusal, wants: Wants) -> Plan {
    Verdict::stalled(Phase::Failed, refusal.reason, &refusal.message)
        .refusing(Some(refusal))
        .write(o, &mut status);
    Plan::with("start/refused", status).want(wants)
}

/// `spec.adopt`: a first start that takes a running job over.
fn take_over(o: &Observed<'_>, mut status: JobStatus, job_id: JobId) -> Plan {
    let listed = o.up().and_then(|cluster| cluster.job(job_id));
    match listed {
        Some(job) if job.is_live() => decide::adopt(o, job_id, "start/adopt"),
        None if o.up().is_some_and(|cluster| !cluster.confirmed) => confirm("start/adopt-confirm", status),
        Some(_) | None => {
            let message = format!(
                "spec.adopt names Flink job {job_id}, which does not run on this cluster; correct the id, or leave spec.adopt \
                 out to start the job"
            );
            let refusal = Refusal::new(Reason::ReferenceNotFound, message);
            Verdict::stalled(Phase::Failed, refusal.reason, &refusal.message)
                .refusing(Some(&refusal))
                .write(o, &mut status);
            Plan::with("start/adopt-absent", status)
        }
    }
}

/// A start that has everything it needs.
struct Start<'a> {
    program: &'a Program,
    jar_id: JarId,
    job_manager: String,
    restore: Option<RestoreIntent>,
    resume: Resume,
}

/// Writes the intent to submit: the next turn sends it.
fn intend(o: &Observed<'_>, mut status: JobStatus, start: Start<'_>) -> Plan {
    let Start {
        program,
        jar_id,
        job_manager,
        restore,
        resume,
    } = start;
    restart::count(o, &mut status);
    ledger::intend(&mut status, restore.as_ref(), resume);
    let again = status.last_outcome() == Some(RunOutcome::Replaced);
    let job_id = next_job_id(o, &status);
    let intent = status.intent_mut();
    intent.owner = Some(o.installation.to_string());
    intent.cancel = None;
    intent.submit = Some(SubmitIntent {
        job_id,
        jar_id,
        job_manager,
        body_hash: program.body_hash(),
        restore,
        tries: 1,
        first_try: o.now,
        not_after: after(o.now, SUBMIT_WITHIN),
        unresolved: submit::horizon(o),
        earlier_unresolved: None,
    });
    status.job_id = Some(job_id);
    status.attempt = Some(status.attempt.unwrap_or_default().saturating_add(1));
    status.parallelism = program.parallelism;
    status.accepted_spec = Some(change::accept(o.spec));
    status.pending_change = Some(PendingChange::None);
    status.failure = None;
    status.flink_state = None;
    status.start_time = None;
    status.end_time = None;
    status.web_ui_url = None;
    let verdict = if again {
        Verdict::reconciling(Phase::Restarting, Reason::Upgrading, "submits the new spec")
    } else if status.state.as_ref().is_some_and(|state| state.restored_from.is_some()) {
        Verdict::reconciling(
            Phase::Submitting,
            Reason::Restoring,
            "submits the job, to be restored from its state",
        )
    } else {
        Verdict::reconciling(Phase::Submitting, Reason::Submitting, "submits the job")
    };
    verdict.write(o, &mut status);
    let wants = Wants {
        program: true,
        permit: true,
        attention: true,
        ..Wants::default()
    };
    Plan::with("start/intend", status).want(wants)
}

/// A JobID that was never used: above every attempt that is recorded or seen, and above the clock, which covers records
/// that were lost.
fn next_job_id(o: &Observed<'_>, status: &JobStatus) -> JobId {
    // What was named before this turn counts as well: closing a submission puts its id there instead.
    let recorded = [status.job_id, o.status.job_id]
        .into_iter()
        .flatten()
        .chain(status.runs.iter().map(|run| run.job_id));
    let seen = o
        .up()
        .into_iter()
        .flat_map(|cluster| cluster.jobs.iter().map(|job| job.id));
    let clock = u32::try_from(o.now.as_second().saturating_sub(1)).unwrap_or_default();
    let ours = recorded
        .chain(seen)
        .filter(|id| id.owner() == o.meta.owner)
        .map(|id| id.attempt());
    let attempt = ours.max().unwrap_or_default().max(clock).saturating_add(1);
    JobId::new(o.installation, o.meta.owner, attempt)
}

#[cfg(test)]
mod tests {
    use super::super::{
        Slots,
        case::{Case, Reach, effect, refusal, seen, told},
    };
    use super::*;
    use crate::{
        api::job::{Adopt, SlotCheck},
        flink::JobState,
    };

    #[test]
    fn a_start_waits_for_everything_that_it_needs() {
        type Lack = fn(&mut Case);
        let rows: [(Lack, &str); 6] = [
            (|case| case.reach = Reach::NotPolled, "start/not-polled"),
            (
                |case| case.session = Session::Present { deleting: true },
                "start/session-deleting",
            ),
            (|case| case.program = super::super::Input::Pending, "start/waiting"),
            (|case| case.jar = super::super::Input::Pending, "start/waiting"),
            (|case| case.slots = Slots::Unknown, "start/waiting"),
            (|case| case.permit = Permit::Waiting { long: false }, "start/queued"),
        ];
        for (lack, rule) in rows {
            let mut case = Case::new();
            lack(&mut case);
            let plan = case.settle();
            assert_eq!((plan.rule, effect(&plan)), (rule, "-"));
            assert_eq!(case.status.submission(), None, "{rule}");
        }
        let mut case = Case::new();
        case.spec.savepoint_policy = Some(crate::api::job::SavepointPolicy {
            schedule: Some("0 0 30 2 *".to_owned()),
            ..crate::api::job::SavepointPolicy::default()
        });
        assert_eq!(case.settle().rule, "start/refused");
        let mut case = Case::new();
        case.session = Session::Absent { proven: true };
        case.reach = Reach::Down(Reason::ClusterNotFound);
        assert_eq!(case.settle().rule, "start/session-absent");
    }

    #[test]
    fn slots_that_are_not_to_be_checked_hold_nothing_up() {
        for slots in [Slots::Unknown, Slots::Free(0)] {
            let mut case = Case::new();
            case.slots = slots;
            case.spec.slot_check = Some(SlotCheck::Off);
            case.persist("start/intend");
        }
    }

    #[test]
    fn an_attempt_is_above_all_that_were_seen_and_above_the_clock() {
        let mut case = Case::submitting();
        let first = case.id();
        assert_eq!(first.attempt(), 1_800_000_000);
        // A record that names a later one, from a clock that was ahead.
        case = Case::ended(RunOutcome::Replaced);
        let later = JobId::new(first.installation(), first.owner(), 1_900_000_000);
        case.status.runs[0].job_id = later;
        case.status.job_id = Some(later);
        case.edit(|spec| spec.job.args.clear());
        case.persist("start/intend");
        assert_eq!(case.id().attempt(), 1_900_000_001);
    }

    #[test]
    fn an_id_that_the_status_named_before_this_turn_is_not_used_again() {
        let mut case = Case::ended(RunOutcome::Replaced);
        let named = JobId::new(case.id().installation(), case.id().owner(), 1_950_000_000);
        let mut closed = case.status.clone();
        closed.job_id = Some(case.id());
        case.status.job_id = Some(named);
        let next = case.observed(|o| next_job_id(o, &closed));
        assert_eq!(next.attempt(), 1_950_000_001);
    }

    #[test]
    fn the_job_that_adopt_names_is_taken_over_if_it_runs() {
        let named = JobId([0xee; 16]);
        let mut case = Case::new();
        case.spec.adopt = Some(Adopt { job_id: named });
        assert!(case.still("start/adopt-confirm").wants.confirm);
        let mut ended = case.clone();
        let mut absent = case.clone();
        case.jobs = vec![seen(named, JobState::Running)];
        case.persist("start/adopt");
        assert_eq!(case.id(), named);
        case.settle();
        assert!(case.status.submission().is_none());
        ended.jobs = vec![seen(named, JobState::Finished)];
        absent.confirmed = true;
        for mut case in [ended, absent] {
            case.persist("start/adopt-absent");
            assert_eq!(
                told(&case.status),
                "Failed/ReferenceNotFound Ready=False Stalled Running=False"
            );
        }
    }

    #[test]
    fn what_was_asked_again_is_told_while_the_refusal_lasts() {
        let mut case = Case::new();
        case.jar = super::super::Input::Refused(refusal(Reason::ArtifactNotFound));
        let plan = case.settle();
        assert!(plan.wants.jar && plan.wants.program);
        assert_eq!(
            told(&case.status),
            "Failed/ArtifactNotFound Ready=False Stalled Running=False"
        );
    }
}
