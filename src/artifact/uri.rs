//! `jarURI`: what it may look like. Pure; whether it may be fetched is for [`super::policy`] to say.

use std::fmt;

use url::{Host, Url};

/// The longest `jarURI`, in bytes.
pub const MAX_URI_BYTES: usize = 2048;

/// Where a jar is. Neither `Display` nor `Debug` shows the query, which may carry a signature.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JarUri {
    /// An `https://` URL, or an `http://` one; without user info and fragment.
    Http(Url),
    /// An object in S3 or a store that speaks its protocol.
    S3 {
        /// The bucket.
        bucket: String,
        /// The key, taken to the letter (no percent-decoding, as in the AWS command line), without a leading slash.
        key: String,
    },
}

/// A text that is not a usable `jarURI`. The message never repeats user info or a query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// Longer than [`MAX_URI_BYTES`], or empty.
    #[error("jarURI has {0} bytes; write between 1 and {MAX_URI_BYTES}")]
    Length(usize),
    /// White space, control characters, or a backslash, which clients read in different ways.
    #[error("jarURI contains {0:?}; percent-encode it")]
    Character(char),
    /// The operator's own disk, or the container's.
    #[error(
        "jarURI has the scheme {0}:, which would read the operator's own disk; put the jar on an https:// or s3:// \
         address, or, when the class is on the cluster's class path, leave jarURI out and set entryClass"
    )]
    LocalFile(String),
    /// No scheme, or one that is not fetched.
    #[error("jarURI has {}; use https:// or s3://", scheme_text(.0))]
    Scheme(String),
    /// `https:` without `//host`, or a host or port that cannot be read.
    #[error("jarURI is not a complete URL; write https://HOST/PATH or s3://BUCKET/KEY")]
    Malformed,
    /// `user:password@host`.
    #[error("jarURI contains user info before the host; remove it (credentials do not belong into a job's spec)")]
    UserInfo,
    /// `#fragment`.
    #[error("jarURI contains a fragment (#…); remove it, or percent-encode the # as %23")]
    Fragment,
    /// `.` or `..` as a path segment, also when percent-encoded.
    #[error("jarURI contains the path segment . or ..; write the path without it")]
    DotSegment,
    /// Not the name of a bucket.
    #[error("jarURI names no valid bucket; write s3://BUCKET/KEY with a bucket of 3 to 63 of a-z, 0-9, - and .")]
    Bucket,
    /// Not a key that can be asked for.
    #[error("jarURI names no valid key; write s3://BUCKET/KEY without empty segments, ?, # and %")]
    Key,
}

fn scheme_text(scheme: &str) -> String {
    match scheme {
        "" => "no scheme".to_owned(),
        "s3a" | "s3n" | "s3p" => format!("the scheme {scheme}:, a file system of Hadoop's; write s3:"),
        scheme => format!("the scheme {scheme}:, which is not supported"),
    }
}

impl JarUri {
    /// Reads a `jarURI`.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        if text.is_empty() || text.len() > MAX_URI_BYTES {
            return Err(UriError::Length(text.len()));
        }
        // `url` drops tabs and line breaks and reads `\` as `/`: other readers of the same text would not.
        let strange = |c: &char| c.is_control() || *c == '\\' || (c.is_whitespace() && *c != ' ');
        if let Some(c) = text.chars().find(strange) {
            return Err(UriError::Character(c));
        }
        let (scheme, rest) = split_scheme(text).ok_or_else(|| UriError::Scheme(String::new()))?;
        match scheme.as_str() {
            "https" | "http" => {
                if text.contains(' ') {
                    return Err(UriError::Character(' '));
                }
                parse_http(text, rest)
            }
            "s3" => parse_s3(rest),
            "file" | "local" => Err(UriError::LocalFile(scheme)),
            _ => Err(UriError::Scheme(scheme)),
        }
    }

    /// What identifies the jar's place, query included. For keys of maps, never for people.
    #[must_use]
    pub(super) fn identity(&self) -> String {
        match self {
            Self::Http(url) => url.as_str().to_owned(),
            Self::S3 { bucket, key } => format!("s3://{bucket}/{key}"),
        }
    }
}

impl fmt::Display for JarUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => f.write_str(&shown(url)),
            Self::S3 { bucket, key } => f.write_str(&shorten(&format!("s3://{bucket}/{key}"))),
        }
    }
}

impl fmt::Debug for JarUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JarUri({self})")
    }
}

/// A URL as people may see it: origin and path, at most 200 characters; no user info, query or fragment.
#[must_use]
pub(super) fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    shorten(&format!("{}://{host}{port}{}", url.scheme(), url.path()))
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= 200 {
        return text.to_owned();
    }
    let head: String = text.chars().take(140).collect();
    let tail: Vec<char> = text.chars().rev().take(59).collect();
    head + "…" + &tail.into_iter().rev().collect::<String>()
}

/// The scheme in lower case, and what follows its colon.
fn split_scheme(text: &str) -> Option<(String, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let valid = scheme.len() <= 32
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    valid.then(|| (scheme.to_ascii_lowercase(), rest))
}

fn parse_http(text: &str, rest: &str) -> Result<JarUri, UriError> {
    // The URL standard also accepts `https:host` and `https:////host`; other readers do not.
    let after = rest.strip_prefix("//").ok_or(UriError::Malformed)?;
    let authority_end = after.find(['/', '?', '#']).unwrap_or(after.len());
    let (authority, tail) = after.split_at_checked(authority_end).ok_or(UriError::Malformed)?;
    if authority.is_empty() {
        return Err(UriError::Malformed);
    }
    if authority.contains('@') {
        return Err(UriError::UserInfo);
    }
    if tail.contains('#') {
        return Err(UriError::Fragment);
    }
    // Looked for in the text as written: `url` resolves dot segments silently.
    let path = tail.split('?').next().unwrap_or_default();
    if has_dot_segment(path) {
        return Err(UriError::DotSegment);
    }
    let url = Url::parse(text).map_err(|_| UriError::Malformed)?;
    check_http(&url)?;
    Ok(JarUri::Http(url))
}

/// What must hold for every URL that is asked for, redirects included.
fn check_http(url: &Url) -> Result<(), UriError> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UriError::UserInfo);
    }
    match url.host() {
        Some(Host::Domain(name)) if is_host_name(name) => {}
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => {}
        Some(Host::Domain(_)) | None => return Err(UriError::Malformed),
    }
    if url.port() == Some(0) || !matches!(url.scheme(), "http" | "https") {
        return Err(UriError::Malformed);
    }
    if has_dot_segment(url.path()) {
        return Err(UriError::DotSegment);
    }
    Ok(())
}

fn is_host_name(name: &str) -> bool {
    let labels = name.strip_suffix('.').unwrap_or(name);
    name.len() <= 254
        && labels.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        })
}

/// Resolves the `Location` of a redirect that `base` answered with.
pub(super) fn redirect_target(base: &Url, location: &str) -> Result<Url, UriError> {
    if location.len() > MAX_URI_BYTES * 2 {
        return Err(UriError::Length(location.len()));
    }
    if let Some(c) = location.chars().find(|c| c.is_control() || *c == '\\') {
        return Err(UriError::Character(c));
    }
    let mut url = base.join(location).map_err(|_| UriError::Malformed)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(UriError::Scheme(url.scheme().chars().take(32).collect()));
    }
    url.set_fragment(None);
    check_http(&url)?;
    Ok(url)
}

/// Whether a path, decoded as often as a careless server might, has a segment `.` or `..`.
///
/// `..;x` counts too: servlet containers cut a segment at its first semicolon.
fn has_dot_segment(path: &str) -> bool {
    let mut path = path.to_owned();
    for _ in 0..3 {
        let dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
        if path.split(['/', '\\']).any(dots) {
            return true;
        }
        let decoded = percent_decode_ascii(&path);
        if decoded == path {
            return false;
        }
        path = decoded;
    }
    false
}

/// Decodes `%XX` of ASCII characters; leaves everything else as it is.
fn percent_decode_ascii(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at(at);
        decoded.push_str(before);
        let byte = escape.get(1..3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let (taken, c) = match byte {
            Some(byte) if byte.is_ascii() => (3, char::from(byte)),
            Some(_) | None => (1, '%'),
        };
        decoded.push(c);
        rest = escape.get(taken..).unwrap_or_default();
    }
    decoded + rest
}

fn parse_s3(rest: &str) -> Result<JarUri, UriError> {
    let rest = rest.strip_prefix("//").ok_or(UriError::Bucket)?;
    let (bucket, key) = rest.split_once('/').ok_or(UriError::Key)?;
    if bucket.contains('@') {
        return Err(UriError::UserInfo);
    }
    if !is_bucket(bucket) {
        return Err(UriError::Bucket);
    }
    check_key(key)?;
    Ok(JarUri::S3 {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
    })
}

/// The rules for general purpose buckets ("Bucket naming rules", Amazon S3 user guide).
pub(super) fn is_bucket(name: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (3..=63).contains(&name.len())
        && name.chars().all(|c| edge(c) || matches!(c, '-' | '.'))
        && name.starts_with(edge)
        && name.ends_with(edge)
        && !name.contains("..")
        && name.parse::<std::net::Ipv4Addr>().is_err()
}

fn check_key(key: &str) -> Result<(), UriError> {
    if key.is_empty() || key.len() > 1024 || key.contains(['?', '#', '%']) {
        return Err(UriError::Key);
    }
    for segment in key.split('/') {
        match segment {
            "" => return Err(UriError::Key),
            "." | ".." => return Err(UriError::DotSegment),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> UriError {
        JarUri::parse(text).expect_err(text)
    }

    #[test]
    fn accepts_what_can_be_fetched() {
        for text in [
            "https://repo.example/a/b.jar",
            "https://repo.example:8443/a.jar?X-Amz-Signature=abc",
            "http://repo.example/a.jar",
            "https://[2606:4700::1]/a.jar",
            "https://repo.example/..a/b..jar",
            "HTTPS://Repo.Example/a.jar",
        ] {
            assert!(matches!(JarUri::parse(text), Ok(JarUri::Http(_))), "{text}");
        }
        let JarUri::S3 { bucket, key } = JarUri::parse("s3://my-bucket/a b/c=1/x.jar").unwrap() else {
            panic!()
        };
        assert_eq!((bucket.as_str(), key.as_str()), ("my-bucket", "a b/c=1/x.jar"));
    }

    #[test]
    fn refuses_other_schemes_and_says_what_to_do() {
        for text in [
            "file:///var/run/secrets/token",
            "FILE:/etc/passwd",
            "local:///opt/flink/x.jar",
        ] {
            assert!(matches!(refused(text), UriError::LocalFile(_)), "{text}");
        }
        assert!(refused("file:///x").to_string().contains("set entryClass"));
        assert!(refused("s3a://bucket/x.jar").to_string().contains("write s3:"));
        for text in [
            "ftp://h/x",
            "gopher://h/x",
            "jar:https://h/x!/",
            "data:,x",
            "hdfs://h/x",
            "javascript:x",
        ] {
            assert!(matches!(refused(text), UriError::Scheme(_)), "{text}");
        }
        assert_eq!(refused("repo.example/x.jar"), UriError::Scheme(String::new()));
    }

    #[test]
    fn refuses_what_readers_disagree_about() {
        for (text, error) in [
            ("https://user:pw@h.example/x.jar", UriError::UserInfo),
            ("https://h.example@evil.example/x.jar", UriError::UserInfo),
            ("https://h.example/x.jar#y", UriError::Fragment),
            ("https://h.example/a/../x.jar", UriError::DotSegment),
            ("https://h.example/a/%2e%2E/x.jar", UriError::DotSegment),
            ("https://h.example/a/..%2fx.jar", UriError::DotSegment),
            ("https://h.example/a/%252e%252e/x.jar", UriError::DotSegment),
            ("https://h.example/a/..;v=1/x.jar", UriError::DotSegment),
            ("https://h.example\\@evil.example/x", UriError::Character('\\')),
            ("https://h.exa\tmple/x", UriError::Character('\t')),
            ("https://h.example/a b.jar", UriError::Character(' ')),
            ("https:h.example/x.jar", UriError::Malformed),
            ("https:///x.jar", UriError::Malformed),
            ("https:////h.example/x.jar", UriError::Malformed),
            ("https://h.example:0/x.jar", UriError::Malformed),
            ("https://h.example:99999/x.jar", UriError::Malformed),
            ("https://h..example/x.jar", UriError::Malformed),
            ("https://*/x.jar", UriError::Malformed),
            ("s3://bucket", UriError::Key),
            ("s3://bucket/", UriError::Key),
            ("s3://bucket/a//b", UriError::Key),
            ("s3://bucket/a%2fb", UriError::Key),
            ("s3://bucket/a?versionId=1", UriError::Key),
            ("s3://bucket/../other/x.jar", UriError::DotSegment),
            ("s3://10.0.0.1/x.jar", UriError::Bucket),
            ("s3://Bucket/x.jar", UriError::Bucket),
            ("s3://key:secret@bucket/x.jar", UriError::UserInfo),
            ("", UriError::Length(0)),
        ] {
            assert_eq!(refused(text), error, "{text}");
        }
        assert!(matches!(
            refused(&format!("https://h.example/{}", "a".repeat(2048))),
            UriError::Length(_)
        ));
    }

    #[test]
    fn the_query_is_never_shown() {
        let uri = JarUri::parse("https://h.example/x.jar?sig=s3cr3t").unwrap();
        assert_eq!(uri.to_string(), "https://h.example/x.jar");
        assert!(!format!("{uri:?}").contains("s3cr3t"));
        assert!(uri.identity().contains("s3cr3t"));
        let long = JarUri::parse(&format!("https://h.example/{}/x.jar", "é".repeat(200))).unwrap();
        assert_eq!(long.to_string().chars().count(), 200);
    }

    #[test]
    fn redirects_are_resolved_and_checked() {
        let base = Url::parse("https://h.example/a/x.jar?sig=1").unwrap();
        let target = |location| redirect_target(&base, location);
        assert_eq!(target("../y.jar#part").unwrap().as_str(), "https://h.example/y.jar");
        assert_eq!(target("//o.example/y").unwrap().as_str(), "https://o.example/y");
        assert_eq!(target("https://u:p@o.example/y"), Err(UriError::UserInfo));
        assert!(matches!(target("file:///etc/passwd"), Err(UriError::Scheme(_))));
        assert!(matches!(target("s3://bucket/key"), Err(UriError::Scheme(_))));
        assert_eq!(target("/a/..%2fy"), Err(UriError::DotSegment));
    }

    proptest::proptest! {
        #[test]
        fn parsing_is_total_and_its_errors_hide_user_info(user in "[a-z]{8}", rest in "\\PC{0,60}") {
            for text in [rest.clone(), format!("https://{rest}"), format!("https://h.example/{rest}"), format!("s3://{rest}")] {
                let _ = JarUri::parse(&text);
            }
            let error = JarUri::parse(&format!("https://{user}:pw@h.example/{rest}")).expect_err("user info");
            proptest::prop_assert!(!error.to_string().contains(&user));
        }
    }
}
