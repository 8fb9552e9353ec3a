//! What became of the plans.

use std::{collections::BTreeMap, time::Instant};

use parking_lot::Mutex;

use super::{super::Failure, Outcome, Plan};

#[derive(Default)]
struct Results {
    done: usize,
    /// By flow: how many there were, and how many passed.
    flows: BTreeMap<String, (usize, usize)>,
    missed: Vec<String>,
    failures: Vec<Failure>,
}

/// The results of the plans on one Flink, told as they come.
pub(in crate::crash) struct Report {
    name: &'static str,
    prefix: &'static str,
    total: usize,
    begun: Instant,
    results: Mutex<Results>,
}

impl Report {
    pub(in crate::crash) fn new(name: &'static str, prefix: &'static str, total: usize) -> Self {
        Self {
            name,
            prefix,
            total,
            begun: Instant::now(),
            results: Mutex::default(),
        }
    }

    /// A plan has come to its end.
    pub(in crate::crash) fn note(&self, plan: &Plan, outcome: Outcome, failure: &Failure) {
        let id = format!("{}{plan}", self.prefix);
        let mut results = self.results.lock();
        results.done += 1;
        let (total, passed) = results.flows.entry(plan.flow.to_string()).or_default();
        *total += 1;
        *passed += usize::from(outcome == Outcome::Passed);
        let elapsed = self.begun.elapsed().as_secs();
        println!("{} of {}, {elapsed} s: {id} {outcome:?}", results.done, self.total);
        match outcome {
            Outcome::Passed => {}
            Outcome::Missed if plan.sure => results.failures.push(format!("CRASH_PLAN={id}: {failure}")),
            Outcome::Missed => results.missed.push(id),
            Outcome::Failed => {
                let beginning: Vec<&str> = failure.lines().take(8).collect();
                println!("{}", beginning.join("\n"));
                results.failures.push(format!("CRASH_PLAN={id}: {failure}"));
            }
        }
    }

    /// Prints the table, and panics with everything that is known about the plans that failed.
    pub(in crate::crash) fn passed(&self) {
        let results = self.results.lock();
        println!("| Flow | On | Plans | Passed |\n|---|---|---|---|");
        for (flow, (total, passed)) in &results.flows {
            println!("| {flow} | {} | {total} | {passed} |", self.name);
        }
        let passed: usize = results.flows.values().map(|(_, passed)| passed).sum();
        println!(
            "| all | {} | {} | {passed} |\n{} s; never came to their write: {:?}",
            self.name,
            self.total,
            self.begun.elapsed().as_secs(),
            results.missed
        );
        let failures = &results.failures;
        assert!(
            failures.is_empty(),
            "{} of {} plans failed\n\n{}",
            failures.len(),
            self.total,
            failures.join("\n\n")
        );
    }
}
