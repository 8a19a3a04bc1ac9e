//! Issuing: the only place where a session token is made. What tool servers are shown is made in [`super::identity`].

use std::sync::Arc;

use super::audience::audience_of;
use super::claims::{Claims, Client, McpFacts};
use super::config::Config;
use super::error::TokenError;
use super::jws;
use crate::domain::admitted::Admitted;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::{ServerName, SessionId, TokenId};
use crate::domain::random;
use crate::domain::revision::Revision;
use crate::domain::secret::Secret;
use crate::keys::{PublicSvid, Signer};

/// What a token is issued for: an admitted caller's session.
#[derive(Debug, Clone)]
pub struct Grant<'a> {
    /// The proof of admission of the very request that is answered.
    pub admitted: &'a Admitted,
    /// The session.
    pub session: SessionId,
    /// What the client calls itself.
    pub client: Option<Client>,
    /// The negotiated revision.
    pub protocol: Revision,
    /// How the client is connected: `stdio`, `tcp` or `unix`.
    pub transport: &'a str,
    /// The server.
    pub server: &'a ServerName,
    /// The policy set in force.
    pub policy: Sha256Digest,
}

/// A token with what a record of its issuance says.
#[derive(Debug, Clone)]
pub struct IssuedToken {
    /// The token itself.
    pub token: Secret,
    /// What it says.
    pub claims: Claims,
    /// The public side of the key that signed it.
    pub key: Arc<PublicSvid>,
    /// SHA-256 of the token's text.
    pub sha256: Sha256Digest,
    /// Its `exp`.
    pub expires: Timestamp,
}

/// Issues tokens with whatever key signs now.
#[derive(Debug)]
pub struct Issuer {
    pub(super) signer: Arc<dyn Signer>,
    pub(super) clock: Clock,
    pub(super) config: Config,
}

impl Issuer {
    /// An issuer that asks `signer` anew for every token.
    pub fn new(signer: Arc<dyn Signer>, clock: Clock, config: Config) -> Self {
        Self { signer, clock, config }
    }

    /// Issues one. It ends after the configured lifetime, or earlier with the signing certificate, what stands above it, or
    /// the evidence.
    ///
    /// # Errors
    /// No key to sign with, nothing left of key or evidence, claims that are too long for a header.
    pub fn issue(&self, grant: &Grant<'_>) -> Result<IssuedToken, TokenError> {
        let now = self.clock.now();
        let key = self.signer.current()?;
        let ends = [Some(now.plus(self.config.ttl)), Some(key.leaf().to), grant.admitted.expires()];
        let exp = ends.into_iter().flatten().min().unwrap_or(now).as_secs();
        let iat = now.as_secs();
        if exp <= iat {
            return Err(TokenError::NoTimeLeft);
        }
        let audience = audience_of(self.config.audience.as_deref(), key.spiffe_id(), grant.server.as_str());
        let claims = Claims {
            iss: key.spiffe_id().as_str().to_owned(),
            sub: grant.admitted.principal().as_str().to_owned(),
            aud: vec![audience],
            iat,
            nbf: iat,
            exp,
            jti: TokenId::from_uuid(random::uuid_v4()?),
            sid: grant.session,
            cnf: grant.admitted.binding().clone(),
            amr: [grant.admitted.principal().kind().as_str().to_owned()],
            claims: grant.admitted.evidence().claims().cloned().unwrap_or_default(),
            client: grant.client.clone(),
            mcp: McpFacts {
                protocol: grant.protocol.as_str().to_owned(),
                transport: grant.transport.to_owned(),
                server: grant.server.as_str().to_owned(),
            },
            policy: grant.policy,
        };
        let payload = serde_json::to_vec(&claims).map_err(|e| TokenError::Unwritable(e.to_string()))?;
        let token = jws::sign(&key, jws::TYP, &payload)?;
        let sha256 = Sha256Digest::of(token.as_bytes());
        let expires = Timestamp::from_secs(exp);
        let key = Arc::new(PublicSvid::from(&*key));
        Ok(IssuedToken { token: Secret::new(token), claims, key, sha256, expires })
    }
}
