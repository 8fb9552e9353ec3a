//! A job list, and what changed between two of them.

use std::time::Instant;

use crate::{
    flink::{JobId, UidHash},
    job::JobSeen,
};

/// The jobs of one cluster at one time, ordered by mark and attempt.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// When the request for it was begun: what did not exist then and is not in it, does not exist.
    pub started: Instant,
    jobs: Vec<JobSeen>,
}

fn key(id: JobId) -> (UidHash, u32, JobId) {
    (id.owner(), id.attempt(), id)
}

impl Snapshot {
    /// Orders a job list.
    #[must_use]
    pub fn new(started: Instant, mut jobs: Vec<JobSeen>) -> Self {
        jobs.sort_unstable_by_key(|job| key(job.id));
        Self { started, jobs }
    }

    /// All jobs.
    #[must_use]
    pub fn jobs(&self) -> &[JobSeen] {
        &self.jobs
    }

    /// The jobs with a mark, oldest attempt first.
    #[must_use]
    pub fn of(&self, owner: UidHash) -> &[JobSeen] {
        let from = self.jobs.partition_point(|job| job.id.owner() < owner);
        let to = self.jobs.partition_point(|job| job.id.owner() <= owner);
        self.jobs.get(from..to).unwrap_or_default()
    }

    /// The job of an id.
    #[must_use]
    pub fn job(&self, id: JobId) -> Option<&JobSeen> {
        self.jobs
            .binary_search_by_key(&key(id), |job| key(job.id))
            .ok()
            .and_then(|at| self.jobs.get(at))
    }
}

/// The jobs that came, went, or changed between two lists.
#[must_use]
pub fn changed_owners(old: &Snapshot, new: &Snapshot) -> Vec<JobId> {
    let mut changed = Vec::new();
    let (mut old, mut new) = (old.jobs.iter().peekable(), new.jobs.iter().peekable());
    loop {
        match (old.peek(), new.peek()) {
            (None, None) => return changed,
            (Some(gone), None) => {
                changed.push(gone.id);
                old.next();
            }
            (None, Some(come)) => {
                changed.push(come.id);
                new.next();
            }
            (Some(before), Some(after)) => match key(before.id).cmp(&key(after.id)) {
                std::cmp::Ordering::Less => {
                    changed.push(before.id);
                    old.next();
                }
                std::cmp::Ordering::Greater => {
                    changed.push(after.id);
                    new.next();
                }
                std::cmp::Ordering::Equal => {
                    if before != after {
                        changed.push(after.id);
                    }
                    old.next();
                    new.next();
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flink::{InstallationId, JobState};

    fn job(owner: &str, attempt: u32, state: JobState) -> JobSeen {
        let id = JobId::new(InstallationId([1; 4]), UidHash::of(owner), attempt);
        JobSeen {
            id,
            state,
            start_time: None,
            end_time: None,
            tasks_run: true,
        }
    }

    #[test]
    fn only_what_changed_is_told() {
        let now = Instant::now();
        let (a, b, c) = (
            job("a", 1, JobState::Running),
            job("b", 1, JobState::Running),
            job("c", 1, JobState::Created),
        );
        let old = Snapshot::new(now, vec![a.clone(), b.clone(), c.clone()]);
        let same = Snapshot::new(now, vec![c.clone(), a.clone(), b.clone()]);
        assert!(changed_owners(&old, &same).is_empty());
        let c = JobSeen {
            state: JobState::Running,
            ..c
        };
        let d = job("d", 7, JobState::Running);
        let new = Snapshot::new(now, vec![a.clone(), c.clone(), d.clone()]);
        let mut changed = changed_owners(&old, &new);
        changed.sort_unstable();
        let mut expected = vec![b.id, c.id, d.id];
        expected.sort_unstable();
        assert_eq!(changed, expected);
        assert_eq!(new.of(d.id.owner()), std::slice::from_ref(&d));
        assert_eq!(new.job(a.id), Some(&a));
        assert_eq!(new.job(b.id), None);
    }
}
