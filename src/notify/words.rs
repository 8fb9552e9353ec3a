//! The words of `spec.notifications[].on`.

use std::collections::BTreeSet;

use super::{Target, place::Place};
use crate::api::{Reason, job::Notification};

/// A word that a user may list, and what it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// The word.
    pub word: &'static str,
    /// When a notification is sent for it.
    pub meaning: &'static str,
    reasons: &'static [Reason],
}

const fn word(word: &'static str, meaning: &'static str, reasons: &'static [Reason]) -> Word {
    Word { word, meaning, reasons }
}

/// All words. No reason stands behind two of them, so that nobody is told twice.
pub const WORDS: &[Word] = &[
    word("Running", "the job was started and runs", &[Reason::Running]),
    word(
        "Restarting",
        "the job failed and is started again",
        &[Reason::Restarting],
    ),
    word(
        "Recovered",
        "the job runs again after it had failed, was lost or could not be seen",
        &[Reason::Recovered],
    ),
    word("Finished", "the job ended by itself, with success", &[Reason::Finished]),
    word(
        "Failed",
        "the job ended with an error, or Flink refused to start it",
        &[Reason::JobFailed, Reason::SubmissionRejected],
    ),
    word("Lost", "the cluster no longer knows the job", &[Reason::JobLost]),
    word(
        "RestartsExhausted",
        "the job failed and is not started again: its restart budget is used up",
        &[Reason::RestartsExhausted],
    ),
    word("Suspended", "the job was suspended as asked", &[Reason::Suspended]),
    word(
        "Cancelled",
        "the job was cancelled, as asked or by someone in Flink",
        &[Reason::Cancelled],
    ),
    word("SavepointCompleted", "a savepoint is complete", &[Reason::Completed]),
    word("SavepointFailed", "a savepoint failed", &[Reason::SavepointFailed]),
    word(
        "StateNotFound",
        "the state that the job was to start from does not exist",
        &[Reason::StateNotFound],
    ),
    word(
        "StateUnknown",
        "what runs, or its state, cannot be known",
        &[Reason::StateUnknown],
    ),
    word(
        "ResultUnknown",
        "it cannot be known whether a submission ran",
        &[Reason::ResultUnknown],
    ),
    word(
        "ClusterUnreachable",
        "the cluster does not answer, or does not exist",
        &[Reason::ClusterUnreachable, Reason::ClusterNotFound],
    ),
    word(
        "Refused",
        "the spec cannot be run as it is",
        &[
            Reason::InvalidSpec,
            Reason::UndefinedVariable,
            Reason::ReferenceNotFound,
            Reason::ConfigurationDenied,
            Reason::UpgradeModeUnsupported,
        ],
    ),
    word(
        "ArtifactFailed",
        "the jar could not be fetched, or is not the right one",
        &[
            Reason::ArtifactNotFound,
            Reason::ArtifactForbidden,
            Reason::ArtifactTooLarge,
            Reason::ChecksumMismatch,
        ],
    ),
    word("DeletionBlocked", "a deletion waits", &[Reason::DeletionBlocked]),
    word(
        "JobMayStillRun",
        "the resource was released although its job may still run",
        &[Reason::JobMayStillRun],
    ),
];

fn find(word: &str) -> Option<&'static Word> {
    WORDS.iter().find(|known| known.word == word)
}

/// Checks the entries of `spec.notifications`, as far as the spec alone tells. [`super::NotifyPolicy::check`] asks for the
/// administrator's consent as well.
///
/// # Errors
/// A sentence that names the entry and says what to do. It does not repeat the address, which may hold a token.
pub fn check(notifications: &[Notification]) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for entry in notifications {
        let name = entry.name.as_str();
        if !names.insert(name) {
            return Err(format!("spec.notifications has two entries named {name:?}; rename one"));
        }
        check_entry(entry).map_err(|why| format!("spec.notifications, entry {name:?}: {why}"))?;
    }
    Ok(())
}

fn check_entry(entry: &Notification) -> Result<(), String> {
    Place::of(entry)?;
    let unknown = entry.on.iter().find(|word| find(word).is_none());
    if entry.on.is_empty() || unknown.is_some() {
        let words: Vec<&str> = WORDS.iter().map(|word| word.word).collect();
        let what = unknown.map_or_else(
            || "on is empty, so that nothing would be sent".to_owned(),
            |word| format!("on has the unknown word {word:?}"),
        );
        return Err(format!("{what}; list some of {}", words.join(", ")));
    }
    Ok(())
}

/// Who is to be told about a reason. Entries that [`check`] refuses are left out.
#[must_use]
pub fn targets(notifications: &[Notification], reason: Reason) -> Vec<Target> {
    let wants = |entry: &&Notification| {
        let mut words = entry.on.iter().filter_map(|word| find(word));
        words.any(|word| word.reasons.contains(&reason))
    };
    let target = |entry: &Notification| {
        let place = Place::of(entry).ok()?;
        let name = entry.name.clone();
        Some(Target { name, place })
    };
    notifications.iter().filter(wants).filter_map(target).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::job::SecretKeyRef;

    fn entry(name: &str, url: &str, on: &[&str]) -> Notification {
        Notification {
            name: name.to_owned(),
            url: Some(url.to_owned()),
            url_secret_ref: None,
            on: on.iter().map(|&word| word.to_owned()).collect(),
        }
    }

    #[test]
    fn words_and_reasons_are_told_apart() {
        let mut reasons = BTreeSet::new();
        let mut words = BTreeSet::new();
        for word in WORDS {
            assert!(words.insert(word.word.to_lowercase()), "{} comes twice", word.word);
            assert!(!word.reasons.is_empty());
            for reason in word.reasons {
                assert!(reasons.insert(reason), "{reason} stands behind two words");
                // A word that is a reason means that reason.
                assert!(
                    Reason::ALL
                        .iter()
                        .all(|other| other.as_str() != word.word || word.reasons.contains(other))
                );
            }
        }
        for word in [
            "Failed",
            "RestartsExhausted",
            "Lost",
            "Recovered",
            "Finished",
            "Suspended",
        ] {
            assert!(find(word).is_some(), "{word}");
        }
    }

    #[test]
    fn those_are_told_who_listed_the_word() {
        let entries = [
            entry("a", "https://a.example/", &["Failed", "Lost"]),
            entry("b", "https://b.example/", &["Finished"]),
            entry("c", "ftp://c.example/", &["Failed"]),
            entry("d", "https://d.example/", &["Failed", "Failed"]),
        ];
        let told = |reason| -> String {
            targets(&entries, reason)
                .into_iter()
                .map(|target| target.name)
                .collect()
        };
        for (reason, expected) in [
            (Reason::JobFailed, "ad"),
            (Reason::SubmissionRejected, "ad"),
            (Reason::JobLost, "a"),
            (Reason::Finished, "b"),
            (Reason::Running, ""),
            (Reason::Accepted, ""),
        ] {
            assert_eq!(told(reason), expected, "{reason}");
        }
    }

    #[test]
    fn what_is_refused_names_its_entry_and_no_address() {
        let secret = || {
            Some(SecretKeyRef {
                name: "hooks".to_owned(),
                key: "url".to_owned(),
            })
        };
        let good = entry("a", "https://a.example/t0ken?x=t0ken", &["Failed"]);
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(
            check(&[good.clone(), entry("b", "http://b.example", &["Lost", "Failed"])]),
            Ok(())
        );
        let of_secret = Notification {
            url: None,
            url_secret_ref: secret(),
            ..good.clone()
        };
        assert_eq!(check(&[of_secret]), Ok(()));
        let url = |url: &str| entry("a", url, &["Failed"]);
        for (bad, part) in [
            (vec![good.clone(), good.clone()], "two entries named \"a\""),
            (
                vec![Notification {
                    url_secret_ref: secret(),
                    ..good.clone()
                }],
                "exactly one of url and urlSecretRef",
            ),
            (
                vec![Notification {
                    url: None,
                    ..good.clone()
                }],
                "exactly one of url and urlSecretRef",
            ),
            (
                vec![entry("a", "https://a.example/", &[])],
                "nothing would be sent; list some of Running, ",
            ),
            (
                vec![entry("a", "https://a.example/", &["Failed", "failed"])],
                "unknown word \"failed\"; list some of Running, ",
            ),
            (vec![url("https://u:t0ken@a.example/")], "user info"),
            (vec![url("https://a.example/t0ken#x")], "fragment"),
            (vec![url("https://a.example/t0ken/%2e%2e/x")], "path segment"),
            (vec![url("https://a.example\\@b/t0ken")], "backslash"),
            (vec![url("ftp://a.example/t0ken")], "not an https://"),
            (vec![url("s3://bucket/t0ken")], "not an https://"),
            (vec![url("file:///t0ken")], "not an https://"),
            (vec![url("t0ken")], "not an https://"),
            (vec![url("https:///t0ken")], "not a complete URL"),
            (vec![url("")], "2048 bytes"),
        ] {
            let why = check(&bad).expect_err(part);
            assert!(
                why.starts_with("spec.notifications") && why.contains("\"a\"") && why.contains(part),
                "{why}"
            );
            assert!(!why.contains("t0ken"), "{why}");
        }
    }
}
