//! Which jobs need a savepoint, by what stands in their specs and statuses.

use crate::{
    api::{FlinkSessionJobSpec, JobStatus, job::RestoreFrom, savepoint_status::MAX_USERS, state::StateKind},
    flink::one_spelling,
};

/// What a job resource has to do with savepoints. All paths are in their [`one_spelling`]: a thousand jobs are compared with a
/// thousand savepoints when all of them are suspended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Touch {
    /// The paths that it needs.
    pub paths: Vec<String>,
    /// The Savepoint that its spec names.
    pub name: Option<String>,
    /// The path whose files it took over.
    pub claimed: Option<String>,
    /// The path that Flink restored it from.
    pub restored: Option<String>,
}

/// What a job resource has to do with savepoints.
#[must_use]
pub fn touch(spec: &FlinkSessionJobSpec, status: Option<&JobStatus>) -> Touch {
    let mut touch = Touch::default();
    let named = spec
        .restore
        .as_ref()
        .filter(|restore| restore.from == Some(RestoreFrom::Named));
    if let Some(restore) = named {
        touch.paths.extend(restore.path.clone());
        touch.name = restore.savepoint_ref.as_ref().map(|savepoint| savepoint.name.clone());
    }
    let Some(status) = status else { return touch };
    let submitted = status.submission().and_then(|intent| intent.restore.as_ref());
    touch.paths.extend(submitted.map(|restore| restore.path.clone()));
    let latest = status.latest_state();
    let needed = latest.filter(|point| point.kind == StateKind::Savepoint && !point.gone);
    touch.paths.extend(needed.map(|point| point.path.clone()));
    let from = status.state.as_ref().and_then(|state| state.restored_from.as_ref());
    if let Some(from) = from {
        // Until the job has state of its own, a failure takes it back to what it was started from.
        let own = |run: &crate::api::status::Run| latest.is_some_and(|point| point.job_id == Some(run.job_id));
        if status.live_run().is_some_and(|run| !own(run)) {
            touch.paths.push(from.path.clone());
        }
        touch.claimed = from.claimed.then(|| one_spelling(&from.path));
        touch.restored = (from.confirmed == Some(true)).then(|| one_spelling(&from.path));
    }
    touch.paths.iter_mut().for_each(|path| *path = one_spelling(path));
    touch.paths.sort_unstable();
    touch.paths.dedup();
    touch
}

impl Touch {
    /// Whether the job needs the savepoint of this path, in its one spelling, and name.
    #[must_use]
    pub fn uses(&self, path: Option<&str>, name: &str) -> bool {
        self.name.as_deref() == Some(name) || path.is_some_and(|path| self.paths.iter().any(|needed| needed == path))
    }

    /// The paths of all savepoints that it has anything to do with.
    pub fn places(&self) -> impl Iterator<Item = &str> {
        let known = self.claimed.iter().chain(&self.restored);
        self.paths.iter().chain(known).map(String::as_str)
    }
}

/// Who has to do with a savepoint. Jobs are written as `KIND/NAME`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Usage {
    /// The jobs that need it, by name; the first of them.
    pub users: Vec<String>,
    /// The job that took its files over.
    pub claimed_by: Option<String>,
    /// A job that Flink restored from it.
    pub restored: Option<String>,
}

/// Who has to do with the savepoint of this path and name, among the jobs of its namespace.
#[must_use]
pub fn usage<'a>(jobs: impl IntoIterator<Item = (&'a str, &'a Touch)>, path: Option<&str>, name: &str) -> Usage {
    let path = path.map(one_spelling);
    let mut usage = Usage::default();
    for (job, touch) in jobs {
        let told = || format!("FlinkSessionJob/{job}");
        if touch.uses(path.as_deref(), name) {
            usage.users.push(told());
        }
        let is = |other: &Option<String>| path.is_some() && *other == path;
        if is(&touch.claimed) {
            usage.claimed_by = usage.claimed_by.into_iter().chain([told()]).min();
        }
        if is(&touch.restored) {
            usage.restored = usage.restored.into_iter().chain([told()]).min();
        }
    }
    usage.users.sort_unstable();
    usage.users.truncate(MAX_USERS);
    usage
}
