//! The entry: an ordered list of rules, the first that applies decides.

use super::{
    NoteKind, Observed, Plan, cancel, change, delete, follow, idle, keep, start, stop, submit,
    verdict::{self, Verdict},
};
use crate::api::{
    JobStatus, Phase, Reason,
    status::{Run, RunOutcome},
};
use crate::flink::JobId;

/// A rule: a plan where it applies.
type Rule = fn(&Observed<'_>) -> Option<Plan>;

/// The rules, in order. Where none applies nothing runs: start, or say how the job stands.
const RULES: &[Rule] = &[
    // Another installation wrote the intent: leave the resource to it.
    foreign,
    // A savepoint that the operator took is to become a resource.
    keep::rule,
    // The resource is being deleted: end or release what may run, then let it go.
    delete::rule,
    // Its status was lost, or never written although a job of it runs: find out what runs, never submit.
    lost_status,
    // A job carries the mark but is not the current attempt: cancel it.
    cancel::stray,
    // A cancellation was decided on: see it to its end.
    cancel::resume,
    // A stop with savepoint was decided on: see it to its end.
    stop::resume,
    // A submission was decided on: send it, or find out what became of it.
    submit::resolve,
    // A job lives: follow it, and bring it where the spec wants it.
    follow::rule,
];

/// Decides what to do with a job resource. Total and pure.
#[must_use]
pub fn decide(o: &Observed<'_>) -> Plan {
    let plan = RULES.iter().find_map(|rule| rule(o));
    let plan = plan.unwrap_or_else(|| idle::idle(o, o.status.clone()));
    verdict::finish(o, keep::settle(o, plan))
}

/// The intent names another installation: two operators must not drive one resource.
fn foreign(o: &Observed<'_>) -> Option<Plan> {
    is_foreign(o).then(|| {
        let owner = o
            .status
            .intent
            .as_ref()
            .and_then(|intent| intent.owner.as_deref())
            .unwrap_or_default();
        let ours = o.installation;
        let message = format!(
            "installation {owner} of the operator drives this resource, this is installation {ours}: nothing is done. \
             Stop one of them; to hand the resource over, delete status.intent"
        );
        Plan::keep("foreign", o.status).note(NoteKind::Warning, Reason::StateUnknown, message)
    })
}

pub(super) fn is_foreign(o: &Observed<'_>) -> bool {
    let owner = o.status.intent.as_ref().and_then(|intent| intent.owner.as_deref());
    owner.is_some_and(|owner| owner != o.installation.to_string())
}

/// Whether the status knows nothing of what may run.
pub(super) fn is_blank(o: &Observed<'_>) -> bool {
    let status = o.status;
    status.job_id.is_none()
        && status.runs.is_empty()
        && status.submission().is_none()
        && status.cancellation().is_none()
        && status.stop().is_none()
}

/// A finalizer without a record means that the status was lost, since the record is written first.
fn lost_status(o: &Observed<'_>) -> Option<Plan> {
    let newest_live = o.marked_live().max_by_key(|job| job.id.attempt());
    if idle::record_lost(o.status) && o.status.submission().is_none() && o.status.cancellation().is_none() {
        // A request that was under way when the record was lost has taken effect after all.
        return newest_live.map(|job| adopt(o, job.id, "lost-status/adopt-late"));
    }
    if !is_blank(o) || (newest_live.is_none() && !o.meta.finalizer) {
        return None;
    }
    let Some(cluster) = o.up() else {
        return Some(follow::unreachable(o, o.status.clone(), "lost-status/wait"));
    };
    let newest = newest_live.or_else(|| {
        cluster
            .jobs
            .iter()
            .filter(|job| job.id.owner() == o.meta.owner)
            .max_by_key(|job| job.id.attempt())
    });
    if let Some(job) = newest {
        return Some(adopt(o, job.id, "lost-status/adopt"));
    }
    if !cluster.confirmed {
        return Some(start::confirm("lost-status/confirm", o.status.clone()));
    }
    let mut status = o.status.clone();
    status.intent_mut().owner = Some(o.installation.to_string());
    status.accepted_spec = Some(change::accept(o.spec));
    let job_id = JobId::new(o.installation, o.meta.owner, 0);
    status.runs.insert(
        0,
        Run {
            outcome: Some(RunOutcome::Unknown),
            ..Run::new(0, job_id)
        },
    );
    start::fail(
        &mut status,
        o,
        Reason::StateUnknown,
        "the record of this job was lost and the cluster lists no job of it. If it is safe to start it, change \
         spec.restartNonce",
    );
    Some(idle::idle(o, status))
}

/// Something that was decided on has been seen to its end: what comes next?
pub(super) fn go_on(o: &Observed<'_>, mut status: JobStatus, rule: &'static str) -> Plan {
    if o.meta.deleting {
        let message = "the job has ended; the resource goes";
        Verdict::reconciling(Phase::Deleting, Reason::Cancelled, message).write(o, &mut status);
        return Plan::with(rule, status);
    }
    if status.submission().is_some() {
        return idle::submitting(o, status, rule);
    }
    if status.live_run().is_some() {
        return follow::follow(o, status);
    }
    idle::idle(o, status)
}

/// Takes a job over that runs, or ran, already.
pub(super) fn adopt(o: &Observed<'_>, job_id: JobId, rule: &'static str) -> Plan {
    let mut status = o.status.clone();
    let attempt = status.attempt.unwrap_or_default().saturating_add(1);
    status.intent_mut().owner = Some(o.installation.to_string());
    status.attempt = Some(attempt);
    status.job_id = Some(job_id);
    status.parallelism = o.spec.job.parallelism;
    status.accepted_spec = Some(change::accept(o.spec));
    status.failure = None;
    let job_manager = o.up().and_then(|cluster| cluster.job_manager).map(str::to_owned);
    status.runs.insert(
        0,
        Run {
            job_manager,
            ..Run::new(attempt, job_id)
        },
    );
    let mut plan = follow::follow(o, status);
    plan.rule = rule;
    plan.effect = None;
    plan.note(
        NoteKind::Normal,
        Reason::Adopted,
        format!("took over Flink job {job_id}, which carries this resource's mark or was named in spec.adopt"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::case::{Case, INSTALLATION, Reach, UID, effect, seen, told};
    use super::*;
    use crate::{
        api::job::{DesiredState, OnUnknownResult},
        flink::{JobState, UidHash},
    };

    fn marked(attempt: u32) -> JobId {
        JobId::new(INSTALLATION, UidHash::of(UID), attempt)
    }

    /// A resource with our finalizer, and nothing in its status.
    fn lost() -> Case {
        let mut case = Case::new();
        case.finalizer = true;
        case
    }

    /// The same, and nothing was found on the cluster.
    fn nothing_found() -> Case {
        let mut case = lost();
        assert!(case.still("lost-status/confirm").wants.confirm);
        case.confirmed = true;
        case.settle();
        case
    }

    #[test]
    fn another_installation_drives_its_resource_alone() {
        for from in [Case::submitting(), Case::running()] {
            let mut case = from;
            case.status.intent_mut().owner = Some("ffffffff".to_owned());
            case.edit(|spec| spec.state = DesiredState::Cancelled);
            for deleting in [false, true] {
                case.deleting = deleting;
                let plan = case.still("foreign");
                assert_eq!((effect(&plan), plan.notes.len()), ("-", 1));
            }
        }
    }

    #[test]
    fn a_lost_record_takes_over_the_newest_job_that_runs() {
        let mut case = lost();
        case.jobs = [(4, JobState::Running), (6, JobState::Running), (9, JobState::Failed)]
            .map(|(attempt, state)| seen(marked(attempt), state))
            .to_vec();
        let plan = case.persist("lost-status/adopt");
        assert_eq!((effect(&plan), case.id()), ("-", marked(6)));
        assert!(plan.notes.iter().any(|note| note.reason == Reason::Adopted));
        assert_eq!(case.settle().effect, Some(crate::job::Effect::Cancel(marked(4))));
        // Also without a finalizer: the mark alone says whose job it is.
        let mut case = Case::new();
        case.jobs = vec![seen(marked(4), JobState::Running)];
        case.persist("lost-status/adopt");
        // A job that has ended is taken over where no other runs.
        let mut case = lost();
        case.jobs = [4, 6].map(|attempt| seen(marked(attempt), JobState::Finished)).to_vec();
        case.settle();
        assert_eq!(told(&case.status), "Finished/Finished Ready=True Running=False");
        assert_eq!(case.id(), marked(6));
    }

    #[test]
    fn a_lost_record_without_a_job_never_starts_one_by_itself() {
        for resubmit in [None, Some(OnUnknownResult::Resubmit)] {
            let mut case = nothing_found();
            case.edit(|spec| spec.on_unknown_result = resubmit);
            case.settle();
            assert_eq!(
                told(&case.status),
                "Failed/StateUnknown Ready=False Stalled Running=False"
            );
            case.edit(|spec| spec.job.args.clear());
            case.settle();
            assert_eq!(
                told(&case.status),
                "Failed/StateUnknown Ready=False Stalled Running=False"
            );
            case.edit(|spec| spec.restart_nonce = Some(1));
            case.settle();
            assert_eq!(
                told(&case.status),
                "Submitting/Submitting Ready=False Reconciling Running=False"
            );
        }
        let mut case = lost();
        case.reach = Reach::Down(Reason::ClusterUnreachable);
        case.persist("lost-status/wait");
        assert_eq!(
            told(&case.status),
            "Unknown/ClusterUnreachable Ready=Unknown Reconciling Running=Unknown"
        );
    }

    #[test]
    fn a_job_that_shows_up_after_its_record_was_lost_is_taken_over() {
        let mut case = nothing_found();
        case.jobs = vec![seen(marked(8), JobState::Running)];
        case.persist("lost-status/adopt-late");
        case.settle();
        assert_eq!(told(&case.status), "Running/Running Ready=True Running=True");
    }
}
