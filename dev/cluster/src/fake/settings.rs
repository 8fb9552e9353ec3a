//! What a job's configuration and program say about its state.

use std::{collections::BTreeMap, time::Duration};

use super::{job::State, options::Behavior, program::Main};

/// How a job keeps its state, and what becomes of it when a task fails.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    /// How often it completes a checkpoint, if at all: `execution.checkpointing.interval`, or what the program says.
    pub(super) checkpoint_interval: Option<Duration>,
    /// Whether the first checkpoint is taken as soon as all tasks run. 1.x waits for a random part of the interval.
    pub(super) checkpoints_at_once: bool,
    /// `execution.checkpointing.dir`, when it is not the cluster's.
    pub(super) checkpoint_directory: Option<String>,
    /// `execution.checkpointing.externalized-checkpoint-retention`.
    pub(super) retention: Option<String>,
    /// `restart-strategy.type`.
    restart_strategy: Option<String>,
    /// `--on-snapshot` and `--on-complete`.
    pub(super) on_snapshot: Option<Behavior>,
    pub(super) on_complete: Option<Behavior>,
    /// Whether its state cannot be written in the canonical format.
    pub(super) native_only: bool,
}

impl Settings {
    pub(super) fn read(
        configuration: &BTreeMap<String, String>,
        entry_class: Option<&str>,
        main: &Main,
        is_1x: bool,
    ) -> Self {
        let configured = |key: &str| configuration.get(key).cloned();
        let is_state_machine = entry_class.is_some_and(|class| class.ends_with("StateMachineExample"));
        // What the program sets wins.
        let of_program = is_state_machine.then_some(Duration::from_secs(2));
        let interval = main.checkpoint_interval.or(of_program);
        let interval = interval.or_else(|| duration(&configured("execution.checkpointing.interval")?));
        Self {
            checkpoint_interval: interval,
            checkpoints_at_once: !is_1x,
            checkpoint_directory: configured("execution.checkpointing.dir")
                .or_else(|| configured("state.checkpoints.dir")),
            retention: configured("execution.checkpointing.externalized-checkpoint-retention"),
            restart_strategy: if main.program.forbids_restarts() {
                Some("none".to_owned())
            } else {
                configured("restart-strategy.type")
            },
            on_snapshot: main.on_snapshot,
            on_complete: main.on_complete,
            native_only: is_state_machine && !is_1x,
        }
    }

    /// Whether Flink restarts the job when a task fails. By default it does so for jobs with checkpoints.
    pub(super) fn is_restarted(&self) -> bool {
        match self.restart_strategy.as_deref() {
            None => self.checkpoint_interval.is_some(),
            Some(strategy) => !matches!(strategy, "none" | "off" | "disable"),
        }
    }

    /// Whether the newest checkpoint of a job in this state is there.
    pub(super) fn keeps_checkpoint(&self, state: State) -> bool {
        match (state, self.retention.as_deref()) {
            (State::Canceled, retention) => retention == Some("RETAIN_ON_CANCELLATION"),
            (State::Failed, retention) => retention.is_some_and(|word| word != "NO_EXTERNALIZED_CHECKPOINTS"),
            (State::Finished, _) => false,
            _ => true,
        }
    }
}

/// A duration as Flink reads it: `100ms`, `5 s`, `10 min`, or milliseconds without a unit. It knows more units.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number = number.parse().ok()?;
    match unit.trim() {
        "" | "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "min" => Some(Duration::from_secs(number) * 60),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(class: &str, configured: &[(&str, &str)]) -> Settings {
        let configuration = configured
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let main = Main::read(Some(class), &["--checkpoint-ms".to_owned(), "500".to_owned()]);
        Settings::read(&configuration, Some(class), &main, false)
    }

    #[test]
    fn what_the_program_says_wins() {
        let configured = [
            ("execution.checkpointing.interval", "10 s"),
            ("restart-strategy.type", "fixed-delay"),
        ];
        let settings = read("CounterJob", &configured);
        assert_eq!(settings.checkpoint_interval, Some(Duration::from_millis(500)));
        assert!(settings.is_restarted() && read("CounterJob", &[]).is_restarted());
        assert!(!read("FailingTask", &configured).is_restarted());
        assert!(!read("CounterJob", &[("restart-strategy.type", "none")]).is_restarted());
    }
}
