//! Records of the gateway itself, on its own chain: runs, keys, policy sets, refusals before admission, gaps.

use schemars::JsonSchema;
use serde::Serialize;

use super::config::Durability;
use super::labels::GapCause;
use super::predicate::{clip, rfc3339};
use crate::domain::clock::Timestamp;
use crate::domain::digest::Sha256Digest;
use crate::keys::PublicSvid;

/// A signing key and where its public side is archived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// Its id, `<SPIFFE ID>#<x5t#S256>`.
    pub kid: String,
    /// SHA-256 of the leaf's DER: `trust/chains/<this>.pem`.
    #[schemars(with = "String")]
    pub chain: Sha256Digest,
    /// Thumbprint of the trust bundle in force: `trust/bundles/<this>.pem`.
    #[schemars(with = "String")]
    pub bundle: Sha256Digest,
    /// The leaf's validity begins.
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "String")]
    pub not_before: Timestamp,
    /// The leaf's validity ends.
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "String")]
    pub not_after: Timestamp,
}

impl KeyRef {
    /// Where a key is archived.
    pub fn of(key: &PublicSvid) -> Self {
        Self {
            kid: key.id().to_string(),
            chain: key.chain().leaf_thumbprint(),
            bundle: key.bundle().thumbprint(),
            not_before: key.not_before(),
            not_after: key.not_after(),
        }
    }
}

/// Bytes after the last whole record that a crash left behind, cut off and kept in `torn/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TornTail {
    /// The segment's file name.
    pub segment: String,
    /// Where the bytes stood in it.
    pub offset: u64,
    /// How many there were.
    pub bytes: u64,
    /// Their digest.
    #[schemars(with = "String")]
    pub sha256: Sha256Digest,
}

/// A run of the gateway began.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayStart {
    /// The key that signs from here on.
    pub key: KeyRef,
    /// How durable each record is before what it permits may happen.
    pub durability: Durability,
    /// Digest of the payload of the record before this one in the log; absent in an empty log. It ties the
    /// runs of one log together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub after: Option<Sha256Digest>,
    /// What a crash had left half-written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub torn_tail: Option<TornTail>,
}

/// A run of the gateway ended in order.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct GatewayStop {
    /// Records of this run, this one included.
    pub records: u64,
}

/// Another key, or another trust bundle, is in force from here on; this record is the first under it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyChange {
    /// The id of the key before.
    pub previous_key: String,
    /// The key now.
    pub key: KeyRef,
}

/// One archived policy file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PolicyFile {
    /// Its name in `policies/<digest>/`.
    pub name: String,
    /// SHA-256 of its text.
    #[schemars(with = "String")]
    pub sha256: Sha256Digest,
}

/// Why another policy set decides, or the same set for other tools.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PolicyCause {
    /// The gateway starts.
    #[default]
    Start,
    /// The policies, or what else the configuration names, were read anew.
    Reload,
    /// The tools that the set is compiled for are others.
    Tools,
}

/// Most policy ids of one kind, and most tools, that a record names; the counts tell of all.
pub(super) const MOST_NAMED: usize = 128;

/// Policies by their ids, the first 128.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PolicyNames {
    /// How many there are.
    pub count: u64,
    /// Their ids.
    pub ids: Vec<String>,
}

impl<'a> FromIterator<&'a str> for PolicyNames {
    fn from_iter<I: IntoIterator<Item = &'a str>>(ids: I) -> Self {
        let mut names = Self::default();
        for id in ids {
            names.count += 1;
            if names.ids.len() < MOST_NAMED {
                names.ids.push(clip(id));
            }
        }
        names
    }
}

/// What is new about a policy set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PolicySummary {
    /// Policies in the set.
    pub policies: u64,
    /// Those that the set before did not have.
    pub added: PolicyNames,
    /// Those that only the set before had.
    pub removed: PolicyNames,
    /// Those with another text under the same id.
    pub changed: PolicyNames,
}

/// A candidate set: decided beside the set in force, and never enforced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShadowSet {
    /// Its digest: `policies/<this>/`.
    #[schemars(with = "String")]
    pub policy_set: Sha256Digest,
    /// Its files.
    pub files: Vec<PolicyFile>,
}

/// Another policy set decides from here on, or the same one for other tools; its sources are archived.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyChange {
    /// Why.
    pub cause: PolicyCause,
    /// Digest of the policy set that decided in this run before; absent in the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub replaces: Option<Sha256Digest>,
    /// Digest of the policy set: `policies/<this>/`.
    #[schemars(with = "String")]
    pub policy_set: Sha256Digest,
    /// Digest of the Cedar schema.
    #[schemars(with = "String")]
    pub schema: Sha256Digest,
    /// The files.
    pub files: Vec<PolicyFile>,
    /// What changed.
    pub summary: PolicySummary,
    /// The candidate set beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowSet>,
}

/// How a tool differs from what was approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ToolDrift {
    /// No definition of that name is approved.
    New,
    /// Another definition is approved.
    Changed,
    /// The server does not list it any more.
    Removed,
}

/// What became of tools that differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ToolEffect {
    /// They are denied until someone approves them.
    Quarantined,
    /// An operator approved them.
    Approved,
    /// They were taken over: nothing is pinned.
    Followed,
}

/// One tool that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ToolEntry {
    /// Its name at its server.
    pub tool: String,
    /// How it differs.
    pub drift: ToolDrift,
    /// Digest of the definition that was approved before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub before: Option<Sha256Digest>,
    /// Digest of the definition as the server shows it, or as it is approved now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub now: Option<Sha256Digest>,
}

/// Tool definitions of a server are others than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ToolChange {
    /// The server.
    pub server: String,
    /// How its definitions are pinned: `first-use`, `lock` or `off`.
    pub pin: &'static str,
    /// What became of them.
    pub effect: ToolEffect,
    /// How many tools differ.
    pub count: u64,
    /// The first 128 of them.
    pub tools: Vec<ToolEntry>,
}

impl ToolChange {
    /// Of all tools that differ.
    pub fn new(server: String, pin: &'static str, effect: ToolEffect, mut tools: Vec<ToolEntry>) -> Self {
        let count = u64::try_from(tools.len()).unwrap_or(u64::MAX);
        tools.truncate(MOST_NAMED);
        for entry in &mut tools {
            entry.tool = clip(&entry.tool);
        }
        Self { server, pin, effect, count, tools }
    }
}

/// How many requests one listener turned away for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RefusalCount {
    /// The way in.
    pub listener: String,
    /// The reason's stable label.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// Requests turned away before admission, counted over an interval (invariant I10).
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RefusalSummary {
    /// The interval's begin.
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// Its end.
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "String")]
    pub until: Timestamp,
    /// The counts.
    pub refusals: Vec<RefusalCount>,
}

/// For a while no record could be written, so nothing was let through (invariants I1, I3).
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LogGap {
    /// When the first record failed.
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// When records could be written again.
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "String")]
    pub until: Timestamp,
    /// Records that were refused, and with them what they would have permitted.
    pub refused: u64,
    /// Records that had been promised under `queued` durability and were lost.
    pub lost: u64,
    /// Why.
    pub cause: GapCause,
    /// The first error, in words.
    pub detail: String,
}
