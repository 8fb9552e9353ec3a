//! The command line of the demo.

use clap::Parser;

/// Shows the operator at work: a real API server, a real Flink, a real job, until Ctrl-C.
///
/// Everything is started on this machine's loopback address, and is gone when the demo ends. What must be compiled or
/// downloaded for it is kept in the user's cache folder.
#[derive(Debug, Parser)]
#[command(name = "cargo demo --", bin_name = "cargo demo --", max_term_width = 100)]
pub(crate) struct Arguments {
    /// End with exit code 0 once the job ran, one change was rolled out and the job was deleted. For CI.
    #[arg(long)]
    pub(crate) exit: bool,

    /// Use the cluster of this context of your kubeconfig instead of starting an API server.
    ///
    /// The CRDs are installed there, and stay. The operator runs on this machine with your credentials. At the end the
    /// demo's job and session are deleted. Do not use a cluster where this operator runs already.
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,

    /// The namespace of the job; the operator keeps its Lease and its identity there too.
    #[arg(long, default_value = "default", value_name = "NAME")]
    pub(crate) namespace: String,

    /// Use the Flink session cluster with this REST address instead of starting one. It must be reachable from this
    /// machine.
    #[arg(long, value_name = "URL")]
    pub(crate) flink_url: Option<url::Url>,
}
