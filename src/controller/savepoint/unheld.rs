//! Savepoints that were deleted before the operator could hold them.
//!
//! A finalizer is put on as soon as `deletionPolicy: Dispose` is seen. Who sets the policy and deletes the resource in the next
//! moment is faster, and so is who takes the finalizer off by hand: the files stay, and that must not go untold.

use kube::{Resource, runtime::watcher::Event};

use crate::{
    api::{Reason, Savepoint, SavepointPhase},
    controller::context::Context,
    flink::UidHash,
    job::Note,
    plan::NoteKind,
};

/// Warns when a Savepoint is gone that was to be deleted with its files, and that this process has not let go.
pub(in crate::controller) fn warn(ctx: &Context, event: &Event<Savepoint>) {
    let Event::Delete(savepoint) = event else { return };
    let owner = UidHash::of(savepoint.meta().uid.as_deref().unwrap_or_default());
    let let_go = || ctx.savepoint_memories.with(owner, |memory| memory.let_go);
    let Some(path) = left(savepoint).filter(|_| !let_go()) else {
        return;
    };
    let path: String = path.chars().take(400).collect();
    let message = format!(
        "the resource was deleted before the operator could delete its files, which may be left in {path}. To \
         delete them, create a Savepoint with existing.path and deletionPolicy: Dispose, and delete it once it has a finalizer"
    );
    let note = Note {
        kind: NoteKind::Warning,
        reason: Reason::DeletionBlocked,
        message,
    };
    ctx.note(savepoint, note);
}

/// Where the files are that were to go with it.
fn left(savepoint: &Savepoint) -> Option<&str> {
    let status = savepoint.status.as_ref()?;
    let there = matches!(
        status.phase,
        Some(SavepointPhase::Completed | SavepointPhase::Disposing)
    );
    let to_go = savepoint.spec.disposes() && there && status.claimed_by.is_none();
    status.path.as_deref().filter(|_| to_go)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_left_where_they_were_to_go_and_nobody_saw_to_it() {
        let savepoint = |policy: &str, phase: &str, claimed_by: Option<&str>| -> Savepoint {
            serde_json::from_value(serde_json::json!({
                "apiVersion": "flinkjobs.dev/v1alpha1",
                "kind": "Savepoint",
                "metadata": { "name": "s", "namespace": "n" },
                "spec": { "existing": { "path": "s3://b/s" }, "deletionPolicy": policy },
                "status": { "observedGeneration": 1, "phase": phase, "path": "s3://b/s", "claimedBy": claimed_by },
            }))
            .unwrap()
        };
        assert_eq!(left(&savepoint("Dispose", "Completed", None)), Some("s3://b/s"));
        assert_eq!(left(&savepoint("Dispose", "Disposing", None)), Some("s3://b/s"));
        assert_eq!(left(&savepoint("Retain", "Completed", None)), None);
        assert_eq!(left(&savepoint("Dispose", "Failed", None)), None);
        assert_eq!(left(&savepoint("Dispose", "Completed", Some("job/j"))), None);
    }
}
