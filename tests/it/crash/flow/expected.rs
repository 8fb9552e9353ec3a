//! What each flow leaves behind, whatever went wrong on the way.

use flink_job_operator::api::{Phase, SavepointPhase, savepoint_status::SavepointOrigin, status::RunOutcome};

use super::{
    super::{
        truth::{Job, Registered, Resource, State, Truth},
        world::JOB,
    },
    Flow, IMPORT, NEXT, ONE, TWO,
};

/// What stops leave, by the operator's naming.
const UPGRADED: &str = "orders-1-upgrade";
const SUSPENDED: &str = "orders-1-suspend";
const DELETED: &str = "orders-1-deletion";
/// The savepoint that two Savepoints name.
const BOTH: &str = "import=one";

fn job(of: &str, from: State, state: &str) -> Job {
    Job {
        of: of.to_owned(),
        times: 1,
        from,
        state: state.to_owned(),
    }
}

fn saved(name: &str) -> State {
    State::Savepoint(name.to_owned())
}

/// A resource whose job runs; its earlier runs ended so.
fn running(name: &str, first: usize, from: State, earlier: Option<RunOutcome>) -> Resource {
    let mut runs: Vec<_> = earlier.into_iter().map(|outcome| (first, Some(outcome))).collect();
    runs.push((first + runs.len(), None));
    Resource {
        name: name.to_owned(),
        phase: Some(Phase::Running),
        ready: true,
        runs,
        from,
        latest: State::Own,
        under_way: false,
        finalizer: true,
    }
}

fn registered(name: &str, origin: SavepointOrigin, verified: bool) -> Registered {
    Registered {
        name: name.to_owned(),
        phase: Some(SavepointPhase::Completed),
        ready: true,
        origin: Some(origin),
        verified,
        failures: 0,
        finalizer: false,
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// A job that was started without state and runs, or has ended so.
fn first(state: &str) -> Truth {
    Truth {
        jobs: vec![job(JOB, State::Empty, state)],
        at_once: 1,
        ..Truth::default()
    }
}

/// A job that ended so, and another that goes on from its state.
fn replaced(state: &str, outcome: RunOutcome, from: &State) -> Truth {
    let mut truth = first(state);
    truth.jobs.push(job(JOB, from.clone(), "RUNNING"));
    truth.resources = vec![running(JOB, 0, from.clone(), Some(outcome))];
    truth
}

/// The same, with a savepoint that a stop made.
fn stopped(truth: Truth, name: &str, origin: SavepointOrigin, verified: bool) -> Truth {
    Truth {
        stops: 1,
        files: names(&[name]),
        registered: vec![registered(name, origin, verified)],
        ..truth
    }
}

impl Flow {
    /// What must be so in the end.
    pub(in crate::crash) fn expected(self) -> Truth {
        let alone = || Truth {
            resources: vec![running(JOB, 0, State::Empty, None)],
            ..first("RUNNING")
        };
        match self {
            Self::Create => alone(),
            Self::Upgrade => replaced("CANCELED", RunOutcome::Replaced, &State::Empty),
            Self::UpgradeSavepoint => {
                let truth = replaced("FINISHED", RunOutcome::Replaced, &saved(UPGRADED));
                stopped(truth, UPGRADED, SavepointOrigin::Upgrade, true)
            }
            Self::UpgradeLastState => replaced("CANCELED", RunOutcome::Replaced, &State::NewestCheckpoint(0)),
            Self::Suspend => {
                let mut truth = first("FINISHED");
                truth.resources = vec![Resource {
                    phase: Some(Phase::Suspended),
                    runs: vec![(0, Some(RunOutcome::Suspended))],
                    latest: saved(SUSPENDED),
                    ..running(JOB, 0, State::Empty, None)
                }];
                stopped(truth, SUSPENDED, SavepointOrigin::Suspend, false)
            }
            Self::Resume => {
                let truth = replaced("FINISHED", RunOutcome::Suspended, &saved(SUSPENDED));
                stopped(truth, SUSPENDED, SavepointOrigin::Suspend, true)
            }
            Self::Savepoint => Truth {
                savepoints: 1,
                files: names(&[ONE]),
                registered: vec![registered(ONE, SavepointOrigin::User, false)],
                ..alone()
            },
            Self::Import => imported(alone()),
            Self::Dispose => Truth {
                savepoints: 2,
                disposed: names(&[ONE]),
                files: names(&[TWO]),
                registered: vec![Registered {
                    ready: false,
                    finalizer: true,
                    ..registered(TWO, SavepointOrigin::User, false)
                }],
                ..alone()
            },
            Self::Delete => first("CANCELED"),
            Self::DeleteSavepoint => stopped(first("FINISHED"), DELETED, SavepointOrigin::Deletion, false),
        }
    }
}

/// Beside a job that runs on, another runs from its savepoint.
fn imported(mut truth: Truth) -> Truth {
    truth.jobs.push(job(NEXT, saved(BOTH), "RUNNING"));
    // By name.
    truth.resources.insert(0, running(NEXT, 1, saved(BOTH), None));
    Truth {
        savepoints: 1,
        files: names(&[BOTH]),
        registered: vec![
            registered(IMPORT, SavepointOrigin::Import, true),
            registered(ONE, SavepointOrigin::User, true),
        ],
        ..truth
    }
}
