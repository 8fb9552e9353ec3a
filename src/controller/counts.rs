//! What is counted at each scrape, over the caches.

use jiff::Timestamp;
use kube::runtime::reflector::Store;

use super::context::Shared;
use crate::{
    api::{
        FlinkSession, FlinkSessionJob, Savepoint, SavepointPhase,
        condition::{self, ConditionStatus, ConditionType},
    },
    job::newest_state,
    metrics::{Kind, StateSafety},
};

/// How safe the state of all running jobs is.
fn state_safety(jobs: &Store<FlinkSessionJob>) -> StateSafety {
    let now = Timestamp::now();
    let mut safety = StateSafety::default();
    for job in jobs.state() {
        let Some(status) = job.status.as_ref() else { continue };
        match condition::find(&status.conditions, ConditionType::StateSafe).map(|safe| safe.status) {
            Some(ConditionStatus::True) => safety.safe += 1,
            Some(ConditionStatus::False) => safety.unsafe_ += 1,
            Some(ConditionStatus::Unknown) => safety.unknown += 1,
            None => continue,
        }
        let age = newest_state(status).map(|time| now.duration_since(time).as_secs_f64().max(0.0));
        safety.oldest_seconds = [safety.oldest_seconds, age].into_iter().flatten().reduce(f64::max);
    }
    safety
}

/// Counts resources by phase at each scrape.
pub(super) fn count(ctx: &Shared) {
    let jobs: Store<FlinkSessionJob> = ctx.jobs.clone();
    ctx.metrics.count_resources(Kind::FlinkSessionJob, move |phases| {
        for job in jobs.state() {
            let phase = job.status.as_ref().and_then(|status| status.phase);
            *phases
                .entry(phase.map_or("None", crate::api::Phase::as_str))
                .or_default() += 1;
        }
    });
    let jobs: Store<FlinkSessionJob> = ctx.jobs.clone();
    ctx.metrics.show_state_safety(move || state_safety(&jobs));
    let savepoints: Store<Savepoint> = ctx.savepoints.clone();
    ctx.metrics.count_resources(Kind::Savepoint, move |phases| {
        for savepoint in savepoints.state() {
            let phase = savepoint.status.as_ref().and_then(|status| status.phase);
            *phases.entry(phase.map_or("None", SavepointPhase::as_str)).or_default() += 1;
        }
    });
    let sessions: Store<FlinkSession> = ctx.sessions.clone();
    ctx.metrics.count_resources(Kind::FlinkSession, move |phases| {
        for session in sessions.state() {
            let phase = session.status.as_ref().and_then(|status| status.phase);
            *phases
                .entry(phase.map_or("None", crate::api::session::SessionPhase::as_str))
                .or_default() += 1;
        }
    });
}
