//! A huge body does not pass through memory.

use std::{process::Command, time::Duration};

use devcluster::jar_host::Fault;
use flink_job_operator::{api::Reason, artifact::stub_jar};

use super::{Ground, error_of};

const CHILD: &str = "FLINKJOBS_TEST_MEMORY";
/// A body of this size is received before it is cut.
const BODY: u64 = 64 << 20;

/// The most memory that this process ever had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Runs itself in a process of its own, where no other test moves the memory.
#[tokio::test]
async fn an_endless_body_takes_less_than_32_mib() {
    if std::env::var_os(CHILD).is_none() {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args([
            "--exact",
            "artifact::memory::an_endless_body_takes_less_than_32_mib",
            "--nocapture",
        ]);
        let output = child.env(CHILD, "1").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("peak grew by"),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        return;
    }
    let ground = Ground::new();
    let wanted = ground.jar("/x.jar", stub_jar());
    let fetcher = ground.fetcher_with(|policy| {
        policy.max_bytes = BODY;
        policy.deadline = Duration::from_secs(300);
    });
    fetcher.fetch(&wanted).await.unwrap();
    drop(fetcher.stub().await.unwrap());
    ground.host.serve("/x.jar", super::jar_of(1000, 1));
    ground.host.fault("/x.jar", Fault::Endless);
    let before = peak();
    let error = fetcher.fetch(&wanted).await.unwrap_err();
    let growth = peak() - before;
    assert_eq!(error.reason(), Reason::ArtifactTooLarge, "{error}");
    println!("peak grew by {} KiB", growth >> 10);
    assert!(growth < 32 << 20, "{growth} bytes");
    drop(fetcher);
    assert_eq!(ground.files(), 0);
    let fetcher = ground.fetcher_with(|policy| policy.max_bytes = 1000);
    error_of(&ground, &fetcher, &wanted).await;
}
