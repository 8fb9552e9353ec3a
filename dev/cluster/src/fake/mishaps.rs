//! What goes wrong with the next savepoint, stop or disposal, on a test's word.

use std::collections::VecDeque;

use super::{FakeFlink, OperationKind, operations::Course, options::Behavior};

/// What is to go wrong, in order of announcement; each once.
#[derive(Default)]
pub(super) struct Mishaps(VecDeque<(OperationKind, Mishap)>);

enum Mishap {
    Fails(String),
    Hangs,
    HangsAtEnd,
}

impl Mishaps {
    /// How the next operation of a kind goes, and what happens when its savepoint is complete. `None`: as ever.
    pub(super) fn course(&mut self, kind: OperationKind) -> Option<(Course, Behavior)> {
        let at = self.0.iter().position(|(of, _)| *of == kind)?;
        self.0.remove(at).map(|(_, mishap)| match mishap {
            Mishap::Fails(cause) => (Course::Fails(cause), Behavior::Works),
            Mishap::Hangs => (Course::Hangs, Behavior::Works),
            Mishap::HangsAtEnd => (Course::Works, Behavior::Hangs),
        })
    }
}

/// Savepoints, stops and disposals that go wrong. Those that Flink would refuse anyway are not counted.
impl FakeFlink {
    /// Fails the next operation of a kind with this Java exception, such as `java.io.IOException: disk full`, and does no other
    /// harm: jobs go on, files of disposals stay. Said twice, it fails two.
    pub fn fail_next(&self, kind: OperationKind, cause: &str) {
        let mishaps = &mut self.shared.jobmanager.lock().mishaps;
        mishaps.0.push_back((kind, Mishap::Fails(cause.to_owned())));
    }

    /// Lets the next operation of a kind hang: its savepoint is never complete, and nothing is disposed of. A savepoint or a stop
    /// fails when its job ends. Said twice, two hang.
    pub fn hang_next(&self, kind: OperationKind) {
        let mishaps = &mut self.shared.jobmanager.lock().mishaps;
        mishaps.0.push_back((kind, Mishap::Hangs));
    }

    /// Lets the next stop hang at its end: its savepoint is complete, the job is RUNNING until it is cancelled, or until
    /// [`finish_job`](Self::finish_job). Said twice, two hang.
    pub fn hang_next_stop(&self) {
        let mishaps = &mut self.shared.jobmanager.lock().mishaps;
        mishaps.0.push_back((OperationKind::Stop, Mishap::HangsAtEnd));
    }

    /// Forgets all outcomes, as after `rest.async.store-duration`: their triggers are unknown, and act again when they are sent
    /// again. What is under way goes on.
    pub fn forget_outcomes(&self) {
        self.with(|jm, _| jm.process.operations.forget_outcomes());
    }
}
