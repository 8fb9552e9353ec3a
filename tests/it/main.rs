//! The integration tests: one binary, so that everything is linked once.

// `cfg(test)` always holds here; it lets clippy see that functions beside the tests belong to them.
#[cfg(test)]
mod apiserver;
#[cfg(test)]
mod artifact;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod docs;
#[cfg(test)]
mod e2e;
#[cfg(test)]
mod frame;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod model;
#[cfg(test)]
mod notify;
