//! Stop with savepoint: the intent first, the request, and the wait until the savepoint is on record and the job has ended.
//!
//! Flink takes the savepoint in the background, for as long as it takes; this asks now and then. The request may be repeated
//! under its own id, and never goes out under another one before the first is known to have failed: two stops at once can
//! fail the job and leave neither savepoint. A job that ended without a savepoint that anybody can find is not started
//! again, for its newest state is not known (FLINK-33522, and stops that outlive the operator).

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Effect, JobSeen, Observed, Plan, SUBMIT_GRACE, SUBMIT_WITHIN, Stop, StopAnswer, StopSeen, UnderWay, Wants,
    backoff::{after, stop_again},
    change::{self, Change},
    decide, directory, end, follow, start, stopped,
    verdict::Verdict,
};
use crate::{
    api::{
        JobStatus, Phase, Reason,
        condition::ConditionStatus,
        intent::{CancelPurpose, StopIntent},
        job::{DesiredState, UpgradeMode},
    },
    flink::{JobState, TriggerId, lies_under},
};

/// A stop whose job still shows RUNNING is asked about this often.
const ASK: Duration = Duration::from_secs(5);

/// A stop that takes longer than this is looked for among the completed savepoints: a job can hang after its savepoint.
const HANGS: Duration = Duration::from_secs(60);

/// What people read of a job that is to be stopped while a savepoint of it is being taken.
pub(super) const AFTER_SAVEPOINT: &str =
    "a Savepoint of the job is being taken, which a stop would break off; the job is stopped after it";

/// After so many failed tries people are told that somebody has to act.
const TRIES: i32 = 3;

/// The rule for resources that are not being deleted.
pub(super) fn resume(o: &Observed<'_>) -> Option<Plan> {
    let intent = o.status.stop()?;
    if o.status.cancellation().is_some() {
        return None;
    }
    Some(step(o, intent))
}

/// One step of a stop that was decided on.
pub(super) fn step(o: &Observed<'_>, intent: &StopIntent) -> Plan {
    if o.status.live_run().is_none_or(|run| run.job_id != intent.job_id) {
        // The run is over already.
        let mut status = o.status.clone();
        status.intent_mut().stop = None;
        return decide::go_on(o, status, "stop/over");
    }
    let Some(cluster) = o.up() else {
        return blocked(o, intent);
    };
    match cluster.job(intent.job_id) {
        None if !cluster.confirmed => start::confirm("stop/confirm", o.status.clone()),
        None => stopped::vanished(o, intent),
        Some(job) => match (&intent.location, intent.due) {
            (Some(_), due) => stopped::end_of_job(o, intent, job, due),
            (None, Some(due)) if job.is_live() => pause(o, intent, job, due),
            (None, _) => under_way(o, intent, job),
        },
    }
}

/// Decides on a stop: the next turn sends it.
pub(super) fn intend(
    o: &Observed<'_>,
    mut status: JobStatus,
    job: &JobSeen,
    purpose: CancelPurpose,
    tries: i32,
) -> Plan {
    let base = match directory::base(o) {
        Ok(base) => base,
        Err(refusal) => return end::refuse(o, status, job, purpose, &refusal),
    };
    let mark = format!("{}/{}/{}", o.meta.uid, job.id, o.now.as_millisecond());
    let trigger_id = TriggerId::new(&mark, u32::try_from(tries).unwrap_or_default());
    let directory = match directory::of_stop(o, &base, job.id, trigger_id) {
        Ok(directory) => directory,
        Err(refusal) => return end::refuse(o, status, job, purpose, &refusal),
    };
    let policy = o.spec.savepoint_policy.as_ref();
    let intent = status.intent_mut();
    intent.owner = Some(o.installation.to_string());
    intent.stop = Some(StopIntent {
        job_id: job.id,
        purpose,
        trigger_id,
        directory,
        format: policy.and_then(|policy| policy.format).unwrap_or_default(),
        tries,
        decided: o.now,
        due: None,
        location: None,
    });
    describe(o, &mut status, purpose, "stops the job with a savepoint");
    Plan::with("stop/intend", status).want(attention())
}

pub(super) fn attention() -> Wants {
    Wants {
        attention: true,
        ..Wants::default()
    }
}

fn ask() -> Wants {
    Wants {
        stop: true,
        ..attention()
    }
}

/// What people read while the job is being stopped.
pub(super) fn describe(o: &Observed<'_>, status: &mut JobStatus, purpose: CancelPurpose, message: &str) {
    let (phase, reason) = telling(purpose);
    Verdict::reconciling(phase, reason, message)
        .running(true)
        .write(o, status);
}

const fn telling(purpose: CancelPurpose) -> (Phase, Reason) {
    match purpose {
        CancelPurpose::Upgrade => (Phase::Restarting, Reason::Upgrading),
        CancelPurpose::Suspend => (Phase::Suspending, Reason::Suspended),
        CancelPurpose::Cancel | CancelPurpose::Stray => (Phase::Cancelling, Reason::Cancelled),
        CancelPurpose::Delete => (Phase::Deleting, Reason::Cancelled),
    }
}

/// Why the job is stopped by now: a deletion has the last word.
pub(super) fn purpose(o: &Observed<'_>, intent: &StopIntent) -> CancelPurpose {
    match intent.purpose {
        _ if o.meta.deleting => CancelPurpose::Delete,
        CancelPurpose::Delete => CancelPurpose::Upgrade,
        CancelPurpose::Upgrade | CancelPurpose::Suspend | CancelPurpose::Cancel | CancelPurpose::Stray => {
            intent.purpose
        }
    }
}

/// What this process heard of this stop since it sent the request last.
fn heard<'o>(o: &'o Observed<'_>, intent: &StopIntent) -> Option<(Timestamp, &'o StopSeen)> {
    let (id, at, seen) = o.task.stop_seen.as_ref()?;
    let sent = o.task.stop_sent.as_ref();
    let since = sent.is_some_and(|(id, sent, _)| *id == intent.trigger_id && sent > at);
    (*id == intent.trigger_id && !since).then_some((*at, seen))
}

/// The request is out, or is to go out.
fn under_way(o: &Observed<'_>, intent: &StopIntent, job: &JobSeen) -> Plan {
    match heard(o, intent) {
        Some((_, StopSeen::Taken(location))) => stopped::taken(o, intent, job, location),
        Some((_, StopSeen::Failed(why))) if job.is_live() => lives_on(o, intent, job, Some(why)),
        Some((_, StopSeen::TooEarly)) if job.is_live() => lives_on(o, intent, job, None),
        Some((_, StopSeen::Failed(_) | StopSeen::TooEarly | StopSeen::Unknown)) if !job.is_live() => {
            stopped::ended(o, intent, job)
        }
        Some((at, StopSeen::Unknown)) => send(o, intent, job, Some(at)),
        Some((at, StopSeen::InProgress | StopSeen::NotAsked(_) | StopSeen::Failed(_) | StopSeen::TooEarly)) => {
            waiting(o, intent, job, at)
        }
        None if !job.is_live() => Plan::keep("stop/ask", o.status).want(ask()),
        None => send_or_ask(o, intent, job),
    }
}

/// This process has not asked about this stop yet.
fn send_or_ask(o: &Observed<'_>, intent: &StopIntent, job: &JobSeen) -> Plan {
    if o.task.running {
        return Plan::keep("stop/in-flight", o.status).want(attention());
    }
    let sent = o.task.stop_sent.as_ref().filter(|(id, ..)| *id == intent.trigger_id);
    match sent {
        Some((_, at, StopAnswer::NotSent(_))) => send(o, intent, job, Some(*at)),
        Some((.., StopAnswer::Refused(refusal))) => lives_on(o, intent, job, Some(&refusal.message)),
        Some((_, at, StopAnswer::Accepted)) => {
            let due = after(*at, ASK);
            if o.now < due && job.state == JobState::Running {
                return Plan::keep("stop/accepted", o.status).want(attention()).at(due);
            }
            Plan::keep("stop/ask", o.status).want(ask()).at(after(o.now, ASK))
        }
        None if o.task.stop_unsent == Some(intent.trigger_id) => send(o, intent, job, None),
        // No answer came, or another process wrote it down: ask before it is sent again.
        Some((.., StopAnswer::Unknown(_))) | None => Plan::keep("stop/ask", o.status).want(ask()).at(after(o.now, ASK)),
    }
}

/// Sends the request, for the first time or again, under its one id. `last` is when it was tried last.
fn send(o: &Observed<'_>, intent: &StopIntent, job: &JobSeen, last: Option<Timestamp>) -> Plan {
    if o.task.running {
        return Plan::keep("stop/in-flight", o.status).want(attention());
    }
    let unsent = o.task.stop_unsent == Some(intent.trigger_id);
    if unsent && o.savepoint_under_way == Some(UnderWay::Asked) {
        return give_way(o, intent);
    }
    if let Some(due) = last.map(|last| after(last, ASK)).filter(|due| o.now < *due) {
        return Plan::keep("stop/pause", o.status).want(attention()).at(due);
    }
    if !job.takes_savepoints() {
        // A stop that must fail helps nobody.
        return Plan::keep("stop/not-running", o.status).want(attention());
    }
    if o.now > after(intent.decided, SUBMIT_WITHIN / 2) {
        // A request leaves soon after the write that decided on it, or not at all.
        let mut status = o.status.clone();
        if let Some(stop) = status.intent_mut().stop.as_mut() {
            stop.decided = o.now;
        }
        describe(o, &mut status, purpose(o, intent), "stops the job with a savepoint");
        return Plan::with("stop/renew", status).want(attention());
    }
    Plan::keep("stop/send", o.status)
        .then(Effect::Stop(Box::new(Stop {
            job_id: intent.job_id,
            trigger_id: intent.trigger_id,
            directory: intent.directory.clone(),
            format: intent.format,
            not_after: after(intent.decided, SUBMIT_WITHIN),
        })))
        .want(attention())
}

/// A Savepoint was first: this stop has not left, and is decided on anew after it. A savepoint that was decided on at the same
/// time, and has not left either, gives way itself.
fn give_way(o: &Observed<'_>, intent: &StopIntent) -> Plan {
    let mut status = o.status.clone();
    status.intent_mut().stop = None;
    describe(o, &mut status, purpose(o, intent), AFTER_SAVEPOINT);
    Plan::with("stop/gives-way", status).want(attention())
}

/// It is under way as far as Flink says.
fn waiting(o: &Observed<'_>, intent: &StopIntent, job: &JobSeen, asked: Timestamp) -> Plan {
    let running = job.state == JobState::Running;
    let due = after(asked, if running { ASK } else { SUBMIT_GRACE / 5 });
    let mut wants = attention();
    wants.stop = o.now >= due;
    let mut status = o.status.clone();
    if o.now >= after(intent.decided, HANGS) {
        let message = "stops the job with a savepoint, which Flink has not completed for more than a minute; Flink gives it up \
                       after execution.checkpointing.timeout (10 min by default), and the job goes on";
        describe(o, &mut status, purpose(o, intent), message);
        if let Some(location) = found(o, intent) {
            return stopped::taken(o, intent, job, location);
        }
        let read = o.state_of(intent.job_id).map(|seen| seen.read);
        wants.state = read.is_none_or(|read| o.now >= after(read, HANGS / 2));
    }
    let next = if wants.stop { after(o.now, ASK) } else { due };
    Plan::with("stop/waiting", status).want(wants).at(next)
}

/// The savepoint of this stop among those that Flink remembers.
pub(super) fn found<'o>(o: &'o Observed<'_>, intent: &StopIntent) -> Option<&'o str> {
    let seen = o.state_of(intent.job_id)?;
    let mut paths = seen.savepoints.iter().map(String::as_str);
    paths.find(|path| lies_under(path, &intent.directory))
}

/// The stop failed. That the job lives on takes a job list that is younger than this: one that is older may hide that the
/// JobManager was replaced after an earlier request had stopped the job, and knows neither. Without a reason it came too
/// early.
fn lives_on(o: &Observed<'_>, intent: &StopIntent, job: &JobSeen, why: Option<&str>) -> Plan {
    if !o.up().is_some_and(|cluster| cluster.confirmed) {
        return start::confirm("stop/confirm-failure", o.status.clone());
    }
    match why {
        Some(why) => failed(o, intent, job, why),
        None => too_early(o, intent),
    }
}

/// A task did not run when the request came. That is no try: it is made anew when all of them do.
fn too_early(o: &Observed<'_>, intent: &StopIntent) -> Plan {
    let mut status = o.status.clone();
    let due = after(o.now, ASK / 5);
    if let Some(stop) = status.intent_mut().stop.as_mut() {
        stop.due = Some(due);
        stop.tries = intent.tries.saturating_sub(1);
    }
    let message = "not all tasks of the job run yet; it is stopped with a savepoint when they do";
    describe(o, &mut status, purpose(o, intent), message);
    Plan::with("stop/too-early", status).at(due).want(attention())
}

/// The stop failed, and the job lives: it is tried again, later and later.
fn failed(o: &Observed<'_>, intent: &StopIntent, job: &JobSeen, why: &str) -> Plan {
    let mut status = o.status.clone();
    let due = after(o.now, stop_again(intent.tries));
    if let Some(stop) = status.intent_mut().stop.as_mut() {
        stop.due = Some(due);
    }
    let message = format!(
        "the savepoint failed and the job goes on; it is tried again at {}: {}. To stop the job without one, set upgradeMode to \
         LastState or Stateless",
        due.strftime("%H:%M:%SZ"),
        why.trim_end_matches('.'),
    );
    let (phase, _) = telling(purpose(o, intent));
    let verdict = match purpose(o, intent) {
        CancelPurpose::Delete => Verdict::reconciling(phase, Reason::DeletionBlocked, message),
        CancelPurpose::Upgrade | CancelPurpose::Suspend | CancelPurpose::Cancel | CancelPurpose::Stray => {
            if intent.tries < TRIES {
                Verdict::reconciling(phase, Reason::SavepointFailed, message)
            } else {
                Verdict::stalled(follow::state_of(job).phase, Reason::SavepointFailed, message)
            }
        }
    };
    verdict.running(true).write(o, &mut status);
    Plan::with("stop/failed", status).at(due)
}

/// A failed stop waits for its next try, as long as it is asked for.
fn pause(o: &Observed<'_>, intent: &StopIntent, job: &JobSeen, due: Timestamp) -> Plan {
    let edited = o.meta.generation != o.status.observed_generation;
    if (edited || !is_wanted(o, intent)) && !o.meta.deleting {
        // What is asked for now is decided anew; the failure of the last try is known.
        let mut status = o.status.clone();
        status.intent_mut().stop = None;
        return follow::follow(o, status);
    }
    if o.now < due {
        return Plan::keep("stop/back-off", o.status).at(due);
    }
    if !job.takes_savepoints() {
        return Plan::keep("stop/not-running", o.status).want(attention());
    }
    intend(
        o,
        o.status.clone(),
        job,
        purpose(o, intent),
        intent.tries.saturating_add(1),
    )
}

/// Whether the spec still asks for it: it may have been edited while the last try was under way.
fn is_wanted(o: &Observed<'_>, intent: &StopIntent) -> bool {
    let accepted = o.status.accepted_spec.as_deref();
    let by_purpose = match intent.purpose {
        CancelPurpose::Suspend => o.spec.state == DesiredState::Suspended,
        CancelPurpose::Upgrade => {
            o.spec.state == DesiredState::Running && change::change(o.spec, accepted) == Change::Restart
        }
        CancelPurpose::Cancel | CancelPurpose::Delete | CancelPurpose::Stray => false,
    };
    by_purpose && o.spec.upgrade_mode == UpgradeMode::Savepoint
}

/// The cluster does not answer while a stop is under way.
fn blocked(o: &Observed<'_>, intent: &StopIntent) -> Plan {
    if o.not_polled() {
        return Plan::keep("stop/not-polled", o.status);
    }
    let mut status = o.status.clone();
    let refusal = o.down();
    let (phase, _) = telling(purpose(o, intent));
    let message = format!(
        "a job is being stopped with a savepoint, and the cluster does not answer: {}",
        refusal.message
    );
    let mut verdict = Verdict::reconciling(phase, refusal.reason, message);
    verdict.running = ConditionStatus::Unknown;
    verdict.write(o, &mut status);
    Plan::with("stop/blocked", status)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Input, Next, Refusal, StateSeen, Task},
        *,
    };
    use crate::{
        api::{
            job::{DeletionPolicy, DeletionType, SavepointPolicy},
            status::RunOutcome,
        },
        job::{
            NoteKind,
            case::{Case, Reach, effect, refusal, told},
        },
    };

    /// A job that is stopped with a savepoint: the request was accepted.
    fn stopping() -> Case {
        let mut case = Case::running();
        case.edit(|spec| {
            spec.upgrade_mode = UpgradeMode::Savepoint;
            spec.state = DesiredState::Suspended;
        });
        case.persist("stop/intend");
        assert_eq!(effect(&case.still("stop/send")), "Stop");
        case.task.stop_unsent = None;
        case.task.stop_sent = Some((id(&case), case.now, StopAnswer::Accepted));
        case
    }

    fn id(case: &Case) -> TriggerId {
        case.status.stop().unwrap().trigger_id
    }

    /// What this process knows of the request.
    fn sent(case: &mut Case, answer: StopAnswer) {
        case.task.stop_sent = Some((id(case), case.now, answer));
    }

    /// After six seconds Flink was asked, and told that.
    fn hear(case: &mut Case, seen: StopSeen) {
        case.wait(6);
        case.hear(seen);
    }

    fn no() -> Refusal {
        refusal(Reason::ClusterUnreachable)
    }

    /// A job that is stopped with a savepoint, with that change.
    fn when(change: impl FnOnce(&mut Case)) -> Case {
        let mut case = stopping();
        change(&mut case);
        case
    }

    /// The rule, the effect, what is asked for, and in how many seconds it looks again.
    fn row(case: &Case) -> String {
        let plan = case.decide();
        let mut words = plan.rule.to_owned();
        if effect(&plan) != "-" {
            words = format!("{words} {}", effect(&plan));
        }
        for (wanted, word) in [
            (plan.wants.stop, "asks"),
            (plan.wants.state, "reads"),
            (plan.wants.confirm, "confirms"),
        ] {
            if wanted {
                words = format!("{words} {word}");
            }
        }
        if plan.status != case.status {
            words.push_str(" writes");
        }
        match plan.next {
            Next::At(time) => format!("{words} {} s", time.duration_since(case.now).as_secs()),
            Next::OnChange => words,
        }
    }

    /// By what this process did about the request and how the job stands: what comes next.
    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn the_request_goes_out_once_and_then_is_asked_about() {
        let unsent = |change: fn(&mut Case)| {
            when(|case| {
                case.task.stop_unsent = Some(id(case));
                case.task.stop_sent = None;
                change(case);
            })
        };
        let answered = |answer: StopAnswer, seconds: i64, state: JobState| {
            when(|case| {
                sent(case, answer);
                case.wait(seconds);
                case.list(state);
            })
        };
        let unknown = || StopAnswer::Unknown(no());
        let answered_beside = || {
            when(|case| {
                sent(case, StopAnswer::Accepted);
                case.savepoint_under_way = Some(UnderWay::Asked);
            })
        };
        let rows: Vec<(&str, Case, &str)> = vec![
            ("not sent yet", unsent(|_| {}), "stop/send Stop"),
            ("under way", unsent(|case| case.task.running = true), "stop/in-flight"),
            (
                "not sent yet, Flink was asked for a savepoint",
                unsent(|case| case.savepoint_under_way = Some(UnderWay::Asked)),
                "stop/gives-way writes",
            ),
            (
                "not sent yet, a savepoint was decided on",
                unsent(|case| case.savepoint_under_way = Some(UnderWay::Intended)),
                "stop/send Stop",
            ),
            (
                "sent, Flink was asked for a savepoint",
                answered_beside(),
                "stop/accepted 5 s",
            ),
            (
                "did not leave, a moment ago",
                unsent(|case| {
                    let not_sent = StopAnswer::NotSent(no());
                    case.task.stop_sent = Some((id(case), case.now, not_sent));
                }),
                "stop/pause 5 s",
            ),
            (
                "sent, and the answer is awaited",
                unsent(|case| {
                    case.task.stop_unsent = None;
                    case.task.running = true;
                }),
                "stop/in-flight",
            ),
            (
                "the job restarts",
                unsent(|case| case.list(JobState::Restarting)),
                "stop/not-running",
            ),
            ("decided on just now", unsent(|case| case.wait(15)), "stop/send Stop"),
            ("decided on long ago", unsent(|case| case.wait(16)), "stop/renew writes"),
            (
                "did not reach Flink",
                answered(StopAnswer::NotSent(no()), 0, JobState::Running),
                "stop/pause 5 s",
            ),
            (
                "did not reach Flink, a while ago",
                answered(StopAnswer::NotSent(no()), 5, JobState::Running),
                "stop/send Stop",
            ),
            (
                "accepted",
                answered(StopAnswer::Accepted, 0, JobState::Running),
                "stop/accepted 5 s",
            ),
            (
                "accepted a while ago",
                answered(StopAnswer::Accepted, 5, JobState::Running),
                "stop/ask asks 5 s",
            ),
            (
                "accepted, and the job leaves RUNNING",
                answered(StopAnswer::Accepted, 0, JobState::Failing),
                "stop/ask asks 5 s",
            ),
            (
                "accepted, and the job has ended",
                answered(StopAnswer::Accepted, 0, JobState::Finished),
                "stop/ask asks",
            ),
            (
                "no answer",
                answered(unknown(), 0, JobState::Running),
                "stop/ask asks 5 s",
            ),
            (
                "no answer, and the job has ended",
                answered(unknown(), 0, JobState::Failed),
                "stop/ask asks",
            ),
            (
                "refused",
                answered(StopAnswer::Refused(no()), 0, JobState::Running),
                "stop/confirm-failure confirms",
            ),
            (
                "refused, and the job has ended",
                answered(StopAnswer::Refused(no()), 0, JobState::Failed),
                "stop/ask asks",
            ),
            (
                "another process sent it, or did not",
                when(|case| case.task = Task::default()),
                "stop/ask asks 5 s",
            ),
            (
                "of an earlier stop",
                when(|case| {
                    case.task.stop_sent = Some((TriggerId([9; 16]), case.now, StopAnswer::Refused(no())));
                    case.task.stop_seen = Some((TriggerId([9; 16]), case.now, StopSeen::Failed("no".to_owned())));
                }),
                "stop/ask asks 5 s",
            ),
        ];
        for (name, case, expected) in rows {
            assert_eq!(row(&case), expected, "{name}");
        }
    }

    /// By what Flink said of the stop, and how the job stands: what comes next.
    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn what_flink_says_of_the_stop_decides() {
        use StopSeen::{Failed, InProgress, NotAsked, Unknown};
        let heard = |seen: StopSeen, seconds: i64, state: JobState| {
            when(|case| {
                hear(case, seen);
                case.wait(seconds);
                case.list(state);
            })
        };
        let failed = || Failed("no".to_owned());
        let taken = |state: JobState| {
            let case = stopping();
            heard(StopSeen::Taken(case.location()), 0, state)
        };
        let hanging = |savepoint: Option<&str>| {
            when(|case| {
                case.wait(54);
                hear(case, InProgress);
                if let Some(savepoint) = savepoint {
                    let savepoints = vec![format!("{}/{savepoint}", case.status.stop().unwrap().directory)];
                    case.state = Input::Ready(StateSeen {
                        savepoints,
                        ..case.stateless()
                    });
                }
            })
        };
        let rows: Vec<(&str, Case, &str)> = vec![
            // Rule 18: every five seconds while the job shows RUNNING.
            ("under way", heard(InProgress, 0, JobState::Running), "stop/waiting 5 s"),
            (
                "under way, a while ago",
                heard(InProgress, 5, JobState::Running),
                "stop/waiting asks 5 s",
            ),
            (
                "under way, and the job has ended",
                heard(InProgress, 0, JobState::Finished),
                "stop/waiting 1 s",
            ),
            (
                "the same a second later",
                heard(InProgress, 1, JobState::Finished),
                "stop/waiting asks 5 s",
            ),
            (
                "under way for a minute",
                when(|case| {
                    case.wait(54);
                    case.state = Input::Pending;
                    hear(case, InProgress);
                }),
                "stop/waiting reads writes 5 s",
            ),
            (
                "under way for a minute, the savepoint is not complete",
                hanging(Some("../other")),
                "stop/waiting writes 5 s",
            ),
            (
                "under way for a minute, the savepoint is complete",
                hanging(Some("savepoint-1")),
                "stop/taken writes",
            ),
            (
                "not to be asked now",
                heard(NotAsked(no()), 0, JobState::Running),
                "stop/waiting 5 s",
            ),
            (
                "failed",
                heard(failed(), 0, JobState::Running),
                "stop/confirm-failure confirms",
            ),
            (
                "failed, confirmed",
                {
                    let mut case = heard(failed(), 0, JobState::Running);
                    case.confirmed = true;
                    case
                },
                "stop/failed writes 10 s",
            ),
            (
                "failed, and the job too",
                heard(failed(), 0, JobState::Failed),
                "stop/look reads",
            ),
            ("not known", heard(Unknown, 0, JobState::Running), "stop/pause 5 s"),
            (
                "not known, a while ago",
                heard(Unknown, 5, JobState::Running),
                "stop/send Stop",
            ),
            (
                "not known, and decided on long ago",
                heard(Unknown, 15, JobState::Running),
                "stop/renew writes",
            ),
            (
                "not known, and the job restarts",
                heard(Unknown, 5, JobState::Restarting),
                "stop/not-running",
            ),
            (
                "not known, and the job has ended",
                heard(Unknown, 0, JobState::Finished),
                "stop/look reads",
            ),
            ("complete", taken(JobState::Running), "stop/taken writes"),
            (
                "complete, and the job has ended",
                taken(JobState::Finished),
                "idle/settled writes",
            ),
            (
                "heard before the request went out again",
                when(|case| {
                    hear(case, failed());
                    case.wait(1);
                    sent(case, StopAnswer::Accepted);
                }),
                "stop/accepted 5 s",
            ),
        ];
        for (name, mut case, expected) in rows {
            // The checkpoints of the job are read anew when they matter.
            if matches!(&case.state, Input::Ready(seen) if seen.savepoints.is_empty()) {
                case.state = Input::Pending;
            }
            assert_eq!(row(&case), expected, "{name}");
        }
    }

    /// The job is not listed, or its cluster does not answer.
    #[test]
    fn what_is_not_listed_is_confirmed_before_it_is_gone() {
        let mut case = when(|case| case.jobs.clear());
        assert_eq!(row(&case), "stop/confirm confirms");
        case.reach = Reach::NotPolled;
        assert_eq!(row(&case), "stop/not-polled");
        case.reach = Reach::Down(Reason::ClusterUnreachable);
        case.persist("stop/blocked");
        assert_eq!(
            told(&case.status),
            "Suspending/ClusterUnreachable Ready=False Reconciling Running=Unknown"
        );
        // The run was closed meanwhile.
        let mut case = stopping();
        case.status.runs[0].outcome = Some(RunOutcome::Finished);
        case.list(JobState::Finished);
        case.persist("idle/settled");
        assert_eq!(case.status.stop(), None);
    }

    #[test]
    fn a_stop_that_fails_is_tried_again_later_and_later_and_people_are_told() {
        let mut case = stopping();
        let rows = [
            (10, "Suspending/SavepointFailed Ready=False Reconciling Running=True"),
            (20, "Suspending/SavepointFailed Ready=False Reconciling Running=True"),
            (40, "Running/SavepointFailed Ready=False Stalled Running=True"),
            (80, "Running/SavepointFailed Ready=False Stalled Running=True"),
        ];
        let mut ids = Vec::new();
        for (pause, expected) in rows {
            ids.push(id(&case));
            hear(&mut case, StopSeen::Failed("no.".to_owned()));
            case.confirmed = true;
            case.persist("stop/failed");
            assert_eq!(told(&case.status), expected);
            assert_eq!(row(&case), format!("stop/back-off {pause} s"));
            case.wait(pause);
            case.list(JobState::Restarting);
            assert_eq!(row(&case), "stop/not-running");
            case.list(JobState::Running);
            case.persist("stop/intend");
            assert_eq!(effect(&case.still("stop/send")), "Stop");
        }
        ids.dedup();
        assert_eq!(ids.len(), 4, "each try has an id of its own");
        assert_eq!(case.status.stop().unwrap().tries, 5);
    }

    #[test]
    fn a_stop_that_is_decided_on_anew_says_how_the_generation_stands() {
        let mut case = stopping();
        case.task.stop_unsent = Some(id(&case));
        case.task.stop_sent = None;
        case.edit(|spec| spec.description = Some("x".to_owned()));
        case.wait(16);
        case.persist("stop/renew");
        assert_eq!(case.status.observed_generation, case.generation);
        assert_eq!(effect(&case.still("stop/send")), "Stop");
    }

    #[test]
    fn a_deletion_has_the_last_word_on_what_a_stop_is_for() {
        let mut case = stopping();
        case.edit(|spec| {
            spec.deletion_policy = Some(DeletionPolicy {
                kind: Some(DeletionType::Savepoint),
                timeout: None,
            });
        });
        case.deleting = true;
        hear(&mut case, StopSeen::Failed("no".to_owned()));
        case.confirmed = true;
        case.persist("stop/failed");
        assert_eq!(
            told(&case.status),
            "Deleting/DeletionBlocked Ready=False Reconciling Running=True"
        );
        case.wait(10);
        case.persist("stop/intend");
        assert_eq!(case.status.stop().unwrap().purpose, CancelPurpose::Delete);
    }

    #[test]
    fn a_failed_stop_is_tried_again_at_once_when_the_spec_is_edited() {
        let mut case = stopping();
        hear(&mut case, StopSeen::Failed("no".to_owned()));
        // A list that is older than the failure may hide that the job was stopped before.
        assert!(case.still("stop/confirm-failure").wants.confirm);
        case.confirmed = true;
        let plan = case.persist("stop/failed");
        assert_eq!(
            (plan.notes[0].kind, plan.notes[0].reason),
            (NoteKind::Warning, Reason::SavepointFailed)
        );
        assert_eq!(
            told(&case.status),
            "Suspending/SavepointFailed Ready=False Reconciling Running=True"
        );
        let before = id(&case);
        case.edit(|spec| {
            spec.savepoint_policy = Some(SavepointPolicy {
                directory: Some("s3://b/other".to_owned()),
                ..SavepointPolicy::default()
            });
        });
        case.persist("stop/intend");
        assert_ne!(id(&case), before);
        assert_eq!(effect(&case.still("stop/send")), "Stop");
    }

    #[test]
    fn a_stop_that_failed_is_not_tried_again_when_it_was_taken_back_in_the_meantime() {
        let back: [fn(&mut Case); 2] = [
            |case| case.edit(|spec| spec.state = DesiredState::Running),
            |case| case.edit(|spec| spec.upgrade_mode = UpgradeMode::Stateless),
        ];
        for (take_back, expected) in back.into_iter().zip(["follow/steady", "end/cancel"]) {
            let mut case = stopping();
            take_back(&mut case);
            hear(&mut case, StopSeen::Failed("no".to_owned()));
            case.confirmed = true;
            case.persist("stop/failed");
            let plan = case.settle();
            assert_eq!(case.status.stop(), None, "{}", plan.rule);
            assert!(
                plan.rule == expected || expected == "end/cancel" && effect(&plan) == "Cancel",
                "{}",
                plan.rule
            );
        }
    }

    #[test]
    fn a_stop_waits_until_all_tasks_run_and_one_that_came_too_early_counts_for_nothing() {
        // Nothing is begun before.
        let mut case = Case::running();
        case.jobs[0].tasks_run = false;
        case.edit(|spec| {
            spec.upgrade_mode = UpgradeMode::Savepoint;
            spec.state = DesiredState::Suspended;
        });
        case.persist("end/waits");
        assert_eq!(
            told(&case.status),
            "Suspending/Suspended Ready=False Reconciling Running=True"
        );
        case.jobs[0].tasks_run = true;
        case.persist("stop/intend");
        // A task failed in between: the request stays.
        case.jobs[0].tasks_run = false;
        case.still("stop/not-running");
        case.jobs[0].tasks_run = true;
        assert_eq!(effect(&case.still("stop/send")), "Stop");
        case.task.stop_unsent = None;
        case.task.stop_sent = Some((id(&case), case.now, StopAnswer::Accepted));
        let (first, tries) = (id(&case), case.status.stop().unwrap().tries);
        hear(&mut case, StopSeen::TooEarly);
        assert!(case.still("stop/confirm-failure").wants.confirm);
        case.confirmed = true;
        let plan = case.persist("stop/too-early");
        assert_eq!(plan.notes, []);
        assert_eq!(
            told(&case.status),
            "Suspending/Suspended Ready=False Reconciling Running=True"
        );
        case.wait(2);
        case.jobs[0].tasks_run = false;
        case.still("stop/not-running");
        case.jobs[0].tasks_run = true;
        case.persist("stop/intend");
        assert_ne!(id(&case), first);
        assert_eq!(case.status.stop().unwrap().tries, tries);
    }
}
