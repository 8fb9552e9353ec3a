//! What a program does, read off the name of its entry class and its arguments.
//!
//! The names and arguments are those of the test jobs under `dev/cluster/java`, so that one test can drive the fake and a
//! real Flink alike. `--sleep-ms` and `--run-ms` exist here only.

use std::time::Duration;

use super::options::Behavior;

/// A program, as far as it matters to its submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// Runs until it is cancelled: every class that is not one of the others.
    Streaming,
    /// `BoundedJob`: finishes by itself after `--seconds` or `--run-ms`.
    Bounded { runs_for: Duration },
    /// `ThrowingMain`: throws before it submits anything.
    Throws,
    /// `ThrowsAfterExecute`: its job runs, and `main()` throws.
    ThrowsAfterExecute,
    /// `NoExecute`: returns without a job.
    NeverExecutes,
    /// `TwoExecutes`: calls `execute` twice in one environment.
    ExecutesTwice,
    /// `TwoEnvironments`: calls `execute` twice, in two environments.
    UsesTwoEnvironments,
    /// `FailingTask`: is accepted, and its task fails: after `--fail-after` records, when a checkpoint with
    /// `--fail-after-kept` of them is complete.
    FailingTask { records: u32, kept: Option<u32> },
    /// `FailingTask` with `--fail-when`: its task fails on a test's word. No file is looked for.
    FailingOnDemand,
    /// `MissingClass`: the jar does not have the class.
    Missing,
}

/// A program and how long its `main()` takes before it submits: `--sleep-seconds` or `--sleep-ms`, for ever for a
/// `SleepingMain` without either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Main {
    pub(super) program: Program,
    pub(super) sleeps: Option<Duration>,
    /// `--name`, or what the test jobs call themselves.
    pub(super) job_name: String,
    /// `--checkpoint-ms`.
    pub(super) checkpoint_interval: Option<Duration>,
    /// `--on-snapshot` and `--on-complete`.
    pub(super) on_snapshot: Option<Behavior>,
    pub(super) on_complete: Option<Behavior>,
}

impl Program {
    /// Whether the program itself forbids that it is restarted by Flink.
    pub(super) const fn forbids_restarts(self) -> bool {
        matches!(self, Self::FailingTask { .. } | Self::FailingOnDemand)
    }
}

fn failing(args: &[String]) -> Program {
    if text(args, "--fail-when").is_some() {
        return Program::FailingOnDemand;
    }
    let records = |flag: &str| number(args, flag).map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    Program::FailingTask {
        records: records("--fail-after").unwrap_or_default(),
        kept: records("--fail-after-kept"),
    }
}

impl Main {
    pub(super) fn read(entry_class: Option<&str>, args: &[String]) -> Self {
        let class = entry_class.unwrap_or("CounterJob");
        let class = class.rsplit(['.', '$']).next().unwrap_or(class);
        let duration = |seconds: &str, millis: &str| {
            let seconds = number(args, seconds).map(Duration::from_secs);
            seconds.or_else(|| number(args, millis).map(Duration::from_millis))
        };
        let (program, job_name) = match class {
            "BoundedJob" => {
                let runs_for = duration("--seconds", "--run-ms").unwrap_or_default();
                (Program::Bounded { runs_for }, "bounded")
            }
            "ThrowingMain" => (Program::Throws, ""),
            "ThrowsAfterExecute" => (Program::ThrowsAfterExecute, "first"),
            "NoExecute" => (Program::NeverExecutes, ""),
            "TwoExecutes" => (Program::ExecutesTwice, "first"),
            "TwoEnvironments" => (Program::UsesTwoEnvironments, "first"),
            "FailingTask" => (failing(args), "failing"),
            "MissingClass" => (Program::Missing, ""),
            "SleepingMain" => (Program::Streaming, "slept"),
            _ => (Program::Streaming, "counter"),
        };
        let for_ever = (class == "SleepingMain").then_some(Duration::MAX);
        Self {
            program,
            sleeps: duration("--sleep-seconds", "--sleep-ms").or(for_ever),
            job_name: text(args, "--name").unwrap_or(job_name).to_owned(),
            checkpoint_interval: number(args, "--checkpoint-ms").map(Duration::from_millis),
            on_snapshot: text(args, "--on-snapshot").map(Behavior::from_word),
            on_complete: text(args, "--on-complete").map(Behavior::from_word),
        }
    }
}

/// The value after a flag.
fn text<'a>(args: &'a [String], flag: &str) -> Option<&'a str> {
    let at = args.iter().position(|arg| arg == flag)?;
    args.get(at + 1).map(String::as_str)
}

fn number(args: &[String], flag: &str) -> Option<u64> {
    text(args, flag)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(class: &str, args: &[&str]) -> Main {
        Main::read(Some(class), &args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn classes_and_arguments_steer_the_program() {
        let bounded = read("dev.flinkjobs.testjobs.BoundedJob", &["--seconds", "2"]);
        assert_eq!(
            bounded.program,
            Program::Bounded {
                runs_for: Duration::from_secs(2)
            }
        );
        let failing = Program::FailingTask {
            records: 0,
            kept: Some(12),
        };
        assert_eq!(read("FailingTask", &["--fail-after-kept", "12"]).program, failing);
        let on_demand = read("FailingTask", &["--fail-when", "/file"]).program;
        assert_eq!(on_demand, Program::FailingOnDemand);
        assert!(failing.forbids_restarts() && on_demand.forbids_restarts() && !bounded.program.forbids_restarts());
        assert_eq!(read("SleepingMain", &[]).sleeps, Some(Duration::MAX));
        assert_eq!(
            read("SleepingMain", &["--sleep-ms", "5"]).sleeps,
            Some(Duration::from_millis(5))
        );
        let other = read("org.example.Orders", &["--name", "orders"]);
        assert_eq!(
            (other.program, other.sleeps, other.job_name.as_str()),
            (Program::Streaming, None, "orders")
        );
    }
}
