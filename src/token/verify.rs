//! Verifying: strictly what issuing writes, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use super::audience::audience_of;
use super::cache::Cache;
use super::claims::Claims;
use super::config::Config;
use super::error::TokenError;
use super::jws;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::{KeyId, ServerName, SpiffeId};
use crate::keys::PublicKeySource;

/// How far in the future `iat` and `nbf` may lie: two processes of one host may share an identity.
const LEEWAY: Duration = Duration::from_secs(5);

/// The last second of the year 9999; no NumericDate lies beyond.
const LAST_SECOND: i64 = 253_402_300_799;

/// A token whose signature, type, issuer, audience and times hold. It says who was admitted, not who asks now:
/// compare its binding with the evidence of the request.
#[derive(Debug)]
pub struct VerifiedToken {
    claims: Claims,
    kid: KeyId,
    sha256: Sha256Digest,
}

impl VerifiedToken {
    /// What it says.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The key that signed it.
    pub fn kid(&self) -> &KeyId {
        &self.kid
    }

    /// SHA-256 of the token's text.
    pub fn sha256(&self) -> Sha256Digest {
        self.sha256
    }

    /// Its `exp`.
    pub fn expires(&self) -> Timestamp {
        Timestamp::from_secs(self.claims.exp)
    }
}

/// Verifies session tokens of one gateway.
#[derive(Debug)]
pub struct Verifier {
    keys: Arc<dyn PublicKeySource>,
    issuer: SpiffeId,
    audience: Option<String>,
    clock: Clock,
    cache: Cache,
}

impl Verifier {
    /// A verifier of tokens that `issuer` signed with a key of `keys`, for the audience that `config` says.
    pub fn new(keys: Arc<dyn PublicKeySource>, issuer: SpiffeId, config: &Config, clock: Clock) -> Self {
        let cache = Cache::new(config.cache);
        Self { keys, issuer, audience: config.audience.clone(), clock, cache }
    }

    /// Verifies a token that must be in force now.
    ///
    /// # Errors
    /// Anything that issuing would not have written, an unknown key, a signature that does not hold, and times:
    /// not valid yet, expired.
    pub fn verify(&self, token: &str) -> Result<Arc<VerifiedToken>, TokenError> {
        let verified = self.verify_handle(token)?;
        // RFC 7519 §4.1.4: on or after `exp` it must not be accepted; no leeway.
        if self.clock.now().as_secs() >= verified.claims.exp {
            return Err(TokenError::Expired);
        }
        Ok(verified)
    }

    /// Verifies a session's first token, which stays the session's handle after its `exp`.
    ///
    /// # Errors
    /// As [`Verifier::verify`], save that it may have expired.
    pub fn verify_handle(&self, token: &str) -> Result<Arc<VerifiedToken>, TokenError> {
        if token.len() > jws::MAX_TOKEN_BYTES {
            return Err(TokenError::Malformed);
        }
        let digest = Sha256Digest::of(token.as_bytes());
        let verified = match self.cache.get(&digest) {
            // The key may have been withdrawn since.
            Some(known) if self.keys.find(known.kid.as_str()).is_some() => known,
            Some(_) => return Err(TokenError::UnknownKey),
            None => {
                let verified = Arc::new(self.check(token, digest)?);
                self.cache.put(digest, Arc::clone(&verified));
                verified
            }
        };
        let latest = self.clock.now().plus(LEEWAY).as_secs();
        if verified.claims.nbf > latest || verified.claims.iat > latest {
            return Err(TokenError::NotYetValid);
        }
        Ok(verified)
    }

    /// Whether the key of this id is one of the gateway's own, and not withdrawn.
    pub fn believes(&self, kid: &KeyId) -> bool {
        self.keys.find(kid.as_str()).is_some()
    }

    /// All that does not depend on the time now.
    fn check(&self, token: &str, sha256: Sha256Digest) -> Result<VerifiedToken, TokenError> {
        let parts = jws::split(token)?;
        let Ok(kid) = parts.kid.parse::<KeyId>() else { return Err(TokenError::KeyId) };
        if kid.spiffe_id() != self.issuer.as_str() {
            return Err(TokenError::ForeignKey);
        }
        let known = self.keys.find(kid.as_str()).ok_or(TokenError::UnknownKey)?;
        let key = &known.key;
        if parts.alg != key.algorithm().as_str() {
            return Err(TokenError::Algorithm);
        }
        if key.verify_fixed(parts.signed.as_bytes(), &parts.signature).is_err() {
            return Err(TokenError::Signature);
        }
        let claims: Claims = jws::object(&parts.payload).ok_or(TokenError::Claims)?;
        if claims.iss != self.issuer.as_str() {
            return Err(TokenError::Issuer);
        }
        if claims.mcp.server.parse::<ServerName>().is_err() {
            return Err(TokenError::Claims);
        }
        let audience = audience_of(self.audience.as_deref(), &self.issuer, &claims.mcp.server);
        if !claims.aud.contains(&audience) {
            return Err(TokenError::Audience);
        }
        let in_range = |at: i64| (0..=LAST_SECOND).contains(&at);
        let times = in_range(claims.iat) && in_range(claims.nbf) && in_range(claims.exp);
        if !times || claims.exp <= claims.nbf || claims.exp <= claims.iat {
            return Err(TokenError::Times);
        }
        // Issuing never goes beyond the certificate, so whoever got hold of an old key can't sign for today.
        let (first, last) = (known.not_before.as_secs(), known.not_after.as_secs());
        if claims.iat < first || claims.nbf < first || claims.exp > last {
            return Err(TokenError::OutsideKey);
        }
        Ok(VerifiedToken { claims, kid, sha256 })
    }

    #[cfg(test)]
    pub(super) fn cached(&self) -> usize {
        self.cache.len()
    }
}
