//! The real servers: they start, do what they should, and leave nothing behind.
#![cfg(test)]

mod cache;
mod control_plane;
mod flink;
mod jar_host;
mod supervisor;
