//! Values that are computed when they are asked for, so that they are true even when nobody updates them.

use std::{collections::BTreeMap, fmt, sync::Arc};

use parking_lot::RwLock;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        gauge::ConstGauge,
    },
    registry::Unit,
};

use super::labels::{Kind, Label};
use crate::leader::Leadership;

type Count = Box<dyn Fn(&mut BTreeMap<&'static str, u64>) + Send + Sync>;

/// How safe the state of all running jobs is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StateSafety {
    /// Jobs whose condition `StateSafe` is True.
    pub safe: u64,
    /// Those where it is False.
    pub unsafe_: u64,
    /// Those where it is Unknown.
    pub unknown: u64,
    /// The age of the oldest of the newest states that running jobs can be restored from, in seconds.
    pub oldest_seconds: Option<f64>,
}

type Safety = Box<dyn Fn() -> StateSafety + Send + Sync>;

/// Errors by kind and reason. Reasons are words of the API contract, known when the program is compiled.
#[derive(Debug, Clone, Default)]
pub(super) struct Errors {
    cells: Arc<RwLock<BTreeMap<(Kind, &'static str), Counter>>>,
}

impl Errors {
    pub(super) fn count(&self, kind: Kind, reason: &'static str) {
        if let Some(counter) = self.cells.read().get(&(kind, reason)) {
            counter.inc();
            return;
        }
        self.cells.write().entry((kind, reason)).or_default().inc();
    }
}

/// What is asked at each scrape.
#[derive(Default)]
pub(super) struct Sources {
    pub(super) resources: RwLock<Vec<(Kind, Count)>>,
    pub(super) safety: RwLock<Option<Safety>>,
    pub(super) leadership: RwLock<Option<Leadership>>,
    pub(super) errors: Errors,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("resources", &self.resources.read().len())
            .finish_non_exhaustive()
    }
}

impl Collector for Sources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.errors(&mut encoder)?;
        self.resources(&mut encoder)?;
        self.safety(&mut encoder)?;
        if let Some(leadership) = &*self.leadership.read() {
            let leads = ConstGauge::new(i64::from(leadership.is_leader()));
            leads.encode(encoder.encode_descriptor(
                "flinkjobs_leader",
                "Whether this process is the leader.",
                None,
                MetricType::Gauge,
            )?)?;
        }
        let build = ConstGauge::new(1_i64);
        let mut info = encoder.encode_descriptor(
            "flinkjobs_build_info",
            "The version of the operator; always 1.",
            None,
            MetricType::Gauge,
        )?;
        build.encode(info.encode_family(&[("version", env!("CARGO_PKG_VERSION"))])?)
    }
}

impl Sources {
    fn errors(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let cells = self.errors.cells.read();
        if cells.is_empty() {
            return Ok(());
        }
        let help = "Reconciles that ended in an error, by reason.";
        let mut family = encoder.encode_descriptor("flinkjobs_reconcile_errors", help, None, MetricType::Counter)?;
        for ((kind, reason), counter) in cells.iter() {
            let labels = [(Kind::NAME, kind.value()), ("reason", reason)];
            ConstCounter::new(counter.get()).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn safety(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(safety) = self.safety.read().as_ref().map(|safety| safety()) else {
            return Ok(());
        };
        let help = "Running jobs by their condition StateSafe.";
        let mut family = encoder.encode_descriptor("flinkjobs_state_safe", help, None, MetricType::Gauge)?;
        for (status, count) in [
            ("True", safety.safe),
            ("False", safety.unsafe_),
            ("Unknown", safety.unknown),
        ] {
            let gauge = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
            gauge.encode(family.encode_family(&[("status", status)])?)?;
        }
        if let Some(oldest) = safety.oldest_seconds {
            let help = "What the running job with the oldest restorable state would do again if it died now.";
            let name = "flinkjobs_state_age_max";
            let age = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
            ConstGauge::new(oldest).encode(age)?;
        }
        Ok(())
    }

    fn resources(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut counts: BTreeMap<Kind, BTreeMap<&'static str, u64>> = BTreeMap::new();
        for (kind, count) in self.resources.read().iter() {
            count(counts.entry(*kind).or_default());
        }
        if counts.values().all(BTreeMap::is_empty) {
            return Ok(());
        }
        let help = "Resources by phase.";
        let mut family = encoder.encode_descriptor("flinkjobs_resources", help, None, MetricType::Gauge)?;
        for (kind, phases) in &counts {
            for (phase, &count) in phases {
                let labels = [(Kind::NAME, kind.value()), ("phase", phase)];
                let gauge = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
                gauge.encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
