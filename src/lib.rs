//! A Kubernetes operator that runs Apache Flink jobs exactly once, never loses their state, and tells the truth about them.
//!
//! This page is the architecture. The fields of the resources are in the [`api`]; what a reader of the README needs is not
//! repeated here.
//!
//! # Six rules
//! 1. **Decide without IO.** [`job::decide`] is a pure and total function of everything that is known, [`job::Observed`].
//!    It has no client, no clock and no randomness, so that a test can run it against every order of crashes, lost
//!    replies and edits.
//! 2. **Write, then act, and only on what the API server has just said.** A turn either persists a changed status, guarded
//!    by the resourceVersion that was decided on, or performs one effect. An effect that matters runs only on an object
//!    that the API server returned since the last effect. So each intent is durable, current, and ours alone.
//! 3. **One effect for each turn.** All effects are [`job::Effect`]s; one file performs them, another writes statuses.
//! 4. **Failure is a value.** A submission that was refused or a cluster that is away is an input of the next decision and
//!    becomes a condition. Errors are for the Kubernetes API alone.
//! 5. **Steady state costs nothing.** One poll for each Flink cluster feeds all its jobs, only changes wake a reconcile, and
//!    a status that does not change is not written.
//! 6. **Small files**, one topic each, and no state of our own: what is not in the status of a resource can be lost at any
//!    time.
//!
//! # From a change to an effect
//! ```text
//! watch ──► cache ──► what matters? ──┐
//! poll of a Flink cluster ──► diff ───┼──► queue ──► observe ──► decide ──┬─► status differs: PUT it, then again
//! an effect ended, a jar is there ────┘                           (pure)  ├─► an effect: one call, then again
//!                                                                         └─► neither: wait
//! ```
//! Three triggers, one queue, one function. What takes long (fetching a jar, a submission) runs beside the queue and comes
//! back as a trigger, so no resource waits for another one and none waits for a slow cluster that it does not use.
//!
//! # Modules
//! | Module | What it is | Must not |
//! | --- | --- | --- |
//! | [`api`] | the custom resources, their CEL rules, conditions and reasons | do IO |
//! | [`flink`] | Flink's REST API: ids, replies, errors that say what they prove, the client | retry |
//! | [`registry`] | the live index of the jobs that each cluster lists, fed by one poller each | be durable |
//! | [`job`] | the decision: rules in order, the first that applies decides | do IO, read a clock |
//! | [`savepoint`] | the same for a savepoint: taken once, deleted when nobody needs it | do IO, read a clock |
//! | [`plan`] | what a decision says, whatever kind it is about | |
//! | [`controller`] | watches, caches and queues around it: observe, act, record | decide |
//! | [`state_prefix`] | where the state of a namespace may be | do IO |
//! | [`schedule`] | when scheduled savepoints are due | read a clock |
//! | [`artifact`] | jars, fetched from places whose author is not trusted | connect to what was not checked |
//! | [`outbound`] | HTTP to places that a resource names, on checked addresses | decide who may name what |
//! | [`kubernetes`] | the bounded client, and the installation's id | |
//! | [`leader`] | at most one replica acts, with client-go's semantics | outlive its lease |
//! | [`events`] | Events, beside the path of a reconcile | make a reconcile wait or fail |
//! | [`notify`] | CloudEvents to receivers that a job names, as much beside it | print an address |
//! | [`metrics`], [`server`], [`telemetry`] | `/metrics`, `/healthz`, `/readyz`, logs | name a secret |
//! | [`operator`], [`cli`] | the process, and its command line | |
//!
//! Only [`controller`], [`operator`] and [`cli`] know the controllers; [`job`] knows neither tokio nor a client.
//!
//! # How a job runs exactly once
//! Flink refuses a second submission of a JobID that it knows, and a jar's id exists in one JobManager process only. So:
//!
//! 1. The program is fetched, checked and uploaded, once for each content and JobManager process.
//! 2. **Intent**: a new JobID ([`flink::JobId`]: installation, hash of the resource's UID, attempt), the jar's id and the time
//!    after which nothing is sent are written into the status ([`api::status::SubmitIntent`]), guarded by the
//!    resourceVersion. A second leader, or a stale cache, loses here.
//! 3. The finalizer goes onto the resource.
//! 4. **Run** is sent with that JobID and that jar, and never with others for this intent.
//! 5. Whatever the answer, or none: the registry sees the job, or proves that it is not there, and only then the status
//!    goes on. What cannot be proven is said (`ResultUnknown`), not guessed; the user's `restartNonce` or
//!    `onUnknownResult` decides.
//!
//! Cancelling works the same: the intent first, then the call, then proof that the job has ended, and only then the next
//! attempt or the release of the resource. When a status was lost, the mark in the JobIDs tells which running job belongs
//! to which resource: it is adopted, and nothing is submitted. The source of [`job::decide`] lists the rules in order, and
//! the model test (`tests/it/model`) explores them against an adversarial Flink.
//!
//! # Tests
//! Rules and parsers beside their code; `tests/it` on a real API server and a real Flink, with a fake Flink
//! (`devcluster::fake`) where faults or numbers are needed, both held to one contract; `cargo demo -- --exit` from the user's
//! side. `.ci/run` runs everything.

pub mod api;
pub mod artifact;
pub mod cli;
pub mod controller;
#[cfg(test)]
mod driving;
pub mod events;
pub mod flink;
pub mod job;
pub mod kubernetes;
pub mod leader;
pub mod metrics;
pub mod notify;
pub mod operator;
pub mod outbound;
pub mod plan;
mod rate;
pub mod registry;
pub mod savepoint;
pub mod schedule;
pub mod sensitive;
pub mod server;
pub mod state_prefix;
pub mod telemetry;
