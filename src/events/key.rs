//! When two Events are the same.

use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::api::core::v1::ObjectReference;

use super::{Event, EventType};

/// The same words about the same object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) object: Box<str>,
    pub(super) kind: EventType,
    pub(super) reason: &'static str,
    pub(super) action: &'static str,
    /// Hash of the note, so that notes need not be kept.
    pub(super) note: u64,
}

impl Key {
    pub(super) fn of(event: &Event) -> Self {
        let mut note = DefaultHasher::new();
        event.note.hash(&mut note);
        Self {
            object: identity(&event.object),
            kind: event.kind,
            reason: event.reason,
            action: event.action,
            note: note.finish(),
        }
    }
}

/// The UID where there is one; else what names the object.
fn identity(object: &ObjectReference) -> Box<str> {
    match object.uid.as_deref() {
        Some(uid) if !uid.is_empty() => uid.into(),
        _ => {
            let part = |part: &Option<String>| part.clone().unwrap_or_default();
            format!(
                "{}/{}/{}",
                part(&object.kind),
                part(&object.namespace),
                part(&object.name)
            )
            .into()
        }
    }
}
