//! What a world is judged by: the fake's record, the resources, the operators' logs and lines.

use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write,
};

use devcluster::{fake::FakeJob, proxy};
use flink_job_operator::{
    api::{
        FlinkSessionJob, Phase,
        condition::{self, ConditionStatus, ConditionType},
        status::RunOutcome,
    },
    flink::UidHash,
};
use kube::{ResourceExt, api::ListParams};

use super::{
    Failure,
    cluster::Cluster,
    world::{Operator, World, eventually, is_running},
};

impl World {
    /// The jobs that the fake runs now, with a mark.
    pub(super) fn live_of(&self, uid: &str) -> Vec<String> {
        let mark = UidHash::of(uid).to_string();
        let live = |job: &FakeJob| !["CANCELED", "FAILED", "FINISHED"].contains(&job.state);
        let jobs = self.cluster.jobs().into_iter();
        jobs.filter(|job| live(job) && job.id.get(8..24) == Some(mark.as_str()))
            .map(|job| job.id)
            .collect()
    }

    /// How often jobs with a mark were accepted, by JobID.
    pub(super) fn accepted_of(&self, uid: &str) -> BTreeMap<String, usize> {
        let mark = UidHash::of(uid).to_string();
        let mut accepted = BTreeMap::new();
        for submission in self.cluster.submissions() {
            if submission.job_id.get(8..24) == Some(mark.as_str()) {
                *accepted.entry(submission.job_id).or_default() += 1;
            }
        }
        accepted
    }

    /// What holds whatever happened: no JobID was accepted twice, and no two jobs of one resource ever ran together.
    pub(super) fn never_twice(&self, uid: &str) -> Result<(), Failure> {
        let accepted = self.accepted_of(uid);
        let most = self.cluster.most_live_of(UidHash::of(uid));
        if accepted.values().any(|n| *n > 1) || most > 1 {
            return Err(format!("ran twice: accepted {accepted:?}, {most} at a time"));
        }
        Ok(())
    }

    /// The job runs once, and its status says so; `attempts` jobs were started for it.
    pub(super) async fn runs_once(&self, name: &str, attempts: usize) -> Result<(), Failure> {
        let check = async || {
            let job = self.jobs.get(name).await.map_err(|error| error.to_string())?;
            if !is_running(Some(&job)) {
                return Err("it is not Running".to_owned());
            }
            self.tells_the_truth(&job)
        };
        eventually(&format!("{name} runs and its status is true"), check).await?;
        let job = self.jobs.get(name).await.map_err(|error| error.to_string())?;
        let uid = job.uid().unwrap_or_default();
        self.never_twice(&uid)?;
        let accepted = self.accepted_of(&uid);
        if accepted.len() != attempts {
            return Err(format!(
                "{attempts} submissions were to be made, and these were: {accepted:?}"
            ));
        }
        Ok(())
    }

    /// Nothing runs any more of a resource that is gone.
    pub(super) fn nothing_runs(&self, uid: &str) -> Result<(), Failure> {
        self.never_twice(uid)?;
        match self.live_of(uid).as_slice() {
            [] => Ok(()),
            live => Err(format!("these still run: {live:?}")),
        }
    }

    /// Whether the status says what the fake knows.
    pub(super) fn tells_the_truth(&self, job: &FlinkSessionJob) -> Result<(), Failure> {
        let status = job.status.clone().unwrap_or_default();
        let live = self.live_of(&job.uid().unwrap_or_default());
        let named: Vec<String> = status
            .live_run()
            .map(|run| run.job_id.to_string())
            .into_iter()
            .collect();
        let ready = condition::find(&status.conditions, ConditionType::Ready).map(|ready| ready.status);
        let wrong = |what: &str| Err(format!("{what}: the status names {named:?}, the fake runs {live:?}"));
        if live != named {
            return wrong("the live run");
        }
        let runs = status.phase == Some(Phase::Running);
        if runs == live.is_empty() {
            return wrong("the phase");
        }
        if status.observed_generation != job.metadata.generation.unwrap_or_default() {
            return wrong("the observed generation");
        }
        if runs != (ready == Some(ConditionStatus::True)) {
            return wrong("Ready");
        }
        if status.submission().is_some() || status.cancellation().is_some() {
            return wrong("an intent is left");
        }
        if runs && status.job_id.map(|id| id.to_string()).as_ref() != live.first() {
            return wrong("the JobID");
        }
        let ids: HashSet<_> = status.runs.iter().map(|run| run.job_id).collect();
        let ended = status.runs.iter().skip(1);
        if ids.len() != status.runs.len()
            || ended
                .clone()
                .any(|run| matches!(run.outcome, None | Some(RunOutcome::Unknown)))
        {
            return wrong("the runs");
        }
        Ok(())
    }
}

impl<C: Cluster> World<C> {
    /// Everything that helps to understand a failure.
    pub(super) async fn report(&self, failure: &str, operators: &[&Operator]) -> Failure {
        let mut report = format!("{failure}\nnamespace {}\n", self.namespace);
        for operator in operators {
            let _ = writeln!(report, "writes to the API server:");
            for write in operator.kube.writes() {
                let _ = writeln!(report, "  {write}");
            }
        }
        let _ = writeln!(report, "writes to Flink:");
        for write in self.flink.writes() {
            let _ = writeln!(report, "  {write}");
        }
        let _ = writeln!(report, "accepted: {:?}", self.cluster.ran());
        let _ = writeln!(report, "asked for: {:?}", self.cluster.asked());
        let _ = writeln!(report, "files: {:?}", self.cluster.files());
        let listed = self.jobs.list(&ListParams::default()).await;
        for job in listed.into_iter().flatten().take(3) {
            let status = serde_json::to_string(&job.status).unwrap_or_default();
            let _ = writeln!(
                report,
                "{} (finalizers {:?}): {status}",
                job.name_any(),
                job.finalizers()
            );
        }
        let listed = self.savepoint_api().list(&ListParams::default()).await;
        for savepoint in listed.into_iter().flatten().take(3) {
            let status = serde_json::to_string(&savepoint.status).unwrap_or_default();
            let (name, finalizers) = (savepoint.name_any(), savepoint.finalizers());
            let _ = writeln!(report, "Savepoint {name} (finalizers {finalizers:?}): {status}");
        }
        for log in self.logs.lock().iter() {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines.get(lines.len().saturating_sub(40)..).unwrap_or_default();
            let _ = writeln!(report, "the end of {}:\n{}", log.display(), last.join("\n"));
        }
        report
    }

    /// Everything that the operators have logged.
    pub(super) fn log(&self) -> String {
        let logs = self.logs.lock().clone();
        let read = |log: &std::path::PathBuf| std::fs::read_to_string(log).unwrap_or_default();
        logs.iter().map(read).collect()
    }

    /// Judges a case: by its result, and by what no operator may ever log or be told.
    pub(super) async fn judge(&self, result: Result<(), Failure>, operators: &[&Operator]) -> Result<(), Failure> {
        match result.and_then(|()| self.is_well_behaved(operators)) {
            Ok(()) => Ok(()),
            Err(failure) => Err(self.report(&failure, operators).await),
        }
    }

    fn is_well_behaved(&self, operators: &[&Operator]) -> Result<(), Failure> {
        let bad = ["panicked", "forbidden", "no decision after"];
        let log = self.log().to_lowercase();
        // Nothing can be created in a namespace that is being deleted, Events least of all.
        let lines = log
            .lines()
            .filter(|line| !line.contains("because it is being terminated"));
        for line in lines {
            if bad.iter().any(|bad| line.contains(bad)) {
                return Err(format!("the operator logged: {line}"));
            }
        }
        for operator in operators {
            if let Some(read) = operator.kube.reads().iter().find(|read| read.status == Some(403)) {
                return Err(format!("the operator may not read what it asked for: {read}"));
            }
            let mut writes = operator.kube.writes().into_iter();
            let refused = |write: &proxy::Write| write.status == Some(403) && !write.path.ends_with("/events");
            if let Some(write) = writes.find(refused) {
                return Err(format!("the operator may not write what it wrote: {write}"));
            }
        }
        Ok(())
    }
}
