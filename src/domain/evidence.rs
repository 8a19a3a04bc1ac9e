//! What is known of who stands at the other end of a connection (DESIGN: admission).

use std::path::PathBuf;

use super::digest::Sha256Digest;

/// The kinds of evidence, as they stand in a token's `amr` and in an attestation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EvidenceKind {
    /// The kernel's word on a local process.
    Peer,
    /// A secret read from a file that only one user can read.
    Bootstrap,
}

impl EvidenceKind {
    /// The stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Bootstrap => "bootstrap",
        }
    }
}

/// Evidence of one request, collected anew for every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// A local process: on a Unix socket its peer, on stdio the parent.
    Peer(PeerEvidence),
    /// A bootstrap secret was presented.
    Bootstrap(BootstrapEvidence),
}

impl Evidence {
    /// Its kind.
    pub const fn kind(&self) -> EvidenceKind {
        match self {
            Self::Peer(_) => EvidenceKind::Peer,
            Self::Bootstrap(_) => EvidenceKind::Bootstrap,
        }
    }
}

/// What the kernel says of a local process. What it does not say is absent, never assumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerEvidence {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot (`/proc/<pid>/stat` field 22); with `pid` it names one process.
    pub start_time: Option<u64>,
    /// The executable, where `/proc` lets us read it (same uid).
    pub executable: Option<Executable>,
    /// True when the process is our parent on a pipe: it may be a shell or `npx`, not the agent itself.
    pub parent: bool,
}

/// A running executable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executable {
    /// Where it was when it started.
    pub path: PathBuf,
    /// Digest of the file that runs.
    pub sha256: Sha256Digest,
}

/// A bootstrap secret that matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapEvidence {
    /// Digest of the secret; the secret itself goes no further.
    pub secret_sha256: Sha256Digest,
    /// Owner of the secret's file.
    pub file_uid: u32,
}
