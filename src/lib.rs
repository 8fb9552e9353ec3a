//! A Kubernetes operator that runs Apache Flink jobs exactly once, never loses their state, and tells the truth about them.

pub mod api;
pub mod artifact;
pub mod cli;
pub mod controller;
pub mod events;
pub mod flink;
pub mod job;
pub mod kubernetes;
pub mod leader;
pub mod metrics;
pub mod operator;
pub mod registry;
pub mod sensitive;
pub mod server;
pub mod telemetry;
