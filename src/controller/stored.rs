//! What the store has of a lost job's checkpoints: looked up off the reconcile path, when a decision asks for it.

use std::{sync::Arc, time::Duration};

use tracing::{debug, info};

use super::{context::Shared, job::reference, memory::Memory};
use crate::{
    api::{FlinkSessionJob, JobStatus, Reason},
    artifact::ArtifactError,
    flink::{StatePath, UidHash},
    job::{Input, Refusal, checkpoints_folder, newest_checkpoints_first},
};

/// A store that did not answer is asked again after this time.
const PAUSE: Duration = Duration::from_secs(5);

/// Flink keeps a few checkpoints. Of those, only the newest can be incomplete, and only as many as are taken at once.
const LOOKED_AT: usize = 10;

/// What is known of the folder that the status leads to.
pub(super) fn known(memory: &Memory, status: Option<&JobStatus>) -> Input<Option<String>> {
    let Some(folder) = status.and_then(checkpoints_folder) else {
        return Input::Refused(unread("its folder is not known"));
    };
    match &memory.stored {
        Some((of, stored)) if *of == folder => stored.clone(),
        Some(_) | None => Input::Pending,
    }
}

fn unread(why: &str) -> Refusal {
    Refusal::new(Reason::StateUnknown, why)
}

/// Looks into the folder, unless that is known or under way.
pub(super) fn look(ctx: &Shared, job: &Arc<FlinkSessionJob>, owner: UidHash) {
    let Some(folder) = job.status.as_ref().and_then(checkpoints_folder) else {
        return;
    };
    let begin = ctx.memories.with(owner, |memory| {
        let begin = memory.stored.as_ref().is_none_or(|(of, _)| *of != folder);
        if begin {
            memory.stored = Some((folder.clone(), Input::Pending));
        }
        begin
    });
    if !begin {
        return;
    }
    let (ctx, object) = (Arc::clone(ctx), reference(job));
    let namespace = object.namespace.clone().unwrap_or_default();
    tokio::spawn(async move {
        let stored = newest(&ctx, &namespace, &folder).await;
        match &stored {
            Input::Ready(found) => info!(resource = %object, folder, ?found, "looked for a lost job's checkpoints"),
            Input::Refused(Refusal { message, .. }) | Input::Retrying(Refusal { message, .. }) => {
                debug!(resource = %object, folder, message, "a lost job's checkpoints cannot be looked for");
            }
            Input::Pending => {}
        }
        let failed = matches!(stored, Input::Retrying(_));
        let publish = |stored| ctx.memories.with(owner, |memory| memory.stored = stored);
        publish(Some((folder.clone(), stored)));
        let _ = ctx.wake.jobs.send(object.clone());
        if failed {
            tokio::time::sleep(PAUSE).await;
            // The next decision asks anew.
            publish(None);
            let _ = ctx.wake.jobs.send(object);
        }
    });
}

/// The newest complete checkpoint of a folder.
async fn newest(ctx: &Shared, namespace: &str, folder: &str) -> Input<Option<String>> {
    let Ok(folder) = folder.parse::<StatePath>() else {
        return Input::Refused(unread("its path cannot be read"));
    };
    if !folder.scheme().starts_with("s3") {
        return Input::Refused(unread("the operator reads S3 stores only"));
    }
    if !ctx.settings.state_prefixes.admits(namespace, &folder) {
        return Input::Refused(unread("it lies under no --state-prefix of this namespace"));
    }
    match in_store(ctx, &folder).await {
        Ok(found) => Input::Ready(found),
        Err(error) if error.is_permanent() => Input::Refused(unread(&error.to_string())),
        Err(error) => {
            let message = format!("the job was lost, and the store of its checkpoints cannot be read: {error}");
            Input::Retrying(Refusal::new(Reason::StateUnknown, message))
        }
    }
}

async fn in_store(ctx: &Shared, folder: &StatePath) -> Result<Option<String>, ArtifactError> {
    let (fetcher, bucket) = (ctx.jars.fetcher(), folder.authority());
    let names = fetcher.folders(bucket, &folder.names().join("/")).await?;
    for checkpoint in newest_checkpoints_first(folder, names).into_iter().take(LOOKED_AT) {
        let metadata = format!("{}/_metadata", checkpoint.names().join("/"));
        if fetcher.has_object(bucket, &metadata).await? {
            return Ok(Some(checkpoint.to_string()));
        }
    }
    Ok(None)
}
