//! How many fetch at once.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::policy::ArtifactPolicy;

/// How many may fetch at once, in all and for each namespace.
pub(super) struct Turns {
    pub(super) all: Semaphore,
    for_each: usize,
    namespaces: Mutex<HashMap<String, Weak<Semaphore>>>,
    numbers: AtomicU64,
}

impl Turns {
    pub(super) fn new(policy: &ArtifactPolicy) -> Self {
        Self {
            all: Semaphore::new(policy.concurrent.max(1)),
            for_each: policy.concurrent_per_namespace.max(1),
            namespaces: Mutex::default(),
            numbers: AtomicU64::new(0),
        }
    }

    pub(super) fn of_namespace(&self, namespace: &str) -> Arc<Semaphore> {
        let mut namespaces = self.namespaces.lock();
        if let Some(turns) = namespaces.get(namespace).and_then(Weak::upgrade) {
            return turns;
        }
        namespaces.retain(|_, turns| turns.strong_count() > 0);
        let turns = Arc::new(Semaphore::new(self.for_each));
        namespaces.insert(namespace.to_owned(), Arc::downgrade(&turns));
        turns
    }

    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }
}
