//! What records say of an issued token and of the client that holds it.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::binding::Binding;
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::{SessionId, TokenId};

/// Names one issued token without saying anything that could be replayed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TokenRef {
    /// The token's `jti`.
    #[schemars(with = "String")]
    pub jti: TokenId,
    /// The key that signed it; the same text as the record's own `keyid` unless the key rotated since.
    pub kid: Arc<str>,
    /// SHA-256 of the token's compact form.
    #[schemars(with = "String")]
    pub sha256: Sha256Digest,
}

/// The claims of an issued token that verification needs; times are NumericDates (seconds since 1970).
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TokenClaims {
    /// The gateway's SPIFFE ID.
    pub iss: String,
    /// The principal.
    pub sub: String,
    /// The session.
    #[schemars(with = "String")]
    pub sid: SessionId,
    /// Whom the token is for.
    pub aud: Vec<String>,
    /// Issued at.
    pub iat: i64,
    /// Not before.
    pub nbf: i64,
    /// Expires.
    pub exp: i64,
    /// What the session is bound to (RFC 7800).
    #[schemars(with = "serde_json::Value")]
    pub cnf: Binding,
}

/// Name and version, as a client said them of itself: a claim, not evidence.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ClientRef {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
}
