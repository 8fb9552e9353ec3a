//! The integration tests: one binary, so that everything is linked once.

// `cfg(test)` always holds here; it lets clippy see that functions beside the tests belong to them.
#[cfg(test)]
mod apiserver;
mod artifact;
mod contract;
mod crash;
mod e2e;
mod frame;
mod harness;
mod model;
