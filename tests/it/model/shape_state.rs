//! What tells two worlds apart in the state of their jobs.

use flink_job_operator::{
    api::{
        ConditionType, JobStatus, condition,
        intent::{KeepIntent, StopIntent},
        state::RestorePoint,
    },
    flink::TriggerId,
    job::{StateSeen, StopAnswer, StopSeen},
};
use jiff::Timestamp;

use super::{
    keeping::{self, Memory},
    operator::Leader,
    resource::Object,
    shape::Shape,
    states::{Fate, number},
};

impl Shape<'_> {
    fn flags(&mut self, due: impl IntoIterator<Item = Timestamp>) {
        let now = self.world.now;
        for time in due {
            self.flag(now > time);
        }
    }

    /// The place of a path among the states that are mentioned.
    fn path(&mut self, path: Option<&String>) {
        match path {
            None => self.put(0),
            Some(path) => {
                self.put(if path.contains("/chk-") { 1 } else { 2 });
                self.number(number(path));
            }
        }
    }

    /// What is true of stops and checkpoints, and what is asked of the oracle.
    pub(super) fn states(&mut self) {
        let world = self.world;
        if world.setup.retention.is_none() {
            return;
        }
        self.number(world.marks.floor);
        let flink = &world.flink.states;
        let status = world.object.as_ref().map(|object| &object.status);
        let stop = status.and_then(|status| status.stop()).map(|stop| stop.trigger_id);
        let current = status.and_then(|status| status.job_id);
        let live = |id| super::flink::live(&world.flink.jobs).any(|live| live == id);
        for job in flink
            .jobs
            .iter()
            .filter(|job| Some(job.job_id) == current || live(job.job_id))
        {
            self.id(job.job_id);
            self.path(job.restored.as_ref());
            self.put(job.count);
            self.number(job.newest.unwrap_or_default());
            self.number(job.told.unwrap_or_default());
            for path in &job.savepoints {
                self.path(Some(path));
            }
            self.put(204);
        }
        self.put(205);
        let asks = world.left.forgotten_stops > 0;
        for known in &flink.stops {
            let asked = stop == Some(known.trigger_id);
            if asked || asks || matches!(known.fate, Fate::Open | Fate::Hangs(_)) {
                self.flag(asked);
                self.id(known.job_id);
                self.put(match &known.fate {
                    Fate::Open => 1,
                    Fate::Hangs(_) => 2,
                    Fate::Taken(_) => 3,
                    Fate::Failed => 4,
                });
                if let Fate::Hangs(path) | Fate::Taken(path) = &known.fate {
                    self.path(Some(path));
                }
            }
        }
        self.put(206);
        for post in &flink.posts {
            self.flag(stop == Some(post.stop.trigger_id));
            self.id(post.stop.job_id);
            self.flag(post.process == world.flink.process);
            self.put(post.waiter.map_or(9, |waiter| waiter + 1));
            self.flag(flink.known(post.stop.trigger_id).is_some());
        }
        self.put(207);
        // Of what is kept, the newest matters.
        self.number(world.kept.iter().map(|path| number(path)).max().unwrap_or_default());
        let newest = flink.taken.iter().map(|path| number(path)).max().unwrap_or_default();
        self.number(newest);
        self.flag(world.marks.given_up >= newest);
    }

    fn point(&mut self, status: &JobStatus, point: &RestorePoint) {
        self.path(Some(&point.path));
        self.flag(point.job_id == status.job_id);
        self.flag(point.gone);
        self.flag(point.time.is_some());
        self.flag(point.savepoint_ref.is_some());
    }

    /// What a status says of a job's state.
    pub(super) fn state_record(&mut self, status: &JobStatus) {
        if self.world.setup.retention.is_none() {
            return;
        }
        self.put(208);
        // A turn that does no more than tell something else is a step, too. Times stand at the end of messages.
        let ready = condition::find(&status.conditions, ConditionType::Ready);
        self.bytes
            .extend(ready.iter().flat_map(|ready| ready.message.bytes().take(4)));
        if let Some(state) = &status.state {
            if let Some(latest) = &state.latest {
                self.point(status, latest);
            }
            self.put(209);
            if let Some(from) = &state.restored_from {
                self.path(Some(&from.path));
                self.put(from.confirmed.map_or(9, u8::from));
            }
            self.put(state.resume.map_or(99, |resume| resume as u8));
            if let Some(known) = &state.checkpointing {
                self.flag(Some(known.job_id) == status.job_id);
                self.flag(known.last);
            }
        }
        self.put(210);
        if let Some(restarts) = &status.restarts {
            self.put(restarts.last_hour.len().min(3));
        }
        if let Some(restore) = status.submission().and_then(|intent| intent.restore.as_ref()) {
            self.path(Some(&restore.path));
        }
        if let Some(stop) = status.stop() {
            self.stop_intent(stop);
        }
        if let Some(keep) = status.keep() {
            self.keep_intent(keep);
        }
        self.flags(keeping::deadlines(status));
    }

    fn stop_intent(&mut self, stop: &StopIntent) {
        self.put(211);
        self.id(stop.job_id);
        self.put(stop.purpose as u8);
        self.put(stop.tries.min(3));
        self.path(stop.location.as_ref());
        self.flag(stop.due.is_some());
    }

    fn keep_intent(&mut self, keep: &KeepIntent) {
        self.put(212);
        self.path(Some(&keep.path));
    }

    /// What a process remembers of its job's state.
    pub(super) fn state_memory(&mut self, leader: &Leader) {
        let world = self.world;
        if world.setup.retention.is_none() {
            return;
        }
        let Some(object) = world.object.as_deref() else { return };
        let status = &object.status;
        let asked = [Some(object), leader.cache.as_deref(), leader.held.as_deref()];
        let asked = asked.map(|object| object.and_then(Object::stop));
        let matters = |id: TriggerId| asked.contains(&Some(id));
        let Memory {
            unsent,
            sent: _,
            heard,
            read,
            kept,
        } = &leader.state;
        self.flag(unsent.is_some_and(matters));
        let sent = leader.state.sent_last().filter(|(id, ..)| matters(*id));
        let heard = heard.as_ref().filter(|(id, ..)| matters(*id));
        self.put(match sent.map(|(.., answer)| answer) {
            None => 0,
            Some(StopAnswer::Accepted) => 1,
            Some(StopAnswer::NotSent(_)) => 2,
            Some(StopAnswer::Refused(_)) => 3,
            Some(StopAnswer::Unknown(_)) => 4,
        });
        self.put(match heard.map(|(.., seen)| seen) {
            None => 0,
            Some(StopSeen::InProgress) => 1,
            Some(StopSeen::Taken(_)) => 2,
            Some(StopSeen::Failed(_)) => 3,
            Some(StopSeen::Unknown) => 4,
            Some(StopSeen::NotAsked(_)) => 5,
            Some(StopSeen::TooEarly) => 6,
        });
        if let (Some((_, sent, _)), Some((_, heard, _))) = (sent, heard) {
            self.flag(sent > heard);
        }
        self.flags(leader.state.deadlines(world, status));
        match read {
            Some((id, seen)) if Some(*id) == status.job_id => self.seen(seen.as_ref()),
            Some(_) | None => self.put(9),
        }
        let keep = status.keep().map(|keep| &keep.path);
        self.flag(keep.is_some() && kept.as_ref() == keep);
    }

    fn seen(&mut self, seen: Option<&StateSeen>) {
        let Some(seen) = seen else { return self.put(8) };
        self.put(7);
        self.path(seen.checkpoint.as_ref().map(|checkpoint| &checkpoint.path));
        self.path(seen.restored.as_ref());
        for path in &seen.savepoints {
            self.path(Some(path));
        }
        self.flag(seen.last);
    }
}
