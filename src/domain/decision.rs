//! Outcomes of policy, as the rest of the gateway sees them.

use std::sync::Arc;
use std::time::Duration;

use super::digest::Sha256Digest;
use super::refusal::DenyReason;

/// Allow or deny.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The message may go on.
    Allow,
    /// It may not.
    Deny,
}

impl Effect {
    /// The stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// A policy that decided, or that failed to evaluate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRef {
    /// Its `@id`, else `<file>:<line>`.
    pub id: Arc<str>,
    /// Digest of its source text.
    pub digest: Sha256Digest,
    /// Its `@reason`, if any.
    pub reason: Option<Arc<str>>,
}

/// A policy that failed to evaluate on a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFailure {
    /// Which.
    pub policy: PolicyRef,
    /// Whether it is a `forbid` (which then denies) or a `permit` (which then is not satisfied).
    pub forbid: bool,
    /// Cedar's message; it never holds an argument's value.
    pub message: String,
}

/// What a permit says of what it lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: Arc<str>,
    /// How long it stays with the principal; `None`: with the session only.
    pub keeps: Option<Duration>,
}

/// What a candidate set, which is not enforced, says of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prospect {
    /// The candidate's digest.
    pub policy_set: PolicySetDigest,
    /// What it would have done.
    pub effect: Effect,
    /// Why, when it would have denied.
    pub deny: Option<DenyReason>,
    /// Its policies that determined it.
    pub determining: Vec<PolicyRef>,
    /// Whether that is another effect than the one in force.
    pub flips: bool,
}

/// What the policies say of one request.
#[derive(Debug, Clone)]
pub struct Ruling {
    /// Allow or deny.
    pub effect: Effect,
    /// Why, when denied.
    pub deny: Option<DenyReason>,
    /// The policies that determined it.
    pub determining: Vec<PolicyRef>,
    /// The policies that failed.
    pub failures: Vec<PolicyFailure>,
    /// `@shadow` policies that matched: what would have counted, had they been enforced.
    pub shadow: Vec<PolicyRef>,
    /// Whether enforcing those would have made it the other decision.
    pub would_flip: bool,
    /// The labels of the permits that determined it or failed: what an allowed request lets in. Empty on a denial.
    pub labels: Vec<Label>,
    /// What the candidate set says of the same request, where there is one.
    pub candidate: Option<Prospect>,
    /// Digest of the complete Cedar input (principal, action, resource, entities, context), salted with the
    /// record's salt because it covers arguments.
    pub input_digest: Sha256Digest,
    /// Permits whose scope fits while their condition did not hold; present only when no permit matched.
    pub unmet: Vec<PolicyRef>,
    /// For an operator: the Cedar policy that would permit this, with any arguments. Present only when no permit
    /// matched.
    pub suggestion: Option<String>,
}

/// Digest of a policy set: over the digests of its policies, in order.
pub type PolicySetDigest = Sha256Digest;
