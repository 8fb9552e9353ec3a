//! What an edit of the spec asks for, compared with the spec that was accepted last.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::{Observed, Refusal, scheduled};
use crate::{
    api::{FlinkSessionJobSpec, Reason, job::Restore},
    notify,
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
    differs(spec.restart_nonce, accepted.restart_nonce) || forces_restore(spec, accepted)
}

fn differs(new: Option<i64>, old: Option<i64>) -> bool {
    new.is_some() && new != old
}

/// Whether the user asks for a start from what `spec.restore` says.
pub(super) fn forces_restore(spec: &FlinkSessionJobSpec, accepted: &FlinkSessionJobSpec) -> bool {
    let nonce = |spec: &FlinkSessionJobSpec| spec.restore.as_ref().and_then(|restore| restore.nonce);
    differs(nonce(spec), nonce(accepted))
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

/// Why the spec cannot be accepted, whatever the cluster says.
pub(super) fn refused(o: &Observed<'_>) -> Option<Refusal> {
    unsupported(o.spec).or_else(|| o.refused.cloned())
}

/// What the spec alone is refused for: what cannot be, and fields of the API that this version cannot honour: a promise that is not kept must not be accepted.
pub(super) fn unsupported(spec: &FlinkSessionJobSpec) -> Option<Refusal> {
    let refuse = |what: &str, instead: &str| {
        let message = format!("{what} is not available for session jobs in this version; {instead}");
        Some(Refusal::new(Reason::InvalidSpec, message))
    };
    if let Some(Err(invalid)) = scheduled::of(spec) {
        return Some(Refusal::new(Reason::InvalidSpec, invalid.to_string()));
    }
    if let Err(why) = notify::check(&spec.notifications) {
        return Some(Refusal::new(Reason::InvalidSpec, why));
    }
    if !spec.job.dependency_jars.is_empty() || !spec.job.dependency_files.is_empty() {
        return refuse(
            "spec.job.dependencyJars and dependencyFiles",
            "build one jar that holds everything",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::{RetryWindow, case::Case};
    use super::*;
    use crate::api::{
        GoDuration, JobStatus,
        job::{
            Dependency, LocalRef, Notification, OnUnknownResult, RestartPolicy, SavepointPolicy, SlotCheck,
            UpgradeMode, VariableSource,
        },
        status::{Failure, Run, RunOutcome},
    };

    type Edit = fn(&mut FlinkSessionJobSpec);

    fn after(edit: Edit) -> Change {
        let accepted = Case::new().spec;
        let mut spec = accepted.clone();
        edit(&mut spec);
        change(&spec, Some(&accept(&accepted)))
    }

    #[test]
    fn what_is_in_the_program_restarts_the_job() {
        let edits: [Edit; 9] = [
            |spec| spec.job_name = Some("other".to_owned()),
            |spec| spec.job.jar_uri = Some("https://repo.example/y.jar".to_owned()),
            |spec| spec.job.sha256 = Some("0".repeat(64)),
            |spec| spec.job.entry_class = Some("B".to_owned()),
            |spec| spec.job.args.clear(),
            |spec| spec.job.parallelism = Some(3),
            |spec| drop(spec.flink_configuration.insert("a".to_owned(), "b".to_owned())),
            |spec| drop(spec.variables.insert("a".to_owned(), "b".to_owned())),
            |spec| spec.restart_nonce = Some(1),
        ];
        for (n, edit) in edits.into_iter().enumerate() {
            assert_eq!(after(edit), Change::Restart, "edit {n}");
        }
        assert_eq!(change(&Case::new().spec, None), Change::Restart);
    }

    #[test]
    fn live_fields_do_not() {
        let live: [Edit; 6] = [
            |spec| spec.upgrade_mode = UpgradeMode::Savepoint,
            |spec| spec.restart_policy = Some(RestartPolicy::default()),
            |spec| spec.deletion_policy = Some(crate::api::job::DeletionPolicy::default()),
            |spec| spec.slot_check = Some(SlotCheck::Off),
            |spec| spec.submit_timeout = Some(GoDuration::from_secs(5)),
            |spec| spec.on_unknown_result = Some(OnUnknownResult::Resubmit),
        ];
        for (n, edit) in live.into_iter().enumerate() {
            assert_eq!(after(edit), Change::Live, "edit {n}");
        }
        // Outside of every decision, or inert until the next start.
        let inert: [Edit; 5] = [
            |spec| spec.description = Some("x".to_owned()),
            |spec| drop(spec.tags.insert("a".to_owned(), "b".to_owned())),
            |spec| spec.savepoint_policy = Some(SavepointPolicy::default()),
            |spec| spec.notifications = vec![notification("n", 5)],
            |spec| spec.restore = Some(Restore::default()),
        ];
        for (n, edit) in inert.into_iter().enumerate() {
            assert_eq!(after(edit), Change::None, "edit {n}");
        }
    }

    // Rule 17: only a later difference of a nonce acts.
    #[test]
    fn a_nonce_acts_when_it_is_set_to_another_value() {
        let nonces = [
            (None, None, false),
            (None, Some(1), true),
            (Some(1), Some(2), true),
            (Some(1), Some(1), false),
        ];
        for (old, new, acts) in nonces.into_iter().chain([(Some(1), None, false)]) {
            let mut accepted = Case::new().spec;
            let mut spec = accepted.clone();
            (accepted.restart_nonce, spec.restart_nonce) = (old, new);
            let restart = change(&spec, Some(&accept(&accepted))) == Change::Restart;
            assert_eq!(
                (restart, consents(&spec, &accept(&accepted))),
                (acts, acts),
                "{old:?} to {new:?}"
            );
            let restore = |nonce| {
                Some(Restore {
                    nonce,
                    ..Restore::default()
                })
            };
            (accepted.restart_nonce, spec.restart_nonce) = (None, None);
            (accepted.restore, spec.restore) = (restore(old), restore(new));
            assert_eq!(
                consents(&spec, &accept(&accepted)),
                acts,
                "restore.nonce {old:?} to {new:?}"
            );
        }
    }

    fn notification(name: &str, length: usize) -> Notification {
        Notification {
            name: name.to_owned(),
            url: Some("u".repeat(length)),
            url_secret_ref: None,
            on: Vec::new(),
        }
    }

    #[test]
    fn promises_that_cannot_be_kept_are_not_made() {
        let edits: [(Edit, &str); 4] = [
            (
                |spec| {
                    spec.savepoint_policy = Some(SavepointPolicy {
                        schedule: Some("0 0 30 2 *".to_owned()),
                        ..SavepointPolicy::default()
                    });
                },
                "spec.savepointPolicy.schedule",
            ),
            (
                |spec| spec.notifications = vec![notification("n", 5)],
                "spec.notifications",
            ),
            (
                |spec| {
                    spec.job.dependency_jars = vec![Dependency {
                        uri: "x".to_owned(),
                        sha256: None,
                    }];
                },
                "spec.job.dependencyJars",
            ),
            (|spec| spec.upgrade_mode = UpgradeMode::LastState, ""),
        ];
        for (edit, field) in edits {
            let mut spec = Case::new().spec;
            edit(&mut spec);
            let refusal = unsupported(&spec);
            assert_eq!(refusal.is_some(), !field.is_empty(), "{field}");
            if let Some(refusal) = refusal {
                assert!(refusal.message.contains(field), "{}", refusal.message);
            }
        }
    }

    /// As large as the schema allows, in characters that take the most room.
    fn largest() -> FlinkSessionJobSpec {
        let mut spec = Case::new().spec;
        let long = |n: usize| "\u{1}".repeat(n);
        spec.description = Some(long(512));
        spec.job_name = Some("x".repeat(256));
        spec.job.jar_uri = Some(long(2048));
        spec.job.args = vec![long(24); 256];
        spec.job.entry_class = Some("x".repeat(512));
        for n in 0..128 {
            spec.flink_configuration.insert(format!("{n:020}"), long(28));
            spec.variables.insert(format!("{n:012}"), long(20));
        }
        for n in 0..20 {
            spec.tags.insert(format!("{n:0128}"), long(255));
        }
        let name = "x".repeat(253);
        spec.session_ref.name.clone_from(&name);
        let source = VariableSource {
            config_map_ref: Some(LocalRef { name }),
            secret_ref: None,
        };
        spec.variables_from = vec![source; 16];
        spec.restore = Some(Restore {
            path: Some(long(1024)),
            nonce: Some(1),
            ..Restore::default()
        });
        spec.notifications = vec![notification(&"n".repeat(63), 2048); 8];
        spec
    }

    #[test]
    fn what_is_too_long_to_be_kept_is_still_compared() {
        let spec = largest();
        let accepted = accept(&spec);
        assert!(serde_json::to_vec(&accepted).unwrap().len() < 4096);
        assert_eq!(change(&spec, Some(&accepted)), Change::None);
        for edit in [
            |spec: &mut FlinkSessionJobSpec| spec.job.args[7].push('x'),
            |spec: &mut FlinkSessionJobSpec| drop(spec.variables.insert("new".to_owned(), String::new())),
            |spec: &mut FlinkSessionJobSpec| spec.variables_from.truncate(3),
            |spec: &mut FlinkSessionJobSpec| spec.job.jar_uri = None,
        ] {
            let mut spec = spec.clone();
            edit(&mut spec);
            assert_eq!(change(&spec, Some(&accepted)), Change::Restart);
        }
        let mut live = spec.clone();
        live.slot_check = Some(SlotCheck::Off);
        assert_eq!(change(&live, Some(&accepted)), Change::Live);
    }

    /// A status with everything in it that can be, as long as it can be.
    fn fullest(spec: FlinkSessionJobSpec) -> JobStatus {
        let message = || "\"".repeat(5000);
        let mut case = Case::running();
        case.spec = spec;
        case.generation = i64::MAX;
        case.status.accepted_spec = Some(accept(&case.spec));
        let run = Run {
            attempt: i64::MAX,
            start_time: Some(case.now),
            end_time: Some(case.now),
            job_manager: Some("x".repeat(64)),
            ..case.status.runs[0].clone()
        };
        case.status.runs = vec![
            Run {
                outcome: Some(RunOutcome::Suspended),
                ..run
            };
            10
        ];
        case.status.runs[0].outcome = None;
        case.status.job_manager_address = Some("x".repeat(512));
        case.status.web_ui_url = Some("x".repeat(640));
        case.status.failure = Some(Failure {
            reason: "x".repeat(64),
            message: crate::api::condition::bounded(&message()),
            time: Some(case.now),
            root_cause: Some(crate::api::condition::bounded(&message())),
        });
        case.window = RetryWindow::Closed("x");
        case.ineffective = vec!["x".repeat(200); 128];
        case.list(crate::flink::JobState::Running);
        let mut status = case.settle().status;
        // A submission and a cancellation that are under way take some more.
        status.intent = Case::submitting().status.intent;
        status.intent_mut().cancel = Some(crate::api::status::CancelIntent {
            job_id: case.id(),
            purpose: crate::api::status::CancelPurpose::Upgrade,
            last_state: true,
        });
        for condition in &mut status.conditions {
            condition.message = crate::api::condition::bounded(&message());
            condition.reason = Reason::UpgradeModeUnsupported.to_string();
        }
        assert_eq!(
            status.conditions.len(),
            6,
            "Ready, Stalled, Accepted, ClusterReady, Running, ConfigEffective"
        );
        status
    }

    // `api.md`: at most 32 KiB, whatever the spec and the messages are.
    #[test]
    fn the_largest_status_is_bounded() {
        let mut medium = largest();
        // Just short enough to be kept whole.
        medium.job.args.truncate(10);
        medium.job.jar_uri = None;
        medium.flink_configuration.clear();
        medium.variables.clear();
        medium.variables_from.clear();
        while serde_json::to_vec(&accept(&medium)).unwrap().len() < MAX_ACCEPTED - 400 && medium.job.args.len() < 256 {
            medium.job.args.push("\u{1}".repeat(24));
        }
        assert_eq!(accept(&medium).description, None, "kept whole");
        for spec in [largest(), medium] {
            let length = serde_json::to_vec(&fullest(spec)).unwrap().len();
            assert!(length <= 32 * 1024, "{length}");
        }
    }
}
