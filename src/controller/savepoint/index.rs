//! Who has to do with whom: the Savepoints of a job, and the jobs that need a Savepoint. Built from the watches, so that a
//! change wakes those that it concerns and no others. Nothing here goes through all of them: a thousand jobs that are suspended
//! at once change a thousand times each of what is known.

use std::{
    collections::{BTreeSet, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
};

use kube::{
    ResourceExt,
    runtime::{reflector::ObjectRef, watcher::Event},
};
use parking_lot::Mutex;

use crate::{
    api::{FlinkSessionJob, Savepoint, SavepointPhase},
    controller::listing::{Listing, Seen},
    flink::{UidHash, one_spelling},
    savepoint::{Touch, Usage, touch, usage},
};

/// A Savepoint, as far as others care.
#[derive(Debug)]
struct Known {
    owner: UidHash,
    job: Option<String>,
    /// In its one spelling.
    path: Option<String>,
    waits: bool,
    seen: u64,
}

/// A job, as far as Savepoints care.
#[derive(Debug)]
struct KnownJob {
    touch: Touch,
    seen: u64,
}

/// Names by what they have in common.
#[derive(Debug, Default)]
struct Names(HashMap<String, BTreeSet<String>>);

impl Names {
    fn add(&mut self, common: &str, name: &str) {
        self.0.entry(common.to_owned()).or_default().insert(name.to_owned());
    }

    fn remove(&mut self, common: &str, name: &str) {
        if let Some(names) = self.0.get_mut(common) {
            names.remove(name);
            if names.is_empty() {
                self.0.remove(common);
            }
        }
    }

    fn of(&self, common: &str) -> impl Iterator<Item = &String> {
        self.0.get(common).into_iter().flatten()
    }
}

/// What is in one namespace.
#[derive(Debug, Default)]
struct Space {
    savepoints: HashMap<String, Known>,
    jobs: HashMap<String, KnownJob>,
    /// Savepoints by their job.
    of_job: Names,
    /// Savepoints by their path.
    at: Names,
    /// Jobs by the paths that they have to do with.
    places: Names,
    /// Jobs by the Savepoint that they name.
    naming: Names,
}

/// Whom a change concerns.
#[derive(Debug, Default)]
pub(in crate::controller) struct Woken {
    pub(in crate::controller) savepoints: Vec<ObjectRef<Savepoint>>,
    pub(in crate::controller) jobs: Vec<ObjectRef<FlinkSessionJob>>,
    /// Savepoints that are gone.
    pub(in crate::controller) gone: Vec<UidHash>,
}

/// The index.
#[derive(Debug, Default)]
pub(in crate::controller) struct Index {
    savepoints: Listing<Savepoint>,
    jobs: Listing<FlinkSessionJob>,
    spaces: Mutex<HashMap<String, Space>>,
}

impl Index {
    /// Takes an event of the jobs' watch.
    pub(in crate::controller) fn job(&self, event: &Event<FlinkSessionJob>) -> Woken {
        let mut woken = Woken::default();
        self.jobs.apply(event, |seen| match seen {
            Seen::There { object, listed } => self.job_is(object, listed, &mut woken),
            Seen::Gone(object) => {
                let namespace = object.namespace.as_deref().unwrap_or_default();
                self.in_space(namespace, |space| {
                    if let Some(before) = space.remove_job(&object.name) {
                        space.wake_for(namespace, &object.name, &[&before.touch], &mut woken);
                    }
                });
            }
        });
        woken
    }

    fn job_is(&self, job: &FlinkSessionJob, listed: bool, woken: &mut Woken) {
        let (namespace, name) = (job.namespace().unwrap_or_default(), job.name_any());
        let touch = touch(&job.spec, job.status.as_ref());
        let seen = of_job(job, &touch);
        self.in_space(&namespace, |space| {
            let now = KnownJob { touch, seen };
            let before = space.remove_job(&name);
            space.add_job(&name, now);
            let changed = before.as_ref().map_or(!listed, |before| before.seen != seen);
            if !changed {
                return;
            }
            let touches = [before.map(|before| before.touch), space.touch(&name)];
            let touches: Vec<_> = touches.iter().flatten().collect();
            space.wake_for(&namespace, &name, &touches, woken);
        });
    }

    /// Takes an event of the Savepoints' watch.
    pub(in crate::controller) fn savepoint(&self, event: &Event<Savepoint>) -> Woken {
        let mut woken = Woken::default();
        self.savepoints.apply(event, |seen| match seen {
            Seen::There { object, listed } => self.savepoint_is(object, listed, &mut woken),
            Seen::Gone(object) => {
                let namespace = object.namespace.as_deref().unwrap_or_default();
                self.in_space(namespace, |space| {
                    if let Some(before) = space.remove_savepoint(&object.name) {
                        woken.gone.push(before.owner);
                        space.wake_about(namespace, &object.name, &before, &mut woken);
                    }
                });
            }
        });
        woken
    }

    fn savepoint_is(&self, savepoint: &Savepoint, listed: bool, woken: &mut Woken) {
        let (namespace, name) = (savepoint.namespace().unwrap_or_default(), savepoint.name_any());
        let status = savepoint.status.as_ref();
        let phase = status.and_then(|status| status.phase);
        let now = Known {
            owner: UidHash::of(savepoint.metadata.uid.as_deref().unwrap_or_default()),
            job: savepoint.spec.job().map(ToOwned::to_owned),
            path: status.and_then(|status| status.path.as_deref()).map(one_spelling),
            waits: matches!(phase, None | Some(SavepointPhase::Pending)),
            seen: of_savepoint(savepoint),
        };
        self.in_space(&namespace, |space| {
            let before = space.remove_savepoint(&name);
            if let Some(before) = before.as_ref().filter(|before| before.owner != now.owner) {
                // The same name, another resource.
                woken.gone.push(before.owner);
            }
            let changed = before.as_ref().map_or(!listed, |before| before.seen != now.seen);
            if changed {
                space.wake_about(&namespace, &name, &now, woken);
            }
            space.add_savepoint(name, now);
        });
    }

    /// The names of the Savepoints of a job, besides that one.
    pub(in crate::controller) fn of_job(&self, namespace: &str, job: &str, besides: &str) -> Vec<String> {
        self.in_space(namespace, |space| {
            let of_job = space.of_job(job).map(|(name, _)| name);
            of_job.filter(|name| *name != besides).cloned().collect()
        })
    }

    /// The Savepoints of a job that wait for it.
    pub(in crate::controller) fn waiting(&self, job: &ObjectRef<FlinkSessionJob>) -> Vec<ObjectRef<Savepoint>> {
        let namespace = job.namespace.as_deref().unwrap_or_default();
        self.in_space(namespace, |space| {
            let waiting = space.of_job(&job.name).filter(|(_, known)| known.waits);
            waiting
                .map(|(name, _)| ObjectRef::new(name).within(namespace))
                .collect()
        })
    }

    /// Who has to do with a Savepoint.
    pub(in crate::controller) fn usage(&self, namespace: &str, path: Option<&str>, name: &str) -> Usage {
        self.in_space(namespace, |space| {
            let path = path.map(one_spelling);
            let jobs = space.concerned(path.as_deref(), name);
            usage(jobs, path.as_deref(), name)
        })
    }

    fn in_space<T>(&self, namespace: &str, look: impl FnOnce(&mut Space) -> T) -> T {
        let mut spaces = self.spaces.lock();
        let space = spaces.entry(namespace.to_owned()).or_default();
        let looked = look(space);
        if space.jobs.is_empty() && space.savepoints.is_empty() {
            spaces.remove(namespace);
        }
        looked
    }
}

impl Space {
    fn add_savepoint(&mut self, name: String, known: Known) {
        if let Some(job) = &known.job {
            self.of_job.add(job, &name);
        }
        if let Some(path) = &known.path {
            self.at.add(path, &name);
        }
        self.savepoints.insert(name, known);
    }

    fn remove_savepoint(&mut self, name: &str) -> Option<Known> {
        let known = self.savepoints.remove(name)?;
        if let Some(job) = &known.job {
            self.of_job.remove(job, name);
        }
        if let Some(path) = &known.path {
            self.at.remove(path, name);
        }
        Some(known)
    }

    fn add_job(&mut self, name: &str, known: KnownJob) {
        known.touch.places().for_each(|path| self.places.add(path, name));
        if let Some(savepoint) = &known.touch.name {
            self.naming.add(savepoint, name);
        }
        self.jobs.insert(name.to_owned(), known);
    }

    fn remove_job(&mut self, name: &str) -> Option<KnownJob> {
        let known = self.jobs.remove(name)?;
        known.touch.places().for_each(|path| self.places.remove(path, name));
        if let Some(savepoint) = &known.touch.name {
            self.naming.remove(savepoint, name);
        }
        Some(known)
    }

    fn of_job<'s>(&'s self, job: &str) -> impl Iterator<Item = (&'s String, &'s Known)> {
        let names = self.of_job.of(job);
        names.filter_map(|name| Some((name, self.savepoints.get(name)?)))
    }

    fn touch(&self, job: &str) -> Option<Touch> {
        self.jobs.get(job).map(|job| job.touch.clone())
    }

    /// The jobs that have to do with the savepoint of this path and name.
    fn concerned<'s>(&'s self, path: Option<&str>, name: &str) -> impl Iterator<Item = (&'s str, &'s Touch)> {
        let by_path = path.into_iter().flat_map(|path| self.places.of(path));
        let jobs: BTreeSet<&String> = by_path.chain(self.naming.of(name)).collect();
        jobs.into_iter()
            .filter_map(|job| Some((job.as_str(), &self.jobs.get(job)?.touch)))
    }

    /// A job changed: its own Savepoints look again, and those that it has, or had, to do with.
    fn wake_for(&self, namespace: &str, job: &str, touches: &[&Touch], woken: &mut Woken) {
        let places = touches.iter().flat_map(|touch| touch.places());
        let named = touches.iter().filter_map(|touch| touch.name.as_ref());
        let named = named.filter(|name| self.savepoints.contains_key(*name));
        let own = self.of_job.of(job);
        let concerned: BTreeSet<&String> = own
            .chain(places.flat_map(|path| self.at.of(path)))
            .chain(named)
            .collect();
        let references = concerned.into_iter().map(|name| ObjectRef::new(name).within(namespace));
        woken.savepoints.extend(references);
    }

    /// A Savepoint changed: the others of its job look again, and the jobs that could start from it.
    fn wake_about(&self, namespace: &str, name: &str, savepoint: &Known, woken: &mut Woken) {
        let own = savepoint.job.as_ref().filter(|job| self.jobs.contains_key(*job));
        if let Some(job) = &savepoint.job {
            let others = self.of_job.of(job).filter(|other| *other != name);
            let references = others.map(|other| ObjectRef::new(other).within(namespace));
            woken.savepoints.extend(references);
        }
        let path = savepoint.path.as_deref();
        let users = self.concerned(path, name).filter(|(_, touch)| touch.uses(path, name));
        let jobs: BTreeSet<&str> = users.map(|(job, _)| job).chain(own.map(String::as_str)).collect();
        let references = jobs.into_iter().map(|job| ObjectRef::new(job).within(namespace));
        woken.jobs.extend(references);
    }
}

/// What of a job matters to Savepoints.
fn of_job(job: &FlinkSessionJob, touch: &Touch) -> u64 {
    let mut hasher = DefaultHasher::new();
    let meta = &job.metadata;
    (&meta.uid, meta.generation, meta.deletion_timestamp.is_some(), touch).hash(&mut hasher);
    if let Some(status) = &job.status {
        let run = status.live_run().map(|run| run.job_id);
        (status.observed_generation, status.phase, run, status.is_ending()).hash(&mut hasher);
    }
    hasher.finish()
}

/// What of a Savepoint matters to others.
fn of_savepoint(savepoint: &Savepoint) -> u64 {
    let mut hasher = DefaultHasher::new();
    let meta = &savepoint.metadata;
    (&meta.uid, meta.deletion_timestamp.is_some()).hash(&mut hasher);
    if let Some(status) = &savepoint.status {
        let again = status.intent.as_ref().and_then(|intent| intent.again);
        let under_way = status.triggered().is_some();
        (status.phase, under_way, again, &status.path).hash(&mut hasher);
        (status.completion_time, &status.claimed_by).hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(name: &str, restore: &Value, phase: &str) -> FlinkSessionJob {
        let mut spec = json!({ "sessionRef": { "name": "s" }, "job": { "entryClass": "a.B" } });
        if *restore != Value::Null {
            spec["restore"] = restore.clone();
        }
        serde_json::from_value(json!({
            "apiVersion": "flinkjobs.dev/v1alpha1", "kind": "FlinkSessionJob",
            "metadata": { "name": name, "namespace": "n", "uid": name },
            "spec": spec, "status": { "observedGeneration": 1, "phase": phase },
        }))
        .unwrap()
    }

    fn savepoint(name: &str, of: &str, status: &Value) -> Savepoint {
        serde_json::from_value(json!({
            "apiVersion": "flinkjobs.dev/v1alpha1", "kind": "Savepoint",
            "metadata": { "name": name, "namespace": "n", "uid": name },
            "spec": { "jobRef": { "name": of } }, "status": status,
        }))
        .unwrap()
    }

    fn words(woken: &Woken) -> String {
        let mut words: Vec<_> = woken.savepoints.iter().map(|one| one.name.clone()).collect();
        words.extend(woken.jobs.iter().map(|one| format!("job/{}", one.name)));
        words.extend(woken.gone.iter().map(|_| "gone".to_owned()));
        words.sort();
        words.join(" ")
    }

    /// Jobs `a` and `b`; Savepoints `a1` and `a2` of `a`, and `b1` of `b`, which is complete.
    fn index() -> Index {
        let index = Index::default();
        index.job(&Event::Init);
        for name in ["a", "b"] {
            let woken = index.job(&Event::InitApply(job(name, &Value::Null, "Running")));
            assert_eq!(words(&woken), "");
        }
        index.job(&Event::InitDone);
        index.savepoint(&Event::Init);
        for (name, of) in [("a1", "a"), ("a2", "a")] {
            let woken = index.savepoint(&Event::InitApply(savepoint(name, of, &json!({}))));
            assert_eq!(words(&woken), "", "all look at the start anyway");
        }
        let done = json!({ "phase": "Completed", "path": "s3://b/x" });
        index.savepoint(&Event::InitApply(savepoint("b1", "b", &done)));
        index.savepoint(&Event::InitDone);
        index
    }

    #[test]
    fn a_job_that_changes_wakes_its_savepoints_and_those_that_it_needs() {
        let index = index();
        let run = |restore: Value, phase| words(&index.job(&Event::Apply(job("a", &restore, phase))));
        assert_eq!(run(Value::Null, "Running"), "", "nothing changed");
        assert_eq!(run(Value::Null, "Finished"), "a1 a2");
        assert_eq!(
            run(json!({ "from": "Named", "path": "s3://b/x" }), "Finished"),
            "a1 a2 b1"
        );
        assert_eq!(
            run(json!({ "from": "Named", "savepointRef": { "name": "b1" } }), "Finished"),
            "a1 a2 b1"
        );
        assert_eq!(run(Value::Null, "Finished"), "a1 a2 b1", "it needed it");
        assert_eq!(
            words(&index.job(&Event::Delete(job("a", &Value::Null, "Finished")))),
            "a1 a2"
        );
        assert_eq!(words(&index.job(&Event::Apply(job("c", &Value::Null, "Running")))), "");
    }

    #[test]
    fn a_savepoint_that_changes_wakes_the_others_of_its_job_and_the_job() {
        let index = index();
        let change = |status: Value| words(&index.savepoint(&Event::Apply(savepoint("a1", "a", &status))));
        assert_eq!(change(json!({})), "");
        assert_eq!(change(json!({ "phase": "Pending" })), "a2 job/a");
        assert_eq!(
            change(json!({ "phase": "Pending", "usedBy": ["FlinkSessionJob/a"] })),
            ""
        );
        index.job(&Event::Apply(job(
            "b",
            &json!({ "from": "Named", "savepointRef": { "name": "a1" } }),
            "Draft",
        )));
        assert_eq!(
            change(json!({ "phase": "Completed", "path": "s3://b/y" })),
            "a2 job/a job/b"
        );
        let gone = index.savepoint(&Event::Delete(savepoint("a1", "a", &json!({}))));
        assert_eq!(words(&gone), "a2 gone job/a job/b");
        let mut other = savepoint("a2", "a", &json!({}));
        other.metadata.uid = Some("other".to_owned());
        assert_eq!(words(&index.savepoint(&Event::Apply(other))), "gone job/a");
    }

    #[test]
    fn it_knows_who_belongs_to_a_job_and_who_needs_a_savepoint() {
        let index = index();
        assert_eq!(index.of_job("n", "a", "a1"), ["a2"]);
        assert!(index.of_job("m", "a", "a1").is_empty());
        let reference = ObjectRef::<FlinkSessionJob>::new("b").within("n");
        assert!(index.waiting(&reference).is_empty(), "it is complete");
        let reference = ObjectRef::<FlinkSessionJob>::new("a").within("n");
        assert_eq!(index.waiting(&reference).len(), 2);
        assert_eq!(index.usage("n", Some("s3://b/x"), "b1"), Usage::default());
        index.job(&Event::Apply(job(
            "a",
            &json!({ "from": "Named", "path": "s3://b/x/" }),
            "Draft",
        )));
        assert_eq!(index.usage("n", Some("s3://b/x"), "b1").users, ["FlinkSessionJob/a"]);
        assert_eq!(index.usage("m", Some("s3://b/x"), "b1"), Usage::default());
    }

    #[test]
    fn a_namespace_without_anything_is_forgotten() {
        let index = index();
        for name in ["a", "b"] {
            index.job(&Event::Delete(job(name, &Value::Null, "Running")));
        }
        for (name, of) in [("a1", "a"), ("a2", "a"), ("b1", "b")] {
            index.savepoint(&Event::Delete(savepoint(name, of, &json!({}))));
        }
        assert!(index.spaces.lock().is_empty());
    }
}
