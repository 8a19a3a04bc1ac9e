//! Who asks: the token's `sub` and the principal of every decision.

use std::fmt;
use std::sync::Arc;

use super::evidence::{Evidence, EvidenceKind};

/// An admitted agent's name: `peer:<uid>:<exe sha256 or "-">`, `bootstrap:<uid of the file>`, `oidc:<iss>#<sub>`, a SPIFFE ID,
/// or `anonymous`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    kind: EvidenceKind,
    id: Arc<str>,
}

impl Principal {
    /// The principal that `evidence` proves.
    pub fn of(evidence: &Evidence) -> Self {
        let id = match evidence {
            Evidence::Peer(peer) => match &peer.executable {
                Some(exe) => format!("peer:{}:{}", peer.uid, exe.sha256),
                None => format!("peer:{}:-", peer.uid),
            },
            Evidence::Bootstrap(bootstrap) => format!("bootstrap:{}", bootstrap.file_uid),
            Evidence::Oidc(oidc) => format!("oidc:{}#{}", oidc.issuer, oidc.subject),
            Evidence::Mtls(mtls) => mtls.spiffe_id.to_string(),
            Evidence::Anonymous => "anonymous".to_owned(),
        };
        Self { kind: evidence.kind(), id: id.into() }
    }

    /// The name as it stands in `sub`.
    pub fn as_str(&self) -> &str {
        &self.id
    }

    /// What kind of evidence it rests on.
    pub const fn kind(&self) -> EvidenceKind {
        self.kind
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}
