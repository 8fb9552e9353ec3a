//! When sessions were resolved to an address.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::context::Context;
use crate::{
    api::FlinkSession,
    registry::{Connection, Reach, SessionKey},
};

/// Credentials are read again this often, and after they were refused.
pub(super) const CREDENTIALS_AGAIN: Duration = Duration::from_secs(60);

/// When sessions were resolved: a change on the cluster alone is no reason to read Services and Secrets again.
#[derive(Debug, Default)]
pub(super) struct Resolutions {
    made: Mutex<HashMap<SessionKey, (i64, Instant)>>,
}

impl Resolutions {
    pub(super) fn note(&self, key: &SessionKey, session: &FlinkSession) {
        let generation = session.metadata.generation.unwrap_or_default();
        let mut made = self.made.lock();
        let entry = made.entry(key.clone()).or_insert_with(|| (generation, Instant::now()));
        if entry.0 != generation || entry.1.elapsed() >= CREDENTIALS_AGAIN {
            *entry = (generation, Instant::now());
        }
    }

    /// The connection of a session that answers, and that was resolved for this spec not long ago.
    pub(super) fn still_good(&self, ctx: &Context, key: &SessionKey, session: &FlinkSession) -> Option<Connection> {
        let (generation, at) = *self.made.lock().get(key)?;
        let cluster = ctx
            .registry
            .cluster(key)
            .filter(|cluster| cluster.state().reach == Reach::Up)?;
        let current = Some(generation) == session.metadata.generation && at.elapsed() < CREDENTIALS_AGAIN;
        current.then(|| cluster.connection().clone())
    }
}
