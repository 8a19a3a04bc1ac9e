//! What a session token says.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::binding::Binding;
use crate::domain::digest::Sha256Digest;
use crate::domain::evidence::PassedClaims;
use crate::domain::ids::{SessionId, TokenId};

/// The claims, in the order in which they are written. A duplicate or unknown claim is refused by the reader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// The gateway's SPIFFE ID.
    pub iss: String,
    /// The principal.
    pub sub: String,
    /// The gateway's audience, always an array (RFC 7519 §4.1.3).
    pub aud: Vec<String>,
    /// When it was issued, in seconds since the epoch.
    pub iat: i64,
    /// From when it holds, in seconds since the epoch.
    pub nbf: i64,
    /// Until when it holds, that second excluded (RFC 7519 §4.1.4).
    pub exp: i64,
    /// This issuance.
    pub jti: TokenId,
    /// The session.
    pub sid: SessionId,
    /// What the session is bound to (RFC 7800 §3).
    pub cnf: Binding,
    /// The kind of evidence, an array of one (RFC 8176 §1).
    pub amr: [String; 1],
    /// The foreign token's claims that configuration lets through.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub claims: Arc<PassedClaims>,
    /// What the client calls itself; its own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Client>,
    /// The MCP session.
    pub mcp: McpFacts,
    /// The policy set in force at issuance.
    pub policy: Sha256Digest,
}

fn is_empty(claims: &Arc<PassedClaims>) -> bool {
    claims.is_empty()
}

/// What a client calls itself in `initialize`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// `clientInfo.name`.
    pub name: String,
    /// `clientInfo.version`.
    pub version: String,
}

/// The MCP session that a token belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpFacts {
    /// The negotiated revision.
    pub protocol: String,
    /// How the client is connected.
    pub transport: String,
    /// The server's name.
    pub server: String,
}
