//! Real servers for the tests and the demo of `flink-job-operator`, with nothing installed by hand but Rust, Go, Java
//! 17 and Python 3 with pip.
//!
//! - [`ControlPlane`]: etcd and kube-apiserver, compiled from their Go modules.
//! - [`Flink`]: a real JobManager and its TaskManagers, of each version that is tested.
//! - [`jars`]: Flink's examples, and test jobs that misbehave on request and write down what really ran.
//! - [`ObjectStore`]: a store that speaks S3, for the state of jobs.
//! - [`proxy`]: stops a request between the operator and one of these servers at a chosen moment.
//! - [`JarHost`]: a file server, HTTP and HTTPS, that misbehaves on request and counts what it was asked.
//!
//! Programs are built or downloaded once, into the user's cache folder ([`cache`]). Servers listen on free ports of the
//! loopback address, work in a temporary directory, and are gone, with that directory, however this process ends
//! ([`process`]). Their logs stay for a day in the cache folder, and errors name them.

pub mod cache;
pub mod control_plane;
pub mod fake;
pub mod flink;
mod go_program;
pub mod jar_host;
pub mod jars;
pub mod object_store;
pub mod pki;
pub mod port;
pub mod process;
pub mod proxy;

pub use control_plane::ControlPlane;
pub use flink::{Flink, FlinkOptions, FlinkVersion};
pub use jar_host::JarHost;
pub use object_store::ObjectStore;

/// Writes an error as its sentence for `{:?}` as well: that is what a test shows that unwraps it, and logs are
/// unreadable in the derived form.
macro_rules! debug_as_display {
    ($error:ty) => {
        impl std::fmt::Debug for $error {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, formatter)
            }
        }
    };
}
pub(crate) use debug_as_display;

/// Runs blocking work on a thread that is made for it.
async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // Blocking work is never cancelled, so this is its panic.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Whether tests that need real servers are to be skipped: `FLINKJOBS_SKIP_REAL=1`. Says so for `test`, past the
/// capture of `cargo test`, so that nobody takes such a run for a full one.
#[must_use]
pub fn skip_real(test: &str) -> bool {
    use std::io::Write;
    let skip = std::env::var_os("FLINKJOBS_SKIP_REAL").is_some_and(|value| value == "1");
    if skip {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {test}: FLINKJOBS_SKIP_REAL=1 is set, so no real server is started"
        );
    }
    skip
}

/// Makes ring the provider of cryptography for this process, where nothing has been chosen yet.
pub fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
