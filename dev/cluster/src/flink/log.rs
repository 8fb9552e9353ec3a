//! What the JobManager's log proves.

/// A submission that the Dispatcher accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The job's id, 32 hexadecimal digits.
    pub job_id: String,
    /// The job's name.
    pub job_name: String,
}

/// The accepted submissions in a JobManager's log, in order.
///
/// `Dispatcher` writes `Submitting job 'NAME' (ID)` once for each, after its check for duplicates, on all versions;
/// 2.x goes on with ` with associated application (ID)`. `Received job submission` (`Received JobGraph submission` in
/// 1.20) stands before that check, so it is written for refused ones as well.
pub(super) fn submissions(log: &str) -> Vec<Submission> {
    log.lines().filter_map(submission).collect()
}

pub(super) fn submission(line: &str) -> Option<Submission> {
    let (before, after) = line.split_once("Submitting job '")?;
    let after = after.trim_end().trim_end_matches('.');
    let job = after
        .rsplit_once(") with associated application (")
        .map_or(after, |(job, _)| job);
    let (job_name, job_id) = job.trim_end_matches(')').rsplit_once("' (")?;
    let told_by_dispatcher = before.contains("Dispatcher");
    let is_id = job_id.len() == 32 && job_id.bytes().all(|byte| byte.is_ascii_hexdigit());
    (told_by_dispatcher && is_id).then(|| Submission {
        job_id: job_id.to_owned(),
        job_name: job_name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISPATCHER: &str = "runtime.dispatcher.StandaloneDispatcher    ";
    const ID: &str = "feedbeef000000000000000000000014";

    #[test]
    fn finds_what_was_accepted_on_each_version() {
        let line =
            |class: &str, said: &str| format!("2026-06-01 06:27:32,048 INFO  org.apache.flink.{class} [] - {said}\n");
        let log = [
            line(
                "client.deployment.application.executors.EmbeddedExecutor",
                &format!("Submitting Job with JobId={ID}."),
            ),
            line(DISPATCHER, &format!("Received JobGraph submission 'one' ({ID}).")),
            line(DISPATCHER, &format!("Submitting job 'it's (one)' ({ID}).")),
            line(
                DISPATCHER,
                &format!("Submitting application 'SingleJobApplication(two)' ({ID})."),
            ),
            line(
                DISPATCHER,
                &format!("Submitting job 'two' ({ID}) with associated application ({ID})."),
            ),
        ]
        .concat();
        let names: Vec<String> = submissions(&log).into_iter().map(|one| one.job_name).collect();
        assert_eq!(names, ["it's (one)", "two"]);
        assert!(submissions(&log).iter().all(|one| one.job_id == ID));
    }
}
