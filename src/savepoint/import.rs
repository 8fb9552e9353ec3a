//! A savepoint that is there already is registered.

use super::{
    Metadata, Observed, Plan, Wants, settled,
    trigger::LOOK_AGAIN,
    verdict::{Verdict, stands, tell},
};
use crate::{
    api::{Reason, SavepointPhase},
    flink::{InvalidPath, StatePath},
    job::{Refusal, after},
};

/// The rule.
pub(super) fn rule(o: &Observed<'_>) -> Option<Plan> {
    let existing = o.spec.existing.as_ref()?;
    let path = match checked(o, &existing.path) {
        Ok(path) => path,
        Err(message) => return Some(failed(o, Reason::InvalidSpec, message)),
    };
    if existing.verify == Some(false) {
        return Some(register(
            o,
            &path,
            "registered, and not looked at, as verify: false says",
        ));
    }
    Some(match &o.metadata {
        Metadata::Pending => {
            let wants = Wants {
                metadata: true,
                ..Wants::default()
            };
            stands(o, "import/look").want(wants).at(after(o.now, LOOK_AGAIN))
        }
        Metadata::There => register(o, &path, "registered; its _metadata is there"),
        Metadata::OutOfReach(why) | Metadata::Unreadable(why) => {
            register(o, &path, &format!("registered, and not looked at: {why}"))
        }
        Metadata::Missing => {
            let message = format!(
                "there is no _metadata in {path}: it is no savepoint, or no whole one. Create another Savepoint with the \
                 directory that it is in"
            );
            failed(o, Reason::StateNotFound, message)
        }
    })
}

/// The path, as far as this namespace may name it.
fn checked(o: &Observed<'_>, text: &str) -> Result<StatePath, String> {
    let cannot = |why: &dyn std::fmt::Display| format!("spec.existing.path cannot be used: {why}");
    if !StatePath::has_scheme(text) {
        return Err(cannot(&"it has no scheme; write SCHEME://…"));
    }
    let path: StatePath = text.parse().map_err(|error: InvalidPath| cannot(&error))?;
    if path.names().is_empty() {
        return Err(cannot(&"it names no directory"));
    }
    o.prefixes
        .check(o.meta.namespace, &path)
        .map_err(|outside| cannot(&outside))?;
    Ok(path)
}

fn failed(o: &Observed<'_>, reason: Reason, message: String) -> Plan {
    let verdict = Verdict::stalled(SavepointPhase::Failed, Refusal::new(reason, message));
    tell(o, "import/failed", o.status.clone(), verdict)
}

fn register(o: &Observed<'_>, path: &StatePath, message: &str) -> Plan {
    let mut status = o.status.clone();
    status.path = Some(path.to_string());
    status.job_id = o.meta.made.job_id;
    status.completion_time = o.meta.made.completion_time;
    status.format = o.meta.made.format;
    settled::completed(o, "import/registered", status, message)
}

#[cfg(test)]
mod tests {
    use super::super::{
        Made,
        case::{Case, job_id, start},
    };
    use super::*;
    use crate::api::{
        ConditionStatus, ConditionType, condition, job::SavepointFormat, savepoint_status::SavepointOrigin,
    };

    const PATH: &str = "s3://bucket/savepoints/savepoint-1";

    fn verify(case: &mut Case, verify: bool) {
        case.spec.existing.as_mut().unwrap().verify = Some(verify);
    }

    #[test]
    fn an_import_is_complete_at_once_under_one_spelling() {
        for (text, path) in [
            (PATH, PATH),
            ("s3://bucket//savepoints/savepoint-1/", PATH),
            ("s3://bucket/savepoints/savepoint-1/_metadata", PATH),
            ("file:///a/b", "file:/a/b"),
        ] {
            let mut case = Case::import(text);
            verify(&mut case, false);
            case.persist("import/registered");
            assert_eq!(case.reads(), "Completed/Completed Ready=True");
            let status = &case.status;
            assert_eq!(
                (status.path.as_deref(), status.origin),
                (Some(path), Some(SavepointOrigin::Import))
            );
            assert_eq!((status.job_id, status.completion_time), (None, None));
            let verified = condition::find(&status.conditions, ConditionType::Verified).unwrap();
            assert_eq!(verified.status, ConditionStatus::Unknown);
            assert_eq!(verified.message, "not seen restored yet");
            case.still("settled/keep");
        }
    }

    #[test]
    fn what_the_operator_made_says_so_in_its_labels() {
        let mut case = Case::import(PATH);
        verify(&mut case, false);
        case.made = Made {
            origin: Some(SavepointOrigin::Suspend),
            job_id: Some(job_id()),
            completion_time: Some(start()),
            format: Some(SavepointFormat::Canonical),
        };
        case.settle();
        let status = &case.status;
        assert_eq!(
            (status.origin, status.job_id, status.completion_time, status.format),
            (
                Some(SavepointOrigin::Suspend),
                Some(job_id()),
                Some(start()),
                Some(SavepointFormat::Canonical)
            )
        );
        let mut case = Case::new();
        case.settle();
        assert_eq!(case.status.origin, Some(SavepointOrigin::User));
    }

    #[test]
    fn its_metadata_is_looked_for_where_that_is_possible() {
        let told = |metadata| {
            let mut case = Case::import(PATH);
            case.metadata = metadata;
            case.settle();
            format!("{}: {}", case.reads(), case.message())
        };
        let case = Case::import(PATH);
        assert!(case.still("import/look").wants.metadata);
        assert_eq!(
            told(Metadata::There),
            "Completed/Completed Ready=True: registered; its _metadata is there"
        );
        for metadata in [
            Metadata::OutOfReach("why".to_owned()),
            Metadata::Unreadable("why".to_owned()),
        ] {
            let expected = "Completed/Completed Ready=True: registered, and not looked at: why";
            assert_eq!(told(metadata), expected);
        }
        let missing = told(Metadata::Missing);
        assert!(
            missing.starts_with("Failed/StateNotFound Ready=False Stalled: there is no _metadata in s3://"),
            "{missing}"
        );
        let mut case = Case::import(PATH);
        case.metadata = Metadata::Missing;
        case.settle();
        case.metadata = Metadata::There;
        case.still("settled/over");
    }

    #[test]
    fn a_path_that_may_not_be_named_is_refused() {
        let told = |path: &str, prefix: Option<&str>| {
            let mut case = Case::import(path);
            verify(&mut case, false);
            case.prefixes = prefix
                .map(|prefix| prefix.parse().unwrap())
                .into_iter()
                .collect::<Vec<_>>()
                .into();
            case.settle();
            (case.reads(), case.message().to_owned())
        };
        let invalid = "Failed/InvalidSpec Ready=False Stalled";
        for path in [
            "relative/x",
            "/no/scheme",
            "s3://bucket/a/../b",
            "s3://bucket/a\\b",
            "s3://bucket",
            "s3://k:s@b/x",
        ] {
            let (read, message) = told(path, None);
            assert_eq!(read, invalid, "{path}");
            assert!(message.starts_with("spec.existing.path cannot be used: "), "{message}");
        }
        let (read, message) = told(PATH, Some("team-a=s3://other/"));
        assert_eq!(read, invalid);
        assert!(message.contains("--state-prefix"), "{message}");
        assert_eq!(
            told(PATH, Some("team-a=s3://bucket/savepoints")).0,
            "Completed/Completed Ready=True"
        );
        assert_eq!(
            told(PATH, Some("team-b=s3://other/")).0,
            "Completed/Completed Ready=True"
        );
    }
}
