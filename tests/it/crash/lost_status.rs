//! The status of running jobs is lost: the jobs are found again, and nothing is submitted.

use std::collections::BTreeMap;

use devcluster::fake::FakeOptions;
use flink_job_operator::{api::FlinkSessionJob, flink::JobId};
use futures::future::{join_all, try_join_all};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, PostParams},
};
use serde_json::json;

use super::{
    Failure, chosen, passed,
    world::{Operator, World},
};

const JOBS: usize = 20;

impl World {
    /// Replaces the status of a job by `{}`, or removes it, as a restore from a backup does.
    async fn lose_status(&self, name: &str, remove: bool) -> Result<(), Failure> {
        let api: Api<DynamicObject> = Api::namespaced_with(
            self.jobs.clone().into_client(),
            &self.namespace,
            &ApiResource::erase::<FlinkSessionJob>(&()),
        );
        loop {
            let mut job = api.get(name).await.map_err(|error| error.to_string())?;
            let data = job.data.as_object_mut().ok_or("not an object")?;
            if remove {
                data.remove("status");
            } else {
                data.insert("status".to_owned(), json!({}));
            }
            match api.replace_status(name, &PostParams::default(), &job).await {
                Ok(_) => return Ok(()),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

async fn job_ids(world: &World, names: &[String]) -> Result<BTreeMap<String, JobId>, Failure> {
    let running = try_join_all(names.iter().map(|name| world.until_running(name))).await?;
    let ids = running.into_iter().filter_map(|status| status.job_id);
    Ok(names.iter().cloned().zip(ids).collect())
}

async fn lost_and_found(world: &World, operator: &mut Operator) -> Result<(), Failure> {
    world.until_session_ready().await?;
    let names: Vec<String> = (0..JOBS).map(|n| format!("job-{n}")).collect();
    join_all(names.iter().map(|name| world.create(name))).await;
    let before = job_ids(world, &names).await?;
    let lose = || {
        try_join_all(
            names
                .iter()
                .enumerate()
                .map(|(n, name)| world.lose_status(name, n % 2 == 0)),
        )
    };

    operator.process.kill().map_err(|error| error.to_string())?;
    lose().await?;
    world.restart(operator);
    let after = job_ids(world, &names).await?;
    if after != before {
        return Err(format!("other jobs than before: {before:?}, {after:?}"));
    }
    // And under an operator that runs.
    lose().await?;
    let after = job_ids(world, &names).await?;
    if after != before {
        return Err(format!("other jobs than before: {before:?}, {after:?}"));
    }
    world.polls(6).await?;
    try_join_all(names.iter().map(|name| world.runs_once(name, 1))).await?;
    let submissions = world.cluster.submissions().len();
    if submissions != JOBS {
        return Err(format!("{JOBS} submissions were to be made, {submissions} were"));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_status_is_found_again_in_flink() {
    if devcluster::skip_real("crash::lost_status") || !chosen("lost-status") {
        return;
    }
    let world = World::new(FakeOptions::default()).await;
    let mut operator = world.operator().await;
    let result = lost_and_found(&world, &mut operator).await;
    passed(world.judge(result, &[&operator]).await);
}
