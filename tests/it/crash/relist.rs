//! Watches that the API server ends because it has forgotten the version they started at: everything is listed anew.

use std::time::Duration;

use devcluster::fake::FakeOptions;
use flink_job_operator::api::{FlinkSessionJob, Phase};
use futures::{StreamExt, stream};
use kube::api::ListParams;
use serde_json::json;

use super::{
    Failure, chosen, passed,
    world::{Operator, World, eventually},
};

/// Jobs that are created while nothing is told: more than one page of a list, of 500.
const UNSEEN: usize = 510;

/// Nothing runs on the cluster, so nothing that is told of it wakes anybody meanwhile.
async fn created_unseen(world: &World, operator: &Operator) -> Result<(), Failure> {
    world.until_session_ready().await?;
    operator.kube.stall_watches(true);
    let unseen: Vec<String> = (0..UNSEEN).map(|n| format!("unseen-{n}")).collect();
    let create = |name| world.create_with(name, json!({ "state": "Draft" }));
    let created = stream::iter(&unseen).map(|name| create(name)).buffer_unordered(8);
    created.for_each(|_| std::future::ready(())).await;
    operator.kube.expire_watches("flinksessionjobs");
    operator.kube.stall_watches(false);
    eventually("all that was created is reconciled", async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let jobs = world.jobs.list(&ListParams::default()).await;
        let jobs = jobs.map_err(|error| error.to_string())?.items;
        let phase = |job: &FlinkSessionJob| job.status.as_ref().and_then(|status| status.phase);
        let drafts = jobs.iter().filter(|job| phase(job) == Some(Phase::Draft)).count();
        (drafts == UNSEEN)
            .then_some(())
            .ok_or_else(|| format!("{drafts} of {UNSEEN}"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_while_a_watch_was_down_is_made_up_for() {
    if devcluster::skip_real("crash::relist") || !chosen("relist") {
        return;
    }
    let world = World::new(FakeOptions::default()).await;
    let operator = world.operator().await;
    let result = created_unseen(&world, &operator).await;
    passed(world.judge(result, &[&operator]).await);
}
