//! A user in Flink's UI while an upgrade is under way, and everything deleted at once.

use devcluster::{
    fake::FakeOptions,
    proxy::Moment::{self, AfterForward, AfterReply, BeforeForward},
};
use flink_job_operator::api::{FlinkSession, FlinkSessionJob, Phase, Reason, condition, condition::ConditionType};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt, api::DeleteParams, runtime::wait::await_condition};
use serde_json::json;

use super::{
    Failure, WITHIN,
    cluster::steady,
    flow::{Flow, Kind},
    run_all,
    world::{JOB, SESSION, World, eventually, is_running},
};

/// The user cancels whatever runs of the job when the upgrade is at this write.
async fn cancelled_in_ui(world: &World, kind: Kind, moment: Moment) -> Result<(), Failure> {
    let uid = Flow::Upgrade.prepare(world).await?.unwrap_or_default();
    let mut gate = world.flink.gate(kind.rule(1, moment));
    Flow::Upgrade.begin(world).await;
    let held = tokio::time::timeout(WITHIN, gate.reached())
        .await
        .map_err(|_| "the write was never made".to_owned())?;
    for id in world.live_of(&uid) {
        world.cluster.cancel_in_ui(id);
    }
    held.pass();
    // The old job's end is what the operator wanted too; the new job's end is the user's word.
    let resumes = kind == Kind::Run && moment != BeforeForward;
    if resumes {
        let cancelled = |job: Option<&FlinkSessionJob>| {
            let status = job.and_then(|job| job.status.as_ref());
            status.is_some_and(|status| {
                let stalled = condition::find(&status.conditions, ConditionType::Stalled);
                status.phase == Some(Phase::Cancelled)
                    && stalled.is_some_and(|stalled| stalled.reason == Reason::Cancelled.as_str())
            })
        };
        world.until(JOB, "Cancelled and Stalled", cancelled).await?;
        world.polls(6).await?;
        world.nothing_runs(&uid)?;
        let job = world.jobs.get(JOB).await.map_err(|error| error.to_string())?;
        world.tells_the_truth(&job)?;
        world.patch(JOB, json!({"spec": {"restartNonce": 1}})).await;
    }
    world.until(JOB, "Running", is_running).await?;
    world.polls(6).await?;
    world.runs_once(JOB, if resumes { 3 } else { 2 }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_a_user_cancels_during_its_upgrade_ends_as_the_later_word_says() {
    if devcluster::skip_real("crash::meddling") {
        return;
    }
    let moments = [BeforeForward, AfterForward, AfterReply];
    let cases = [Kind::Cancel, Kind::Run]
        .into_iter()
        .flat_map(|kind| moments.map(|moment| (kind, moment)));
    run_all(
        cases.collect(),
        6,
        |(kind, moment)| format!("ui/{}/{}", kind.as_str(), moment.as_str()),
        async |(kind, moment)| {
            let world = World::new(steady()).await;
            let operator = world.operator().await;
            let result = cancelled_in_ui(&world, *kind, *moment).await;
            world.judge(result, &[&operator]).await
        },
    )
    .await;
}

#[derive(Debug, Clone, Copy)]
enum Thing {
    Job,
    Session,
    Namespace,
}

const ORDERS: [[Thing; 3]; 6] = [
    [Thing::Job, Thing::Session, Thing::Namespace],
    [Thing::Job, Thing::Namespace, Thing::Session],
    [Thing::Session, Thing::Job, Thing::Namespace],
    [Thing::Session, Thing::Namespace, Thing::Job],
    [Thing::Namespace, Thing::Job, Thing::Session],
    [Thing::Namespace, Thing::Session, Thing::Job],
];

impl World {
    async fn delete_thing(&self, thing: Thing) -> Result<(), Failure> {
        let parameters = DeleteParams::default();
        let deleted = match thing {
            Thing::Job => self.jobs.delete(JOB, &parameters).await.map(drop),
            Thing::Session => self.sessions().delete(SESSION, &parameters).await.map(drop),
            Thing::Namespace => {
                let namespaces: Api<Namespace> = Api::all(self.client.clone());
                namespaces.delete(&self.namespace, &parameters).await.map(drop)
            }
        };
        deleted.map_err(|error| format!("{thing:?} could not be deleted: {error}"))
    }
}

/// How far the job is when everything is deleted.
#[derive(Debug, Clone, Copy)]
enum State {
    Running,
    Submitting,
    Upgrading,
}

async fn all_deleted(world: &World, state: State, order: [Thing; 3]) -> Result<(), Failure> {
    let mut gate = match state {
        State::Running => None,
        State::Submitting => Some(Kind::Run),
        State::Upgrading => Some(Kind::Cancel),
    }
    .map(|kind| world.flink.gate(kind.rule(1, BeforeForward)));
    world.until_session_ready().await?;
    let uid = world.create(JOB).await.uid().unwrap_or_default();
    if !matches!(state, State::Submitting) {
        world.until_running(JOB).await?;
    }
    if matches!(state, State::Upgrading) {
        world.edit(JOB).await;
    }
    let held = match &mut gate {
        None => None,
        Some(gate) => Some(
            tokio::time::timeout(WITHIN, gate.reached())
                .await
                .map_err(|_| "the write was never made".to_owned())?,
        ),
    };
    for thing in order {
        world.delete_thing(thing).await?;
    }
    if let Some(held) = held {
        held.pass();
    }
    world.until_gone(JOB).await?;
    let gone = await_condition(world.sessions(), SESSION, |session: Option<&FlinkSession>| {
        session.is_none()
    });
    tokio::time::timeout(WITHIN, gone)
        .await
        .map_err(|_| "the session does not go".to_owned())?
        .map_err(|error| error.to_string())?;
    eventually("nothing runs", async || world.nothing_runs(&uid)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn job_session_and_namespace_deleted_at_once_in_any_order_leave_nothing_behind() {
    if devcluster::skip_real("crash::meddling") {
        return;
    }
    let states = [State::Running, State::Submitting, State::Upgrading];
    let cases = states.into_iter().flat_map(|state| ORDERS.map(|order| (state, order)));
    run_all(
        cases.collect(),
        6,
        |(state, order)| format!("deleted/{state:?}/{order:?}"),
        async |(state, order)| {
            let world = World::new(FakeOptions::default()).await;
            let operator = world.operator().await;
            let result = all_deleted(&world, *state, *order).await;
            world.judge(result, &[&operator]).await
        },
    )
    .await;
}
