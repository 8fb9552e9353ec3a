//! A JobManager that is restarted, frozen, slow, cut off, unavailable, or hidden behind a login page, around each call.

use std::{fmt, time::Duration};

use devcluster::{
    fake::FakeOptions,
    proxy::Moment::{self, AfterForward, BeforeForward},
};
use flink_job_operator::api::{
    FlinkSessionJob, Phase, Reason,
    condition::{self, ConditionType},
};
use serde_json::json;

use super::{
    Failure,
    flow::{Flow, Kind},
    run_all,
    world::{JOB, Operator, World, eventually},
};

/// The jobs' `submitTimeout`.
const SUBMIT_TIMEOUT: &str = "2s";
/// Longer than that.
const SLOW: Duration = Duration::from_secs(4);
/// Long enough for the session to become Unreachable.
const UNAVAILABLE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// A new process, with or without the jobs, as with and without high availability.
    Restart { keeps_jobs: bool, moment: Moment },
    /// The process stands still, and does later what it was asked meanwhile.
    Freeze,
    /// The request, or its answer, takes longer than `submitTimeout`.
    Slow(Moment),
    /// The connection breaks.
    Cut(Moment),
    /// 503 to everything.
    Unavailable,
    /// 200 with a page.
    Html(Moment),
}

impl Trouble {
    const ALL: [Self; 12] = [
        Self::Restart {
            keeps_jobs: true,
            moment: BeforeForward,
        },
        Self::Restart {
            keeps_jobs: true,
            moment: AfterForward,
        },
        Self::Restart {
            keeps_jobs: false,
            moment: BeforeForward,
        },
        Self::Restart {
            keeps_jobs: false,
            moment: AfterForward,
        },
        Self::Freeze,
        Self::Slow(BeforeForward),
        Self::Slow(AfterForward),
        Self::Cut(BeforeForward),
        Self::Cut(AfterForward),
        Self::Unavailable,
        Self::Html(BeforeForward),
        Self::Html(AfterForward),
    ];

    /// Whether jobs are lost by it, which the operator cannot make good: then a true status is all that is asked.
    const fn loses_jobs(self) -> bool {
        matches!(self, Self::Restart { keeps_jobs: false, .. })
    }

    const fn moment(self) -> Moment {
        match self {
            Self::Restart { moment, .. } | Self::Slow(moment) | Self::Cut(moment) | Self::Html(moment) => moment,
            Self::Freeze | Self::Unavailable => BeforeForward,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            Self::Restart { keeps_jobs: true, .. } => "restart",
            Self::Restart { keeps_jobs: false, .. } => "restart-without-jobs",
            Self::Freeze => "freeze",
            Self::Slow(_) => "slow",
            Self::Cut(_) => "cut",
            Self::Unavailable => "unavailable",
            Self::Html(_) => "html",
        };
        write!(f, "{word}-{}", self.moment().as_str())
    }
}

#[derive(Debug, Clone, Copy)]
struct Case {
    flow: Flow,
    kind: Kind,
    trouble: Trouble,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "jobmanager/{}/{}/{}", self.flow, self.kind.as_str(), self.trouble)
    }
}

fn cases() -> Vec<Case> {
    let calls = [
        (Flow::Create, Kind::Upload),
        (Flow::Create, Kind::Run),
        (Flow::Upgrade, Kind::Cancel),
        (Flow::Upgrade, Kind::Run),
        (Flow::Delete, Kind::Cancel),
    ];
    let cases = calls
        .into_iter()
        .flat_map(|(flow, kind)| Trouble::ALL.map(|trouble| Case { flow, kind, trouble }));
    cases.collect()
}

async fn go_through(case: &Case, world: &World) -> Result<(), Failure> {
    let before = case.flow.prepare(world).await?;
    let mut gate = world.flink.gate(case.kind.rule(1, case.trouble.moment()));
    let begun = case.flow.begin(world).await;
    let uid = before.or(begun).unwrap_or_default();
    let held = tokio::time::timeout(super::WITHIN, gate.reached())
        .await
        .map_err(|_| "the call was never made".to_owned())?;
    let fake = &world.cluster;
    match case.trouble {
        Trouble::Restart { keeps_jobs, moment } => {
            fake.restart_jobmanager(keeps_jobs)
                .await
                .map_err(|error| error.to_string())?;
            if moment == BeforeForward {
                held.pass();
            } else {
                held.cut();
            }
        }
        Trouble::Freeze => {
            fake.freeze();
            held.pass();
            tokio::time::sleep(SLOW).await;
            fake.thaw();
        }
        Trouble::Slow(_) => {
            tokio::time::sleep(SLOW).await;
            held.pass();
        }
        Trouble::Cut(_) => held.cut(),
        Trouble::Unavailable => {
            fake.set_unavailable(true);
            held.pass();
            tokio::time::sleep(UNAVAILABLE).await;
            fake.set_unavailable(false);
        }
        Trouble::Html(_) => held.answer(200, "<html><body>Please log in</body></html>"),
    }
    if case.trouble.loses_jobs() && case.flow != Flow::Delete {
        world.until(JOB, "settled", is_settled).await?;
        world.polls(6).await?;
        let check = async || {
            let job = world.jobs.get(JOB).await.map_err(|error| error.to_string())?;
            world.tells_the_truth(&job)
        };
        eventually("the status is true", check).await?;
        world.never_twice(&uid)
    } else {
        case.flow.ends(world).await?;
        world.polls(6).await?;
        if case.flow == Flow::Delete {
            return world.nothing_runs(&uid);
        }
        let attempts = if case.flow == Flow::Upgrade { 2 } else { 1 };
        world.runs_once(JOB, attempts).await
    }
}

/// Whether the operator has come to an end with the job.
fn is_settled(job: Option<&FlinkSessionJob>) -> bool {
    let Some(job) = job else { return false };
    job.status.as_ref().is_some_and(|status| {
        matches!(status.phase, Some(Phase::Running | Phase::Failed | Phase::Lost))
            && Some(status.observed_generation) == job.metadata.generation
            && status.submission().is_none()
            && status.cancellation().is_none()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_faulty_jobmanager_neither_doubles_nor_orphans_a_job() {
    if devcluster::skip_real("crash::faults") {
        return;
    }
    run_all(cases(), 10, Case::to_string, async |case| {
        let mut world = World::new(FakeOptions::default()).await;
        world.more = json!({"submitTimeout": SUBMIT_TIMEOUT});
        let operator = world.operator().await;
        world.judge(go_through(case, &world).await, &[&operator]).await
    })
    .await;
}

/// A submission is delayed on its way, and the resource is deleted meanwhile: it must not go before the job was seen and
/// ended.
async fn late(world: &World, operator: &mut Operator, kill: bool) -> Result<(), Failure> {
    world.until_session_ready().await?;
    let mut gate = world.flink.gate(Kind::Run.rule(1, BeforeForward));
    let uid = Flow::Create.begin(world).await.unwrap_or_default();
    let held = tokio::time::timeout(super::WITHIN, gate.reached())
        .await
        .map_err(|_| "no submission".to_owned())?;
    if kill {
        operator.process.kill().map_err(|error| error.to_string())?;
    }
    world.delete(JOB).await;
    if kill {
        world.restart(operator);
    }
    let blocked = |job: Option<&FlinkSessionJob>| {
        let status = job.and_then(|job| job.status.as_ref());
        let ready = status.and_then(|status| condition::find(&status.conditions, ConditionType::Ready));
        job.is_none() || ready.is_some_and(|ready| ready.reason == Reason::DeletionBlocked.as_str())
    };
    if world.until(JOB, "DeletionBlocked", blocked).await?.is_none() {
        return Err("the resource went although its submission was under way".to_owned());
    }
    held.pass();
    world.until_gone(JOB).await?;
    world.polls(6).await?;
    world.nothing_runs(&uid)?;
    match world.accepted_of(&uid).len() {
        1 => Ok(()),
        n => Err(format!("{n} submissions were accepted")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_submission_that_arrives_after_the_deletion_is_cancelled() {
    if devcluster::skip_real("crash::faults") {
        return;
    }
    let cases = vec![("late/deletion", false), ("late/kill-and-deletion", true)];
    run_all(
        cases,
        2,
        |(id, _)| (*id).to_owned(),
        async |(_, kill)| {
            let mut world = World::new(FakeOptions::default()).await;
            world.more = json!({"submitTimeout": SUBMIT_TIMEOUT});
            let mut operator = world.operator().await;
            let result = late(&world, &mut operator, *kill).await;
            world.judge(result, &[&operator]).await
        },
    )
    .await;
}
