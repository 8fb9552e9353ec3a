//! End to end: resources on a real API server, jobs on a real Flink, and the operator between them as a process with the
//! rights that it ships with. One file for each capability.

mod delete;
mod failure;
mod state;
mod submit;
mod upgrade;
