//! What is known of who stands at the other end of a connection (DESIGN: admission).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::digest::Sha256Digest;
use super::ids::SpiffeId;

/// The kinds of evidence, as they stand in a token's `amr` and in an attestation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EvidenceKind {
    /// The kernel's word on a local process.
    Peer,
    /// A secret read from a file that only one user can read.
    Bootstrap,
    /// A bearer token of a configured issuer.
    Oidc,
    /// A client's X.509-SVID.
    Mtls,
    /// None: configured so, on loopback.
    Anonymous,
}

impl EvidenceKind {
    /// The stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Bootstrap => "bootstrap",
            Self::Oidc => "oidc",
            Self::Mtls => "mtls",
            Self::Anonymous => "anonymous",
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
    /// A bearer token was presented, and verified.
    Oidc(OidcEvidence),
    /// The connection's client proved a SPIFFE ID.
    Mtls(MtlsEvidence),
    /// Nothing was asked for.
    Anonymous,
}

impl Evidence {
    /// Its kind.
    pub const fn kind(&self) -> EvidenceKind {
        match self {
            Self::Peer(_) => EvidenceKind::Peer,
            Self::Bootstrap(_) => EvidenceKind::Bootstrap,
            Self::Oidc(_) => EvidenceKind::Oidc,
            Self::Mtls(_) => EvidenceKind::Mtls,
            Self::Anonymous => EvidenceKind::Anonymous,
        }
    }

    /// Digest of the bearer token that it rests on: another one of the same subject may prove other groups.
    pub fn bearer(&self) -> Option<Sha256Digest> {
        match self {
            Self::Oidc(oidc) => Some(oidc.token_sha256),
            Self::Peer(_) | Self::Bootstrap(_) | Self::Mtls(_) | Self::Anonymous => None,
        }
    }

    /// The claims of a bearer token that configuration lets through.
    pub fn claims(&self) -> Option<&Arc<PassedClaims>> {
        match self {
            Self::Oidc(oidc) => Some(&oidc.claims),
            Self::Peer(_) | Self::Bootstrap(_) | Self::Mtls(_) | Self::Anonymous => None,
        }
    }

    /// The groups that it proves, named as policies name them.
    pub fn groups(&self) -> &[String] {
        match self {
            Self::Oidc(oidc) => &oidc.groups,
            Self::Mtls(mtls) => &mtls.groups,
            Self::Peer(_) | Self::Bootstrap(_) | Self::Anonymous => &[],
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

/// Claims of a bearer token by name: each a set of texts, in order. A claim that was one text is a set of one.
pub type PassedClaims = BTreeMap<String, Vec<String>>;

/// A verified bearer token: a JWT access token of a configured issuer (RFC 9068) for this gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OidcEvidence {
    /// Its `iss`.
    pub issuer: Arc<str>,
    /// Its `sub`.
    pub subject: Arc<str>,
    /// The client that it was issued to: `azp`, else `client_id`.
    pub client: Option<Arc<str>>,
    /// Its groups, each with the prefix that configuration gives them.
    pub groups: Arc<[String]>,
    /// Its `scope`, taken apart.
    pub scopes: Arc<[String]>,
    /// The other claims that configuration lets through.
    pub claims: Arc<PassedClaims>,
    /// Digest of the token; the token itself goes no further.
    pub token_sha256: Sha256Digest,
}

/// A client certificate that led to a trust bundle when its connection was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MtlsEvidence {
    /// Whose it is.
    pub spiffe_id: SpiffeId,
    /// SHA-256 of its DER.
    pub leaf_sha256: Sha256Digest,
    /// The SPIFFE ID's trust domain and each folder of its path, as SPIFFE IDs.
    pub groups: Arc<[String]>,
}

impl MtlsEvidence {
    /// Of a verified leaf: `spiffe://a.org/ns/prod/x` is in the groups `spiffe://a.org`, `spiffe://a.org/ns` and
    /// `spiffe://a.org/ns/prod`.
    pub fn new(spiffe_id: SpiffeId, leaf_sha256: Sha256Digest) -> Self {
        let text = spiffe_id.as_str();
        let path = "spiffe://".len() + spiffe_id.trust_domain().len();
        let folders = text.match_indices('/').filter(|(at, _)| *at >= path);
        let groups = folders.filter_map(|(at, _)| text.get(..at).map(str::to_owned)).collect();
        Self { spiffe_id, leaf_sha256, groups }
    }
}
