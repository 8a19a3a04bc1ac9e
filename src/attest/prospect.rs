//! What a decision's record says of a candidate set, which is not enforced.

use schemars::JsonSchema;
use serde::Serialize;

use super::labels;
use super::predicate::PolicyEntry;
use crate::domain::decision::{Effect, Prospect};
use crate::domain::digest::Sha256Digest;
use crate::domain::refusal::DenyReason;

/// What the candidate set would have done.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// Digest of the candidate set.
    #[schemars(with = "String")]
    pub policy_set: Sha256Digest,
    /// `allow` or `deny`.
    #[serde(serialize_with = "labels::effect")]
    #[schemars(with = "String")]
    pub effect: Effect,
    /// Why it would have denied.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "labels::deny_reason")]
    #[schemars(with = "Option<String>")]
    pub deny_reason: Option<DenyReason>,
    /// Its policies that determined it.
    pub policies: Vec<PolicyEntry>,
    /// Whether that is another effect than the decision's.
    pub would_flip: bool,
}

impl From<&Prospect> for Candidate {
    fn from(prospect: &Prospect) -> Self {
        Self {
            policy_set: prospect.policy_set,
            effect: prospect.effect,
            deny_reason: prospect.deny,
            policies: prospect.determining.iter().map(PolicyEntry::from).collect(),
            would_flip: prospect.flips,
        }
    }
}
