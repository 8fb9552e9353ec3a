//! The command line.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{
    api,
    artifact::{AllowedArtifact, ArtifactPolicy, S3Credentials},
    controller::{OrphanPolicy, Settings},
    leader::Timing,
    notify::NotifyPolicy,
    operator::{self, Election, Options},
    outbound::{Network, UrlPrefix},
    registry::Pace,
    state_prefix::{StatePrefix, StatePrefixes},
    telemetry::LogFormat,
};

/// Runs Apache Flink jobs from Kubernetes resources: each exactly once, none with its state lost.
#[derive(Debug, Parser)]
#[command(name = "flink-job-operator", version, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator.
    Run(Box<Run>),
    /// Print the CRDs as YAML, for `kubectl apply --server-side -f -`.
    Crds,
}

#[derive(Debug, Args)]
struct Run {
    /// A kubeconfig. Default: KUBECONFIG, ~/.kube/config, or the pod's service account.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The operator's own namespace: its Lease and its identity are kept there.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default", value_name = "NAME")]
    namespace: String,
    /// The installation's name: ConfigMap NAME-identity holds its id, Lease NAME elects the leader.
    #[arg(
        long,
        env = "RELEASE_NAME",
        default_value = "flink-job-operator",
        value_name = "NAME"
    )]
    release: String,
    /// This replica's name in the leader election.
    #[arg(long, env = "POD_NAME", default_value = "local", value_name = "NAME")]
    identity: String,
    /// Elect a leader among several replicas. Without, this process always acts.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    leader_elect: bool,
    /// How long a leader may be silent before another replica takes over. Tests use short leases.
    #[arg(long, default_value = "15s", value_name = "DURATION")]
    lease_duration: api::GoDuration,
    /// Where /healthz, /readyz and /metrics are served; port 0 takes a free one.
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Log format.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// What is logged, as in RUST_LOG. Default: info of the operator, warnings of its libraries.
    #[arg(long, env = "RUST_LOG", value_name = "FILTER")]
    log_filter: Option<String>,
    /// An address that a FlinkSession may name in spec.endpoint.url (a prefix: origin and whole path segments). Repeatable.
    #[arg(long, value_name = "URL")]
    allowed_endpoint: Vec<UrlPrefix>,
    /// Where the savepoints and checkpoints of a namespace may be: NAMESPACE=URI/. Without one, its resources may name any
    /// path. What lies under one in S3, the operator looks up, if it may read and list it. Repeatable.
    #[arg(long, value_name = "PREFIX")]
    state_prefix: Vec<StatePrefix>,
    /// Where notifications may go (a prefix: origin and whole path segments), plain http and private hosts included. Without
    /// one, they may go to every public https host. Repeatable.
    #[arg(long, value_name = "URL")]
    allowed_notification_url: Vec<UrlPrefix>,
    /// Certificate authorities (PEM) for receivers of notifications, besides the public ones.
    #[arg(long, value_name = "FILE")]
    notification_ca: Option<PathBuf>,
    /// The domain of the cluster's Services.
    #[arg(long, default_value = "cluster.local", value_name = "DOMAIN")]
    cluster_domain: String,
    /// How often each Flink cluster is asked for its jobs.
    #[arg(long, default_value = "1s", value_name = "DURATION")]
    poll_interval: api::GoDuration,
    /// Submissions at once for each Flink cluster.
    #[arg(long, default_value_t = 8, value_name = "N")]
    max_submissions: usize,
    /// Reconciles at once for each kind; a quarter of them for one Flink cluster at the most.
    #[arg(long, default_value_t = 64, value_name = "N")]
    concurrency: u16,
    /// What to do with a running job that carries our mark and belongs to no resource.
    #[arg(long, value_enum, default_value_t = OrphanPolicy::Report)]
    orphans: OrphanPolicy,
    /// How often to look for orphans and idle jars.
    #[arg(long, default_value = "30s", value_name = "DURATION")]
    sweep_interval: api::GoDuration,
    /// A jar that no job has needed for so long is deleted from its Flink cluster.
    #[arg(long, default_value = "10m", value_name = "DURATION")]
    jar_idle_time: api::GoDuration,
    #[command(flatten)]
    artifacts: Artifacts,
}

#[derive(Debug, Args)]
#[allow(clippy::struct_field_names, reason = "the names are the flags")]
struct Artifacts {
    /// Where jars are kept while they are needed.
    #[arg(long, value_name = "DIR")]
    artifact_cache_dir: Option<PathBuf>,
    /// A place that jars may come from although it would be refused, for all namespaces or for one:
    /// `[NAMESPACE=]https://HOST/PATH/` or `[NAMESPACE=]s3://BUCKET/PREFIX/`. Repeatable.
    #[arg(long, value_name = "PREFIX")]
    allowed_artifact: Vec<AllowedArtifact>,
    /// Take jars from the places of --allowed-artifact only.
    #[arg(long)]
    only_allowed_artifacts: bool,
    /// A network on the inside that hosts of jars may be in, such as 10.20.0.0/16. Repeatable.
    #[arg(long, value_name = "NETWORK")]
    allowed_artifact_network: Vec<Network>,
    /// A port for hosts of jars outside of --allowed-artifact, besides 80, 443, 8080 and 8443. Repeatable.
    #[arg(long, value_name = "PORT")]
    allowed_artifact_port: Vec<u16>,
    /// Allow jars over plain http from public hosts.
    #[arg(long)]
    allow_http_artifacts: bool,
    /// The largest jar, in bytes.
    #[arg(long, default_value_t = 512 << 20, value_name = "BYTES")]
    max_artifact_size: u64,
    /// The time for fetching one jar.
    #[arg(long, default_value = "10m", value_name = "DURATION")]
    artifact_timeout: api::GoDuration,
    /// The most bytes that jars take on disk.
    #[arg(long, default_value_t = 2 << 30, value_name = "BYTES")]
    artifact_cache_size: u64,
    /// The S3 endpoint. Default: AWS.
    #[arg(long, value_name = "URL")]
    s3_endpoint: Option<url::Url>,
    /// The S3 region.
    #[arg(long, value_name = "NAME")]
    s3_region: Option<String>,
    /// Ask object stores without the credentials of the operator's environment: public objects only.
    #[arg(long)]
    s3_anonymous: bool,
    /// Certificate authorities (PEM) for jar hosts, besides the public ones.
    #[arg(long, value_name = "FILE")]
    artifact_ca: Option<PathBuf>,
}

impl Artifacts {
    fn policy(self) -> ArtifactPolicy {
        let folder = self
            .artifact_cache_dir
            .unwrap_or_else(|| std::env::temp_dir().join("flink-job-operator-artifacts"));
        let mut policy = ArtifactPolicy::new(folder);
        policy.allow_http = self.allow_http_artifacts;
        policy.allowed = self.allowed_artifact;
        policy.only_allowed = self.only_allowed_artifacts;
        policy.networks = self.allowed_artifact_network;
        policy.ports.extend(self.allowed_artifact_port);
        policy.max_bytes = self.max_artifact_size;
        policy.deadline = self.artifact_timeout.get();
        policy.cache_bytes = self.artifact_cache_size;
        policy.ca_bundle = self.artifact_ca;
        policy.s3.endpoint = self.s3_endpoint;
        policy.s3.region = self.s3_region;
        if self.s3_anonymous {
            policy.s3.credentials = S3Credentials::Anonymous;
        }
        policy
    }
}

impl Run {
    fn options(self) -> Options {
        let steady = self.poll_interval.get().max(Duration::from_millis(50));
        let state_prefixes = StatePrefixes::from(self.state_prefix);
        let mut artifacts = self.artifacts.policy();
        artifacts.s3.reads_state = state_prefixes.name_objects();
        Options {
            target: crate::kubernetes::Target {
                kubeconfig: self.kubeconfig,
                context: self.context,
            },
            namespace: self.namespace,
            release: self.release,
            election: self.leader_elect.then(|| Election {
                identity: self.identity.clone(),
                timing: timing(self.lease_duration.get()),
            }),
            instance: self.identity,
            listen: self.listen,
            settings: Settings {
                allowed_endpoints: self.allowed_endpoint,
                state_prefixes,
                notifications: NotifyPolicy {
                    allowed: self.allowed_notification_url,
                    ca_bundle: self.notification_ca,
                    ..NotifyPolicy::default()
                },
                cluster_domain: self.cluster_domain,
                orphans: self.orphans,
                concurrency: self.concurrency,
            },
            pace: Pace {
                steady,
                transition: steady.min(Duration::from_millis(250)),
                ..Pace::default()
            },
            submissions: self.max_submissions,
            sweep_every: self.sweep_interval.get(),
            jar_idle: self.jar_idle_time.get(),
            artifacts,
        }
    }
}

/// client-go's proportions: renew for two thirds of the lease, every seventh of it.
fn timing(lease: Duration) -> Timing {
    Timing {
        lease_duration: lease,
        renew_deadline: lease * 2 / 3,
        retry_period: lease * 2 / 15,
    }
}

/// Parses the command line of this process and runs the command.
#[must_use]
pub fn main() -> ExitCode {
    main_from(std::env::args_os())
}

/// Parses a command line, whose first word is the program, and runs the command. For programs that contain the operator,
/// like the demo.
#[must_use]
pub fn main_from(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> ExitCode {
    let result = match Cli::parse_from(arguments).command {
        Command::Crds => crds(),
        Command::Run(run) => start(*run),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flink-job-operator: {error}");
            ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn std::error::Error>;

#[allow(clippy::print_stdout, reason = "printing is what the command is for")]
fn crds() -> Result<(), Failure> {
    for crd in api::crds() {
        println!("---\n{}", api::to_yaml(&crd)?.trim_end());
    }
    Ok(())
}

fn start(run: Run) -> Result<(), Failure> {
    crate::telemetry::init(run.log_format, run.log_filter.as_deref())?;
    // Two threads are plenty for work that waits; more would only cost memory.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let result = runtime.block_on(operator::run(run.options()));
    runtime.shutdown_timeout(Duration::from_secs(2));
    Ok(result?)
}
