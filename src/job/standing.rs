//! What is known of a submission that was decided on.
//!
//! An error or a timeout never proves that nothing happened, and a definite answer to the last try proves nothing about
//! tries before it. What resolves a submission: its job in the job list; an answer by which Flink provably started
//! nothing, when no other try can have; the absence of the job once no request can take effect any more. Until then the
//! same JobID and jar may be sent again to the same JobManager process, which starts them once at most.

use jiff::Timestamp;

use super::{
    Cluster, Input, JobSeen, Observed, Refusal, RetryWindow, SETTLE, SUBMIT_GRACE, SUBMIT_WITHIN, SubmitOutcome,
    backoff::{after, before},
};
use crate::{
    api::{Reason, job::DesiredState, status::SubmitIntent},
    flink::JobId,
};

/// What is known of a submission.
#[derive(Debug)]
pub(super) enum Standing<'a> {
    /// Its job is listed.
    Seen(&'a JobSeen),
    /// This process waits for Flink's answer.
    InFlight,
    /// This process has just written it down, and has not sent it.
    Unsent,
    /// It provably started nothing, and nothing of it can start any more.
    Nothing(Nothing),
    /// Flink said that it started the job, or knows it; and the cluster provably does not list it.
    Ran,
    /// It is not known whether it ran, and sending it again is safe.
    Repeat,
    /// It may still take effect, and must not be sent again.
    Wait,
    /// It can have run and ended unseen, or not have run; nothing of it can start any more.
    Ambiguous,
    /// It takes a job list from now on to tell.
    Confirm,
}

/// By what it is proven that a submission started nothing.
#[derive(Debug)]
pub(super) enum Nothing {
    /// No request reached Flink.
    NotSent(Refusal),
    /// The jar was not there.
    JarMissing,
    /// `main()` ended with an error.
    Rejected(String),
    /// Another job was started instead.
    OtherJob(JobId),
    /// Nothing of it can take effect any more, and the process that it was sent to does not list the job.
    Absent,
}

/// What is known of the last try by itself.
enum Last {
    Unsent,
    Nothing(Nothing),
    Ran,
    Unknown,
}

fn last(o: &Observed<'_>, intent: &SubmitIntent) -> Last {
    match o.submit_outcome() {
        Some(SubmitOutcome::NotSent(refusal)) => Last::Nothing(Nothing::NotSent(refusal.clone())),
        Some(SubmitOutcome::JarMissing) => Last::Nothing(Nothing::JarMissing),
        Some(SubmitOutcome::Rejected(message)) => Last::Nothing(Nothing::Rejected(message.clone())),
        Some(SubmitOutcome::OtherJob(job_id)) => Last::Nothing(Nothing::OtherJob(*job_id)),
        Some(SubmitOutcome::Accepted | SubmitOutcome::Duplicate) => Last::Ran,
        Some(SubmitOutcome::Unknown(_)) => Last::Unknown,
        None if o.task.unsent != Some((intent.job_id, intent.tries)) => Last::Unknown,
        None if o.meta.deleting => {
            let refusal = Refusal::new(Reason::DeletionBlocked, "the resource is being deleted");
            Last::Nothing(Nothing::NotSent(refusal))
        }
        None if o.now > intent.not_after => {
            let refusal = Refusal::new(
                Reason::SubmissionTimeout,
                "it could not be sent within 30s of the decision",
            );
            Last::Nothing(Nothing::NotSent(refusal))
        }
        None => Last::Unsent,
    }
}

/// The JobManager process, compared with the one that the submission was for.
enum Process {
    /// It could not be identified.
    Unidentified,
    /// The same; whether it still remembers the JobID of the first try.
    Same { remembers: bool },
    /// Another, where the jar id does not exist, so that no late request can start anything.
    Fenced,
    /// Another, and it knows every JobID that ever ended.
    Durable,
    /// Another, where the jar may be.
    Unfenced,
}

fn process(o: &Observed<'_>, cluster: &Cluster<'_>, intent: &SubmitIntent) -> Process {
    let Some(id) = cluster.job_manager else {
        return Process::Unidentified;
    };
    match cluster.retry_window {
        window if id == intent.job_manager => Process::Same {
            remembers: match window {
                RetryWindow::Unlimited | RetryWindow::Durable => true,
                // What is sent in the window may take effect as late as the horizon of a try, and must still be remembered.
                RetryWindow::For(window) => {
                    o.now < after(intent.first_try, window)
                        && window.saturating_mul(3) >= SUBMIT_WITHIN + o.spec.submit_timeout() + SETTLE
                }
                RetryWindow::Closed(_) => false,
            },
        },
        RetryWindow::Unlimited | RetryWindow::For(_) => Process::Fenced,
        RetryWindow::Durable => Process::Durable,
        RetryWindow::Closed(_) => Process::Unfenced,
    }
}

/// What is known of a submission now.
pub(super) fn standing<'o>(o: &'o Observed<'_>, intent: &SubmitIntent) -> Standing<'o> {
    if let Some(job) = o.up().and_then(|cluster| cluster.job(intent.job_id)) {
        return Standing::Seen(job);
    }
    if o.task.running {
        return Standing::InFlight;
    }
    let (last, until) = match (last(o, intent), intent.earlier_unresolved) {
        (Last::Unsent, _) => return Standing::Unsent,
        // A cluster that ignores JobIDs started earlier tries under ids that nobody can know: waiting would not help.
        (Last::Nothing(why @ Nothing::OtherJob(_)), _)
        | (Last::Nothing(why @ (Nothing::NotSent(_) | Nothing::JarMissing)), None) => return Standing::Nothing(why),
        (Last::Nothing(why), earlier) => (Last::Nothing(why), earlier),
        (last @ (Last::Ran | Last::Unknown), _) => (last, Some(intent.unresolved)),
    };
    let Some(cluster) = o.up() else { return Standing::Wait };
    let over = until.is_none_or(|until| o.now > until);
    let sure = |then| if cluster.confirmed { then } else { Standing::Confirm };
    let in_time = |then| if over { sure(then) } else { Standing::Wait };
    match (process(o, cluster, intent), last) {
        // The answer came; the job list is a moment behind.
        (_, Last::Ran) if o.now < after(decided_on(intent), SUBMIT_GRACE) => Standing::Wait,
        (_, Last::Ran) => sure(Standing::Ran),
        (Process::Unidentified, _) if cluster.confirmed => Standing::Wait,
        (Process::Unidentified, _) => Standing::Confirm,
        // `main()` can start the job and then fail: the list tells.
        (Process::Same { .. }, Last::Nothing(why @ Nothing::Rejected(_))) if until.is_none() => {
            sure(Standing::Nothing(why))
        }
        (Process::Durable, Last::Nothing(Nothing::Rejected(_))) | (Process::Fenced, _) => sure(Standing::Ambiguous),
        (Process::Durable, _) if same_request(o, intent) == Some(false) => sure(Standing::Ambiguous),
        (Process::Durable, _) => sure(Standing::Repeat),
        (Process::Same { remembers: true }, Last::Unknown | Last::Nothing(Nothing::NotSent(_))) => {
            if same_request(o, intent) == Some(false) {
                in_time(Standing::Nothing(Nothing::Absent))
            } else {
                Standing::Repeat
            }
        }
        (Process::Same { remembers: true }, Last::Nothing(why)) => in_time(Standing::Nothing(why)),
        (Process::Same { .. } | Process::Unfenced, _) => in_time(Standing::Ambiguous),
    }
}

/// Whether a submission of a resource that is being deleted can still start a job.
pub(super) enum Quiet {
    /// Nothing of it can; a job that is not listed in a confirmed job list does not run.
    Yes,
    /// This process waits for Flink's answer.
    InFlight,
    /// It takes a job list from now on, or the identity of the JobManager, to tell.
    Confirm,
    /// Until then it may.
    Until(Timestamp),
}

/// Whether a submission of a resource that is being deleted can still start a job.
pub(super) fn quiet(o: &Observed<'_>, intent: &SubmitIntent) -> Quiet {
    if o.task.running {
        return Quiet::InFlight;
    }
    let until = match last(o, intent) {
        Last::Nothing(_) | Last::Ran => intent.earlier_unresolved,
        Last::Unsent | Last::Unknown => Some(intent.unresolved),
    };
    let Some(until) = until.filter(|until| o.now <= *until) else {
        return Quiet::Yes;
    };
    match o.up().map(|cluster| (process(o, cluster, intent), cluster.confirmed)) {
        Some((Process::Fenced | Process::Durable, _)) => Quiet::Yes,
        Some((Process::Unidentified, false)) => Quiet::Confirm,
        Some(_) | None => Quiet::Until(until),
    }
}

/// When the last try was decided on.
pub(super) fn decided_on(intent: &SubmitIntent) -> Timestamp {
    before(intent.not_after, SUBMIT_WITHIN)
}

/// Whether the same request is still what the spec asks for; None when that cannot be told yet.
pub(super) fn same_request(o: &Observed<'_>, intent: &SubmitIntent) -> Option<bool> {
    if o.spec.state != DesiredState::Running {
        return Some(false);
    }
    match &o.program {
        Input::Ready(program) => Some(program.body_hash() == intent.body_hash),
        Input::Refused(_) => Some(false),
        Input::Pending | Input::Retrying(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{
        SubmitOutcome::{Accepted, Duplicate, JarMissing, NotSent, OtherJob, Rejected, Unknown},
        case::{Case, P1, P2, Reach, effect, jar, refusal, seen, told},
    };
    use super::*;
    use crate::{
        api::{job::OnUnknownResult, status::RunOutcome},
        flink::JobState,
    };

    const MINUTES: i64 = 60;
    /// `notAfter` + `submitTimeout` + the settle time, and a little more.
    const HORIZON: i64 = 30 + 60 + 600 + 1;
    const WEAK: RetryWindow = RetryWindow::Closed("web.upload.dir is set");

    fn unknown() -> SubmitOutcome {
        Unknown(refusal(Reason::SubmissionTimeout))
    }

    fn not_sent() -> SubmitOutcome {
        NotSent(refusal(Reason::ClusterUnreachable))
    }

    /// `rule effect phase/reason Ready=…`
    fn row(case: &Case) -> String {
        let plan = case.decide();
        format!("{} {} {}", plan.rule, effect(&plan), told(&plan.status))
    }

    /// A first try with that outcome, and a second one with the other.
    fn tried_twice(first: SubmitOutcome, second: SubmitOutcome) -> Case {
        let mut case = Case::submitted(first);
        case.wait(6);
        case.persist("submit/again");
        case.task.unsent = None;
        case.outcome(second);
        case
    }

    #[track_caller]
    fn sends_again(case: &mut Case, jar_of: &str) {
        let before = case.status.submission().unwrap().clone();
        case.persist("submit/again");
        let after = case.status.submission().unwrap().clone();
        assert_eq!(
            (after.job_id, after.jar_id, after.tries),
            (before.job_id, jar(jar_of), before.tries + 1)
        );
        assert_eq!(effect(&case.still("submit/send")), "Submit");
    }

    #[track_caller]
    fn ambiguous(case: &mut Case) {
        assert!(case.still("submit/confirm").wants.confirm);
        case.confirmed = true;
        case.persist("idle/rest");
        assert_eq!(
            told(&case.status),
            "Failed/ResultUnknown Ready=False Stalled Running=False"
        );
        assert_eq!(case.status.last_outcome(), Some(RunOutcome::Unknown));
    }

    // Recovery, row "the job is listed": it was accepted.
    #[test]
    fn a_listed_job_was_accepted_whatever_the_answer_was() {
        for outcome in [unknown(), Rejected("x".to_owned()), JarMissing, Duplicate, Accepted] {
            for (state, expected) in [
                (
                    JobState::Running,
                    "submit/seen - Running/Running Ready=True Running=True",
                ),
                (
                    JobState::Finished,
                    "submit/seen - Finished/Finished Ready=True Running=False",
                ),
                (
                    JobState::Failed,
                    "submit/seen - Failed/JobFailed Ready=False Stalled Running=False",
                ),
            ] {
                let mut case = Case::submitted(outcome.clone());
                case.list(state);
                assert_eq!(row(&case), expected, "{outcome:?}");
            }
        }
    }

    // Row "not listed, the same process": the same JobID and jar again.
    #[test]
    fn the_same_process_is_asked_again_after_a_pause() {
        for window in [
            RetryWindow::Unlimited,
            RetryWindow::Durable,
            RetryWindow::For(Duration::from_secs(600)),
            RetryWindow::For(Duration::MAX),
        ] {
            let mut case = Case::submitted(unknown());
            case.window = window;
            assert_eq!(
                row(&case),
                "submit/pause - Submitting/SubmissionTimeout Ready=False Reconciling Running=Unknown"
            );
            case.wait(6);
            sends_again(&mut case, P1);
        }
        // Also when the horizon has passed: the process has not forgotten anything.
        let mut case = Case::submitting();
        case.wait(HORIZON);
        sends_again(&mut case, P1);
    }

    #[test]
    fn a_window_ends_and_a_short_one_never_opens() {
        let mut case = Case::submitted(unknown());
        case.window = RetryWindow::For(Duration::from_secs(600));
        case.wait(10 * MINUTES);
        assert!(
            row(&case).starts_with("submit/wait - Submitting/ResultUnknown Ready=False Reconciling"),
            "{}",
            row(&case)
        );
        case.wait(2 * MINUTES);
        ambiguous(&mut case);
        // A memory of four minutes is shorter than a request may be under way.
        let mut case = Case::submitted(unknown());
        case.window = RetryWindow::For(Duration::from_secs(60));
        case.wait(6);
        assert!(row(&case).starts_with("submit/wait"), "{}", row(&case));
        case.wait(HORIZON);
        ambiguous(&mut case);
    }

    // Row "not listed, another process": only the user can tell.
    #[test]
    fn a_replaced_process_is_ambiguous_at_once() {
        for outcome in [unknown(), Rejected("x".to_owned())] {
            let mut case = Case::submitted(outcome);
            case.replace();
            ambiguous(&mut case);
        }
        let mut case = Case::submitted(unknown());
        case.spec.on_unknown_result = Some(OnUnknownResult::Resubmit);
        case.replace();
        case.confirmed = true;
        let first = case.id();
        case.persist("start/intend");
        assert!(case.id() > first, "another attempt, another JobID");
        assert_eq!(case.status.runs[0].outcome, Some(RunOutcome::Unknown));
    }

    // Row "result stores kept": the JobID again, with the new process's jar; a duplicate means that it ran.
    #[test]
    fn a_cluster_that_never_forgets_is_asked_again_with_its_new_jar() {
        let mut case = Case::submitted(unknown());
        case.window = RetryWindow::Durable;
        case.replace();
        case.wait(6);
        assert!(case.still("submit/confirm").wants.confirm);
        case.confirmed = true;
        sends_again(&mut case, P2);
        case.outcome(Duplicate);
        case.wait(6);
        case.confirmed = true;
        assert_eq!(
            row(&case),
            "submit/lost - Lost/ResultUnknown Ready=False Stalled Running=False"
        );
        // Not with the jar of a process that is gone.
        let mut case = Case::submitted(unknown());
        case.window = RetryWindow::Durable;
        case.job_manager = Some(P2);
        case.wait(6);
        case.confirmed = true;
        assert_eq!(case.decide().rule, "submit/jar");
        // Not with another body: the spec was edited since.
        let mut case = Case::submitted(unknown());
        case.window = RetryWindow::Durable;
        case.replace();
        case.wait(6);
        case.edit(|spec| spec.job.args.clear());
        ambiguous(&mut case);
    }

    // Row "503, refused, hang": no information, no step.
    #[test]
    fn a_cluster_that_does_not_answer_proves_nothing() {
        for outcome in [Some(unknown()), Some(Accepted), None] {
            let mut case = Case::submitting();
            if let Some(outcome) = outcome {
                case.outcome(outcome);
            }
            case.reach = Reach::Down(Reason::ClusterUnreachable);
            for _ in 0..3 {
                case.wait(HORIZON);
                assert_eq!(
                    row(&case),
                    "submit/unreachable - Submitting/ClusterUnreachable Ready=False Reconciling Running=Unknown"
                );
            }
        }
        let mut case = Case::submitting();
        case.reach = Reach::NotPolled;
        case.wait(HORIZON);
        case.still("submit/not-polled");
    }

    // Row "400 that is no duplicate": look first, since `main()` may have started the job before it failed.
    #[test]
    fn a_rejection_counts_when_the_list_does_not_have_the_job() {
        let mut case = Case::submitted(Rejected("NullPointerException".to_owned()));
        assert!(case.still("submit/confirm").wants.confirm);
        case.confirmed = true;
        assert_eq!(
            row(&case),
            "idle/rest - Failed/SubmissionRejected Ready=False Stalled Running=False"
        );
    }

    #[test]
    fn a_first_try_without_its_jar_gets_another_jar_at_once() {
        let mut case = Case::submitted(JarMissing);
        // The cache has not noticed yet.
        assert!(case.still("submit/jar").wants.jar);
        case.replace();
        sends_again(&mut case, P2);
        assert_eq!(case.status.submission().unwrap().earlier_unresolved, None);
        // A cluster that never has it is not asked all the time.
        case.outcome(JarMissing);
        case.jar = Input::Ready((jar(P1), P1.to_owned()));
        case.still("submit/pause");
    }

    #[test]
    fn a_try_that_was_not_sent_is_sent_again() {
        let mut case = Case::submitted(not_sent());
        assert_eq!(
            row(&case),
            "submit/pause - Submitting/ClusterUnreachable Ready=False Reconciling Running=False"
        );
        case.wait(6);
        sends_again(&mut case, P1);
        assert_eq!(case.status.submission().unwrap().earlier_unresolved, None);
        // Held up for too long before it was sent: not sent at all.
        case.wait(31);
        assert_eq!(effect(&case.decide()), "-");
        sends_again(&mut case, P1);
    }

    // A definite answer to the last try proves nothing about the tries before it.
    #[test]
    fn an_earlier_try_without_an_answer_stays_open() {
        for answer in [JarMissing, not_sent(), Rejected("x".to_owned())] {
            let mut case = tried_twice(unknown(), answer.clone());
            case.replace();
            case.wait(HORIZON);
            ambiguous(&mut case);
            // The same process may be asked again with the same pair; what it answers settles it.
            let mut case = tried_twice(unknown(), answer.clone());
            case.wait(11);
            if let NotSent(_) = answer {
                sends_again(&mut case, P1);
            } else {
                assert!(row(&case).starts_with("submit/wait"), "{answer:?}: {}", row(&case));
            }
        }
        // Once nothing can take effect any more, its absence from the same process's list is proof.
        let mut case = tried_twice(unknown(), Rejected("x".to_owned()));
        case.wait(HORIZON);
        case.still("submit/confirm");
        case.confirmed = true;
        assert_eq!(
            row(&case),
            "idle/rest - Failed/SubmissionRejected Ready=False Stalled Running=False"
        );
    }

    #[test]
    fn jars_that_survive_the_process_are_no_fence() {
        let mut case = Case::submitted(unknown());
        case.window = WEAK;
        case.replace();
        assert!(row(&case).starts_with("submit/wait"), "{}", row(&case));
        case.wait(HORIZON);
        ambiguous(&mut case);
        // Nor is the same process to be asked again.
        let mut case = Case::submitted(unknown());
        case.window = WEAK;
        case.wait(6);
        assert!(row(&case).starts_with("submit/wait"), "{}", row(&case));
    }

    #[test]
    fn an_edit_ends_the_repeats_and_the_old_attempt_is_resolved_first() {
        let mut case = Case::submitted(unknown());
        case.edit(|spec| spec.job.args[1] = "6".to_owned());
        case.wait(6);
        assert!(row(&case).starts_with("submit/wait"), "{}", row(&case));
        case.wait(HORIZON);
        case.still("submit/confirm");
        case.confirmed = true;
        // It provably did not run: the new spec is a new attempt.
        case.persist("start/intend");
        assert_eq!((case.status.attempt, case.status.runs.len()), (Some(2), 0));
    }

    #[test]
    fn an_accepted_job_that_is_not_listed_is_lost() {
        let expected = "submit/lost - Lost/ResultUnknown Ready=False Stalled Running=False";
        for outcome in [Accepted, Duplicate] {
            let mut case = Case::submitted(outcome);
            case.still("submit/accepted");
            case.wait(6);
            case.still("submit/confirm");
            case.confirmed = true;
            assert_eq!(row(&case), expected);
        }
    }

    #[test]
    fn a_cluster_that_starts_another_job_is_told_to_cancel_it() {
        let other = JobId([9; 16]);
        let mut case = Case::submitted(OtherJob(other));
        case.persist("submit/other-job");
        assert_eq!(case.status.cancellation().unwrap().job_id, other);
        case.jobs = vec![seen(other, JobState::Running)];
        assert_eq!(effect(&case.decide()), "Cancel");
        case.jobs = vec![seen(other, JobState::Canceled)];
        assert_eq!(
            row(&case),
            "idle/rest - Failed/SubmissionRejected Ready=False Stalled Running=False"
        );
    }

    #[test]
    fn an_unidentified_process_is_identified_first() {
        let mut case = Case::submitted(unknown());
        case.job_manager = None;
        case.wait(6);
        assert!(case.still("submit/confirm").wants.confirm);
    }
}
