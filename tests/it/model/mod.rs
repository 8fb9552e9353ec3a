//! The model test: the real decision function against an adversarial Flink, breadth first.
//!
//! A small world (one resource, its Flink cluster, one or two operator processes, a user) is explored through every order
//! of operator turns, deliveries, lost replies, crashes, edits, JobManager restarts and the passing of time. In every state
//! the safety invariants must hold, and from every state the world must be able to settle once the faults stop. A violation
//! prints the shortest trace that leads to it.

mod explore;
mod flink;
mod operator;
mod resource;
mod shape;
mod truth;
mod world;

use std::time::Duration;

use flink_job_operator::{api::job::DesiredState, job::RetryWindow};

use explore::explore;
use flink::Setup;
use resource::Wish;
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
fn create_survives_a_crash_and_a_loss() {
    let budget = Budget {
        crashes: 1,
        losses: 1,
        ..Budget::default()
    };
    check(
        "create",
        Scenario {
            budget,
            ..Scenario::default()
        },
    );
}

macro_rules! scenarios {
    ($($(#[$doc:meta])* $name:ident: { $($field:ident: $value:expr),* } $(, $key:ident: $set:expr)*;)*) => {
        $(
            $(#[$doc])*
            #[test]
            fn $name() {
                let budget = Budget { $($field: $value,)* ..Budget::default() };
                check(stringify!($name), Scenario { budget, $($key: $set,)* ..Scenario::default() });
            }
        )*
    };
}

const RESUBMIT: Wish = Wish {
    variant: 0,
    nonce: 0,
    state: DesiredState::Running,
    orphan: false,
    resubmit: true,
    savepoint: false,
};
const ORPHAN: Wish = Wish {
    resubmit: false,
    orphan: true,
    ..RESUBMIT
};
const SAVEPOINT: Wish = Wish {
    resubmit: false,
    savepoint: true,
    ..RESUBMIT
};
const SUSPENDED: Wish = Wish {
    resubmit: false,
    state: DesiredState::Suspended,
    ..RESUBMIT
};
const HA: Setup = Setup {
    ha: true,
    window: RetryWindow::For(Duration::from_secs(600)),
};
const FORGETFUL: Setup = Setup {
    ha: true,
    window: RetryWindow::For(Duration::from_secs(60)),
};
const DURABLE: Setup = Setup {
    ha: true,
    window: RetryWindow::Durable,
};
const WEAK: Setup = Setup {
    ha: false,
    window: RetryWindow::Closed("web.upload.dir is set"),
};

scenarios! {
    create_two_crashes: { crashes: 2, losses: 1 };
    create_two_losses: { losses: 2, restarts: 1 };
    create_restarts: { crashes: 1, losses: 1, restarts: 2 };
    create_ha: { crashes: 1, losses: 1, restarts: 1, ends: 1 }, setup: HA;
    create_forgetful: { crashes: 1, losses: 1, forgets: 1, ends: 1 }, setup: FORGETFUL;
    create_durable: { crashes: 1, losses: 1, restarts: 1, ends: 1 }, setup: DURABLE;
    create_weak: { crashes: 1, losses: 1, restarts: 1, forgets: 1, ends: 1 }, setup: WEAK;
    create_rejects: { crashes: 1, losses: 1, rejects: 1, restarts: 1 };
    create_rejects_then_edit: { losses: 1, rejects: 1, edits: 1 };
    create_down: { crashes: 1, losses: 1, downs: 1 };
    create_resubmit: { crashes: 1, losses: 1, restarts: 1, ends: 1 }, wish: RESUBMIT;
    create_edit: { crashes: 1, losses: 1, edits: 1 };
    create_edit_restart: { losses: 1, edits: 1, restarts: 1 };
    create_delete: { crashes: 1, losses: 1, deletes: 1 };
    create_delete_weak: { losses: 1, deletes: 1, restarts: 1 }, setup: WEAK;
    create_delete_restart: { losses: 1, deletes: 1, restarts: 1 };
    create_suspend: { losses: 1, suspends: 2 };
    create_nonce: { losses: 1, restarts: 1, nonces: 1 };
    upgrade: { crashes: 1, losses: 1, edits: 1, ends: 1 }, running: true;
    upgrade_restart: { crashes: 1, losses: 1, edits: 1, restarts: 1 }, running: true;
    upgrade_savepoint: { crashes: 1, losses: 1, edits: 1, suspends: 1 }, running: true, wish: SAVEPOINT;
    delete: { crashes: 1, losses: 1, deletes: 1, ends: 1 }, running: true;
    delete_down: { crashes: 1, downs: 1, deletes: 1 }, running: true;
    delete_restart: { crashes: 1, restarts: 1, deletes: 1 }, running: true, setup: HA;
    delete_orphan: { crashes: 1, losses: 1, downs: 1, deletes: 1 }, wish: ORPHAN;
    suspend: { crashes: 1, losses: 1, suspends: 2, ends: 1 }, running: true;
    suspended_first: { crashes: 1, losses: 1, suspends: 3 }, wish: SUSPENDED;
    cancel: { crashes: 1, cancels: 2, ends: 1 }, running: true;
    ends: { crashes: 1, ends: 1, restarts: 1, nonces: 1, forgets: 1 }, running: true;
    ui_cancel: { crashes: 1, losses: 1, ui_cancels: 1, nonces: 1 }, running: true;
    lost: { crashes: 1, restarts: 1, nonces: 1, edits: 1 }, running: true;
    wipe_running: { crashes: 1, wipes: 1, ends: 1 }, running: true;
    wipe_create: { crashes: 1, losses: 1, wipes: 1 };
    wipe_cancel: { wipes: 1, deletes: 1, suspends: 1 }, running: true;
    session_gone: { sessions: 2, deletes: 1, crashes: 1 }, running: true;
    session_gone_create: { sessions: 2, losses: 1 };
    two_leaders_create: { losses: 1 }, leaders: 2;
    two_leaders_restart: { restarts: 1, losses: 1 }, leaders: 2;
    two_leaders_edit: { edits: 1, losses: 1 }, leaders: 2, running: true;
    two_leaders_delete: { deletes: 1, losses: 1 }, leaders: 2;
    two_leaders_suspend: { suspends: 2 }, leaders: 2, running: true;
    stale_caches: { edits: 1, losses: 1, crashes: 1 }, stale_caches: true;
    stale_caches_delete: { deletes: 1, losses: 1 }, stale_caches: true;
    stale_two: { edits: 1 }, leaders: 2, stale_caches: true, running: true;
}
