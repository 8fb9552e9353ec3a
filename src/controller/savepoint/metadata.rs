//! Whether an import is there: its `_metadata`, where the operator can read the store.

use crate::{controller::context::Context, flink::StatePath, savepoint::Metadata};

/// Looks for `_metadata` in a directory that a resource of the namespace names.
///
/// Only where the administrator has said that it belongs to the namespace: whether an object exists is told to whoever
/// names it.
pub(super) async fn look(ctx: &Context, namespace: &str, path: &str) -> Metadata {
    let Ok(path) = path.parse::<StatePath>() else {
        return Metadata::OutOfReach("its path cannot be read".to_owned());
    };
    if !path.scheme().starts_with("s3") {
        let why = format!("the operator does not read {} stores", path.scheme());
        return Metadata::OutOfReach(why);
    }
    if !ctx.settings.state_prefixes.admits(namespace, &path) {
        let why = "the operator reads only what lies under a --state-prefix of this namespace";
        return Metadata::OutOfReach(why.to_owned());
    }
    let key = format!("{}/_metadata", path.names().join("/"));
    match ctx.jars.fetcher().has_object(path.authority(), &key).await {
        Ok(true) => Metadata::There,
        Ok(false) => Metadata::Missing,
        Err(error) => Metadata::Unreadable(error.to_string()),
    }
}
