//! Paths of savepoints and checkpoints, as Flink spells them.

use std::{fmt, str::FromStr};

/// A directory in one of Flink's file systems, taken apart: scheme, authority, and the names below.
///
/// Printed as `org.apache.flink.core.fs.Path` prints it: `file:/a/b` however a local path was given, without doubled
/// slashes and without one at the end. Two spellings of one place are equal. A `/_metadata` at the end is left out, because
/// Flink takes it for the directory that it lies in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StatePath {
    scheme: String,
    authority: String,
    names: Vec<String>,
}

/// Why a text is no path that may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// Neither a scheme nor a `/` at the beginning: it would depend on where the JobManager was started.
    #[error("it is relative; write SCHEME://… or an absolute path")]
    Relative,
    /// `.` or `..`, which could lead anywhere.
    #[error("it contains . or ..; write the path without it")]
    Upwards,
    /// A backslash, which Flink takes for a slash, a control character, or a space at an end, which Flink drops.
    #[error("it contains a backslash, a control character, or a space at an end")]
    Character,
    /// A password in the path.
    #[error("it contains a password; credentials belong into the cluster's configuration")]
    Password,
}

impl StatePath {
    /// Whether it lies in a directory, at any depth.
    #[must_use]
    pub fn lies_under(&self, directory: &Self) -> bool {
        self.scheme == directory.scheme
            && self.authority == directory.authority
            && self.names.len() > directory.names.len()
            && self.names.starts_with(&directory.names)
    }

    /// The directory of that name in it. The name must be one.
    #[must_use]
    pub fn join(mut self, name: &str) -> Self {
        self.names.push(name.to_owned());
        self
    }

    /// The scheme, such as `s3`; `file` for a local path.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The authority, such as the bucket; empty for a local path.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The names below the authority.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether the path says itself which file system it is in. One that does not is the cluster's default one.
    #[must_use]
    pub fn has_scheme(text: &str) -> bool {
        text.split_once(':').is_some_and(|(scheme, _)| !scheme.contains('/'))
    }

    fn parse(text: &str) -> Result<Self, InvalidPath> {
        if text.contains('\\') || text.chars().any(char::is_control) || text.trim() != text {
            return Err(InvalidPath::Character);
        }
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest)) if !scheme.contains('/') => (scheme, rest),
            _ => ("file", text),
        };
        let (authority, names) = match rest.strip_prefix("//") {
            // `//a/b` without a scheme is a local path.
            Some(rest) if rest.len() < text.len() - 2 => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            _ => ("", rest),
        };
        if (!names.starts_with('/') && authority.is_empty()) || scheme.is_empty() {
            return Err(InvalidPath::Relative);
        }
        // `user:password@host`; `container@account` is how Azure's are written.
        if authority.split_once('@').is_some_and(|(user, _)| user.contains(':')) {
            return Err(InvalidPath::Password);
        }
        let mut names: Vec<String> = names
            .split('/')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        if names.iter().any(|name| matches!(name.as_str(), "." | "..")) {
            return Err(InvalidPath::Upwards);
        }
        while names.last().is_some_and(|name| name == "_metadata") {
            names.pop();
        }
        Ok(Self {
            scheme: scheme.to_owned(),
            authority: authority.to_owned(),
            names,
        })
    }
}

impl FromStr for StatePath {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        Self::parse(text)
    }
}

impl fmt::Display for StatePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme)?;
        if !self.authority.is_empty() {
            write!(f, "//{}", self.authority)?;
        }
        if self.names.is_empty() {
            return f.write_str("/");
        }
        self.names.iter().try_for_each(|name| write!(f, "/{name}"))
    }
}

/// Whether Flink's `location` lies in `directory`, at any depth, however either is spelt.
#[must_use]
pub fn lies_under(location: &str, directory: &str) -> bool {
    match (StatePath::parse(location), StatePath::parse(directory)) {
        (Ok(location), Ok(directory)) => location.lies_under(&directory),
        (Err(_), _) | (_, Err(_)) => false,
    }
}

/// The one spelling of a path that all spellings of its place have in common. What is no path stays as it is.
#[must_use]
pub fn one_spelling(path: &str) -> String {
    StatePath::parse(path).map_or_else(|_| path.to_owned(), |path| path.to_string())
}

/// Whether two paths name one place, however either is spelt.
#[must_use]
pub fn is_same_place(one: &str, other: &str) -> bool {
    one == other || matches!((StatePath::parse(one), StatePath::parse(other)), (Ok(one), Ok(other)) if one == other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_found_under_its_directory_in_every_spelling() {
        for (location, directory) in [
            ("file:/a/b/savepoint-1", "/a/b"),
            ("file:/a/b/savepoint-1", "file:///a/b/"),
            ("file:/a/b/savepoint-1", "//a//b"),
            ("s3://bucket/x/y", "s3://bucket/x"),
            ("s3://bucket/x/y", "s3://bucket//x/"),
            ("s3://bucket/x", "s3://bucket"),
            ("hdfs://n:9000/a b%20c/s", "hdfs://n:9000/a b%20c"),
        ] {
            assert!(lies_under(location, directory), "{location} {directory}");
        }
    }

    #[test]
    fn another_place_is_another_place() {
        for (location, directory) in [
            ("file:/a/b", "/a/b"),
            ("file:/a/bc/s", "/a/b"),
            ("s3://other/x/y", "s3://bucket/x"),
            ("s3a://bucket/x/y", "s3://bucket/x"),
            ("s3://bucket/x/../z/y", "s3://bucket/x"),
            ("s3://bucket/x/..\\..\\z/y", "s3://bucket/x"),
            ("s3://bucket/x/_metadata", "s3://bucket/x"),
            ("relative/x", "relative"),
            ("", ""),
            ("s3:", "s3:"),
        ] {
            assert!(!lies_under(location, directory), "{location} {directory}");
        }
    }

    #[test]
    fn one_place_has_one_spelling() {
        for (text, printed) in [
            ("/a/b", "file:/a/b"),
            ("file:///a//b/", "file:/a/b"),
            ("file:/a/b/_metadata", "file:/a/b"),
            ("/a/_metadata/_metadata", "file:/a"),
            ("//a/b", "file:/a/b"),
            ("s3://bucket/x/_metadata/", "s3://bucket/x"),
            ("s3://bucket//x", "s3://bucket/x"),
            ("s3://bucket", "s3://bucket/"),
            ("hdfs:///x", "hdfs:/x"),
            (
                "abfss://container@account.dfs.core.windows.net/x",
                "abfss://container@account.dfs.core.windows.net/x",
            ),
        ] {
            let path: StatePath = text.parse().unwrap();
            assert_eq!(path.to_string(), printed, "{text}");
            assert_eq!(path.to_string().parse(), Ok(path), "{text}");
            assert!(is_same_place(text, printed), "{text}");
            assert_eq!(one_spelling(text), printed);
        }
        assert!(!is_same_place("s3://bucket/x", "s3://bucket/x/y"));
        assert!(is_same_place("what it is", "what it is"));
    }

    #[test]
    fn what_two_readers_could_read_in_two_ways_is_refused() {
        use InvalidPath::{Character, Password, Relative, Upwards};
        for (text, error) in [
            ("", Relative),
            ("a/b", Relative),
            ("file:a/b", Relative),
            (":/a", Relative),
            ("s3:", Relative),
            ("s3://", Relative),
            ("s3://b/./x", Upwards),
            ("s3://b/..", Upwards),
            ("/a/../b", Upwards),
            ("s3://b/..\\x", Character),
            ("s3://b/x ", Character),
            (" /x", Character),
            ("s3://b/x\ny", Character),
            ("s3://key:secret@bucket/x", Password),
        ] {
            assert_eq!(text.parse::<StatePath>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_path_says_whether_it_names_its_file_system() {
        let told = ["s3://b/x", "file:/x", "/x", "/a:b", "x"].map(StatePath::has_scheme);
        assert_eq!(told, [true, true, false, false, false]);
    }

    proptest::proptest! {
        #[test]
        fn what_is_printed_reads_back_as_the_same(text in "(s3:|file:|[a-z:/]{0,4})[a-z/:@._\\\\ ]{0,24}") {
            if let Ok(path) = text.parse::<StatePath>() {
                let printed = path.to_string();
                proptest::prop_assert!(path.clone().join("x").lies_under(&path));
                proptest::prop_assert_eq!(printed.parse(), Ok(path), "{}", printed);
            }
        }
    }
}
