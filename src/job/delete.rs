//! The resource is being deleted: end or release what may run, then let it go.

use jiff::Timestamp;

use super::{
    ClusterView, Effect, JobSeen, NoteKind, Observed, Plan, SUBMIT_GRACE, Session, SubmitOutcome, Wants,
    backoff::after,
    cancel, decide, end, keep,
    standing::{Quiet, quiet},
    start, stop,
    verdict::{Standing, Verdict},
};
use crate::{
    api::{
        GoDuration, JobStatus, Phase, Reason,
        condition::ConditionStatus,
        intent::{CancelPurpose, StopIntent},
        job::DeletionType,
        status::Run,
    },
    flink::JobId,
};

/// In a namespace that is being deleted nobody can wait longer than this for a cluster that does not answer.
const TERMINATING_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

/// The rule.
pub(super) fn rule(o: &Observed<'_>) -> Option<Plan> {
    if !o.meta.deleting {
        return None;
    }
    if !o.meta.finalizer {
        // Nothing was ever sent: the finalizer comes before the first effect.
        return Some(Plan::keep("delete/gone", o.status));
    }
    if !may_run(o) {
        return Some(remove(o, "delete/release"));
    }
    let policy = o
        .spec
        .deletion_policy
        .as_ref()
        .and_then(|policy| policy.kind)
        .unwrap_or_default();
    Some(match (o.session, &o.cluster) {
        (Session::Absent { proven: true }, _) => release(o, "its FlinkSession does not exist any more"),
        (Session::Absent { proven: false }, _) => Plan::keep("delete/prove", o.status).want(Wants {
            session_proof: true,
            ..Wants::default()
        }),
        (Session::Present { .. }, ClusterView::NotPolled) => Plan::keep("delete/not-polled", o.status),
        (Session::Present { .. }, ClusterView::Down(_)) => unanswered(o, policy),
        (Session::Present { .. }, ClusterView::Up(_)) => answered(o, policy),
    })
}

/// Whether a job of this resource may run.
fn may_run(o: &Observed<'_>) -> bool {
    let status = o.status;
    status.live_run().is_some()
        || status.submission().is_some()
        || status.cancellation().is_some()
        || status.stop().is_some()
        || decide::is_blank(o)
        || o.marked_live().next().is_some()
}

fn look_at_namespace() -> Wants {
    Wants {
        namespace: true,
        ..Wants::default()
    }
}

fn remove(o: &Observed<'_>, rule: &'static str) -> Plan {
    let plan = Plan::keep(rule, o.status).then(Effect::RemoveFinalizer);
    match o.status.keep() {
        Some(keep) if !keep::is_kept(o, keep) => {
            // The record goes with the resource: where the files are must be told somewhere else.
            let message = format!(
                "the last savepoint of the job is at {}; no Savepoint resource names it",
                keep.path
            );
            plan.note(NoteKind::Warning, Reason::SavepointFailed, message)
        }
        Some(_) | None => match o.status.stop().filter(|stop| stop.location.is_none()) {
            Some(stop) => {
                let message = format!(
                    "the job was being stopped with a savepoint when it was deleted; if there is one, it is under {}, and no \
                     Savepoint resource names it",
                    stop.directory
                );
                plan.note(NoteKind::Warning, Reason::SavepointFailed, message)
            }
            None => plan,
        },
    }
}

/// Lets the resource go although a job may run.
fn release(o: &Observed<'_>, why: &str) -> Plan {
    let job = o.status.job_id.map_or_else(String::new, |id| format!(" {id}"));
    let message =
        format!("released the resource: {why}. Flink job{job} may still run; look at the cluster and cancel it there");
    remove(o, "delete/may-still-run").note(NoteKind::Warning, Reason::JobMayStillRun, message)
}

fn tell(o: &Observed<'_>, status: &mut JobStatus, reason: Reason, message: String, running: ConditionStatus) {
    let mut verdict = Verdict::new(Phase::Deleting, Standing::Reconciling, reason, message);
    verdict.running = running;
    verdict.write(o, status);
}

/// The cluster does not answer: wait as long as the policy says, counting only such time.
fn unanswered(o: &Observed<'_>, policy: DeletionType) -> Plan {
    if let (DeletionType::Orphan, Some(run), None) = (policy, o.status.live_run(), o.status.submission()) {
        // What stays running needs no answer from the cluster.
        return orphan(o, run.job_id);
    }
    let timeout = if o.namespace_terminating {
        o.spec.deletion_timeout().min(TERMINATING_TIMEOUT)
    } else {
        o.spec.deletion_timeout()
    };
    let mut status = o.status.clone();
    let since = *status.intent_mut().unanswered_since.get_or_insert(o.now);
    // A submission that may still take effect is waited for, where somebody can wait.
    let until = match o.status.submission() {
        Some(intent) if !o.namespace_terminating => after(since, timeout).max(intent.unresolved),
        Some(_) | None => after(since, timeout),
    };
    if o.now >= until {
        return release(
            o,
            "its cluster did not answer for as long as spec.deletionPolicy.timeout allows",
        );
    }
    let message = format!(
        "the job cannot be ended, the cluster does not answer: {}. The resource is released after {} without an answer \
         (spec.deletionPolicy.timeout)",
        o.down().message,
        GoDuration::from_secs(timeout.as_secs())
    );
    tell(
        o,
        &mut status,
        Reason::DeletionBlocked,
        message,
        ConditionStatus::Unknown,
    );
    Plan::with("delete/unanswered", status)
        .want(look_at_namespace())
        .at(until)
}

/// The cluster answers.
fn answered(o: &Observed<'_>, policy: DeletionType) -> Plan {
    let mut status = o.status.clone();
    if status
        .intent
        .as_mut()
        .and_then(|intent| intent.unanswered_since.take())
        .is_some()
    {
        // Only time without an answer counts.
        let message = "the cluster answers again".to_owned();
        tell(o, &mut status, Reason::Cancelled, message, ConditionStatus::Unknown);
        return Plan::with("delete/answered", status);
    }
    if let Some(job) = hanging(o) {
        // To its end, before another job of the resource is looked at.
        return end(o, job);
    }
    let cancelled = o.status.cancellation().map(|cancel| cancel.job_id);
    let stop = o
        .status
        .stop()
        .filter(|stop| cancelled != Some(stop.job_id) || stop.location.is_none());
    match (stop, policy) {
        // What Flink was told to stop with a savepoint is not cancelled in the middle of it, but where that is asked for.
        (Some(stop), DeletionType::Savepoint | DeletionType::Orphan) => return stopping(o, stop),
        (Some(_), DeletionType::Cancel) | (None, _) => {}
    }
    let Some(job) = live(o) else { return nothing_left(o) };
    match (policy, stray(o)) {
        (DeletionType::Cancel, _) => end(o, job),
        (DeletionType::Orphan | DeletionType::Savepoint, Some(stray)) => end(o, stray),
        (DeletionType::Orphan, None) => orphan(o, job.id),
        (DeletionType::Savepoint, None) if o.namespace_terminating && !end::takes_savepoint(o, job) => {
            release(o, NO_TIME)
        }
        (DeletionType::Savepoint, None) if o.status.live_run().is_none_or(|run| run.job_id != job.id) => record(o, job),
        (DeletionType::Savepoint, None) => {
            if cancelled == Some(job.id) {
                // What was to be cancelled is stopped with a savepoint, if it is not too late.
                status.intent_mut().cancel = None;
            }
            end::savepoint(o, status, job, CancelPurpose::Delete).and_namespace()
        }
    }
}

/// The job that hangs in its end, its savepoint on record, and is to be cancelled for that.
fn hanging<'o>(o: &'o Observed<'_>) -> Option<&'o JobSeen> {
    let stop = o.status.stop().filter(|stop| stop.location.is_some())?;
    let cancelled = o.status.cancellation()?.job_id == stop.job_id;
    let job = o.up()?.job(stop.job_id)?;
    (cancelled && job.is_live()).then_some(job)
}

/// A job that runs and is not on record as a run: a submission that took effect, or one whose record was lost.
fn record(o: &Observed<'_>, job: &JobSeen) -> Plan {
    let mut status = o.status.clone();
    let submitted = status.intent_mut().submit.take();
    let job_manager = match &submitted {
        Some(intent) => Some(intent.job_manager.clone()),
        None => o.up().and_then(|cluster| cluster.job_manager).map(str::to_owned),
    };
    let attempt = status.attempt.unwrap_or_default().max(1);
    status.attempt = Some(attempt);
    status.job_id = Some(job.id);
    status.runs.insert(
        0,
        Run {
            job_manager,
            ..Run::new(attempt, job.id)
        },
    );
    let message = "the job is stopped with a savepoint before the resource goes".to_owned();
    tell(o, &mut status, Reason::Cancelled, message, ConditionStatus::True);
    Plan::with("delete/record", status)
}

/// Why a savepoint is not waited for in a namespace that is being deleted.
const NO_TIME: &str =
    "its namespace is being deleted, and the savepoint that deletionPolicy asks for cannot be taken in time";

/// A stop with savepoint is under way.
fn stopping(o: &Observed<'_>, stop: &StopIntent) -> Plan {
    let until = after(stop.decided, TERMINATING_TIMEOUT);
    if o.namespace_terminating && stop.location.is_none() && (stop.due.is_some() || o.now >= until) {
        return release(o, NO_TIME);
    }
    let plan = stop::step(o, stop).and_namespace();
    if !o.namespace_terminating {
        return plan;
    }
    // A request that did not go out in time would be decided on anew, and that again, for as long as Flink takes none.
    if plan.status.stop().is_some_and(|renewed| renewed.decided > stop.decided) {
        return release(o, NO_TIME);
    }
    plan.by(until)
}

/// A live job of this resource: one that the status names, or one with its mark.
fn live<'o>(o: &'o Observed<'_>) -> Option<&'o JobSeen> {
    let cluster = o.up()?;
    let run = o.status.live_run().map(|run| run.job_id);
    let submitted = o.status.submission().map(|intent| intent.job_id);
    let cancelled = o.status.cancellation().map(|intent| intent.job_id);
    let named = [run, submitted, cancelled].into_iter().flatten();
    named
        .filter_map(|id| cluster.job(id))
        .find(|job| job.is_live())
        .or_else(|| o.marked_live().next())
}

/// A live job with the mark of a resource whose current attempt is another one: that one alone is left running.
fn stray<'o>(o: &'o Observed<'_>) -> Option<&'o JobSeen> {
    let run = o.status.live_run().map(|run| run.job_id);
    let submitted = o.status.submission().map(|intent| intent.job_id);
    run.or(submitted)?;
    o.marked_live()
        .find(|job| Some(job.id) != run && Some(job.id) != submitted)
}

/// Cancels what runs.
fn end(o: &Observed<'_>, job: &JobSeen) -> Plan {
    let mut status = o.status.clone();
    cancel::intend(o, &mut status, job.id, CancelPurpose::Delete);
    let failed = o
        .task
        .cancelled
        .as_ref()
        .filter(|(id, ..)| *id == job.id)
        .and_then(|(.., error)| error.clone());
    cancel::describe(o, &mut status, CancelPurpose::Delete, failed.as_ref());
    cancel::send(o, status, job, "delete/cancel")
}

/// No job of the resource is listed as live: is it proven that none runs, and that none can come?
fn nothing_left(o: &Observed<'_>) -> Plan {
    let listed = |id: JobId| o.up().and_then(|cluster| cluster.job(id)).is_some();
    let run = o.status.live_run().map(|run| run.job_id);
    let submitted = o.status.submission().map(|intent| intent.job_id);
    let cancelled = o.status.cancellation().map(|intent| intent.job_id);
    let named = || [run, submitted, cancelled].into_iter().flatten();
    if named().next().is_some() && named().all(listed) {
        // All have ended, and do not come back.
        return remove(o, "delete/release");
    }
    if let Some(intent) = o.status.submission().filter(|intent| !listed(intent.job_id)) {
        if let Some(SubmitOutcome::OtherJob(other)) = o.submit_outcome()
            && o.status.cancellation().is_none()
        {
            // The job list is looked through for what the status names.
            let mut status = o.status.clone();
            cancel::intend(o, &mut status, *other, CancelPurpose::Delete);
            cancel::describe(o, &mut status, CancelPurpose::Delete, None);
            return Plan::with("delete/other-job", status);
        }
        match quiet(o, intent) {
            Quiet::Yes => {}
            Quiet::InFlight => return Plan::keep("delete/in-flight", o.status),
            Quiet::Confirm => return start::confirm("delete/confirm-submission", o.status.clone()),
            Quiet::Until(until) => return blocked(o, until),
        }
    }
    if o.up().is_some_and(|cluster| cluster.confirmed) {
        return remove(o, "delete/release");
    }
    start::confirm("delete/confirm", o.status.clone())
}

/// A submission may still start a job until then.
fn blocked(o: &Observed<'_>, until: Timestamp) -> Plan {
    let message = format!(
        "a submission may still take effect; the resource goes when its job was seen and cancelled, or at {}",
        until.strftime("%H:%M:%SZ")
    );
    let mut status = o.status.clone();
    tell(
        o,
        &mut status,
        Reason::DeletionBlocked,
        message,
        ConditionStatus::Unknown,
    );
    let next = after(o.now, 6 * SUBMIT_GRACE).min(after(until, std::time::Duration::from_millis(1)));
    Plan::with("delete/submission-open", status)
        .want(Wants {
            attention: true,
            ..Wants::default()
        })
        .at(next)
}

/// Leaves the job running, and records that this was asked for.
fn orphan(o: &Observed<'_>, job_id: JobId) -> Plan {
    if o.task.released == Some(job_id) {
        return remove(o, "delete/orphan");
    }
    let mut status = o.status.clone();
    let message = "leaves the job running, as deletionPolicy.type: Orphan says".to_owned();
    let running = if o.up().is_some() {
        ConditionStatus::True
    } else {
        ConditionStatus::Unknown
    };
    tell(o, &mut status, Reason::Cancelled, message, running);
    let plan = Plan::with("delete/orphan-record", status);
    if o.task.running {
        plan
    } else {
        plan.then(Effect::Release(job_id))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        RetryWindow, StopAnswer, StopSeen,
        SubmitOutcome::{NotSent, Unknown},
        UnderWay,
        case::{Case, INSTALLATION, Reach, UID, effect, refusal, run, seen, told},
    };
    use super::*;
    use crate::{
        api::{
            job::{DeletionPolicy, DesiredState},
            status::RunOutcome,
        },
        flink::{JobState, UidHash},
    };

    const DOWN: Reach = Reach::Down(Reason::ClusterUnreachable);

    fn deleted(from: Case, kind: DeletionType) -> Case {
        let mut case = from;
        case.edit(|spec| {
            let kind = Some(kind);
            spec.deletion_policy = Some(DeletionPolicy { kind, timeout: None });
        });
        case.deleting = true;
        case
    }

    fn marked(attempt: u32) -> JobId {
        JobId::new(INSTALLATION, UidHash::of(UID), attempt)
    }

    /// The resource goes, once the absence of what is not listed is confirmed.
    #[track_caller]
    fn goes_when_confirmed(case: &mut Case) {
        assert!(case.settle().wants.confirm);
        case.confirmed = true;
        assert_eq!(effect(&case.still("delete/release")), "RemoveFinalizer");
    }

    /// The resource goes, and the user is told that its job may still run.
    #[track_caller]
    fn goes_with_a_warning(case: &Case) {
        let plan = case.still("delete/may-still-run");
        assert_eq!(effect(&plan), "RemoveFinalizer");
        assert_eq!(plan.notes.first().unwrap().reason, Reason::JobMayStillRun);
    }

    #[test]
    fn what_has_nothing_that_runs_goes_at_once_whether_the_cluster_answers_or_not() {
        for outcome in [
            RunOutcome::Finished,
            RunOutcome::Cancelled,
            RunOutcome::Lost,
            RunOutcome::Unknown,
        ] {
            let mut case = deleted(Case::ended(outcome), DeletionType::Cancel);
            for reach in [Reach::Up, Reach::NotPolled, DOWN] {
                case.reach = reach;
                assert_eq!(effect(&case.still("delete/release")), "RemoveFinalizer", "{outcome:?}");
            }
        }
        // Without our finalizer nothing was ever sent.
        assert_eq!(
            effect(&deleted(Case::new(), DeletionType::Cancel).still("delete/gone")),
            "-"
        );
    }

    #[test]
    fn a_running_job_is_cancelled_and_its_end_is_awaited() {
        let mut case = deleted(Case::running(), DeletionType::Cancel);
        case.persist("delete/cancel");
        assert_eq!(
            told(&case.status),
            "Deleting/Cancelled Ready=False Reconciling Running=True"
        );
        assert_eq!(case.still("delete/cancel").effect, Some(Effect::Cancel(case.id())));
        case.task.cancelled = Some((case.id(), case.now, None));
        case.list(JobState::Cancelling);
        assert_eq!(effect(&case.settle()), "-");
        let mut vanished = case.clone();
        case.list(JobState::Canceled);
        assert_eq!(effect(&case.still("delete/release")), "RemoveFinalizer");
        vanished.jobs.clear();
        goes_when_confirmed(&mut vanished);
    }

    #[test]
    fn an_orphan_is_recorded_in_its_session_before_it_is_released() {
        for reach in [Reach::Up, DOWN] {
            let mut case = deleted(Case::running(), DeletionType::Orphan);
            case.reach = reach;
            case.persist("delete/orphan-record");
            assert_eq!(
                case.still("delete/orphan-record").effect,
                Some(Effect::Release(case.id()))
            );
            case.task.running = true;
            assert_eq!(effect(&case.still("delete/orphan-record")), "-");
            case.task.running = false;
            case.task.released = Some(marked(77));
            assert_eq!(effect(&case.still("delete/orphan-record")), "Release", "of another job");
            case.task.released = Some(case.id());
            assert_eq!(effect(&case.still("delete/orphan")), "RemoveFinalizer");
        }
    }

    // A job that is not the current attempt is always cancelled: the resource leaves one job behind, not two.
    #[test]
    fn orphan_leaves_the_current_job_running_and_cancels_every_other() {
        let mut case = deleted(Case::running(), DeletionType::Orphan);
        let current = case.jobs[0].clone();
        case.jobs = vec![seen(marked(7), JobState::Running), current.clone()];
        case.settle();
        assert_eq!(case.still("delete/cancel").effect, Some(Effect::Cancel(marked(7))));
        case.jobs = vec![seen(marked(7), JobState::Canceled), current];
        assert_eq!(case.settle().effect, Some(Effect::Release(case.id())));
        // A submission under way is not left open because another job runs.
        let mut case = deleted(
            Case::submitted(Unknown(refusal(Reason::SubmissionTimeout))),
            DeletionType::Orphan,
        );
        case.jobs = vec![seen(marked(7), JobState::Running)];
        assert_eq!(case.settle().effect, Some(Effect::Cancel(marked(7))));
        case.jobs = vec![seen(marked(7), JobState::Canceled)];
        assert_eq!(case.settle().rule, "delete/submission-open");
    }

    #[test]
    fn the_end_of_one_job_says_nothing_of_another_that_is_being_cancelled() {
        let mut case = Case::running();
        case.jobs.push(seen(marked(7), JobState::Running));
        case.persist("stray");
        let mut case = deleted(case, DeletionType::Cancel);
        case.list(JobState::Finished);
        goes_when_confirmed(&mut case);
        case.confirmed = false;
        case.jobs.push(seen(marked(7), JobState::Canceled));
        assert_eq!(effect(&case.still("delete/release")), "RemoveFinalizer");
    }

    #[test]
    fn only_time_without_an_answer_counts_and_a_terminating_namespace_has_little() {
        let mut case = deleted(Case::running(), DeletionType::Cancel);
        case.reach = DOWN;
        assert!(case.settle().wants.namespace);
        assert_eq!(
            told(&case.status),
            "Deleting/DeletionBlocked Ready=False Reconciling Running=Unknown"
        );
        case.wait(299);
        case.reach = Reach::Up;
        assert_eq!(effect(&case.settle()), "Cancel");
        assert_eq!(case.status.intent.as_ref().unwrap().unanswered_since, None);
        case.reach = DOWN;
        case.settle();
        case.wait(299);
        assert_eq!(effect(&case.settle()), "-");
        case.wait(1);
        goes_with_a_warning(&case);
        case.wait(-240);
        assert_eq!(effect(&case.settle()), "-");
        case.namespace_terminating = true;
        goes_with_a_warning(&case);
        case.wait(-1);
        assert_eq!(effect(&case.settle()), "-");
    }

    #[test]
    fn a_cluster_that_does_not_answer_is_waited_for_while_a_submission_is_open() {
        let mut case = deleted(Case::submitting(), DeletionType::Cancel);
        case.reach = DOWN;
        case.settle();
        case.wait(689);
        assert_eq!(effect(&case.settle()), "-");
        case.wait(1);
        goes_with_a_warning(&case);
        case.wait(-600);
        case.namespace_terminating = true;
        goes_with_a_warning(&case);
        // Orphan has a job to leave only when there is one.
        let mut case = deleted(Case::submitting(), DeletionType::Orphan);
        case.reach = DOWN;
        assert_eq!(effect(&case.settle()), "-");
    }

    #[test]
    fn a_submission_that_may_take_effect_keeps_the_resource() {
        for window in [RetryWindow::Unlimited, RetryWindow::Closed("x")] {
            let mut case = deleted(
                Case::submitted(Unknown(refusal(Reason::SubmissionTimeout))),
                DeletionType::Cancel,
            );
            case.window = window;
            assert_eq!(case.settle().rule, "delete/submission-open");
            assert_eq!(
                told(&case.status),
                "Deleting/DeletionBlocked Ready=False Reconciling Running=Unknown"
            );
            case.wait(690);
            assert_eq!(case.settle().rule, "delete/submission-open");
            let mut late = case.clone();
            case.wait(1);
            goes_when_confirmed(&mut case);
            late.list(JobState::Running);
            assert_eq!(late.settle().effect, Some(Effect::Cancel(late.id())));
        }
        let mut case = deleted(Case::submitting(), DeletionType::Cancel);
        case.task.running = true;
        assert_eq!(effect(&case.still("delete/in-flight")), "-");
    }

    #[test]
    fn a_submission_that_started_nothing_keeps_nothing() {
        let mut fenced = Case::submitted(Unknown(refusal(Reason::SubmissionTimeout)));
        fenced.replace();
        let mut unsent = Case::submitting();
        unsent.task.unsent = Some((unsent.id(), 1));
        let refused = Case::submitted(NotSent(refusal(Reason::ClusterUnreachable)));
        for case in [fenced, unsent, refused] {
            goes_when_confirmed(&mut deleted(case, DeletionType::Cancel));
        }
        let mut case = deleted(
            Case::submitted(Unknown(refusal(Reason::SubmissionTimeout))),
            DeletionType::Cancel,
        );
        case.job_manager = None;
        assert!(case.still("delete/confirm-submission").wants.confirm);
    }

    #[test]
    fn a_job_that_was_started_under_another_id_is_cancelled_too() {
        let other = JobId([0xee; 16]);
        let mut case = deleted(Case::submitted(SubmitOutcome::OtherJob(other)), DeletionType::Cancel);
        case.persist("delete/other-job");
        case.jobs = vec![seen(other, JobState::Running)];
        assert_eq!(case.settle().effect, Some(Effect::Cancel(other)));
        case.jobs.clear();
        goes_when_confirmed(&mut case);
    }

    #[test]
    fn only_a_session_that_is_proven_absent_releases_its_jobs() {
        let mut case = deleted(Case::running(), DeletionType::Cancel);
        case.reach = Reach::NotPolled;
        assert_eq!(effect(&case.still("delete/not-polled")), "-");
        case.session = Session::Absent { proven: false };
        let plan = case.still("delete/prove");
        assert!(plan.wants.session_proof && plan.effect.is_none());
        case.session = Session::Absent { proven: true };
        goes_with_a_warning(&case);
    }

    #[test]
    fn a_savepoint_that_cannot_be_taken_keeps_the_job_and_the_resource() {
        let mut case = deleted(Case::running(), DeletionType::Savepoint);
        case.savepoint_directory = None;
        let plan = case.settle();
        assert_eq!((plan.rule, effect(&plan)), ("end/delete-blocked", "-"));
        assert_eq!(
            told(&case.status),
            "Deleting/DeletionBlocked Ready=False Reconciling Running=True"
        );
        case.namespace_terminating = true;
        goes_with_a_warning(&case);
    }

    #[test]
    fn a_lost_record_is_no_proof_that_nothing_runs() {
        let mut case = deleted(Case::new(), DeletionType::Cancel);
        case.finalizer = true;
        let mut running = case.clone();
        running.jobs = vec![seen(marked(3), JobState::Running)];
        assert_eq!(running.settle().effect, Some(Effect::Cancel(marked(3))));
        goes_when_confirmed(&mut case);
        // An older run that came back runs as well.
        let mut case = deleted(Case::ended(RunOutcome::Lost), DeletionType::Cancel);
        case.status.runs.push(run(marked(3), Some(RunOutcome::Lost)));
        case.jobs = vec![seen(marked(3), JobState::Running)];
        assert_eq!(case.settle().effect, Some(Effect::Cancel(marked(3))));
    }

    /// A job that is being stopped with a savepoint, of a resource that is deleted with one.
    fn stopping() -> Case {
        let mut case = deleted(Case::running(), DeletionType::Savepoint);
        case.persist("stop/intend");
        case
    }

    #[test]
    fn a_job_that_hangs_after_the_savepoint_of_its_deletion_is_cancelled() {
        let mut case = stopping();
        let stop = case.status.stop().unwrap().clone();
        let location = format!("{}/savepoint-1", stop.directory);
        case.task.stop_unsent = None;
        case.task.stop_seen = Some((stop.trigger_id, case.now, StopSeen::Taken(location)));
        case.persist("stop/taken");
        let keep = case.still("keep/create");
        case.turn(&keep);
        case.wait(31);
        case.persist("stop/hangs");
        assert_eq!(effect(&case.still("delete/cancel")), "Cancel");
        // Nor is it put off for another job with the mark: one is cancelled after the other.
        let hanging = case.id();
        case.jobs
            .push(seen(JobId::new(INSTALLATION, UidHash::of(UID), 9), JobState::Running));
        for policy in [DeletionType::Savepoint, DeletionType::Orphan] {
            case.spec.deletion_policy.as_mut().unwrap().kind = Some(policy);
            let plan = case.still("delete/cancel");
            assert!(
                matches!(plan.effect, Some(Effect::Cancel(id)) if id == hanging),
                "{policy:?}"
            );
        }
    }

    /// Rule 16, in a namespace that is being deleted: nobody waits for long, and what was to be kept is not cancelled.
    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn in_a_namespace_that_goes_away_a_job_is_stopped_in_time_or_left_running() {
        type Known = fn(&mut Case);
        let rows: Vec<(&str, Known, &str)> = vec![
            ("it can be stopped", |_| {}, "stop/intend -"),
            (
                "without a directory",
                |case| case.savepoint_directory = None,
                "delete/may-still-run RemoveFinalizer",
            ),
            (
                "the job restarts",
                |case| case.list(JobState::Restarting),
                "delete/may-still-run RemoveFinalizer",
            ),
            (
                "a Savepoint is being taken",
                |case| case.savepoint_under_way = Some(UnderWay::Asked),
                "delete/may-still-run RemoveFinalizer",
            ),
            ("the stop is decided on", intend, "stop/send Stop"),
            (
                "the stop is under way",
                |case| {
                    intend(case);
                    case.wait(59);
                    case.hear(StopSeen::InProgress);
                },
                "stop/waiting -",
            ),
            (
                "the stop takes too long",
                |case| {
                    intend(case);
                    case.wait(60);
                    case.hear(StopSeen::InProgress);
                },
                "delete/may-still-run RemoveFinalizer",
            ),
            (
                "the stop has failed",
                |case| {
                    intend(case);
                    case.hear(StopSeen::Failed("no".to_owned()));
                    case.confirmed = true;
                    case.persist("stop/failed");
                },
                "delete/may-still-run RemoveFinalizer",
            ),
            (
                "the savepoint is complete, and the job is about to end",
                |case| {
                    taken(case);
                    case.wait(29);
                },
                "stop/ending -",
            ),
            (
                "the savepoint is complete, and the job hangs",
                |case| {
                    taken(case);
                    case.wait(61);
                    case.persist("stop/hangs");
                },
                "delete/cancel Cancel",
            ),
            (
                "the savepoint is complete, and the job has ended",
                |case| {
                    taken(case);
                    case.list(JobState::Finished);
                    case.persist("stop/closed");
                },
                "delete/release RemoveFinalizer",
            ),
            ("Cancel", |case| case.spec.deletion_policy = None, "delete/cancel -"),
            (
                "Cancel, the stop is under way",
                |case| {
                    intend(case);
                    case.spec.deletion_policy = None;
                    case.persist("delete/cancel");
                },
                "delete/cancel Cancel",
            ),
            (
                "Orphan",
                |case| case.spec.deletion_policy.as_mut().unwrap().kind = Some(DeletionType::Orphan),
                "delete/orphan-record -",
            ),
            (
                "the cluster does not answer",
                |case| {
                    case.reach = DOWN;
                    case.settle();
                    case.wait(59);
                },
                "delete/unanswered -",
            ),
            (
                "the cluster has not answered for a minute",
                |case| {
                    case.reach = DOWN;
                    case.settle();
                    case.wait(60);
                },
                "delete/may-still-run RemoveFinalizer",
            ),
        ];
        for (row, known, expected) in rows {
            let mut case = deleted(Case::running(), DeletionType::Savepoint);
            case.namespace_terminating = true;
            known(&mut case);
            let plan = case.decide();
            // An effect is for a status that stands.
            let act = if plan.status == case.status { effect(&plan) } else { "-" };
            assert_eq!(format!("{} {act}", plan.rule), expected, "{row}");
            let warns = plan.notes.iter().any(|note| note.reason == Reason::JobMayStillRun);
            assert_eq!(warns, plan.rule == "delete/may-still-run", "{row}");
        }
    }

    fn intend(case: &mut Case) {
        case.persist("stop/intend");
    }

    fn taken(case: &mut Case) {
        intend(case);
        let location = case.location();
        case.hear(StopSeen::Taken(location));
        case.persist("stop/taken");
    }

    /// A cluster that answers its polls and takes no request keeps the namespace no longer than one that does not answer.
    #[test]
    fn a_stop_that_never_reaches_flink_does_not_keep_the_namespace() {
        let mut case = deleted(Case::running(), DeletionType::Savepoint);
        case.namespace_terminating = true;
        for _ in 0..120 {
            let plan = case.settle();
            match &plan.effect {
                Some(Effect::Stop(stop)) => {
                    let no = refusal(Reason::ClusterUnreachable);
                    case.task.stop_unsent = None;
                    case.task.stop_sent = Some((stop.trigger_id, case.now, StopAnswer::NotSent(no)));
                }
                Some(effect) => {
                    assert_eq!(*effect, Effect::RemoveFinalizer);
                    assert!(plan.notes.iter().any(|note| note.reason == Reason::JobMayStillRun));
                    return;
                }
                None => {}
            }
            case.wait(1);
        }
        panic!("it is kept: {:#?}", case.decide());
    }

    #[test]
    fn a_cancellation_that_was_decided_on_gives_way_to_the_savepoint_of_the_deletion() {
        let mut case = Case::running();
        case.edit(|spec| spec.state = DesiredState::Cancelled);
        case.persist("end/cancel");
        let mut case = deleted(case, DeletionType::Savepoint);
        case.persist("stop/intend");
        assert_eq!(case.status.cancellation(), None);
        assert_eq!(effect(&case.still("stop/send")), "Stop");
    }

    #[test]
    fn where_the_savepoint_of_an_open_stop_would_be_is_told_before_the_record_goes() {
        let mut case = stopping();
        case.edit(|spec| spec.deletion_policy = None);
        case.task.stop_unsent = None;
        case.list(JobState::Finished);
        let plan = case.still("delete/release");
        assert_eq!(effect(&plan), "RemoveFinalizer");
        let directory = &case.status.stop().unwrap().directory;
        assert!(
            plan.notes.iter().any(|note| note.message.contains(directory)),
            "{:?}",
            plan.notes
        );
    }
}
