//! What a person sees while something is built or downloaded.

use std::{
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;

use super::spoken;

/// Without a terminal, a line says so often that work goes on.
const STILL_EVERY: Duration = Duration::from_secs(30);

/// A progress bar with the elapsed time, or plain lines where standard error is no terminal.
///
/// Written to the stream itself, so that the capture of `cargo test` does not hide why a first run takes minutes.
#[derive(Debug)]
pub(crate) struct Bar {
    label: String,
    started: Instant,
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Terminal(ProgressBar),
    Lines { last: Mutex<Instant> },
    Nothing,
}

impl Bar {
    /// A bar for work of unknown size.
    pub(crate) fn spinner(label: &str) -> Self {
        Self::new(label, "{spinner} {prefix} {elapsed} {msg}", None)
    }

    /// A bar that counts `unit`s up to about `total`.
    pub(crate) fn counter(label: &str, total: u64, unit: &str) -> Self {
        Self::new(
            label,
            &format!("{{spinner}} {{prefix}} [{{bar:30}}] {{pos}}/{{len}} {unit} {{elapsed}}"),
            Some(total),
        )
    }

    /// A bar for `total` bytes.
    pub(crate) fn bytes(label: &str, total: u64) -> Self {
        Self::new(
            label,
            "{spinner} {prefix} [{bar:30}] {bytes}/{total_bytes} {elapsed}",
            Some(total),
        )
    }

    /// A bar for short work: where there is no terminal, nothing is said.
    pub(crate) fn only_on_terminal(label: &str) -> Self {
        if stderr().is_terminal() {
            return Self::spinner(label);
        }
        Self {
            label: label.to_owned(),
            started: Instant::now(),
            shown: Shown::Nothing,
        }
    }

    fn new(label: &str, template: &str, total: Option<u64>) -> Self {
        let started = Instant::now();
        let shown = if stderr().is_terminal() {
            let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_prefix(label.to_owned());
            bar.enable_steady_tick(Duration::from_millis(200));
            Shown::Terminal(bar)
        } else {
            line(&format!("{label} …"));
            Shown::Lines {
                last: Mutex::new(started),
            }
        };
        Self {
            label: label.to_owned(),
            started,
            shown,
        }
    }

    /// Shows how far the work is, in the bar's unit.
    pub(crate) fn set(&self, position: u64) {
        match &self.shown {
            Shown::Terminal(bar) => {
                // Totals are estimates; a bar that is full but not done would look stuck.
                if bar.length().is_some_and(|length| position > length) {
                    bar.set_length(position);
                }
                bar.set_position(position);
            }
            Shown::Lines { last } => {
                let mut last = last.lock();
                if last.elapsed() > STILL_EVERY {
                    *last = Instant::now();
                    line(&format!("{} … {}", self.label, spoken(self.started.elapsed())));
                }
            }
            Shown::Nothing => {}
        }
    }

    /// Removes the bar and says how long it took.
    pub(crate) fn done(&self) {
        self.clear();
        line(&format!("{}: done in {}", self.label, spoken(self.started.elapsed())));
    }

    /// Removes the bar.
    pub(crate) fn clear(&self) {
        if let Shown::Terminal(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.clear();
    }
}

fn line(text: &str) {
    // Nobody may be reading; that is no reason to fail.
    let _ = writeln!(stderr(), "devcluster: {text}");
}
