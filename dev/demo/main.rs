//! `cargo demo`: the operator at work on a real API server and a real Flink, with one command on a fresh machine.
//!
//! The demo is one executable that plays two parts: called with [`operator::ARGUMENT`] it is the operator itself, so that
//! nothing else needs to be built.

mod arguments;
mod cluster;
mod flink;
mod manifests;
mod operator;
mod script;
mod show;
mod stage;
mod story;
mod watch;

use std::{env, process::ExitCode, time::Duration};

use clap::Parser;

use arguments::Arguments;
use show::Show;

/// Every failure ends the demo, and is a sentence by then.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// With empty caches, most of it compiles kube-apiserver.
const TIME_LIMIT: Duration = Duration::from_secs(40 * 60);

fn main() -> ExitCode {
    let mut given = env::args_os();
    let program = given.next();
    let mut rest = given.peekable();
    if rest.next_if(|first| first == operator::ARGUMENT).is_some() {
        return flink_job_operator::cli::main_from(program.into_iter().chain(rest));
    }
    // The alias ends with `--`, and people write another one.
    rest.next_if(|first| first == "--");
    let arguments = Arguments::parse_from(program.into_iter().chain(rest));
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            Show::new().failed(&format!("no async runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(run(&arguments));
    // A build that still runs would be waited for. Its supervisor ends it when this process is gone.
    runtime.shutdown_background();
    code
}

async fn run(arguments: &Arguments) -> ExitCode {
    let mut show = Show::new();
    let played = script::play(arguments, &mut show);
    let outcome = if arguments.exit {
        match tokio::time::timeout(TIME_LIMIT, played).await {
            Ok(played) => played,
            Err(_) => Err(format!("not done after {} minutes", TIME_LIMIT.as_secs() / 60).into()),
        }
    } else {
        played.await
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            show.failed(&error.to_string());
            ExitCode::FAILURE
        }
    }
}
