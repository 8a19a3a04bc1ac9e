//! The proof that admission took place; without one no session opens and no message of one is heard.

use std::sync::Arc;

use super::binding::Binding;
use super::clock::Timestamp;
use super::evidence::Evidence;
use super::principal::Principal;

/// One request's admission: who asks, by what evidence, bound to what, and until when at most. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Admitted(Arc<Facts>);

#[derive(Debug)]
struct Facts {
    principal: Principal,
    binding: Binding,
    evidence: Evidence,
    expires: Option<Timestamp>,
}

impl Admitted {
    /// Made by `admission` alone, from evidence it has checked for this very request. `expires` is the end of
    /// what was shown (a bearer's `exp`, an SVID's `notAfter`), if it has one.
    pub fn by(evidence: Evidence, expires: Option<Timestamp>) -> Self {
        let (principal, binding) = (Principal::of(&evidence), Binding::of(&evidence));
        Self(Arc::new(Facts { principal, binding, evidence, expires }))
    }

    /// Who asks.
    pub fn principal(&self) -> &Principal {
        &self.0.principal
    }

    /// What a session of this caller is bound to.
    pub fn binding(&self) -> &Binding {
        &self.0.binding
    }

    /// The evidence itself.
    pub fn evidence(&self) -> &Evidence {
        &self.0.evidence
    }

    /// When the evidence ends.
    pub fn expires(&self) -> Option<Timestamp> {
        self.0.expires
    }
}
