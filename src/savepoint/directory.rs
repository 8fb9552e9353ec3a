//! Where a savepoint goes: the first directory that is named, and below it one for each attempt.

use super::{Cluster, Job, Observed, observed::LONGEST_DIRECTORY};
use crate::{
    api::Reason, flink::StatePath, job::Refusal, registry::SAVEPOINT_DIRECTORIES, state_prefix::own_directory,
};

/// A directory as it was named, and by what.
struct Named<'a> {
    text: &'a str,
    by: &'static str,
}

/// The directory of an attempt, which no other has.
pub(super) fn of_attempt(
    o: &Observed<'_>,
    job: &Job<'_>,
    cluster: &Cluster<'_>,
    attempt: i32,
) -> Result<String, Refusal> {
    let base = base(o, job, cluster)?;
    let name = o.spec.job().unwrap_or_default();
    let directory = own_directory(base, o.meta.namespace, name, &format!("{}-{attempt}", o.meta.uid));
    o.prefixes
        .check(o.meta.namespace, &directory)
        .map_err(|outside| Refusal::new(Reason::InvalidSpec, outside.to_string()))?;
    let text = directory.to_string();
    if text.len() > LONGEST_DIRECTORY {
        let message = "the directory for savepoints is too long; name a shorter one in spec.trigger.directory";
        return Err(Refusal::new(Reason::InvalidSpec, message));
    }
    Ok(text)
}

fn base(o: &Observed<'_>, job: &Job<'_>, cluster: &Cluster<'_>) -> Result<StatePath, Refusal> {
    let Some(named) = named(o, job, cluster) else {
        let message = format!(
            "no directory for savepoints is named: create another Savepoint with spec.trigger.directory, or set \
             spec.savepointPolicy.directory of the job, or {} of its cluster",
            SAVEPOINT_DIRECTORIES.first().copied().unwrap_or_default()
        );
        return Err(Refusal::new(Reason::SavepointFailed, message));
    };
    let refused = |why: &dyn std::fmt::Display| {
        let message = format!("the directory for savepoints in {} cannot be used: {why}", named.by);
        Refusal::new(Reason::SavepointFailed, message)
    };
    if named.text.contains("${") {
        return Err(refused(
            &"its variables are expanded for the job alone; name one in spec.trigger.directory or \
              spec.savepointPolicy.directory of the job",
        ));
    }
    qualified(named.text, cluster.facts.default_scheme.as_deref())
        .parse()
        .map_err(|error: crate::flink::InvalidPath| refused(&error))
}

/// The first that names one: the Savepoint, the job's policy, the job's configuration, the cluster's.
fn named<'a>(o: &Observed<'a>, job: &Job<'a>, cluster: &Cluster<'a>) -> Option<Named<'a>> {
    let own = o.spec.trigger.as_ref().and_then(|trigger| trigger.directory.as_deref());
    let policy = job.spec.savepoint_policy.as_ref();
    let policy = policy.and_then(|policy| policy.directory.as_deref());
    // What the job runs with, not what it is to run with.
    let accepted = job.status.accepted_spec.as_deref().unwrap_or(job.spec);
    let configured = |key: &&str| accepted.flink_configuration.get(*key).map(String::as_str);
    let configured = SAVEPOINT_DIRECTORIES.iter().find_map(configured);
    [
        (own, "spec.trigger.directory"),
        (policy, "spec.savepointPolicy.directory of the job"),
        (configured, "spec.flinkConfiguration of the job"),
        (cluster.facts.directory.as_deref(), "the cluster's configuration"),
    ]
    .into_iter()
    .find_map(|(text, by)| text.map(|text| Named { text, by }))
}

/// A path without a scheme is one of the cluster's default file system.
fn qualified(text: &str, default_scheme: Option<&str>) -> String {
    match default_scheme {
        Some(scheme) if !StatePath::has_scheme(text) && text.starts_with('/') => {
            format!("{}{text}", scheme.trim_end_matches('/'))
        }
        Some(_) | None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::{Case, DIRECTORY, UID};
    use crate::api::{Reason, SavepointPhase};

    /// The directory that a case comes to, or why there is none.
    fn directory(change: impl FnOnce(&mut Case)) -> Result<String, (String, String)> {
        let mut case = Case::new();
        change(&mut case);
        case.settle();
        match case.status.triggered() {
            Some(trigger) => Ok(trigger.directory.clone()),
            None => Err((case.reads(), case.message().to_owned())),
        }
    }

    fn under(base: &str) -> String {
        format!("{base}/team-a/orders/{UID}-1")
    }

    fn configure(case: &mut Case, key: &str, value: &str) {
        case.job_spec
            .flink_configuration
            .insert(key.to_owned(), value.to_owned());
    }

    fn policy(case: &mut Case, directory: &str) {
        case.job_spec.savepoint_policy.get_or_insert_default().directory = Some(directory.to_owned());
    }

    #[test]
    fn the_nearest_that_names_one_decides() {
        const NEW: &str = "execution.checkpointing.savepoint-dir";
        const OLD: &str = "state.savepoints.dir";
        assert_eq!(directory(|_| {}), Ok(DIRECTORY.to_owned()));
        assert_eq!(
            directory(|case| configure(case, OLD, "s3://job/old/")),
            Ok(under("s3://job/old"))
        );
        let both = |case: &mut Case| {
            configure(case, OLD, "s3://job/old");
            configure(case, NEW, "s3://job/new");
        };
        assert_eq!(directory(both), Ok(under("s3://job/new")));
        let with_policy = |case: &mut Case| {
            both(case);
            policy(case, "s3://policy//x");
        };
        assert_eq!(directory(with_policy), Ok(under("s3://policy/x")));
        let all = |case: &mut Case| {
            with_policy(case);
            case.set_trigger(|trigger| trigger.directory = Some("file:///own".to_owned()));
        };
        assert_eq!(directory(all), Ok(under("file:/own")));
    }

    // A change of the spec that has not been rolled out says nothing of the job that runs.
    #[test]
    fn the_configuration_that_counts_is_the_one_that_the_job_runs_with() {
        let edited = |case: &mut Case| {
            case.job_status.accepted_spec = Some(Box::new(case.job_spec.clone()));
            configure(case, "state.savepoints.dir", "s3://next");
        };
        assert_eq!(directory(edited), Ok(DIRECTORY.to_owned()));
    }

    #[test]
    fn a_path_without_a_scheme_is_in_the_default_file_system() {
        let named = |scheme: Option<&'static str>| {
            directory(move |case| {
                case.facts.directory = Some("/savepoints".into());
                case.facts.default_scheme = scheme.map(Into::into);
            })
        };
        assert_eq!(named(None), Ok(under("file:/savepoints")));
        assert_eq!(named(Some("hdfs://nn:8020/")), Ok(under("hdfs://nn:8020/savepoints")));
        assert_eq!(named(Some("hdfs:///")), Ok(under("hdfs:/savepoints")));
    }

    #[test]
    fn without_a_directory_that_can_be_used_it_fails_and_says_where_to_name_one() {
        let failed = |change: fn(&mut Case)| directory(change).unwrap_err();
        let (told, message) = failed(|case| case.facts.directory = None);
        assert_eq!(told, "Failed/SavepointFailed Ready=False Stalled");
        for word in [
            "spec.trigger.directory",
            "savepointPolicy.directory",
            "execution.checkpointing.savepoint-dir",
        ] {
            assert!(message.contains(word), "{message}");
        }
        let (_, message) = failed(|case| configure(case, "state.savepoints.dir", "s3://b/${day}"));
        assert!(message.contains("variables"), "{message}");
        let (_, message) = failed(|case| policy(case, "relative"));
        assert!(
            message.contains("savepointPolicy") && message.contains("relative"),
            "{message}"
        );
        let long = format!("s3://b/{}", "x".repeat(1150));
        let (told, _) = directory(|case| case.facts.directory = Some(long.as_str().into())).unwrap_err();
        assert_eq!(told, "Failed/InvalidSpec Ready=False Stalled");
    }

    #[test]
    fn a_directory_outside_of_the_namespaces_prefixes_is_refused() {
        let bound = |prefix: &'static str| move |case: &mut Case| case.prefixes = vec![prefix.parse().unwrap()].into();
        assert_eq!(
            directory(bound("team-a=s3://bucket/savepoints/")),
            Ok(DIRECTORY.to_owned())
        );
        assert_eq!(directory(bound("team-b=s3://other/")), Ok(DIRECTORY.to_owned()));
        let (told, message) = directory(bound("team-a=s3://other/")).unwrap_err();
        assert_eq!(told, "Failed/InvalidSpec Ready=False Stalled");
        assert!(
            message.contains("--state-prefix") && message.contains("s3://other/"),
            "{message}"
        );
    }

    #[test]
    fn each_attempt_has_a_directory_of_its_own() {
        let mut case = Case::new();
        case.status.attempt = Some(4);
        case.settle();
        assert_eq!(case.status.phase, Some(SavepointPhase::InProgress));
        assert_eq!(case.trigger().directory, DIRECTORY.replace("21-1", "21-5"));
        assert_eq!((case.trigger().attempt, case.status.attempt), (5, Some(5)));
        assert_eq!(
            case.reads(),
            format!("InProgress/{} Ready=False Reconciling", Reason::InProgress)
        );
    }
}
