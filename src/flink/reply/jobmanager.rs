//! The process of a JobManager: its identity and its configuration.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::flink::{JobId, id::InvalidId};

/// One process of a JobManager: the UUID in the name of its own folder `flink-web-<uuid>`.
///
/// Made by `ClusterEntrypoint.generateClusterConfiguration` at each start. It changes exactly when the process does, so
/// the job ids and jars that a process remembers are those of one identity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobManagerIdentity([u8; 16]);

impl JobManagerIdentity {
    /// The identity with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Finds the folder in a path such as `/tmp/flink-web-<uuid>/flink-web-upload/<jar>`.
    #[must_use]
    pub fn in_path(path: &str) -> Option<Self> {
        path.split(['/', '\\'])
            .find_map(|folder| folder.strip_prefix("flink-web-")?.parse().ok())
    }
}

impl fmt::Display for JobManagerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, byte) in self.0.iter().enumerate() {
            if matches!(n, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for JobManagerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for JobManagerIdentity {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidId::new("JobManager identity", text);
        let dashed = [8, 13, 18, 23].iter().all(|&n| text.as_bytes().get(n) == Some(&b'-'));
        if text.len() != 36 || !dashed {
            return Err(invalid());
        }
        let id: JobId = text.replace('-', "").parse().map_err(|_| invalid())?;
        Ok(Self(id.0))
    }
}

impl Serialize for JobManagerIdentity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobManagerIdentity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl schemars::JsonSchema for JobManagerIdentity {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "JobManagerIdentity".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-f-]{36}$", "maxLength": 36 })
    }
}

/// `GET /jobmanager/config`: the effective configuration. Flink masks the values of secret keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobManagerConfig(pub Vec<(String, String)>);

impl JobManagerConfig {
    /// The value of a key, when it was set. Flink does not list defaults.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// The process that answered: the folder in `web.tmpdir`, which Flink sets at each start.
    #[must_use]
    pub fn identity(&self) -> Option<JobManagerIdentity> {
        JobManagerIdentity::in_path(self.get("web.tmpdir")?)
    }
}

#[derive(Deserialize)]
pub(in crate::flink) struct ConfigEntry {
    pub(in crate::flink) key: String,
    pub(in crate::flink) value: String,
}
