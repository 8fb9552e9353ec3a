//! Connections to places that the author of a resource names: which addresses they may reach, and HTTP clients that
//! connect to nothing else.
//!
//! An address is checked when its name is resolved, the connector uses exactly what was checked, and no client follows a
//! redirect. Who may name which place is the policy of whoever connects.

mod address;
mod guard;
mod prefix;
mod zone;

pub use address::{InvalidNetwork, Network};
pub(crate) use guard::{Bounds, ClientError, blocked, causes, client, credentials_client, words};
pub use guard::{Lookup, SystemLookup};
pub(crate) use prefix::plain_url;
pub use prefix::{InvalidUrlPrefix, UrlPrefix};
pub(crate) use zone::{Blocked, Zone, is_inner_name, literal};
