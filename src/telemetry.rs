//! Logs: one line for each side effect, as JSON or as text, on standard error.
//!
//! Standard output belongs to commands that print something (`crds`).
//!
//! Secrets: no library may log what it sends or receives. By default libraries log warnings only. Whatever filter a user
//! sets, the HTTP and Kubernetes libraries stay quiet below ERROR: kube logs the whole text of a reply that it cannot
//! decode **at WARN** (`kube_client::client::Client::request`), and such a reply may be a Secret.

use std::io::{self, IsTerminal};

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, ParseError, filter_fn},
    fmt::MakeWriter,
    layer::SubscriberExt,
    util::TryInitError,
};

/// What is logged unless `RUST_LOG` or `--log-filter` says otherwise.
pub const DEFAULT_FILTER: &str = "warn,flink_job_operator=info";

/// Targets that log bodies or headers of requests; only their errors pass, and kube logs none there.
const BODIES: [&str; 7] = [
    "kube_client",
    "hyper",
    "hyper_util",
    "h2",
    "object_store",
    "reqwest",
    "rustls",
];

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object for each line, for log collectors.
    Json,
    /// For people.
    #[default]
    Text,
}

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error("log filter {filter:?}: {source}; an example: {DEFAULT_FILTER}")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// There is a subscriber already.
    #[error("logging was set up twice: {0}")]
    Twice(#[from] TryInitError),
}

/// Sets up logging for the process. `filter` is in the syntax of `RUST_LOG`; [`DEFAULT_FILTER`] when absent or empty.
///
/// # Errors
/// [`TelemetryError`] when the filter is not valid, or logging is set up already.
pub fn init(format: LogFormat, filter: Option<&str>) -> Result<(), TelemetryError> {
    use tracing_subscriber::util::SubscriberInitExt;
    let color = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    Ok(subscriber(format, filter, color, io::stderr)?.try_init()?)
}

/// The subscriber that [`init`] installs, with another place to write to.
///
/// # Errors
/// [`TelemetryError::Filter`].
pub fn subscriber<W>(
    format: LogFormat,
    filter: Option<&str>,
    color: bool,
    writer: W,
) -> Result<impl Subscriber + Send + Sync + 'static, TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = filter
        .filter(|filter| !filter.trim().is_empty())
        .unwrap_or(DEFAULT_FILTER);
    let wanted = EnvFilter::builder()
        .parse(filter)
        .map_err(|source| TelemetryError::Filter {
            filter: filter.into(),
            source,
        })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match format {
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
        LogFormat::Text => lines.with_ansi(color).boxed(),
    };
    Ok(Registry::default().with(lines.with_filter(wanted.and(filter_fn(holds_no_body)))))
}

fn holds_no_body(metadata: &Metadata<'_>) -> bool {
    let crate_name = metadata.target().split("::").next().unwrap_or_default();
    !BODIES.contains(&crate_name) || *metadata.level() <= Level::ERROR
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter: Option<&str>, log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(format, filter, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, log);
        String::from_utf8(lines.0.lock().clone()).unwrap()
    }

    #[test]
    fn a_line_is_one_json_object_with_its_span() {
        let text = logged(LogFormat::Json, None, || {
            let _span =
                tracing::info_span!(target: "flink_job_operator", "reconcile", object = "default/top-speed").entered();
            tracing::info!(target: "flink_job_operator::controller", job = "ab12", "submitted");
        });
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(line["message"], "submitted");
        assert_eq!(line["job"], "ab12");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["span"]["object"], "default/top-speed");
    }

    #[test]
    fn by_default_we_say_info_and_libraries_say_warnings() {
        let text = logged(LogFormat::Text, None, || {
            tracing::info!(target: "flink_job_operator::controller", "ours");
            tracing::debug!(target: "flink_job_operator::controller", "too much");
            tracing::info!(target: "kube_runtime::controller", "theirs");
            tracing::warn!(target: "kube_runtime::watcher", "their warning");
        });
        assert!(text.contains("ours") && text.contains("their warning"), "{text}");
        assert!(!text.contains("too much") && !text.contains("theirs"), "{text}");
        assert!(!text.contains('\u{1b}'), "no colours in a file");
    }

    #[test]
    fn bodies_are_never_logged_whatever_the_filter() {
        let text = logged(LogFormat::Json, Some("trace,kube_client::client=trace"), || {
            tracing::warn!(target: "kube_client::client", "{{\"password\":\"canary\"}}, expected value");
            tracing::debug!(target: "kube_client::client", "Unsuccessful data error parse: canary");
            tracing::trace!(target: "hyper_util::client::legacy::connect", "canary");
            tracing::trace!(target: "reqwest::connect", "canary");
            tracing::trace!(target: "flink_job_operator", "ours");
        });
        assert!(!text.contains("canary"), "{text}");
        assert!(text.contains("ours"), "{text}");
    }

    #[test]
    fn a_wrong_filter_is_shown() {
        let error = subscriber(LogFormat::Text, Some("flink=loud"), false, io::sink)
            .err()
            .unwrap();
        assert!(error.to_string().starts_with("log filter \"flink=loud\": "), "{error}");
    }
}
