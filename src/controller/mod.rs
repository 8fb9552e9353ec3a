//! The controllers: watch streams, caches and queues around the pure decision core.
//!
//! ```text
//! watch ──► cache ──► predicate ──┐
//! registry: a job changed ────────┼──► queue ──► drive: observe ► decide ► record | act
//! an effect ended, a wish is met ─┘
//! ```

mod act;
mod allowed;
mod context;
mod drive;
mod endpoint;
mod jars;
mod memory;
mod observe;
mod permits;
mod program;
mod record;
mod resolutions;
mod session;
mod sweep;
mod wants;
mod watch;

pub use allowed::{AllowedEndpoint, InvalidEndpoint};
pub use context::{OrphanPolicy, Settings};
pub use drive::Error;
pub use watch::{Parts, run};
