//! The model test: the real decision function against an adversarial Flink, breadth first.
//!
//! A small world (one resource, its Flink cluster, one or two operator processes, a user) is explored through every order
//! of operator turns, deliveries, lost replies, crashes, stale caches, edits, JobManager restarts and the passing of time.
//! In every state the safety invariants must hold, and from every state the world must be able to settle once the faults
//! stop. A violation prints the shortest trace that leads to it.

mod explore;
mod world;

use explore::explore;
use world::{Budget, Scenario};

fn check(name: &str, scenario: Scenario) {
    let report = explore(&scenario).unwrap_or_else(|violation| panic!("{name}: {violation}"));
    println!("{name}: {report}");
    assert!(
        report.settled > 0,
        "{name}: no state is settled, the model does not model anything"
    );
}

#[test]
fn create_survives_crashes_and_lost_replies() {
    check(
        "create",
        Scenario {
            budget: Budget {
                crashes: 1,
                timeouts: 1,
                ..Budget::default()
            },
            ..Scenario::default()
        },
    );
}

#[test]
fn create_survives_jobmanager_restarts() {
    let budget = Budget {
        crashes: 1,
        timeouts: 1,
        restarts: 1,
        ..Budget::default()
    };
    check(
        "create/restart",
        Scenario {
            budget,
            ..Scenario::default()
        },
    );
}

#[test]
fn a_recovering_jobmanager_is_not_mistaken_for_a_loss() {
    let budget = Budget {
        crashes: 1,
        timeouts: 1,
        restarts: 1,
        ..Budget::default()
    };
    check(
        "create/ha",
        Scenario {
            budget,
            ha: true,
            ..Scenario::default()
        },
    );
}

#[test]
fn a_stateless_upgrade_survives_crashes_and_lost_replies() {
    let budget = Budget {
        crashes: 1,
        timeouts: 1,
        edits: 1,
        ends: 1,
        ..Budget::default()
    };
    check(
        "upgrade",
        Scenario {
            budget,
            ..Scenario::default()
        },
    );
}

#[test]
fn deletion_survives_crashes_and_lost_replies() {
    let budget = Budget {
        crashes: 1,
        timeouts: 1,
        deletes: 1,
        ends: 1,
        ..Budget::default()
    };
    check(
        "delete",
        Scenario {
            budget,
            ..Scenario::default()
        },
    );
}

#[test]
fn suspend_and_resume_survive_crashes() {
    let budget = Budget {
        crashes: 1,
        suspends: 2,
        ..Budget::default()
    };
    check(
        "suspend",
        Scenario {
            budget,
            ..Scenario::default()
        },
    );
}

#[test]
fn two_active_operators_run_a_job_once() {
    let budget = Budget {
        edits: 1,
        ..Budget::default()
    };
    check(
        "two leaders",
        Scenario {
            budget,
            leaders: 2,
            ..Scenario::default()
        },
    );
}

#[test]
fn two_active_operators_delete_a_job_once() {
    let budget = Budget {
        deletes: 1,
        ..Budget::default()
    };
    check(
        "two leaders/delete",
        Scenario {
            budget,
            leaders: 2,
            ..Scenario::default()
        },
    );
}

#[test]
fn a_lost_status_never_leads_to_a_second_job() {
    let budget = Budget {
        crashes: 1,
        wipes: 1,
        ..Budget::default()
    };
    check(
        "lost status",
        Scenario {
            budget,
            ..Scenario::default()
        },
    );
}
