//! How the log is kept.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a record must have survived before its [`super::Receipt`] is given, and with it the permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The disk has it (`fdatasync`): survives a crash of the machine.
    #[default]
    Fsync,
    /// The kernel has it: survives a crash of the gateway, not of the machine.
    Written,
    /// It waits in memory: invariant I1 without the disk. A crash loses what was not yet written.
    Queued,
}

impl Durability {
    /// The stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::Written => "written",
            Self::Queued => "queued",
        }
    }
}

/// Settings of a [`super::Log`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The log's directory; made if missing (mode 0700).
    pub dir: PathBuf,
    /// What a receipt promises.
    pub durability: Durability,
    /// A segment that has reached this many bytes is followed by a new one.
    pub segment_bytes: u64,
    /// Records that may wait for the writer; more are refused.
    pub queue: usize,
}

impl Config {
    /// The defaults for a log at `dir`: `fsync`, segments of 64 MiB, a queue of 8,192 records.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            durability: Durability::default(),
            segment_bytes: 64 * 1024 * 1024,
            queue: 8192,
        }
    }
}
