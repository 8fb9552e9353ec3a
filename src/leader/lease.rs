//! Reads and writes `coordination.k8s.io/v1` Leases.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};

use super::elector::Record;

/// What a stored Lease says.
pub(super) fn record(lease: &Lease) -> Record {
    let spec = lease.spec.as_ref();
    let holder = spec
        .and_then(|spec| spec.holder_identity.clone())
        .filter(|holder| !holder.is_empty());
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
    Record {
        holder,
        lease_duration: Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
    }
}

/// A Lease in our name: a new one, or the given one with everything kept that is not ours to say.
///
/// The wall clock times in it are for people; nobody decides by them.
pub(super) fn in_our_name(before: Option<&Lease>, name: &str, identity: &str, duration: Duration, take: bool) -> Lease {
    let now = MicroTime(Timestamp::now());
    let mut lease = before.cloned().unwrap_or_else(|| Lease {
        metadata: ObjectMeta {
            name: Some(name.into()),
            ..ObjectMeta::default()
        },
        ..Lease::default()
    });
    let mut spec = lease.spec.take().unwrap_or_default();
    if take {
        spec.acquire_time = Some(now.clone());
        spec.lease_transitions = Some(
            spec.lease_transitions
                .map_or(0, |transitions| transitions.saturating_add(1)),
        );
    }
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(identity.into()),
        lease_duration_seconds: Some(whole_seconds(duration)),
        renew_time: Some(now),
        ..spec
    });
    lease
}

/// The Lease without a holder: the next candidate need not wait.
pub(super) fn released(before: &Lease) -> Lease {
    let mut lease = before.clone();
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(String::new()),
        // The API server refuses 0; client-go writes 1 as well.
        lease_duration_seconds: Some(1),
        renew_time: Some(MicroTime(Timestamp::now())),
        ..lease.spec.unwrap_or_default()
    });
    lease
}

/// Rounded up: others wait longer rather than shorter than the leader thinks.
fn whole_seconds(duration: Duration) -> i32 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_keeps_what_others_wrote_and_counts_its_holders() {
        let mut lease = in_our_name(None, "operator", "a", Duration::from_millis(1500), true);
        lease.metadata.resource_version = Some("1".into());
        lease.metadata.labels = Some([("team".to_owned(), "data".to_owned())].into());
        let spec = lease.spec.as_ref().unwrap();
        assert_eq!(
            (spec.lease_duration_seconds, spec.lease_transitions),
            (Some(2), Some(0))
        );

        let renewed = in_our_name(Some(&lease), "operator", "a", Duration::from_secs(15), false);
        assert_eq!(renewed.spec.as_ref().unwrap().lease_transitions, Some(0));
        assert_eq!(renewed.spec.as_ref().unwrap().acquire_time, spec.acquire_time);

        let taken = in_our_name(Some(&renewed), "operator", "b", Duration::from_secs(15), true);
        assert_eq!(taken.spec.as_ref().unwrap().lease_transitions, Some(1));
        assert_eq!(taken.metadata, lease.metadata);
        assert_eq!(record(&taken).holder.as_deref(), Some("b"));
        assert_eq!(record(&released(&taken)).holder, None);
    }
}
