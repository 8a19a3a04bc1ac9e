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

    /// The principal that bears this name, of a record or of a test's case. It proves nothing: who admits someone
    /// has evidence, and uses [`Principal::of`]. `None` if no evidence gives such a name.
    pub fn named(name: &str) -> Option<Self> {
        let uid = |text: &str| text.parse::<u32>().is_ok();
        let (scheme, rest) = name.split_once(':').unwrap_or((name, ""));
        let kind = match scheme {
            "peer" => rest
                .split_once(':')
                .filter(|(user, exe)| uid(user) && !exe.is_empty())
                .map(|_| EvidenceKind::Peer),
            "bootstrap" => uid(rest).then_some(EvidenceKind::Bootstrap),
            "oidc" => rest.contains('#').then_some(EvidenceKind::Oidc),
            "spiffe" => name.parse::<super::ids::SpiffeId>().ok().map(|_| EvidenceKind::Mtls),
            "anonymous" => rest.is_empty().then_some(EvidenceKind::Anonymous),
            _ => None,
        };
        Some(Self { kind: kind?, id: name.into() })
    }

    /// The user id that the name tells, where it tells one.
    pub fn uid(&self) -> Option<u32> {
        let rest = self.id.strip_prefix("peer:").or_else(|| self.id.strip_prefix("bootstrap:"))?;
        rest.split(':').next()?.parse().ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written_and_no_others() {
        for (name, kind, uid) in [
            ("peer:1000:-", EvidenceKind::Peer, Some(1000)),
            ("bootstrap:7", EvidenceKind::Bootstrap, Some(7)),
            ("oidc:https://idp.example#alice", EvidenceKind::Oidc, None),
            ("spiffe://example.org/a", EvidenceKind::Mtls, None),
            ("anonymous", EvidenceKind::Anonymous, None),
        ] {
            let principal = Principal::named(name).unwrap();
            assert_eq!((principal.as_str(), principal.kind(), principal.uid()), (name, kind, uid));
        }
        for name in ["", "alice", "peer:x:-", "peer:1", "bootstrap:", "oidc:x", "spiffe://", "anonymous:1"] {
            assert_eq!(Principal::named(name), None, "{name}");
        }
    }
}
