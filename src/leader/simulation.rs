//! Plays elections in a simulated world with true time, and checks that two processes never lead at once.
//!
//! Requests and replies take any time or get lost, a request whose caller gave up may still be carried out, processes are
//! frozen, killed, restarted and asked to stop, and their clocks run at different rates.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::{
    Timing,
    elector::{Elector, Record, Turn, Written},
};

/// True time in milliseconds.
type Time = u64;

/// How hostile a world is.
#[derive(Debug, Clone, Copy)]
struct Hostility {
    /// Per mille of requests and of replies that are lost.
    loss: u64,
    /// Per mille of requests and of replies that take up to `longest`.
    slow: u64,
    longest: Time,
    /// Longest freeze; 0 = none.
    freeze: Time,
    /// Seconds between two kills or stops, on average; 0 = none.
    deaths: u64,
}

/// xorshift64*: small, and the same on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % bound.max(1)
    }

    fn per_mille(&mut self, chance: u64) -> bool {
        self.below(1000) < chance
    }
}

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

struct World {
    dice: Dice,
    hostility: Hostility,
    timing: Timing,
    epoch: Instant,
    queue: BinaryHeap<Reverse<Entry>>,
    sequence: u64,
    stored: Option<(Option<String>, u64)>,
    version: u64,
    processes: Vec<Process>,
    trace: Vec<String>,
    terms: u32,
}

impl World {
    fn new(seed: u64, candidates: usize, hostility: Hostility, timing: Timing) -> Self {
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
    fn run(&mut self, end: Time) -> Result<(), String> {
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

    fn leaders(&self, time: Time) -> usize {
        self.processes
            .iter()
            .filter(|process| process.leads_until > time)
            .count()
    }
}

fn hostility() -> impl Strategy<Value = Hostility> {
    (
        0..300_u64,
        0..500_u64,
        100..30_000_u64,
        0..40_000_u64,
        prop_oneof![Just(0), 5..60_u64],
    )
        .prop_map(|(loss, slow, longest, freeze, deaths)| Hostility {
            loss,
            slow,
            longest,
            freeze,
            deaths,
        })
}

const PEACE: Hostility = Hostility {
    loss: 0,
    slow: 0,
    longest: 1,
    freeze: 0,
    deaths: 0,
};

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_two_leaders_and_one_again_when_the_faults_stop(
        seed in any::<u64>(), candidates in 2..4_usize, hostility in hostility()
    ) {
        let mut world = World::new(seed, candidates, hostility, Timing::default());
        world.run(300_000).map_err(TestCaseError::fail)?;

        // What is frozen or on the wire comes to an end, then the longest lease, a look and a write.
        world.hostility = PEACE;
        world.run(300_000 + 40_000 + 30_000 + 30_000).map_err(TestCaseError::fail)?;
        prop_assert_eq!(world.leaders(400_000), 1, "{}", world.trace.join("\n"));
    }
}

#[test]
fn the_simulation_sees_elections_and_can_fail() {
    let rough = Hostility {
        loss: 100,
        slow: 300,
        longest: 20_000,
        freeze: 30_000,
        deaths: 20,
    };
    let terms: u32 = (0..20)
        .map(|seed| {
            let mut world = World::new(seed * 7919, 3, rough, Timing::default());
            world.run(300_000).unwrap();
            world.terms
        })
        .sum();
    assert!(
        terms > 40,
        "only {terms} terms in 20 worlds: the simulation is too tame"
    );

    // A term that outlives the lease must be caught.
    let unsafe_timing = Timing {
        renew_deadline: Duration::from_secs(25),
        ..Timing::default()
    };
    let caught = (0..20).any(|seed| World::new(seed * 7919, 3, rough, unsafe_timing).run(300_000).is_err());
    assert!(caught);
}
