//! From a decision to phase and conditions: the one table of what people and tools read.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::{
    ClusterView, Note, NoteKind, Observed, Plan, Refusal, RetryWindow, Session, backoff::after, plan::Next, safe, size,
};
use crate::api::{
    JobStatus, Phase, Reason,
    condition::{self, ConditionStatus, ConditionType},
    state::StateRecord,
    status::RunOutcome,
};

/// How the desired state stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Reached.
    Reached,
    /// Being worked on.
    Reconciling,
    /// A person has to act.
    Stalled,
    /// Cannot be known now.
    Unknown,
}

/// Phase, reason and message of a decision.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    pub(super) phase: Phase,
    pub(super) standing: Standing,
    pub(super) reason: Reason,
    pub(super) message: String,
    /// Whether a job runs.
    pub(super) running: ConditionStatus,
    /// Why the spec is not accepted; None when it is.
    pub(super) refused: Option<Refusal>,
}

impl Verdict {
    pub(super) fn new(phase: Phase, standing: Standing, reason: Reason, message: impl Into<String>) -> Self {
        let running = match phase {
            Phase::Running => ConditionStatus::True,
            Phase::Unknown => ConditionStatus::Unknown,
            Phase::Draft
            | Phase::Pending
            | Phase::Submitting
            | Phase::Restarting
            | Phase::Suspending
            | Phase::Suspended
            | Phase::Cancelling
            | Phase::Cancelled
            | Phase::Finished
            | Phase::Failed
            | Phase::Lost
            | Phase::Deleting => ConditionStatus::False,
        };
        Self {
            phase,
            standing,
            reason,
            message: message.into(),
            running,
            refused: None,
        }
    }

    pub(super) fn reached(phase: Phase, reason: Reason, message: impl Into<String>) -> Self {
        Self::new(phase, Standing::Reached, reason, message)
    }

    pub(super) fn reconciling(phase: Phase, reason: Reason, message: impl Into<String>) -> Self {
        Self::new(phase, Standing::Reconciling, reason, message)
    }

    pub(super) fn stalled(phase: Phase, reason: Reason, message: impl Into<String>) -> Self {
        Self::new(phase, Standing::Stalled, reason, message)
    }

    /// The spec is refused, for the reason given. What the cluster does not offer is no fault of the spec.
    pub(super) fn refusing(mut self, refusal: Option<&Refusal>) -> Self {
        self.refused = refusal
            .filter(|refusal| refusal.reason != Reason::SubmissionDisabled)
            .cloned();
        self
    }

    /// Writes the verdict into a status that differs from the observed one. One that does not is left alone: nothing new
    /// is to be told.
    pub(super) fn write_if_changed(self, o: &Observed<'_>, status: &mut JobStatus) {
        if *status != *o.status {
            self.write(o, status);
        }
    }

    pub(super) fn running(mut self, running: bool) -> Self {
        self.running = if running {
            ConditionStatus::True
        } else {
            ConditionStatus::False
        };
        self
    }

    /// Writes the verdict into a status.
    pub(super) fn write(self, o: &Observed<'_>, status: &mut JobStatus) {
        use ConditionType::{Accepted, Ready, Reconciling, Running, Stalled};
        let generation = o.meta.generation;
        status.observed_generation = generation;
        status.phase = Some(self.phase);
        if status.id.is_none() {
            status.id = Some(registry_id(o.meta.uid));
        }
        let conditions = &mut status.conditions;
        let mut put = |kind, value, reason, message: &str| {
            condition::set(conditions, kind, value, reason, message, generation, o.now);
        };
        let ready = match self.standing {
            Standing::Reached => ConditionStatus::True,
            Standing::Reconciling | Standing::Stalled => ConditionStatus::False,
            Standing::Unknown => ConditionStatus::Unknown,
        };
        put(Ready, ready, self.reason, &self.message);
        let running = match self.running {
            ConditionStatus::True => "a job of this resource runs",
            ConditionStatus::False => "no job of this resource runs",
            ConditionStatus::Unknown => "it is not known whether a job of this resource runs",
        };
        put(Running, self.running, self.reason, running);
        match &self.refused {
            None => put(Accepted, ConditionStatus::True, Reason::Accepted, "the spec can be run"),
            Some(refusal) => put(Accepted, ConditionStatus::False, refusal.reason, &refusal.message),
        }
        match self.standing {
            Standing::Reached => {}
            Standing::Reconciling | Standing::Unknown => {
                put(Reconciling, ConditionStatus::True, self.reason, &self.message);
            }
            Standing::Stalled => put(Stalled, ConditionStatus::True, self.reason, &self.message),
        }
        match self.standing {
            Standing::Reached => [Reconciling, Stalled]
                .into_iter()
                .for_each(|kind| condition::remove(conditions, kind)),
            Standing::Reconciling | Standing::Unknown => condition::remove(conditions, Stalled),
            Standing::Stalled => condition::remove(conditions, Reconciling),
        }
        write_cluster_ready(o, status);
        write_config_effective(o, status);
    }
}

fn write_cluster_ready(o: &Observed<'_>, status: &mut JobStatus) {
    let (value, refusal) = match (&o.cluster, o.session) {
        (_, Session::Absent { .. }) => (ConditionStatus::False, o.down()),
        (ClusterView::NotPolled, Session::Present { .. }) => return,
        (ClusterView::Up(cluster), Session::Present { .. }) if !cluster.submission_enabled => {
            (ConditionStatus::False, submission_disabled())
        }
        (ClusterView::Up(cluster), Session::Present { .. }) => match (cluster.job_manager, cluster.retry_window) {
            (Some(_), RetryWindow::Closed(why)) => {
                let message = format!(
                    "the cluster answers and takes jobs, but a submission whose answer is lost cannot be repeated safely: {why}"
                );
                (ConditionStatus::True, Refusal::new(Reason::IdempotencyWeak, message))
            }
            (None, _) if was_ready(status) => return,
            _ => (
                ConditionStatus::True,
                Refusal::new(Reason::Ready, "the cluster answers and takes jobs"),
            ),
        },
        (ClusterView::Down(refusal), Session::Present { .. }) => {
            let value = if refusal.reason == Reason::ClusterUnreachable {
                ConditionStatus::Unknown
            } else {
                ConditionStatus::False
            };
            (value, refusal.clone())
        }
    };
    let generation = o.meta.generation;
    condition::set(
        &mut status.conditions,
        ConditionType::ClusterReady,
        value,
        refusal.reason,
        &refusal.message,
        generation,
        o.now,
    );
}

/// What is known of the cluster's configuration stands until it is read again.
fn was_ready(status: &JobStatus) -> bool {
    condition::find(&status.conditions, ConditionType::ClusterReady).is_some_and(|c| c.status == ConditionStatus::True)
}

pub(super) fn submission_disabled() -> Refusal {
    Refusal::new(
        Reason::SubmissionDisabled,
        "the cluster refuses jars over REST (web.submit.enable: false); enable it in the cluster's configuration",
    )
}

fn write_config_effective(o: &Observed<'_>, status: &mut JobStatus) {
    if o.ineffective.is_empty() {
        condition::remove(&mut status.conditions, ConditionType::ConfigEffective);
        return;
    }
    let mut message = "these keys belong to the cluster and have no effect on a session job: ".to_owned();
    for (n, key) in o.ineffective.iter().enumerate() {
        let comma = if n == 0 { "" } else { ", " };
        let _ = write!(message, "{comma}{key}");
    }
    message.push_str("; set them where the cluster is configured");
    condition::set(
        &mut status.conditions,
        ConditionType::ConfigEffective,
        ConditionStatus::False,
        Reason::ClusterScopedOption,
        &message,
        o.meta.generation,
        o.now,
    );
}

/// The registry id of a resource: 20 characters of `[A-Z0-9]`, derived from its UID.
#[must_use]
pub fn registry_id(uid: &str) -> String {
    const DIGITS: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let digest = Sha256::digest(uid.as_bytes());
    // 36^20 < 2^104: thirteen bytes hold the id, sixteen make the bias negligible.
    let mut number = digest
        .iter()
        .take(16)
        .fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    (0..20)
        .map(|_| {
            let digit = usize::try_from(number % 36).unwrap_or_default();
            number /= 36;
            DIGITS.get(digit).copied().map_or('0', char::from)
        })
        .collect()
}

/// Stamps a status that changed, and publishes what people should hear of.
pub(super) fn finish(o: &Observed<'_>, plan: Plan) -> Plan {
    let mut plan = safe::tell(o, plan);
    if plan.status != *o.status {
        plan.status.updated_at = Some(o.now);
        plan.status.runs.truncate(10);
        plan.status.state.take_if(|state| *state == StateRecord::default());
        size::trim(&mut plan.status);
        if let Some(note) = transition(o.status, &plan.status) {
            plan.notes.insert(0, note);
        }
    }
    if let Next::At(time) = plan.next
        && time <= o.now
    {
        plan.next = Next::At(after(o.now, std::time::Duration::from_millis(100)));
    }
    plan
}

/// The Event of a transition; one for each start, not one for each step of it.
fn transition(old: &JobStatus, new: &JobStatus) -> Option<Note> {
    let ready = condition::find(&new.conditions, ConditionType::Ready)?;
    let before = condition::find(&old.conditions, ConditionType::Ready);
    let same = old.phase == new.phase && before.is_some_and(|before| before.reason == ready.reason);
    let reason = Reason::ALL
        .iter()
        .copied()
        .find(|reason| reason.as_str() == ready.reason)?;
    let back = new.phase == Some(Phase::Running) && old.phase == Some(Phase::Unknown);
    if (same && old.attempt == new.attempt) || reason == Reason::Submitting || back {
        return None;
    }
    let stalled = condition::find(&new.conditions, ConditionType::Stalled).is_some();
    // A savepoint that failed is tried again, and somebody should know.
    let failed = reason == Reason::SavepointFailed;
    let warning = stalled || failed || new.phase == Some(Phase::Unknown);
    let kind = if warning { NoteKind::Warning } else { NoteKind::Normal };
    if recovered(old, new) {
        return Some(Note {
            kind,
            reason: Reason::Recovered,
            message: "the job runs again".to_owned(),
        });
    }
    Some(Note {
        kind,
        reason,
        message: ready.message.clone(),
    })
}

/// The job runs, after Flink or the operator had to start it again.
fn recovered(old: &JobStatus, new: &JobStatus) -> bool {
    let reason = |status: &JobStatus, reason: Reason| {
        let ready = condition::find(&status.conditions, ConditionType::Ready);
        ready.is_some_and(|ready| ready.reason == reason.as_str())
    };
    let runs = new.phase == Some(Phase::Running) && reason(new, Reason::Running);
    let before = new.runs.get(1).and_then(|run| run.outcome);
    let failed_before = matches!(
        before,
        Some(RunOutcome::Failed | RunOutcome::Lost | RunOutcome::Unknown)
    );
    let submitted = reason(old, Reason::Submitting) || reason(old, Reason::Restoring);
    let first = old.phase != Some(Phase::Running) && submitted && failed_before;
    runs && (first || reason(old, Reason::Restarting))
}

#[cfg(test)]
mod tests {
    use super::super::{
        Input, Permit, Slots,
        SubmitOutcome::Unknown,
        case::{Case, Reach, refusal, seen, told},
    };
    use super::*;
    use crate::{
        api::{
            job::{DesiredState, UpgradeMode},
            status::RunOutcome,
        },
        flink::JobState,
    };

    fn case(from: Case, change: impl FnOnce(&mut Case)) -> Case {
        let mut case = from;
        change(&mut case);
        case
    }

    fn desired(from: Case, state: DesiredState) -> Case {
        case(from, |case| case.edit(|spec| spec.state = state))
    }

    fn listed(state: JobState) -> Case {
        case(Case::running(), |case| case.list(state))
    }

    fn edited(from: Case) -> Case {
        case(from, |case| case.edit(|spec| spec.job.args.clear()))
    }

    /// Rule 22 of the contract, row by row.
    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn phase_and_conditions() {
        use DesiredState::{Cancelled, Draft, Suspended};
        let down = || Reach::Down(Reason::ClusterUnreachable);
        let rows: Vec<(Case, &str)> = vec![
            // Draft, Cancelled as asked, Suspended as asked, Finished
            (desired(Case::new(), Draft), "Draft/Draft Ready=True Running=False"),
            (
                desired(Case::ended(RunOutcome::Cancelled), Cancelled),
                "Cancelled/Cancelled Ready=True Running=False",
            ),
            (
                desired(Case::ended(RunOutcome::Suspended), Suspended),
                "Suspended/Suspended Ready=True Running=False",
            ),
            (
                desired(Case::new(), Suspended),
                "Suspended/Suspended Ready=True Running=False",
            ),
            (listed(JobState::Finished), "Finished/Finished Ready=True Running=False"),
            // Pending, Submitting, Restarting, Suspending, Cancelling
            (
                case(Case::new(), |case| case.reach = down()),
                "Pending/WaitingForCluster Ready=False Reconciling Running=False",
            ),
            (
                case(Case::new(), |case| {
                    case.session = Session::Absent { proven: false };
                    case.reach = Reach::NotPolled;
                }),
                "Pending/ClusterNotFound Ready=False Reconciling Running=False",
            ),
            (
                case(Case::new(), |case| case.permit = Permit::Waiting { long: true }),
                "Pending/Queued Ready=False Reconciling Running=False",
            ),
            (
                case(Case::new(), |case| case.slots = Slots::Free(1)),
                "Pending/InsufficientSlots Ready=False Reconciling Running=False",
            ),
            (
                Case::submitting(),
                "Submitting/Submitting Ready=False Reconciling Running=False",
            ),
            (
                listed(JobState::Created),
                "Submitting/Submitting Ready=False Reconciling Running=False",
            ),
            (
                edited(Case::running()),
                "Restarting/Upgrading Ready=False Reconciling Running=True",
            ),
            (
                case(edited(Case::running()), |case| case.slots = Slots::Free(-1)),
                "Restarting/InsufficientSlots Ready=False Reconciling Running=True",
            ),
            (
                case(edited(Case::running()), |case| {
                    case.jar = Input::Retrying(refusal(Reason::ArtifactNotFound));
                }),
                "Restarting/ArtifactNotFound Ready=False Reconciling Running=True",
            ),
            (
                desired(Case::running(), Suspended),
                "Suspending/Suspended Ready=False Reconciling Running=True",
            ),
            (
                desired(Case::running(), Cancelled),
                "Cancelling/Cancelled Ready=False Reconciling Running=True",
            ),
            // Running
            (Case::running(), "Running/Running Ready=True Running=True"),
            // Running, new spec refused
            (
                case(edited(Case::running()), |case| {
                    case.spec.upgrade_mode = UpgradeMode::LastState;
                }),
                "Running/UpgradeModeUnsupported Ready=False Stalled Running=True",
            ),
            (
                case(edited(Case::running()), |case| {
                    case.program = Input::Refused(refusal(Reason::UndefinedVariable));
                }),
                "Running/UndefinedVariable Ready=False Stalled Running=True",
            ),
            // Unknown
            (
                case(Case::running(), |case| case.reach = down()),
                "Unknown/ClusterUnreachable Ready=Unknown Reconciling Running=Unknown",
            ),
            (
                case(Case::running(), |case| {
                    case.session = Session::Absent { proven: true };
                    case.reach = Reach::NotPolled;
                }),
                "Unknown/ClusterNotFound Ready=Unknown Reconciling Running=Unknown",
            ),
            // Flink restarts the job
            (
                listed(JobState::Restarting),
                "Restarting/Restarting Ready=False Reconciling Running=False",
            ),
            // Failed, Lost without consent, ResultUnknown, invalid
            (
                listed(JobState::Failed),
                "Failed/JobFailed Ready=False Stalled Running=False",
            ),
            (
                case(Case::running(), |case| {
                    case.jobs.clear();
                    case.replace();
                    case.confirmed = true;
                }),
                "Lost/JobLost Ready=False Stalled Running=False",
            ),
            (
                case(Case::running(), |case| {
                    case.jobs.clear();
                    case.confirmed = true;
                }),
                "Lost/ResultUnknown Ready=False Stalled Running=False",
            ),
            (
                case(Case::submitted(Unknown(refusal(Reason::SubmissionTimeout))), |case| {
                    case.replace();
                    case.confirmed = true;
                }),
                "Failed/ResultUnknown Ready=False Stalled Running=False",
            ),
            (
                case(Case::new(), |case| {
                    case.program = Input::Refused(refusal(Reason::ConfigurationDenied));
                }),
                "Failed/ConfigurationDenied Ready=False Stalled Running=False",
            ),
            // Cancelled in Flink's UI (rule 14)
            (
                listed(JobState::Canceled),
                "Cancelled/Cancelled Ready=False Stalled Running=False",
            ),
            // Deleting: Running as it is
            (
                case(Case::running(), |case| case.deleting = true),
                "Deleting/Cancelled Ready=False Reconciling Running=True",
            ),
            (
                case(Case::running(), |case| {
                    case.deleting = true;
                    case.reach = down();
                }),
                "Deleting/DeletionBlocked Ready=False Reconciling Running=Unknown",
            ),
        ];
        for (n, (mut case, expected)) in rows.into_iter().enumerate() {
            let status = case.settle().status;
            assert_eq!(told(&status), expected, "row {n}");
            assert_eq!(status.observed_generation, case.generation, "row {n}");
            let ready = condition::find(&status.conditions, ConditionType::Ready).unwrap();
            assert_eq!(ready.observed_generation, Some(case.generation), "row {n}");
            let refused = condition::find(&status.conditions, ConditionType::Accepted).unwrap();
            let expected = ["UpgradeModeUnsupported", "UndefinedVariable", "ConfigurationDenied"];
            let invalid = expected.iter().any(|reason| told(&status).contains(reason));
            assert_eq!(refused.status == ConditionStatus::False, invalid, "row {n}");
        }
    }

    #[test]
    fn transition_times_stay_while_a_status_stands() {
        let mut case = Case::running();
        let ready = |case: &Case| {
            condition::find(&case.status.conditions, ConditionType::Ready)
                .unwrap()
                .clone()
        };
        let before = ready(&case);
        case.wait(60);
        case.edit(|spec| spec.description = Some("a live edit".to_owned()));
        case.settle();
        let after = ready(&case);
        assert_eq!(after.last_transition_time, before.last_transition_time);
        assert_eq!(
            (before.observed_generation, after.observed_generation),
            (Some(1), Some(2))
        );
        case.reach = Reach::Down(Reason::ClusterUnreachable);
        case.settle();
        assert_eq!(ready(&case).last_transition_time, case.now);
    }

    #[test]
    fn what_the_cluster_is_told_beside_the_job() {
        let cluster = |case: &mut Case| {
            let status = case.settle().status;
            let ready = condition::find(&status.conditions, ConditionType::ClusterReady).unwrap();
            (ready.status, ready.reason.clone())
        };
        let mut weak = Case::running();
        assert_eq!(cluster(&mut weak), (ConditionStatus::True, "Ready".to_owned()));
        weak.window = RetryWindow::Closed("web.upload.dir is set");
        assert_eq!(
            cluster(&mut weak),
            (ConditionStatus::True, "IdempotencyWeak".to_owned())
        );
        // A process that is not identified yet is no news.
        weak.job_manager = None;
        weak.still("follow/steady");
        weak.takes_jars = false;
        assert_eq!(
            cluster(&mut weak),
            (ConditionStatus::False, "SubmissionDisabled".to_owned())
        );
        weak.reach = Reach::Down(Reason::ClusterUnreachable);
        assert_eq!(
            cluster(&mut weak),
            (ConditionStatus::Unknown, "ClusterUnreachable".to_owned())
        );
        weak.reach = Reach::Down(Reason::Unauthorized);
        assert_eq!(cluster(&mut weak), (ConditionStatus::False, "Unauthorized".to_owned()));
    }

    #[test]
    fn a_cluster_that_takes_no_jars_is_no_fault_of_the_spec() {
        let mut case = Case::new();
        case.takes_jars = false;
        let status = case.settle().status;
        assert_eq!(
            told(&status),
            "Failed/SubmissionDisabled Ready=False Stalled Running=False"
        );
        let accepted = condition::find(&status.conditions, ConditionType::Accepted).unwrap();
        assert_eq!(accepted.status, ConditionStatus::True);
    }

    #[test]
    fn one_event_for_a_start_and_one_for_each_turn_of_events() {
        let mut case = Case::new();
        let reasons = |plan: &Plan| plan.notes.iter().map(|note| note.reason).collect::<Vec<_>>();
        assert_eq!(reasons(&case.persist("start/intend")), []);
        case.finalizer = true;
        case.list(JobState::Created);
        case.wait(6);
        assert_eq!(reasons(&case.persist("submit/seen")), []);
        case.list(JobState::Running);
        assert_eq!(reasons(&case.persist("follow/steady")), [Reason::Running]);
        case.reach = Reach::Down(Reason::ClusterUnreachable);
        assert_eq!(
            reasons(&case.persist("follow/unreachable")),
            [Reason::ClusterUnreachable]
        );
        case.reach = Reach::Up;
        assert_eq!(reasons(&case.persist("follow/steady")), [], "back as it was");
        case.list(JobState::Failed);
        let plan = case.persist("idle/rest");
        assert_eq!(
            (plan.notes[0].kind, plan.notes[0].reason),
            (NoteKind::Warning, Reason::JobFailed)
        );
    }

    #[test]
    fn keys_without_effect_are_listed() {
        let mut case = Case::running();
        case.ineffective = vec!["a.b".to_owned(), "c".to_owned()];
        let status = case.settle().status;
        let told = condition::find(&status.conditions, ConditionType::ConfigEffective).unwrap();
        assert!(
            told.status == ConditionStatus::False && told.message.contains("a.b, c"),
            "{}",
            told.message
        );
        case.ineffective.clear();
        let status = case.settle().status;
        assert_eq!(
            condition::find(&status.conditions, ConditionType::ConfigEffective),
            None
        );
    }

    #[test]
    fn only_ten_runs_are_kept() {
        let mut case = Case::running();
        let old = super::super::case::run(seen(case.id(), JobState::Finished).id, Some(RunOutcome::Replaced));
        case.status.runs.extend(vec![old; 12]);
        case.edit(|spec| spec.description = Some("x".to_owned()));
        assert_eq!(case.settle().status.runs.len(), 10);
    }

    #[test]
    fn the_registry_id_is_stable_and_plain() {
        let id = registry_id("3f0a7a0e-6d4e-4e8c-9a67-8d4b2b8f7f10");
        assert_eq!(
            (id.len(), id.as_str()),
            (20, registry_id("3f0a7a0e-6d4e-4e8c-9a67-8d4b2b8f7f10").as_str())
        );
        assert!(id.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()));
        assert_ne!(id, registry_id("3f0a7a0e-6d4e-4e8c-9a67-8d4b2b8f7f11"));
    }
}
