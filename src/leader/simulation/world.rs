//! The simulated world: one event after the other, in the order of true time.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use super::{
    Time,
    hostility::{Dice, Hostility},
};
use crate::leader::{
    Timing,
    elector::{Elector, Record, Turn, Written},
};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Request {
    Read,
    /// Compare-and-swap: the version that must be stored, and the holder to write.
    Write {
        expected: Option<u64>,
        holder: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Reply {
    Is(Option<(Option<String>, u64)>),
    Stored(Option<String>, u64),
    Changed,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Wake,
    /// The request reaches the server.
    Arrive(u64, Request),
    /// The reply reaches the caller.
    Answer(u64, Reply),
    /// The caller gives up.
    GiveUp(u64),
    Kill,
    Stop,
}

struct Process {
    elector: Elector,
    identity: String,
    /// Clock rate in per mille of true time.
    rate: u64,
    born: Time,
    frozen_until: Time,
    /// The request that is waited for: number, sent at (local clock), whether it is a write.
    waiting: Option<(u64, Instant, bool)>,
    /// What it believes, in true time.
    leads_until: Time,
    /// Bumped when the process is replaced, so that events of the old one are dropped.
    generation: u64,
}

/// When, a sequence number to break ties, the process, its generation, and what happens.
type Entry = (Time, u64, usize, u64, Event);

/// The server, its Lease, and the processes that want it.
pub(super) struct World {
    dice: Dice,
    pub(super) hostility: Hostility,
    timing: Timing,
    epoch: Instant,
    queue: BinaryHeap<Reverse<Entry>>,
    sequence: u64,
    stored: Option<(Option<String>, u64)>,
    version: u64,
    processes: Vec<Process>,
    pub(super) trace: Vec<String>,
    pub(super) terms: u32,
}

impl World {
    pub(super) fn new(seed: u64, candidates: usize, hostility: Hostility, timing: Timing) -> Self {
        let mut world = Self {
            dice: Dice(seed | 1),
            hostility,
            timing,
            epoch: Instant::now(),
            queue: BinaryHeap::new(),
            sequence: 0,
            stored: None,
            version: 0,
            processes: Vec::new(),
            trace: Vec::new(),
            terms: 0,
        };
        for index in 0..candidates {
            // The fastest to the slowest is 1.47, below lease duration / renew deadline.
            let rate = 850 + world.dice.below(400);
            let identity = format!("p{index}.0");
            world.processes.push(Process {
                elector: Elector::new(identity.clone(), timing),
                identity,
                rate,
                born: 0,
                frozen_until: 0,
                waiting: None,
                leads_until: 0,
                generation: 0,
            });
            let start = world.dice.below(3000);
            world.at(start, index, Event::Wake);
        }
        world
    }

    fn at(&mut self, time: Time, process: usize, event: Event) {
        self.sequence += 1;
        let generation = self.processes[process].generation;
        self.queue
            .push(Reverse((time, self.sequence, process, generation, event)));
    }

    fn local(&self, process: usize, time: Time) -> Instant {
        let process = &self.processes[process];
        self.epoch + Duration::from_micros((time - process.born) * process.rate)
    }

    /// The first true time at which the process's clock shows at least that.
    fn truly(&self, process: usize, local: Instant) -> Time {
        let process = &self.processes[process];
        let micros = u64::try_from(local.saturating_duration_since(self.epoch).as_micros()).unwrap();
        process.born + micros.div_ceil(process.rate)
    }

    fn delay(&mut self) -> Time {
        if self.dice.per_mille(self.hostility.slow) {
            1 + self.dice.below(self.hostility.longest)
        } else {
            1 + self.dice.below(30)
        }
    }

    /// Runs until `end`; the error is what went wrong and how it came to that.
    pub(super) fn run(&mut self, end: Time) -> Result<(), String> {
        while let Some(Reverse((time, sequence, process, generation, event))) = self.queue.pop() {
            if time > end {
                self.queue.push(Reverse((time, sequence, process, generation, event)));
                break;
            }
            if let Event::Arrive(number, request) = event {
                // The server does not care who is still there.
                self.arrive(time, process, generation, number, request);
                continue;
            }
            if generation != self.processes[process].generation {
                continue;
            }
            let thaw = self.processes[process].frozen_until;
            if time < thaw && event != Event::Kill {
                self.queue.push(Reverse((thaw, sequence, process, generation, event)));
                continue;
            }
            self.step(time, process, event)?;
        }
        Ok(())
    }

    fn arrive(&mut self, time: Time, process: usize, generation: u64, number: u64, request: Request) {
        let reply = match request {
            Request::Read => Reply::Is(self.stored.clone()),
            Request::Write { expected, holder } => {
                if self.stored.as_ref().map(|(_, version)| *version) == expected {
                    self.version += 1;
                    self.trace
                        .push(format!("{time}: server stores {holder:?} as {}", self.version));
                    self.stored = Some((holder.clone(), self.version));
                    Reply::Stored(holder, self.version)
                } else {
                    Reply::Changed
                }
            }
        };
        if !self.dice.per_mille(self.hostility.loss) {
            let arrival = time + self.delay();
            self.sequence += 1;
            self.queue.push(Reverse((
                arrival,
                self.sequence,
                process,
                generation,
                Event::Answer(number, reply),
            )));
        }
    }

    fn step(&mut self, time: Time, process: usize, event: Event) -> Result<(), String> {
        let now = self.local(process, time);
        match event {
            Event::Arrive(..) => {}
            Event::Answer(number, reply) => {
                let Some((_, started, _)) = self.processes[process]
                    .waiting
                    .take_if(|(waiting, ..)| *waiting == number)
                else {
                    return Ok(());
                };
                let lease = self.timing.lease_duration;
                let elector = &mut self.processes[process].elector;
                let record = |holder, version: u64| Record {
                    holder,
                    lease_duration: lease,
                    version: version.to_string(),
                };
                match reply {
                    Reply::Is(stored) => elector.read(stored.map(|(holder, version)| record(holder, version)), now),
                    Reply::Stored(holder, version) => {
                        elector.wrote(started, Written::Stored(record(holder, version)), now);
                        self.extended(time, process)?;
                    }
                    Reply::Changed => elector.wrote(started, Written::Changed, now),
                }
                self.turn(time, process);
            }
            Event::GiveUp(number) => {
                let Some((_, started, write)) = self.processes[process]
                    .waiting
                    .take_if(|(waiting, ..)| *waiting == number)
                else {
                    return Ok(());
                };
                let elector = &mut self.processes[process].elector;
                if write {
                    elector.wrote(started, Written::Unknown, now);
                } else {
                    elector.read_failed(started);
                }
                self.turn(time, process);
            }
            Event::Wake => {
                if self.processes[process].waiting.is_none() {
                    self.turn(time, process);
                }
            }
            Event::Kill => self.replace(time, process, "killed"),
            Event::Stop => {
                // It ends its term first and then gives the Lease back.
                if let Some((holder, version)) = self.stored.clone()
                    && holder.as_deref() == Some(&self.processes[process].identity)
                {
                    self.processes[process].leads_until = time;
                    self.send(
                        time,
                        process,
                        Request::Write {
                            expected: Some(version),
                            holder: None,
                        },
                    );
                }
                self.replace(time, process, "stopped");
            }
        }
        Ok(())
    }

    /// The only place where someone becomes or stays leader.
    fn extended(&mut self, time: Time, process: usize) -> Result<(), String> {
        let Some(until) = self.processes[process].elector.valid_until() else {
            return Ok(());
        };
        let until = self.truly(process, until);
        if until <= time {
            return Ok(());
        }
        for (index, other) in self.processes.iter().enumerate() {
            if index != process && other.leads_until > time {
                let trace = self.trace.join("\n");
                return Err(format!(
                    "{trace}\n{time}: {} leads until {until}, and {} until {}",
                    self.processes[process].identity, other.identity, other.leads_until
                ));
            }
        }
        let before = self.processes[process].leads_until;
        if before == 0 {
            self.terms += 1;
        }
        self.trace.push(format!(
            "{time}: {} leads until {until}",
            self.processes[process].identity
        ));
        self.processes[process].leads_until = until;
        Ok(())
    }

    fn turn(&mut self, time: Time, process: usize) {
        if self.dice.per_mille(20) && self.hostility.freeze > 0 {
            let length = self.dice.below(self.hostility.freeze);
            self.trace.push(format!(
                "{time}: {} freezes for {length}",
                self.processes[process].identity
            ));
            self.processes[process].frozen_until = time + length;
        }
        let share = self.hostility.deaths * 1000;
        if share > 0 && self.dice.below(share) < 500 {
            let when = time + self.dice.below(1000);
            let event = if self.dice.per_mille(500) {
                Event::Kill
            } else {
                Event::Stop
            };
            self.at(when, process, event);
        }
        let identity = self.processes[process].identity.clone();
        match self.processes[process].elector.turn(self.local(process, time)) {
            Turn::Read => self.send(time, process, Request::Read),
            Turn::Create => self.send(
                time,
                process,
                Request::Write {
                    expected: None,
                    holder: Some(identity),
                },
            ),
            Turn::Replace { version, .. } => {
                self.send(
                    time,
                    process,
                    Request::Write {
                        expected: version.parse().ok(),
                        holder: Some(identity),
                    },
                );
            }
            Turn::Sleep(until) => {
                let end = self.processes[process]
                    .elector
                    .valid_until()
                    .map_or(until, |end| end.min(until));
                let wake = self.truly(process, end).max(time + 1);
                self.at(wake, process, Event::Wake);
            }
            Turn::Lost(_) => self.replace(time, process, "lost"),
        }
    }

    fn send(&mut self, time: Time, process: usize, request: Request) {
        self.sequence += 1;
        let number = self.sequence;
        let now = self.local(process, time);
        let half = self.timing.renew_deadline / 2;
        let patience = self.processes[process]
            .elector
            .valid_until()
            .map_or(half, |end| (end - now).min(half));
        let give_up = self.truly(process, now + patience).max(time + 1);
        self.processes[process].waiting = Some((number, now, request != Request::Read));
        self.at(give_up, process, Event::GiveUp(number));
        if !self.dice.per_mille(self.hostility.loss) {
            let arrival = time + self.delay();
            self.at(arrival, process, Event::Arrive(number, request));
        }
    }

    /// The process ends and another takes its place, under a new name.
    fn replace(&mut self, time: Time, process: usize, why: &str) {
        self.trace
            .push(format!("{time}: {} is {why}", self.processes[process].identity));
        let timing = self.timing;
        let old = &mut self.processes[process];
        old.generation += 1;
        old.identity = format!("p{process}.{}", old.generation);
        old.elector = Elector::new(old.identity.clone(), timing);
        old.waiting = None;
        old.leads_until = 0;
        old.born = time;
        old.frozen_until = 0;
        let start = time + 100 + self.dice.below(2000);
        self.at(start, process, Event::Wake);
    }

    pub(super) fn leaders(&self, time: Time) -> usize {
        self.processes
            .iter()
            .filter(|process| process.leads_until > time)
            .count()
    }
}
