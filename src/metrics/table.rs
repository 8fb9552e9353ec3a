//! Metrics with fixed labels, resolved once: an update is an index and an atomic addition.

use std::{fmt, marker::PhantomData, sync::Arc};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeMetric, LabelSetEncoder, MetricEncoder},
    metrics::{MetricType, TypedMetric},
};

use super::labels::Label;

/// One metric for each pair of label values. Unlike the crate's `Family` it takes no lock and no hash to find one, shows
/// zeroes from the start (so that rates have a first value), and is printed in a fixed order.
pub(super) struct Table<A, B, M> {
    cells: Arc<[M]>,
    labels: PhantomData<fn(A, B)>,
}

impl<A, B, M> Clone for Table<A, B, M> {
    fn clone(&self) -> Self {
        Self {
            cells: self.cells.clone(),
            labels: PhantomData,
        }
    }
}

impl<A, B, M: fmt::Debug> fmt::Debug for Table<A, B, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cells.fmt(f)
    }
}

impl<A: Label, B: Label, M> Table<A, B, M> {
    pub(super) fn new(cell: impl FnMut() -> M) -> Self {
        let cells = std::iter::repeat_with(cell).take(A::ALL.len() * B::ALL.len()).collect();
        Self {
            cells,
            labels: PhantomData,
        }
    }

    /// The metric of these labels. There is always one; `Option` only keeps the look-up free of panics.
    pub(super) fn of(&self, a: A, b: B) -> Option<&M> {
        self.cells.get(a.index() * B::ALL.len() + b.index())
    }
}

struct Pair<A, B>(A, B);

impl<A: Label, B: Label> EncodeLabelSet for Pair<A, B> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        let first = (A::NAME, self.0.value());
        if B::NAME.is_empty() {
            [first].encode(encoder)
        } else {
            [first, (B::NAME, self.1.value())].encode(encoder)
        }
    }
}

impl<A: Label, B: Label, M: EncodeMetric + TypedMetric> EncodeMetric for Table<A, B, M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        for &a in A::ALL {
            for &b in B::ALL {
                if let Some(cell) = self.of(a, b) {
                    let labels = Pair(a, b);
                    cell.encode(encoder.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}
