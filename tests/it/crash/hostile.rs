//! One slow or hostile cluster, and another one whose jobs must not wait for it.

use std::time::{Duration, Instant};

use devcluster::fake::{Action, FakeFlink, FakeOptions, Fault, Reply};
use futures::future::{join_all, try_join_all};
use serde_json::json;

use super::{Failure, run_all, world::World};

const JOBS: usize = 10;

/// By how much longer ten jobs may take beside the bad cluster: less than the deadline of any request to Flink or to the
/// API server, one of which they would wait for.
const UNDISTURBED: Duration = Duration::from_secs(9);

/// What the bad cluster does with every request.
fn kinds() -> Vec<(&'static str, Action)> {
    vec![
        ("hangs", Action::Hang),
        ("one-byte-a-second", Action::Drip(Duration::from_secs(1))),
        ("endless-body", Action::Endless),
        ("html", Action::Answer(Reply::html(200))),
    ]
}

async fn undisturbed(world: &World, bad: &FakeFlink) -> Result<(), Failure> {
    world.until_session_ready().await?;
    let on_bad: Vec<String> = (0..JOBS).map(|n| format!("bad-{n}")).collect();
    let on_good: Vec<String> = (0..JOBS).map(|n| format!("good-{n}")).collect();
    let before: Vec<String> = (0..JOBS).map(|n| format!("before-{n}")).collect();
    let begun = Instant::now();
    join_all(before.iter().map(|name| world.create(name))).await;
    try_join_all(before.iter().map(|name| world.until_running(name))).await?;
    let alone = begun.elapsed();
    let session = json!({"sessionRef": {"name": "bad"}});
    join_all(on_bad.iter().map(|name| world.create_with(name, session.clone()))).await;
    for round in ["created", "upgraded"] {
        let begun = Instant::now();
        if round == "created" {
            join_all(on_good.iter().map(|name| world.create(name))).await;
        } else {
            join_all(on_good.iter().map(|name| world.edit(name))).await;
        }
        try_join_all(on_good.iter().map(|name| world.until_running(name))).await?;
        let took = begun.elapsed();
        println!("{JOBS} jobs {round} in {took:?} beside a bad cluster, created in {alone:?} before");
        if took > alone + UNDISTURBED {
            return Err(format!(
                "the good cluster's jobs were {round} only after {took:?}, without the bad one after {alone:?}"
            ));
        }
    }
    // The bad cluster comes to its senses, and its jobs start.
    bad.clear_faults();
    try_join_all(on_bad.iter().map(|name| world.until_running(name))).await?;
    let (most, submissions) = (bad.most_live(), bad.submissions().len());
    if submissions != JOBS || most.as_ref().is_some_and(|(_, n)| *n != 1) {
        return Err(format!(
            "{JOBS} submissions were to be made, {submissions} were; {most:?} at once"
        ));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_cluster_does_not_delay_anothers_jobs() {
    if devcluster::skip_real("crash::hostile") {
        return;
    }
    run_all(
        kinds(),
        2,
        |(name, _)| format!("hostile/{name}"),
        async |(_, action)| {
            let bad = FakeFlink::start(FakeOptions::default()).await.unwrap();
            bad.inject(Fault::on("*", "*", action.clone()));
            let world = World::new(FakeOptions::default()).await;
            world.add_session("bad", &bad.url()).await;
            let operator = world.operator().await;
            world.judge(undisturbed(&world, &bad).await, &[&operator]).await
        },
    )
    .await;
}
