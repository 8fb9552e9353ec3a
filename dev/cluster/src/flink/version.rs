//! The versions of Flink that are tested.

use std::fmt;

/// A release of Flink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FlinkVersion {
    /// The last release line of Flink 1.
    V1_20,
    /// The current release line.
    #[default]
    V2_3,
}

impl FlinkVersion {
    /// All versions, oldest first.
    pub const ALL: [Self; 2] = [Self::V1_20, Self::V2_3];

    /// The full version of the distribution, as `/config` reports it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_20 => "1.20.5",
            Self::V2_3 => "2.3.0",
        }
    }

    /// The version of the example jar. Not every patch release has one.
    #[must_use]
    pub fn examples(self) -> &'static str {
        match self {
            Self::V1_20 => "1.20.0",
            Self::V2_3 => "2.3.0",
        }
    }
}

impl fmt::Display for FlinkVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
