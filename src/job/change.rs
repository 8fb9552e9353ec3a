//! What an edit of the spec asks for, compared with the spec that was accepted last.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::Refusal;
use crate::api::{
    FlinkSessionJobSpec, Reason,
    job::{DeletionType, RestartType, Restore, RestoreFrom},
};

/// What applying a spec over the accepted one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// It is taken over without a restart.
    Live,
    /// It takes another run.
    Restart,
}

/// The longest accepted spec that is kept whole, in bytes of JSON. It leaves room for the rest of a status of 32 KiB.
const MAX_ACCEPTED: usize = 16 * 1024;

/// The record of an accepted spec: what later edits are compared with.
///
/// Fields that no decision depends on are left out. What is too long to be kept is replaced by its digest in
/// `description`: that is enough to see whether it was edited.
pub(super) fn accept(spec: &FlinkSessionJobSpec) -> Box<FlinkSessionJobSpec> {
    let nonce = spec.restore.as_ref().and_then(|restore| restore.nonce);
    let mut accepted = FlinkSessionJobSpec {
        description: None,
        tags: std::collections::BTreeMap::new(),
        notifications: Vec::new(),
        savepoint_policy: None,
        restore: nonce.map(|nonce| Restore {
            nonce: Some(nonce),
            ..Restore::default()
        }),
        ..spec.clone()
    };
    let length = serde_json::to_vec(&accepted).map_or(usize::MAX, |json| json.len());
    if length > MAX_ACCEPTED {
        accepted.description = Some(digest(spec));
        accepted.job.jar_uri = None;
        accepted.job.args.clear();
        accepted.job.dependency_jars.clear();
        accepted.job.dependency_files.clear();
        accepted.flink_configuration.clear();
        accepted.variables.clear();
        accepted.variables_from.clear();
    }
    Box::new(accepted)
}

/// The digest of the parts that [`accept`] may leave out.
fn digest(spec: &FlinkSessionJobSpec) -> String {
    let parts = (
        &spec.job,
        &spec.flink_configuration,
        &spec.variables,
        &spec.variables_from,
    );
    let json = serde_json::to_vec(&parts).unwrap_or_default();
    Sha256::digest(json)
        .iter()
        .fold("too long to be kept, sha256:".to_owned(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Whether the user's word to start again was given: a nonce was set to another value. A nonce that is taken out, or one
/// that stood there from the beginning, asks for nothing.
pub(super) fn consents(spec: &FlinkSessionJobSpec, accepted: &FlinkSessionJobSpec) -> bool {
    let differs = |new: Option<i64>, old: Option<i64>| new.is_some() && new != old;
    let restore = |spec: &FlinkSessionJobSpec| spec.restore.as_ref().and_then(|restore| restore.nonce);
    differs(spec.restart_nonce, accepted.restart_nonce) || differs(restore(spec), restore(accepted))
}

fn same_program(spec: &FlinkSessionJobSpec, accepted: &FlinkSessionJobSpec) -> bool {
    let parts = match accepted.description.as_deref() {
        Some(kept) => kept == digest(spec),
        None => {
            spec.job == accepted.job
                && spec.flink_configuration == accepted.flink_configuration
                && spec.variables == accepted.variables
                && spec.variables_from == accepted.variables_from
        }
    };
    parts && spec.job_name == accepted.job_name
}

fn same_policies(spec: &FlinkSessionJobSpec, accepted: &FlinkSessionJobSpec) -> bool {
    spec.state == accepted.state
        && spec.upgrade_mode == accepted.upgrade_mode
        && spec.restart_policy == accepted.restart_policy
        && spec.on_unknown_result == accepted.on_unknown_result
        && spec.submit_timeout == accepted.submit_timeout
        && spec.slot_check == accepted.slot_check
        && spec.adopt == accepted.adopt
        && spec.restart_nonce == accepted.restart_nonce
        && spec.deletion_policy == accepted.deletion_policy
}

/// Compares a spec with the accepted one.
pub(super) fn change(spec: &FlinkSessionJobSpec, accepted: Option<&FlinkSessionJobSpec>) -> Change {
    match accepted {
        None => Change::Restart,
        Some(accepted) if !same_program(spec, accepted) || consents(spec, accepted) => Change::Restart,
        Some(accepted) if !same_policies(spec, accepted) => Change::Live,
        Some(_) => Change::None,
    }
}

/// Fields of the API that this version cannot honour: a promise that is not kept must not be accepted.
pub(super) fn unsupported(spec: &FlinkSessionJobSpec) -> Option<Refusal> {
    let refuse = |what: &str, instead: &str| {
        let message = format!("{what} is not available for session jobs in this version; {instead}");
        Some(Refusal::new(Reason::InvalidSpec, message))
    };
    let from = spec.restore.as_ref().and_then(|restore| restore.from);
    if from.unwrap_or_default() != RestoreFrom::None {
        let message = "spec.restore.from asks for state, which this version cannot restore; the job is not started empty \
                       instead. To start it empty, set restore.from: None";
        return Some(Refusal::new(Reason::UpgradeModeUnsupported, message));
    }
    if spec.restart_policy.as_ref().and_then(|policy| policy.kind) == Some(RestartType::OnFailure) {
        return refuse(
            "spec.restartPolicy.type: OnFailure",
            "use Flink's restart-strategy, and Never here",
        );
    }
    if spec.deletion_policy.as_ref().and_then(|policy| policy.kind) == Some(DeletionType::Savepoint) {
        return refuse("spec.deletionPolicy.type: Savepoint", "use Cancel or Orphan");
    }
    if spec.savepoint_policy.is_some() {
        return refuse("spec.savepointPolicy", "leave it out");
    }
    if !spec.notifications.is_empty() {
        return refuse("spec.notifications", "leave it out; Events tell the same");
    }
    if !spec.job.dependency_jars.is_empty() || !spec.job.dependency_files.is_empty() {
        return refuse(
            "spec.job.dependencyJars and dependencyFiles",
            "build one jar that holds everything",
        );
    }
    None
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
