//! One job resource of a test.

use devcluster::jars::{Ledger, TestJob};
use flink_job_operator::{
    api::{ConditionType, FlinkSessionJob, JobStatus, Phase, Reason, condition::find},
    flink::{JobId, UidHash},
};
use kube::{Api, api::DeleteParams};
use serde_json::{Value, json};

use super::{Kstatus, Scene, contract, kstatus};

/// A job resource.
pub struct Job<'s> {
    /// Its name.
    pub name: String,
    /// The mark of its Flink jobs.
    pub owner: UidHash,
    scene: &'s Scene<'s>,
}

impl<'s> Job<'s> {
    /// The job of that name.
    pub fn new(scene: &'s Scene<'s>, name: &str, uid: &str) -> Self {
        Self {
            name: name.to_owned(),
            owner: UidHash::of(uid),
            scene,
        }
    }

    /// The spec of a job that runs a class of the test jar, with a ledger, slowly. It is upgraded without state.
    pub async fn spec(scene: &Scene<'_>, class: TestJob, arguments: &[&str]) -> Value {
        let ledger = Self::ledger_at(scene);
        let mut args = vec!["--pause-ms", "200", "--ledger", ledger.path().to_str().unwrap()];
        args.extend(arguments);
        json!({
            "upgradeMode": "Stateless",
            "job": {
                "jarURI": super::serve_jar("/test-jobs.jar").await,
                "entryClass": class.class(),
                "args": args,
                "parallelism": 1,
            },
        })
    }

    /// What the jobs of a namespace write down.
    pub fn ledger_at(scene: &Scene<'_>) -> Ledger {
        Ledger::at(scene.flink.directory().join(format!("{}.ledger", scene.namespace)))
    }

    fn api(&self) -> Api<FlinkSessionJob> {
        self.scene.api()
    }

    /// The resource, as soon as it is so. Each version that is seen is checked against the contract.
    pub async fn is(&self, what: &str, test: impl Fn(&FlinkSessionJob) -> bool) -> FlinkSessionJob {
        let api = self.api();
        self.scene
            .eventually(&format!("{}: {what}", self.name), async || {
                let job = api.get(&self.name).await.unwrap();
                contract::check(&job);
                Some(job).filter(|job| test(job))
            })
            .await
    }

    /// The status, as soon as the current spec has this phase and reason; tools must read it so.
    pub async fn reaches(&self, phase: Phase, reason: Reason, tools: Kstatus) -> JobStatus {
        let what = format!("{phase:?}, reason {reason}");
        let job = self
            .is(&what, |job| {
                let Some(status) = &job.status else { return false };
                let ready = find(&status.conditions, ConditionType::Ready);
                status.phase == Some(phase)
                    && Some(status.observed_generation) == job.metadata.generation
                    && ready.is_some_and(|ready| ready.reason == reason.as_str())
            })
            .await;
        let read = kstatus(&serde_json::to_value(&job).unwrap());
        assert_eq!(read, tools, "{what}: {:#?}", job.status);
        job.status.unwrap()
    }

    /// Running, with nothing left to do.
    pub async fn runs(&self) -> JobStatus {
        let status = self.reaches(Phase::Running, Reason::Running, Kstatus::Current).await;
        assert_eq!(status.flink_state.as_deref(), Some("RUNNING"));
        status
    }

    /// Merges a patch into the spec.
    pub async fn edit(&self, spec: Value) {
        let _: FlinkSessionJob = self.scene.merge(&self.name, json!({ "spec": spec })).await;
    }

    /// Asks for its deletion.
    pub async fn delete(&self) {
        self.api().delete(&self.name, &DeleteParams::default()).await.unwrap();
    }

    /// Waits until the resource is gone.
    pub async fn gone(&self) {
        let api = self.api();
        self.scene
            .eventually(&format!("{} is gone", self.name), async || {
                let job = api.get_opt(&self.name).await.unwrap();
                if let Some(job) = &job {
                    contract::check(job);
                }
                job.is_none().then_some(())
            })
            .await;
    }

    /// The JobIDs that Flink accepted for it, in order.
    pub fn submissions(&self) -> Vec<JobId> {
        self.scene.submissions(self.owner)
    }

    /// The states in Flink's own words of all jobs with its mark, oldest attempt first.
    pub async fn states(&self) -> Vec<String> {
        let mut states = Vec::new();
        for id in self.submissions() {
            states.push(self.scene.flink_state(id).await);
        }
        states
    }
}
