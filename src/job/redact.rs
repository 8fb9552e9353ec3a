//! Takes secrets out of what Flink says.

use std::fmt::{self, Write as _};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

use crate::sensitive::Sensitive;

/// From this length on, in bytes, the encoded forms of a secret are looked for, and its beginning at a cut end.
const ENCODED_FROM: usize = 4;

/// What stands for a secret.
const MASK: &str = "***";

/// Replaces known secrets in messages by `***`: as they are, trimmed, line by line, and as URL, JSON and base64 encode
/// them (also inside a longer base64 text). Redact a message before cutting it: of what a cut leaves of a secret, at
/// least four bytes are recognised at the end of the text only.
///
/// A secret of up to three bytes is replaced only where it stands alone: it would be found in every other word. A blank
/// one is none.
#[derive(Clone, Default)]
pub struct Redactor {
    /// Distinct and not blank.
    forms: Vec<String>,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} forms)", self.forms.len())
    }
}

impl Redactor {
    /// A redactor for these secrets.
    #[must_use]
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Sensitive>) -> Self {
        let mut forms: Vec<String> = secrets
            .into_iter()
            .flat_map(|secret| forms_of(secret.expose()))
            .collect();
        forms.sort_unstable();
        forms.dedup();
        forms.retain(|form| !form.trim().is_empty());
        Self { forms }
    }

    /// Whether there is nothing to look for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// The message without the secrets.
    #[must_use]
    pub fn redact(&self, message: &str) -> String {
        // All are found in the message as it came, so that one replacement cannot break up another secret.
        let mut spans: Vec<(usize, usize)> = self.forms.iter().flat_map(|form| spans_of(message, form)).collect();
        spans.sort_unstable();
        let mut redacted = String::with_capacity(message.len());
        let mut done = 0;
        for (start, end) in spans {
            if start > done || redacted.is_empty() {
                redacted.push_str(message.get(done..start).unwrap_or_default());
                redacted.push_str(MASK);
            }
            done = done.max(end);
        }
        redacted.push_str(message.get(done..).unwrap_or_default());
        redacted
    }
}

/// Where a form stands in a message, overlaps included, as byte positions.
fn spans_of(message: &str, form: &str) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    let mut from = 0;
    while let Some(at) = message.get(from..).and_then(|rest| rest.find(form)) {
        let (start, end) = (from + at, from + at + form.len());
        let alone = || {
            let word = |c: char| c.is_alphanumeric();
            !message.get(..start).is_some_and(|before| before.ends_with(word))
                && !message.get(end..).is_some_and(|after| after.starts_with(word))
        };
        if form.len() >= ENCODED_FROM || alone() {
            spans.push((start, end));
        }
        from = start
            + message
                .get(start..)
                .and_then(|rest| rest.chars().next())
                .map_or(1, char::len_utf8);
    }
    if form.len() > ENCODED_FROM {
        let cut = (ENCODED_FROM..form.len()).rev();
        let cut = cut
            .filter_map(|bytes| form.get(..bytes))
            .find(|begin| message.ends_with(begin));
        spans.extend(cut.map(|begin| (message.len() - begin.len(), message.len())));
    }
    spans
}

/// The ways in which a secret may come back.
fn forms_of(secret: &str) -> Vec<String> {
    let mut texts = vec![secret, secret.trim()];
    texts.extend(secret.lines().map(str::trim).filter(|line| line.len() >= 8));
    texts.dedup();
    let mut forms = Vec::new();
    for text in texts {
        forms.push(text.to_owned());
        if text.len() >= ENCODED_FROM {
            forms.extend(json(text));
            forms.extend(url_encoded(text));
            forms.extend(base64(text));
        }
    }
    forms
}

fn json(text: &str) -> Option<String> {
    let quoted = serde_json::to_string(text).ok()?;
    Some(quoted.strip_prefix('"')?.strip_suffix('"')?.to_owned())
}

/// Percent-encoding as RFC 3986 and as HTML forms do it, with both cases of hexadecimal digits.
fn url_encoded(text: &str) -> Vec<String> {
    let form: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    let mut percent = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            percent.push(char::from(byte));
        } else {
            let _ = write!(percent, "%{byte:02X}");
        }
    }
    vec![lower_escapes(&form), lower_escapes(&percent), form, percent]
}

fn lower_escapes(text: &str) -> String {
    let mut left = 0_u8;
    text.chars()
        .map(|c| {
            left = if c == '%' { 3 } else { left };
            let in_escape = left > 0;
            left = left.saturating_sub(1);
            if in_escape { c.to_ascii_lowercase() } else { c }
        })
        .collect()
}

/// Base64 of the whole text, and what is the same in every base64 text that holds it behind 0, 1 or 2 other bytes.
fn base64(text: &str) -> Vec<String> {
    let mut forms = Vec::new();
    for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
        forms.push(engine.encode(text));
        for before in 0..3_usize {
            let bytes: Vec<u8> = std::iter::repeat_n(0, before).chain(text.bytes()).collect();
            let encoded = engine.encode(&bytes);
            // A digit holds six bits: the outer ones hold bits of the neighbours too.
            let (first, shared) = ((before * 8).div_ceil(6), usize::from(!bytes.len().is_multiple_of(3)));
            let inner = encoded.get(first..encoded.len() - shared);
            forms.extend(inner.filter(|inner| inner.len() >= 6).map(str::to_owned));
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use proptest::{collection, prelude::*};

    use super::*;

    fn redactor(secrets: &[&str]) -> Redactor {
        let secrets: Vec<Sensitive> = secrets.iter().map(|text| Sensitive::new(*text)).collect();
        Redactor::new(&secrets)
    }

    #[test]
    fn secrets_go_in_every_form() {
        let secret = "p@ss wörd/+\"1";
        let redactor = redactor(&[secret]);
        for form in [
            secret.to_owned(),
            "p%40ss%20w%C3%B6rd%2F%2B%221".to_owned(),
            "p%40ss%20w%c3%b6rd%2f%2b%221".to_owned(),
            "p%40ss+w%C3%B6rd%2F%2B%221".to_owned(),
            "p@ss wörd/+\\\"1".to_owned(),
            STANDARD_NO_PAD.encode(secret),
            URL_SAFE_NO_PAD.encode(secret),
        ] {
            assert_eq!(redactor.redact(&format!("a {form} b {form}")), "a *** b ***", "{form}");
        }
        let basic = STANDARD.encode(format!("user:{secret}"));
        let left = redactor.redact(&basic);
        assert!(left.contains(MASK) && left.len() <= MASK.len() + 12, "{basic} {left}");
    }

    #[test]
    fn overlapping_secrets_go_as_a_whole() {
        let redactor = redactor(&["abcdef", "defghi", "zz-zz"]);
        assert_eq!(redactor.redact("1abcdefghi2"), "1***2");
        assert_eq!(redactor.redact("zz-zz-zz"), "***");
        assert_eq!(redactor.redact("abcdefabcdef"), "***");
    }

    #[test]
    fn a_short_secret_goes_where_it_stands_alone() {
        let redactor = redactor(&["7", "ab"]);
        assert_eq!(redactor.redact("7 of 17, ab, cab: 7"), "*** of 17, ***, cab: ***");
    }

    #[test]
    fn line_breaks_and_cuts_do_not_help() {
        let redactor = redactor(&["hunter2hunter2\n", "-----BEGIN KEY-----\nMIIEvQIBADAN\n"]);
        assert_eq!(redactor.redact("pw=hunter2hunter2."), "pw=***.");
        assert_eq!(redactor.redact("MIIEvQIBADAN"), "***");
        assert_eq!(redactor.redact("pw=hunter2hun"), "pw=***");
        assert_eq!(redactor.redact("pw=hun"), "pw=hun");
    }

    #[test]
    fn nothing_else_is_touched() {
        assert_eq!(redactor(&["hunter2"]).redact("all is well ***"), "all is well ***");
        assert_eq!(redactor(&["", "\n"]).redact("all\nis well"), "all\nis well");
        assert!(redactor(&[""]).is_empty());
        assert_eq!(format!("{:?}", redactor(&["ab"])), "Redactor(1 forms)");
    }

    proptest! {
        #[test]
        fn no_secret_survives(
            secrets in collection::vec("[a-c%+é ]{4,9}", 1..4),
            order in collection::vec((0_usize..4, "[a-c ]{0,3}"), 0..6),
        ) {
            let redactor = redactor(&secrets.iter().map(String::as_str).collect::<Vec<_>>());
            let parts = order.iter().flat_map(|(at, between)| [secrets.get(*at).unwrap_or(between), between]);
            let text: String = parts.map(String::as_str).collect();
            let redacted = redactor.redact(&text);
            for secret in secrets.iter().filter(|secret| !secret.trim().is_empty()) {
                prop_assert!(!redacted.contains(secret.as_str()), "{} in {}", secret, redacted);
            }
        }

        #[test]
        fn base64_of_a_longer_text_hides_it(before in "[a-z:]{0,5}", secret in "[A-Za-z0-9]{8,20}", after in "[a-z@]{0,5}") {
            let redactor = redactor(&[&secret]);
            for engine in [STANDARD, URL_SAFE] {
                let encoded = engine.encode(format!("{before}{secret}{after}"));
                let redacted = redactor.redact(&encoded);
                prop_assert!(redacted.contains(MASK), "{} {}", encoded, redacted);
                let kept = redacted.len() - MASK.len();
                prop_assert!(kept <= (before.len() + after.len()) * 4 / 3 + 8, "{} {}", encoded, redacted);
            }
        }
    }
}
