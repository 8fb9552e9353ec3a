//! From a spec to a program: variables are read and expanded, and the configuration is checked.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt};
use tracing::warn;

use super::{
    context::{API_DEADLINE, Context, Shared},
    job::reference,
    memory::{LoadedProgram, Memory},
};
use crate::{
    api::{
        FlinkSession, FlinkSessionJob, FlinkSessionJobSpec, Reason,
        job::{LocalRef, VariableSource},
    },
    flink::{StatePath, UidHash},
    job::{
        Input, Program, Redactor, Refusal,
        variables::{Template, Variables, expand},
    },
    kubernetes::{ApiError, UsableBy, usable_secret, within},
    state_prefix::StatePrefixes,
};

/// A source of variables that could not be read is read again after this time.
const AGAIN: Duration = Duration::from_secs(10);

/// Configuration keys, and with `*` at the end prefixes of keys, that jobs may not set. CEL refuses them too.
const DENIED: &[&str] = &[
    "high-availability*",
    "rest.*",
    "security.*",
    "kubernetes.*",
    "jobmanager.*",
    "taskmanager.*",
    "$internal.*",
    "env.*",
    "plugin.*",
    "web.*",
    "blob.*",
    "io.tmp.dirs",
    "execution.savepoint.*",
    "execution.state-recovery.*",
    "pipeline.jars",
    "pipeline.classpaths",
];

/// Keys that are allowed and that belong to the cluster: they have no effect on a job of a session.
const CLUSTER_SCOPED: &[&str] = &[
    "cluster.*",
    "akka.*",
    "pekko.*",
    "metrics.*",
    "historyserver.*",
    "jobstore.*",
    "job-result-store.*",
    "application-result-store.*",
    "completed-application-store.*",
    "resourcemanager.*",
    "slotmanager.*",
    "slot.*",
    "heartbeat.*",
    "yarn.*",
    "zookeeper.*",
    "classloader.*",
    "scheduler-mode",
    "process.*",
    "queryable-state.*",
    "user.artifacts.*",
    // Measured on 2.3.0: what the JobManager was started with decides.
    "execution.checkpointing.num-retained",
    "state.checkpoints.num-retained",
];

fn matches(pattern: &str, key: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => key.starts_with(prefix),
        None => key == pattern,
    }
}

/// A credential's key: it belongs to the cluster, where nobody reads it in a resource.
fn is_credential(key: &str) -> bool {
    let lower = key.to_ascii_lowercase();
    let store = (lower.starts_with("s3") || lower.starts_with("fs")) && lower.contains("key");
    store || ["secret", "token", "password"].iter().any(|word| lower.contains(word))
}

/// Checks the keys against the built-in list and the session's.
fn denied(spec: &FlinkSessionJobSpec, session: Option<&FlinkSession>) -> Option<Refusal> {
    let policy = session.and_then(|session| session.spec.job_policy.as_ref());
    let own = policy
        .map(|policy| policy.denied_configuration.as_slice())
        .unwrap_or_default();
    let key = spec.flink_configuration.keys().find(|key| {
        DENIED.iter().any(|pattern| matches(pattern, key))
            || own.iter().any(|pattern| matches(pattern, key))
            || is_credential(key)
    })?;
    let message = format!(
        "spec.flinkConfiguration sets {key}, which jobs on this session may not set; leave it out, or have it set where the \
         cluster is configured"
    );
    Some(Refusal::new(Reason::ConfigurationDenied, message))
}

/// The keys that say where a job puts its state: of 2.x and late 1.x, and of 1.x.
const DIRECTORIES: [&str; 4] = [
    "execution.checkpointing.dir",
    "state.checkpoints.dir",
    "execution.checkpointing.savepoint-dir",
    "state.savepoints.dir",
];

/// Checks that the job's state is put where that of the namespace may be.
fn outside(prefixes: &StatePrefixes, namespace: &str, configuration: &BTreeMap<String, String>) -> Option<Refusal> {
    DIRECTORIES.iter().find_map(|key| {
        let path: Result<StatePath, _> = configuration.get(*key)?.parse();
        let why = match path {
            Ok(path) => prefixes.check(namespace, &path).err()?.to_string(),
            Err(error) => error.to_string(),
        };
        let message = format!("spec.flinkConfiguration sets {key}, and {why}");
        Some(Refusal::new(Reason::ConfigurationDenied, message))
    })
}

/// The keys that cannot take effect.
pub(super) fn ineffective(spec: &FlinkSessionJobSpec) -> Vec<String> {
    let scoped = |key: &&String| CLUSTER_SCOPED.iter().any(|pattern| matches(pattern, key));
    spec.flink_configuration
        .keys()
        .filter(scoped)
        .take(16)
        .cloned()
        .collect()
}

/// The generations that a program was made from.
fn made_from(job: &FlinkSessionJob, session: Option<&FlinkSession>) -> (i64, i64) {
    let session = session
        .and_then(|session| session.metadata.generation)
        .unwrap_or_default();
    (job.metadata.generation.unwrap_or_default(), session)
}

/// The program of a job: from memory, or made at once when all variables are in the spec.
pub(super) fn current(
    ctx: &Context,
    memory: &mut Memory,
    job: &FlinkSessionJob,
    session: Option<&FlinkSession>,
) -> LoadedProgram {
    let made_from = made_from(job, session);
    if let Some(program) = memory.program.as_ref().filter(|program| program.made_from == made_from) {
        return program.clone();
    }
    if job.spec.variables_from.is_empty() {
        let variables =
            Variables::new(&job.spec.variables).map_err(|error| Refusal::new(error.reason(), error.to_string()));
        let program = made(ctx, job, session, variables);
        memory.program = Some(program.clone());
        return program;
    }
    LoadedProgram {
        made_from,
        result: Input::Pending,
        jar_uri: None,
        redactor: Redactor::default(),
        made: Instant::now(),
    }
}

/// Expands and checks.
fn made(
    ctx: &Context,
    job: &FlinkSessionJob,
    session: Option<&FlinkSession>,
    variables: Result<Variables, Refusal>,
) -> LoadedProgram {
    let spec = &job.spec;
    let template = Template {
        job_name: spec.job_name.as_deref(),
        jar_uri: spec.job.jar_uri.as_deref(),
        args: &spec.job.args,
        flink_configuration: &spec.flink_configuration,
    };
    let expanded = denied(spec, session)
        .map_or(Ok(()), Err)
        .and(variables)
        .and_then(|variables| {
            expand(&template, &variables).map_err(|error| Refusal::new(error.reason(), error.to_string()))
        })
        .and_then(|expanded| {
            let namespace = job.namespace().unwrap_or_default();
            outside(&ctx.settings.state_prefixes, &namespace, &expanded.flink_configuration).map_or(Ok(expanded), Err)
        });
    let (result, jar_uri, redactor) = match expanded {
        Err(refusal) => (Input::Refused(refusal), None, Redactor::default()),
        Ok(expanded) => {
            let mut configuration = expanded.flink_configuration;
            let name = expanded.job_name.unwrap_or_else(|| job.name_any());
            configuration.entry("pipeline.name".to_owned()).or_insert(name);
            let program = Program {
                entry_class: spec.job.entry_class.clone(),
                args: expanded.args,
                parallelism: spec.job.parallelism,
                configuration,
            };
            (Input::Ready(Arc::new(program)), expanded.jar_uri, expanded.redactor)
        }
    };
    LoadedProgram {
        made_from: made_from(job, session),
        result,
        jar_uri,
        redactor,
        made: Instant::now(),
    }
}

/// Loads the program of a job whose variables come from elsewhere, unless that is done or under way.
pub(super) fn want(ctx: &Shared, job: &Arc<FlinkSessionJob>, session: Option<&Arc<FlinkSession>>, owner: UidHash) {
    if job.spec.variables_from.is_empty() {
        return;
    }
    let wanted = made_from(job, session.map(AsRef::as_ref));
    let start = ctx.memories.with(owner, |memory| {
        let done = memory.program.as_ref().is_some_and(|program| {
            let settled = matches!(program.result, Input::Ready(_)) || program.made.elapsed() < AGAIN;
            program.made_from == wanted && settled
        });
        let start = !done && !memory.loading;
        memory.loading |= start;
        start
    });
    if !start {
        return;
    }
    let (ctx, job, session) = (Arc::clone(ctx), Arc::clone(job), session.cloned());
    tokio::spawn(async move {
        let namespace = job.namespace().unwrap_or_default();
        let loaded = load(&ctx, &namespace, &job.spec).await;
        let program = match loaded {
            Ok(variables) => made(&ctx, &job, session.as_deref(), variables),
            Err(error) => {
                warn!(name = job.name_any(), namespace, %error, "variables could not be read, tried again");
                let refusal = Refusal::new(
                    Reason::ReferenceNotFound,
                    format!("variables could not be read: {error}"),
                );
                let mut program = made(&ctx, &job, session.as_deref(), Err(refusal.clone()));
                program.result = Input::Retrying(refusal);
                program
            }
        };
        let ready = matches!(program.result, Input::Ready(_));
        ctx.memories.with(owner, |memory| {
            memory.loading = false;
            memory.program = Some(program);
        });
        let object = reference(&job);
        let _ = ctx.wake.jobs.send(object.clone());
        if !ready {
            tokio::time::sleep(AGAIN + Duration::from_millis(50)).await;
            let _ = ctx.wake.jobs.send(object);
        }
    });
}

/// Reads every source. The outer error is the API server's; the inner one is the spec's.
async fn load(
    ctx: &Context,
    namespace: &str,
    spec: &FlinkSessionJobSpec,
) -> Result<Result<Variables, Refusal>, ApiError> {
    let mut variables = match Variables::new(&spec.variables) {
        Ok(variables) => variables,
        Err(error) => return Ok(Err(Refusal::new(error.reason(), error.to_string()))),
    };
    for source in &spec.variables_from {
        let added = match source {
            VariableSource {
                config_map_ref: Some(map),
                ..
            } => add_config_map(ctx, namespace, map, &mut variables).await?,
            VariableSource {
                secret_ref: Some(secret),
                ..
            } => add_secret(ctx, namespace, secret, &mut variables).await?,
            VariableSource {
                config_map_ref: None,
                secret_ref: None,
            } => Ok(()),
        };
        if let Err(refusal) = added {
            return Ok(Err(refusal));
        }
    }
    Ok(Ok(variables))
}

async fn add_config_map(
    ctx: &Context,
    namespace: &str,
    map: &LocalRef,
    variables: &mut Variables,
) -> Result<Result<(), Refusal>, ApiError> {
    let maps: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), namespace);
    let Some(found) = within(API_DEADLINE, "get ConfigMap", maps.get_opt(&map.name)).await? else {
        let message = format!(
            "spec.variablesFrom names ConfigMap {:?}, which does not exist; create it, or correct the name",
            map.name
        );
        return Ok(Err(Refusal::new(Reason::ReferenceNotFound, message)));
    };
    variables.add_config_map(found.data.iter().flatten());
    Ok(Ok(()))
}

async fn add_secret(
    ctx: &Context,
    namespace: &str,
    secret: &LocalRef,
    variables: &mut Variables,
) -> Result<Result<(), Refusal>, ApiError> {
    let found = usable_secret(&ctx.client, API_DEADLINE, namespace, &secret.name, UsableBy::Jobs).await?;
    let found = match found {
        Ok(found) => found,
        Err(unusable) => {
            let message = format!("spec.variablesFrom: {unusable}");
            return Ok(Err(Refusal::new(unusable.reason(), message)));
        }
    };
    let data = found
        .data
        .iter()
        .flatten()
        .map(|(key, bytes)| (key, bytes.0.as_slice()));
    variables.add_secret(data);
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_puts_its_state_only_where_that_of_its_namespace_may_be() {
        let prefixes: StatePrefixes = vec!["team-a=s3://b/a/".parse().unwrap()].into();
        let refused = |namespace: &str, key: &str, path: &str| {
            let configuration = [(key.to_owned(), path.to_owned())].into();
            outside(&prefixes, namespace, &configuration).map(|refusal| (refusal.reason, refusal.message))
        };
        for key in DIRECTORIES {
            assert_eq!(refused("team-a", key, "s3://b/a/checkpoints"), None);
            assert_eq!(refused("team-b", key, "s3://b/anywhere"), None);
            for path in ["s3://b/b", "s3://b/a/../b", "s3://b/ab", "/mnt"] {
                let (reason, message) = refused("team-a", key, path).unwrap();
                assert_eq!(reason, Reason::ConfigurationDenied);
                assert!(message.contains(key), "{message}");
            }
        }
        assert_eq!(refused("team-a", "parallelism.default", "2"), None);
    }
}
