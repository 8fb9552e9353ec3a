//! The job's `savepointPolicy.retention`: which of the savepoints that the operator made are to go.

use std::time::Duration;

use jiff::Timestamp;

use super::{Observed, Plan, Sibling, Usage, dispose};
use crate::{
    api::{GoDuration, SavepointPhase, job::Retention},
    job::after,
};

/// A status that was just written is let be for so long: another one may have shown that it is not to go after all.
const SETTLED: Duration = Duration::from_secs(5);

/// The retention of the job, where it applies to this savepoint.
fn policy<'o>(o: &'o Observed<'_>) -> Option<&'o Retention> {
    let made = o.status.is_made_by_operator();
    let job = o.job().filter(|job| made && !job.deleting)?;
    job.spec.savepoint_policy.as_ref()?.retention.as_ref()
}

/// Whether a savepoint can be restored from, as its resource says.
fn is_kept(sibling: &Sibling<'_>) -> bool {
    !sibling.deleting && sibling.status.is_restorable()
}

/// Whether the savepoint is to go. Never the newest of its job, and none that a job needs.
pub(super) fn is_expired(o: &Observed<'_>, siblings: &[Sibling<'_>], usage: &Usage) -> bool {
    let (Some(retention), Some(time)) = (policy(o), o.status.completion_time) else {
        return false;
    };
    if !usage.users.is_empty() || usage.claimed_by.is_some() || o.status.claimed_by.is_some() {
        return false;
    }
    let own = (time, o.meta.uid);
    let is_newer = |sibling: &&Sibling<'_>| {
        let time = sibling.status.completion_time;
        is_kept(sibling) && time.is_some_and(|time| (time, sibling.uid) > own)
    };
    let newer: Vec<_> = siblings.iter().filter(is_newer).collect();
    let newer_made = newer
        .iter()
        .filter(|sibling| sibling.status.is_made_by_operator())
        .count();
    let too_many = retention
        .count
        .is_some_and(|count| usize::try_from(count).is_ok_and(|count| newer_made >= count.max(1)));
    let too_old = retention.age.is_some_and(|age| o.now >= after(time, age.get()));
    !newer.is_empty() && (too_many || too_old)
}

/// When the savepoint may become too old; when it is to go already, the end of the time in which it is let be.
pub(super) fn expires(o: &Observed<'_>) -> Option<Timestamp> {
    let policy = policy(o)?;
    let settled = after(o.status.updated_at?, SETTLED);
    let time = if is_expired(o, &o.siblings, &o.usage) {
        settled
    } else {
        let age = policy.age.map(GoDuration::get)?;
        after(o.status.completion_time?, age).max(settled)
    };
    Some(time).filter(|time| *time > o.now)
}

/// Begins to dispose of a savepoint that is to go.
pub(super) fn expire(o: &Observed<'_>) -> Option<Plan> {
    let complete = o.status.phase == Some(SavepointPhase::Completed);
    if !complete || !is_expired(o, &o.siblings, &o.usage) {
        return None;
    }
    if o.status
        .updated_at
        .is_some_and(|written| o.now < after(written, SETTLED))
    {
        return None;
    }
    let possible = dispose::may_dispose(o).is_ok() && dispose::target(o).is_some();
    possible.then(|| dispose::begin(o, "the job's savepointPolicy.retention keeps newer ones"))
}

#[cfg(test)]
mod tests {
    use super::super::case::{Case, effect, location, seconds};
    use super::*;
    use crate::{
        api::savepoint_status::SavepointOrigin,
        plan::NoteKind,
        savepoint::{DisposalOutcome, case::JobCase},
    };

    /// One of the operator's, with that many newer ones, under a retention of so many, settled.
    fn kept(count: Option<i32>, age: Option<&str>, newer: i64) -> Case {
        let mut case = Case::made();
        let names = ["a", "b", "c", "d"];
        case.siblings = (1..=newer).zip(names).map(|(n, name)| case.sibling(name, n)).collect();
        case.spec_retention(count, age);
        case.wait(5);
        case
    }

    fn goes(case: &Case) -> bool {
        match case.decide().rule {
            "dispose/begin" => true,
            "settled/keep" => false,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn one_that_is_to_go_is_looked_at_again_when_its_status_has_settled() {
        let mut case = kept(Some(1), None, 1);
        case.status.updated_at = Some(case.now);
        let plan = case.still("settled/keep");
        assert_eq!(seconds(&case, &plan), Some(5), "no change may come to wake it");
        case.wait(5);
        assert!(goes(&case));
    }

    #[test]
    fn only_so_many_are_kept_and_only_so_long() {
        for (count, newer, expected) in [(1, 1, true), (2, 1, false), (2, 2, true), (3, 2, false), (0, 1, true)] {
            assert_eq!(goes(&kept(Some(count), None, newer)), expected, "{count} {newer}");
        }
        assert!(
            !goes(&kept(None, None, 4)),
            "nothing is removed unless that is asked for"
        );
        // It was complete an hour ago.
        assert!(goes(&kept(None, Some("1h"), 1)));
        let mut case = kept(None, Some("2h"), 1);
        assert!(!goes(&case));
        let plan = case.still("settled/keep");
        assert_eq!(seconds(&case, &plan), Some(3600 - 5), "it is looked at again");
        case.wait(3600 - 5);
        assert!(goes(&case));
    }

    #[test]
    fn the_newest_stays_and_what_others_made_and_what_is_needed() {
        for newer in [0, 1] {
            assert_eq!(goes(&kept(Some(1), Some("1s"), newer)), newer > 0);
        }
        let stays: [fn(&mut Case); 9] = [
            |case| case.status.origin = Some(SavepointOrigin::User),
            |case| case.status.origin = Some(SavepointOrigin::Import),
            |case| case.usage.users = vec!["FlinkSessionJob/a".to_owned()],
            |case| case.usage.claimed_by = Some("FlinkSessionJob/a".to_owned()),
            |case| case.job = JobCase::Absent { proven: true },
            |case| case.job_deleting = true,
            |case| case.siblings[0].deleting = true,
            |case| case.siblings[0].status.phase = Some(SavepointPhase::Disposing),
            |case| case.sessions[0].1 = false,
        ];
        for (n, change) in stays.into_iter().enumerate() {
            let mut case = kept(Some(1), Some("1s"), 1);
            assert!(goes(&case));
            change(&mut case);
            case.settle();
            case.wait(5);
            assert!(!goes(&case), "{n}");
        }
        // Those of users are no reason to remove one by number, but one of them may be the newest.
        let mut case = kept(Some(1), None, 1);
        case.siblings[0].status.origin = Some(SavepointOrigin::User);
        assert!(!goes(&case));
        let mut case = kept(None, Some("1s"), 1);
        case.siblings[0].status.origin = Some(SavepointOrigin::User);
        assert!(goes(&case));
    }

    #[test]
    fn what_is_to_go_goes_with_its_files_and_its_resource() {
        let mut case = kept(Some(1), None, 1);
        case.persist("dispose/begin");
        case.proof = Some((case.usage.clone(), case.siblings.clone()));
        case.persist("dispose/ask");
        assert_eq!(effect(&case.still("dispose/send")), "Dispose");
        let mut other = case.clone();
        case.disposed(DisposalOutcome::Done);
        let plan = case.still("dispose/expired");
        assert_eq!(effect(&plan), "Delete");
        assert!(
            matches!(&plan.notes[..], [note] if note.kind == NoteKind::Normal && note.message.contains(&location()))
        );
        // Where nobody answers nothing is given up: the resource says where the files are.
        other.sessions.clear();
        other.persist("dispose/no-answer");
        other.wait(100_000);
        let plan = other.still("dispose/no-answer");
        assert_eq!((effect(&plan), seconds(&other, &plan)), ("-", Some(5)));
    }

    // The cache was behind: the newer one is gone.
    #[test]
    fn the_list_decides_which_is_the_newest() {
        let mut case = kept(Some(1), None, 1);
        case.persist("dispose/begin");
        case.proof = Some((case.usage.clone(), Vec::new()));
        case.persist("dispose/back");
        assert_eq!(case.reads(), "Completed/Completed Ready=True");
        // And is not contradicted at once by the cache.
        case.still("settled/keep");
    }
}
