//! How hostile a simulated world is, and the dice that decide what it does.

use proptest::prelude::*;

use super::Time;

/// How hostile a world is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hostility {
    /// Per mille of requests and of replies that are lost.
    pub(super) loss: u64,
    /// Per mille of requests and of replies that take up to `longest`.
    pub(super) slow: u64,
    pub(super) longest: Time,
    /// Longest freeze; 0 = none.
    pub(super) freeze: Time,
    /// Seconds between two kills or stops, on average; 0 = none.
    pub(super) deaths: u64,
}
/// No faults.
pub(super) const PEACE: Hostility = Hostility {
    loss: 0,
    slow: 0,
    longest: 1,
    freeze: 0,
    deaths: 0,
};
/// Any world.
pub(super) fn hostility() -> impl Strategy<Value = Hostility> {
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
/// xorshift64*: small, and the same on every machine.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % bound.max(1)
    }

    pub(super) fn per_mille(&mut self, chance: u64) -> bool {
        self.below(1000) < chance
    }
}
