//! Where a job's savepoints go: a directory of its own for each of them, so that it can be found when nobody remembers it.

use super::{Input, Observed, Refusal};
use crate::{
    api::{Reason, state::MAX_PATH},
    flink::{InvalidPath, JobId, StatePath, TriggerId},
};

/// The keys that name Flink's default directory, in 2.x and in 1.x.
const KEYS: [&str; 2] = ["execution.checkpointing.savepoint-dir", "state.savepoints.dir"];

/// What Flink adds to a directory: `/savepoint-<6 digits>-<12 digits>`.
const FLINKS_OWN: usize = 32;

fn of_policy<'o>(o: &'o Observed<'_>) -> Option<&'o str> {
    let policy = o.spec.savepoint_policy.as_ref();
    policy.and_then(|policy| policy.directory.as_deref())
}

fn of_configuration<'o>(o: &'o Observed<'_>) -> Option<&'o str> {
    let configuration = match &o.program {
        Input::Ready(program) => &program.configuration,
        Input::Pending | Input::Refused(_) | Input::Retrying(_) => &o.spec.flink_configuration,
    };
    KEYS.iter().find_map(|key| configuration.get(*key)).map(String::as_str)
}

/// Whether the job's configuration names it with variables whose values are not known yet.
pub(super) fn is_unexpanded(o: &Observed<'_>) -> bool {
    of_policy(o).is_none()
        && !matches!(o.program, Input::Ready(_))
        && of_configuration(o).is_some_and(|directory| directory.contains("${"))
}

/// The directory that the savepoints of a job go under: that of the policy, of the job's configuration, of the cluster's.
pub(super) fn base(o: &Observed<'_>) -> Result<String, Refusal> {
    let clusters = || o.up().and_then(|cluster| cluster.savepoint_directory);
    let directory = of_policy(o).or_else(|| of_configuration(o)).or_else(clusters);
    let directory = directory.map(str::trim).filter(|directory| !directory.is_empty());
    let directory = directory.ok_or_else(|| {
        Refusal::new(
            Reason::SavepointFailed,
            "there is no directory to put a savepoint into; set spec.savepointPolicy.directory, or \
             execution.checkpointing.savepoint-dir in the cluster's configuration",
        )
    })?;
    admitted(o, directory).map_err(|why| {
        Refusal::new(
            Reason::SavepointFailed,
            format!(
                "no savepoint can be put where spec.savepointPolicy.directory, or Flink's configuration, says: {why}"
            ),
        )
    })?;
    Ok(directory.trim_end_matches('/').to_owned())
}

/// Checks that a path is one, and that resources of the namespace may name it.
pub(super) fn admitted(o: &Observed<'_>, path: &str) -> Result<(), String> {
    let path: StatePath = path.parse().map_err(|error: InvalidPath| error.to_string())?;
    o.prefixes
        .check(o.meta.namespace, &path)
        .map_err(|outside| outside.to_string())
}

/// The directory of one stop.
pub(super) fn of_stop(o: &Observed<'_>, base: &str, job_id: JobId, trigger_id: TriggerId) -> Result<String, Refusal> {
    let mark: String = trigger_id.to_string().chars().take(8).collect();
    let directory = format!("{base}/{}/{}/{job_id}-{mark}", o.meta.namespace, o.meta.name);
    let length = directory.chars().count();
    if length + FLINKS_OWN > MAX_PATH {
        let message = format!(
            "the directory of the job's savepoints is too long: {length} characters with namespace, name and JobID, and a path \
             may have {MAX_PATH}; shorten spec.savepointPolicy.directory"
        );
        return Err(Refusal::new(Reason::InvalidSpec, message));
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::super::{
        Input,
        case::{Case, effect, refusal, told},
    };
    use crate::{
        api::{
            Reason,
            job::{DesiredState, Restore, RestoreFrom, UpgradeMode},
            status::RunOutcome,
        },
        flink::JobState,
    };

    fn bound(case: &mut Case) {
        case.prefixes = vec!["n=s3://b/n/".parse().unwrap()].into();
    }

    #[test]
    fn a_savepoint_goes_only_where_those_of_the_namespace_may_be() {
        let mut case = Case::running();
        bound(&mut case);
        case.edit(|spec| {
            spec.upgrade_mode = UpgradeMode::Savepoint;
            spec.state = DesiredState::Suspended;
        });
        case.settle();
        assert_eq!(
            told(&case.status),
            "Running/SavepointFailed Ready=False Stalled Running=True"
        );
        let message = &case.status.conditions[0].message;
        assert!(
            message.contains("--state-prefix") && message.contains("s3://b/n"),
            "{message}"
        );
        assert_eq!(case.status.stop(), None);
        // The cluster's default is another.
        case.savepoint_directory = Some("s3://b/n/savepoints/");
        case.settle();
        let stop = case.status.stop().unwrap();
        assert!(
            stop.directory.starts_with("s3://b/n/savepoints/n/j/"),
            "{}",
            stop.directory
        );
    }

    #[test]
    fn a_job_is_restored_only_from_where_the_state_of_its_namespace_may_be() {
        for (path, admitted) in [
            ("s3://b/n/savepoint-1", true),
            ("s3://b/n/savepoint-1/_metadata", true),
            ("s3://b/other/savepoint-1", false),
            ("s3://b/n/../other/savepoint-1", false),
            ("savepoint-1", false),
        ] {
            let mut case = Case::new();
            bound(&mut case);
            case.edit(|spec| {
                spec.restore = Some(Restore {
                    from: Some(RestoreFrom::Named),
                    path: Some(path.to_owned()),
                    ..Restore::default()
                });
            });
            let plan = case.settle();
            if admitted {
                assert!(
                    effect(&plan) == "AddFinalizer" || case.status.submission().is_some(),
                    "{path}"
                );
                let restore = case.status.submission().unwrap().restore.clone().unwrap();
                assert_eq!(restore.path, "s3://b/n/savepoint-1");
            } else {
                assert_eq!(
                    told(&case.status),
                    "Failed/InvalidSpec Ready=False Stalled Running=False",
                    "{path}"
                );
                assert_eq!(case.status.submission(), None, "{path}");
            }
        }
    }

    #[test]
    fn a_directory_with_variables_is_not_used_before_they_are_looked_up() {
        let mut case = Case::running();
        case.edit(|spec| {
            spec.upgrade_mode = UpgradeMode::Savepoint;
            spec.state = DesiredState::Suspended;
            let key = "execution.checkpointing.savepoint-dir".to_owned();
            spec.flink_configuration.insert(key, "s3://b/${TEAM}".to_owned());
        });
        case.program = Input::Pending;
        let plan = case.persist("end/waits");
        assert!(plan.wants.program);
        case.program = Input::Refused(refusal(Reason::UndefinedVariable));
        case.persist("follow/refused");
        assert_eq!(
            told(&case.status),
            "Running/UndefinedVariable Ready=False Stalled Running=True"
        );
        // What was expanded is used, and so is the policy's, which needs no variables.
        case.program = Input::Ready(());
        case.persist("stop/intend");
    }

    #[test]
    fn without_a_directory_the_job_runs_on_and_people_are_told_where_to_set_one() {
        let mut case = Case::running();
        case.savepoint_directory = None;
        case.edit(|spec| {
            spec.upgrade_mode = UpgradeMode::Savepoint;
            spec.job.args.clear();
        });
        case.settle();
        assert_eq!(
            told(&case.status),
            "Running/SavepointFailed Ready=False Stalled Running=True"
        );
        let message = &case.status.conditions[0].message;
        assert!(message.contains("savepointPolicy.directory"), "{message}");
        assert_eq!(case.status.stop(), None);
        assert_eq!(case.status.last_outcome(), None::<RunOutcome>);
        case.list(JobState::Running);
        assert_eq!(effect(&case.settle()), "-");
    }
}
