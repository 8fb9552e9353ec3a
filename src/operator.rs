//! The operator as a process: client, identity, election, server and controllers, brought up and down in order.

use std::{net::SocketAddr, time::Duration};

use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    artifact::{ArtifactPolicy, Fetcher, SetupError},
    controller::{self, Parts, Settings},
    events::{EventLimits, EventQueue},
    kubernetes::{ConnectError, IdentityError, Limits, Target, connect, install_crypto_provider, installation_id},
    leader::{self, ElectionError, Leadership, Lost, Timing},
    metrics::Metrics,
    notify::{self, Notifier},
    registry::Pace,
    server::{Health, ListenError, Server},
};

/// How this replica takes part in the election.
#[derive(Debug, Clone)]
pub struct Election {
    /// Its name.
    pub identity: String,
    /// The times of the Lease.
    pub timing: Timing,
}

/// Everything that the command line says.
#[derive(Debug)]
pub struct Options {
    /// Which Kubernetes cluster.
    pub target: Target,
    /// The operator's own namespace.
    pub namespace: String,
    /// The installation's name.
    pub release: String,
    /// The election; None is a process that always acts.
    pub election: Option<Election>,
    /// What Events name as their reporter.
    pub instance: String,
    /// Where health and metrics are served.
    pub listen: SocketAddr,
    /// The administrator's settings.
    pub settings: Settings,
    /// How often clusters are asked.
    pub pace: Pace,
    /// Submissions at once for each cluster.
    pub submissions: usize,
    /// How often the sweeper looks.
    pub sweep_every: Duration,
    /// A jar that no job needed for this long is deleted from its cluster.
    pub jar_idle: Duration,
    /// Where jars may come from.
    pub artifacts: ArtifactPolicy,
}

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No client for the API server.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The installation's id cannot be read or made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The election cannot work.
    #[error(transparent)]
    Election(#[from] ElectionError),
    /// Leadership was lost. Another replica leads; this process must be restarted.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// The health and metrics server.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Jars cannot be kept.
    #[error(transparent)]
    Artifacts(#[from] SetupError),
    /// Notifications cannot be sent.
    #[error(transparent)]
    Notifications(#[from] notify::SetupError),
    /// Signals cannot be handled.
    #[error("cannot handle signals: {0}")]
    Signals(#[from] std::io::Error),
}

/// Runs the operator until a signal, or until leadership is lost.
pub async fn run(options: Options) -> Result<(), Error> {
    install_crypto_provider();
    let shutdown = CancellationToken::new();
    on_signal(shutdown.clone())?;
    let metrics = Metrics::new();
    let health = Health::default();
    let server = Server::bind(options.listen, health.clone(), metrics.clone()).await?;
    let serving = tokio::spawn(server.run(shutdown.clone()));
    let config = options.target.config().await?;
    let client = connect(&config, &Limits::default())?;
    let installation = installation_id(&client, &options.namespace, &format!("{}-identity", options.release)).await?;
    info!(%installation, version = env!("CARGO_PKG_VERSION"), "flink-job-operator");
    let (events, poster) = EventQueue::new(EventLimits::default(), metrics.clone());
    let told = {
        let (client, instance, shutdown) = (client.clone(), options.instance.clone(), shutdown.clone());
        tokio::spawn(async move { poster.run(client, &instance, None, shutdown).await })
    };
    let (notifier, courier) = Notifier::new(
        client.clone(),
        options.settings.notifications.clone(),
        metrics.clone(),
        Timestamp::now,
    )?;
    let delivered = tokio::spawn(courier.run(None, shutdown.clone()));
    let work_ended = CancellationToken::new();
    let (leadership, election) = match options.election {
        None => (Leadership::always(), None),
        Some(Election { identity, timing }) => {
            // A client of its own: no crowd of slow requests stands before a renewal.
            let client = connect(
                &config,
                &Limits {
                    deadline: timing.renew_deadline,
                    ..Limits::default()
                },
            )?;
            let identity = leader::unique_identity(&identity);
            let (election, leadership) =
                leader::Election::new(client, &options.namespace, &options.release, identity, timing)?;
            let beat = health.watch_loop("election", timing.lease_duration * 4);
            (
                leadership,
                Some(tokio::spawn(election.run(Some(beat), work_ended.clone()))),
            )
        }
    };
    metrics.show_leadership(leadership.clone());
    let standby = tokio::select! {
        () = leadership.acquired() => false,
        () = shutdown.cancelled() => true,
    };
    if !standby {
        let parts = Parts {
            client,
            installation,
            settings: options.settings,
            pace: options.pace,
            submissions: options.submissions,
            sweep_every: Some(options.sweep_every),
            jar_idle: options.jar_idle,
            fetcher: Fetcher::new(options.artifacts)?,
            events,
            notifier,
            metrics,
            leadership,
            health: health.clone(),
        };
        controller::run(parts, shutdown.clone()).await;
    }
    health.stopping();
    work_ended.cancel();
    shutdown.cancel();
    let outcome = match election {
        Some(election) => election.await.unwrap_or(Ok(())),
        None => Ok(()),
    };
    let _ = tokio::time::timeout(Duration::from_secs(3), told).await;
    let _ = tokio::time::timeout(Duration::from_secs(3), delivered).await;
    let _ = tokio::time::timeout(Duration::from_secs(3), serving).await;
    outcome.map_err(Error::from)
}

/// SIGTERM and SIGINT end the process in order.
fn on_signal(shutdown: CancellationToken) -> Result<(), std::io::Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("shutting down");
        shutdown.cancel();
    });
    Ok(())
}
