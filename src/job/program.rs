//! A program that is ready to be submitted, and the refusal of one that is not.

use std::{collections::BTreeMap, fmt::Write as _};

use sha2::{Digest, Sha256};

use crate::api::Reason;

/// Why a spec cannot be run as it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Refusal {
    /// The stable word.
    pub reason: Reason,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

/// The body of a submission, variables expanded. Never printed: arguments may hold secrets.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Program {
    /// The class with `main()`.
    pub entry_class: Option<String>,
    /// The arguments.
    pub args: Vec<String>,
    /// The default parallelism.
    pub parallelism: Option<i32>,
    /// The job's Flink configuration, `pipeline.name` included.
    pub configuration: BTreeMap<String, String>,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("entry_class", &self.entry_class)
            .finish_non_exhaustive()
    }
}

impl Program {
    /// A hash of the body, 32 hexadecimal digits. A repeated request must have the same.
    ///
    /// Each text is hashed with its length before it, so that no two bodies share an encoding.
    #[must_use]
    pub fn body_hash(&self) -> String {
        let mut hasher = Sha256::new();
        let mut text = |text: &str| {
            hasher.update(text.len().to_be_bytes());
            hasher.update(text.as_bytes());
        };
        text(self.entry_class.as_deref().unwrap_or_default());
        text(&self.args.len().to_string());
        self.args.iter().for_each(|arg| text(arg));
        text(&self.parallelism.unwrap_or_default().to_string());
        for (key, value) in &self.configuration {
            text(key);
            text(value);
        }
        hasher
            .finalize()
            .iter()
            .take(16)
            .fold(String::with_capacity(32), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            })
    }
}
