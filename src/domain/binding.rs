//! What a session is bound to: the token's `cnf` claim. A request whose evidence differs opens nothing.

use serde::{Deserialize, Serialize};

use super::digest::Sha256Digest;
use super::evidence::Evidence;

/// The part of the evidence that must be the same at every request of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Binding {
    /// A local process.
    Peer {
        /// User id.
        uid: u32,
        /// Process id.
        pid: u32,
        /// Start time in clock ticks since boot, where known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        start_time: Option<u64>,
        /// Digest of the executable, where known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exe_sha256: Option<Sha256Digest>,
    },
    /// A bootstrap secret.
    Bootstrap {
        /// Digest of the secret.
        secret_sha256: Sha256Digest,
    },
}

impl Binding {
    /// What a session opened with `evidence` is bound to.
    pub fn of(evidence: &Evidence) -> Self {
        match evidence {
            Evidence::Peer(peer) => Self::Peer {
                uid: peer.uid,
                pid: peer.pid,
                start_time: peer.start_time,
                exe_sha256: peer.executable.as_ref().map(|exe| exe.sha256),
            },
            Evidence::Bootstrap(bootstrap) => Self::Bootstrap { secret_sha256: bootstrap.secret_sha256 },
        }
    }

    /// Whether `evidence` is of the same process, secret or subject. A fact that was known at the binding
    /// must be known and the same now.
    pub fn holds_for(&self, evidence: &Evidence) -> bool {
        *self == Self::of(evidence)
    }
}
