//! The model test: the real decision function against an adversarial Flink, breadth first.
//!
//! A small world (one resource, its Flink cluster, one or two operator processes, a user) is explored through every order
//! of operator turns, deliveries, lost replies, crashes, edits, JobManager restarts and the passing of time. In every state
//! the safety invariants must hold, and from every state the world must be able to settle once the faults stop. A violation
//! prints the shortest trace that leads to it.

mod explore;
mod flink;
mod keeping;
mod operator;
mod resource;
mod shape;
mod shape_state;
mod states;
mod truth;
mod world;

use std::time::Duration;

use flink_job_operator::{
    api::{
        job::{DeletionType, DesiredState, UpgradeMode},
        state::CheckpointRetention,
    },
    job::RetryWindow,
};

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
    deletion: DeletionType::Cancel,
    resubmit: true,
    mode: UpgradeMode::Stateless,
    restore: 0,
};
const ORPHAN: Wish = Wish {
    resubmit: false,
    deletion: DeletionType::Orphan,
    ..RESUBMIT
};
const SAVEPOINT: Wish = Wish {
    resubmit: false,
    mode: UpgradeMode::Savepoint,
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
    retention: None,
    checkpoints: 0,
};
const FORGETFUL: Setup = Setup {
    ha: true,
    window: RetryWindow::For(Duration::from_secs(60)),
    retention: None,
    checkpoints: 0,
};
const DURABLE: Setup = Setup {
    ha: true,
    window: RetryWindow::Durable,
    retention: None,
    checkpoints: 0,
};
const WEAK: Setup = Setup {
    ha: false,
    window: RetryWindow::Closed("web.upload.dir is set"),
    retention: None,
    checkpoints: 0,
};
const DELETE_SAVEPOINT: Wish = Wish {
    deletion: DeletionType::Savepoint,
    ..SAVEPOINT
};
const LAST_STATE: Wish = Wish {
    mode: UpgradeMode::LastState,
    ..SAVEPOINT
};
const HA_STOPS: Setup = Setup {
    retention: Some(CheckpointRetention::NoCheckpoints),
    ..HA
};
const CHECKPOINTS: Setup = Setup {
    retention: Some(CheckpointRetention::Retained),
    checkpoints: 1,
    ..STOPS
};
const HA_CHECKPOINTS: Setup = Setup {
    retention: Some(CheckpointRetention::Retained),
    checkpoints: 1,
    ..HA
};
const DELETED: Setup = Setup {
    retention: Some(CheckpointRetention::DeletedOnEnd),
    ..CHECKPOINTS
};
const STOPS: Setup = Setup {
    ha: false,
    window: RetryWindow::Unlimited,
    retention: Some(CheckpointRetention::NoCheckpoints),
    checkpoints: 0,
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
    savepoint_losses: { crashes: 1, losses: 2, edits: 1 }, running: true, wish: SAVEPOINT, setup: STOPS;
    savepoint_restart: { crashes: 1, edits: 1, restarts: 1 }, running: true, wish: SAVEPOINT, setup: STOPS;
    savepoint_ha: { losses: 1, edits: 1, restarts: 1 }, running: true, wish: SAVEPOINT, setup: HA_STOPS;
    savepoint_fails: { edits: 1, failed_stops: 2, losses: 1 }, running: true, wish: SAVEPOINT, setup: STOPS;
    savepoint_ends: { crashes: 1, edits: 1, bad_ends: 1, ends: 1 }, running: true, wish: SAVEPOINT, setup: STOPS;
    savepoint_forgotten: { losses: 1, edits: 1, forgotten_stops: 1, forgets: 1 }, running: true, wish: SAVEPOINT, setup: STOPS;
    savepoint_modes: { suspends: 1, modes: 1, failed_stops: 1 }, running: true, wish: SAVEPOINT, setup: STOPS;
    savepoint_restore: { edits: 1, restores: 1, rejects: 1 }, running: true, wish: SAVEPOINT, setup: STOPS;
    savepoint_two_leaders: { suspends: 1 }, leaders: 2, running: true, wish: SAVEPOINT, setup: STOPS;
    savepoint_stale: { edits: 1, losses: 1, failed_stops: 1 }, stale_caches: true, running: true, wish: SAVEPOINT, setup: STOPS;
    savepoint_checkpoints: { edits: 1, losses: 1, bad_ends: 1 }, running: true, wish: SAVEPOINT, setup: CHECKPOINTS;
    savepoint_delete: { losses: 1, deletes: 1, failed_stops: 1, bad_ends: 1 }, running: true, wish: DELETE_SAVEPOINT, setup: STOPS;
    savepoint_delete_cancel: { edits: 1, deletes: 1, losses: 1 }, running: true, wish: SAVEPOINT, setup: STOPS;
    savepoint_delete_upgrade: { crashes: 1, edits: 1, deletes: 1 }, running: true, wish: DELETE_SAVEPOINT, setup: STOPS;
    last_state: { crashes: 1, losses: 1, edits: 1 }, running: true, wish: LAST_STATE, setup: CHECKPOINTS;
    last_state_suspend: { suspends: 2, crashes: 1, forgets: 1 }, running: true, wish: LAST_STATE, setup: CHECKPOINTS;
    last_state_restart: { edits: 1, restarts: 1, ends: 1 }, running: true, wish: LAST_STATE, setup: CHECKPOINTS;
    last_state_ha: { edits: 1, restarts: 1, ends: 1 }, running: true, wish: LAST_STATE, setup: HA_CHECKPOINTS;
    last_state_deleted: { edits: 1, ends: 1, modes: 1 }, running: true, wish: LAST_STATE, setup: DELETED;
    last_state_cancel: { restarts: 1, cancels: 2 }, running: true, wish: LAST_STATE, setup: CHECKPOINTS;
    last_state_restore: { edits: 1, restores: 1 }, running: true, wish: LAST_STATE, setup: CHECKPOINTS;
    last_state_two_leaders: { edits: 1 }, leaders: 2, running: true, wish: LAST_STATE, setup: CHECKPOINTS;
    lost_restored: { restarts: 2, losses: 1 }, running: true, wish: LAST_STATE, setup: CHECKPOINTS;
    upgrade_savepoint: { crashes: 1, losses: 1, edits: 1, suspends: 1 }, running: true, wish: SAVEPOINT, setup: STOPS;
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
