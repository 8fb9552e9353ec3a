//! `--state-prefix`: where the savepoints and checkpoints of a namespace may be.
//!
//! Flink reads, writes and deletes state with the cluster's credentials, not with those of whoever names a path. On a
//! cluster that several namespaces share, the administrator keeps them apart by these prefixes.

use std::{fmt, str::FromStr};

use crate::flink::{InvalidPath, StatePath};

/// `NAMESPACE=URI/`: a directory, and everything in it, that resources of a namespace may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatePrefix {
    namespace: String,
    directory: StatePath,
}

/// A text that is not `NAMESPACE=URI/`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a prefix of state: {0}; write NAMESPACE=SCHEME://AUTHORITY/PATH/, such as team-a=s3://bucket/team-a/")]
pub struct InvalidStatePrefix(String);

impl FromStr for StatePrefix {
    type Err = InvalidStatePrefix;

    fn from_str(text: &str) -> Result<Self, InvalidStatePrefix> {
        let invalid = |why: &str| InvalidStatePrefix(why.to_owned());
        let (namespace, uri) = text.split_once('=').ok_or_else(|| invalid("it names no namespace"))?;
        let is_label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if namespace.is_empty() || namespace.len() > 63 || !namespace.chars().all(is_label) {
            return Err(invalid("the part before = is no namespace"));
        }
        if !StatePath::has_scheme(uri) {
            return Err(invalid("it has no scheme"));
        }
        let directory = uri.parse().map_err(|error: InvalidPath| invalid(&error.to_string()))?;
        Ok(Self {
            namespace: namespace.to_owned(),
            directory,
        })
    }
}

/// All prefixes of the administrator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatePrefixes(Vec<StatePrefix>);

impl From<Vec<StatePrefix>> for StatePrefixes {
    fn from(prefixes: Vec<StatePrefix>) -> Self {
        Self(prefixes)
    }
}

/// A path outside of all prefixes of its namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutsidePrefix {
    path: StatePath,
    allowed: Vec<StatePath>,
}

impl fmt::Display for OutsidePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |path: &StatePath| path.to_string().chars().take(200).collect::<String>();
        let allowed: Vec<String> = self.allowed.iter().take(3).map(short).collect();
        write!(
            f,
            "{} lies outside of what the administrator allows for this namespace (--state-prefix); use a path in {}",
            short(&self.path),
            allowed.join(" or ")
        )
    }
}

impl std::error::Error for OutsidePrefix {}

impl StatePrefixes {
    /// Whether the namespace has prefixes. One without may name any path.
    #[must_use]
    pub fn bound(&self, namespace: &str) -> bool {
        self.of(namespace).next().is_some()
    }

    /// Whether one of the schemes is that of an object store that speaks S3.
    #[must_use]
    pub fn name_objects(&self) -> bool {
        self.0.iter().any(|prefix| prefix.directory.scheme().starts_with("s3"))
    }

    /// Checks that a resource of the namespace may name a path: it is one of the namespace's prefixes or lies in one, where
    /// there are any.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub fn check(&self, namespace: &str, path: &StatePath) -> Result<(), OutsidePrefix> {
        let is_prefix = self.of(namespace).any(|directory| directory == path);
        if !self.bound(namespace) || is_prefix || self.admits(namespace, path) {
            return Ok(());
        }
        Err(OutsidePrefix {
            path: path.clone(),
            allowed: self.of(namespace).cloned().collect(),
        })
    }

    /// Whether a path lies in a prefix of the namespace: the administrator's word that it belongs to it.
    #[must_use]
    pub fn admits(&self, namespace: &str, path: &StatePath) -> bool {
        self.of(namespace).any(|directory| path.lies_under(directory))
    }

    fn of(&self, namespace: &str) -> impl Iterator<Item = &StatePath> {
        let own = move |prefix: &&StatePrefix| prefix.namespace == namespace;
        self.0.iter().filter(own).map(|prefix| &prefix.directory)
    }
}

/// The directory for one savepoint of a job: `BASE/NAMESPACE/JOB/UNIQUE`. The operator puts every savepoint that it asks for
/// into one that no other has, so that a savepoint whose answer was lost can be found again.
#[must_use]
pub fn own_directory(base: StatePath, namespace: &str, job: &str, unique: &str) -> StatePath {
    base.join(namespace).join(job).join(unique)
}

/// Whether a path lies in an [`own_directory`] of that job, whatever the base.
#[must_use]
pub fn is_in_own_directory(path: &StatePath, namespace: &str, job: &str) -> bool {
    // What is unique, and Flink's own directory in it.
    let Some(above) = path.names().len().checked_sub(2) else {
        return false;
    };
    let pairs = path.names().iter().zip(path.names().iter().skip(1));
    pairs
        .take(above.saturating_sub(1))
        .any(|(one, other)| one == namespace && other == job)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes() -> StatePrefixes {
        let texts = [
            "team-a=s3://bucket/team-a/",
            "team-a=file:///mnt/a",
            "team-b=s3://bucket",
        ];
        texts.map(|text| text.parse().unwrap()).to_vec().into()
    }

    fn check(namespace: &str, path: &str) -> Result<(), String> {
        let path = path.parse().map_err(|error: InvalidPath| error.to_string())?;
        prefixes().check(namespace, &path).map_err(|error| error.to_string())
    }

    #[test]
    fn whole_names_are_compared_in_every_spelling() {
        for (namespace, path) in [
            ("team-a", "s3://bucket/team-a"),
            ("team-a", "s3://bucket/team-a/x"),
            ("team-a", "s3://bucket//team-a/x/y/"),
            ("team-a", "/mnt/a/x"),
            ("team-a", "file:/mnt/a/x"),
            ("team-b", "s3://bucket/x"),
            ("team-c", "s3://any/x"),
        ] {
            assert_eq!(check(namespace, path), Ok(()), "{namespace} {path}");
        }
        for (namespace, path) in [
            ("team-a", "s3://bucket/team-ab/x"),
            ("team-a", "s3://bucket/x"),
            ("team-a", "s3a://bucket/team-a/x"),
            ("team-a", "s3://bucket2/team-a/x"),
            ("team-a", "/mnt/b/x"),
            ("team-b", "s3://bucket2/x"),
            ("team-b", "/mnt/a/x"),
        ] {
            assert!(check(namespace, path).is_err(), "{namespace} {path}");
        }
    }

    // What nobody allowed belongs to nobody, though it may be named.
    #[test]
    fn a_namespace_without_prefixes_is_not_bound_and_owns_nothing() {
        let path = "s3://bucket/x/y".parse().unwrap();
        assert!(!prefixes().bound("team-c") && !prefixes().admits("team-c", &path));
        assert!(prefixes().bound("team-b") && prefixes().admits("team-b", &path));
        assert!(prefixes().name_objects());
        assert!(!StatePrefixes(vec!["a=file:///x".parse().unwrap()]).name_objects());
    }

    #[test]
    fn a_refusal_says_what_is_allowed_in_bounded_words() {
        let told = check("team-a", &format!("s3://bucket/{}", "x".repeat(2000))).unwrap_err();
        assert!(
            told.contains("s3://bucket/team-a or file:/mnt/a") && told.len() < 1000,
            "{told}"
        );
    }

    #[test]
    fn what_the_operator_asked_for_is_recognised_by_its_directory() {
        let base: StatePath = "s3://bucket/savepoints".parse().unwrap();
        let directory = own_directory(base, "team-a", "orders", "uid-1");
        assert_eq!(directory.to_string(), "s3://bucket/savepoints/team-a/orders/uid-1");
        let is_own = |path: &str| is_in_own_directory(&path.parse().unwrap(), "team-a", "orders");
        assert!(is_own("s3://bucket/savepoints/team-a/orders/uid-1/savepoint-1"));
        assert!(is_own("file:/team-a/orders/uid-1/savepoint-1"));
        for path in [
            "s3://bucket",
            "s3://bucket/team-a",
            "s3://bucket/team-a/orders",
            "s3://bucket/team-a/orders/uid-1",
            "s3://team-a/orders/uid-1/savepoint-1",
            "s3://bucket/team-a/other/uid-1/savepoint-1",
            "s3://bucket/team-b/orders/uid-1/savepoint-1",
            "s3://bucket/team-a/x/orders/uid-1/savepoint-1",
        ] {
            assert!(!is_own(path), "{path}");
        }
    }

    #[test]
    fn bad_prefixes_are_refused() {
        for text in [
            "",
            "s3://bucket/x/",
            "=s3://bucket/x/",
            "A_b=s3://bucket/",
            "team-a=",
            "team-a=/mnt/a",
            "team-a=relative",
            "team-a=s3://bucket/../x",
            "team-a=s3://key:secret@bucket/x",
        ] {
            assert!(text.parse::<StatePrefix>().is_err(), "{text}");
        }
    }
}
