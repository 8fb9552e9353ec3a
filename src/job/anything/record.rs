//! Any spec, and any record of what was done for it.

use proptest::{collection::vec, option, prelude::*};

use super::{
    super::{
        SETTLE, SUBMIT_WITHIN,
        backoff::after,
        case::{Case, INSTALLATION, P1, P2, jar, run},
        change,
    },
    kept,
    words::{Any, job_id, moment, one, rarely, seconds, text},
};
use crate::api::{
    FlinkSessionJobSpec, GoDuration, JobStatus, Reason,
    job::{
        Adopt, DeletionPolicy, DeletionType, DesiredState, OnUnknownResult, Restore, RestoreFrom, SavepointPolicy,
        SlotCheck, UpgradeMode,
    },
    status::{CancelIntent, CancelPurpose, Failure, Intent, PendingChange, Run, RunOutcome, SubmitIntent},
};

fn savepoint_policy() -> Any<SavepointPolicy> {
    let schedule = option::weighted(0.8, Just("*/5 * * * *".to_owned()));
    let directory = option::weighted(0.8, Just("s3://b/savepoints".to_owned()));
    let policy = |(schedule, directory)| SavepointPolicy {
        directory,
        schedule,
        ..SavepointPolicy::default()
    };
    (schedule, directory).prop_map(policy).boxed()
}

pub(in super::super) const OUTCOMES: [RunOutcome; 9] = [
    RunOutcome::Finished,
    RunOutcome::Failed,
    RunOutcome::Canceled,
    RunOutcome::Replaced,
    RunOutcome::Suspended,
    RunOutcome::Cancelled,
    RunOutcome::Rejected,
    RunOutcome::Lost,
    RunOutcome::Unknown,
];

const PURPOSES: [CancelPurpose; 5] = [
    CancelPurpose::Upgrade,
    CancelPurpose::Suspend,
    CancelPurpose::Cancel,
    CancelPurpose::Delete,
    CancelPurpose::Stray,
];

fn timeout() -> Any<Option<GoDuration>> {
    let absurd = one(&[0, 1, 3600, u64::MAX]).prop_map(|seconds| Some(GoDuration::from_secs(seconds)));
    rarely(None, absurd)
}

/// A spec that differs from others in its program, its nonces and its policies.
pub(super) fn spec() -> Any<FlinkSessionJobSpec> {
    let state = prop_oneof![
        4 => Just(DesiredState::Running),
        1 => one(&[DesiredState::Draft, DesiredState::Suspended, DesiredState::Cancelled]),
    ];
    let mode =
        prop_oneof![3 => Just(UpgradeMode::Stateless), 1 => one(&[UpgradeMode::Savepoint, UpgradeMode::LastState])];
    let deletion = option::of((
        one(&[DeletionType::Cancel, DeletionType::Orphan, DeletionType::Savepoint]),
        timeout(),
    ));
    let restore = rarely(
        None,
        (option::of(0..3_i64), rarely(None, Just(Some(RestoreFrom::Latest)))).prop_map(|(nonce, from)| {
            Some(Restore {
                from,
                nonce,
                ..Restore::default()
            })
        }),
    );
    let program = (0..3_usize, rarely(4, one(&[300, 0])), option::of(1..6_i32));
    let policies = (
        option::of(one(&[OnUnknownResult::Fail, OnUnknownResult::Resubmit])),
        timeout(),
        option::of(one(&[SlotCheck::Auto, SlotCheck::Enforce, SlotCheck::Off])),
        rarely(None, job_id().prop_map(|job_id| Some(Adopt { job_id }))),
        option::weighted(0.8, savepoint_policy()),
    );
    (program, state, mode, option::of(0..3_i64), restore, deletion, policies)
        .prop_map(
            |((args, length, parallelism), state, upgrade_mode, restart_nonce, restore, deletion, policies)| {
                let mut spec = Case::new().spec;
                spec.job.args = vec!["x".repeat(length); args];
                spec.job.parallelism = parallelism;
                spec.deletion_policy = deletion.map(|(kind, timeout)| DeletionPolicy {
                    kind: Some(kind),
                    timeout,
                });
                let (on_unknown_result, submit_timeout, slot_check, adopt, savepoint_policy) = policies;
                FlinkSessionJobSpec {
                    state,
                    upgrade_mode,
                    restore,
                    on_unknown_result,
                    submit_timeout,
                    slot_check,
                    adopt,
                    restart_nonce,
                    savepoint_policy,
                    ..spec
                }
            },
        )
        .boxed()
}

/// A submission as `intend` and `again` write it; or with times that somebody made up. Its body is that of the spec, or not.
fn submit(spec: &FlinkSessionJobSpec) -> Any<SubmitIntent> {
    let hash = Case::program_of(spec).body_hash();
    let horizon = spec.submit_timeout() + SETTLE;
    let times = prop_oneof![
        3 => (one(&[0_i64, 0, 0, 1, 6, 29, 31, 61, 200, 660, 691, 5000]), option::of(one(&[-2000_i64, -600, -1, 1, 600])))
            .prop_map(move |(age, earlier)| {
                let first = seconds(-age);
                let not_after = first + SUBMIT_WITHIN;
                (first, not_after, after(not_after, horizon), earlier.map(seconds))
            }),
        1 => (moment(), moment(), moment(), option::of(moment())),
    ];
    let tries = rarely(1, one(&[2, 3, 9, i32::MAX, i32::MIN]));
    (
        job_id(),
        rarely(P1, Just(P2)),
        rarely(hash, Just("0".repeat(32))),
        tries,
        times,
    )
        .prop_map(
            |(job_id, process, body_hash, tries, (first_try, not_after, unresolved, earlier_unresolved))| {
                SubmitIntent {
                    job_id,
                    jar_id: jar(process),
                    job_manager: process.to_owned(),
                    body_hash,
                    restore: None,
                    tries,
                    first_try,
                    not_after,
                    unresolved,
                    earlier_unresolved,
                }
            },
        )
        .boxed()
}

fn runs() -> Any<Vec<Run>> {
    let one_run = (job_id(), one(&OUTCOMES)).prop_map(|(id, outcome)| run(id, Some(outcome)));
    (vec(one_run, 0..3), any::<bool>(), rarely(false, Just(true)))
        .prop_map(|(mut runs, live, many)| {
            if let Some(first) = runs.first_mut().filter(|_| live) {
                first.outcome = None;
            }
            if let Some(last) = runs.last().filter(|_| many).cloned() {
                runs.resize(10, last);
            }
            runs
        })
        .boxed()
}

fn intent(spec: &FlinkSessionJobSpec) -> Any<Intent> {
    let owner = prop_oneof![
        8 => Just(Some(INSTALLATION.to_string())),
        1 => Just(None),
        1 => Just(Some("ffffffff".to_owned())),
    ];
    let cancel = (job_id(), one(&PURPOSES)).prop_map(|(job_id, purpose)| CancelIntent {
        job_id,
        purpose,
        last_state: false,
    });
    (
        owner,
        option::of(submit(spec)),
        option::weighted(0.2, cancel),
        option::weighted(0.2, moment()),
    )
        .prop_map(|(owner, submit, cancel, unanswered_since)| Intent {
            owner,
            submit,
            cancel,
            unanswered_since,
            ..Intent::default()
        })
        .boxed()
}

/// The status without what is told: consistent, but for a third of the cases.
pub(super) fn record(spec: &FlinkSessionJobSpec) -> Any<JobStatus> {
    let accepted = prop_oneof![
        4 => Just(Some(spec.clone())),
        2 => self::spec().prop_map(Some),
        1 => Just(None),
    ];
    let failure =
        (one(&[Reason::JobLost, Reason::StateUnknown, Reason::JobFailed]), text()).prop_map(|(reason, message)| {
            Failure {
                reason: reason.to_string(),
                message: crate::api::condition::bounded(&message),
                time: None,
                root_cause: None,
            }
        });
    let attempt = option::of(prop_oneof![6 => 1..4_i64, 1 => Just(i64::MAX)]);
    let pending = option::of(one(&[PendingChange::None, PendingChange::Restart]));
    let facts = (
        option::of(job_id()),
        attempt,
        option::weighted(0.2, failure),
        pending,
        0..3_u8,
    );
    (
        option::weighted(0.8, kept::intent(intent(spec))),
        runs(),
        accepted,
        (facts, kept::state()),
    )
        .prop_map(
            |(intent, runs, accepted, ((job_id, attempt, failure, pending_change, shape), state))| {
                let mut status = JobStatus {
                    job_id,
                    attempt,
                    failure,
                    pending_change,
                    runs,
                    intent,
                    state,
                    accepted_spec: accepted.as_ref().map(change::accept),
                    ..JobStatus::default()
                };
                if shape > 0 {
                    tidy(&mut status);
                }
                status
            },
        )
        .boxed()
}

/// Makes a status one that the operator could have written: an attempt is a submission or a run, never both.
fn tidy(status: &mut JobStatus) {
    if status.submission().is_some()
        && let Some(run) = status.runs.first_mut().filter(|run| run.outcome.is_none())
    {
        run.outcome = Some(RunOutcome::Replaced);
    }
    let submitted = status.submission().map(|intent| intent.job_id);
    let current = submitted.or_else(|| status.runs.first().map(|run| run.job_id));
    status.runs.retain(|run| Some(run.job_id) != submitted);
    status.job_id = current;
    kept::tidy(status);
}
