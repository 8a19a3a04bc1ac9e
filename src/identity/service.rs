//! The identity as the rest of the gateway sees it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use super::config::{Config, Kind, Local};
use super::describe::KeyDescription;
use super::error::IdentityError;
use super::local::{Access, LocalDomain};
use super::material::{Material, Published};
use super::ring::Ring;
use super::spire::{self, Workload};
use super::tls::SpiffeTls;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::ids::SpiffeId;
use crate::keys::{ActiveKey, Jwks, KnownKey, PublicKeySource, Signer, SignerError, TrustBundle};

/// Between two looks at a source that changes all the time: what it costs is bounded, whatever an agent sends.
const REST: Duration = Duration::from_millis(100);

/// The signing identity of one gateway: one SPIFFE ID, and the key that signs for it now.
#[derive(Debug)]
pub struct Identity {
    spiffe_id: SpiffeId,
    material: Box<dyn Material>,
    lead: Duration,
    clock: Clock,
    ring: RwLock<Ring>,
    tls: Option<SpiffeTls>,
}

impl Identity {
    /// Opens the identity: the embedded one is made where it does not exist yet, SPIRE's is waited for. It has a key
    /// that signs when this returns.
    ///
    /// # Errors
    /// What is wrong, and the fix. There is no substitute for an identity that can't be opened.
    pub async fn open(config: &Config, clock: Clock) -> Result<Arc<Self>, IdentityError> {
        match &config.kind {
            Kind::Local(local) => Self::open_local(local, config.lead, clock),
            Kind::Spire(spire) => {
                let workload = Workload::connect(spire, config.lead, &clock).await?;
                let spiffe_id = workload.spiffe_id().clone();
                let (published, tls) = (workload.refresh(clock.now())?, workload.tls());
                let mut identity = Self::new(spiffe_id, Box::new(workload), published, config.lead, clock);
                identity.tls = Some(tls);
                Self::ready(identity)
            }
        }
    }

    /// Opens the embedded identity, making it where it does not exist yet.
    ///
    /// # Errors
    /// As [`Identity::open`].
    pub fn open_local(local: &Local, lead: Duration, clock: Clock) -> Result<Arc<Self>, IdentityError> {
        Self::ready(Self::build_local(local, lead, clock, Access::Make)?)
    }

    /// Opens an identity that exists, to look at it: nothing is written, no agent is asked, and the key may have
    /// expired. Of SPIRE's it shows what the gateway keeps, which is public.
    ///
    /// # Errors
    /// There is none, or as [`Identity::open`].
    pub fn inspect(config: &Config, clock: Clock) -> Result<Arc<Self>, IdentityError> {
        match &config.kind {
            Kind::Local(local) => Self::build_local(local, config.lead, clock, Access::Look).map(Arc::new),
            Kind::Spire(spire) => {
                let (spiffe_id, published) = spire::look(&spire.dir, spire.spiffe_id.as_ref(), clock.now())?;
                let material = Box::new(Still(published.clone()));
                Ok(Arc::new(Self::new(spiffe_id, material, published, config.lead, clock)))
            }
        }
    }

    fn build_local(
        local: &Local,
        lead: Duration,
        clock: Clock,
        access: Access,
    ) -> Result<Self, IdentityError> {
        let now = clock.now();
        let domain = LocalDomain::open(local, lead, access, now)?;
        let (spiffe_id, published) = (domain.spiffe_id().clone(), domain.refresh(now)?);
        Ok(Self::new(spiffe_id, Box::new(domain), published, lead, clock))
    }

    fn new(
        spiffe_id: SpiffeId,
        material: Box<dyn Material>,
        published: Published,
        lead: Duration,
        clock: Clock,
    ) -> Self {
        Self { spiffe_id, material, lead, clock, ring: RwLock::new(Ring::new(published)), tls: None }
    }

    fn ready(self) -> Result<Arc<Self>, IdentityError> {
        self.current().map_err(IdentityError::Unusable)?;
        Ok(Arc::new(self))
    }

    /// TLS by the gateway's own SVID, from the same stream as the signing keys; an embedded identity has none, as
    /// nobody else has SVIDs of its trust domain.
    pub fn tls(&self) -> Option<&SpiffeTls> {
        self.tls.as_ref()
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

    /// Whether this key was believed once, and is not any more, because the trust bundle no longer vouches for it.
    pub fn has_dropped(&self, kid: &str) -> bool {
        self.ring.read().published().dropped.iter().any(|dropped| dropped.as_str() == kid)
    }

    /// Why nothing can be signed now, if nothing can.
    pub fn why_none(&self) -> Option<SignerError> {
        self.current().err()
    }

    /// How long the certificate that signs now, and what stands above it, is still valid; zero without one.
    pub fn validity_left(&self) -> Duration {
        let now = self.clock.now();
        let ring = self.ring.read();
        ring.current(now).map_or(Duration::ZERO, |current| current.key.leaf().to.since(now))
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
        let now = self.clock.now();
        let published = self.material.refresh(now)?;
        *self.ring.write() = Ring::new(published);
        self.material.keep(now);
        Ok(())
    }

    /// Refreshes whenever the source has something new, and at least twice per lead, until `stop`, so that a key
    /// which another process made on the same directory is found before it signs. Failures are logged and tried
    /// again: signing goes on while the certificate lasts.
    pub async fn rotate_forever(self: Arc<Self>, stop: CancellationToken) {
        let pause = (self.lead / 2).clamp(Duration::from_millis(500), Duration::from_secs(15));
        let mut rested = tokio::time::Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.material.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
            // No wait after a quiet time: a withdrawal ends signing at once.
            if stop.run_until_cancelled(tokio::time::sleep_until(rested)).await.is_none() {
                return;
            }
            rested = tokio::time::Instant::now() + REST;
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

/// What was found at one moment.
#[derive(Debug)]
struct Still(Published);

impl Material for Still {
    fn refresh(&self, _now: Timestamp) -> Result<Published, IdentityError> {
        Ok(self.0.clone())
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Instant;

    use futures_util::future::{BoxFuture, ready};

    use super::*;
    use crate::identity::material::PublishedKey;
    use crate::keys::testing::Authority;

    /// A source that has something new all the time.
    #[derive(Debug)]
    struct Restless(Published, Arc<AtomicU32>);

    impl Material for Restless {
        fn refresh(&self, _now: Timestamp) -> Result<Published, IdentityError> {
            self.1.fetch_add(1, Ordering::SeqCst);
            Ok(self.0.clone())
        }

        fn changed(&self) -> BoxFuture<'_, ()> {
            Box::pin(ready(()))
        }
    }

    #[tokio::test]
    async fn a_source_that_never_rests_is_looked_at_a_few_times_a_second() {
        let (authority, at) = (Authority::new("example.org"), Timestamp::from_secs(1_772_366_400));
        let key = authority.key("/gw", at, at.plus(Duration::from_secs(3600)));
        let id = key.spiffe_id().clone();
        let published = Published {
            keys: vec![PublishedKey { key, from: at, file: None }],
            public: Vec::new(),
            bundle: Arc::clone(&authority.bundle),
            bundle_file: None,
            withdrawn: None,
            dropped: Vec::new(),
        };
        let (looks, stop) = (Arc::new(AtomicU32::new(0)), CancellationToken::new());
        let material = Box::new(Restless(published.clone(), Arc::clone(&looks)));
        let identity = Identity::new(id, material, published, Config::DEFAULT_LEAD, Clock::fixed(at));
        let begun = Instant::now();
        let rotating = tokio::spawn(Arc::new(identity).rotate_forever(stop.clone()));
        while looks.load(Ordering::SeqCst) < 5 {
            tokio::task::yield_now().await;
        }
        assert!(begun.elapsed() >= 4 * REST, "{:?}", begun.elapsed());
        stop.cancel();
        rotating.await.unwrap();
    }
}
