//! The world of the model, and every step that can happen in it.

use std::{fmt, rc::Rc, time::Duration};

use flink_job_operator::{
    api::{
        JobStatus, Reason,
        job::{DesiredState, UpgradeMode},
    },
    flink::JobState,
    job::{CANCEL_AGAIN, Refusal, RetryWindow, SUBMIT_WITHIN, StopAnswer, SubmitOutcome, submit_again},
};
use jiff::Timestamp;

use super::{
    flink::{Flink, Post, Setup, live},
    keeping::{self, Marks},
    operator::{Leader, View},
    resource::{Object, Wish},
    states::End,
};

/// How often each fault and each user action may happen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// An operator process dies, and another starts.
    pub crashes: u8,
    /// A reply is lost, of the API server or of Flink, or a request is.
    pub losses: u8,
    /// `main()` ends with an error, before it started the job or after.
    pub rejects: u8,
    /// The JobManager is replaced.
    pub restarts: u8,
    /// The cluster stops answering for a while.
    pub downs: u8,
    /// Flink drops an ended job from its list.
    pub forgets: u8,
    /// A job ends by itself: with success, or with an error.
    pub ends: u8,
    /// Someone cancels the job in Flink.
    pub ui_cancels: u8,
    /// Someone empties the status.
    pub wipes: u8,
    /// The user changes the program.
    pub edits: u8,
    /// The user changes `restartNonce`.
    pub nonces: u8,
    /// The user sets `state` to Suspended, or back to Running.
    pub suspends: u8,
    /// The user sets `state` to Cancelled, or back to Running.
    pub cancels: u8,
    /// The user deletes the resource.
    pub deletes: u8,
    /// The session is deleted; and created again.
    pub sessions: u8,
    /// A stop fails, and the job runs on.
    pub failed_stops: u8,
    /// A job ends badly after its savepoint: it hangs, it fails, it is restarted.
    pub bad_ends: u8,
    /// Flink forgets what became of stops.
    pub forgotten_stops: u8,
    /// The user changes `upgradeMode`.
    pub modes: u8,
    /// The user changes `restore.nonce`, for an empty start.
    pub restores: u8,
}

/// What is explored.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    pub budget: Budget,
    pub leaders: usize,
    pub setup: Setup,
    pub wish: Wish,
    /// It begins with a job that runs, not with a new resource.
    pub running: bool,
    /// Watches lag behind.
    pub stale_caches: bool,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            budget: Budget::default(),
            leaders: 1,
            setup: Setup {
                ha: false,
                window: RetryWindow::Unlimited,
                retention: None,
                checkpoints: 0,
            },
            wish: Wish::default(),
            running: false,
            stale_caches: false,
        }
    }
}

/// Everything.
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
#[derive(Debug, Clone)]
pub struct World {
    pub now: Timestamp,
    pub object: Option<Rc<Object>>,
    pub session: bool,
    pub flink: Flink,
    pub leaders: Vec<Leader>,
    pub left: Budget,
    pub setup: Setup,
    pub stale_caches: bool,
    /// Starts that the user has asked for.
    pub allowed: usize,
    /// The resource was released although its job may run, and said so.
    pub excused: bool,
    /// The resource was released and its job left running, as asked.
    pub orphaned: bool,
    /// The record was lost at some time.
    pub wiped: bool,
    /// The Savepoint resources, by their paths.
    pub kept: Vec<String>,
    pub marks: Marks,
    /// What must never happen has happened.
    pub bug: Option<&'static str>,
}

/// Something that can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// An operator process sees the newest version of the resource.
    Watch(usize),
    /// An operator process reads the job list.
    Poll(usize),
    /// One turn: observe, decide, then one write or one effect.
    Turn(usize),
    /// A turn whose write is applied, but its reply is lost.
    TurnReplyLost(usize),
    /// Flink takes a request, and its answer arrives.
    Deliver(usize),
    /// A request waits for longer than the client does.
    Timeout(usize),
    /// A request dies before it reaches Flink, and the client sees that.
    Refuse(usize),
    /// `main()` throws before it starts the job.
    Reject(usize),
    /// `main()` throws after it started the job.
    RejectLate(usize),
    Crash(usize),
    Restart,
    /// The JobManager is replaced between two requests of a poll.
    RestartAmidPoll(usize),
    Down,
    Up,
    Forget,
    End(JobState),
    Edit,
    Nonce,
    Desire(DesiredState),
    Delete,
    Wipe,
    SessionGone,
    SessionBack,
    /// A request to stop arrives.
    DeliverStop(usize),
    /// The client gives up waiting for the answer to one.
    TimeoutStop(usize),
    /// It dies before it reaches Flink, and the client sees that.
    RefuseStop(usize),
    /// A stop comes to an end.
    Stopped(End),
    ForgetStops,
    Checkpoint,
    Mode(UpgradeMode),
    Restore,
    /// Time passes until something is due.
    Wait,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Step {
    /// Whether it happens by itself: no fault and no user.
    pub fn is_fair(self) -> bool {
        matches!(
            self,
            Self::Watch(_)
                | Self::Poll(_)
                | Self::Turn(_)
                | Self::Deliver(_)
                | Self::DeliverStop(_)
                | Self::Stopped(End::Taken)
                | Self::Checkpoint
                | Self::Wait
                | Self::Up
        )
    }
}

impl World {
    pub fn start(scenario: &Scenario) -> Self {
        let mut world = Self {
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            object: Some(Rc::new(Object::new(scenario.wish))),
            session: true,
            flink: Flink::new(),
            leaders: vec![Leader::default(); scenario.leaders],
            left: Budget::default(),
            setup: scenario.setup,
            stale_caches: scenario.stale_caches,
            // Where the user allows a second run without being asked, only runs at the same time are wrong.
            allowed: if scenario.wish.resubmit { 100 } else { 1 },
            excused: false,
            orphaned: false,
            wiped: false,
            kept: Vec::new(),
            marks: Marks::default(),
            bug: None,
        };
        if scenario.running {
            // Without any fault there is no choice that matters.
            while !world.is_settled() {
                world = world
                    .steps()
                    .into_iter()
                    .find(|(step, _)| *step != Step::Wait)
                    .unwrap()
                    .1;
            }
        }
        world.left = scenario.budget;
        world
    }

    /// Every step that is possible, with the world after it.
    pub fn steps(&self) -> Vec<(Step, Self)> {
        let mut steps = Vec::with_capacity(16);
        let mut add = |step: Step, after: Option<Self>| {
            if let Some(mut after) = after {
                after.overtake();
                after.drop_idle_posts();
                after.drop_idle_stops();
                steps.push((step, after));
            }
        };
        for n in 0..self.leaders.len() {
            add(Step::Turn(n), self.turn(n, false));
            add(Step::Poll(n), self.learns(n).then(|| self.poll(n)));
            add(Step::Watch(n), self.watch(n));
            add(
                Step::TurnReplyLost(n),
                self.spend(|left| &mut left.losses).and_then(|w| w.turn(n, true)),
            );
            add(Step::Crash(n), self.spend(|left| &mut left.crashes).map(|w| w.crash(n)));
            add(
                Step::RestartAmidPoll(n),
                self.spend(|left| &mut left.restarts).map(|w| w.poll_across_restart(n)),
            );
        }
        for n in 0..self.flink.posts.len() {
            add(Step::Deliver(n), Some(self.clone().deliver(n)));
            add(
                Step::Timeout(n),
                self.spend(|left| &mut left.losses).and_then(|w| w.time_out(n)),
            );
            add(
                Step::Refuse(n),
                self.spend(|left| &mut left.losses).map(|w| w.refuse(n)),
            );
            add(
                Step::Reject(n),
                self.spend(|left| &mut left.rejects).and_then(|w| w.reject(n, false)),
            );
            add(
                Step::RejectLate(n),
                self.spend(|left| &mut left.rejects).and_then(|w| w.reject(n, true)),
            );
        }
        self.states(&mut add);
        add(Step::Restart, self.spend(|left| &mut left.restarts).map(Self::restart));
        add(
            Step::Down,
            self.spend(|left| &mut left.downs).and_then(|w| w.reach(false)),
        );
        add(Step::Up, self.clone().reach(true));
        add(
            Step::Forget,
            self.spend(|left| &mut left.forgets).and_then(Self::forget),
        );
        for state in [JobState::Finished, JobState::Failed] {
            add(
                Step::End(state),
                self.spend(|left| &mut left.ends).and_then(|w| w.end(state)),
            );
        }
        add(
            Step::End(JobState::Canceled),
            self.spend(|left| &mut left.ui_cancels)
                .and_then(|w| w.end(JobState::Canceled)),
        );
        self.user(&mut add);
        add(Step::Wait, self.wait());
        steps
    }

    /// What happens to stops and checkpoints.
    fn states(&self, add: &mut impl FnMut(Step, Option<Self>)) {
        for n in 0..self.flink.states.posts.len() {
            add(Step::DeliverStop(n), Some(self.clone().deliver_stop(n)));
            let lost = self.spend(|left| &mut left.losses);
            add(Step::TimeoutStop(n), lost.clone().and_then(|w| w.time_out_stop(n)));
            add(Step::RefuseStop(n), lost.map(|w| w.refuse_stop(n)));
        }
        add(Step::Checkpoint, self.clone().checkpoint());
        add(Step::Stopped(End::Taken), self.clone().end_stop(End::Taken));
        let fails = self.spend(|left| &mut left.failed_stops);
        add(Step::Stopped(End::Fails), fails.and_then(|w| w.end_stop(End::Fails)));
        for end in [End::Hangs, End::Breaks, End::RunsOn] {
            let ends = self.spend(|left| &mut left.bad_ends);
            add(Step::Stopped(end), ends.and_then(|w| w.end_stop(end)));
        }
        let forgets = self.spend(|left| &mut left.forgotten_stops);
        add(Step::ForgetStops, forgets.and_then(Self::forget_stops));
    }

    fn user(&self, add: &mut impl FnMut(Step, Option<Self>)) {
        use DesiredState::{Cancelled, Running, Suspended};
        add(
            Step::Edit,
            self.spend(|left| &mut left.edits)
                .and_then(|w| w.wish(1, |wish| wish.variant += 1)),
        );
        add(
            Step::Nonce,
            self.spend(|left| &mut left.nonces)
                .and_then(|w| w.wish(1, |wish| wish.nonce += 1)),
        );
        add(
            Step::Restore,
            self.spend(|left| &mut left.restores)
                .and_then(|w| w.wish(1, |wish| wish.restore += 1)),
        );
        for mode in [UpgradeMode::Savepoint, UpgradeMode::LastState, UpgradeMode::Stateless] {
            let other = self.object.as_ref().is_some_and(|object| object.wish.mode != mode);
            let modes = self.spend(|left| &mut left.modes).filter(|_| other);
            add(Step::Mode(mode), modes.and_then(|w| w.wish(0, |wish| wish.mode = mode)));
        }
        let state = self.object.as_ref().map(|object| object.wish.state);
        let mut desire = |from: DesiredState, to: DesiredState, after: Option<Self>| {
            if state == Some(from) {
                let starts = usize::from(to == Running);
                add(
                    Step::Desire(to),
                    after.and_then(|w| w.wish(starts, |wish| wish.state = to)),
                );
            }
        };
        desire(Running, Suspended, self.spend(|left| &mut left.suspends));
        desire(Suspended, Running, self.spend(|left| &mut left.suspends));
        desire(Running, Cancelled, self.spend(|left| &mut left.cancels));
        desire(Cancelled, Running, self.spend(|left| &mut left.cancels));
        add(
            Step::Delete,
            self.spend(|left| &mut left.deletes).and_then(Self::delete),
        );
        add(Step::Wipe, self.spend(|left| &mut left.wipes).and_then(Self::wipe));
        let session = self.spend(|left| &mut left.sessions);
        let step = if self.session {
            Step::SessionGone
        } else {
            Step::SessionBack
        };
        add(step, session.map(Self::flip_session));
    }

    fn spend(&self, pick: impl Fn(&mut Budget) -> &mut u8) -> Option<Self> {
        let mut left = self.left;
        let count = pick(&mut left);
        *count = count.checked_sub(1)?;
        Some(Self { left, ..self.clone() })
    }

    /// Whether a poll tells a process anything.
    fn learns(&self, n: usize) -> bool {
        let leader = &self.leaders[n];
        match &leader.view {
            View::NotPolled => true,
            View::Down => !self.flink.down,
            View::Up {
                jobs,
                process,
                confirmed,
            } => {
                self.flink.down
                    || *process != self.flink.process
                    || *jobs != self.flink.jobs
                    || (leader.confirm.is_some() && !confirmed)
            }
        }
    }

    fn watch(&self, n: usize) -> Option<Self> {
        let version = |object: &Option<Rc<Object>>| object.as_ref().map(|object| object.version);
        let lags = version(&self.leaders[n].cache) != version(&self.object);
        (self.stale_caches && lags).then(|| {
            let mut world = self.clone();
            world.leaders[n].cache.clone_from(&self.object);
            world.leaders[n].held = None;
            world
        })
    }

    fn crash(mut self, n: usize) -> Self {
        self.leaders[n] = Leader::default();
        self.flink
            .posts
            .iter_mut()
            .for_each(|post| post.waiter = post.waiter.filter(|waiter| *waiter != n));
        self.flink
            .states
            .posts
            .iter_mut()
            .for_each(|post| post.waiter = post.waiter.filter(|waiter| *waiter != n));
        self
    }

    /// Flink handles a request and the client, if it still waits, gets the answer.
    fn deliver(mut self, n: usize) -> Self {
        let post = self.flink.posts.remove(n);
        let (outcome, bug) = self.flink.run(&post, self.now, self.setup);
        self.bug = self.bug.or(bug);
        if outcome == SubmitOutcome::Accepted {
            self.look_at_restore(post.restore.as_ref());
        }
        if self.flink.history.len() > self.allowed {
            self.bug = self.bug.or(Some("I1: more starts than the user has asked for"));
        }
        self.answer(&post, outcome);
        self
    }

    fn time_out(mut self, n: usize) -> Option<Self> {
        let post = self.flink.posts[n].clone();
        self.flink.posts[n].waiter = None;
        self.answer(
            &post,
            SubmitOutcome::Unknown(Refusal::new(Reason::SubmissionTimeout, "no answer")),
        );
        post.waiter.is_some().then_some(self)
    }

    fn refuse(mut self, n: usize) -> Self {
        let post = self.flink.posts.remove(n);
        self.answer(
            &post,
            SubmitOutcome::NotSent(Refusal::new(Reason::ClusterUnreachable, "refused")),
        );
        self
    }

    /// `main()` throws: before it started the job, or after. The second answer overwrites that of the run itself.
    fn reject(mut self, n: usize, late: bool) -> Option<Self> {
        let mut post = self.flink.posts[n].clone();
        if !self.flink.can_start(&post, self.setup) {
            return None;
        }
        let waiter = post.waiter.take();
        if late {
            self.flink.posts[n].waiter = None;
            self = self.deliver(n);
        } else {
            self.flink.posts.remove(n);
        }
        self.answer(&Post { waiter, ..post }, SubmitOutcome::Rejected("x".to_owned()));
        Some(self)
    }

    pub fn restart(mut self) -> Self {
        // What is lost with its JobManager is restored by itself, where that is possible; it may have ended unseen.
        self.allowed += usize::from(self.setup.retention.is_some());
        self.flink.restart(self.setup);
        self
    }

    fn reach(mut self, up: bool) -> Option<Self> {
        (self.flink.down == up).then(|| {
            self.flink.down = !up;
            self
        })
    }

    fn forget(mut self) -> Option<Self> {
        self.flink.forget(self.now, self.setup).then_some(self)
    }

    fn end(mut self, state: JobState) -> Option<Self> {
        let id = live(&self.flink.jobs).next()?;
        self.flink.end(id, state).then_some(self)
    }

    fn wish(mut self, starts: usize, change: impl FnOnce(&mut Wish)) -> Option<Self> {
        let object = self.object.take_if(|object| !object.deleting)?;
        self.object = Some(object.wished(change));
        self.allowed += starts;
        Some(self)
    }

    fn delete(mut self) -> Option<Self> {
        let object = self.object.take_if(|object| !object.deleting)?;
        self.object = object.finalizer.then(|| {
            object.next(|next| {
                next.deleting = true;
                next.generation += 1;
            })
        });
        Some(self)
    }

    fn wipe(mut self) -> Option<Self> {
        let object = self.object.take()?;
        self.object = Some(object.next(|next| next.status = JobStatus::default()));
        self.wiped = true;
        Some(self)
    }

    fn flip_session(mut self) -> Self {
        self.session = !self.session;
        self.leaders.iter_mut().for_each(|leader| leader.session_absent = false);
        self
    }

    /// Time passes until the next thing is due.
    fn wait(&self) -> Option<Self> {
        let status = self.object.as_ref().map(|object| &object.status);
        let mut due: Vec<Timestamp> = self.flink.posts.iter().map(|post| post.expires).collect();
        if let Some(intent) = status.and_then(|status| status.submission()) {
            let decided = intent.not_after - SUBMIT_WITHIN;
            due.extend([decided + submit_again(intent.tries), intent.unresolved]);
            due.extend(intent.earlier_unresolved);
            if let RetryWindow::For(window) = self.setup.window {
                due.push(intent.first_try + window);
            }
            let late = |leader: &Leader| leader.armed.is_some() || leader.unsent.is_some();
            due.extend(self.leaders.iter().any(late).then_some(intent.not_after));
        }
        if status.is_some_and(|status| status.cancellation().is_some()) {
            due.extend(
                self.leaders
                    .iter()
                    .filter_map(|leader| leader.cancelled)
                    .map(|(_, time)| time + CANCEL_AGAIN),
            );
        }
        let unanswered = status
            .and_then(|status| status.intent.as_ref())
            .and_then(|intent| intent.unanswered_since);
        due.extend(unanswered.map(|since| since + Duration::from_secs(300)));
        if self.setup.retention.is_some()
            && let Some(status) = status
        {
            due.extend(keeping::deadlines(status));
            due.extend(
                self.leaders
                    .iter()
                    .flat_map(|leader| leader.state.deadlines(self, status)),
            );
            due.extend(self.flink.states.posts.iter().map(|post| post.expires));
            due.extend(self.leaders.iter().filter_map(Leader::late_stop));
        }
        let next = due.into_iter().filter(|time| *time >= self.now).min()?;
        let mut world = self.clone();
        world.now = next + Duration::from_millis(1);
        let now = world.now;
        let expired: Vec<_> = world.flink.posts.extract_if(.., |post| now > post.expires).collect();
        for post in expired {
            world.answer(
                &post,
                SubmitOutcome::Unknown(Refusal::new(Reason::SubmissionTimeout, "no answer")),
            );
        }
        let expired: Vec<_> = world
            .flink
            .states
            .posts
            .extract_if(.., |post| now > post.expires)
            .collect();
        for post in expired {
            world.answer_stop(
                &post,
                StopAnswer::Unknown(Refusal::new(Reason::SubmissionTimeout, "no answer")),
            );
        }
        Some(world)
    }

    /// Requests that can start nothing, and whose answer nobody waits for, are as good as gone.
    fn drop_idle_posts(&mut self) {
        let setup = self.setup;
        let left = self.left;
        let flink = &mut self.flink;
        let mut posts = std::mem::take(&mut flink.posts);
        posts.retain(|post| {
            let relived = left.forgets > 0 || (left.restarts > 0 && setup.uploads_survive());
            post.waiter.is_some() || flink.can_start(post, setup) || (relived && flink.known.contains(&post.job_id))
        });
        posts.sort_by_key(|post| (post.waiter, post.job_id, post.process, post.expires));
        // Of requests that are alike the last one matters.
        posts.reverse();
        posts.dedup_by(|b, a| {
            a.waiter.is_none() && b.waiter.is_none() && (a.job_id, a.process) == (b.job_id, b.process)
        });
        flink.posts = posts;
    }
}
