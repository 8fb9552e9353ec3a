//! A job lives: follow it, and bring it where the spec wants it.

use super::{
    ClusterView, Input, JobSeen, Observed, Plan, Refusal, Session, Wants, cancel,
    change::{self, Change},
    ready, start,
    verdict::{Standing, Verdict},
};
use crate::{
    api::{
        JobStatus, Phase, Reason,
        job::{DesiredState, UpgradeMode},
        status::{CancelPurpose, Failure, PendingChange, RunOutcome},
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
        return if cluster.confirmed {
            lost(o, status)
        } else {
            start::confirm("follow/confirm", status)
        };
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
    if let Some(cluster) = o.up() {
        let url = cluster.url.trim_end_matches('/');
        status.job_manager_address = Some(url.to_owned());
        status.web_ui_url = Some(format!("{url}/#/job/running/{}/overview", job.id));
        let job_manager = cluster.job_manager.map(str::to_owned);
        if let Some(run) = status.runs.first_mut() {
            run.start_time = job.start_time;
            run.end_time = job.end_time;
            if run.job_manager.is_none() {
                run.job_manager = job_manager;
            }
        }
    }
}

/// The cluster does not answer: the last facts stand, nothing is concluded.
pub(super) fn unreachable(o: &Observed<'_>, mut status: JobStatus, rule: &'static str) -> Plan {
    if matches!(
        (&o.cluster, o.session),
        (ClusterView::NotPolled, Session::Present { .. })
    ) {
        return Plan::with(rule, status);
    }
    let refusal = o.down();
    let known = match status.flink_state.as_deref() {
        Some(state) => format!("; the job was {state} when it was last seen"),
        None => String::new(),
    };
    let message = format!("{}{known}", refusal.message);
    Verdict::new(Phase::Unknown, Standing::Unknown, refusal.reason, message).write(o, &mut status);
    let absent = matches!(o.session, Session::Absent { .. });
    Plan::with(rule, status).want(Wants {
        session_proof: absent,
        ..Wants::default()
    })
}

/// The cluster answers, was identified, and does not know the job.
fn lost(o: &Observed<'_>, mut status: JobStatus) -> Plan {
    let now_there = o.up().and_then(|cluster| cluster.job_manager);
    let ran_on = status.live_run().and_then(|run| run.job_manager.as_deref());
    let why = match (ran_on, now_there) {
        (Some(before), Some(now)) if before != now => "the JobManager was replaced and did not recover it",
        _ => "the JobManager has forgotten it, as it does some time after a job's end (jobstore.expiration-time)",
    };
    let message = format!(
        "the cluster no longer knows the job: {why}. Its result and state are not known here; to start it again, change \
         spec.restartNonce"
    );
    close(&mut status, RunOutcome::Lost);
    start::fail(&mut status, o, Reason::JobLost, &message);
    start::idle(o, status)
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
                Input::Ready(cause) => Some(cause.clone()),
                Input::Pending => {
                    let wants = Wants {
                        failure_cause: true,
                        attention: true,
                        ..Wants::default()
                    };
                    return Plan::with("follow/failure-cause", status).want(wants);
                }
                Input::Refused(_) | Input::Retrying(_) => None,
            };
            close(&mut status, RunOutcome::Failed);
            let message = match &cause {
                Some(cause) => format!("the job failed: {cause}"),
                None => "the job failed, and Flink did not say why; look into the JobManager's log".to_owned(),
            };
            status.failure = Some(Failure {
                reason: Reason::JobFailed.to_string(),
                message: crate::api::condition::bounded(&message),
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
    start::idle(o, status)
}

/// The job lives: bring it where the spec wants it.
fn alive(o: &Observed<'_>, mut status: JobStatus, job: &JobSeen) -> Plan {
    if !o.meta.finalizer {
        // Adopted, or recovered from a crash before the finalizer was written.
        describe(o, &mut status, job, None);
        let persisted = status == *o.status;
        let plan = Plan::with("follow/finalizer", status);
        return if persisted {
            plan.then(super::Effect::AddFinalizer)
        } else {
            plan
        };
    }
    match o.spec.state {
        DesiredState::Suspended if o.spec.upgrade_mode == UpgradeMode::Stateless => {
            stop(o, status, job, CancelPurpose::Suspend)
        }
        DesiredState::Suspended => refuse(o, status, job, &keeps_state("state: Suspended")),
        DesiredState::Cancelled => stop(o, status, job, CancelPurpose::Cancel),
        DesiredState::Draft => {
            let message = "a job that was started cannot go back to Draft; use Suspended or Cancelled";
            refuse(o, status, job, &Refusal::new(Reason::InvalidSpec, message))
        }
        DesiredState::Running => match change::change(o.spec, status.accepted_spec.as_deref()) {
            Change::None => steady(o, status, job),
            Change::Live => {
                status.accepted_spec = Some(Box::new(o.spec.clone()));
                steady(o, status, job)
            }
            Change::Restart => upgrade(o, status, job),
        },
    }
}

/// The refusal of a change that would have to keep state.
pub(super) fn keeps_state(change: &str) -> Refusal {
    Refusal::new(
        Reason::UpgradeModeUnsupported,
        format!(
            "{change} needs a restart that keeps the job's state, which this version cannot do; nothing was changed. To go \
             on without state, set upgradeMode: Stateless"
        ),
    )
}

/// Records that the job is to be cancelled.
fn stop(o: &Observed<'_>, mut status: JobStatus, job: &JobSeen, purpose: CancelPurpose) -> Plan {
    cancel::intend(o, &mut status, job.id, purpose);
    cancel::describe(o, &mut status, purpose, None);
    Plan::with("follow/stop", status)
}

/// The new spec cannot be accepted: the job goes on with the last accepted one.
fn refuse(o: &Observed<'_>, mut status: JobStatus, job: &JobSeen, refusal: &Refusal) -> Plan {
    status.pending_change = Some(PendingChange::Restart);
    describe(o, &mut status, job, Some(refusal));
    Plan::with("follow/refused", status)
}

/// Nothing to change.
fn steady(o: &Observed<'_>, mut status: JobStatus, job: &JobSeen) -> Plan {
    status.pending_change = Some(PendingChange::None);
    describe(o, &mut status, job, None);
    let settled = job.state == JobState::Running;
    Plan::with("follow/steady", status).want(Wants {
        attention: !settled,
        ..Wants::default()
    })
}

/// The spec changed in a way that needs a restart: everything is made ready while the old job still runs.
fn upgrade(o: &Observed<'_>, mut status: JobStatus, job: &JobSeen) -> Plan {
    if let Some(refusal) = change::unsupported(o.spec) {
        return refuse(o, status, job, &refusal);
    }
    if o.spec.upgrade_mode != UpgradeMode::Stateless {
        return refuse(o, status, job, &keeps_state("the change"));
    }
    status.pending_change = Some(PendingChange::Restart);
    let own_slots = status.parallelism.unwrap_or(1);
    match ready::prepared(o, own_slots) {
        ready::Readiness::Ready { .. } => stop(o, status, job, CancelPurpose::Upgrade),
        ready::Readiness::Refused(refusal) => refuse(o, status, job, &refusal),
        ready::Readiness::Waiting { refusal, wants } => {
            if let Some(refusal) = refusal {
                Verdict::reconciling(Phase::Restarting, refusal.reason, refusal.message)
                    .running(true)
                    .write(o, &mut status);
            }
            let wants = Wants { permit: false, ..wants };
            Plan::with("follow/upgrade-waits", status)
                .want(wants)
                .at(o.now + super::SUBMIT_GRACE)
        }
    }
}

/// What people read of a live job. `refused` is a new spec that is not accepted.
fn describe(o: &Observed<'_>, status: &mut JobStatus, job: &JobSeen, refused: Option<&Refusal>) {
    if let Some(refusal) = refused {
        let phase = if job.state == JobState::Running {
            Phase::Running
        } else {
            Phase::Restarting
        };
        let message = format!(
            "{} (the job goes on with the spec that was accepted last)",
            refusal.message
        );
        return Verdict::stalled(phase, refusal.reason, message)
            .running(true)
            .refusing(refusal)
            .write(o, status);
    }
    let verdict = match job.state {
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
    };
    verdict.write(o, status);
}
