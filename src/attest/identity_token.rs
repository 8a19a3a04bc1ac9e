//! What the log says of a token by which a tool server was told who calls it.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::gateway::KeyRef;
use super::labels;
use super::predicate::{TokenRef, key_ref};
use crate::domain::ids::{ServerName, SessionId};
use crate::keys::PublicSvid;

/// The gateway issued a token that tells the session's tool server on whose behalf it is called. Written before the token
/// is sent.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct IdentityToken {
    /// Which token.
    pub token: TokenRef,
    /// The key that signed it, as in `session-open`.
    #[serde(serialize_with = "key_ref")]
    #[schemars(with = "KeyRef")]
    pub key: Arc<PublicSvid>,
    /// The tool server that it is sent to.
    #[serde(serialize_with = "labels::display")]
    #[schemars(with = "String")]
    pub server: ServerName,
    /// What it says.
    pub claims: IdentityTokenClaims,
}

/// The claims of an identity token; its `client_id` and `act.sub` are the `iss`. Times are NumericDates (seconds since 1970).
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct IdentityTokenClaims {
    /// The gateway's SPIFFE ID.
    pub iss: String,
    /// The principal.
    pub sub: String,
    /// The session.
    #[schemars(with = "String")]
    pub sid: SessionId,
    /// Whom the token is for.
    pub aud: String,
    /// Issued at.
    pub iat: i64,
    /// Not before.
    pub nbf: i64,
    /// Expires.
    pub exp: i64,
}
