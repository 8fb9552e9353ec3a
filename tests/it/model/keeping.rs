//! What an operator process knows of the state of its job, what it does about it, and what must hold: no start takes an older
//! state than the newest that was on record or that a stop completed, unless the user asked for that; and every savepoint
//! that was taken is on record, or the status says that this is not known.

use std::time::Duration;

use flink_job_operator::{
    api::{
        JobStatus, Reason,
        intent::{CancelPurpose, KeepIntent},
        job::{DeletionType, UpgradeMode},
        state::{CheckpointRetention, RestorePoint, Resume, StateKind},
        status::RunOutcome,
    },
    flink::{JobId, JobState, TriggerId},
    job::{
        Input, Plan, READ_STATE, Refusal, SETTLE, SUBMIT_WITHIN, SavepointKnown, SavepointStanding, StateSeen, Stop,
        StopAnswer, StopSeen, Task,
    },
};
use jiff::Timestamp;

use super::{
    flink::find,
    operator::{Leader, View},
    resource::Object,
    states::{End, Fate, StopPost, checkpoint, number},
    world::World,
};

/// A stop is asked about this often.
const ASK: Duration = Duration::from_secs(5);

/// After that its savepoint is looked for in another way.
const HANGS: Duration = Duration::from_secs(60);

/// What one operator process has in memory of a job's state.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    pub unsent: Option<TriggerId>,
    pub sent: Option<(TriggerId, Timestamp, StopAnswer)>,
    pub heard: Option<(TriggerId, Timestamp, StopSeen)>,
    /// What was read of a job's checkpoints; None when the process did not know the job.
    pub read: Option<(JobId, Option<StateSeen>)>,
    /// The savepoint that was made a resource.
    pub kept: Option<String>,
}

/// The marks of what was on record, and of what the user asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Marks {
    /// A start takes no older state than this.
    pub floor: u8,
    /// Savepoints up to this one need not be on record: the user gave them up, or was told.
    pub given_up: u8,
}

fn refused() -> Refusal {
    Refusal::new(Reason::StateUnknown, "x")
}

impl Memory {
    /// What this process did, with what it did to keep the state.
    pub fn task(&self, task: Task) -> Task {
        Task {
            stop_unsent: self.unsent,
            stop_sent: self.sent.clone(),
            stop_seen: self.heard.clone(),
            kept: self.kept.clone().map(|path| (path, Ok("j-1-upgrade".to_owned()))),
            ..task
        }
    }

    pub fn state(&self, status: &JobStatus) -> Input<&StateSeen> {
        match &self.read {
            Some((id, seen)) if Some(*id) == status.job_id => match seen {
                Some(seen) => Input::Ready(seen),
                None => Input::Refused(refused()),
            },
            Some(_) | None => Input::Pending,
        }
    }

    /// The request that was sent last, if nothing was heard of it since.
    pub fn sent_last(&self) -> Option<&(TriggerId, Timestamp, StopAnswer)> {
        let heard = self.heard.as_ref();
        self.sent
            .as_ref()
            .filter(|(id, sent, _)| heard.is_none_or(|(of, at, _)| of != id || sent > at))
    }

    /// When something is due that this process waits for.
    pub fn deadlines(&self, world: &World, status: &JobStatus) -> Vec<Timestamp> {
        let mut due = Vec::new();
        let stop = status.stop().map(|stop| stop.trigger_id);
        let asked = |id: &TriggerId| stop == Some(*id);
        if let Some((_, at, _)) = self.sent_last().filter(|(id, ..)| asked(id)) {
            due.push(*at + ASK);
        } else if let Some((id, at, StopSeen::InProgress | StopSeen::Unknown)) = &self.heard
            && asked(id)
        {
            due.push(*at + ASK);
        }
        if let Some((id, Some(seen))) = &self.read
            && Some(*id) == status.job_id
            && status.live_run().is_some()
        {
            match status.stop() {
                Some(stop) => due.extend((world.now > stop.decided + HANGS).then(|| seen.read + HANGS / 2)),
                None if seen.retention == CheckpointRetention::NoCheckpoints => {}
                None => due.push(seen.read + READ_STATE),
            }
        }
        due
    }
}

/// When something is due by the status.
pub fn deadlines(status: &JobStatus) -> Vec<Timestamp> {
    let mut due = Vec::new();
    if let Some(stop) = status.stop() {
        due.extend([stop.decided + SUBMIT_WITHIN / 2, stop.decided + HANGS]);
        due.extend(stop.due);
    }
    due.extend(status.restarts.as_ref().and_then(|restarts| restarts.next_time));
    due
}

impl World {
    /// The `Savepoint` resources.
    pub fn savepoints(&self) -> Vec<SavepointKnown> {
        let known = |path: &String| SavepointKnown {
            name: "j-1-upgrade".to_owned(),
            kind: StateKind::Savepoint,
            job: Some("j".to_owned()),
            standing: SavepointStanding::Completed {
                path: path.clone(),
                time: Timestamp::from_second(1_700_000_000 + i64::from(number(path))).unwrap(),
            },
            job_id: None,
        };
        self.kept.iter().map(known).collect()
    }

    /// Fetches what a plan wants to know. False when nothing changed by that.
    pub fn learn(&mut self, n: usize, object: &Object, plan: &Plan) -> bool {
        if self.flink.down || self.setup.retention.is_none() || matches!(self.leaders[n].view, View::NotPolled) {
            return false;
        }
        let mut learned = false;
        if let Some(stop) = object.status.stop().filter(|_| plan.wants.stop) {
            let heard = match self.flink.states.known(stop.trigger_id).map(|known| &known.fate) {
                None => StopSeen::Unknown,
                Some(Fate::Open | Fate::Hangs(_)) => StopSeen::InProgress,
                Some(Fate::Taken(path)) => StopSeen::Taken(path.clone()),
                Some(Fate::Failed) => StopSeen::Failed("no".to_owned()),
            };
            let heard = Some((stop.trigger_id, self.now, heard));
            learned |= self.leaders[n].state.heard != heard;
            self.leaders[n].state.heard = heard;
        }
        if let Some(id) = object.status.job_id.filter(|_| plan.wants.state) {
            let read = Some((id, self.read_state(&self.leaders[n], id)));
            learned |= self.leaders[n].state.read != read;
            self.leaders[n].state.read = read;
        }
        learned
    }

    fn read_state(&self, leader: &Leader, id: JobId) -> Option<StateSeen> {
        let state = find(&self.flink.jobs, id)?;
        let ended = match &leader.view {
            View::Up { jobs, .. } => find(jobs, id).is_some_and(JobState::is_globally_terminal),
            View::NotPolled | View::Down => false,
        };
        let kept = self.flink.states.of(id);
        let retention = self.setup.retention?;
        let deleted = retention == CheckpointRetention::DeletedOnEnd && state.is_globally_terminal();
        let told = kept.and_then(|kept| kept.told).filter(|_| !deleted);
        Some(StateSeen {
            job_id: id,
            retention,
            interval: None,
            checkpoint: told.map(|number| RestorePoint {
                kind: StateKind::Checkpoint,
                path: checkpoint(number),
                job_id: Some(id),
                time: Timestamp::from_second(1_700_000_000 + i64::from(number)).ok(),
                savepoint_ref: None,
                gone: false,
            }),
            savepoints: kept.map(|kept| kept.savepoints.clone()).unwrap_or_default(),
            restored: kept.and_then(|kept| kept.restored.clone()),
            read: self.now,
            last: ended,
        })
    }

    /// Sends a request to stop.
    pub fn send_stop(&mut self, n: usize, stop: &Stop) {
        let now = self.now;
        let leader = &mut self.leaders[n];
        leader.state.unsent = None;
        if now > stop.not_after {
            leader.state.sent = Some((stop.trigger_id, now, StopAnswer::NotSent(refused())));
            return;
        }
        leader.waiting = true;
        self.flink.states.posts.push(StopPost {
            stop: stop.clone(),
            expires: stop.not_after + SETTLE,
            process: self.flink.process,
            waiter: Some(n),
        });
    }

    /// The answer to a request to stop arrives, if somebody waits for it.
    pub fn answer_stop(&mut self, post: &StopPost, answer: StopAnswer) {
        if let Some(n) = post.waiter {
            let leader = &mut self.leaders[n];
            leader.waiting = false;
            leader.state.sent = Some((post.stop.trigger_id, self.now, answer));
        }
    }

    pub fn deliver_stop(mut self, n: usize) -> Self {
        let post = self.flink.states.posts.remove(n);
        if post.process == self.flink.process {
            self.flink.stop(&post.stop);
            self.answer_stop(&post, StopAnswer::Accepted);
        } else {
            // Its connection went with the process.
            self.answer_stop(&post, StopAnswer::Unknown(refused()));
        }
        self
    }

    pub fn time_out_stop(mut self, n: usize) -> Option<Self> {
        let post = self.flink.states.posts[n].clone();
        self.flink.states.posts[n].waiter = None;
        self.answer_stop(&post, StopAnswer::Unknown(refused()));
        post.waiter.is_some().then_some(self)
    }

    pub fn refuse_stop(mut self, n: usize) -> Self {
        let post = self.flink.states.posts.remove(n);
        self.answer_stop(&post, StopAnswer::NotSent(refused()));
        self
    }

    pub fn end_stop(mut self, end: End) -> Option<Self> {
        let before = self.flink.states.taken.len();
        self.flink.end_stop(end).then_some(())?;
        if self.flink.states.taken.len() > before {
            self.marks.floor = self.flink.states.clock;
        }
        Some(self)
    }

    pub fn checkpoint(mut self) -> Option<Self> {
        let most = self.setup.checkpoints;
        self.flink.checkpoint(most).then_some(self)
    }

    pub fn forget_stops(mut self) -> Option<Self> {
        self.flink.forget_stops().then_some(self)
    }

    /// Requests to stop that can do nothing, and whose answer nobody waits for, are as good as gone.
    pub fn drop_idle_stops(&mut self) {
        let flink = &mut self.flink;
        let mut posts = std::mem::take(&mut flink.states.posts);
        let forgets = self.left.forgotten_stops > 0;
        posts.retain(|post| {
            let live = find(&flink.jobs, post.stop.job_id).is_some_and(|state| !state.is_globally_terminal());
            let known = flink.states.known(post.stop.trigger_id).is_some();
            post.waiter.is_some() || (post.process == flink.process && live && (!known || forgets))
        });
        posts.sort_by_key(|post| (post.waiter, post.stop.job_id, post.stop.trigger_id, post.expires));
        posts.dedup_by(|b, a| a.waiter.is_none() && b.waiter.is_none() && a.stop.trigger_id == b.stop.trigger_id);
        flink.states.posts = posts;
    }

    /// A savepoint is made a resource.
    pub fn keep(&mut self, n: usize, keep: &KeepIntent) {
        if !self.kept.contains(&keep.path) {
            self.kept.push(keep.path.clone());
        }
        self.leaders[n].state.kept = Some(keep.path.clone());
    }

    /// Looks at a status that is written: what is on record now, and what the user has given up by that.
    pub fn look_at_write(&mut self, object: &Object, status: &JobStatus) {
        let path = |status: &JobStatus| status.latest_state().map(|latest| latest.path.clone());
        if let Some(latest) = path(status).filter(|latest| Some(latest) != path(&object.status).as_ref()) {
            self.marks.floor = self.marks.floor.max(number(&latest));
        }
        let clock = self.flink.states.clock;
        if status.resume() == Some(Resume::Unknown) && object.status.resume() != Some(Resume::Unknown) {
            self.marks.given_up = clock;
        }
        if let Some(cancel) = status.cancellation().filter(|_| object.status.cancellation().is_none()) {
            let taken = status.stop().is_some_and(|stop| stop.location.is_some());
            let kept = match object.wish.mode {
                UpgradeMode::Stateless => true,
                UpgradeMode::LastState => cancel.last_state,
                UpgradeMode::Savepoint => false,
            };
            match cancel.purpose {
                CancelPurpose::Upgrade | CancelPurpose::Suspend if taken => {}
                CancelPurpose::Upgrade | CancelPurpose::Suspend if !kept => {
                    self.bug = Some("I3: a job is to be cancelled for a restart, and its state is not kept");
                }
                CancelPurpose::Upgrade | CancelPurpose::Suspend if !cancel.last_state => self.give_up(),
                CancelPurpose::Upgrade
                | CancelPurpose::Suspend
                | CancelPurpose::Cancel
                | CancelPurpose::Delete
                | CancelPurpose::Stray => {}
            }
        }
        let submitted = |status: &JobStatus| status.submission().map(|intent| intent.job_id);
        if submitted(status).is_some() && submitted(status) != submitted(&object.status) {
            self.look_at_start(object, status);
        }
    }

    fn look_at_start(&mut self, object: &Object, status: &JobStatus) {
        let nonce = |status: &JobStatus| {
            let accepted = status.accepted_spec.as_ref();
            accepted.and_then(|accepted| accepted.restore.as_ref().and_then(|restore| restore.nonce))
        };
        let asked = nonce(&object.status).is_some() && nonce(status) != nonce(&object.status);
        let again = status.last_outcome() == Some(RunOutcome::Finished);
        if asked || again || object.wish.mode == UpgradeMode::Stateless {
            self.marks.floor = 0;
            self.marks.given_up = self.flink.states.clock;
        }
    }

    fn give_up(&mut self) {
        self.marks.floor = 0;
        self.marks.given_up = self.flink.states.clock;
    }

    /// A start took effect: what it took is not older than what there was.
    pub fn look_at_restore(&mut self, restore: Option<&String>) {
        if restore.map_or(0, |path| number(path)) < self.marks.floor {
            self.bug = self
                .bug
                .or(Some("I3: a job was started from an older state than the newest one"));
        }
        let deletes = self.setup.retention == Some(CheckpointRetention::DeletedOnEnd);
        if deletes && restore.is_some_and(|path| path.contains("/chk-")) {
            self.bug = self
                .bug
                .or(Some("I3: a job was started from a checkpoint that was deleted"));
        }
    }

    /// A cancellation is sent.
    pub fn look_at_cancel(&mut self, id: JobId) {
        let Some(object) = self.object.clone() else { return };
        let cancel = object.status.cancellation().filter(|cancel| cancel.job_id == id);
        if cancel.is_some_and(|cancel| cancel.last_state)
            && let Some(newest) = self.flink.states.of(id).and_then(|kept| kept.newest)
        {
            self.marks.floor = self.marks.floor.max(newest);
        }
        let taken = object.status.stop().is_some_and(|stop| stop.location.is_some());
        let strays = cancel.is_some_and(|cancel| cancel.purpose == CancelPurpose::Stray);
        if object.deleting && object.wish.deletion == DeletionType::Savepoint && !taken && !strays {
            self.bug = Some("deletionPolicy Savepoint: a job is cancelled without one");
        }
    }

    /// The finalizer goes: what the record says must stand somewhere else, or be told.
    pub fn look_at_release(&mut self, plan: &Plan) {
        let told = |reason: Reason| plan.notes.iter().any(|note| note.reason == reason);
        if told(Reason::JobMayStillRun) || told(Reason::SavepointFailed) {
            self.marks.given_up = self.flink.states.clock;
        }
    }

    /// A savepoint that was taken, and is nowhere on record.
    pub fn unkept(&self) -> Option<String> {
        let status = self.object.as_ref().map(|object| &object.status);
        let latest = status
            .and_then(|status| status.latest_state())
            .map(|latest| &latest.path);
        let keep = status.and_then(|status| status.keep()).map(|keep| &keep.path);
        let recorded = self.kept.iter().chain(latest).chain(keep).map(|path| number(path));
        let recorded = recorded.max().unwrap_or_default().max(self.marks.given_up);
        let stop = status
            .and_then(|status| status.stop())
            .filter(|stop| stop.location.is_none());
        let open = |path: &&String| stop.is_some_and(|stop| path.starts_with(&stop.directory));
        let mut lost = self.flink.states.taken.iter().filter(|path| number(path) > recorded);
        let lost = lost.find(|path| !open(path))?;
        Some(format!("I3: the savepoint {} is on no record", number(lost)))
    }
}
