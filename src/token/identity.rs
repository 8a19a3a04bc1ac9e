//! The identity token: says to one tool server on whose behalf it is called.
//!
//! A JWT access token in the profile of RFC 9068, with the gateway as the actor (RFC 8693 §4.1). Its `typ` is `at+jwt` and
//! its audience the tool server's, so a session token never passes as one, nor one as a session token; the gateway takes
//! neither type's place for the other, and admission takes no token whose issuer is a SPIFFE ID. It is short-lived, and
//! ends no later than the signing certificate and the evidence of who called.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::TokenError;
use super::issue::Issuer;
use super::jws;
use crate::domain::clock::Timestamp;
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::{SessionId, SpiffeId, TokenId};
use crate::domain::principal::Principal;
use crate::domain::random;
use crate::domain::secret::Secret;
use crate::keys::{PublicSvid, SignerError};

/// The one `typ` of identity tokens (RFC 9068 §2.1).
pub const IDENTITY_TYP: &str = "at+jwt";

/// Which tool server is told, and for how long a token is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityConfig {
    /// The tool server's name for itself, the token's `aud`.
    pub audience: String,
    /// A token's lifetime; shorter where the signing certificate or the evidence ends earlier.
    pub lifetime: Duration,
}

impl IdentityConfig {
    /// The lifetime where none is configured.
    pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
}

/// The claims, in the order in which they are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityClaims {
    /// The gateway's SPIFFE ID.
    pub iss: String,
    /// The session's principal; the gateway's SPIFFE ID where it asks on its own account.
    pub sub: String,
    /// The tool server's audience, and no other.
    pub aud: String,
    /// Who holds the token: the gateway's SPIFFE ID (RFC 9068 §2.2).
    pub client_id: String,
    /// When it was issued, in seconds since the epoch.
    pub iat: i64,
    /// From when it holds, in seconds since the epoch.
    pub nbf: i64,
    /// Until when it holds, that second excluded.
    pub exp: i64,
    /// This issuance.
    pub jti: TokenId,
    /// The session, by which the log tells everything else of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<SessionId>,
    /// Who acts for the subject; absent where the gateway is the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Actor>,
}

/// Who acts for the subject (RFC 8693 §4.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// The gateway's SPIFFE ID.
    pub sub: String,
}

/// For whom a tool server is called.
#[derive(Debug, Clone, Copy)]
pub enum OnBehalfOf<'a> {
    /// A session's principal.
    Caller {
        /// Who.
        principal: &'a Principal,
        /// The session.
        session: SessionId,
        /// When what was shown last of who calls ends, if it does.
        until: Option<Timestamp>,
    },
    /// Nobody but the gateway: it asks for the tools.
    Gateway,
}

/// An identity token with what a record of its issuance says.
#[derive(Debug, Clone)]
pub struct IssuedIdentity {
    /// The value of `Authorization`: the scheme and the token.
    pub authorization: Secret,
    /// What the token says.
    pub claims: IdentityClaims,
    /// The public side of the key that signed it.
    pub key: Arc<PublicSvid>,
    /// SHA-256 of the token's text.
    pub sha256: Sha256Digest,
}

impl Issuer {
    /// Issues an identity token for the tool server of `config`.
    ///
    /// # Errors
    /// No key to sign with, nothing left of key or evidence, an audience that is the gateway's own.
    pub fn issue_identity(
        &self,
        whom: OnBehalfOf<'_>,
        config: &IdentityConfig,
    ) -> Result<IssuedIdentity, TokenError> {
        let now = self.clock.now();
        let key = self.signer.current()?;
        let gateway = key.spiffe_id().as_str();
        if self.is_own(&config.audience, key.spiffe_id()) {
            return Err(TokenError::OwnAudience(config.audience.clone()));
        }
        let (sub, sid, until) = match whom {
            OnBehalfOf::Caller { principal, session, until } => (principal.as_str(), Some(session), until),
            OnBehalfOf::Gateway => (gateway, None, None),
        };
        let ends = [Some(now.plus(config.lifetime)), Some(key.leaf().to), until];
        let exp = ends.into_iter().flatten().min().unwrap_or(now).as_secs();
        let iat = now.as_secs();
        if exp <= iat {
            return Err(TokenError::NoTimeLeft);
        }
        let claims = IdentityClaims {
            iss: gateway.to_owned(),
            sub: sub.to_owned(),
            aud: config.audience.clone(),
            client_id: gateway.to_owned(),
            iat,
            nbf: iat,
            exp,
            jti: TokenId::from_uuid(random::uuid_v4()?),
            sid,
            act: sid.map(|_| Actor { sub: gateway.to_owned() }),
        };
        let payload = serde_json::to_vec(&claims).map_err(|e| TokenError::Unwritable(e.to_string()))?;
        let token = Secret::new(jws::sign(&key, IDENTITY_TYP, &payload)?);
        let sha256 = Sha256Digest::of(token.expose().as_bytes());
        // The header's value holds the token: this is what it is for.
        let authorization = Secret::new(format!("Bearer {}", token.expose()));
        Ok(IssuedIdentity { authorization, claims, key: Arc::new(PublicSvid::from(&*key)), sha256 })
    }

    /// Whether there is a key to sign with now.
    ///
    /// # Errors
    /// Why there is none.
    pub fn ready(&self) -> Result<(), SignerError> {
        self.signer.current().map(drop)
    }

    /// An audience of session tokens, or of anything else of the gateway's.
    fn is_own(&self, audience: &str, gateway: &SpiffeId) -> bool {
        let below = audience.strip_prefix(gateway.as_str());
        self.config.audience.as_deref() == Some(audience)
            || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}
