//! What resources and worlds are made of: times, ids, texts.

use jiff::Timestamp;
use proptest::{prelude::*, sample::select};

use super::super::{
    Refusal,
    case::{INSTALLATION, UID},
};
use crate::{
    api::Reason,
    flink::{InstallationId, JobId, UidHash},
};

// Boxed, since the strategies are large and test threads have small stacks.
pub(super) type Any<T> = BoxedStrategy<T>;

/// When most decisions are made.
const NOW: i64 = 1_800_000_000;

pub(super) fn one<T: Clone + std::fmt::Debug + 'static>(values: &[T]) -> impl Strategy<Value = T> + use<T> {
    select(values.to_vec())
}

/// `usual` much more often than `rare`.
pub(super) fn rarely<T: Clone + std::fmt::Debug + 'static>(
    usual: T,
    rare: impl Strategy<Value = T> + 'static,
) -> Any<T> {
    prop_oneof![6 => Just(usual), 1 => rare].boxed()
}

pub(super) fn seconds(offset: i64) -> Timestamp {
    Timestamp::from_second(NOW + offset).unwrap()
}

pub(super) fn moment() -> Any<Timestamp> {
    let near = [
        -100_000, -2_000, -691, -690, -301, -31, -30, -21, -6, -5, -1, 0, 1, 5, 29, 30, 690, 100_000,
    ];
    prop_oneof![
        20 => one(&near).prop_map(seconds),
        1 => one(&[Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX]),
    ]
    .boxed()
}

/// Mostly of a handful of attempts of this resource.
pub(super) fn job_id() -> Any<JobId> {
    let owner = UidHash::of(UID);
    let others = [
        JobId::new(InstallationId([9; 4]), owner, 3),
        JobId::new(INSTALLATION, UidHash([7; 8]), 1),
        JobId([0xee; 16]),
    ];
    let late = u32::try_from(NOW).unwrap();
    prop_oneof![
        12 => one(&[1, 2, 3, late]).prop_map(move |attempt| JobId::new(INSTALLATION, owner, attempt)),
        1 => one(&others),
    ]
    .boxed()
}

pub(super) fn text() -> Any<String> {
    prop_oneof![
        8 => Just("told by the test; do this".to_owned()),
        1 => "[ -~]{0,40}",
        1 => one(&["\"", "\\", "\u{1}", "é", "\u{1f980}"]).prop_map(|c| c.repeat(2000)),
    ]
    .boxed()
}

pub(super) fn refusal() -> Any<Refusal> {
    (one(Reason::ALL), text())
        .prop_map(|(reason, message)| Refusal::new(reason, message))
        .boxed()
}
