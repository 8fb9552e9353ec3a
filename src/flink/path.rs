//! Paths of savepoints, as Flink spells them.

/// Whether Flink's `location` lies in `directory`, at any depth.
///
/// Flink writes local paths as `file:/a/b`, however they were given, and drops doubled slashes; all else is compared
/// as it is.
#[must_use]
pub fn lies_under(location: &str, directory: &str) -> bool {
    let (Some(location), Some(directory)) = (Parts::of(location), Parts::of(directory)) else {
        return false;
    };
    location.root == directory.root
        && location.names.len() > directory.names.len()
        && location.names.starts_with(&directory.names)
}

/// A path taken apart: scheme and authority, and the names below.
struct Parts<'a> {
    root: (&'a str, &'a str),
    names: Vec<&'a str>,
}

impl<'a> Parts<'a> {
    /// `None` for a path that is relative, or that leads upwards.
    fn of(path: &'a str) -> Option<Self> {
        let (scheme, rest) = match path.split_once(':') {
            Some((scheme, rest)) if !scheme.contains('/') => (scheme, rest),
            _ => ("file", path),
        };
        let (authority, names) = match rest.strip_prefix("//") {
            // `//a/b` without a scheme is a local path.
            Some(rest) if rest.len() < path.len() - 2 => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            _ => ("", rest),
        };
        if !names.starts_with('/') && authority.is_empty() {
            return None;
        }
        let names: Vec<&str> = names.split('/').filter(|name| !name.is_empty()).collect();
        let upwards = names.iter().any(|name| matches!(*name, "." | ".."));
        (!upwards).then_some(Self {
            root: (scheme, authority),
            names,
        })
    }
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
            ("relative/x", "relative"),
            ("", ""),
            ("s3:", "s3:"),
        ] {
            assert!(!lies_under(location, directory), "{location} {directory}");
        }
    }
}
