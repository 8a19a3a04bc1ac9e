//! How a record names a policy that counted, or that failed.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::predicate::clip;
use crate::domain::decision::{PolicyFailure, PolicyRef};
use crate::domain::digest::Sha256Digest;

/// A policy that determined a decision.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PolicyEntry {
    /// Its `@id`, else `<file>:<line>`.
    pub id: Arc<str>,
    /// Digest of its source text.
    #[schemars(with = "String")]
    pub sha256: Sha256Digest,
    /// Its `@reason`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
}

impl From<&PolicyRef> for PolicyEntry {
    fn from(policy: &PolicyRef) -> Self {
        Self { id: policy.id.clone(), sha256: policy.digest, reason: policy.reason.clone() }
    }
}

/// A policy that failed to evaluate (invariant I5).
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct FailureEntry {
    /// Which.
    pub policy: PolicyEntry,
    /// `forbid` or `permit`.
    pub effect: &'static str,
    /// What Cedar said; it never holds an argument's value.
    pub message: String,
}

impl From<&PolicyFailure> for FailureEntry {
    fn from(failure: &PolicyFailure) -> Self {
        Self {
            policy: (&failure.policy).into(),
            effect: if failure.forbid { "forbid" } else { "permit" },
            message: clip(&failure.message),
        }
    }
}
