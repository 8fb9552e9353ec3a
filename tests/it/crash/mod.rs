//! Crashes, two leaders and faults of the JobManager: the operator's own binary between a real API server and a fake Flink, and
//! a real one for a few.
//!
//! What ran is counted at the Flink. Proxies on both lines stop the operator right before or after a chosen write.
//! A case that fails prints its id, both traces, the status and the end of the operators' logs; `CRASH_PLAN=<id> cargo test
//! crash` runs that one alone. [`plans`] says how to run all.

mod cluster;
mod faults;
mod flow;
mod ground;
mod hostile;
mod idle_jars;
mod judge;
mod lost_status;
mod meddling;
mod orphans;
mod plans;
mod relist;
mod savepoints;
mod steady;
mod stored;
mod submissions;
mod taken;
mod truth;
mod two;
mod world;

use std::time::Duration;

use futures::{StreamExt, stream};

/// For each step of a case. A step takes a second on an idle machine, and a recovery of an unresolved submission five.
const WITHIN: Duration = Duration::from_secs(60);

/// Why a case failed. The traces are added by [`run_all`].
type Failure = String;

/// Whether a case is to be run: `CRASH_PLAN` names one, or the start of some.
fn chosen(id: &str) -> bool {
    std::env::var("CRASH_PLAN").map_or(true, |plan| id.starts_with(&plan))
}

/// Panics with everything that is known about a case that failed.
fn passed(result: Result<(), Failure>) {
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

/// Runs cases side by side, and panics with everything that is known about those that failed.
async fn run_all<T>(
    cases: Vec<T>,
    at_once: usize,
    id: impl Fn(&T) -> String,
    run: impl AsyncFn(&T) -> Result<(), Failure>,
) {
    let total = cases.len();
    let results = stream::iter(cases.into_iter().filter(|case| chosen(&id(case))))
        .map(|case| {
            let (run, id) = (&run, id(&case));
            async move {
                let result = run(&case).await;
                result.map_err(|failure| format!("CRASH_PLAN={id}: {failure}"))
            }
        })
        .buffer_unordered(at_once)
        .collect::<Vec<_>>()
        .await;
    let failures: Vec<String> = results.into_iter().filter_map(Result::err).collect();
    assert!(
        failures.is_empty(),
        "{} of {total} cases failed\n\n{}",
        failures.len(),
        failures.join("\n\n")
    );
}
