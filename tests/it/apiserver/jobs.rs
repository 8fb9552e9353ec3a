//! The rules of `FlinkSessionJob`.

use devcluster::skip_real;
use serde_json::{Value, json};

use super::{Ground, refused, with};

fn base() -> Value {
    json!({
        "sessionRef": { "name": "demo" }, "state": "Draft",
        "job": { "jarURI": "https://repo.example/a.jar", "entryClass": "org.example.Main" },
    })
}

#[tokio::test]
async fn jobs_that_follow_the_rules_are_accepted() {
    if skip_real("jobs_that_follow_the_rules_are_accepted") {
        return;
    }
    let jobs = Ground::new("accepts", "FlinkSessionJob").await;
    let base = base();
    for changes in [
        vec![],
        vec![("/job", json!({ "entryClass": "Main" }))],
        vec![("/job", json!({ "jarURI": "s3://bucket/${day}/a.jar" }))],
        vec![("/jobName", json!("orders-${day}_x"))],
        vec![("/job/sha256", json!("a".repeat(64)))],
        vec![("/job/entryClass", json!("org.example.Outer$Inner"))],
        vec![("/job/parallelism", json!(2000))],
        vec![(
            "/flinkConfiguration",
            json!({ "state.backend.type": "rocksdb", "pipeline.name": "x", "metrics.scope.jm": "a" }),
        )],
        vec![
            ("/variables", json!({ "day": "2026-11-21" })),
            (
                "/variablesFrom",
                json!([{ "configMapRef": { "name": "c" } }, { "secretRef": { "name": "s" } }]),
            ),
        ],
        vec![("/restore", json!({ "from": "Named", "path": "s3://b/sp" }))],
        vec![("/restore", json!({ "from": "Named", "savepointRef": { "name": "sp" } }))],
        vec![("/restore", json!({ "from": "Latest", "nonce": 4 }))],
        vec![("/restartPolicy", json!({ "type": "Never", "maxRestartsPerHour": -1 }))],
        vec![("/restartPolicy", json!({ "maxRestartsPerHour": 60 }))],
        vec![("/tags", json!({ "team": "orders", "cost centre": "42" }))],
        vec![
            ("/submitTimeout", json!("1h30m")),
            ("/deletionPolicy", json!({ "type": "Orphan", "timeout": "500ms" })),
        ],
        vec![("/adopt", json!({ "jobId": "0123456789abcdef0123456789abcdef" }))],
        vec![(
            "/notifications",
            json!([{ "name": "chat", "url": "https://chat.example/hook", "on": ["JobFailed"] }]),
        )],
    ] {
        let spec = with(&base, &changes);
        jobs.create(&spec)
            .await
            .unwrap_or_else(|error| panic!("{spec}: {error}"));
    }
    let named = with(&base, &[("/jobName", json!("short"))]);
    let long_name = "a".repeat(63);
    jobs.create_named(&long_name, &named).await.unwrap();
}

#[allow(clippy::too_many_lines, reason = "a table: one row for each rule")]
#[tokio::test]
async fn jobs_that_break_a_rule_are_refused_by_field_and_rule() {
    if skip_real("jobs_that_break_a_rule_are_refused_by_field_and_rule") {
        return;
    }
    let jobs = Ground::new("refuses", "FlinkSessionJob").await;
    let base = base();
    let long = |length: usize| json!("x".repeat(length));
    let cluster = "belongs to the cluster";
    let own = "the operator sets itself";
    for (field, value, words) in [
        ("/sessionRef", Value::Null, vec!["spec.sessionRef"]),
        ("/job", json!({}), vec!["spec.job", "set jarURI, or entryClass"]),
        (
            "/job",
            json!({ "entryClass": "A", "sha256": "a".repeat(64) }),
            vec!["spec.job", "sha256 needs jarURI"],
        ),
        ("/job/sha256", json!("ABC"), vec!["spec.job.sha256"]),
        ("/job/entryClass", json!("a b"), vec!["spec.job.entryClass"]),
        ("/job/parallelism", json!(0), vec!["spec.job.parallelism"]),
        ("/job/parallelism", json!(2001), vec!["spec.job.parallelism"]),
        (
            "/job/args",
            json!([long(4096), long(2049)]),
            vec!["spec.job.args", "6144 characters"],
        ),
        ("/job/args", json!([long(4097)]), vec!["spec.job.args"]),
        ("/jobName", json!("a b"), vec!["spec.jobName"]),
        ("/state", json!("Paused"), vec!["spec.state", "Suspended"]),
        ("/upgradeMode", json!("None"), vec!["spec.upgradeMode", "Stateless"]),
        ("/description", long(513), vec!["spec.description"]),
        (
            "/flinkConfiguration",
            json!({ "a": long(4096), "b": long(2050) }),
            vec!["spec.flinkConfiguration", "6144 characters"],
        ),
        (
            "/variables",
            json!({ "a": long(4096), "b": long(1) }),
            vec!["spec.variables", "4096 characters"],
        ),
        (
            "/variablesFrom",
            json!([{}]),
            vec!["spec.variablesFrom[0]", "exactly one of configMapRef and secretRef"],
        ),
        (
            "/variablesFrom",
            json!([{ "configMapRef": { "name": "c" }, "secretRef": { "name": "s" } }]),
            vec!["exactly one of"],
        ),
        (
            "/restore",
            json!({ "from": "Named" }),
            vec!["spec.restore", "exactly one of savepointRef and path"],
        ),
        (
            "/restore",
            json!({ "from": "Latest", "path": "s3://x" }),
            vec!["spec.restore", "exactly one of savepointRef and path"],
        ),
        ("/restore", json!({ "path": "s3://x" }), vec!["spec.restore"]),
        (
            "/restartPolicy",
            json!({ "maxRestartsPerHour": 0 }),
            vec!["spec.restartPolicy.maxRestartsPerHour", "1 to 60"],
        ),
        (
            "/restartPolicy",
            json!({ "maxRestartsPerHour": 61 }),
            vec!["maxRestartsPerHour", "1 to 60"],
        ),
        ("/submitTimeout", json!("1 minute"), vec!["spec.submitTimeout"]),
        ("/submitTimeout", json!("-5s"), vec!["spec.submitTimeout"]),
        ("/adopt", json!({ "jobId": "xyz" }), vec!["spec.adopt.jobId"]),
        (
            "/deletionPolicy",
            json!({ "type": "Keep" }),
            vec!["spec.deletionPolicy.type", "Orphan"],
        ),
        ("/tags", json!({ "_sys_x": "1" }), vec!["spec.tags", "_sys_"]),
        ("/tags", json!({ "a=b": "1" }), vec!["spec.tags"]),
        ("/tags", json!({ " a": "1" }), vec!["spec.tags", "leading space"]),
        ("/tags", json!({ "a": long(256) }), vec!["spec.tags"]),
        (
            "/notifications",
            json!([{ "name": "x" }]),
            vec!["spec.notifications[0]", "exactly one of url and urlSecretRef"],
        ),
        (
            "/flinkConfiguration",
            json!({ "high-availability.type": "x" }),
            vec!["spec.flinkConfiguration", cluster],
        ),
        ("/flinkConfiguration", json!({ "rest.port": "1" }), vec![cluster]),
        (
            "/flinkConfiguration",
            json!({ "security.ssl.enabled": "1" }),
            vec![cluster],
        ),
        ("/flinkConfiguration", json!({ "kubernetes.x": "1" }), vec![cluster]),
        (
            "/flinkConfiguration",
            json!({ "jobmanager.rpc.port": "1" }),
            vec![cluster],
        ),
        ("/flinkConfiguration", json!({ "taskmanager.host": "1" }), vec![cluster]),
        (
            "/flinkConfiguration",
            json!({ "$internal.pipeline.job-id": "1" }),
            vec![cluster],
        ),
        ("/flinkConfiguration", json!({ "env.java.opts": "1" }), vec![cluster]),
        ("/flinkConfiguration", json!({ "plugin.x": "1" }), vec![cluster]),
        ("/flinkConfiguration", json!({ "web.upload.dir": "1" }), vec![cluster]),
        ("/flinkConfiguration", json!({ "blob.server.port": "1" }), vec![cluster]),
        ("/flinkConfiguration", json!({ "io.tmp.dirs": "1" }), vec![cluster]),
        (
            "/flinkConfiguration",
            json!({ "execution.savepoint.path": "1" }),
            vec!["spec.flinkConfiguration", own],
        ),
        (
            "/flinkConfiguration",
            json!({ "execution.state-recovery.path": "1" }),
            vec![own],
        ),
        ("/flinkConfiguration", json!({ "pipeline.jars": "1" }), vec![own]),
        ("/flinkConfiguration", json!({ "pipeline.classpaths": "1" }), vec![own]),
        (
            "/flinkConfiguration",
            json!({ "s3.access-key": "1" }),
            vec!["credential"],
        ),
        (
            "/flinkConfiguration",
            json!({ "fs.azure.account.key.x": "1" }),
            vec!["credential"],
        ),
        ("/flinkConfiguration", json!({ "my.Secret": "1" }), vec!["credential"]),
        ("/flinkConfiguration", json!({ "oauth.token": "1" }), vec!["credential"]),
        ("/flinkConfiguration", json!({ "db.PASSWORD": "1" }), vec!["credential"]),
        (
            "/flinkConfiguration",
            json!({ "a": 1 }),
            vec!["spec.flinkConfiguration"],
        ),
    ] {
        let spec = with(&base, &[(field, value)]);
        refused(jobs.create(&spec).await, &spec, &words);
    }
    let long_name = "a".repeat(58);
    refused(
        jobs.create_named(&long_name, &base).await,
        &json!(long_name),
        &["metadata.name", "at most 57"],
    );
    refused(
        jobs.create_named("a.b", &base).await,
        &json!("a.b"),
        &["or set spec.jobName"],
    );
}

#[tokio::test]
async fn what_may_not_change_does_not_change() {
    if skip_real("what_may_not_change_does_not_change") {
        return;
    }
    let jobs = Ground::new("changes", "FlinkSessionJob").await;
    jobs.create_named("job", &base()).await.unwrap();
    let change = |spec: Value| json!({ "spec": spec });
    let to_other = change(json!({ "sessionRef": { "name": "other" } }));
    refused(
        jobs.patch("job", to_other.clone()).await,
        &to_other,
        &["spec.sessionRef", "immutable"],
    );
    for state in ["Suspended", "Cancelled", "Running"] {
        jobs.patch("job", change(json!({ "state": state }))).await.unwrap();
        let back = change(json!({ "state": "Draft" }));
        refused(
            jobs.patch("job", back.clone()).await,
            &back,
            &["spec.state", "cannot go back to Draft"],
        );
    }
    // What the rule reads has a default, so it cannot be escaped by taking the field away first.
    let without = jobs.patch("job", change(json!({ "state": null }))).await.unwrap();
    assert_eq!(without.data["spec"]["state"], "Running");
    jobs.patch(
        "job",
        change(json!({ "job": { "jarURI": "https://repo.example/b.jar" } })),
    )
    .await
    .unwrap();
}
