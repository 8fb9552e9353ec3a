//! Addresses that are kept in Secrets.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use kube::Client;
use parking_lot::Mutex;
use url::Url;

use super::{outbox::Outcome, place::parse};
use crate::{
    api::job::SecretKeyRef,
    kubernetes::{UsableBy, secret_text, usable_secret},
};

/// The time for one GET.
const DEADLINE: Duration = Duration::from_secs(5);
/// Addresses that are remembered at most.
const CAPACITY: usize = 1024;

type Key = (Box<str>, SecretKeyRef);

/// Reads addresses from Secrets, and remembers each for a short time: a burst of notices is one GET.
pub(super) struct SecretUrls {
    client: Client,
    age: Duration,
    known: Mutex<HashMap<Key, (Instant, Url)>>,
}

impl SecretUrls {
    pub(super) fn new(client: Client, age: Duration) -> Self {
        let known = Mutex::default();
        Self { client, age, known }
    }

    /// The address under a key of a Secret of the namespace. The error's words do not repeat it.
    pub(super) async fn url(&self, namespace: &str, key: &SecretKeyRef) -> Result<Url, Outcome> {
        let known = (Box::from(namespace), key.clone());
        if let Some((at, url)) = self.known.lock().get(&known)
            && at.elapsed() < self.age
        {
            return Ok(url.clone());
        }
        let began = Instant::now();
        let found = match usable_secret(&self.client, DEADLINE, namespace, &key.name, UsableBy::Jobs).await {
            Ok(found) => found.map_err(|unusable| Outcome::Refused(unusable.to_string()))?,
            Err(error) => {
                let why = format!("Secret {:?} could not be read: {}", key.name, error.reason());
                return Err(Outcome::Later { why, wait: None });
            }
        };
        let of_key = || format!("Secret {:?}, key {:?}", key.name, key.key);
        // Whoever writes a Secret with an editor leaves a line break at its end.
        let text = secret_text(&found, &key.key);
        let text = text.ok_or_else(|| Outcome::Refused(format!("{} does not exist or is no text", of_key())))?;
        let url = parse(text.trim()).map_err(|why| Outcome::Refused(format!("{}: it {why}", of_key())))?;
        let mut all = self.known.lock();
        if all.len() >= CAPACITY {
            all.retain(|_, (at, _)| at.elapsed() < self.age);
        }
        if all.len() < CAPACITY {
            all.insert(known, (began, url.clone()));
        }
        Ok(url)
    }
}
