//! Breadth-first exploration with the shortest trace to a violation.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt,
    time::{Duration, Instant},
};

use super::{
    shape,
    world::{Scenario, Step, World},
};

/// States to explore at most: a scenario that is larger is too large for every `cargo test`.
const MAX_STATES: usize = 60_000;

pub struct Report {
    pub states: usize,
    pub settled: usize,
    steps: usize,
    time: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} states, {} steps, {} settled, {:.1?}",
            self.states, self.steps, self.settled, self.time
        )
    }
}

/// What went wrong, and how to get there.
pub struct Violation {
    what: String,
    trace: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\nthe shortest way there:", self.what)?;
        self.trace
            .iter()
            .enumerate()
            .try_for_each(|(n, step)| writeln!(f, "{n:3}  {step}"))
    }
}

/// A state that was reached: from where, by which step.
struct Node {
    parent: Option<(u32, Step)>,
    fair: Vec<u32>,
    settled: bool,
}

/// An index as it is stored.
fn index(n: usize) -> u32 {
    u32::try_from(n).unwrap()
}

pub fn explore(scenario: &Scenario) -> Result<Report, Violation> {
    let begun = Instant::now();
    let start = World::start(scenario);
    let mut ids: HashMap<u64, u32> = HashMap::from([(shape::of(&start), 0)]);
    let mut nodes = vec![Node {
        parent: None,
        fair: Vec::new(),
        settled: start.is_settled(),
    }];
    let mut queue = VecDeque::from([(0_u32, start)]);
    let mut steps = 0;
    while let Some((id, world)) = queue.pop_front() {
        for (step, after) in world.steps() {
            steps += 1;
            let next = index(nodes.len());
            let reached = *ids.entry(shape::of(&after)).or_insert(next);
            if step.is_fair() && reached != id {
                nodes[id as usize].fair.push(reached);
            }
            if reached != next {
                continue;
            }
            nodes.push(Node {
                parent: Some((id, step)),
                fair: Vec::new(),
                settled: after.is_settled(),
            });
            if let Some(what) = after.violation() {
                return Err(Violation {
                    what,
                    trace: trace(scenario, &nodes, next),
                });
            }
            queue.push_back((next, after));
        }
        assert!(
            nodes.len() < MAX_STATES,
            "more than {MAX_STATES} states: make the scenario smaller"
        );
    }
    if let Some(stuck) = stuck(&nodes) {
        let what = "this state cannot settle any more, although no further fault happens".to_owned();
        return Err(Violation {
            what,
            trace: dead_end(scenario, &nodes, stuck),
        });
    }
    let settled = nodes.iter().filter(|node| node.settled).count();
    Ok(Report {
        states: nodes.len(),
        settled,
        steps,
        time: begun.elapsed(),
    })
}

/// The first state from which no settled state can be reached by fair steps.
fn stuck(nodes: &[Node]) -> Option<u32> {
    let mut back: Vec<Vec<u32>> = vec![Vec::new(); nodes.len()];
    for (from, node) in nodes.iter().enumerate() {
        for to in &node.fair {
            back[*to as usize].push(index(from));
        }
    }
    let mut can: Vec<bool> = nodes.iter().map(|node| node.settled).collect();
    let mut queue: VecDeque<u32> = (0..)
        .zip(&can)
        .filter(|(_, settled)| **settled)
        .map(|(id, _)| id)
        .collect();
    while let Some(id) = queue.pop_front() {
        for from in &back[id as usize] {
            if !std::mem::replace(&mut can[*from as usize], true) {
                queue.push_back(*from);
            }
        }
    }
    can.iter().position(|can| !can).map(index)
}

/// Replays the steps from the start, so that each line can say what it led to.
fn trace(scenario: &Scenario, nodes: &[Node], id: u32) -> Vec<String> {
    replay(scenario, nodes, id).0
}

/// The same, and where it goes from there when no further fault happens.
fn dead_end(scenario: &Scenario, nodes: &[Node], id: u32) -> Vec<String> {
    let (mut lines, mut world) = replay(scenario, nodes, id);
    lines.push("and without any further fault, for example:".to_owned());
    let mut been = HashSet::from([shape::of(&world)]);
    loop {
        let fair = world.steps().into_iter().filter(|(step, _)| step.is_fair());
        let mut new = fair.filter(|(_, after)| !been.contains(&shape::of(after)));
        let Some((step, after)) = new.next() else { return lines };
        been.insert(shape::of(&after));
        lines.push(format!("{step}: {}", after.explain()));
        world = after;
    }
}

fn replay(scenario: &Scenario, nodes: &[Node], mut id: u32) -> (Vec<String>, World) {
    let mut path = Vec::new();
    while let Some((parent, step)) = &nodes[id as usize].parent {
        path.push(*step);
        id = *parent;
    }
    path.reverse();
    let mut world = World::start(scenario);
    let mut lines = vec![format!("start: {}", world.explain())];
    for step in path {
        world = world.steps().into_iter().find(|(found, _)| *found == step).unwrap().1;
        lines.push(format!("{step}: {}", world.explain()));
    }
    (lines, world)
}
