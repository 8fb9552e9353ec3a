//! What stands in `docs/` and `examples/` is what the code says.

use std::{fmt::Write, fs, path::PathBuf};

use clap::CommandFactory;
use flink_job_operator::{
    api::{FlinkSession, FlinkSessionJob, Phase, Reason, Savepoint, SavepointPhase},
    cli::Cli,
};
use serde_json::Value;

const SAVEPOINT_PHASES: [(SavepointPhase, &str); 6] = [
    (
        SavepointPhase::Pending,
        "waits for its job, its turn, or the next attempt",
    ),
    (SavepointPhase::InProgress, "Flink takes it"),
    (SavepointPhase::Completed, "it is there"),
    (SavepointPhase::Failed, "could not be taken, or is not there"),
    (
        SavepointPhase::Abandoned,
        "nothing will be taken: its job does not run and is not expected to",
    ),
    (SavepointPhase::Disposing, "Flink deletes its files"),
];

const PHASES: [(Phase, &str); 14] = [
    (Phase::Draft, "checked, not submitted"),
    (
        Phase::Pending,
        "waits for something outside: the cluster, slots, its turn",
    ),
    (Phase::Submitting, "a submission is under way"),
    (Phase::Running, "the job runs"),
    (Phase::Restarting, "Flink restarts the job, or the operator replaces it"),
    (Phase::Suspending, "is being stopped for `state: Suspended`"),
    (Phase::Suspended, "stopped as asked"),
    (Phase::Cancelling, "is being cancelled"),
    (Phase::Cancelled, "was cancelled"),
    (Phase::Finished, "ended by itself, with success"),
    (Phase::Failed, "ended with an error, or cannot be started"),
    (Phase::Lost, "the cluster no longer knows the job"),
    (Phase::Unknown, "the cluster does not answer"),
    (Phase::Deleting, "the resource is being deleted"),
];

fn at(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn reference() -> String {
    let mut page = "# Reference\n\nWritten by `BLESS=1 cargo test --test it docs` from the code. `kubectl explain fsj.spec`, \
                    `kubectl explain fses.spec` and `kubectl explain fsp.spec` have every field.\n\n## Phases of a job\n\n| Phase | The job |\n| --- | --- |\n"
        .to_owned();
    for (phase, meaning) in PHASES {
        writeln!(page, "| {} | {meaning} |", phase.as_str()).unwrap();
    }
    page += "\n## Phases of a savepoint\n\n| Phase | The savepoint |\n| --- | --- |\n";
    for (phase, meaning) in SAVEPOINT_PHASES {
        writeln!(page, "| {} | {meaning} |", phase.as_str()).unwrap();
    }
    page += "\n## Conditions\n\n\
        | Type | When it is True |\n| --- | --- |\n\
        | Ready | the desired state is reached: the job runs, has finished, or is suspended or cancelled as asked |\n\
        | Reconciling | the operator works towards the desired state; nobody needs to do anything |\n\
        | Stalled | nothing will change until a person does something; the message says what |\n\
        | Accepted | the spec can be run |\n\
        | ClusterReady | the Flink cluster answers and takes jobs |\n\
        | Running | a job runs, be it of the newest spec or of the one before |\n\
        | Verified | a job was seen to be restored from this savepoint |\n\n\
        Reconciling and Stalled are absent when they do not hold, and never True together.\n\n\
        ## Reasons\n\nThe same words stand in conditions, Events and metrics.\n\n| Reason | Meaning |\n| --- | --- |\n";
    for reason in Reason::ALL {
        writeln!(page, "| {reason} | {} |", reason.meaning()).unwrap();
    }
    page += "\n## Flags of `flink-job-operator run`\n\n| Flag | Meaning |\n| --- | --- |\n";
    let command = Cli::command();
    for flag in command.find_subcommand("run").unwrap().get_arguments() {
        let Some(long) = flag.get_long().filter(|long| *long != "help") else {
            continue;
        };
        let takes = flag.get_action().takes_values();
        let value = flag.get_value_names().filter(|_| takes).and_then(<[_]>::first);
        let value = value.map_or_else(String::new, |name| format!(" {name}"));
        let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
        let defaults: Vec<_> = flag
            .get_default_values()
            .iter()
            .filter_map(|value| value.to_str())
            .collect();
        let default = if takes && !defaults.is_empty() {
            format!(" Default: `{}`.", defaults.join(","))
        } else {
            String::new()
        };
        let variable = flag.get_env().and_then(|name| name.to_str());
        let variable = variable.map_or_else(String::new, |name| format!(" Environment: `{name}`."));
        let help = help.trim_end_matches('.').replace('|', "\\|");
        writeln!(page, "| `--{long}{value}` | {help}.{default}{variable} |").unwrap();
    }
    page
}

#[test]
fn the_reference_is_what_the_code_says() {
    let (path, page) = (at("docs/reference.md"), reference());
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == page,
        "docs/reference.md is not what the code says: BLESS=1 cargo test --test it docs writes it"
    );
}

/// Every field of an example must be one that the types know: what is lost on the way through them is a slip.
#[test]
fn every_field_of_the_examples_exists() {
    fn contains(whole: &Value, part: &Value, at: &str) {
        match part {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let found = whole
                        .get(name)
                        .unwrap_or_else(|| panic!("there is no field {at}.{name}"));
                    contains(found, value, &format!("{at}.{name}"));
                }
            }
            Value::Array(items) => {
                for (n, value) in items.iter().enumerate() {
                    contains(&whole[n], value, &format!("{at}[{n}]"));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => assert_eq!(whole, part, "{at}"),
        }
    }
    let mut seen = 0;
    for file in fs::read_dir(at("examples")).unwrap() {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        for document in serde_saphyr::from_multiple::<Value>(&text).unwrap() {
            let back = match document["kind"].as_str().unwrap() {
                "FlinkSession" => {
                    serde_json::to_value(serde_json::from_value::<FlinkSession>(document.clone()).unwrap())
                }
                "FlinkSessionJob" => {
                    serde_json::to_value(serde_json::from_value::<FlinkSessionJob>(document.clone()).unwrap())
                }
                "Savepoint" => serde_json::to_value(serde_json::from_value::<Savepoint>(document.clone()).unwrap()),
                _ => continue,
            };
            contains(&back.unwrap(), &document, &path.display().to_string());
            seen += 1;
        }
    }
    assert!(seen >= 6, "only {seen} examples were found");
}

/// `examples/rbac.yaml` grants what `charts/flink-job-operator/rbac.yaml` lists, and nothing else.
#[test]
fn the_rbac_manifest_grants_what_the_chart_lists() {
    let read = |path: &str| fs::read_to_string(at(path)).unwrap();
    let listed: Value = serde_saphyr::from_str(&read("charts/flink-job-operator/rbac.yaml")).unwrap();
    let manifests: Vec<Value> = serde_saphyr::from_multiple(&read("examples/rbac.yaml")).unwrap();
    let granted = |kind: &str, name: &str| {
        let found = manifests
            .iter()
            .find(|one| one["kind"] == kind && one["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("examples/rbac.yaml has no {kind} {name}"))["rules"].clone()
    };
    assert_eq!(granted("ClusterRole", "flink-job-operator"), listed["cluster"]);
    assert_eq!(granted("Role", "flink-job-operator"), listed["own"]);
    assert_eq!(granted("Role", "flink-job-operator-secrets"), listed["secrets"]);
}

/// The rows of the tables of a page: what stands between the bars.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let mut rows: Vec<Vec<&str>> = rows.map(|row| row.split(" | ").map(str::trim).collect()).collect();
    rows.retain(|row| !row.iter().all(|cell| cell.chars().all(|c| c == '-')));
    rows
}

/// Whether a test of that name is there, such as `e2e::kept::suspend_and_resume_keep_the_state`.
fn is_a_test(name: &str) -> bool {
    let Some((module, function)) = name.rsplit_once("::") else {
        return false;
    };
    let module = module.replace("::", "/");
    let files = [format!("tests/it/{module}.rs"), format!("tests/it/{module}/mod.rs")];
    let Some(code) = files.iter().find_map(|file| fs::read_to_string(at(file)).ok()) else {
        return false;
    };
    let lines: Vec<&str> = code.lines().map(str::trim).collect();
    lines.windows(2).any(|pair| {
        let tested = pair[0].starts_with("#[tokio::test") || pair[0] == "#[test]";
        let named = pair[1].trim_start_matches("async ").strip_prefix("fn ");
        tested
            && named
                .and_then(|rest| rest.strip_prefix(function))
                .is_some_and(|rest| rest.starts_with('('))
    })
}

/// Every situation of "What happens to my state when …" names the test that shows it.
#[test]
fn each_row_about_state_is_shown_by_a_test() {
    let page = fs::read_to_string(at("docs/state.md")).unwrap();
    let mut shown = 0;
    for row in rows(&page) {
        let last = row.last().copied().unwrap_or_default();
        if last == "Shown by" {
            continue;
        }
        let names: Vec<&str> = last.split(", ").map(|name| name.trim_matches('`')).collect();
        assert!(
            !last.is_empty() && names.iter().all(|name| is_a_test(name)),
            "no such test: {last}"
        );
        shown += 1;
    }
    assert!(shown >= 30, "only {shown} rows were found");
    assert!(!is_a_test("e2e::kept::nothing") && !is_a_test("e2e::kept::goes_on"));
}
