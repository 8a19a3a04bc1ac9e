//! The session's current token is renewed by the gateway itself, at a request whose evidence holds.
//!
//! Clients read their handle once, at `initialize`, so the first token stays the handle until the session's longest
//! lifetime; what is renewed is the token that decisions refer to. One renewal at a time, once per period.

use std::sync::Arc;

use crate::attest::predicate::{SessionRenew, TokenClaims};
use crate::attest::{Predicate, Statement};
use crate::domain::admitted::Admitted;
use crate::domain::refusal::DenyReason;
use crate::token::{Claims, Grant, IssuedToken, TokenError};

use super::session::{Current, Phase, Shared, token_ref};

/// When the current token is to be renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    NotYet,
    /// Most of its period is over.
    Soon,
    /// It has expired: nothing is decided before it is renewed.
    Now,
}

impl Shared {
    /// Renews the current token if it is time.
    ///
    /// # Errors
    /// The token has expired and can't be renewed.
    pub(super) async fn renew_if_due(self: &Arc<Self>, admitted: &Admitted) -> Result<(), DenyReason> {
        if self.due() == Due::NotYet {
            return Ok(());
        }
        // On a task of its own: who waits for it may not be gone on with for as long as others wait for the lock.
        let (shared, admitted) = (Arc::clone(self), admitted.clone());
        let renewed = tokio::spawn(async move { shared.renew_alone(&admitted).await }).await;
        renewed.unwrap_or(Err(DenyReason::SignerUnavailable))
    }

    async fn renew_alone(self: &Arc<Self>, admitted: &Admitted) -> Result<(), DenyReason> {
        let _single = match self.due() {
            Due::NotYet => return Ok(()),
            // Someone else is at it: the token still holds meanwhile.
            Due::Soon => match self.renewal.try_lock() {
                Ok(guard) => guard,
                Err(_busy) => return Ok(()),
            },
            Due::Now => self.renewal.lock().await,
        };
        match self.due() {
            Due::NotYet => Ok(()),
            due => match self.renew(admitted).await {
                Ok(()) => Ok(()),
                Err(reason) if due == Due::Now => Err(reason),
                Err(_tried_again_later) => Ok(()),
            },
        }
    }

    fn due(&self) -> Due {
        let now = self.now();
        let core = self.core.lock();
        let Some(current) = &core.current else { return Due::NotYet };
        if now >= current.expires {
            return Due::Now;
        }
        // A fifth of the period before the end.
        let margin = current.expires.since(current.issued) / 5;
        if now.plus(margin) >= current.expires { Due::Soon } else { Due::NotYet }
    }

    async fn renew(self: &Arc<Self>, admitted: &Admitted) -> Result<(), DenyReason> {
        let issued = self.issue(admitted).map_err(|error| {
            // Why there is no key is told once, by the identity; each refusal has a line of its own.
            tracing::debug!(target: "chancery::session", session = %self.id, %error, "the token could not be renewed");
            DenyReason::SignerUnavailable
        })?;
        let record = SessionRenew {
            token: token_ref(&issued),
            key: Arc::clone(&issued.key),
            claims: claims(&issued.claims),
        };
        let appended = {
            let core = self.core.lock();
            if core.phase == Phase::Over {
                return Err(DenyReason::SessionOver);
            }
            let log = &self.house.parts.log;
            log.append(&self.chain, |link| Statement::new(Predicate::SessionRenew(record), link))
        };
        let written = match appended {
            Ok(pending) => pending.await.map(drop),
            Err(error) => Err(error),
        };
        written.map_err(|error| error.deny_reason())?;
        self.core.lock().current = Some(Current::of(&issued));
        Ok(())
    }

    /// Issues a token of this session; `admitted` is the admission of the request at hand.
    pub(super) fn issue(&self, admitted: &Admitted) -> Result<IssuedToken, TokenError> {
        let protocol = self.core.lock().entities.facts().protocol;
        self.house.parts.issuer.issue(&Grant {
            admitted,
            session: self.id,
            client: self.client.clone(),
            protocol,
            transport: self.route.transport.as_str(),
            server: &self.route.server,
            policy: self.house.parts.engines.current().digest(),
        })
    }
}

/// What records say of a token's claims.
pub(super) fn claims(claims: &Claims) -> TokenClaims {
    TokenClaims {
        iss: claims.iss.clone(),
        sub: claims.sub.clone(),
        sid: claims.sid,
        aud: claims.aud.clone(),
        iat: claims.iat,
        nbf: claims.nbf,
        exp: claims.exp,
        cnf: claims.cnf.clone(),
    }
}
