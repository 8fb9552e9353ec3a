//! Identities on a Flink cluster: `JobId` with our mark in it, `TriggerId`, and `JarId`.

use std::{fmt, marker::PhantomData, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

/// A text that is not the identity it was read as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a {what}: {text:?}")]
pub struct InvalidId {
    what: &'static str,
    text: String,
}

impl InvalidId {
    pub(super) fn new(what: &'static str, text: &str) -> Self {
        Self {
            what,
            text: text.chars().take(64).collect(),
        }
    }
}

/// Reads exactly `2 * N` lower- or upper-case hexadecimal digits.
fn parse_hex<const N: usize>(what: &'static str, text: &str) -> Result<[u8; N], InvalidId> {
    let invalid = || InvalidId::new(what, text);
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return Err(invalid());
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = *pair else { return Err(invalid()) };
        let digit = |d: u8| {
            char::from(d)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
                .ok_or_else(invalid)
        };
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Ok(bytes)
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Reads an id where the text lies, without a copy: a job list has thousands.
struct HexText<T>(PhantomData<T>);

impl<T: FromStr<Err = InvalidId>> de::Visitor<'_> for HexText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hexadecimal digits")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! hex_id {
    ($name:ident, $bytes:literal, $what:literal, $digits:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse_hex::<$bytes>($what, text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(HexText(PhantomData))
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": concat!("^[0-9a-f]{", $digits, "}$"), "maxLength": $bytes * 2 })
            }
        }
    };
}

/// One installation of the operator: four random bytes, made once and kept in a ConfigMap.
///
/// It scopes the orphan sweeper and the jar clean-up. Ownership of a job is decided by [`UidHash`] alone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstallationId(pub [u8; 4]);
hex_id!(InstallationId, 4, "installation id", "8");

/// The first eight bytes of the SHA-256 of a resource's UID: whose job it is, read off any job list.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UidHash(pub [u8; 8]);
hex_id!(UidHash, 8, "UID hash", "16");

impl UidHash {
    /// The hash of a Kubernetes object's `metadata.uid`.
    #[must_use]
    pub fn of(uid: &str) -> Self {
        let digest = Sha256::digest(uid.as_bytes());
        let mut bytes = [0; 8];
        bytes.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
        Self(bytes)
    }
}

/// Flink's `JobID`: sixteen bytes, written as 32 hexadecimal digits.
///
/// Ours are `installation (4 bytes) ‖ UID hash (8 bytes) ‖ attempt (4 bytes, big endian)`: a job list alone tells which
/// resource a job belongs to, and a retry of one attempt always names the same job.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub [u8; 16]);
hex_id!(JobId, 16, "Flink JobID", "32");

impl JobId {
    /// The id of one attempt of one resource.
    #[must_use]
    pub fn new(installation: InstallationId, owner: UidHash, attempt: u32) -> Self {
        let mut bytes = [0; 16];
        let mark = installation.0.into_iter().chain(owner.0).chain(attempt.to_be_bytes());
        bytes.iter_mut().zip(mark).for_each(|(to, from)| *to = from);
        Self(bytes)
    }

    /// The installation in the mark. Meaningful only for jobs that carry our mark.
    #[must_use]
    pub fn installation(&self) -> InstallationId {
        let [a, b, c, d, ..] = self.0;
        InstallationId([a, b, c, d])
    }

    /// The UID hash in the mark. Meaningful only for jobs that carry our mark.
    #[must_use]
    pub fn owner(&self) -> UidHash {
        let mut hash = [0; 8];
        hash.iter_mut()
            .zip(self.0.iter().skip(4))
            .for_each(|(to, from)| *to = *from);
        UidHash(hash)
    }

    /// The attempt in the mark. Meaningful only for jobs that carry our mark.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        let [.., a, b, c, d] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }
}

/// Flink's `TriggerId`: sixteen bytes, written as 32 hexadecimal digits. It names one savepoint, stop or disposal.
///
/// For savepoints and stops it is chosen by the client: a request that is sent again with the same id, to the same
/// process, for the same job, has one effect, until `rest.async.store-duration` after its end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TriggerId(pub [u8; 16]);
hex_id!(TriggerId, 16, "Flink trigger id", "32");

impl TriggerId {
    /// The id of one attempt on behalf of a Kubernetes object: the start of the SHA-256 of its UID and the attempt.
    ///
    /// A failure is remembered under its id just as a success is, so another attempt needs another id.
    #[must_use]
    pub fn new(uid: &str, attempt: u32) -> Self {
        let digest = Sha256::new()
            .chain_update(uid)
            .chain_update(attempt.to_be_bytes())
            .finalize();
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
        Self(bytes)
    }
}

/// The id of an uploaded jar: `<uuid>_<file name>`, as Flink's `POST /jars/upload` made it.
///
/// It names a file in the upload folder of one JobManager process. Checked to be a plain file name, because it becomes
/// a path segment of later requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct JarId(String);

impl JarId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name that the file was uploaded under: the id without the UUID that Flink put before it.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.get(37..).unwrap_or(&self.0)
    }
}

impl fmt::Display for JarId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for JarId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if (5..=200).contains(&text.len())
            && text.chars().all(plain)
            && !text.contains("..")
            && text.strip_suffix(".jar").is_some()
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId::new("jar id", text))
        }
    }
}

impl<'de> Deserialize<'de> for JarId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl schemars::JsonSchema for JarId {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "JarId".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "maxLength": 200 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_id_carries_its_mark() {
        let installation = InstallationId([0xde, 0xad, 0xbe, 0xef]);
        let owner = UidHash::of("3f0a7a0e-6d4e-4e8c-9a67-8d4b2b8f7f10");
        let id = JobId::new(installation, owner, 0x6924_0001);
        assert_eq!(
            (id.installation(), id.owner(), id.attempt()),
            (installation, owner, 0x6924_0001)
        );
        assert!(id.to_string().starts_with("deadbeef") && id.to_string().ends_with("69240001"));
        assert_eq!(id.to_string().parse::<JobId>(), Ok(id));
    }

    #[test]
    fn a_trigger_id_is_the_same_for_one_attempt_and_no_other() {
        let uid = "3f0a7a0e-6d4e-4e8c-9a67-8d4b2b8f7f10";
        let id = TriggerId::new(uid, 1);
        assert_eq!(
            (id.to_string().parse::<TriggerId>(), TriggerId::new(uid, 1)),
            (Ok(id), id)
        );
        assert_eq!(id.to_string().to_uppercase().parse::<TriggerId>(), Ok(id));
        for other in [TriggerId::new(uid, 2), TriggerId::new("3f0a7a0e", 1)] {
            assert_ne!(other, id);
        }
        // Kept for ever: after an upgrade of the operator the same attempt must find its savepoint.
        assert_eq!(id.to_string(), "c13b40c0a1fec87dfc1173e235aceb50");
    }

    #[test]
    fn hostile_ids_are_refused() {
        for text in [
            "",
            "xyz",
            "+0000000000000000000000000000001",
            &"0".repeat(33),
            "0000000000000000000000000000000é",
        ] {
            assert!(
                text.parse::<JobId>().is_err() && text.parse::<TriggerId>().is_err(),
                "{text}"
            );
        }
        for text in [
            "../../etc/passwd.jar",
            "a/b.jar",
            "a b.jar",
            "x.txt",
            "..jar",
            ".jar",
            "a?b.jar",
            "a%2f.jar",
        ] {
            assert!(text.parse::<JarId>().is_err(), "{text}");
        }
        let id: JarId = "b8a1b5ce-38ab-4bd8-a76f-9d4d02c0d2b9_deadbeef-00.jar".parse().unwrap();
        assert_eq!(id.file_name(), "deadbeef-00.jar");
    }
}
