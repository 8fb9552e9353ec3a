use std::{
    env,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use devcluster::{ControlPlane, cache::Cache, process::Supervisor};

const ROLE: &str = "DEVCLUSTER_TEST_ROLE";

/// Not a test of its own: the parent that `leaves_nothing_when_killed` kills.
#[tokio::test]
async fn parent() {
    if env::var_os(ROLE).is_none() {
        return;
    }
    let plane = ControlPlane::start().await.unwrap();
    let processes = [plane.etcd().pid(), plane.apiserver_pid()]
        .map(|pid| pid.to_string())
        .join(" ");
    println!("\nstarted {processes} {}", plane.directory().display());
    std::future::pending::<()>().await;
}

/// Whether the process runs; one that ended and waits to be reaped does not.
fn runs(pid: &str) -> bool {
    let state = Command::new("ps").args(["-o", "stat=", "-p", pid]).output().unwrap();
    let state = String::from_utf8(state.stdout).unwrap();
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}

fn eventually(what: &str, met: impl Fn() -> bool) {
    let started = Instant::now();
    while !met() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn leaves_nothing_when_killed() {
    let mut parent = Command::new(env::current_exe().unwrap())
        .args(["--exact", "supervisor::parent", "--nocapture"])
        .env(ROLE, "parent")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(parent.stdout.take().unwrap());
    let started = output
        .lines()
        .map(Result::unwrap)
        .find(|line| line.starts_with("started "))
        .expect("it starts");
    let [_, etcd, apiserver, directory] = started.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{started}")
    };
    assert!(runs(etcd) && runs(apiserver) && Path::new(directory).exists());

    parent.kill().unwrap(); // SIGKILL
    parent.wait().unwrap();
    eventually("etcd still runs", || !runs(etcd));
    eventually("the API server still runs", || !runs(apiserver));
    eventually("the directory is left", || !Path::new(directory).exists());
}

fn supervisor(name: &str) -> std::sync::Arc<Supervisor> {
    Supervisor::start(name, &Cache::open().unwrap().logs()).unwrap()
}

#[test]
fn ends_processes_after_a_panic() {
    let (sender, receiver) = std::sync::mpsc::channel::<(String, PathBuf)>();
    let panicked = std::thread::spawn(move || {
        let supervisor = supervisor("panic");
        let process = supervisor.spawn("sleep", Command::new("sleep").arg("1000")).unwrap();
        sender
            .send((process.pid().to_string(), supervisor.directory().to_owned()))
            .unwrap();
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    let (pid, directory) = receiver.recv().unwrap();
    assert!(!runs(&pid), "still runs");
    assert!(!directory.exists(), "the directory is left");
}

#[test]
fn kills_children_of_children() {
    let supervisor = supervisor("family");
    let file = supervisor.directory().join("grandchild");
    let script = format!("sleep 1000 & echo $! >{0}.new; mv {0}.new {0}; wait", file.display());
    let process = supervisor
        .spawn("family", Command::new("sh").args(["-c", &script]))
        .unwrap();
    eventually("the grandchild starts", || file.exists());
    let grandchild = std::fs::read_to_string(file).unwrap().trim().to_owned();
    assert!(runs(&grandchild));
    process.kill().unwrap();
    eventually("the grandchild still runs", || !runs(&grandchild));
}

#[tokio::test]
async fn shows_the_log_of_a_process_that_ends() {
    let supervisor = supervisor("early");
    let process = supervisor
        .spawn("early", Command::new("sh").args(["-c", "echo what went wrong; exit 3"]))
        .unwrap();
    let probe = || async { Err::<(), _>("not yet".to_owned()) };
    let error = process
        .ready(Duration::from_secs(60), probe)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("what went wrong") && error.contains("early.log") && error.contains("exit status: 3"),
        "{error}"
    );
}
