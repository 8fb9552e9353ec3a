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
                        && window * 3 >= SUBMIT_WITHIN + o.spec.submit_timeout() + SETTLE
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
