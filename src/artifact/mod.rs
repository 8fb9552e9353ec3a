//! Artifacts: the jars of jobs, fetched for whoever may have them and kept on disk while they are needed.
//!
//! A job's author names the place, so every step distrusts it. [`JarUri`] refuses texts that two readers could read in
//! two ways. [`ArtifactPolicy`], the administrator's word, decides which places are open to a namespace. The connection
//! goes to an address that was checked when the name was resolved, on each redirect anew. The body is streamed to disk,
//! never held in memory, with a cap on its size and its time and a floor under its pace, and must be a jar.
//!
//! [`Fetcher`] asks the server each time, with a condition when it has the content already: the cache saves bytes, it
//! never decides. One namespace never gets what another one fetched without asking the server itself.

mod allowed;
mod cache;
mod error;
mod fetch;
mod http;
mod jar;
mod policy;
mod receive;
mod s3;
mod sum;
mod turns;
mod uri;

pub use allowed::{AllowedArtifact, InvalidPrefix};
pub use cache::CachedFile;
pub use error::ArtifactError;
pub use fetch::{CacheUse, Fetched, Fetcher, JarSource, SetupError};
pub use http::Validator;
pub use jar::{JarFault, stub_jar};
pub use policy::{ArtifactPolicy, Denied, Pace, S3Credentials, S3Settings};
pub use sum::{InvalidSum, Sha256Sum};
pub use uri::{JarUri, MAX_URI_BYTES, UriError};

pub use crate::outbound::{Lookup, SystemLookup};
