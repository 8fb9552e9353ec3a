//! A job lives: follow it, and bring it where the spec wants it.

use super::{
    Effect, Input, JobSeen, Observed, Plan, Refusal, SUBMIT_GRACE, Wants,
    backoff::after,
    change::{self, Change},
    end, idle, ledger, ready, restore, scheduled, start,
    verdict::{Standing, Verdict},
};
use crate::{
    api::{
        JobStatus, Phase, Reason, condition,
        intent::CancelPurpose,
        job::DesiredState,
        status::{Failure, PendingChange, RunOutcome},
    },
    flink::JobState,
};

/// The status knows a live run.
pub(super) fn rule(o: &Observed<'_>) -> Option<Plan> {
    o.status.live_run().is_some().then(|| follow(o, o.status.clone()))
}

/// Follows the live run of `status`, which may be ahead of the status that was observed.
pub(super) fn follow(o: &Observed<'_>, mut status: JobStatus) -> Plan {
    let Some(job_id) = status.live_run().map(|run| run.job_id) else {
        return Plan::with("follow/none", status);
    };
    let Some(cluster) = o.up() else {
        return unreachable(o, status, "follow/unreachable");
    };
    let Some(job) = cluster.job(job_id) else {
        if cluster.confirmed {
            return lost(o, status);
        }
        let message = "the job is not in the cluster's job list; one more look tells whether it is lost";
        Verdict::new(Phase::Unknown, Standing::Unknown, Reason::JobLost, message).write_if_changed(o, &mut status);
        return start::confirm("follow/confirm", status);
    };
    facts(o, &mut status, job);
    if job.is_live() {
        alive(o, status, job)
    } else {
        ended(o, status, job)
    }
}

/// What is known of the job itself.
fn facts(o: &Observed<'_>, status: &mut JobStatus, job: &JobSeen) {
    status.flink_state = Some(job.state.to_string());
    status.start_time = job.start_time;
    status.end_time = job.end_time;
    let Some(cluster) = o.up() else { return };
    let url = cluster.url.trim_end_matches('/');
    status.job_manager_address = Some(url.to_owned());
    status.web_ui_url = Some(format!("{url}/#/job/running/{}/overview", job.id));
    if let Some(run) = status.runs.first_mut() {
        run.start_time = job.start_time;
        run.end_time = job.end_time;
        if run.job_manager.is_none() {
            run.job_manager = cluster.job_manager.map(str::to_owned);
        }
    }
}

/// The cluster does not answer: the last facts stand, nothing is concluded.
pub(super) fn unreachable(o: &Observed<'_>, mut status: JobStatus, rule: &'static str) -> Plan {
    if o.not_polled() {
        // A moment later more is known: nothing is written before.
        return Plan::keep(rule, o.status);
    }
    let refusal = o.down();
    let known = match status.flink_state.as_deref() {
        Some(state) => format!("; the job was {state} when it was last seen"),
        None => String::new(),
    };
    let message = format!("{}{known}", refusal.message);
    Verdict::new(Phase::Unknown, Standing::Unknown, refusal.reason, message).write(o, &mut status);
    Plan::with(rule, status)
}

/// The cluster answers, was identified, and does not know the job.
pub(super) fn lost(o: &Observed<'_>, status: JobStatus) -> Plan {
    let now_there = o.up().and_then(|cluster| cluster.job_manager);
    let ran_on = status.live_run().and_then(|run| run.job_manager.as_deref());
    let replaced = matches!((ran_on, now_there), (Some(before), Some(now)) if before != now);
    let (reason, why) = if replaced {
        (Reason::JobLost, "the JobManager was replaced and did not recover it")
    } else {
        // It may have ended with success: what it was must not be run again.
        let why = "the JobManager has forgotten it, as it does some time after a job's end (jobstore.expiration-time)";
        (Reason::ResultUnknown, why)
    };
    let message = format!("the cluster no longer knows the job: {why}. Its result is not known here");
    lost_as(o, status, reason, &message)
}

/// Ends the live run as lost, for the reason given.
pub(super) fn lost_as(o: &Observed<'_>, mut status: JobStatus, reason: Reason, message: &str) -> Plan {
    close(&mut status, RunOutcome::Lost);
    ledger::last_state(&mut status);
    start::fail(&mut status, o, reason, message);
    idle::idle(o, status)
}

/// Ends the live run.
fn close(status: &mut JobStatus, outcome: RunOutcome) {
    if let Some(run) = status.runs.first_mut() {
        run.outcome = Some(outcome);
    }
}

/// Flink says that the job has ended.
fn ended(o: &Observed<'_>, mut status: JobStatus, job: &JobSeen) -> Plan {
    match job.state {
        JobState::Finished => close(&mut status, RunOutcome::Finished),
        JobState::Canceled => close(&mut status, RunOutcome::Canceled),
        JobState::Failed => {
            let cause = match &o.failure_cause {
                Input::Ready(cause) => Some(condition::bounded(cause)),
                Input::Pending => return ask_why(o, status, job),
                Input::Refused(_) | Input::Retrying(_) => None,
            };
            close(&mut status, RunOutcome::Failed);
            let missing = cause.as_ref().and_then(|cause| restore::missing(&status, cause));
            let (reason, message) = match (&missing, &cause) {
                (Some(missing), _) => {
                    let message = format!("the job could not be restored: {missing}. {}", restore::CHOOSE);
                    (Reason::StateNotFound, message)
                }
                (None, Some(cause)) => (Reason::JobFailed, format!("the job failed: {cause}")),
                (None, None) => {
                    let message = "the job failed, and Flink did not say why; look into the JobManager's log";
                    (Reason::JobFailed, message.to_owned())
                }
            };
            status.failure = Some(Failure {
                reason: reason.to_string(),
                message: condition::bounded(&message),
                time: job.end_time,
                root_cause: cause,
            });
        }
        JobState::Initializing
        | JobState::Created
        | JobState::Running
        | JobState::Failing
        | JobState::Cancelling
        | JobState::Restarting
        | JobState::Suspended
        | JobState::Reconciling
        | JobState::Unknown => {}
    }
    if let Some(outcome) = status.last_outcome() {
        ledger::forget_deleted(&mut status, outcome, job.id);
        ledger::last_state(&mut status);
    }
    idle::idle(o, status)
}

/// Asks why the job failed: its end and the cause are told in one write. A job that is not on record yet is written down
/// first.
fn ask_why(o: &Observed<'_>, mut status: JobStatus, job: &JobSeen) -> Plan {
    let live = o.status.live_run().map(|run| run.job_id);
    let submitted = o.status.submission().map(|intent| intent.job_id);
    if [live, submitted].contains(&Some(job.id)) {
        status = o.status.clone();
    }
    Verdict::new(
        Phase::Unknown,
        Standing::Unknown,
        Reason::JobFailed,
        "the job failed; Flink is asked why",
    )
    .write_if_changed(o, &mut status);
    Plan::with("follow/failure-cause", status).want(Wants {
        failure_cause: true,
        attention: true,
        ..Wants::default()
    })
}

/// The job lives: bring it where the spec wants it.
fn alive(o: &Observed<'_>, mut status: JobStatus, job: &JobSeen) -> Plan {
    if !o.meta.finalizer {
        // Adopted, or someone took the finalizer off: it comes before anything that changes the cluster.
        let recorded = o.status.live_run().is_some_and(|run| run.job_id == job.id);
        if recorded {
            return Plan::keep("follow/finalizer", o.status).then(Effect::AddFinalizer);
        }
        state_of(job).write(o, &mut status);
        return Plan::with("follow/taken-over", status);
    }
    let unconfirmed = job.state == JobState::Running && ledger::establish(o, &mut status, job.id);
    let mut plan = to_desired_state(o, status, job);
    plan.wants.state |= unconfirmed;
    plan
}

fn to_desired_state(o: &Observed<'_>, status: JobStatus, job: &JobSeen) -> Plan {
    match o.spec.state {
        DesiredState::Suspended => end::by_mode(o, status, job, CancelPurpose::Suspend),
        DesiredState::Cancelled => end::cancel(o, status, job, CancelPurpose::Cancel, false),
        DesiredState::Draft => {
            let message = "a job that was started cannot go back to Draft; use Suspended or Cancelled";
            refuse(o, status, job, &Refusal::new(Reason::InvalidSpec, message))
        }
        DesiredState::Running => run_on(o, status, job),
    }
}

/// The new spec cannot be accepted: the job goes on with the last accepted one.
pub(super) fn refuse(o: &Observed<'_>, mut status: JobStatus, job: &JobSeen, refusal: &Refusal) -> Plan {
    let verdict = state_of(job);
    let message = format!(
        "{} (the job goes on with the spec that was accepted last)",
        refusal.message
    );
    let mut refused = Verdict::stalled(verdict.phase, refusal.reason, message).refusing(Some(refusal));
    refused.running = verdict.running;
    refused.write(o, &mut status);
    status.pending_change = Some(PendingChange::Restart);
    Plan::with("follow/refused", status)
}

/// The job is to run: with this spec?
fn run_on(o: &Observed<'_>, mut status: JobStatus, job: &JobSeen) -> Plan {
    if let Some(refusal) = change::refused(o) {
        return refuse(o, status, job, &refusal);
    }
    match change::change(o.spec, status.accepted_spec.as_deref()) {
        Change::None => steady(o, status, job),
        Change::Live => {
            status.accepted_spec = Some(change::accept(o.spec));
            steady(o, status, job)
        }
        Change::Restart => upgrade(o, status, job),
    }
}

/// Nothing to change.
fn steady(o: &Observed<'_>, mut status: JobStatus, job: &JobSeen) -> Plan {
    status.pending_change = Some(PendingChange::None);
    let running = job.state == JobState::Running;
    if let Some(seen) = o.state_of(job.id).filter(|_| running) {
        ledger::take_over(&mut status, seen);
    }
    if let Some(point) = o.newest_savepoint.as_ref().filter(|_| running) {
        ledger::take_over_savepoint(&mut status, point);
    }
    match ledger::not_restored(&status).filter(|_| running) {
        None => state_of(job),
        Some(from) => {
            let message = format!(
                "the job runs, but Flink does not say that it was restored from {}; look at its checkpoints before you rely on \
                 its state. {}",
                from.path,
                restore::CHOOSE
            );
            Verdict::stalled(Phase::Running, Reason::StateUnknown, message)
        }
    }
    .write(o, &mut status);
    let wants = Wants {
        attention: !running,
        ..Wants::default()
    };
    let plan = Plan::with("follow/steady", status).want(wants);
    if !running {
        return plan;
    }
    let plan = match ledger::read_next(o, &plan.status, job.id) {
        None => plan,
        Some(time) if time <= o.now => plan.want(Wants { state: true, ..wants }),
        Some(time) => plan.at(time),
    };
    scheduled::see_to(o, plan)
}

/// The spec changed in a way that needs a restart: everything is made ready while the old job still runs.
fn upgrade(o: &Observed<'_>, mut status: JobStatus, job: &JobSeen) -> Plan {
    let own_slots = status.parallelism.unwrap_or(1);
    let (refusal, wants) = match ready::prepared(o, own_slots) {
        ready::Readiness::Ready { .. } => match forced(o, &status) {
            Some(restore::Choice::Refused(refusal)) => return refuse(o, status, job, &refusal),
            Some(restore::Choice::Waiting { refusal, wants }) => (refusal, wants),
            Some(restore::Choice::Start(..)) | None => return end::by_mode(o, status, job, CancelPurpose::Upgrade),
        },
        ready::Readiness::Refused(refusal) => {
            // Asking again is what notices that a jar, a ConfigMap or a setting is there now.
            let wants = Wants {
                program: true,
                jar: true,
                ..Wants::default()
            };
            return refuse(o, status, job, &refusal).want(wants);
        }
        ready::Readiness::Waiting { refusal, wants } => (refusal, wants),
    };
    let told_before = status.phase == Some(Phase::Restarting)
        && status.pending_change == Some(PendingChange::Restart)
        && status.observed_generation == o.meta.generation;
    status.pending_change = Some(PendingChange::Restart);
    let verdict = match refusal {
        Some(refusal) => Some(Verdict::reconciling(Phase::Restarting, refusal.reason, refusal.message)),
        // What was told before says more than this.
        None if told_before => None,
        None => {
            let message = "makes the new spec ready while the job runs on";
            Some(Verdict::reconciling(Phase::Restarting, Reason::Upgrading, message))
        }
    };
    if let Some(mut verdict) = verdict {
        verdict.running = state_of(job).running;
        verdict.write(o, &mut status);
    }
    Plan::with("follow/upgrade-waits", status)
        .want(wants)
        .at(after(o.now, SUBMIT_GRACE))
}

/// What a start that `restore.nonce` forces would take: it must be there before the job is touched.
fn forced(o: &Observed<'_>, status: &JobStatus) -> Option<restore::Choice> {
    let accepted = status.accepted_spec.as_deref()?;
    change::forces_restore(o.spec, accepted).then(|| restore::choose(o, status))
}

/// What people read of a live job.
pub(super) fn state_of(job: &JobSeen) -> Verdict {
    match job.state {
        JobState::Running => Verdict::reached(Phase::Running, Reason::Running, "the job runs"),
        JobState::Initializing | JobState::Created => Verdict::reconciling(
            Phase::Submitting,
            Reason::Submitting,
            "Flink has accepted the job and starts it",
        ),
        JobState::Failing | JobState::Restarting => Verdict::reconciling(
            Phase::Restarting,
            Reason::Restarting,
            "Flink restarts the job after a failure",
        ),
        JobState::Suspended | JobState::Reconciling => Verdict::reconciling(
            Phase::Restarting,
            Reason::Restarting,
            "the job is being recovered by a JobManager",
        ),
        JobState::Cancelling => {
            Verdict::reconciling(Phase::Cancelling, Reason::Cancelled, "someone cancels the job in Flink")
        }
        JobState::Unknown | JobState::Failed | JobState::Canceled | JobState::Finished => Verdict::new(
            Phase::Unknown,
            Standing::Unknown,
            Reason::StateUnknown,
            "Flink reports a job state that this version does not know; upgrade the operator",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Session, Slots,
        case::{Case, Reach, effect, refusal, told},
    };
    use super::*;
    use crate::api::{
        ConditionType,
        job::{OnLost, SavepointPolicy, UpgradeMode},
        state::{RestorePoint, StateKind},
    };

    #[test]
    fn every_state_of_flink_has_a_phase() {
        let rows = [
            (
                JobState::Initializing,
                "Submitting/Submitting Ready=False Reconciling Running=False",
            ),
            (
                JobState::Created,
                "Submitting/Submitting Ready=False Reconciling Running=False",
            ),
            (JobState::Running, "Running/Running Ready=True Running=True"),
            (
                JobState::Failing,
                "Restarting/Restarting Ready=False Reconciling Running=False",
            ),
            (
                JobState::Restarting,
                "Restarting/Restarting Ready=False Reconciling Running=False",
            ),
            (
                JobState::Suspended,
                "Restarting/Restarting Ready=False Reconciling Running=False",
            ),
            (
                JobState::Reconciling,
                "Restarting/Restarting Ready=False Reconciling Running=False",
            ),
            (
                JobState::Cancelling,
                "Cancelling/Cancelled Ready=False Reconciling Running=False",
            ),
            (
                JobState::Unknown,
                "Unknown/StateUnknown Ready=Unknown Reconciling Running=Unknown",
            ),
        ];
        for (state, expected) in rows {
            let mut case = Case::running();
            case.list(state);
            let plan = case.settle();
            assert_eq!(told(&plan.status), expected);
            assert_eq!(plan.status.flink_state.as_deref(), Some(state.as_str()));
            assert_eq!(plan.wants.attention, state != JobState::Running, "{state}");
            assert_eq!(
                (effect(&plan), plan.next),
                ("-", super::super::Next::OnChange),
                "{state}"
            );
        }
    }

    #[test]
    fn the_facts_are_told() {
        let mut case = Case::running();
        let status = case.settle().status;
        let url = format!("http://flink:8081/#/job/running/{}/overview", case.id());
        assert_eq!(status.web_ui_url, Some(url));
        assert_eq!(status.job_manager_address.as_deref(), Some("http://flink:8081"));
        assert_eq!((status.attempt, status.parallelism), (Some(1), Some(2)));
        assert!(status.start_time.is_some() && status.end_time.is_none());
        assert_eq!(status.runs[0].job_manager.as_deref(), Some(super::super::case::P1));
        case.list(JobState::Finished);
        let status = case.settle().status;
        assert!(status.end_time.is_some() && status.runs[0].end_time.is_some());
    }

    fn ready(case: &Case) -> String {
        let ready = condition::find(&case.status.conditions, ConditionType::Ready);
        ready.unwrap().message.clone()
    }

    #[test]
    fn a_job_that_is_not_listed_is_lost_only_when_that_is_confirmed() {
        let mut case = Case::running();
        case.jobs.clear();
        assert!(case.still("follow/confirm").wants.confirm);
        case.confirmed = true;
        case.replace();
        case.persist("idle/rest");
        assert_eq!(told(&case.status), "Lost/JobLost Ready=False Stalled Running=False");
        let message = ready(&case);
        assert!(
            message.contains("replaced") && message.contains("restartNonce"),
            "{message}"
        );
    }

    #[test]
    fn a_lost_job_says_what_another_start_would_take() {
        let says = |mode, latest: Option<RestorePoint>| {
            let mut case = Case::running();
            case.edit(|spec| {
                spec.upgrade_mode = mode;
                spec.restart_policy.get_or_insert_default().on_lost = Some(OnLost::Fail);
            });
            case.settle();
            case.status.state_mut().latest = latest;
            case.jobs.clear();
            case.confirmed = true;
            case.replace();
            case.persist("idle/rest");
            ready(&case)
        };
        let point = |gone| RestorePoint {
            kind: StateKind::Checkpoint,
            path: "s3://b/chk-1".to_owned(),
            job_id: None,
            time: None,
            savepoint_ref: None,
            gone,
        };
        let empty = says(UpgradeMode::Savepoint, None);
        assert!(
            empty.contains("no state of it is on record") && empty.contains("spec.restore.nonce"),
            "{empty}"
        );
        let kept = says(UpgradeMode::LastState, Some(point(false)));
        assert!(
            kept.ends_with("to go on from its newest state on record, change spec.restartNonce"),
            "{kept}"
        );
        let gone = says(UpgradeMode::LastState, Some(point(true)));
        assert!(gone.contains("is gone") && !gone.contains("restartNonce"), "{gone}");
        let stateless = says(UpgradeMode::Stateless, None);
        assert!(
            stateless.ends_with("to start it again, change spec.restartNonce"),
            "{stateless}"
        );
    }

    #[test]
    fn what_does_not_answer_is_not_gone() {
        let mut case = Case::running();
        case.reach = Reach::NotPolled;
        case.still("follow/unreachable");
        case.reach = Reach::Down(Reason::ClusterUnreachable);
        case.wait(86400);
        let status = case.settle().status;
        assert_eq!(
            status.flink_state.as_deref(),
            Some("RUNNING"),
            "the last known state stays"
        );
        assert!(status.live_run().is_some());
        // Nor is the job of a session that someone deleted.
        case.session = Session::Absent { proven: true };
        let status = case.settle().status;
        let ready = condition::find(&status.conditions, ConditionType::Ready).unwrap();
        assert!(
            status.live_run().is_some() && ready.message.contains("may still run"),
            "{}",
            ready.message
        );
    }

    #[test]
    fn the_end_and_its_cause_are_told_in_one_write() {
        let mut case = Case::running();
        case.list(JobState::Failed);
        case.failure_cause = Input::Pending;
        assert!(case.still("follow/failure-cause").wants.failure_cause);
        case.failure_cause = Input::Ready("java.lang.IllegalStateException: no".to_owned());
        let status = case.settle().status;
        let failure = status.failure.unwrap();
        assert_eq!(
            failure.root_cause.as_deref(),
            Some("java.lang.IllegalStateException: no")
        );
        assert!(failure.message.contains("IllegalStateException"));
        // Also for one that failed before it was first seen.
        let mut case = Case::submitting();
        case.list(JobState::Failed);
        case.failure_cause = Input::Pending;
        assert!(case.still("submit/seen").wants.failure_cause);
        // And for one that is taken over: it goes on record first.
        let mut case = Case::submitting();
        case.list(JobState::Failed);
        case.status = JobStatus::default();
        case.failure_cause = Input::Pending;
        case.persist("lost-status/adopt");
        assert!(case.still("follow/failure-cause").wants.failure_cause);
    }

    #[test]
    fn the_finalizer_comes_back_before_anything_else() {
        let mut case = Case::running();
        case.finalizer = false;
        case.edit(|spec| spec.state = DesiredState::Cancelled);
        assert_eq!(effect(&case.still("follow/finalizer")), "AddFinalizer");
    }

    #[test]
    fn promises_that_cannot_be_kept_are_refused_while_the_job_runs() {
        let edits: [fn(&mut Case); 1] = [|case| {
            let schedule = Some("0 0 30 2 *".to_owned());
            case.edit(|spec| {
                spec.savepoint_policy = Some(SavepointPolicy {
                    schedule,
                    ..SavepointPolicy::default()
                });
            });
        }];
        for edit in edits {
            let mut case = Case::running();
            edit(&mut case);
            case.settle();
            assert_eq!(
                told(&case.status),
                "Running/InvalidSpec Ready=False Stalled Running=True"
            );
            assert_eq!(case.status.accepted_spec, Some(change::accept(&Case::new().spec)));
        }
    }

    #[test]
    fn a_live_edit_is_taken_over_without_a_restart() {
        let mut case = Case::running();
        case.edit(|spec| spec.submit_timeout = Some(crate::api::GoDuration::from_secs(90)));
        let plan = case.persist("follow/steady");
        assert_eq!(
            (told(&plan.status).as_str(), plan.status.observed_generation),
            ("Running/Running Ready=True Running=True", 2)
        );
        assert_eq!(
            plan.status.accepted_spec.unwrap().submit_timeout,
            case.spec.submit_timeout
        );
        case.still("follow/steady");
    }

    #[test]
    fn an_upgrade_makes_everything_ready_while_the_old_job_runs() {
        let mut case = Case::running();
        case.edit(|spec| spec.job.args.clear());
        case.jar = Input::Pending;
        let plan = case.persist("follow/upgrade-waits");
        assert_eq!(
            told(&plan.status),
            "Restarting/Upgrading Ready=False Reconciling Running=True"
        );
        assert!(plan.wants.jar && plan.wants.program && !plan.wants.permit);
        // What was told stays while it is tried again: no write for each try.
        case.jar = Input::Retrying(refusal(Reason::ArtifactNotFound));
        case.persist("follow/upgrade-waits");
        case.jar = Input::Pending;
        case.still("follow/upgrade-waits");
        // Its own slots count as free.
        case.jar = Case::new().jar;
        case.slots = Slots::Free(0);
        let plan = case.persist("end/cancel");
        assert_eq!(plan.status.cancellation().unwrap().purpose, CancelPurpose::Upgrade);
        assert_eq!(effect(&case.decide()), "Cancel");
    }

    #[test]
    fn a_refused_jar_is_asked_for_again() {
        let mut case = Case::running();
        case.edit(|spec| spec.job.args.clear());
        case.jar = Input::Refused(refusal(Reason::ArtifactForbidden));
        let plan = case.settle();
        assert_eq!(
            told(&plan.status),
            "Running/ArtifactForbidden Ready=False Stalled Running=True"
        );
        assert!(plan.wants.jar);
    }
}
