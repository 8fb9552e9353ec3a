//! Leader election against the real API server, with short leases.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use flink_job_operator::{
    kubernetes::{Limits, connect},
    leader::{Election, Leadership, Lost, Timing, unique_identity},
};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{Ground, link::Link};

const LEASE: &str = "operator";

/// Short, but long enough for a machine that compiles at the same time.
const SHORT: Timing = Timing {
    lease_duration: Duration::from_secs(8),
    renew_deadline: Duration::from_millis(4800),
    retry_period: Duration::from_millis(600),
};

/// A lease that runs out, a look, a write, and a slow machine.
const TAKEOVER: Duration = Duration::from_secs(60);

struct Candidate {
    leadership: Leadership,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), Lost>>,
}

impl Candidate {
    fn start(client: Client, namespace: &str, name: &str) -> Self {
        let (election, leadership) = Election::new(client, namespace, LEASE, unique_identity(name), SHORT).unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(election.run(None, shutdown.clone()));
        Self {
            leadership,
            shutdown,
            task,
        }
    }

    async fn leads(&self) -> Instant {
        tokio::time::timeout(TAKEOVER, self.leadership.acquired())
            .await
            .expect("leads in time");
        Instant::now()
    }
}

async fn stored(ground: &Ground) -> (String, i32) {
    let lease: Lease = Api::namespaced(ground.admin.clone(), &ground.namespace)
        .get(LEASE)
        .await
        .unwrap();
    let spec = lease.spec.unwrap();
    (spec.holder_identity.unwrap(), spec.lease_transitions.unwrap())
}

#[tokio::test]
async fn of_many_one_leads_and_a_stopped_leader_hands_over_at_once() {
    let ground = Ground::new("leader").await;
    let client = ground
        .client_with("coordination.k8s.io", "leases", &["get", "create", "update"])
        .await;
    let mut candidates: Vec<_> = (0..5)
        .map(|n| Candidate::start(client.clone(), &ground.namespace, &format!("pod-{n}")))
        .collect();
    for round in 0..3 {
        let start = Instant::now();
        let leaders = || {
            candidates
                .iter()
                .filter(|candidate| candidate.leadership.is_leader())
                .count()
        };
        while leaders() == 0 && start.elapsed() < TAKEOVER {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let waited = start.elapsed();
        assert!(
            round == 0 || waited < SHORT.lease_duration,
            "a released lease is not waited for: {waited:?}"
        );
        tokio::time::sleep(SHORT.retry_period * 3).await;
        assert_eq!(leaders(), 1);
        let index = candidates
            .iter()
            .position(|candidate| candidate.leadership.is_leader())
            .unwrap();
        let leader = candidates.swap_remove(index);
        leader.shutdown.cancel();
        leader.task.await.unwrap().unwrap();
        assert!(!leader.leadership.is_leader() && leader.leadership.lost().is_cancelled());
    }
    assert!(stored(&ground).await.1 >= 2, "each change of the holder is counted");
}

#[tokio::test]
async fn a_leader_that_died_is_replaced_after_its_lease() {
    let ground = Ground::new("leader").await;
    let client = ground.client(&Limits::default()).await;
    let first = Candidate::start(client.clone(), &ground.namespace, "first");
    first.leads().await;
    let second = Candidate::start(client, &ground.namespace, "second");
    tokio::time::sleep(SHORT.lease_duration + SHORT.retry_period).await;
    assert!(
        first.leadership.is_leader() && !second.leadership.is_leader(),
        "a renewed lease does not run out"
    );

    // Like kill -9: nothing is given back.
    first.task.abort();
    let died = Instant::now();
    let took = second.leads().await - died;
    assert!(took + SHORT.retry_period * 2 > SHORT.lease_duration, "{took:?}");
    assert!(
        first.leadership.lost().is_cancelled(),
        "a dropped election ends its term"
    );
}

#[tokio::test]
async fn a_leader_that_is_cut_off_stops_before_the_next_one_starts() {
    let ground = Ground::new("leader").await;
    let config = ground.config().await;
    let link = Link::to(&config).await;
    let far = connect(&link.config(&config), &Limits::default()).unwrap();
    let first = Candidate::start(far, &ground.namespace, "first");
    first.leads().await;
    let second = Candidate::start(ground.client(&Limits::default()).await, &ground.namespace, "second");

    let cut = Instant::now();
    link.cut();
    let lost = first.leadership.lost();
    let (stopped, started) = tokio::join!(
        async {
            lost.cancelled().await;
            Instant::now()
        },
        second.leads()
    );
    assert!(
        stopped < started,
        "stopped {:?} after the other had started",
        stopped - started
    );
    // Its last renewal was at most a retry before the cut.
    let held = started - cut + SHORT.retry_period * 2;
    assert!(held > SHORT.lease_duration, "{held:?}");
    let error = first.task.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, Lost::NotRenewed { failure, .. } if failure.contains("no answer")),
        "{error}"
    );

    // Its last renewal arrives now, late, and is refused.
    link.mend();
    tokio::time::sleep(SHORT.retry_period * 2).await;
    assert!(second.leadership.is_leader());
    assert!(stored(&ground).await.0.starts_with("second_"));
}

#[tokio::test]
async fn a_lease_that_was_edited_or_deleted_by_hand_makes_no_second_leader() {
    let ground = Ground::new("leader").await;
    let leases: Api<Lease> = Api::namespaced(ground.admin.clone(), &ground.namespace);
    let client = ground.client(&Limits::default()).await;
    let first = Candidate::start(client.clone(), &ground.namespace, "first");
    first.leads().await;
    let second = Candidate::start(client, &ground.namespace, "second");
    tokio::time::sleep(SHORT.retry_period * 2).await;

    leases.delete(LEASE, &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(SHORT.lease_duration).await;
    assert!(
        first.leadership.is_leader() && !second.leadership.is_leader(),
        "the leader wrote it again"
    );

    let edit = Patch::Merge(json!({ "spec": { "holderIdentity": "somebody" } }));
    leases.patch(LEASE, &PatchParams::default(), &edit).await.unwrap();
    let error = tokio::time::timeout(TAKEOVER, first.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap_err();
    assert!(
        matches!(&error, Lost::TakenBy { holder, .. } if holder == "somebody"),
        "{error}"
    );
    second.leads().await;
}

/// Says whether it leads, every 5 ms, with the wall clock; a process of its own, so that it can be frozen.
///
/// Does nothing unless it was started by the test below.
#[tokio::test]
async fn child_that_says_whether_it_leads() {
    let (Ok(kubeconfig), Ok(namespace)) = (std::env::var("FRAME_KUBECONFIG"), std::env::var("FRAME_NAMESPACE")) else {
        return;
    };
    let target = flink_job_operator::kubernetes::Target {
        kubeconfig: Some(kubeconfig.into()),
        context: None,
    };
    let client = connect(&target.config().await.unwrap(), &Limits::default()).unwrap();
    let candidate = Candidate::start(client, &namespace, "child");
    // A thread and not a task: what counts is the answer at the first instruction after the thaw.
    let leadership = candidate.leadership.clone();
    std::thread::spawn(move || {
        loop {
            let now = jiff::Timestamp::now().as_millisecond();
            println!("at {now} {}", leadership.is_leader());
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let error = candidate.task.await.unwrap().unwrap_err();
    println!("ended {error}");
    // The thread is to have its say after a thaw too.
    tokio::time::sleep(Duration::from_millis(200)).await;
    std::process::exit(3);
}

struct Speaker {
    child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Speaker {
    fn start(ground: &Ground) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "frame::leader::child_that_says_whether_it_leads",
                "--nocapture",
            ])
            .env("FRAME_KUBECONFIG", ground.plane.kubeconfig())
            .env("FRAME_NAMESPACE", &ground.namespace)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    async fn signal(&self, signal: &str) {
        let pid = self.child.id().unwrap().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .await
                .unwrap()
                .success()
        );
    }

    /// The next statement: when in milliseconds of the wall clock, and whether it leads.
    async fn next(&mut self) -> Option<(i64, bool)> {
        loop {
            let line = self.lines.next_line().await.ok().flatten()?;
            let Some(statement) = line.strip_prefix("at ").and_then(|line| line.split_once(' ')) else {
                continue;
            };
            return Some((statement.0.parse().unwrap(), statement.1 == "true"));
        }
    }
}

#[tokio::test]
async fn a_leader_that_was_frozen_knows_at_the_thaw_that_it_is_none() {
    let ground = Ground::new("leader").await;
    let mut child = Speaker::start(&ground);
    while !child.next().await.expect("the child runs").1 {}
    let other = Candidate::start(ground.client(&Limits::default()).await, &ground.namespace, "other");

    child.signal("-STOP").await;
    let frozen = jiff::Timestamp::now().as_millisecond();
    other.leads().await;
    let began = jiff::Timestamp::now().as_millisecond();
    tokio::time::sleep(SHORT.lease_duration).await;
    child.signal("-CONT").await;

    let mut statements = Vec::new();
    while let Some((at, leads)) = child.next().await {
        statements.push((at - frozen, leads));
        assert!(
            !leads || at < began,
            "led after the other had begun at {}: {statements:?}",
            began - frozen
        );
    }
    assert!(
        statements.iter().any(|(at, _)| *at > began - frozen),
        "it did speak after the thaw"
    );
    assert_eq!(
        child.child.wait().await.unwrap().code(),
        Some(3),
        "and ended with an error"
    );
    assert!(other.leadership.is_leader());
}
