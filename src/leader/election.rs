//! Takes part in the election: the elector's turns, carried out against the API server.

use std::{
    fmt,
    time::{Duration, Instant},
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, api::PostParams};
use tokio_util::sync::CancellationToken;

use super::{
    Leadership, Timing,
    elector::{Elector, LostBecause, Turn, Written},
    lease::{in_our_name, record, released},
};
use crate::{
    kubernetes::{ApiError, within},
    server::Beat,
};

/// How often a release is tried when the Lease changes under it.
const RELEASE_TRIES: u32 = 3;

/// Why a term ended. The process must stop all work and exit with an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// No renewal succeeded within the renew deadline.
    #[error("leadership lost: Lease {lease} could not be renewed within {} s; last failure: {failure}", deadline.as_secs_f32())]
    NotRenewed {
        /// `namespace/name`.
        lease: String,
        /// The renew deadline.
        deadline: Duration,
        /// What the last call came to.
        failure: String,
    },
    /// Another replica's name stands in the Lease, although ours had not run out.
    #[error("leadership lost: Lease {lease} was taken by {holder}; was it edited or deleted by hand?")]
    TakenBy {
        /// `namespace/name`.
        lease: String,
        /// The other replica.
        holder: String,
    },
}

/// The election cannot even begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElectionError {
    /// See [`super::InvalidTiming`].
    #[error(transparent)]
    Timing(#[from] super::InvalidTiming),
    /// An empty name in the Lease means that nobody holds it.
    #[error("leader election needs a non-empty identity: set POD_NAME or --identity")]
    NoIdentity,
}

/// A name for this process: the pod's name and a random part, so that a restarted container is not taken for the one that
/// died and may have left requests on the wire.
#[must_use]
pub fn unique_identity(pod: &str) -> String {
    let mut bytes = [0; 4];
    let source = rustls::crypto::ring::default_provider().secure_random;
    // Without randomness the process id tells two containers of one pod apart well enough.
    let unique = source
        .fill(&mut bytes)
        .map_or_else(|_| std::process::id(), |()| u32::from_be_bytes(bytes));
    format!("{pod}_{unique:08x}")
}

/// One candidate's part in the election. Run it with [`Election::run`]; ask the [`Leadership`] that comes with it.
pub struct Election {
    leases: Api<Lease>,
    namespace: String,
    name: String,
    identity: String,
    timing: Timing,
    leadership: Leadership,
    elector: Elector,
    /// The Lease as it was last read or written, for the fields that are not ours.
    stored: Option<Lease>,
    failure: String,
}

impl fmt::Debug for Election {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Election")
            .field("identity", &self.identity)
            .field("elector", &self.elector)
            .finish_non_exhaustive()
    }
}

impl Drop for Election {
    /// Whatever ends the election (an error, a panic, a dropped task) ends the term.
    fn drop(&mut self) {
        self.leadership.end();
    }
}

impl Election {
    /// A candidate named `identity` for the Lease `namespace/name`.
    ///
    /// Give it a client of its own: requests of others must not stand before a renewal. Needs `get`, `create` and
    /// `update` on leases.
    ///
    /// # Errors
    /// [`ElectionError`] when the timing or the identity cannot work.
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: String,
        timing: Timing,
    ) -> Result<(Self, Leadership), ElectionError> {
        let timing = timing.checked()?;
        if identity.is_empty() {
            return Err(ElectionError::NoIdentity);
        }
        let leadership = Leadership::candidate();
        let election = Self {
            leases: Api::namespaced(client, namespace),
            namespace: namespace.into(),
            name: name.into(),
            elector: Elector::new(identity.clone(), timing),
            identity,
            timing,
            leadership: leadership.clone(),
            stored: None,
            failure: "none".into(),
        };
        Ok((election, leadership))
    }

    /// Takes part until `shutdown`, then gives the Lease back so that the next leader need not wait.
    ///
    /// Cancel `shutdown` only when all work has stopped: another replica may lead at once. `beat` shows the liveness probe
    /// that the loop turns.
    ///
    /// # Errors
    /// [`Lost`] when a term ended. [`Leadership::lost`] is cancelled before this returns.
    pub async fn run(mut self, beat: Option<Beat>, shutdown: CancellationToken) -> Result<(), Lost> {
        tracing::info!(lease = %self.lease(), identity = %self.identity, "taking part in the leader election");
        let mut told = None;
        loop {
            if let Some(beat) = &beat {
                beat.tick();
            }
            let turn = self.elector.turn(Instant::now());
            let step = async {
                match turn {
                    Turn::Read => self.read().await,
                    Turn::Create => self.write(true).await,
                    Turn::Replace { take, .. } => self.write(take).await,
                    Turn::Sleep(until) => {
                        // Never past the end of the term: its work must be cancelled then.
                        let until = self.elector.valid_until().map_or(until, |end| end.min(until));
                        tokio::time::sleep_until(until.into()).await;
                    }
                    Turn::Lost(because) => return Err(because),
                }
                Ok(())
            };
            let step = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                step = step => step,
            };
            if let Err(because) = step {
                self.leadership.end();
                let lost = self.lost(because);
                tracing::error!("{lost}");
                return Err(lost);
            }
            self.tell(&mut told);
        }
        self.leadership.end();
        self.release().await;
        Ok(())
    }

    fn lease(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    fn lost(&self, because: LostBecause) -> Lost {
        let lease = self.lease();
        match because {
            LostBecause::NotRenewed => Lost::NotRenewed {
                lease,
                deadline: self.timing.renew_deadline,
                failure: self.failure.clone(),
            },
            LostBecause::TakenBy(holder) => Lost::TakenBy { lease, holder },
        }
    }

    /// One line for each change of who leads.
    fn tell(&self, told: &mut Option<String>) {
        let holder = if self.leadership.is_leader() {
            Some(self.identity.as_str())
        } else {
            self.elector.holder()
        };
        if holder == told.as_deref() {
            return;
        }
        *told = holder.map(ToOwned::to_owned);
        match holder {
            Some(holder) if holder == self.identity => tracing::info!(lease = %self.lease(), %holder, "leading"),
            Some(holder) => tracing::info!(lease = %self.lease(), %holder, "standing by"),
            None => {}
        }
    }

    /// Time for one request: half the renew deadline, as client-go does, so that a hung connection leaves time for a second
    /// try; and never past the end of the term.
    fn patience(&self, now: Instant) -> Duration {
        let half = self.timing.renew_deadline / 2;
        self.elector
            .valid_until()
            .map_or(half, |end| end.saturating_duration_since(now).min(half))
    }

    async fn read(&mut self) {
        let started = Instant::now();
        match within(self.patience(started), "get lease", self.leases.get_opt(&self.name)).await {
            Ok(lease) => {
                self.elector.read(lease.as_ref().map(record), Instant::now());
                self.stored = lease;
            }
            Err(error) => {
                self.failed(&error);
                self.elector.read_failed(started);
            }
        }
    }

    async fn write(&mut self, take: bool) {
        let started = Instant::now();
        let wanted = in_our_name(
            self.stored.as_ref(),
            &self.name,
            &self.identity,
            self.timing.lease_duration,
            take,
        );
        let patience = self.patience(started);
        let options = PostParams::default();
        let result = match &self.stored {
            None => within(patience, "create lease", self.leases.create(&options, &wanted)).await,
            // `wanted` carries the resourceVersion that was read: the server refuses it if anything changed since.
            Some(_) => {
                within(
                    patience,
                    "replace lease",
                    self.leases.replace(&self.name, &options, &wanted),
                )
                .await
            }
        };
        let now = Instant::now();
        match result {
            Ok(lease) => {
                self.elector.wrote(started, Written::Stored(record(&lease)), now);
                self.stored = Some(lease);
                if let Some(until) = self.elector.valid_until() {
                    self.leadership.extend(until);
                }
            }
            Err(error) => {
                self.failed(&error);
                let changed = error.is_conflict() || error.is_already_exists() || error.is_not_found();
                self.elector
                    .wrote(started, if changed { Written::Changed } else { Written::Unknown }, now);
            }
        }
    }

    fn failed(&mut self, error: &ApiError) {
        // To lose a race is how candidates find out who leads.
        if error.is_conflict() || error.is_already_exists() {
            tracing::debug!(lease = %self.lease(), "{error}");
        } else {
            tracing::warn!(lease = %self.lease(), "{error}");
        }
        self.failure = error.to_string();
    }

    /// Empties the holder, if it is us. A write of ours may still be on the wire, so the Lease is read first, and again
    /// when it changed; a write that arrives after the release is refused by its resourceVersion.
    async fn release(&mut self) {
        let patience = self.timing.renew_deadline / 2;
        for _ in 0..RELEASE_TRIES {
            let lease = match within(patience, "get lease", self.leases.get_opt(&self.name)).await {
                Ok(Some(lease)) if record(&lease).holder.as_deref() == Some(&self.identity) => lease,
                Ok(_) => return,
                Err(error) => {
                    tracing::warn!(lease = %self.lease(), "not released, the next leader waits for it to run out: {error}");
                    return;
                }
            };
            let options = PostParams::default();
            match within(
                patience,
                "release lease",
                self.leases.replace(&self.name, &options, &released(&lease)),
            )
            .await
            {
                Ok(_) => {
                    tracing::info!(lease = %self.lease(), "released");
                    return;
                }
                Err(error) if error.is_conflict() => {}
                Err(error) => {
                    tracing::warn!(lease = %self.lease(), "not released, the next leader waits for it to run out: {error}");
                    return;
                }
            }
        }
    }
}
