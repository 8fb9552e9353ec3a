//! The controllers: watch streams, caches and queues around the pure decision core.
//!
//! ```text
//! watch ──► cache ──► predicate ──┐
//! registry: a job changed ────────┼──► queue ──► drive: observe ► decide ► record | act
//! an effect ended, a wish is met ─┘
//! ```

mod act;
mod allowed;
mod changes;
mod claims;
mod context;
mod counts;
mod drive;
mod endpoint;
mod jars;
mod job;
mod keep;
mod listing;
mod memory;
mod observe;
mod permits;
mod program;
mod quorum;
mod record;
mod resolutions;
mod restorable;
mod savepoint;
mod session;
mod state;
mod stored;
mod sweep;
mod taking;
mod told;
mod turns;
mod users;
mod wants;
mod watch;

pub use context::{OrphanPolicy, Settings};
pub use drive::Error;
pub use watch::{Parts, run};
