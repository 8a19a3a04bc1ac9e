//! What each kind of record says. These types are written only; `audit` reads with types of its own, so that
//! a reader never depends on what a writer meant.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::labels;
use crate::domain::clock::Timestamp;
use crate::domain::decision::{Effect, Ruling};
use crate::domain::digest::Sha256Digest;
use crate::domain::evidence::EvidenceKind;
use crate::domain::ids::{DecisionId, ServerName};
use crate::domain::refusal::DenyReason;
use crate::keys::PublicSvid;

pub use super::entry::{FailureEntry, PolicyEntry};
pub use super::gateway::{
    GatewayStart, GatewayStop, KeyChange, KeyRef, LogGap, PolicyCause, PolicyChange, PolicyFile, PolicyNames,
    PolicySummary, RefusalCount, RefusalSummary, ShadowSet, ToolChange, ToolDrift, ToolEffect, ToolEntry,
    TornTail,
};
pub use super::identity_token::{IdentityToken, IdentityTokenClaims};
pub use super::issued::{ClientRef, TokenClaims, TokenRef};
pub use super::labels::{CloseReason, Direction, GapCause};
pub use super::prospect::Candidate;
pub use super::state::{AddedLabel, CallsRef, LiftedLabel, SessionStateRef, StateChange, StateRef, UsageRef};

/// The body of a record; its variant names the `predicateType`.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
#[allow(clippy::large_enum_variant, reason = "decisions are the largest, and nearly all there is")]
pub enum Predicate {
    /// A session's token was issued.
    SessionOpen(SessionOpen),
    /// A message was allowed or denied.
    Decision(Decision),
    /// A session's current token was replaced.
    SessionRenew(SessionRenew),
    /// The session's tool server is told who calls it.
    IdentityToken(IdentityToken),
    /// A session ended.
    SessionClose(SessionClose),
    /// A run of the gateway began. Written by the log itself.
    GatewayStart(GatewayStart),
    /// A run of the gateway ended in order. Written by the log itself.
    GatewayStop(GatewayStop),
    /// Another key signs from here on. Written by the log itself.
    KeyChange(KeyChange),
    /// Another policy set decides from here on. Written by `Log::announce`.
    PolicyChange(PolicyChange),
    /// A server's tool definitions are others than those approved.
    ToolChange(ToolChange),
    /// An operator took away what policies see of a principal's past.
    StateChange(StateChange),
    /// Requests turned away before admission, counted.
    RefusalSummary(RefusalSummary),
    /// Records could not be written for a while. Written by the log itself.
    Gap(LogGap),
}

impl Predicate {
    /// The kind's name, the middle of its `predicateType`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::SessionOpen(_) => "session-open",
            Self::Decision(_) => "decision",
            Self::SessionRenew(_) => "session-renew",
            Self::IdentityToken(_) => "identity-token",
            Self::SessionClose(_) => "session-close",
            Self::GatewayStart(_) => "gateway-start",
            Self::GatewayStop(_) => "gateway-stop",
            Self::KeyChange(_) => "key-change",
            Self::PolicyChange(_) => "policy-change",
            Self::ToolChange(_) => "tool-change",
            Self::StateChange(_) => "state-change",
            Self::RefusalSummary(_) => "refusal-summary",
            Self::Gap(_) => "gap",
        }
    }

    /// The decision's id, if this is one.
    pub(super) fn decision_id(&self) -> Option<DecisionId> {
        match self {
            Self::Decision(decision) => Some(decision.decision_id),
            _ => None,
        }
    }

    /// The key that must be archived before this is written, if it issues a token.
    pub(super) fn token_key(&self) -> Option<&Arc<PublicSvid>> {
        match self {
            Self::SessionOpen(open) => Some(&open.key),
            Self::SessionRenew(renew) => Some(&renew.key),
            Self::IdentityToken(identity) => Some(&identity.key),
            _ => None,
        }
    }
}

/// A session's token was issued: who holds it, bound to what, under which policies.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionOpen {
    /// Which token.
    pub token: TokenRef,
    /// The key that signed it, archived before this record is written; the record itself may be signed by the next.
    #[serde(serialize_with = "key_ref")]
    #[schemars(with = "KeyRef")]
    pub key: Arc<PublicSvid>,
    /// What it says.
    pub claims: TokenClaims,
    /// Digest of the policy set in force.
    #[schemars(with = "String")]
    pub policy_set: Sha256Digest,
    /// Digest of the Cedar schema in force.
    #[schemars(with = "String")]
    pub schema: Sha256Digest,
    /// The client's word on itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientRef>,
    /// The negotiated protocol revision.
    pub protocol: String,
    /// `stdio`, `tcp` or `unix`.
    pub transport: String,
    /// The tool server.
    #[serde(serialize_with = "labels::display")]
    #[schemars(with = "String")]
    pub server: ServerName,
    /// What the admission rests on.
    #[serde(serialize_with = "labels::evidence")]
    #[schemars(with = "String")]
    pub evidence: EvidenceKind,
    /// The handshake's result where it was rewritten to carry the token: as the tool server sent it, and as the
    /// client got it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake: Option<RequestRef>,
}

/// The gateway replaced a session's current token; the session's handle stays the first one.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SessionRenew {
    /// The new token.
    pub token: TokenRef,
    /// The key that signed it, as in `session-open`.
    #[serde(serialize_with = "key_ref")]
    #[schemars(with = "KeyRef")]
    pub key: Arc<PublicSvid>,
    /// What it says.
    pub claims: TokenClaims,
}

/// A session ended.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SessionClose {
    /// Why.
    pub reason: CloseReason,
    /// Messages that were allowed.
    pub allowed: u64,
    /// Messages that were denied.
    pub denied: u64,
    /// Maintenance messages that went on under the standing permit.
    pub standing: u64,
}

/// The message that was decided, by salted digests; the salt is thrown away with the record's making (I7).
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RequestRef {
    /// SHA-256(salt ‖ `params` as received); of the whole message if it could not be read.
    #[schemars(with = "String")]
    pub received: Sha256Digest,
    /// SHA-256(salt ‖ `params` as forwarded); absent when nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub forwarded: Option<Sha256Digest>,
    /// How much of the message is kept beside the log: `none`.
    pub recording: &'static str,
}

impl RequestRef {
    /// Of a message of which nothing but the digests is kept.
    pub const fn unrecorded(received: Sha256Digest, forwarded: Option<Sha256Digest>) -> Self {
        Self { received, forwarded, recording: "none" }
    }
}

/// The trace and the span that handled the message, in lower-case hex.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TraceRef {
    /// 32 hex digits.
    pub trace_id: String,
    /// 16 hex digits.
    pub span_id: String,
}

/// One decision.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// A UUIDv7.
    #[schemars(with = "String")]
    pub decision_id: DecisionId,
    /// `allow` or `deny`.
    #[serde(serialize_with = "labels::effect")]
    #[schemars(with = "String")]
    pub effect: Effect,
    /// `enforce`: what was decided was done.
    pub mode: &'static str,
    /// Why it was denied.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "labels::deny_reason")]
    #[schemars(with = "Option<String>")]
    pub deny_reason: Option<DenyReason>,
    /// The policies that determined it.
    pub policies: Vec<PolicyEntry>,
    /// The policies that failed.
    pub failures: Vec<FailureEntry>,
    /// `@shadow` policies that would have counted, had they been enforced.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub shadow: Vec<PolicyEntry>,
    /// Whether enforcing them would have made it the other decision; absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_flip: Option<bool>,
    /// What the candidate set would have done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Candidate>,
    /// Digest of the policy set.
    #[schemars(with = "String")]
    pub policy_set: Sha256Digest,
    /// Digest of the Cedar schema.
    #[schemars(with = "String")]
    pub schema: Sha256Digest,
    /// SHA-256(salt ‖ the complete Cedar input); absent when no policy was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub input: Option<Sha256Digest>,
    /// A decision on the same message, by policies that were replaced before the message was sent: nothing came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub replaces: Option<DecisionId>,
    /// What the principal had done before; absent where no policy of the set can see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StateRef>,
    /// Seconds that the configured time zone was ahead of UTC; absent where it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utc_offset: Option<i32>,
    /// Labels that the policies put on what was let in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub added_labels: Vec<AddedLabel>,
    /// Who asked: the token's `sub`, or the tool server or the gateway itself.
    pub principal: String,
    /// The Cedar action.
    pub action: String,
    /// The Cedar resource.
    pub resource: String,
    /// The tool server.
    #[serde(serialize_with = "labels::display")]
    #[schemars(with = "String")]
    pub server: ServerName,
    /// The JSON-RPC method; absent when the message could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Who sent the message.
    pub from: Direction,
    /// Digest of the tool's definition, on a tool call to a known tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub tool_definition: Option<Sha256Digest>,
    /// The session's current token; absent before it is issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenRef>,
    /// What the admission rests on.
    #[serde(serialize_with = "labels::evidence")]
    #[schemars(with = "String")]
    pub evidence: EvidenceKind,
    /// What was asked; of a list that was cut, the result as it came and as it went on.
    pub request: RequestRef,
    /// Entries that were cut out of a list on its way to the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed: Option<u64>,
    /// Where to find it in the traces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceRef>,
}

impl Decision {
    /// The parts of a decision that come from policy: effect, deny reason, policies, failures and input digest.
    pub fn ruled(&mut self, ruling: &Ruling) {
        self.effect = ruling.effect;
        self.deny_reason = ruling.deny;
        self.policies = ruling.determining.iter().map(PolicyEntry::from).collect();
        self.failures = ruling.failures.iter().map(FailureEntry::from).collect();
        self.shadow = ruling.shadow.iter().map(PolicyEntry::from).collect();
        self.would_flip = (!ruling.shadow.is_empty()).then_some(ruling.would_flip);
        self.candidate = ruling.candidate.as_ref().map(Candidate::from);
        self.input = Some(ruling.input_digest);
    }
}

/// The longest text from outside that a record takes over, in bytes.
const CLIP: usize = 512;

/// Cuts a text from outside (a name, a URI, a message) so that no stranger sizes our records (I10). A cut text
/// ends in the digest of the whole, so that two different ones never look the same.
pub fn clip(text: &str) -> String {
    if text.len() <= CLIP {
        return text.to_owned();
    }
    let mut end = CLIP;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}… sha256:{}", text.get(..end).unwrap_or(""), Sha256Digest::of(text.as_bytes()))
}

/// A key as it stands in records.
pub(super) fn key_ref<S: serde::Serializer>(key: &PublicSvid, serializer: S) -> Result<S::Ok, S::Error> {
    KeyRef::of(key).serialize(serializer)
}

/// A moment as it stands in records.
pub(super) fn rfc3339<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_and_told_from_another_by_its_digest() {
        let (a, b) = ("ü".repeat(4000) + "a", "ü".repeat(4000) + "b");
        assert!(clip(&a).len() < 700);
        assert_ne!(clip(&a), clip(&b));
        assert_eq!(clip("get-sum"), "get-sum");
    }
}
