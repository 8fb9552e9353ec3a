//! Text that came from a server: cut, cleaned, and stripped of stack frames before anybody sees it.

use serde::Deserialize;

/// The longest message that leaves this module, in characters.
pub(crate) const MESSAGE_CHARS: usize = 256;
/// The longest part of an exception chain that is looked at, in causes. Java programs can nest without end.
const MAX_CAUSES: usize = 16;

/// One exception of a chain: its class and the first line of its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The Java class, such as `java.lang.IllegalStateException`; empty when the text names none.
    pub class: String,
    /// The first line of the message, at most 256 characters, without control characters.
    pub message: String,
}

impl Cause {
    /// Reads `class: message`. A text without a class is all message.
    fn read(line: &str) -> Self {
        let (class, message) = match line.split_once(": ") {
            Some((class, message)) if is_class_name(class) => (class, message),
            _ if is_class_name(line) => (line, ""),
            _ => ("", line),
        };
        // An exception that came over the network is printed with its class twice.
        let repeated = message.strip_prefix(class).and_then(|rest| rest.strip_prefix(": "));
        let message = repeated.filter(|_| !class.is_empty()).unwrap_or(message);
        Self {
            class: clean(class),
            message: clean(message),
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.class.as_str(), self.message.as_str()) {
            ("", message) => f.write_str(message),
            (class, "") => f.write_str(class),
            (class, message) => write!(f, "{class}: {message}"),
        }
    }
}

fn is_class_name(text: &str) -> bool {
    text.contains('.')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '$'))
}

/// The causes in a printed Java exception, outermost first: the first line and each `Caused by:` at the margin.
///
/// Frames, suppressed exceptions (both indented) and the further lines of a message are dropped.
pub(crate) fn causes(printed: &str) -> Vec<Cause> {
    let mut chain: Vec<Cause> = Vec::new();
    for line in cause_lines(printed) {
        let cause = Cause::read(line);
        if chain.len() < MAX_CAUSES {
            chain.push(cause);
        } else if let Some(innermost) = chain.last_mut() {
            // The root cause is what people need, so the innermost one is always kept.
            *innermost = cause;
        }
    }
    chain
}

/// The first line of the innermost exception in a printed one, in full.
pub(crate) fn root_line(printed: &str) -> &str {
    cause_lines(printed).last().unwrap_or_default()
}

fn cause_lines(printed: &str) -> impl Iterator<Item = &str> {
    let mut lines = printed
        .lines()
        .map(|line| line.strip_prefix("<Exception on server side:").unwrap_or(line))
        .filter(|line| !line.trim().is_empty());
    let outermost = lines.next();
    outermost
        .into_iter()
        .chain(lines.filter_map(|line| line.strip_prefix("Caused by: ")))
}

/// Flink's error body: `{"errors": ["Internal server error.", "<Exception on server side:\n…"]}`.
///
/// Source: `org.apache.flink.runtime.rest.messages.ErrorResponseBody`.
#[derive(Deserialize)]
pub(crate) struct ErrorBody {
    #[serde(deserialize_with = "super::reply::few")]
    pub(crate) errors: Vec<String>,
}

impl ErrorBody {
    /// Reads a body; `None` when it is not Flink's shape, so somebody else answered.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// Whether any line of the errors contains `text`.
    pub(crate) fn mentions(&self, text: &str) -> bool {
        self.errors.iter().any(|error| error.contains(text))
    }

    /// The innermost cause as Flink printed it. Empty when the server said nothing.
    pub(crate) fn root_line(&self) -> &str {
        let innermost = self.errors.iter().rev().filter_map(|error| cause_lines(error).last());
        innermost.into_iter().next().unwrap_or_default()
    }

    /// The innermost cause, fit to be shown.
    pub(crate) fn root_cause(&self) -> String {
        Cause::read(self.root_line()).to_string()
    }
}

/// Makes a foreign text fit for a status, an Event or a log line: one line of at most [`MESSAGE_CHARS`] characters,
/// no control or direction-changing characters, no user info in URLs.
pub(crate) fn clean(text: &str) -> String {
    // Bounds the work on a huge text; the user info is removed before the cut, so that half a password cannot survive.
    let head: String = text.chars().take(8 * MESSAGE_CHARS).collect();
    let head = without_user_info(&head);
    let mut chars = head.chars().filter_map(visible);
    let mut cleaned: String = chars.by_ref().take(MESSAGE_CHARS).collect();
    if chars.next().is_some() {
        cleaned.pop();
        cleaned.push('…');
    }
    cleaned.truncate(cleaned.trim_end().len());
    cleaned
}

/// Line ends and tabs become spaces; characters that hide or reorder text vanish.
fn visible(c: char) -> Option<char> {
    match c {
        '\n' | '\r' | '\t' => Some(' '),
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => None,
        c if c.is_control() => None,
        c => Some(c),
    }
}

/// Replaces `user:password@` in every URL of the text.
fn without_user_info(text: &str) -> String {
    let mut parts = text.split("://");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("://");
        let authority_ends = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '<' | '>');
        let (authority, rest) = part.split_at(part.find(authority_ends).unwrap_or(part.len()));
        match authority.rsplit_once('@') {
            Some((_, host)) => out.extend(["***@", host]),
            None => out.push_str(authority),
        }
        out.push_str(rest);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUPLICATE: &str = "org.apache.flink.runtime.rest.handler.RestHandlerException: Could not execute application.\n\
        \tat org.apache.flink.X.y(X.java:1)\n\
        Caused by: java.util.concurrent.CompletionException: org.apache.flink.util.FlinkRuntimeException: Could not.\n\
        \t... 1 more\n\
        \tSuppressed: java.io.IOException: hidden\n\
        \tCaused by: java.io.IOException: hidden too\n\
        Caused by: org.apache.flink.runtime.client.DuplicateJobSubmissionException: Job has already been submitted.\n\
        second line\n\tat a.b(C.java)\n";

    #[test]
    fn frames_and_suppressed_exceptions_are_dropped() {
        let chain = causes(DUPLICATE);
        assert_eq!(chain.len(), 3, "{chain:?}");
        let root = chain.last().unwrap();
        assert_eq!(
            root.class,
            "org.apache.flink.runtime.client.DuplicateJobSubmissionException"
        );
        assert_eq!(root.message, "Job has already been submitted.");
    }

    #[test]
    fn the_root_cause_of_an_error_body_is_its_innermost_exception() {
        let body = |errors: &[&str]| ErrorBody {
            errors: errors.iter().map(|&e| e.to_owned()).collect(),
        };
        let told = body(&[
            "Internal server error.",
            "<Exception on server side:\njava.util.concurrent.CompletionException: x.Y: Jar file /a does not exist\n\
             \tat x.Y\nCaused by: x.Y: Jar file /a does not exist\n\nEnd of exception on server side>",
        ]);
        assert_eq!(told.root_cause(), "x.Y: Jar file /a does not exist");
        assert_eq!(body(&["Not found: /jars"]).root_cause(), "Not found: /jars");
        assert_eq!(body(&[]).root_cause(), "");
    }

    #[test]
    fn a_class_that_is_printed_twice_is_told_once() {
        let chain = causes("a.B: a.B: told\nCaused by: a.B: a.Bc: told\nCaused by: : : told");
        let told: Vec<String> = chain.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["a.B: told", "a.B: a.Bc: told", ": : told"]);
    }

    #[test]
    fn a_chain_without_end_keeps_its_root() {
        let lines: Vec<String> = (0..1000).map(|n| format!("Caused by: a.B: {n}")).collect();
        let chain = causes(&lines.join("\n"));
        assert_eq!(
            (chain.len(), chain.last().unwrap().message.as_str()),
            (MAX_CAUSES, "999")
        );
    }

    #[test]
    fn text_is_made_harmless() {
        assert_eq!(clean("a\u{1b}[31mb\nc\u{202e}d\u{0}"), "a[31mb cd");
        assert_eq!(
            clean("see https://user:pa@ss@host:1/x and s3://k:v@b"),
            "see https://***@host:1/x and s3://***@b"
        );
        assert_eq!(clean("mail a@b"), "mail a@b");
        let long = clean(&"ä".repeat(10_000));
        assert_eq!(long.chars().count(), MESSAGE_CHARS);
        assert!(long.ends_with('…'));
    }
}
