//! The rules of `Savepoint`.

use devcluster::skip_real;
use serde_json::{Value, json};

use super::{Ground, refused, with};

const ONE_OF: &str = "at most one of trigger and existing";

fn of_job() -> Value {
    json!({ "jobRef": { "name": "orders" } })
}

fn import() -> Value {
    json!({ "existing": { "path": "s3://bucket/savepoints/savepoint-1" } })
}

#[tokio::test]
async fn savepoints_that_follow_the_rules_are_accepted() {
    if skip_real("savepoints_that_follow_the_rules_are_accepted") {
        return;
    }
    let savepoints = Ground::new("savepoints", "Savepoint").await;
    let long_path = format!("s3://bucket/{}", "x".repeat(1000));
    for (base, changes) in [
        (of_job(), vec![]),
        (of_job(), vec![("/jobRef/kind", json!("FlinkSessionJob"))]),
        (of_job(), vec![("/trigger", json!({}))]),
        (
            of_job(),
            vec![(
                "/trigger",
                json!({ "format": "Canonical", "directory": "s3://bucket/a..b/.c", "timeout": "1h30m", "backoffLimit": 0 }),
            )],
        ),
        (of_job(), vec![("/trigger", json!({ "directory": "file:/a" }))]),
        (
            of_job(),
            vec![("/trigger", json!({ "timeout": "24h", "backoffLimit": 100 }))],
        ),
        (of_job(), vec![("/deletionPolicy", json!("Dispose"))]),
        (import(), vec![]),
        (import(), vec![("/existing/path", json!(long_path))]),
        (import(), vec![("/existing/path", json!("file:///a/b/_metadata"))]),
        (
            import(),
            vec![
                ("/existing/kind", json!("Checkpoint")),
                ("/existing/verify", json!(false)),
            ],
        ),
        (
            import(),
            vec![
                ("/jobRef", json!({ "name": "orders" })),
                ("/deletionPolicy", json!("Retain")),
            ],
        ),
    ] {
        let spec = with(&base, &changes);
        let created = savepoints.create(&spec).await;
        let created = created.unwrap_or_else(|error| panic!("{spec}: {error}"));
        // No defaults: a GitOps tool sees its own spec.
        assert_eq!(created.data["spec"], spec);
    }
}

#[tokio::test]
async fn savepoints_that_break_a_rule_are_refused_by_field_and_rule() {
    if skip_real("savepoints_that_break_a_rule_are_refused_by_field_and_rule") {
        return;
    }
    let savepoints = Ground::new("savepoints", "Savepoint").await;
    let directory = |path: &str| with(&of_job(), &[("/trigger", json!({ "directory": path }))]);
    let existing = |path: &str| with(&import(), &[("/existing/path", json!(path))]);
    for (spec, words) in [
        (json!({}), vec!["spec", "jobRef names the job"]),
        (json!({ "trigger": {} }), vec!["spec", "jobRef names the job"]),
        (
            with(
                &import(),
                &[("/trigger", json!({})), ("/jobRef", json!({ "name": "orders" }))],
            ),
            vec!["spec", ONE_OF],
        ),
        (json!({ "jobRef": {} }), vec!["spec.jobRef.name"]),
        (json!({ "jobRef": { "name": "A_b" } }), vec!["spec.jobRef.name"]),
        (
            json!({ "jobRef": { "name": "orders", "kind": "Deployment" } }),
            vec!["spec.jobRef.kind", "FlinkSessionJob"],
        ),
        (
            with(&of_job(), &[("/trigger", json!({ "format": "Binary" }))]),
            vec!["spec.trigger.format", "Canonical"],
        ),
        (
            with(&of_job(), &[("/trigger", json!({ "timeout": "999ms" }))]),
            vec!["spec.trigger.timeout", "between 1s and 24h"],
        ),
        (
            with(&of_job(), &[("/trigger", json!({ "timeout": "25h" }))]),
            vec!["spec.trigger.timeout", "between 1s and 24h"],
        ),
        (
            with(&of_job(), &[("/trigger", json!({ "timeout": "soon" }))]),
            vec!["spec.trigger.timeout"],
        ),
        (
            with(&of_job(), &[("/trigger", json!({ "backoffLimit": -1 }))]),
            vec!["spec.trigger.backoffLimit"],
        ),
        (
            with(&of_job(), &[("/trigger", json!({ "backoffLimit": 101 }))]),
            vec!["spec.trigger.backoffLimit"],
        ),
        (directory("/a/b"), vec!["spec.trigger.directory"]),
        (directory("a/b"), vec!["spec.trigger.directory"]),
        (directory("s3://bucket/a\\..\\b"), vec!["spec.trigger.directory"]),
        (
            directory("s3://bucket/../x"),
            vec!["spec.trigger.directory", "contains . or .."],
        ),
        (
            directory(&format!("s3://bucket/{}", "x".repeat(768))),
            vec!["spec.trigger.directory"],
        ),
        (existing("relative/x"), vec!["spec.existing.path"]),
        (existing("/no/scheme"), vec!["spec.existing.path"]),
        (existing("S3://bucket/x"), vec!["spec.existing.path"]),
        (
            existing("s3://bucket/x/.."),
            vec!["spec.existing.path", "contains . or .."],
        ),
        (existing("file:/./x"), vec!["spec.existing.path", "contains . or .."]),
        (
            with(&import(), &[("/existing/kind", json!("Snapshot"))]),
            vec!["spec.existing.kind", "Checkpoint"],
        ),
        (
            with(&of_job(), &[("/deletionPolicy", json!("Delete"))]),
            vec!["spec.deletionPolicy", "Dispose"],
        ),
    ] {
        refused(savepoints.create(&spec).await, &spec, &words);
    }
}

#[tokio::test]
async fn a_savepoint_is_immutable_but_for_its_deletion_policy() {
    if skip_real("a_savepoint_is_immutable_but_for_its_deletion_policy") {
        return;
    }
    let savepoints = Ground::new("savepoints", "Savepoint").await;
    savepoints.create_named("bare", &of_job()).await.unwrap();
    let triggered = with(&of_job(), &[("/trigger", json!({ "timeout": "5m" }))]);
    savepoints.create_named("triggered", &triggered).await.unwrap();
    savepoints.create_named("import", &import()).await.unwrap();
    for (name, change) in [
        ("bare", json!({ "jobRef": { "name": "other" } })),
        ("bare", json!({ "jobRef": { "kind": "FlinkSessionJob" } })),
        ("bare", json!({ "trigger": {} })),
        ("bare", json!({ "jobRef": null, "existing": { "path": "s3://b/x" } })),
        ("triggered", json!({ "trigger": { "timeout": "6m" } })),
        ("triggered", json!({ "trigger": { "directory": "s3://b/x" } })),
        ("triggered", json!({ "trigger": null })),
        ("import", json!({ "existing": { "path": "s3://b/y" } })),
        ("import", json!({ "existing": { "verify": false } })),
        ("import", json!({ "jobRef": { "name": "orders" } })),
    ] {
        let patch = json!({ "spec": change });
        let words = ["spec", "immutable but for deletionPolicy"];
        refused(savepoints.patch(name, patch.clone()).await, &patch, &words);
    }
    for policy in [json!("Dispose"), json!("Retain"), Value::Null] {
        for name in ["bare", "triggered", "import"] {
            let patch = json!({ "spec": { "deletionPolicy": policy } });
            savepoints.patch(name, patch).await.unwrap();
        }
    }
}
