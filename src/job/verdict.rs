//! From a decision to phase and conditions: the one table of what people and tools read.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::{ClusterView, Note, NoteKind, Observed, Plan, Refusal, RetryWindow, Session, backoff::after, plan::Next};
use crate::api::{
    JobStatus, Phase, Reason,
    condition::{self, ConditionStatus, ConditionType},
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
pub(super) fn finish(o: &Observed<'_>, mut plan: Plan) -> Plan {
    if plan.status != *o.status {
        plan.status.updated_at = Some(o.now);
        plan.status.runs.truncate(10);
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
    let warning = stalled || new.phase == Some(Phase::Unknown);
    let kind = if warning { NoteKind::Warning } else { NoteKind::Normal };
    Some(Note {
        kind,
        reason,
        message: ready.message.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
