//! Plays elections in a simulated world with true time, and checks that two processes never lead at once.
//!
//! Requests and replies take any time or get lost, a request whose caller gave up may still be carried out, processes are
//! frozen, killed, restarted and asked to stop, and their clocks run at different rates.

mod hostility;
mod world;

use std::time::Duration;

use proptest::prelude::*;

use self::{
    hostility::{Hostility, PEACE, hostility},
    world::World,
};
use super::Timing;

/// True time in milliseconds.
type Time = u64;

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
