//! `cargo demo` on a cluster of one's own, to its end and until Ctrl-C. CI runs it on servers that it starts itself.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use devcluster::{ControlPlane, Flink, FlinkOptions, skip_real};
use flink_job_operator::api::{FlinkSession, FlinkSessionJob, Savepoint};
use kube::{Api, api::ListParams};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::harness::PATIENCE;

/// Builds the example, as `cargo demo` does, and says where it is: `cargo test` builds only its tests.
async fn demo() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = tokio::process::Command::new(cargo);
    build.args(["build", "--quiet", "--locked", "--example", "demo"]);
    if profile.ends_with("release") {
        build.arg("--release");
    }
    let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().await.unwrap();
    assert!(status.success(), "{status}");
    profile.join("examples/demo")
}

/// The files in a folder, at any depth.
fn files_under(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, mut files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    files.extend(folders.iter().flat_map(|folder| files_under(folder)));
    files
}

#[tokio::test]
async fn the_demo_plays_on_a_cluster_of_yours_and_leaves_nothing_but_the_crds() {
    if skip_real("the_demo_plays_on_a_cluster_of_yours_and_leaves_nothing_but_the_crds") {
        return;
    }
    let (plane, flink) = tokio::join!(ControlPlane::start(), Flink::start(FlinkOptions::default()));
    let (plane, flink) = (plane.unwrap(), flink.unwrap());
    let mut command = Command::new(demo().await);
    command
        .args(["--context", "devcluster", "--flink-url", flink.rest_url()])
        .env("KUBECONFIG", plane.kubeconfig())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true);

    let mut until_ctrl_c = command.spawn().unwrap();
    let mut lines = BufReader::new(until_ctrl_c.stdout.take().unwrap()).lines();
    let runs = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("until Ctrl-C") && line.starts_with("Below") {
                return;
            }
        }
        panic!("the demo ended by itself");
    };
    tokio::time::timeout(PATIENCE * 2, runs).await.unwrap();
    let client = plane.client().await.unwrap();
    let jobs: Api<FlinkSessionJob> = Api::all(client.clone());
    assert_eq!(jobs.list(&ListParams::default()).await.unwrap().items.len(), 1);
    let pid = until_ctrl_c.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let ended = tokio::time::timeout(PATIENCE, until_ctrl_c.wait())
        .await
        .unwrap()
        .unwrap();
    assert!(ended.success(), "{ended}");

    let played = tokio::time::timeout(PATIENCE * 2, command.arg("--exit").output())
        .await
        .unwrap()
        .unwrap();
    let output = String::from_utf8(played.stdout).unwrap();
    assert!(played.status.success(), "{output}");
    for words in [
        "Running    attempt 1",
        "Running    attempt 2",
        "Its state was kept",
        "the resource is gone",
    ] {
        assert!(output.contains(words), "{words}: {output}");
    }
    assert_eq!(jobs.list(&ListParams::default()).await.unwrap().items.len(), 0);
    let savepoints: Api<Savepoint> = Api::all(client.clone());
    assert_eq!(savepoints.list(&ListParams::default()).await.unwrap().items.len(), 0);
    assert_eq!(
        files_under(&flink.directory().join("savepoints")),
        Vec::<PathBuf>::new()
    );
    let sessions: Api<FlinkSession> = Api::all(client);
    assert_eq!(sessions.list(&ListParams::default()).await.unwrap().items.len(), 0);
    assert_eq!(flink.submissions().unwrap().len(), 4, "two of each demo");
}
