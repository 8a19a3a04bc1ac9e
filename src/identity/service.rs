//! The identity as the rest of the gateway sees it.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::config::Config;
use super::describe::KeyDescription;
use super::error::IdentityError;
use crate::domain::clock::Clock;
use crate::domain::ids::SpiffeId;
use crate::keys::{ActiveKey, Jwks, PublicKey, PublicKeySource, Signer, SignerError, TrustBundle};

/// The signing identity of one gateway.
#[derive(Debug)]
pub struct Identity {}

#[allow(clippy::todo, reason = "being filled in")]
impl Identity {
    /// Opens the identity, making it where it does not exist yet.
    ///
    /// # Errors
    /// What is wrong, and the fix.
    pub fn open(_config: &Config, _clock: Clock) -> Result<Arc<Self>, IdentityError> {
        todo!()
    }

    /// The keys whose tokens may still be alive.
    pub fn jwks(&self) -> Jwks {
        todo!()
    }

    /// The trust bundle in force.
    pub fn bundle(&self) -> Arc<TrustBundle> {
        todo!()
    }

    /// Whose identity it is.
    pub fn spiffe_id(&self) -> &SpiffeId {
        todo!()
    }

    /// Keeps the identity fresh until `stop`.
    pub async fn rotate_forever(self: Arc<Self>, _stop: CancellationToken) {
        todo!()
    }

    /// Every key that is known.
    pub fn describe(&self) -> Vec<KeyDescription> {
        todo!()
    }
}

#[allow(clippy::todo, reason = "being filled in")]
impl Signer for Identity {
    fn current(&self) -> Result<Arc<ActiveKey>, SignerError> {
        todo!()
    }
}

#[allow(clippy::todo, reason = "being filled in")]
impl PublicKeySource for Identity {
    fn find(&self, _kid: &str) -> Option<PublicKey> {
        todo!()
    }
}
