//! The real servers: they start, do what they should, and leave nothing behind.
#![cfg(test)]

mod control_plane;
mod flink;
mod supervisor;
