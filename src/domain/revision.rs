//! Protocol revisions of MCP.

use std::fmt;
use std::str::FromStr;

/// A revision of the Model Context Protocol that chancery speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Revision {
    /// 2024-11-05: the first; HTTP+SSE transport (not served), stdio.
    R2024_11_05,
    /// 2025-03-26: streamable HTTP, JSON-RPC batches.
    R2025_03_26,
    /// 2025-06-18: no batches, `MCP-Protocol-Version` header.
    R2025_06_18,
    /// 2025-11-25.
    R2025_11_25,
}

impl Revision {
    /// The newest revision that is offered when a client asks for an unknown one.
    pub const LATEST: Self = Self::R2025_11_25;

    /// All, oldest first.
    pub const ALL: [Self; 4] = [Self::R2024_11_05, Self::R2025_03_26, Self::R2025_06_18, Self::R2025_11_25];

    /// The date that names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::R2024_11_05 => "2024-11-05",
            Self::R2025_03_26 => "2025-03-26",
            Self::R2025_06_18 => "2025-06-18",
            Self::R2025_11_25 => "2025-11-25",
        }
    }

    /// Whether JSON-RPC batches exist in it.
    pub const fn has_batches(self) -> bool {
        matches!(self, Self::R2025_03_26)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A revision that chancery does not speak.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unsupported protocol version; supported: 2025-11-25, 2025-06-18, 2025-03-26, 2024-11-05")]
pub struct UnknownRevision;

impl FromStr for Revision {
    type Err = UnknownRevision;

    fn from_str(text: &str) -> Result<Self, UnknownRevision> {
        Self::ALL.into_iter().find(|r| r.as_str() == text).ok_or(UnknownRevision)
    }
}
