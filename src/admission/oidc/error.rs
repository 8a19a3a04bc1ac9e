//! Why a bearer token admits nobody. The caller is told the least of it; the log's debug level gets the rest, and
//! neither gets anything of the token.

use crate::domain::refusal::AdmissionRefusal;

/// Why a bearer token admits nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BearerError {
    #[error("it is longer than 16 KiB, or no JWS in its compact form")]
    Malformed,
    #[error("its header is malformed")]
    Header,
    #[error("its `typ` is not that of an access token")]
    Type,
    #[error("its `alg` is not allowed")]
    Algorithm,
    #[error("its header names no usable key id")]
    KeyId,
    #[error("its header has `crit`, of which nothing is understood")]
    Critical,
    #[error("its claims are malformed, or one that is needed is missing")]
    Claims,
    #[error("its issuer is not a configured one")]
    Issuer,
    #[error("it is for another audience")]
    Audience,
    #[error("it has expired")]
    Expired,
    #[error("it is not valid yet")]
    NotYetValid,
    #[error("a claim that the configuration demands is missing or other")]
    RequiredClaim,
    #[error("it is bound to a key (`cnf`), and proofs of possession are not supported")]
    SenderConstrained,
    #[error("its groups are not a list of names")]
    Groups,
    #[error("claims that are let through are no texts, truth values or whole numbers, or longer than 1 KiB")]
    PassedClaims,
    #[error("it was signed by a key of this gateway, which issues no bearers")]
    OwnKey,
    #[error("no issuer that could have signed it has a key of that id and algorithm")]
    UnknownKey,
    #[error("its issuer's keys can't be fetched")]
    Unavailable,
    #[error("its signature does not hold")]
    Signature,
    #[error("a scope is missing")]
    Scope,
    #[error("too many came before it that no key had signed")]
    RateLimited,
}

impl BearerError {
    /// As it is counted and told.
    pub(super) const fn refusal(self) -> AdmissionRefusal {
        match self {
            Self::Scope => AdmissionRefusal::InsufficientScope,
            Self::Expired => AdmissionRefusal::TokenExpired,
            Self::Audience => AdmissionRefusal::TokenAudience,
            Self::UnknownKey => AdmissionRefusal::UnknownKey,
            Self::Unavailable => AdmissionRefusal::IssuerUnavailable,
            Self::RateLimited => AdmissionRefusal::RateLimited,
            _ => AdmissionRefusal::InvalidToken,
        }
    }
}
