//! One Savepoint of a test.

use std::path::{Path, PathBuf};

use flink_job_operator::api::{ConditionType, Reason, Savepoint, SavepointPhase, SavepointStatus, condition::find};
use kube::{Api, api::DeleteParams};
use serde_json::{Value, json};

use super::{Kstatus, Scene, kstatus};

/// A Savepoint.
pub struct Taken<'s> {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    scene: &'s Scene<'s>,
}

impl Scene<'_> {
    /// Creates a Savepoint.
    pub async fn savepoint(&self, name: &str, spec: Value) -> Taken<'_> {
        let object = json!({ "apiVersion": "flinkjobs.dev/v1alpha1", "kind": "Savepoint",
                             "metadata": { "name": name }, "spec": spec });
        let created: Savepoint = self.create(object).await;
        self.taken(created)
    }

    /// A Savepoint that is there.
    pub async fn existing_savepoint(&self, name: &str) -> Taken<'_> {
        self.taken(self.api().get(name).await.unwrap())
    }

    fn taken(&self, savepoint: Savepoint) -> Taken<'_> {
        Taken {
            name: savepoint.metadata.name.unwrap(),
            uid: savepoint.metadata.uid.unwrap(),
            scene: self,
        }
    }
}

impl Taken<'_> {
    fn api(&self) -> Api<Savepoint> {
        self.scene.api()
    }

    /// The resource, as soon as it is so.
    pub async fn is(&self, what: &str, test: impl Fn(&Savepoint) -> bool) -> Savepoint {
        let api = self.api();
        self.scene
            .eventually(&format!("{}: {what}", self.name), async || {
                let savepoint = api.get(&self.name).await.unwrap();
                let length = serde_json::to_vec(&savepoint.status).unwrap().len();
                assert!(length <= 32 * 1024, "a status of {length} bytes");
                Some(savepoint).filter(|savepoint| test(savepoint))
            })
            .await
    }

    /// The status, as soon as it has this phase and reason; tools must read it so.
    pub async fn reaches(&self, phase: SavepointPhase, reason: Reason, tools: Kstatus) -> SavepointStatus {
        let what = format!("{phase:?}, reason {reason}");
        let savepoint = self
            .is(&what, |savepoint| {
                let Some(status) = &savepoint.status else { return false };
                let ready = find(&status.conditions, ConditionType::Ready);
                status.phase == Some(phase)
                    && Some(status.observed_generation) == savepoint.metadata.generation
                    && ready.is_some_and(|ready| ready.reason == reason.as_str())
            })
            .await;
        let read = kstatus(&serde_json::to_value(&savepoint).unwrap());
        assert_eq!(read, tools, "{what}: {:#?}", savepoint.status);
        savepoint.status.unwrap()
    }

    /// Complete, with nothing left to do.
    pub async fn completes(&self) -> SavepointStatus {
        self.reaches(SavepointPhase::Completed, Reason::Completed, Kstatus::Current)
            .await
    }

    /// Merges a patch into the spec.
    pub async fn edit(&self, spec: Value) {
        let _: Savepoint = self.scene.merge(&self.name, json!({ "spec": spec })).await;
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
                api.get_opt(&self.name).await.unwrap().is_none().then_some(())
            })
            .await;
    }
}

/// The message of Ready.
pub fn message(status: &SavepointStatus) -> &str {
    find(&status.conditions, ConditionType::Ready).map_or("-", |ready| &ready.message)
}

/// Where the files of a savepoint are.
pub fn files(status: &SavepointStatus) -> PathBuf {
    let path = status.path.as_deref().unwrap();
    Path::new(path.strip_prefix("file:").unwrap()).to_owned()
}
