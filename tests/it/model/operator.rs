//! An operator process: what it remembers, what it observes, and the driver that turns plans into writes and effects.
//!
//! What a process reads of the resource is either current or useless: a write that was decided on a stale version is
//! refused (409), and an effect needs a version that the API server returned in the same reconcile. So a reconcile begins
//! with the current version; and a process that is late is one that holds a version, or an effect that was decided on one,
//! while others change the resource. The scenario with stale caches drops this shortcut.

use std::rc::Rc;

use flink_job_operator::state_prefix::StatePrefixes;
use flink_job_operator::{
    api::{Reason, intent::KeepIntent, job::DeletionType},
    flink::{InstallationId, JobId, UidHash},
    job::{
        Cluster, ClusterView, Effect, Input, JobSeen, Meta, Observed, Permit, Plan, Refusal, SETTLE, Session, Slots,
        Stop, Submission, SubmitOutcome, Task, decide,
    },
};
use jiff::Timestamp;

use super::{
    flink::{Jobs, Post, jar, process_name, process_of},
    keeping::Memory,
    resource::Object,
    world::World,
};

pub const UID: &str = "7b0f6f1c-6a3e-4f6a-9d61-4f3f0d8f5a11";
pub const INSTALLATION: InstallationId = InstallationId([0xaa, 0xbb, 0xcc, 0xdd]);

thread_local! {
    static OWNER: UidHash = UidHash::of(UID);
}

pub fn owner() -> UidHash {
    OWNER.with(|owner| *owner)
}

/// What a process knows of the cluster.
#[derive(Debug, Clone, Default)]
pub enum View {
    #[default]
    NotPolled,
    Down,
    Up {
        jobs: Rc<Jobs>,
        process: u8,
        /// The list was begun after the process asked to confirm.
        confirmed: bool,
    },
}

/// An effect that was decided on a version that is not current any more.
#[derive(Debug, Clone)]
pub enum Armed {
    Submit(Box<Submission>),
    Stop(Box<Stop>),
    Keep(Box<KeepIntent>),
    Cancel(JobId),
    Release(JobId),
}

/// What one operator process has in memory.
#[derive(Debug, Clone, Default)]
pub struct Leader {
    /// The version that the API server returned in this reconcile.
    pub held: Option<Rc<Object>>,
    pub armed: Option<Armed>,
    /// What its watch has delivered, where caches are stale.
    pub cache: Option<Rc<Object>>,
    pub view: View,
    /// The version on which absence is to be proven.
    pub confirm: Option<u32>,
    pub waiting: bool,
    pub submitted: Option<(JobId, i32, SubmitOutcome)>,
    pub unsent: Option<(JobId, i32)>,
    pub cancelled: Option<(JobId, Timestamp)>,
    pub released: Option<JobId>,
    pub session_absent: bool,
    pub state: Memory,
}

impl Leader {
    fn task(&self) -> Task {
        self.state.task(Task {
            running: self.waiting,
            submitted: self.submitted.clone(),
            cancelled: self.cancelled.map(|(id, time)| (id, time, None)),
            released: self.released,
            unsent: self.unsent,
            ..Task::default()
        })
    }

    /// When a stop that this process is late with is not sent any more.
    pub fn late_stop(&self) -> Option<Timestamp> {
        match &self.armed {
            Some(Armed::Stop(stop)) => Some(stop.not_after),
            Some(Armed::Submit(_) | Armed::Keep(_) | Armed::Cancel(_) | Armed::Release(_)) | None => None,
        }
    }
}

/// The request that a submission becomes.
pub fn post(submission: &Submission, waiter: Option<usize>) -> Post {
    Post {
        job_id: submission.job_id,
        tries: submission.tries,
        restore: submission.restore.as_ref().map(|restore| restore.path.clone()),
        process: process_of(&submission.jar_id),
        expires: submission.not_after + submission.timeout + SETTLE,
        waiter,
    }
}

fn refusal(reason: Reason) -> Refusal {
    Refusal::new(reason, "x")
}

impl World {
    /// What a process decides on a version of the resource.
    pub fn plan(&self, n: usize, object: &Object) -> Plan {
        let leader = &self.leaders[n];
        let name;
        let mut jar_input = Input::Pending;
        let cluster = match &leader.view {
            View::NotPolled => ClusterView::NotPolled,
            View::Down => ClusterView::Down(refusal(Reason::ClusterUnreachable)),
            View::Up {
                jobs,
                process,
                confirmed,
            } => {
                name = process_name(*process);
                jar_input = Input::Ready((jar(*process), name.clone()));
                ClusterView::Up(Cluster {
                    url: "http://flink",
                    jobs: jobs
                        .iter()
                        .map(|(id, state)| JobSeen {
                            id: *id,
                            state: *state,
                            start_time: None,
                            end_time: None,
                            tasks_run: true,
                        })
                        .collect(),
                    job_manager: Some(&name),
                    confirmed: *confirmed && leader.confirm == Some(object.version),
                    retry_window: self.setup.window,
                    submission_enabled: true,
                    slots: Slots::Growing,
                    savepoint_directory: Some("s3://b/savepoints"),
                })
            }
        };
        let session = if self.session {
            Session::Present { deleting: false }
        } else {
            Session::Absent {
                proven: leader.session_absent,
            }
        };
        let savepoints = self.savepoints();
        let state = match self.setup.retention {
            Some(_) => leader.state.state(&object.status),
            None => Input::Refused(refusal(Reason::StateUnknown)),
        };
        decide(&Observed {
            now: self.now,
            installation: INSTALLATION,
            meta: Meta {
                namespace: "n",
                name: "j",
                uid: UID,
                owner: owner(),
                generation: object.generation,
                deleting: object.deleting,
                finalizer: object.finalizer,
            },
            spec: &object.spec,
            status: &object.status,
            session,
            cluster,
            program: Input::Ready(&object.program),
            jar: jar_input,
            permit: Permit::Granted,
            task: leader.task(),
            failure_cause: Input::Ready("java.lang.RuntimeException: x".to_owned()),
            state,
            savepoints: Input::Ready(&savepoints),
            stored: Input::Refused(Refusal::new(Reason::StateUnknown, "nobody reads the store")),
            claimed_by: None,
            newest_savepoint: None,
            savepoint_under_way: None,
            namespace_terminating: false,
            ineffective: &[],
            prefixes: &StatePrefixes::default(),
            refused: None,
        })
    }

    /// The version that a process begins its next turn with.
    fn in_hand(&self, n: usize) -> Option<Rc<Object>> {
        let leader = &self.leaders[n];
        let watched = if self.stale_caches { &leader.cache } else { &self.object };
        leader.held.clone().or_else(|| watched.clone())
    }

    /// One turn of the driver: one write, or one effect, or nothing. `reply_lost`: the write is applied, and the process
    /// does not hear of it. None when nothing happens.
    pub fn turn(&self, n: usize, reply_lost: bool) -> Option<Self> {
        if let Some(armed) = &self.leaders[n].armed {
            let mut world = self.clone();
            world.leaders[n].armed = None;
            world.execute(n, armed);
            return (!reply_lost).then_some(world);
        }
        let object = self.in_hand(n)?;
        let plan = self.plan(n, &object);
        let mut world = self.clone();
        let leader = &mut world.leaders[n];
        leader.session_absent |= plan.wants.session_proof && !self.session;
        let asks = plan.wants.confirm && leader.confirm != Some(object.version);
        if asks {
            leader.confirm = Some(object.version);
            if let View::Up { confirmed, .. } = &mut leader.view {
                *confirmed = false;
            }
        }
        if plan.status != object.status {
            return world.write(n, &object, plan, reply_lost);
        }
        if reply_lost {
            return None;
        }
        let Some(effect) = plan.effect.clone() else {
            let learned = world.learn(n, &object, &plan);
            let rests = world.leaders[n].held.take().is_some();
            return (asks || learned || rests || world.leaders[n].session_absent != self.leaders[n].session_absent)
                .then_some(world);
        };
        if world.leaders[n].held.is_none() {
            // Never act on a cached object: read it first.
            world.read(n);
            return Some(world);
        }
        match effect {
            Effect::AddFinalizer => world.patch(n, &object, |object| object.finalizer = true),
            Effect::RemoveFinalizer => {
                world.excused |= plan.rule == "delete/may-still-run";
                world.orphaned |= object.wish.deletion == DeletionType::Orphan;
                world.look_at_release(&plan);
                world.patch(n, &object, |object| object.finalizer = false);
            }
            Effect::Submit(submission) => world.execute(n, &Armed::Submit(submission)),
            Effect::Stop(stop) => world.execute(n, &Armed::Stop(stop)),
            Effect::Keep(keep) => world.execute(n, &Armed::Keep(keep)),
            // No resource of the model has a schedule.
            Effect::Schedule(_) => return None,
            Effect::Cancel(id) => world.execute(n, &Armed::Cancel(id)),
            Effect::Release(id) => world.execute(n, &Armed::Release(id)),
        }
        Some(world)
    }

    fn read(&mut self, n: usize) {
        self.leaders[n].held.clone_from(&self.object);
        if self.stale_caches {
            self.leaders[n].cache.clone_from(&self.object);
        }
    }

    /// Writes a status, if the version that it was decided on is still the current one.
    fn write(mut self, n: usize, object: &Object, plan: Plan, reply_lost: bool) -> Option<Self> {
        let current = self.object.clone();
        let Some(server) = current.filter(|server| server.version == object.version) else {
            // 409: read again.
            self.read(n);
            return (!reply_lost).then_some(self);
        };
        self.look_at_write(object, &plan.status);
        let written = server.next(|next| next.status = plan.status);
        let after = written.submission();
        let stop = written.stop();
        self.object = Some(Rc::clone(&written));
        let leader = &mut self.leaders[n];
        if reply_lost {
            leader.held = None;
            return Some(self);
        }
        leader.held = Some(written);
        if after != object.submission() {
            leader.unsent = after;
        }
        if stop.is_some() && stop != object.stop() {
            leader.state.unsent = stop;
        }
        Some(self)
    }

    /// Patches the finalizers, if the version is still the current one.
    fn patch(&mut self, n: usize, object: &Object, change: impl FnOnce(&mut Object)) {
        let Some(server) = self.object.clone().filter(|server| server.version == object.version) else {
            self.read(n);
            return;
        };
        let next = server.next(change);
        let gone = next.deleting && !next.finalizer;
        self.object = (!gone).then_some(next);
        self.leaders[n].held.clone_from(&self.object);
        if self.stale_caches && gone {
            self.leaders[n].cache = None;
        }
    }

    /// An effect on the cluster or the session. It ends the reconcile: the next one begins with a fresh version.
    fn execute(&mut self, n: usize, effect: &Armed) {
        let now = self.now;
        let leader = &mut self.leaders[n];
        leader.held = None;
        match effect {
            Armed::Submit(submission) => {
                leader.unsent = None;
                if now > submission.not_after {
                    // Checked once more right before sending.
                    let late = SubmitOutcome::NotSent(refusal(Reason::SubmissionTimeout));
                    leader.submitted = Some((submission.job_id, submission.tries, late));
                    return;
                }
                leader.waiting = true;
                self.flink.posts.push(post(submission, Some(n)));
            }
            Armed::Stop(stop) => self.send_stop(n, stop),
            Armed::Keep(keep) => self.keep(n, keep),
            Armed::Cancel(id) => {
                leader.cancelled = Some((*id, now));
                if self
                    .object
                    .as_ref()
                    .is_some_and(|object| object.deleting && object.wish.deletion == DeletionType::Orphan)
                {
                    self.bug = Some("Orphan: the operator cancelled a job that was to be left running");
                }
                self.look_at_cancel(*id);
                self.flink.end(*id, flink_job_operator::flink::JobState::Canceled);
            }
            Armed::Release(id) => leader.released = Some(*id),
        }
    }

    /// The answer to a request arrives, if somebody waits for it.
    pub fn answer(&mut self, post: &Post, outcome: SubmitOutcome) {
        if let Some(n) = post.waiter {
            let leader = &mut self.leaders[n];
            leader.waiting = false;
            leader.submitted = Some((post.job_id, post.tries, outcome));
        }
    }

    /// A process reads the job list and identifies the JobManager.
    pub fn poll(&self, n: usize) -> Self {
        let mut world = self.clone();
        let leader = &mut world.leaders[n];
        let asked_on = self.in_hand(n).map(|object| object.version);
        let confirmed = leader.confirm.is_some() && leader.confirm == asked_on;
        leader.view = if self.flink.down {
            View::Down
        } else {
            View::Up {
                jobs: Rc::clone(&self.flink.jobs),
                process: self.flink.process,
                confirmed,
            }
        };
        world
    }

    /// The JobManager is replaced between the list and the identification: the list is the old one's, and proves nothing.
    pub fn poll_across_restart(&self, n: usize) -> Self {
        let mut world = self.clone().restart();
        let jobs = Rc::clone(&self.flink.jobs);
        world.leaders[n].view = View::Up {
            jobs,
            process: world.flink.process,
            confirmed: false,
        };
        world
    }

    /// A process that was overtaken keeps at most the effect that it had decided on.
    pub fn overtake(&mut self) {
        let current = self.object.as_ref().map(|object| object.version);
        for n in 0..self.leaders.len() {
            let Some(held) = self.leaders[n].held.take_if(|held| Some(held.version) != current) else {
                continue;
            };
            let plan = self.plan(n, &held);
            let effect = plan.effect.filter(|_| plan.status == held.status);
            self.leaders[n].armed = match effect {
                Some(Effect::Submit(submission)) => Some(Armed::Submit(submission)),
                Some(Effect::Stop(stop)) => Some(Armed::Stop(stop)),
                Some(Effect::Keep(keep)) => Some(Armed::Keep(keep)),
                Some(Effect::Cancel(id)) => Some(Armed::Cancel(id)),
                Some(Effect::Release(id)) => Some(Armed::Release(id)),
                // Patches carry the version.
                Some(Effect::AddFinalizer | Effect::RemoveFinalizer | Effect::Schedule(_)) | None => None,
            };
        }
    }
}
