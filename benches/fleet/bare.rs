//! The bare client: the least work that a job needs. Eight creators; thirty-two workers that each put a finalizer on, write
//! a status, run the job and write the status again. It knows nothing, decides nothing and checks nothing.
//!
//! Its status is two fields, or one that the operator wrote: the API server's work grows with it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use flink_job_operator::{
    api::{FlinkSessionJob, JobStatus, Phase, keys::JOB_FINALIZER},
    flink::{ClusterEndpoint, FlinkClient, InstallationId, JarContent, JarId, JobId, RunRequest, UidHash},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::sync::{Mutex, mpsc};

use crate::world::World;

pub async fn run(world: &World, jobs: usize, status: JobStatus) -> Duration {
    clean(world, &world.jobs()).await;
    let status = Arc::new(status);
    let mut clusters = Vec::new();
    for fake in &world.fakes {
        let client = FlinkClient::new(&ClusterEndpoint::new(fake.url().parse().unwrap())).unwrap();
        let jar = client
            .upload_jar(
                "bare.jar",
                JarContent::from_bytes(flink_job_operator::artifact::stub_jar()),
            )
            .await
            .unwrap();
        clusters.push((client, jar.id));
    }
    let clusters = Arc::new(clusters);
    let api = world.jobs();
    let (created, queue) = mpsc::unbounded_channel::<(usize, FlinkSessionJob)>();
    let queue = Arc::new(Mutex::new(queue));
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for creator in 0..8 {
        let (api, created) = (api.clone(), created.clone());
        let mine: Vec<_> = (creator..jobs)
            .step_by(8)
            .map(|n| (n, world.job(&format!("bare-{n}"), n)))
            .collect();
        tasks.spawn(async move {
            for (n, job) in mine {
                let job = api.create(&PostParams::default(), &job).await.unwrap();
                created.send((n, job)).unwrap();
            }
        });
    }
    drop(created);
    for _ in 0..32 {
        let (api, queue, clusters, status) = (
            api.clone(),
            Arc::clone(&queue),
            Arc::clone(&clusters),
            Arc::clone(&status),
        );
        tasks.spawn(async move {
            loop {
                let next = queue.lock().await.recv().await;
                let Some((n, job)) = next else { return };
                let (client, jar) = &clusters[n % clusters.len()];
                one(&api, client, jar, job, &status).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let took = begun.elapsed();
    clean(world, &api).await;
    took
}

async fn one(api: &Api<FlinkSessionJob>, client: &FlinkClient, jar: &JarId, job: FlinkSessionJob, status: &JobStatus) {
    let name = job.name_any();
    let job_id = JobId::new(InstallationId([0; 4]), UidHash::of(&job.uid().unwrap()), 1);
    let patch = Patch::Merge(json!({ "metadata": { "finalizers": [JOB_FINALIZER] } }));
    let mut job = api.patch(&name, &PatchParams::default(), &patch).await.unwrap();
    job.status = Some(JobStatus {
        phase: Some(Phase::Submitting),
        job_id: Some(job_id),
        ..status.clone()
    });
    let mut job = api.replace_status(&name, &PostParams::default(), &job).await.unwrap();
    client
        .run_jar(jar, &RunRequest::new(job_id), Duration::from_secs(60))
        .await
        .unwrap();
    if let Some(status) = job.status.as_mut() {
        status.phase = Some(Phase::Running);
    }
    api.replace_status(&name, &PostParams::default(), &job).await.unwrap();
}

/// Leaves nothing to the operator that comes next: neither resources nor running jobs.
async fn clean(world: &World, api: &Api<FlinkSessionJob>) {
    let list = api.list(&ListParams::default()).await.unwrap();
    let patch = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    for job in list.items {
        api.patch(&job.name_any(), &PatchParams::default(), &patch)
            .await
            .unwrap();
    }
    api.delete_collection(&DeleteParams::default(), &ListParams::default())
        .await
        .unwrap();
    for fake in &world.fakes {
        fake.restart_jobmanager(false).await.unwrap();
        fake.reset_counts();
    }
}
