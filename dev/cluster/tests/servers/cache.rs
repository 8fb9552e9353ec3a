use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use devcluster::cache::{Cache, Error, Fill};

const ROOT: &str = "DEVCLUSTER_TEST_CACHE";

/// An entry that takes a moment, and that notes each time it is filled.
fn slow_entry(root: &Path) -> PathBuf {
    let fill = |fill: &Fill| {
        let note = root.join(format!("filled-{}-{:?}", std::process::id(), thread::current().id()));
        fs::write(note, "").unwrap();
        fill.write("half", b"1").unwrap();
        thread::sleep(Duration::from_millis(300));
        fill.write("whole", b"2")
    };
    Cache::at(root).unwrap().entry("thing-1", "a thing", fill).unwrap()
}

fn fills(root: &Path) -> usize {
    let names = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("filled-")).count()
}

/// Not a test of its own: the other process of `two_runs_at_once_fill_an_entry_once`.
#[test]
fn other_run() {
    if let Some(root) = env::var_os(ROOT) {
        assert!(slow_entry(Path::new(&root)).join("whole").exists());
    }
}

#[test]
fn two_runs_at_once_fill_an_entry_once() {
    let root = tempfile::tempdir().unwrap();
    let run = || {
        let program = env::current_exe().unwrap();
        let mut other = Command::new(program);
        other.args(["--exact", "cache::other_run"]).env(ROOT, root.path());
        other.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let others = [run(), run()];
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert!(slow_entry(root.path()).join("whole").exists()));
        }
    });
    for mut other in others {
        assert!(other.wait().unwrap().success());
    }
    assert_eq!(fills(root.path()), 1);
}

#[test]
fn a_failed_fill_leaves_nothing_and_is_tried_again() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::at(root.path()).unwrap();
    let calls = AtomicUsize::new(0);
    let entry = |ok: bool| {
        cache.entry("thing-1", "a thing", |fill| {
            calls.fetch_add(1, Ordering::Relaxed);
            fill.write("half", b"1")?;
            if ok { Ok(()) } else { Err(Error::NoCacheFolder) }
        })
    };
    assert!(entry(false).is_err());
    let left: Vec<_> = fs::read_dir(root.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        left.iter().all(|name| name == "thing-1.lock" || name == "logs"),
        "{left:?}"
    );
    assert_eq!(fs::read(entry(true).unwrap().join("half")).unwrap(), b"1");
    entry(true).unwrap();
    assert_eq!(calls.into_inner(), 2, "a full entry is not filled again");
}

/// The program itself, with a cache of its own.
fn devcluster(command: &str, cache: &Path) -> Command {
    let mut devcluster = Command::new(env!("CARGO_BIN_EXE_devcluster"));
    devcluster.arg(command).env("FLINKJOBS_CACHE", cache);
    devcluster
}

#[test]
fn a_missing_tool_is_named_with_its_remedy() {
    let empty = tempfile::tempdir().unwrap();
    let output = devcluster("prefetch", empty.path())
        .env("PATH", "/nonexistent")
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(error.contains("`python3` is not on the PATH"), "{error}");
    assert!(error.contains("install Python 3 with pip"), "{error}");
}

#[test]
fn programs_of_kubebuilder_assets_win_and_errors_show_their_logs() {
    use std::os::unix::fs::PermissionsExt;
    let (empty, assets) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for program in ["etcd", "kube-apiserver"] {
        let path = assets.path().join(program);
        fs::write(&path, "#!/bin/sh\necho $0 is not a server; exit 7\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let output = devcluster("up", empty.path())
        .env("KUBEBUILDER_ASSETS", assets.path())
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(
        error.contains("is not a server") && error.contains("exit status: 7"),
        "{error}"
    );
    let log = error
        .lines()
        .find_map(|line| Some(line.split_once("the end of its log ")?.1))
        .unwrap();
    assert!(
        fs::read_to_string(log.trim_end_matches(':'))
            .unwrap()
            .contains("is not a server")
    );
}
