//! in-toto Statements v1 (<https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md>): the payload
//! of every record. What is common to all kinds (chain, sequence, back link, time, gateway) is added here, so
//! that no caller can get it wrong.

use serde::Serialize;

use super::predicate::{Predicate, rfc3339};
use crate::domain::clock::Timestamp;
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::{GatewayRunId, SessionId, SpiffeId};

/// `_type` of every statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// A `predicateType` is this, the kind, and [`PREDICATE_SUFFIX`].
pub const PREDICATE_PREFIX: &str = "urn:chancery:attestation:";
/// See [`PREDICATE_PREFIX`].
pub const PREDICATE_SUFFIX: &str = ":v1";

/// What a record is about, by digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// A name that tells subjects of one record apart.
    pub name: String,
    /// Its digest.
    pub sha256: Sha256Digest,
}

/// A record before it has its place in a chain.
#[derive(Debug)]
pub struct Statement {
    subject: Subject,
    predicate: Predicate,
}

impl Statement {
    /// A record that says `predicate`. Its subject: the message's params for a decision (as forwarded, else as
    /// received), the token where one is issued, the policy set, the key, else the chain itself by its back link.
    pub fn new(predicate: Predicate, link: &Link) -> Self {
        let named = |name: &str, sha256| Subject { name: name.to_owned(), sha256 };
        let subject = match &predicate {
            Predicate::Decision(d) => named("params", d.request.forwarded.unwrap_or(d.request.received)),
            Predicate::SessionOpen(open) => named("token", open.token.sha256),
            Predicate::SessionRenew(renew) => named("token", renew.token.sha256),
            Predicate::IdentityToken(identity) => named("token", identity.token.sha256),
            Predicate::PolicyChange(change) => named("policy-set", change.policy_set),
            Predicate::GatewayStart(start) => named("certificate", start.key.chain),
            Predicate::KeyChange(change) => named("certificate", change.key.chain),
            Predicate::SessionClose(_)
            | Predicate::GatewayStop(_)
            | Predicate::ToolChange(_)
            | Predicate::StateChange(_)
            | Predicate::RefusalSummary(_)
            | Predicate::Gap(_) => named("previous-record", link.previous.unwrap_or(Sha256Digest::of(b""))),
        };
        Self { subject, predicate }
    }

    /// What the record says.
    pub fn predicate(&self) -> &Predicate {
        &self.predicate
    }
}

/// The place of a record in its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Counted from 0 without gaps.
    pub seq: u64,
    /// Digest of the payload of the chain's record before; none for the first.
    pub previous: Option<Sha256Digest>,
}

/// Who keeps the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayInfo {
    /// The gateway's SPIFFE ID; all its keys carry it.
    pub spiffe_id: SpiffeId,
    /// chancery's version.
    pub version: String,
    /// This run of the process.
    pub run: GatewayRunId,
}

/// Which chain a record stands in: a session's own, or that of the run of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChainId {
    /// A session's.
    Session(SessionId),
    /// The gateway's.
    Gateway(GatewayRunId),
}

impl ChainId {
    /// The session, if it is one's.
    pub const fn session(self) -> Option<SessionId> {
        match self {
            Self::Session(id) => Some(id),
            Self::Gateway(_) => None,
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "_type")]
    kind: &'static str,
    subject: [SubjectJson<'a>; 1],
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Body<'a>,
}

#[derive(Serialize)]
struct SubjectJson<'a> {
    name: &'a str,
    digest: DigestJson,
}

#[derive(Serialize)]
struct DigestJson {
    sha256: Sha256Digest,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<SessionId>,
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<Sha256Digest>,
    #[serde(serialize_with = "rfc3339")]
    time: Timestamp,
    gateway: GatewayJson<'a>,
    #[serde(flatten)]
    predicate: &'a Predicate,
}

#[derive(Serialize)]
struct GatewayJson<'a> {
    id: &'a str,
    version: &'a str,
    run: GatewayRunId,
}

/// The payload's bytes.
pub(super) fn encode(
    statement: &Statement,
    chain: ChainId,
    link: &Link,
    time: Timestamp,
    gateway: &GatewayInfo,
) -> Result<Vec<u8>, serde_json::Error> {
    let subject = SubjectJson {
        name: &statement.subject.name,
        digest: DigestJson { sha256: statement.subject.sha256 },
    };
    serde_json::to_vec(&Document {
        kind: STATEMENT_TYPE,
        subject: [subject],
        predicate_type: format!("{PREDICATE_PREFIX}{}{PREDICATE_SUFFIX}", statement.predicate.kind()),
        predicate: Body {
            session: chain.session(),
            seq: link.seq,
            previous: link.previous,
            time,
            gateway: GatewayJson {
                id: gateway.spiffe_id.as_str(),
                version: &gateway.version,
                run: gateway.run,
            },
            predicate: &statement.predicate,
        },
    })
}
