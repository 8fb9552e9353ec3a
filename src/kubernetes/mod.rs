//! The Kubernetes API: one constructor for the client, one way to bound a call, and the installation's identity.
//!
//! Everything that talks to the API server goes through a [`kube::Client`] made by [`connect`]. That client answers
//! within a deadline or fails, never holds more than a stated number of requests, and never repeats a write whose fate
//! is not known. [`within`] adds the name of the call to what can go wrong.

mod bounded;
mod client;
mod error;
mod identity;
mod secret;

pub use bounded::Limits;
pub use client::{ConnectError, Target, connect, install_crypto_provider};
pub use error::{ApiError, within};
pub use identity::{IDENTITY_KEY, IdentityError, installation_id};
pub use secret::{UnusableSecret, UsableBy, secret_text, usable_secret};
