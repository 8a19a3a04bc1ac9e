//! Tokens whose signature held, and how many did not lately: what was seen good costs no second look, and a flood of
//! forged tokens takes no more than one core, turn by turn with those that are good.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::error::BearerError;
use super::jwk::IssuerKey;
use super::jwt::Jwt;
use crate::admission::{Guesses, Listener};
use crate::domain::clock::Clock;
use crate::domain::digest::Sha256Digest;

/// Tokens that are remembered.
pub(super) const MAX_KNOWN: usize = 4096;

/// What is known of signatures.
#[derive(Debug)]
pub(super) struct Known {
    /// The digest of a token, and the key that signed it. A key that was fetched anew is another one: whatever its
    /// issuer has withdrawn verifies nothing from then on.
    good: Mutex<HashMap<Sha256Digest, Weak<IssuerKey>>>,
    forged: Guesses,
    turn: Semaphore,
}

impl Known {
    pub(super) fn new(clock: Clock) -> Self {
        Self { good: Mutex::default(), forged: Guesses::new(clock), turn: Semaphore::new(1) }
    }

    /// Verifies a token's signature, if it was not verified before.
    pub(super) async fn verify(
        &self,
        jwt: &Jwt<'_>,
        key: &Arc<IssuerKey>,
        listener: Listener,
    ) -> Result<(), BearerError> {
        if self.is_good(jwt.sha256(), key) {
            return Ok(());
        }
        let _turn = match self.forged.is_spent(listener) {
            true => self.turn.acquire().await.ok(),
            false => None,
        };
        if !key.verifies(jwt.signed(), jwt.signature()) {
            return Err(BearerError::Signature);
        }
        self.remember(jwt.sha256(), key);
        Ok(())
    }

    /// What is told of a failure: beyond the rate, those that only a key could show are told apart no more. What is
    /// wrong without a key costs nothing, and its client may have to learn that its token has expired.
    pub(super) fn failed(&self, error: BearerError, listener: Listener) -> BearerError {
        match error {
            BearerError::Signature | BearerError::UnknownKey | BearerError::OwnKey
                if !self.forged.take(listener) =>
            {
                BearerError::RateLimited
            }
            _ => error,
        }
    }

    fn is_good(&self, token: Sha256Digest, key: &Arc<IssuerKey>) -> bool {
        self.good.lock().get(&token).is_some_and(|signer| std::ptr::eq(signer.as_ptr(), Arc::as_ptr(key)))
    }

    /// Only tokens of an issuer get here; what is forgotten is verified again.
    fn remember(&self, token: Sha256Digest, key: &Arc<IssuerKey>) {
        let mut good = self.good.lock();
        if good.len() >= MAX_KNOWN {
            good.retain(|_, signer| signer.strong_count() > 0);
        }
        if good.len() >= MAX_KNOWN {
            good.clear();
        }
        good.insert(token, Arc::downgrade(key));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.good.lock().len()
    }
}
