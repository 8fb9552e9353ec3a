//! The operator's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    flink_job_operator::cli::main()
}
