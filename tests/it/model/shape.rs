//! What tells two states apart: everything that can matter for what happens next, and nothing else.
//!
//! Absolute times become "due or not", versions "current or not", processes their distance from the present one, JobIDs
//! their order; what a process remembers of requests that nobody asks about any more goes, as does the wording of messages.

use std::hash::{DefaultHasher, Hasher};

use flink_job_operator::{
    api::{ConditionType, JobStatus, condition, status::Intent},
    flink::JobId,
    job::{CANCEL_AGAIN, SUBMIT_GRACE, SUBMIT_WITHIN, SubmitOutcome, submit_again},
};
use jiff::Timestamp;

use super::{
    flink::process_of,
    operator::{Armed, Leader, View},
    resource::{Object, Wish},
    world::World,
};

pub(super) struct Shape<'a> {
    pub(super) world: &'a World,
    pub(super) bytes: Vec<u8>,
    /// The JobIDs that are mentioned, and where.
    ids: Vec<(usize, JobId)>,
    /// The states that are mentioned, and where.
    numbers: Vec<(usize, u8)>,
}

/// The fingerprint of a state.
pub fn of(world: &World) -> u64 {
    let mut shape = Shape {
        world,
        bytes: Vec::with_capacity(128),
        ids: Vec::with_capacity(8),
        numbers: Vec::new(),
    };
    shape.world();
    shape.finish()
}

/// Whether a status that a process would write is the one that stands, but for its wording.
pub fn alike(world: &World, object: &Object, status: &JobStatus) -> bool {
    let of = |status: &JobStatus| {
        let mut shape = Shape {
            world,
            bytes: Vec::new(),
            ids: Vec::new(),
            numbers: Vec::new(),
        };
        shape.status(object, status);
        shape.finish()
    };
    of(status) == of(&object.status)
}

fn byte(n: impl TryInto<u8>) -> u8 {
    n.try_into().unwrap_or(u8::MAX)
}

impl Shape<'_> {
    fn finish(mut self) -> u64 {
        let mut order: Vec<JobId> = self.ids.iter().map(|(_, id)| *id).collect();
        order.sort_unstable();
        order.dedup();
        for (at, id) in &self.ids {
            self.bytes[*at] = byte(order.binary_search(id).unwrap());
        }
        let mut order: Vec<u8> = self.numbers.iter().map(|(_, number)| *number).chain([0]).collect();
        order.sort_unstable();
        order.dedup();
        for (at, number) in &self.numbers {
            self.bytes[*at] = byte(order.binary_search(number).unwrap());
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.bytes);
        hasher.finish()
    }

    pub(super) fn put(&mut self, n: impl TryInto<u8>) {
        self.bytes.push(byte(n));
    }

    pub(super) fn flag(&mut self, flag: bool) {
        self.bytes.push(u8::from(flag));
    }

    pub(super) fn id(&mut self, id: JobId) {
        self.ids.push((self.bytes.len(), id));
        self.bytes.push(0);
    }

    /// The place of a state among those that are mentioned; zero for none.
    pub(super) fn number(&mut self, number: u8) {
        self.numbers.push((self.bytes.len(), number));
        self.bytes.push(0);
    }

    fn process(&mut self, process: u8) {
        self.put(self.world.flink.process - process);
    }

    fn world(&mut self) {
        let world = self.world;
        let left = world.left;
        for n in [
            left.crashes,
            left.losses,
            left.rejects,
            left.restarts,
            left.downs,
            left.forgets,
            left.ends,
            left.ui_cancels,
            left.wipes,
            left.edits,
            left.nonces,
            left.suspends,
            left.cancels,
            left.deletes,
            left.sessions,
            left.failed_stops,
            left.bad_ends,
            left.forgotten_stops,
            left.modes,
            left.restores,
        ] {
            self.put(n);
        }
        self.put((world.allowed - world.flink.history.len().min(world.allowed)).min(9));
        for flag in [
            world.session,
            world.flink.down,
            world.excused,
            world.orphaned,
            world.wiped,
            world.bug.is_some(),
        ] {
            self.flag(flag);
        }
        match &world.object {
            Some(object) => self.object(object),
            None => self.put(9),
        }
        self.jobs(&world.flink.jobs);
        self.posts();
        self.states();
        for (n, leader) in world.leaders.iter().enumerate() {
            self.leader(n, leader);
        }
    }

    fn object(&mut self, object: &Object) {
        self.flag(object.deleting);
        self.flag(object.finalizer);
        self.wish(object.wish);
        self.status(object, &object.status);
    }

    fn wish(&mut self, wish: Wish) {
        self.put(wish.variant);
        self.put(wish.nonce);
        self.put(wish.state as u8);
        self.put(wish.mode as u8);
        self.put(wish.restore);
    }

    fn status(&mut self, object: &Object, status: &JobStatus) {
        self.put(status.phase.map_or(99, |phase| phase as u8));
        self.put(status.pending_change.map_or(99, |change| change as u8));
        self.flag(status.observed_generation == object.generation);
        let ready = condition::find(&status.conditions, ConditionType::Ready);
        self.put(ready.map_or(99, |ready| ready.status as u8));
        self.bytes
            .extend(ready.iter().flat_map(|ready| ready.reason.as_bytes().iter().take(4)));
        self.bytes.extend(
            status
                .failure
                .iter()
                .flat_map(|failure| failure.reason.as_bytes().iter().take(4)),
        );
        // Anything but a lost record has a JobID.
        self.flag(status.job_id.is_some());
        if let Some(accepted) = &status.accepted_spec {
            self.put(accepted.job.args[0].parse::<u8>().unwrap());
            self.put(accepted.restart_nonce.unwrap());
            self.put(accepted.state as u8);
            self.put(accepted.upgrade_mode as u8);
            self.put(
                accepted
                    .restore
                    .as_ref()
                    .and_then(|restore| restore.nonce)
                    .unwrap_or(99),
            );
        }
        self.put(200);
        if let Some(run) = status.runs.first() {
            self.put(run.outcome.map_or(99, |outcome| outcome as u8));
            if run.outcome.is_none() {
                self.id(run.job_id);
            }
        }
        self.put(201);
        if let Some(intent) = &status.intent {
            self.intent(intent);
        }
        self.state_record(status);
    }

    fn intent(&mut self, intent: &Intent) {
        let now = self.world.now;
        self.flag(intent.unanswered_since.is_some());
        if let Some(submit) = &intent.submit {
            self.id(submit.job_id);
            self.process(process_of(&submit.jar_id));
            self.put(submit.tries.min(2));
            let decided = submit.not_after - SUBMIT_WITHIN;
            let window = self.world.setup.window_length();
            for due in [
                decided + SUBMIT_GRACE,
                decided + submit_again(submit.tries),
                submit.not_after,
                submit.unresolved,
                submit.first_try + window,
            ] {
                self.flag(now >= due);
            }
            self.put(submit.earlier_unresolved.map_or(9, |due| u8::from(now > due)));
        }
        if let Some(cancel) = &intent.cancel {
            self.id(cancel.job_id);
            self.put(cancel.purpose as u8 + 100);
            self.flag(cancel.last_state);
        }
    }

    /// Jobs that live, and ended ones that the status still asks about.
    fn jobs(&mut self, jobs: &[(JobId, flink_job_operator::flink::JobState)]) {
        let current = self.world.object.as_ref().and_then(|object| object.current());
        let adoptable = self.world.wiped || self.world.left.wipes > 0;
        let forgettable = self.world.left.forgets > 0;
        for (id, state) in jobs {
            if !state.is_globally_terminal() || current == Some(*id) || adoptable || forgettable {
                self.id(*id);
                self.put(*state as u8);
            }
        }
        self.put(202);
    }

    fn posts(&mut self) {
        let world = self.world;
        let submit = world.object.as_ref().and_then(|object| object.status.submission());
        for post in &world.flink.posts {
            self.id(post.job_id);
            self.process(post.process);
            self.put(post.waiter.map_or(9, |waiter| waiter + 1));
            self.flag(world.flink.known.contains(&post.job_id));
            self.flag(world.flink.started(post.job_id));
            let tried = |tries: i32, id: JobId| (id, tries) == (post.job_id, post.tries);
            self.flag(submit.is_some_and(|submit| tried(submit.tries, submit.job_id)));
            self.flag(submit.is_some_and(|submit| post.expires <= submit.unresolved));
            self.flag(submit.is_some_and(|s| s.earlier_unresolved.is_some_and(|earlier| post.expires <= earlier)));
        }
        self.put(203);
    }

    fn leader(&mut self, n: usize, leader: &Leader) {
        let world = self.world;
        let now = world.now;
        let object = world.object.as_deref();
        let version = object.map(|object| object.version);
        self.flag(leader.held.is_some());
        match &leader.cache {
            None => self.put(0),
            Some(cache) if Some(cache.version) == version => self.put(1),
            // What a process would do with a stale version is refused, or makes it read the current one.
            Some(cache) => {
                let plan = world.plan(n, cache);
                self.put(2);
                self.flag(plan.status != cache.status);
                self.flag(plan.effect.is_some());
                self.flag(plan.wants.confirm);
            }
        }
        match &leader.armed {
            None => self.put(0),
            Some(Armed::Submit(submission)) => {
                self.put(1);
                self.id(submission.job_id);
                self.process(process_of(&submission.jar_id));
                self.flag(now > submission.not_after);
                self.flag(world.flink.known.contains(&submission.job_id));
                self.flag(object.and_then(Object::submission) == Some((submission.job_id, submission.tries)));
            }
            Some(Armed::Stop(stop)) => {
                self.put(4);
                self.id(stop.job_id);
                self.flag(now > stop.not_after);
                self.flag(world.flink.states.known(stop.trigger_id).is_some());
                self.flag(object.and_then(Object::stop) == Some(stop.trigger_id));
            }
            Some(Armed::Keep(keep)) => {
                self.put(5);
                self.flag(world.kept.contains(&keep.path));
            }
            Some(Armed::Cancel(id)) => {
                self.put(2);
                self.id(*id);
            }
            Some(Armed::Release(id)) => {
                self.put(3);
                self.id(*id);
            }
        }
        self.view(leader, version);
        self.memory(leader, now);
    }

    fn view(&mut self, leader: &Leader, version: Option<u32>) {
        let world = self.world;
        let asked = if world.stale_caches {
            leader.cache.as_ref().map(|cache| cache.version)
        } else {
            version
        };
        let asked = leader.held.as_ref().map(|held| held.version).or(asked);
        let asks = leader.confirm.is_some() && leader.confirm == asked;
        match &leader.view {
            View::NotPolled => self.put(0),
            View::Down => self.put(1),
            View::Up {
                jobs,
                process,
                confirmed,
            } => {
                self.put(2);
                self.process(*process);
                self.flag(*confirmed && asks);
                if *jobs == world.flink.jobs {
                    self.put(1);
                } else {
                    self.put(2);
                    self.jobs(jobs);
                }
            }
        }
        self.flag(asks);
        self.flag(leader.session_absent);
    }

    fn memory(&mut self, leader: &Leader, now: Timestamp) {
        let world = self.world;
        let named = |object: Option<&Object>| object.and_then(Object::submission);
        let asked = [
            named(world.object.as_deref()),
            named(leader.cache.as_deref()),
            named(leader.held.as_deref()),
        ];
        let matters = |try_: (JobId, i32)| asked.contains(&Some(try_));
        self.flag(leader.waiting);
        match &leader.submitted {
            Some((id, tries, outcome)) if matters((*id, *tries)) => self.put(match outcome {
                SubmitOutcome::Accepted => 1,
                SubmitOutcome::Duplicate => 2,
                SubmitOutcome::OtherJob(_) => 3,
                SubmitOutcome::NotSent(_) => 4,
                SubmitOutcome::JarMissing => 5,
                SubmitOutcome::Rejected(_) => 6,
                SubmitOutcome::Unknown(_) => 7,
            }),
            Some(_) | None => self.put(0),
        }
        self.flag(leader.unsent.is_some_and(matters));
        let alive = |id: JobId| super::flink::live(&world.flink.jobs).any(|other| other == id);
        match leader.cancelled {
            Some((id, time)) if alive(id) => {
                self.id(id);
                self.flag(now >= time + CANCEL_AGAIN);
            }
            Some(_) | None => self.put(0),
        }
        self.flag(leader.released.is_some());
        self.state_memory(leader);
    }
}
