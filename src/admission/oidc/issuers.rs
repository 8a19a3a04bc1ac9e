//! Key resolution: the gateway's own keys first, in process, then the keys of the issuers that may have signed, each
//! from its cache or by HTTP.
//!
//! An issuer is asked at most once in [`REST`], by one request at a time however many wait for it; what it answered
//! is kept for its `max-age`, and for [`STALE`] more while it does not answer anew. Its lock guards its cache and
//! is never held across I/O.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use url::Url;

use super::error::BearerError;
use super::fetch::{FetchError, Fetcher};
use super::jwk::{self, Algorithm, IssuerKey};
use crate::domain::clock::{Clock, Timestamp};
use crate::keys::PublicKeySource;

/// Between two requests to one issuer, whatever tokens name.
pub(super) const REST: Duration = Duration::from_secs(30);

/// How long keys are kept when nothing is said of it.
const DEFAULT_AGE: Duration = Duration::from_secs(600);

/// The least and the most that they are kept.
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How much longer keys count when their issuer can't be asked.
pub(super) const STALE: Duration = Duration::from_secs(24 * 3600);

/// Where an issuer's keys are.
#[derive(Debug)]
pub(super) enum Source {
    /// At this URL.
    Jwks(Url),
    /// Where the metadata of the issuer says.
    Discovery(String),
}

/// A key that was found.
#[derive(Debug)]
pub(super) enum Found {
    /// One of the gateway's own.
    Own,
    /// One of the issuer that stands at this place among those asked.
    Issuer(usize, Arc<IssuerKey>),
}

/// Finds the key of that id and algorithm: each source is asked when those before it do not have it, or fail.
///
/// # Errors
/// [`BearerError::UnknownKey`] if all answered and none has it, [`BearerError::Unavailable`] if one that might could
/// not be asked.
pub(super) async fn resolve<'a>(
    own: Option<&dyn PublicKeySource>,
    issuers: impl Iterator<Item = &'a Arc<Issuer>>,
    kid: &str,
    algorithm: Algorithm,
) -> Result<Found, BearerError> {
    if own.is_some_and(|own| own.find(kid).is_some()) {
        return Ok(Found::Own);
    }
    let mut failed = BearerError::UnknownKey;
    for (at, issuer) in issuers.enumerate() {
        match issuer.find(kid, algorithm).await {
            Ok(key) => return Ok(Found::Issuer(at, key)),
            Err(BearerError::Unavailable) => failed = BearerError::Unavailable,
            Err(_it_has_none) => {}
        }
    }
    Err(failed)
}

/// The keys of one issuer.
#[derive(Debug)]
pub(super) struct Issuer {
    name: String,
    source: Source,
    fetcher: Fetcher,
    clock: Clock,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    keys: Vec<Arc<IssuerKey>>,
    /// Until when they are as good as new, and until when they count at all.
    fresh: Option<Timestamp>,
    last: Option<Timestamp>,
    /// When the issuer was last asked, and whether it failed.
    asked: Option<Timestamp>,
    failed: bool,
    /// Closes when the answer is in the cache.
    under_way: Option<watch::Receiver<()>>,
}

impl Cache {
    fn find(&self, kid: &str, algorithm: Algorithm, now: Timestamp) -> Option<Arc<IssuerKey>> {
        if self.last.is_none_or(|last| now.as_millis() >= last.as_millis()) {
            return None;
        }
        self.keys.iter().find(|key| key.kid == kid && key.algorithm == algorithm).cloned()
    }

    fn miss(&self) -> BearerError {
        if self.failed { BearerError::Unavailable } else { BearerError::UnknownKey }
    }
}

impl Issuer {
    pub(super) fn new(name: String, source: Source, fetcher: Fetcher, clock: Clock) -> Self {
        Self { name, source, fetcher, clock, cache: Mutex::default() }
    }

    /// The key of that id for that algorithm.
    async fn find(self: &Arc<Self>, kid: &str, algorithm: Algorithm) -> Result<Arc<IssuerKey>, BearerError> {
        let mut answered = {
            let now = self.clock.now();
            let mut cache = self.cache.lock();
            if let Some(key) = cache.find(kid, algorithm, now) {
                if cache.fresh.is_none_or(|fresh| now.as_millis() >= fresh.as_millis()) {
                    // Nobody waits: what is known serves meanwhile.
                    let _under_way = self.ask(&mut cache, now);
                }
                return Ok(key);
            }
            match self.ask(&mut cache, now) {
                Some(answered) => answered,
                None => return Err(cache.miss()),
            }
        };
        // The answer is told by hanging up.
        while answered.changed().await.is_ok() {}
        let cache = self.cache.lock();
        cache.find(kid, algorithm, self.clock.now()).ok_or_else(|| cache.miss())
    }

    /// The request that is under way, or a new one if it is time for one.
    fn ask(self: &Arc<Self>, cache: &mut Cache, now: Timestamp) -> Option<watch::Receiver<()>> {
        if let Some(under_way) = cache.under_way.as_ref().filter(|asked| asked.has_changed().is_ok()) {
            return Some(under_way.clone());
        }
        if cache.asked.is_some_and(|asked| now.since(asked) < REST) {
            return None;
        }
        cache.asked = Some(now);
        let (tell, answered) = watch::channel(());
        cache.under_way = Some(answered.clone());
        let issuer = Arc::clone(self);
        // On a task of its own: whoever waits for it may go away.
        tokio::spawn(async move {
            let fetched = issuer.fetch().await;
            issuer.enter(fetched);
            drop(tell);
        });
        Some(answered)
    }

    fn enter(&self, fetched: Result<(Vec<IssuerKey>, Duration), FetchError>) {
        let now = self.clock.now();
        let mut cache = self.cache.lock();
        cache.under_way = None;
        cache.failed = fetched.is_err();
        match fetched {
            Ok((keys, age)) => {
                tracing::debug!(issuer = self.name, keys = keys.len(), "fetched an issuer's keys");
                cache.keys = keys.into_iter().map(Arc::new).collect();
                cache.fresh = Some(now.plus(age));
                cache.last = Some(now.plus(age + STALE));
            }
            Err(error) => tracing::warn!(issuer = self.name, %error, "an issuer's keys can't be fetched"),
        }
    }

    async fn fetch(&self) -> Result<(Vec<IssuerKey>, Duration), FetchError> {
        let url = match &self.source {
            Source::Jwks(url) => url.clone(),
            Source::Discovery(issuer) => self.discover(issuer).await?,
        };
        let page = self.fetcher.get(&url).await?;
        let keys = jwk::read_set(&page.body).ok_or(FetchError::Content(url, "a JWK set"))?;
        Ok((keys, page.max_age.unwrap_or(DEFAULT_AGE).clamp(SHORTEST, LONGEST)))
    }

    /// OpenID Connect Discovery 1.0 §4, else RFC 8414 §3.
    async fn discover(&self, issuer: &str) -> Result<Url, FetchError> {
        let mut failed = None;
        for url in metadata_urls(issuer) {
            match self.fetcher.get(&url).await {
                Ok(page) => return jwks_uri(&page.body, issuer).ok_or(FetchError::Content(url, METADATA)),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        Err(failed.unwrap_or_else(|| FetchError::Client(format!("`{issuer}` is not a URL"))))
    }
}

const METADATA: &str = "metadata of this very issuer with a `jwks_uri`";

/// Where an issuer's metadata may be.
fn metadata_urls(issuer: &str) -> Vec<Url> {
    let openid = Url::parse(&format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')));
    let oauth = Url::parse(issuer).map(|mut url| {
        let path = format!("/.well-known/oauth-authorization-server{}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    });
    [openid, oauth].into_iter().flatten().collect()
}

/// The metadata's `jwks_uri`, if the metadata is this issuer's: its name must be the same to the letter.
fn jwks_uri(body: &[u8], issuer: &str) -> Option<Url> {
    let metadata: serde_json::Value = serde_json::from_slice(body).ok()?;
    let named = metadata.get("issuer")?.as_str()? == issuer;
    let uri = metadata.get("jwks_uri")?.as_str()?;
    Url::parse(uri).ok().filter(|_| named)
}

#[cfg(test)]
mod tests;
