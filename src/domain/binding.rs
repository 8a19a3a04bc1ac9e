//! What a session is bound to: the token's `cnf` claim. A request whose evidence differs opens nothing.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::digest::Sha256Digest;
use super::evidence::Evidence;
use super::ids::SpiffeId;

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
    /// Someone whom an issuer vouches for, by one client.
    Oidc {
        /// The issuer.
        iss: Arc<str>,
        /// The subject.
        sub: Arc<str>,
        /// The client that the issuer gave the token to, where it says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        azp: Option<Arc<str>>,
    },
    /// A workload.
    Mtls {
        /// Its SPIFFE ID.
        spiffe_id: SpiffeId,
    },
    /// Nobody: the token's holder, whoever that is.
    Anonymous {},
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
            Evidence::Oidc(oidc) => Self::Oidc {
                iss: Arc::clone(&oidc.issuer),
                sub: Arc::clone(&oidc.subject),
                azp: oidc.client.clone(),
            },
            Evidence::Mtls(mtls) => Self::Mtls { spiffe_id: mtls.spiffe_id.clone() },
            Evidence::Anonymous => Self::Anonymous {},
        }
    }

    /// Whether `evidence` is of the same process, secret or subject. A fact that was known at the binding
    /// must be known and the same now.
    pub fn holds_for(&self, evidence: &Evidence) -> bool {
        *self == Self::of(evidence)
    }
}
