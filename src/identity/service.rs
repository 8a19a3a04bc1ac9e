//! The identity as the rest of the gateway sees it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use super::config::{Config, Kind};
use super::describe::KeyDescription;
use super::error::IdentityError;
use super::local::{Access, LocalDomain};
use super::material::Material;
use super::ring::Ring;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::ids::SpiffeId;
use crate::keys::{ActiveKey, Jwks, KnownKey, PublicKeySource, Signer, SignerError, TrustBundle};

/// The signing identity of one gateway: one SPIFFE ID, and the key that signs for it now.
#[derive(Debug)]
pub struct Identity {
    spiffe_id: SpiffeId,
    material: Box<dyn Material>,
    lead: Duration,
    clock: Clock,
    ring: RwLock<Ring>,
}

impl Identity {
    /// Opens the identity, making it where it does not exist yet. It has a key that signs when this returns.
    ///
    /// # Errors
    /// What is wrong, and the fix. There is no substitute for an identity that can't be opened.
    pub fn open(config: &Config, clock: Clock) -> Result<Arc<Self>, IdentityError> {
        let identity = Self::build(config, clock, Access::Make)?;
        identity.current().map_err(IdentityError::Unusable)?;
        Ok(identity)
    }

    /// Opens an identity that exists, to look at it: nothing is written, and the key may have expired.
    ///
    /// # Errors
    /// There is none, or as [`Identity::open`].
    pub fn inspect(config: &Config, clock: Clock) -> Result<Arc<Self>, IdentityError> {
        Self::build(config, clock, Access::Look)
    }

    fn build(config: &Config, clock: Clock, access: Access) -> Result<Arc<Self>, IdentityError> {
        let Kind::Local(local) = &config.kind;
        let now = clock.now();
        let domain = LocalDomain::open(local, config.lead, access, now)?;
        let spiffe_id = domain.spiffe_id().clone();
        let ring = RwLock::new(Ring::new(domain.refresh(now)?));
        Ok(Arc::new(Self { spiffe_id, material: Box::new(domain), lead: config.lead, clock, ring }))
    }

    /// Whose identity it is.
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// The trust bundle in force.
    pub fn bundle(&self) -> Arc<TrustBundle> {
        Arc::clone(&self.ring.read().published().bundle)
    }

    /// Every key whose tokens may still be alive, the one that will sign next included.
    pub fn jwks(&self) -> Jwks {
        self.ring.read().jwks(self.clock.now())
    }

    /// How long a JWKS answer may be cached: no longer than a new key is published before it signs.
    pub fn jwks_max_age(&self) -> Duration {
        self.lead
    }

    /// How long the certificate that signs now is still valid; zero without one.
    pub fn validity_left(&self) -> Duration {
        let now = self.clock.now();
        let ring = self.ring.read();
        ring.current(now).map_or(Duration::ZERO, |current| current.key.not_after().since(now))
    }

    /// Every key that is known, roots first, for a person to read.
    pub fn describe(&self) -> Vec<KeyDescription> {
        self.ring.read().describe(self.clock.now())
    }

    /// Takes over what the source publishes now, renewing what is due. Blocks on files.
    ///
    /// # Errors
    /// The source could not be used; the keys stay as they were.
    pub fn refresh(&self) -> Result<(), IdentityError> {
        let published = self.material.refresh(self.clock.now())?;
        *self.ring.write() = Ring::new(published);
        Ok(())
    }

    /// Refreshes at least twice per lead until `stop`, so that a key which another process made on the same
    /// directory is found before it signs. Failures are logged and tried again: signing goes on while the
    /// certificate lasts.
    pub async fn rotate_forever(self: Arc<Self>, stop: CancellationToken) {
        let pause = (self.lead / 2).clamp(Duration::from_secs(1), Duration::from_secs(15));
        while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            let identity = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || identity.refresh()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "the signing identity could not be refreshed"),
                Err(error) => tracing::error!(%error, "refreshing the signing identity failed"),
            }
        }
    }

    fn current_at(&self, now: Timestamp) -> Result<Arc<ActiveKey>, SignerError> {
        self.ring.read().current(now).map(|published| Arc::clone(&published.key))
    }
}

impl Signer for Identity {
    fn current(&self) -> Result<Arc<ActiveKey>, SignerError> {
        self.current_at(self.clock.now())
    }
}

impl PublicKeySource for Identity {
    fn find(&self, kid: &str) -> Option<KnownKey> {
        self.ring.read().find(kid).cloned()
    }
}
