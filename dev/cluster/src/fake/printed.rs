//! Errors as Flink writes them: its error body, with Java exceptions as they are printed, stack frames and all.

use serde_json::json;

use super::job::Id;

/// `RestHandlerException`, the handlers' own.
const REST: &str = "org.apache.flink.runtime.rest.handler.RestHandlerException";
/// Frames for each exception. Real ones have 3 to 50; readers must cope with them.
const FRAMES: &str = "\n\tat org.apache.flink.runtime.rest.handler.AbstractRestHandler.respondToRequest(AbstractRestHandler.java:83)\
    \n\tat java.base/java.util.concurrent.CompletableFuture.postComplete(CompletableFuture.java:510)\
    \n\tat java.base/java.lang.Thread.run(Thread.java:840)";

/// A status and the body with it.
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) body: String,
}

impl Refusal {
    fn new(status: u16, errors: &[String]) -> Self {
        Self {
            status,
            body: json!({ "errors": errors }).to_string(),
        }
    }

    /// A refusal in one sentence, as the router and the file server write it.
    pub(super) fn plain(status: u16, message: String) -> Self {
        Self::new(status, &[message])
    }

    /// A refusal by a handler itself.
    pub(super) fn handler(status: u16, message: &str) -> Self {
        Self::new(status, &[printed(&[format!("{REST}: {message}")])])
    }

    /// An exception that a handler did not expect: always 500.
    pub(super) fn internal(cause: &str) -> Self {
        let chain = printed(&[
            format!("java.util.concurrent.CompletionException: {cause}"),
            cause.to_owned(),
        ]);
        let told = format!("<Exception on server side:\n{chain}\nEnd of exception on server side>");
        Self::new(500, &["Internal server error.".to_owned(), told])
    }

    /// `main()` or what it submitted ended with an error.
    pub(super) fn program(main_error: &str, causes: &[&str]) -> Self {
        let wrapper = "org.apache.flink.util.FlinkRuntimeException: Could not execute application.";
        let mut chain = vec![
            format!("{REST}: Could not execute application."),
            format!("java.util.concurrent.CompletionException: {wrapper}"),
            wrapper.to_owned(),
            format!(
                "org.apache.flink.client.program.ProgramInvocationException: The main method caused an error: {main_error}"
            ),
        ];
        chain.extend(causes.iter().map(|&cause| cause.to_owned()));
        Self::new(400, &[printed(&chain)])
    }

    /// The job exists, or existed, in this process.
    pub(super) fn duplicate(job_name: &str, is_1x: bool) -> Self {
        let what = if is_1x { "Job" } else { "Application" };
        let main_error = format!("Failed to execute job '{job_name}'.");
        let causes = [
            format!("org.apache.flink.util.FlinkException: {main_error}"),
            format!(
                "org.apache.flink.runtime.client.Duplicate{what}SubmissionException: {what} has already been submitted."
            ),
        ];
        Self::program(&main_error, &causes.each_ref().map(String::as_str))
    }

    /// `execute` was called a second time in one environment.
    pub(super) fn second_execute(is_1x: bool) -> Self {
        let what = if is_1x {
            "one execute() or executeAsync() call"
        } else {
            "1 streaming jobs"
        };
        let told = format!("Cannot have more than {what} in a single environment.");
        Self::program(
            &told,
            &[&format!("org.apache.flink.util.FlinkRuntimeException: {told}")],
        )
    }

    /// A trigger that the process does not know.
    pub(super) fn trigger_not_found(trigger: Id, job: Option<Id>) -> Self {
        let told = match job {
            Some(job) => {
                return Self::handler(
                    404,
                    &format!("There is no savepoint operation with triggerId={trigger} for job {job}."),
                );
            }
            None => "org.apache.flink.runtime.rest.handler.async.OperationKey@46bafe63",
        };
        let told = format!("org.apache.flink.runtime.rest.NotFoundException: Operation not found under key: {told}");
        Self::new(404, &[printed(&[told])])
    }

    pub(super) fn job_not_found(id: &str) -> Self {
        let chain = [
            format!("org.apache.flink.runtime.rest.NotFoundException: Job {id} not found"),
            format!("org.apache.flink.runtime.messages.FlinkJobNotFoundException: Could not find Flink job ({id})"),
        ];
        Self::new(404, &[printed(&chain)])
    }
}

/// Prints a chain of exceptions, outermost first.
pub(super) fn printed(chain: &[String]) -> String {
    let lines: Vec<String> = chain.iter().map(|cause| format!("{cause}{FRAMES}\n")).collect();
    lines.join("Caused by: ")
}

/// The exception with which a job fails whose task threw `cause`, without restarts.
pub(super) fn task_failure(cause: &str) -> String {
    let outer = "org.apache.flink.runtime.JobException: Recovery is suppressed by NoRestartBackoffTimeStrategy";
    printed(&[outer.to_owned(), cause.to_owned()])
}

/// The chain with which a submission from a missing savepoint ends.
pub(super) fn missing_savepoint(root: String) -> [String; 2] {
    let outer = "org.apache.flink.runtime.client.JobInitializationException: Could not start the JobMaster.";
    [outer.to_owned(), root]
}

/// The exception with which a job that could not be initialized fails.
pub(super) fn initialization_failure(causes: &[String]) -> String {
    printed(causes)
}
