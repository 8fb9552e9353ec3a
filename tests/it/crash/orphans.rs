//! The sweeper: which jobs it tells about, which it ends, and which it never touches.

use std::time::Duration;

use devcluster::fake::{FakeJob, FakeOptions};
use flink_job_operator::{
    api::{FlinkSession, Reason},
    flink::{InstallationId, JobId, UidHash},
};
use jiff::Timestamp;
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
    runtime::wait::await_condition,
};
use serde_json::json;

use super::{
    Failure, WITHIN, chosen,
    flow::Kind,
    ground::Flags,
    passed,
    world::{JOB, Operator, SESSION, World, eventually},
};

fn reporting() -> Flags {
    Flags::from([("--sweep-interval", "1s")])
}

fn cancelling() -> Flags {
    Flags::from([("--sweep-interval", "1s"), ("--orphans", "cancel")])
}

impl World {
    fn runs(&self, id: &str) -> bool {
        let live = |job: &FakeJob| job.id == id && !["CANCELED", "FAILED", "FINISHED"].contains(&job.state);
        self.cluster.jobs().iter().any(live)
    }

    /// A job that runs with the mark of a resource, submitted now.
    fn add_marked(&self, installation: InstallationId, uid: &str) -> Result<String, Failure> {
        let now = u32::try_from(Timestamp::now().as_second()).map_err(|error| error.to_string())?;
        let id = JobId::new(installation, UidHash::of(uid), now).to_string();
        let added = self.cluster.add_job(&id, "orphan");
        added.then_some(id).ok_or_else(|| "the JobID is taken".to_owned())
    }

    /// Adds an orphan and waits until it was cancelled: the sweeper has looked twice meanwhile.
    async fn sweeps(&self, installation: InstallationId, nobody: &str) -> Result<(), Failure> {
        let id = self.add_marked(installation, nobody)?;
        let ends = async || (!self.runs(&id)).then_some(()).ok_or_else(|| format!("{id} runs"));
        eventually("an orphan is cancelled", ends).await
    }

    /// Starts a job and deletes its resource so that it is left running.
    async fn release(&self, name: &str) -> Result<String, Failure> {
        self.create_with(name, json!({"deletionPolicy": {"type": "Orphan"}}))
            .await;
        let status = self.until_running(name).await?;
        self.delete(name).await;
        self.until_gone(name).await?;
        let id = status.job_id.map(|id| id.to_string()).unwrap_or_default();
        self.runs(&id).then_some(id).ok_or_else(|| format!("{name} was ended"))
    }

    fn all_run(&self, jobs: &[(&str, String)]) -> Result<(), Failure> {
        match jobs.iter().find(|(_, id)| !self.runs(id)) {
            None => Ok(()),
            Some((what, id)) => Err(format!("{what} was ended: {id}")),
        }
    }
}

async fn told(world: &World, operator: &mut Operator) -> Result<(), Failure> {
    world.until_session_ready().await?;
    world.create(JOB).await;
    let status = world.until_running(JOB).await?;
    let id = status.job_id.map(|id| id.to_string()).unwrap_or_default();
    operator.process.kill().map_err(|error| error.to_string())?;
    world.patch(JOB, json!({"metadata": {"finalizers": null}})).await;
    world.delete(JOB).await;
    world.until_gone(JOB).await?;
    world.restart(operator);
    eventually("an Event tells about the orphan", async || {
        let events = world.events_about(SESSION).await?;
        let expected = Reason::JobMayStillRun.as_str();
        let about = |(reason, note): &(String, String)| reason == expected && note.contains(&id);
        events
            .iter()
            .any(about)
            .then_some(())
            .ok_or_else(|| format!("{events:?}"))
    })
    .await?;
    let lists = || {
        let reads = operator.kube.reads().into_iter();
        reads
            .filter(|read| !read.watch && read.path.ends_with("/flinksessionjobs"))
            .count()
    };
    let wanted = lists() + 4;
    eventually("four more looks", async || {
        (lists() >= wanted).then_some(()).ok_or_else(|| lists().to_string())
    })
    .await?;
    if world.flink.writes().iter().any(|write| Kind::Cancel.is(write)) || !world.runs(&id) {
        return Err("the orphan was cancelled".to_owned());
    }
    if !world.log().contains("found an orphan") {
        return Err("the log says nothing of the orphan".to_owned());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orphan_is_told_about_and_left_running_by_default() {
    if devcluster::skip_real("crash::orphans") || !chosen("orphans/told") {
        return;
    }
    let world = World::new(FakeOptions::default()).await;
    let mut operator = world.operator_with(reporting()).await;
    let result = told(&world, &mut operator).await;
    passed(world.judge(result, &[&operator]).await);
}

async fn only_orphans(world: &World, other: &str) -> Result<(), Failure> {
    world.until_session_ready().await?;
    let ours = world.installation().await?;
    let theirs = InstallationId(ours.0.map(|byte| !byte));
    world.create("living").await;
    let living = world.until_running("living").await?.job_id;
    let released = world.release("released").await?;
    let elsewhere = world
        .create_in(other, JOB, json!({"sessionRef": {"name": "absent"}}))
        .await;
    let innocent = [
        (
            "a living resource's job",
            living.map(|id| id.to_string()).unwrap_or_default(),
        ),
        ("a released job", released),
        ("another installation's job", world.add_marked(theirs, "nobody")?),
        ("somebody's job", world.cluster.add_foreign_job("report")),
        (
            "the job of a resource in another namespace",
            world.add_marked(ours, &elsewhere.uid().unwrap_or_default())?,
        ),
    ];
    for nobody in ["nobody", "nobody either", "nobody again"] {
        world.sweeps(ours, nobody).await?;
        world.all_run(&innocent)?;
    }
    world.polls(6).await?;
    world.all_run(&innocent)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_orphans_are_cancelled_where_that_is_wanted() {
    if devcluster::skip_real("crash::orphans") || !chosen("orphans/cancelled") {
        return;
    }
    let world = World::wide(FakeOptions::default()).await;
    // A session of another namespace that names the same cluster: what the first one released is not its business.
    let other = format!("{}-other", world.namespace);
    world.add_namespace(&other).await;
    world.add_session_in(&other, SESSION, &world.flink.url()).await;
    let operator = world.operator_with(cancelling()).await;
    let result = only_orphans(&world, &other).await;
    passed(world.judge(result, &[&operator]).await);
}

async fn session_made_anew(world: &World) -> Result<(), Failure> {
    world.until_session_ready().await?;
    let ours = world.installation().await?;
    let released = [("a released job", world.release(JOB).await?)];
    let sessions = world.sessions();
    let deleted = sessions.delete(SESSION, &DeleteParams::default()).await;
    deleted.map_err(|error| error.to_string())?;
    let gone = await_condition(sessions, SESSION, |session: Option<&FlinkSession>| session.is_none());
    tokio::time::timeout(WITHIN, gone)
        .await
        .map_err(|_| "the session does not go".to_owned())?
        .map_err(|error| error.to_string())?;
    // creationTimestamp has whole seconds: the new session is younger than the job only in the next one.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.add_session(SESSION, &world.flink.url()).await;
    for nobody in ["nobody", "nobody either"] {
        world.sweeps(ours, nobody).await?;
        world.all_run(&released)?;
    }
    eventually("an Event tells about the older job", async || {
        let events = world.events_about(SESSION).await?;
        let about = |(_, note): &(String, String)| note.contains(&released[0].1) && note.contains("is older than");
        events
            .iter()
            .any(about)
            .then_some(())
            .ok_or_else(|| format!("{events:?}"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_was_released_before_its_session_was_made_anew_is_left_running() {
    if devcluster::skip_real("crash::orphans") || !chosen("orphans/older") {
        return;
    }
    let world = World::new(FakeOptions::default()).await;
    let operator = world.operator_with(cancelling()).await;
    let result = session_made_anew(&world).await;
    passed(world.judge(result, &[&operator]).await);
}

async fn not_in_the_cache(world: &World, operator: &Operator) -> Result<(), Failure> {
    world.until_session_ready().await?;
    let ours = world.installation().await?;
    operator.kube.stall_watches(true);
    let unseen = world.create(JOB).await.uid().unwrap_or_default();
    let unseen = [(
        "the job of a resource that the cache lacks",
        world.add_marked(ours, &unseen)?,
    )];
    for nobody in ["nobody", "nobody either"] {
        world.sweeps(ours, nobody).await?;
        world.all_run(&unseen)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_job_of_a_resource_that_is_not_in_the_cache_is_left_running() {
    if devcluster::skip_real("crash::orphans") || !chosen("orphans/cache") {
        return;
    }
    let world = World::new(FakeOptions::default()).await;
    let operator = world.operator_with(cancelling()).await;
    let result = not_in_the_cache(&world, &operator).await;
    passed(world.judge(result, &[&operator]).await);
}

async fn full_record(world: &World) -> Result<(), Failure> {
    world.until_session_ready().await?;
    let ours = world.installation().await?;
    let released = |n: u32| {
        let id = JobId::new(ours, UidHash::of("released"), n);
        json!({"jobId": id, "name": format!("job-{n}"), "time": Timestamp::UNIX_EPOCH})
    };
    let patch = json!({"status": {"released": (0..100).map(released).collect::<Vec<_>>()}});
    let sessions = world.sessions();
    let (parameters, patch) = (PatchParams::default(), Patch::Merge(patch));
    let patched = sessions.patch_status(SESSION, &parameters, &patch).await;
    patched.map_err(|error| error.to_string())?;
    // The hundred-and-first: the record has no room for it.
    let forgotten = [("a job that may have been released", world.add_marked(ours, "nobody")?)];
    eventually("an Event tells about it", async || {
        let events = world.events_about(SESSION).await?;
        let about = |(_, note): &(String, String)| note.contains(&forgotten[0].1) && note.contains("on purpose");
        let told = events.iter().any(about);
        told.then_some(()).ok_or_else(|| format!("{events:?}"))
    })
    .await?;
    world.polls(6).await?;
    world.all_run(&forgotten)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_cancelled_when_the_record_of_released_jobs_is_full() {
    if devcluster::skip_real("crash::orphans") || !chosen("orphans/full") {
        return;
    }
    let world = World::new(FakeOptions::default()).await;
    let operator = world.operator_with(cancelling()).await;
    let result = full_record(&world).await;
    passed(world.judge(result, &[&operator]).await);
}
