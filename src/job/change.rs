//! What a spec asks for, compared with the accepted one and with what this version can do.

use super::Refusal;
use crate::api::{
    FlinkSessionJobSpec, Reason,
    job::{DeletionType, RestartType, RestoreFrom},
};

/// What applying a spec over the accepted one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Live,
    Restart,
}

/// The parts of a spec whose change restarts the job.
fn restarting(spec: &FlinkSessionJobSpec) -> impl PartialEq + '_ {
    (
        (
            &spec.job_name,
            &spec.job,
            &spec.flink_configuration,
            &spec.variables,
            &spec.variables_from,
        ),
        (
            spec.restart_nonce,
            spec.restore.as_ref().and_then(|restore| restore.nonce),
        ),
    )
}

/// Compares a spec with the accepted one.
pub(super) fn change(spec: &FlinkSessionJobSpec, accepted: Option<&FlinkSessionJobSpec>) -> Change {
    match accepted {
        Some(accepted) if accepted == spec => Change::None,
        Some(accepted) if restarting(accepted) == restarting(spec) => Change::Live,
        Some(_) | None => Change::Restart,
    }
}

/// Fields of the API that this version cannot honour: a promise that is not kept must not be accepted.
pub(super) fn unsupported(spec: &FlinkSessionJobSpec) -> Option<Refusal> {
    let refuse = |what: &str, instead: &str| {
        let message = format!("{what} is not available for session jobs in this version; {instead}");
        Some(Refusal::new(Reason::InvalidSpec, message))
    };
    let restore = spec.restore.clone().unwrap_or_default();
    if restore.from.unwrap_or_default() != RestoreFrom::None {
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
