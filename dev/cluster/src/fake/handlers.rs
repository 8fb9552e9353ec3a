//! What the fake does with a request.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Shared,
    endpoints::Endpoint,
    faults::Reply,
    job::{Id, Job, State},
    jobmanager::{JobManager, uuid},
    printed::{Refusal, missing_savepoint},
    program::{Main, Program},
    record::Submission,
    replies,
    settings::Settings,
    snapshots,
    storage::not_there,
    upload::Upload,
};

/// The body of `POST /jars/:jarid/run`. Names that are not here are skipped, as Flink does: a typing error in `jobId`
/// starts a job with a random id.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RunBody {
    job_id: Option<String>,
    entry_class: Option<String>,
    program_args_list: Option<Vec<String>>,
    parallelism: Option<i64>,
    flink_configuration: Option<BTreeMap<String, String>>,
    savepoint_path: Option<String>,
}

/// What came with a request.
pub(super) enum Body {
    Bytes(Bytes),
    Jar(Upload),
}

pub(super) type Handled = Result<Value, Refusal>;

/// Handles a request to its end, whether or not anybody waits for the answer.
pub(super) async fn handle(shared: Arc<Shared>, method: String, path: String, endpoint: Endpoint, body: Body) -> Reply {
    if *shared.unavailable.borrow() {
        let told = "Service temporarily unavailable due to an ongoing leader election. Please refresh.";
        return refused(Refusal::plain(503, told.to_owned()));
    }
    let accepted = endpoint.is_accepted_first();
    let disabled = !shared.jobmanager.lock().options.submission_enabled;
    let handled = match endpoint {
        Endpoint::Root => return Reply::html(200),
        Endpoint::JobsOverview => {
            let body = reading(&shared, |jm, now| jm.overview(|jm| replies::jobs_overview(jm, now)));
            return Reply::garbage(200, body);
        }
        Endpoint::UploadJar if disabled => Err(Refusal::plain(400, "POST request not allowed".to_owned())),
        Endpoint::Jars | Endpoint::RunJar(_) | Endpoint::DeleteJar(_) if disabled => Err(no_route(&method, &path)),
        Endpoint::Unknown => Err(no_route(&method, &path)),
        Endpoint::Config => Ok(reading(&shared, |jm, _| replies::config(jm))),
        Endpoint::Overview => Ok(reading(&shared, |jm, now| replies::overview(jm, now))),
        Endpoint::JobManagerConfig => Ok(reading(&shared, |jm, _| replies::jobmanager_config(jm))),
        Endpoint::Job(id) => of_job(&shared, &id, replies::job),
        Endpoint::JobExceptions(id) => of_job(&shared, &id, replies::exceptions),
        Endpoint::JobCheckpoints(id) => of_job(&shared, &id, snapshots::checkpoints),
        Endpoint::CheckpointConfig(id) => of_job(&shared, &id, snapshots::checkpoint_config),
        Endpoint::Savepoint(id) => snapshots::trigger(&shared, &id, &body, false),
        Endpoint::Stop(id) => snapshots::trigger(&shared, &id, &body, true),
        Endpoint::SavepointStatus(id, trigger) => snapshots::savepoint_status(&shared, &id, &trigger),
        Endpoint::Dispose => snapshots::dispose(&shared, &body),
        Endpoint::DisposalStatus(trigger) => snapshots::disposal_status(&shared, &trigger),
        Endpoint::JobStatus(id) => status(&shared, &id),
        Endpoint::CancelJob(id) => cancel(&shared, &id),
        Endpoint::Jars => Ok(reading(&shared, |jm, _| replies::jars(jm))),
        Endpoint::UploadJar => upload(&shared, body),
        Endpoint::DeleteJar(id) => delete_jar(&shared, &id),
        Endpoint::RunJar(jar) => run(&shared, &jar, &body).await,
    };
    match handled {
        Ok(value) => Reply::json(if accepted { 202 } else { 200 }, value.to_string()),
        Err(refusal) => refused(refusal),
    }
}

fn refused(refusal: Refusal) -> Reply {
    Reply::json(refusal.status, refusal.body)
}

fn no_route(method: &str, path: &str) -> Refusal {
    let told = if method == "GET" {
        format!("Unable to load requested file {path}.")
    } else {
        format!("Not found: {path}")
    };
    Refusal::plain(404, told)
}

/// Runs under the lock, with everything up to date.
pub(super) fn reading<T>(shared: &Shared, read: impl FnOnce(&mut JobManager, Instant) -> T) -> T {
    let now = Instant::now();
    let mut jm = shared.jobmanager.lock();
    jm.advance(now);
    read(&mut jm, now)
}

pub(super) fn job_id(text: &str) -> Result<Id, Refusal> {
    let told = format!(
        "Bad request, could not parse parameters: Cannot resolve path parameter (jobid) from value \"{text}\"."
    );
    text.parse().map_err(|()| Refusal::handler(400, &told))
}

fn of_job(shared: &Shared, id: &str, reply: fn(&JobManager, &Job, Instant) -> Value) -> Handled {
    let key = job_id(id)?;
    reading(shared, |jm, now| {
        let job = jm.process.jobs.get(&key).ok_or_else(|| Refusal::job_not_found(id))?;
        Ok(reply(jm, job, now))
    })
}

fn status(shared: &Shared, id: &str) -> Handled {
    let key = job_id(id)?;
    let state = reading(shared, |jm, now| jm.process.jobs.get(&key).map(|job| job.state(now)));
    let unknown =
        format!("org.apache.flink.runtime.messages.FlinkJobNotFoundException: Could not find Flink job ({id})");
    state
        .map(|state| json!({"status": state.word()}))
        .ok_or_else(|| Refusal::internal(&unknown))
}

fn cancel(shared: &Shared, id: &str) -> Handled {
    let key = job_id(id)?;
    reading(shared, |jm, now| {
        let state = jm.process.jobs.get(&key).map(|job| job.state(now));
        match state.ok_or_else(|| Refusal::handler(404, "Job could not be found."))? {
            State::Canceled | State::Cancelling => Ok(json!({})),
            state @ (State::Finished | State::Failed) => {
                let told = "Job cancellation failed because the job has already reached another terminal state";
                Err(Refusal::handler(409, &format!("{told} ({}).", state.word())))
            }
            State::Initializing | State::Created | State::Running | State::Restarting => {
                jm.cancel(key, now);
                Ok(json!({}))
            }
        }
    })
}

fn upload(shared: &Shared, body: Body) -> Handled {
    let Body::Jar(Upload { name, jar }) = body else {
        return Err(Refusal::handler(400, "Exactly 1 file must be sent, received 0."));
    };
    if name.strip_suffix(".jar").is_none() {
        return Err(Refusal::handler(400, "Only Jar files are allowed."));
    }
    reading(shared, |jm, _| {
        let id = format!("{}_{name}", uuid(super::jobmanager::random()));
        let filename = format!("{}/{id}", replies::upload_folder(jm));
        jm.process.jars.insert(id, jar);
        Ok(json!({"filename": filename, "status": "success"}))
    })
}

fn delete_jar(shared: &Shared, id: &str) -> Handled {
    reading(shared, |jm, _| {
        let folder = replies::upload_folder(jm);
        let missing = || Refusal::handler(400, &format!("File {id} does not exist in {folder}."));
        jm.process.jars.remove(id).map(|_| json!({})).ok_or_else(missing)
    })
}

/// `JarRunHandler`: looks for the jar, runs `main()`, and answers when the job that it submitted is initialized.
async fn run(shared: &Shared, jar_id: &str, body: &Body) -> Handled {
    let malformed = || Refusal::handler(400, "Request did not match expected format JarRunRequestBody.");
    let Body::Bytes(bytes) = body else {
        return Err(malformed());
    };
    let run: RunBody = match bytes.len() {
        0 => RunBody::default(),
        _ => serde_json::from_slice(bytes).map_err(|_| malformed())?,
    };
    let id = run
        .job_id
        .as_deref()
        .map(|id| id.parse().map_err(|()| malformed()))
        .transpose()?;
    let args = run.program_args_list.clone().unwrap_or_default();
    let main = Main::read(run.entry_class.as_deref(), &args);
    let id = reading(shared, |jm, _| {
        check_jar(jm, jar_id)?;
        if main.program == Program::Missing {
            let class = run.entry_class.as_deref().unwrap_or_default();
            let told = "org.apache.flink.client.program.ProgramInvocationException: The program's entry point class";
            return Err(Refusal::internal(&format!(
                "{told} '{class}' was not found in the jar file."
            )));
        }
        jm.record.main_calls += 1;
        Ok(id.unwrap_or_else(|| jm.random_id()))
    })?;
    if let Some(sleeps) = main.sleeps {
        tokio::time::sleep(sleeps).await;
    }
    let initializing = reading(shared, |jm, now| submit(jm, now, jar_id, id, &run, &main))?;
    tokio::time::sleep(initializing).await;
    let is_1x = shared.jobmanager.lock().options.is_1x();
    // The client's environment refuses its second `execute`. In another environment, 1.x leaves the program unharmed
    // and 2.x submits, and refuses the second job as a duplicate of the first.
    if main.program == Program::ExecutesTwice {
        Err(Refusal::second_execute(is_1x))
    } else if main.program == Program::UsesTwoEnvironments && !is_1x {
        Err(Refusal::duplicate("second", false))
    } else if main.program == Program::ThrowsAfterExecute {
        Err(Refusal::program(
            "main throws after execute",
            &["java.lang.IllegalStateException: main throws after execute"],
        ))
    } else if is_1x {
        Ok(json!({"jobid": id.to_string()}))
    } else {
        Ok(json!({"jobid": id.to_string(), "applicationId": id.to_string()}))
    }
}

fn check_jar(jm: &JobManager, jar_id: &str) -> Result<(), Refusal> {
    let path = format!("{}/{jar_id}", replies::upload_folder(jm));
    let rest = "org.apache.flink.runtime.rest.handler.RestHandlerException";
    let invocation = "org.apache.flink.client.program.ProgramInvocationException";
    let jar = jm.process.jars.get(jar_id);
    let jar = jar.ok_or_else(|| Refusal::internal(&format!("{rest}: Jar file {path} does not exist")))?;
    if jar.is_zip {
        Ok(())
    } else {
        Err(Refusal::internal(&format!(
            "{invocation}: Error while opening jar file '{path}'"
        )))
    }
}

/// What `execute` does. Returns how long the job takes to be initialized.
fn submit(
    jm: &mut JobManager,
    now: Instant,
    jar_id: &str,
    id: Id,
    run: &RunBody,
    main: &Main,
) -> Result<Duration, Refusal> {
    let illegal = |what: &str| Refusal::program(what, &[&format!("java.lang.IllegalArgumentException: {what}")]);
    if main.program == Program::Throws {
        return Err(illegal("main throws on purpose"));
    } else if main.program == Program::NeverExecutes {
        return Err(Refusal::handler(400, "No jobs included in application."));
    }
    let parallelism = run.parallelism.unwrap_or(1);
    let parallelism = u32::try_from(parallelism).ok().filter(|n| *n > 0).ok_or_else(|| {
        illegal("Parallelism must be at least one, or ExecutionConfig.PARALLELISM_DEFAULT (use system default).")
    })?;
    if jm.is_duplicate(id) {
        return Err(Refusal::duplicate(&main.job_name, jm.options.is_1x()));
    }
    let mut job = Job::new(
        id,
        main.job_name.clone(),
        parallelism,
        main.program,
        run.savepoint_path.clone(),
    );
    let configuration = run.flink_configuration.clone().unwrap_or_default();
    job.settings = Settings::read(&configuration, run.entry_class.as_deref(), main, jm.options.is_1x());
    jm.record.submissions.push(Submission {
        job_id: id.to_string(),
        time: Timestamp::now(),
        jar_id: jar_id.to_owned(),
        entry_class: run.entry_class.clone(),
        args: run.program_args_list.clone().unwrap_or_default(),
        flink_configuration: configuration,
        savepoint_path: run.savepoint_path.clone(),
        parallelism,
    });
    let unreadable = run.savepoint_path.as_deref().and_then(|path| {
        let absent = path.contains("missing").then(|| not_there(path));
        absent.or_else(|| jm.unreadable(path, now))
    });
    if let Some(root) = unreadable {
        let causes = missing_savepoint(root);
        jm.accept_failed(job, &causes, now);
        let main_error = format!("Failed to execute job '{}'.", main.job_name);
        return Err(Refusal::program(&main_error, &causes.each_ref().map(String::as_str)));
    }
    if let Some(path) = &run.savepoint_path {
        job.restore(jm.restore(path, now));
    }
    jm.accept(job, now);
    Ok(jm.options.initializing)
}
