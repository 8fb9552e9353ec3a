//! A job whose end nobody saw: its record is up to a minute old, and Flink may have replaced the checkpoint on it since
//! (`execution.checkpointing.num-retained`). Where the operator can read the store, the newest one in it counts.

use super::{Input, Observed};
use crate::{
    api::{
        JobStatus,
        state::{RestorePoint, StateKind},
        status::RunOutcome,
    },
    flink::StatePath,
};

/// What the store says of the record.
pub(super) enum InStore {
    /// This is the newest point.
    Newest(RestorePoint),
    /// It is not known yet.
    Ask(Option<super::Refusal>),
    /// There is none, or none that is as new: what is wrong.
    Missing(String),
}

/// The newest point of a job, by its record and by the store.
pub(super) fn newest(o: &Observed<'_>, status: &JobStatus, point: &RestorePoint) -> InStore {
    if !is_old(status, point) {
        return InStore::Newest(point.clone());
    }
    match &o.stored {
        // Nobody but Flink can read that store.
        Input::Refused(_) => InStore::Newest(point.clone()),
        Input::Pending => InStore::Ask(None),
        Input::Retrying(refusal) => InStore::Ask(Some(refusal.clone())),
        Input::Ready(None) => InStore::Missing(format!(
            "{} is on record, and the store has no complete checkpoint beside it",
            point.path
        )),
        Input::Ready(Some(path)) if number(path) < number(&point.path) => InStore::Missing(format!(
            "{} is on record, and the newest that the store has is older: {path}",
            point.path
        )),
        Input::Ready(Some(path)) => InStore::Newest(RestorePoint {
            path: path.clone(),
            time: point.time.filter(|_| number(path) == number(&point.path)),
            ..point.clone()
        }),
    }
}

/// Whether a newer checkpoint than the one on record may be there: the job was lost.
fn is_old(status: &JobStatus, point: &RestorePoint) -> bool {
    let lost = status.runs.first().filter(|run| run.outcome == Some(RunOutcome::Lost));
    point.kind == StateKind::Checkpoint && lost.is_some_and(|run| point.job_id == Some(run.job_id))
}

/// The folder to look into when a decision asks for it: `<directory>/<JobID>`.
#[must_use]
pub fn folder(status: &JobStatus) -> Option<String> {
    let point = status.latest_state().filter(|point| is_old(status, point))?;
    let (folder, name) = point.path.trim_end_matches('/').rsplit_once('/')?;
    let job_id = point.job_id?.to_string();
    (number(name).is_some() && folder.ends_with(&format!("/{job_id}"))).then(|| folder.to_owned())
}

/// The number of a checkpoint, of `…/chk-<number>`.
#[must_use]
pub fn number(path: &str) -> Option<u64> {
    let name = path.trim_end_matches('/').rsplit('/').next()?;
    name.strip_prefix("chk-")?.parse().ok()
}

/// The checkpoints of a folder, newest first.
#[must_use]
pub fn newest_first(folder: &StatePath, names: impl IntoIterator<Item = String>) -> Vec<StatePath> {
    let mut numbers: Vec<u64> = names.into_iter().filter_map(|name| number(&name)).collect();
    numbers.sort_unstable_by(|one, other| other.cmp(one));
    numbers.dedup();
    numbers
        .into_iter()
        .map(|number| folder.clone().join(&format!("chk-{number}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::{Reason, job::UpgradeMode, state::CheckpointRetention},
        job::{
            StateSeen,
            case::{Case, refusal, told},
        },
    };

    /// A job that was lost; checkpoint 7 is on record.
    fn lost(kind: StateKind) -> Case {
        let mut case = Case::running();
        case.edit(|spec| spec.upgrade_mode = UpgradeMode::LastState);
        case.settle();
        let path = format!("s3://b/checkpoints/{}/chk-7", case.id());
        case.state = Input::Ready(StateSeen {
            retention: CheckpointRetention::Retained,
            checkpoint: Some(RestorePoint {
                kind,
                path,
                job_id: Some(case.id()),
                time: Some(case.now),
                savepoint_ref: None,
                gone: false,
            }),
            ..case.stateless()
        });
        case.settle();
        case.jobs.clear();
        case.confirmed = true;
        case.replace();
        case.stored = Input::Pending;
        case
    }

    fn at(case: &Case, number: u64) -> String {
        format!("s3://b/checkpoints/{}/chk-{number}", case.id())
    }

    /// What the next start takes, once the store has been asked.
    fn taken(stored: impl FnOnce(&Case) -> Input<Option<String>>) -> (Case, Option<String>) {
        let mut case = lost(StateKind::Checkpoint);
        case.settle();
        case.wait(10);
        let plan = case.settle();
        assert!(plan.wants.stored, "{}", plan.rule);
        assert_eq!(case.status.submission(), None);
        assert_eq!(folder(&case.status), Some(format!("s3://b/checkpoints/{}", case.id())));
        case.stored = stored(&case);
        case.settle();
        let submission = case.status.submission();
        let path = submission.and_then(|submission| submission.restore.as_ref().map(|restore| restore.path.clone()));
        (case, path)
    }

    #[test]
    fn a_lost_job_goes_on_from_the_newest_checkpoint_in_the_store() {
        for (number, told) in [(7, "the one on record"), (9, "a newer one")] {
            let (case, path) = taken(|case| Input::Ready(Some(at(case, number))));
            let lost = case.status.runs.first().unwrap().job_id;
            assert_eq!(path, Some(format!("s3://b/checkpoints/{lost}/chk-{number}")), "{told}");
        }
        // Where the operator cannot read, the record counts.
        let (_, path) = taken(|_| Input::Refused(refusal(Reason::StateUnknown)));
        assert_eq!(number(&path.unwrap()), Some(7));
    }

    #[test]
    fn without_a_checkpoint_in_the_store_or_with_an_older_one_nothing_is_started() {
        for stored in [None, Some(5)] {
            let (case, path) = taken(|case| Input::Ready(stored.map(|number| at(case, number))));
            assert_eq!(path, None);
            let status = told(&case.status);
            assert!(
                status.contains("StateNotFound") && status.contains("Stalled"),
                "{status}"
            );
            let message = &case.status.conditions[0].message;
            assert!(
                message.contains("chk-7") && message.contains("restore.nonce"),
                "{message}"
            );
        }
        // A store that does not answer is asked again.
        let (case, path) = taken(|_| Input::Retrying(refusal(Reason::ClusterUnreachable)));
        assert_eq!(path, None);
        let status = told(&case.status);
        assert!(status.contains("Reconciling"), "{status}");
    }

    #[test]
    fn what_was_seen_to_its_end_and_savepoints_are_taken_as_they_are() {
        let mut case = lost(StateKind::Savepoint);
        case.settle();
        case.wait(10);
        case.settle();
        assert!(case.status.submission().is_some());
        assert_eq!(folder(&case.status), None);
    }

    #[test]
    fn only_checkpoints_count_and_the_highest_number_is_the_newest() {
        let folder: StatePath = "s3://b/c/0123456789abcdef0123456789abcdef".parse().unwrap();
        let names = ["chk-9", "shared", "chk-10", "chk-x", "taskowned", "chk-2", "chk-10"].map(str::to_owned);
        let paths: Vec<String> = newest_first(&folder, names).iter().map(ToString::to_string).collect();
        let folder = folder.to_string();
        assert_eq!(paths, [10, 9, 2].map(|number| format!("{folder}/chk-{number}")));
    }
}
