//! End to end: resources on a real API server, jobs on a real Flink, and the operator between them as a process with the
//! rights that it ships with. One file for each capability.

mod adopt;
mod artifact;
mod cluster;
mod delete;
mod endpoint;
mod everything;
mod failure;
mod goes_on;
mod hangs;
mod kept;
mod lost;
mod notify;
mod outdated;
mod program;
mod restart;
mod restore;
mod retention;
mod savepoint;
mod savepoint_files;
mod scheduled;
mod session;
mod setup;
mod sparse;
mod state;
mod stored;
mod submit;
mod upgrade;
mod variables;
