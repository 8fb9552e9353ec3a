//! Nothing runs: is the job to be started, or how does it stand?

use super::{
    Input, Observed, Plan, Wants,
    change::{self, Change},
    ledger,
    restart::{self, Restart},
    restore, start,
    verdict::Verdict,
};
use crate::api::{
    JobStatus, Phase, Reason,
    job::{DesiredState, OnUnknownResult},
    status::{PendingChange, RunOutcome},
};

/// Nothing runs by `status`, which may be ahead of the status that was observed.
pub(super) fn idle(o: &Observed<'_>, mut status: JobStatus) -> Plan {
    if status.submission().is_some() {
        // The operator writes no submission beside a run, but a status can be edited: what may still start comes first.
        return submitting(o, status, "idle/submitting");
    }
    ledger::read_last(o, &mut status);
    let open = ledger::is_open(o, &status).is_some();
    let mut plan = by_desired_state(o, status);
    // What the job left is told even if nobody starts it again.
    plan.wants.state |= open;
    plan
}

/// A submission was decided on, which the next turn sees to.
pub(super) fn submitting(o: &Observed<'_>, mut status: JobStatus, rule: &'static str) -> Plan {
    Verdict::reconciling(Phase::Submitting, Reason::Submitting, "a submission is under way").write(o, &mut status);
    Plan::with(rule, status)
}

fn by_desired_state(o: &Observed<'_>, status: JobStatus) -> Plan {
    match o.spec.state {
        DesiredState::Draft => draft(o, status),
        DesiredState::Suspended => settled(o, status, Phase::Suspended, Reason::Suspended),
        DesiredState::Cancelled => settled(o, status, Phase::Cancelled, Reason::Cancelled),
        DesiredState::Running if wanted(o, &status) => start::start(o, status),
        DesiredState::Running => match restart::restart(o, &status) {
            Restart::Now => start::start(o, status),
            Restart::At(due) => restart::wait(o, status, due),
            Restart::Exhausted => restart::exhausted(o, status),
            Restart::No => rest(o, status),
        },
    }
}

/// Takes over what needs no run: the desired state, and the fields that are live.
pub(super) fn take_over_live(o: &Observed<'_>, status: &mut JobStatus) -> Change {
    let change = change::change(o.spec, status.accepted_spec.as_deref());
    if let Some(accepted) = status.accepted_spec.as_mut() {
        match change {
            Change::None => {}
            Change::Live => *accepted = change::accept(o.spec),
            Change::Restart => accepted.state = o.spec.state,
        }
    }
    change
}

/// No job runs, as asked.
fn settled(o: &Observed<'_>, mut status: JobStatus, phase: Phase, reason: Reason) -> Plan {
    take_over_live(o, &mut status);
    status.pending_change = Some(PendingChange::None);
    let verdict = Verdict::reached(phase, reason, "no job runs, as asked");
    verdict.refusing(change::refused(o).as_ref()).write(o, &mut status);
    Plan::with("idle/settled", status)
}

/// Whether an idle job is to be started.
pub(super) fn wanted(o: &Observed<'_>, status: &JobStatus) -> bool {
    // Never started, or an attempt that provably sent nothing.
    let Some(accepted) = status.accepted_spec.as_deref() else {
        return true;
    };
    let consent = change::consents(o.spec, accepted);
    let edited = change::change(o.spec, Some(accepted)) == Change::Restart;
    let resumed = accepted.state != DesiredState::Running;
    match status.last_outcome() {
        None | Some(RunOutcome::Replaced | RunOutcome::Suspended | RunOutcome::Cancelled) => true,
        // A job that is done is done: `Suspended` and back does not run it again.
        Some(RunOutcome::Finished) => edited,
        Some(RunOutcome::Failed | RunOutcome::Rejected) => edited || resumed,
        Some(RunOutcome::Canceled) => consent || resumed,
        Some(RunOutcome::Lost) => consent,
        Some(RunOutcome::Unknown) => consent || resubmits(o, status),
    }
}

/// Whether the user allows a second submission when the result of the first is not known.
pub(super) fn resubmits(o: &Observed<'_>, status: &JobStatus) -> bool {
    o.spec.on_unknown_result == Some(OnUnknownResult::Resubmit)
        && status.last_outcome() == Some(RunOutcome::Unknown)
        && !record_lost(status)
}

/// Whether the record of this job was lost, and no job of it was found.
pub(super) fn record_lost(status: &JobStatus) -> bool {
    let lost = |reason: &str| reason == Reason::StateUnknown.as_str();
    status.last_outcome() == Some(RunOutcome::Unknown) && status.failure.as_ref().is_some_and(|f| lost(&f.reason))
}

/// Checked, never submitted.
fn draft(o: &Observed<'_>, mut status: JobStatus) -> Plan {
    let refusal = change::refused(o).or_else(|| match &o.program {
        Input::Refused(refusal) => Some(refusal.clone()),
        Input::Pending | Input::Ready(_) | Input::Retrying(_) => None,
    });
    let verdict = match (&refusal, &o.program) {
        (Some(refusal), _) => {
            Some(Verdict::stalled(Phase::Draft, refusal.reason, &refusal.message).refusing(Some(refusal)))
        }
        (None, Input::Pending) => None,
        (None, Input::Retrying(refusal)) => Some(Verdict::reconciling(Phase::Draft, refusal.reason, &refusal.message)),
        (None, Input::Ready(_) | Input::Refused(_)) => {
            let message = "the spec is complete; set state: Running to start the job";
            Some(Verdict::reached(Phase::Draft, Reason::Draft, message))
        }
    };
    match verdict {
        Some(verdict) => verdict.write(o, &mut status),
        None => Verdict::reconciling(Phase::Draft, Reason::Draft, "the spec is being checked")
            .write_if_changed(o, &mut status),
    }
    Plan::with("idle/draft", status).want(Wants {
        program: true,
        ..Wants::default()
    })
}

/// The job has ended, and nobody asks for another start.
fn rest(o: &Observed<'_>, mut status: JobStatus) -> Plan {
    let change = take_over_live(o, &mut status);
    status.pending_change = Some(match change {
        Change::None | Change::Live => PendingChange::None,
        Change::Restart => PendingChange::Restart,
    });
    // What is to be done about it is not said by the failure itself: the policy may start the job again.
    let told = |default: &str| match &status.failure {
        Some(failure) => failure.message.clone(),
        None => default.to_owned(),
    };
    let reason = |default: Reason| match &status.failure {
        Some(failure) => Reason::ALL
            .iter()
            .copied()
            .find(|r| r.as_str() == failure.reason)
            .unwrap_or(default),
        None => default,
    };
    let verdict = match status.last_outcome() {
        Some(RunOutcome::Finished) => {
            let message = "the job ended with success; to run it again, change its program or spec.restartNonce";
            Verdict::reached(Phase::Finished, Reason::Finished, message)
        }
        Some(RunOutcome::Failed) => Verdict::stalled(Phase::Failed, reason(Reason::JobFailed), told("the job failed")),
        Some(RunOutcome::Rejected) => Verdict::stalled(
            Phase::Failed,
            Reason::SubmissionRejected,
            told("Flink refused the submission"),
        ),
        Some(RunOutcome::Canceled) => {
            let message = "someone cancelled the job in Flink; to start it again, change spec.restartNonce";
            Verdict::stalled(Phase::Cancelled, Reason::Cancelled, message)
        }
        Some(RunOutcome::Lost) => Verdict::stalled(
            Phase::Lost,
            reason(Reason::JobLost),
            format!(
                "{}; {}",
                told("the cluster no longer knows the job"),
                restore::again(&status, o.spec.upgrade_mode)
            ),
        ),
        Some(RunOutcome::Unknown) => Verdict::stalled(
            Phase::Failed,
            reason(Reason::ResultUnknown),
            told("it is not known whether the job ran"),
        ),
        Some(RunOutcome::Cancelled | RunOutcome::Replaced | RunOutcome::Suspended) | None => {
            Verdict::stalled(Phase::Cancelled, Reason::Cancelled, "the job was cancelled")
        }
    };
    verdict.refusing(change::refused(o).as_ref()).write(o, &mut status);
    Plan::with("idle/rest", status)
}

#[cfg(test)]
mod tests {
    use super::super::case::{Case, refusal, seen, told};
    use super::*;
    use crate::{
        api::{
            FlinkSessionJobSpec,
            job::UpgradeMode,
            status::RunOutcome::{Canceled, Cancelled, Failed, Finished, Lost, Rejected, Replaced, Suspended, Unknown},
        },
        flink::JobState,
    };

    const OUTCOMES: [RunOutcome; 9] = [
        Finished, Failed, Canceled, Replaced, Suspended, Cancelled, Rejected, Lost, Unknown,
    ];

    /// Whether another run is started after that outcome, once the user has done that.
    fn starts(outcome: RunOutcome, mode: UpgradeMode, act: impl FnOnce(&mut Case)) -> bool {
        let mut case = Case::ended(outcome);
        if outcome == Unknown {
            let message = "the submission was under way".to_owned();
            let reason = Reason::ResultUnknown.to_string();
            case.status.failure = Some(crate::api::status::Failure {
                reason,
                message,
                time: None,
                root_cause: None,
            });
        }
        case.spec.upgrade_mode = mode;
        act(&mut case);
        case.settle();
        case.status.submission().is_some()
    }

    fn edit(case: &mut Case, change: impl FnOnce(&mut FlinkSessionJobSpec)) {
        case.edit(change);
        case.settle();
    }

    #[test]
    fn what_may_still_start_comes_before_another_start() {
        let mut case = Case::ended(Replaced);
        case.status.intent_mut().submit = Case::submitting().status.submission().cloned();
        let open = case.status.submission().cloned();
        assert!(open.is_some());
        let plan = case.observed(|o| idle(o, o.status.clone()));
        assert_eq!(
            (plan.rule, plan.status.submission().cloned()),
            ("idle/submitting", open)
        );
    }

    /// Rule 14, for a version without state: by what the user does, the outcomes after which the job runs again.
    #[test]
    fn transitions() {
        type Act = fn(&mut Case);
        let rows: [(&str, Act, &[RunOutcome]); 6] = [
            ("nothing", |_| {}, &[Replaced, Suspended, Cancelled]),
            (
                "the program is edited",
                |case| edit(case, |spec| spec.job.args.clear()),
                &[Finished, Failed, Replaced, Suspended, Cancelled, Rejected],
            ),
            (
                "a live field is edited",
                |case| {
                    edit(case, |spec| {
                        spec.submit_timeout = Some(crate::api::GoDuration::from_secs(90));
                    });
                },
                &[Replaced, Suspended, Cancelled],
            ),
            (
                "restartNonce",
                |case| edit(case, |spec| spec.restart_nonce = Some(1)),
                &OUTCOMES,
            ),
            (
                "Suspended and back",
                |case| {
                    edit(case, |spec| spec.state = DesiredState::Suspended);
                    edit(case, |spec| spec.state = DesiredState::Running);
                },
                &[Failed, Canceled, Replaced, Suspended, Cancelled, Rejected],
            ),
            (
                "onUnknownResult: Resubmit",
                |case| edit(case, |spec| spec.on_unknown_result = Some(OnUnknownResult::Resubmit)),
                &[Replaced, Suspended, Cancelled, Unknown],
            ),
        ];
        for (act, apply, expected) in rows {
            let started = |outcome: &RunOutcome| starts(*outcome, UpgradeMode::Stateless, apply);
            let actual: Vec<_> = OUTCOMES.into_iter().filter(started).collect();
            assert_eq!(actual, expected, "{act}");
        }
    }

    #[test]
    fn a_live_edit_of_an_ended_job_is_taken_over_and_told() {
        let mut case = Case::ended(Finished);
        case.settle();
        case.edit(|spec| spec.deletion_policy = Some(crate::api::job::DeletionPolicy::default()));
        let status = case.settle().status;
        assert_eq!(told(&status), "Finished/Finished Ready=True Running=False");
        assert_eq!(
            (status.observed_generation, status.pending_change),
            (2, Some(PendingChange::None))
        );
        assert!(status.accepted_spec.unwrap().deletion_policy.is_some());
    }

    #[test]
    fn an_edit_while_suspended_is_run_on_the_way_back() {
        let mut case = Case::ended(Finished);
        edit(&mut case, |spec| spec.state = DesiredState::Suspended);
        edit(&mut case, |spec| spec.job.args.clear());
        assert_eq!(told(&case.status), "Suspended/Suspended Ready=True Running=False");
        edit(&mut case, |spec| spec.state = DesiredState::Running);
        assert!(case.status.submission().is_some());
    }

    #[test]
    fn created_suspended_is_started_when_it_is_to_run() {
        let mut case = Case::new();
        edit(&mut case, |spec| spec.state = DesiredState::Suspended);
        assert!(!case.finalizer && case.status.submission().is_none());
        edit(&mut case, |spec| spec.state = DesiredState::Running);
        assert!(case.status.submission().is_some());
    }

    #[test]
    fn a_draft_is_checked_and_never_submitted() {
        let mut case = Case::new();
        case.spec.state = DesiredState::Draft;
        case.program = Input::Pending;
        assert!(
            case.still("idle/draft").wants.program,
            "the program is asked for, nothing is written"
        );
        case.program = Input::Refused(refusal(Reason::UndefinedVariable));
        assert_eq!(
            told(&case.settle().status),
            "Draft/UndefinedVariable Ready=False Stalled Running=False"
        );
        case.program = Input::Retrying(refusal(Reason::ReferenceNotFound));
        assert_eq!(
            told(&case.settle().status),
            "Draft/ReferenceNotFound Ready=False Reconciling Running=False"
        );
        case.program = Input::Ready(());
        case.edit(|spec| spec.restart_nonce = Some(4));
        assert_eq!(told(&case.settle().status), "Draft/Draft Ready=True Running=False");
        assert!(case.status.submission().is_none() && case.status.accepted_spec.is_none());
        // The nonce is taken as it is when the spec is first accepted.
        edit(&mut case, |spec| spec.state = DesiredState::Running);
        case.finalizer = true;
        case.list(JobState::Running);
        case.settle();
        case.still("follow/steady");
    }

    #[test]
    fn refusals_say_what_to_do() {
        for (state, words) in [
            (JobState::Failed, "look into"),
            (JobState::Canceled, "change spec.restartNonce"),
            (JobState::Finished, "spec.restartNonce"),
        ] {
            let mut case = Case::running();
            case.failure_cause = Input::Refused(refusal(Reason::JobFailed));
            case.jobs = vec![seen(case.id(), state)];
            let status = case.settle().status;
            let ready = crate::api::condition::find(&status.conditions, crate::api::ConditionType::Ready).unwrap();
            assert!(ready.message.contains(words), "{}", ready.message);
        }
    }
}
