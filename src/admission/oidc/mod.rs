//! Evidence from a bearer token: a JWT access token of a configured issuer (RFC 9068), for this gateway alone.
//!
//! All that can be judged without a key is judged first, so that no token of a stranger makes the gateway ask
//! anyone: the algorithm, the issuer, the audience, the times, the demanded claims. Then [`issuers`] finds the key,
//! in process where it can. The token itself goes no further: its digest does.

mod error;
mod fetch;
mod issuers;
mod json;
mod jwk;
mod jwt;
mod known;
mod profile;

use std::sync::Arc;

use error::BearerError;
use fetch::Fetcher;
use issuers::{Found, Issuer, Source};
use jwt::Jwt;
use known::Known;

use super::bootstrap;
use super::{Admission, Listener, Origin};
use crate::domain::admitted::Admitted;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::evidence::Evidence;
use crate::domain::refusal::AdmissionRefusal;
use crate::keys::PublicKeySource;

pub use fetch::FetchError;
pub use jwk::Algorithm;
pub use profile::{GroupsConfig, OidcConfig};

/// What a client is told that has no token yet (RFC 9728).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Authorization {
    /// Who issues tokens for this gateway.
    pub issuers: Vec<String>,
    /// The scopes that tokens need.
    pub scopes: Vec<String>,
}

/// The issuers that are believed, each with its keys.
#[derive(Debug)]
pub(super) struct Bearers {
    entries: Vec<Entry>,
    own: Option<Arc<dyn PublicKeySource>>,
    known: Known,
    clock: Clock,
}

#[derive(Debug)]
struct Entry {
    config: OidcConfig,
    keys: Arc<Issuer>,
}

impl Bearers {
    /// Sets the clients up; nothing is fetched before the first token.
    pub(super) fn new(configs: Vec<OidcConfig>, clock: &Clock) -> Result<Self, FetchError> {
        let entry = |config: OidcConfig| {
            let fetcher = Fetcher::new(config.allow_http, config.allow_private)?;
            let source = match &config.jwks_url {
                Some(url) => Source::Jwks(url.clone()),
                None => Source::Discovery(config.issuer.clone()),
            };
            let keys = Arc::new(Issuer::new(config.issuer.clone(), source, fetcher, clock.clone()));
            Ok(Entry { config, keys })
        };
        let entries = configs.into_iter().map(entry).collect::<Result<_, FetchError>>()?;
        Ok(Self { entries, own: None, known: Known::new(clock.clone()), clock: clock.clone() })
    }

    /// Verifies a bearer and says until when it holds.
    async fn verify(&self, token: &[u8], listener: Listener) -> Result<(Evidence, Timestamp), BearerError> {
        self.judge(token, listener).await.map_err(|error| self.known.failed(error, listener))
    }

    async fn judge(&self, token: &[u8], listener: Listener) -> Result<(Evidence, Timestamp), BearerError> {
        let jwt = Jwt::read(token)?;
        let now = self.clock.now();
        let mut failed = BearerError::Issuer;
        let mut candidates = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.config.issuer == jwt.issuer()) {
            match entry.config.judge(&jwt, now) {
                Ok(()) => candidates.push(entry),
                Err(error) => failed = error,
            }
        }
        if candidates.is_empty() {
            return Err(failed);
        }
        let sources = candidates.iter().map(|entry| &entry.keys);
        let (at, key) =
            match issuers::resolve(self.own.as_deref(), sources, jwt.kid(), jwt.algorithm()).await? {
                Found::Own => return Err(BearerError::OwnKey),
                Found::Issuer(at, key) => (at, key),
            };
        self.known.verify(&jwt, &key, listener).await?;
        let entry = candidates.get(at).ok_or(BearerError::UnknownKey)?;
        // Key and signature hold; only its rightful holder learns which scope is missing.
        entry.config.evidence(&jwt).map(|evidence| (Evidence::Oidc(evidence), jwt.expires()))
    }
}

impl Admission {
    /// The gateway's own keys, which are asked before any issuer: what they signed is judged in process.
    #[must_use]
    pub fn knowing(mut self, own: Arc<dyn PublicKeySource>) -> Self {
        if let Some(bearers) = &mut self.bearers {
            bearers.own = Some(own);
        }
        self
    }

    /// As [`Admission::admit`], for a request that came over HTTP: a bearer that looks like a JWT is verified by its
    /// issuer's keys, where issuers are configured. Those are fetched when they are not known, which may take
    /// seconds; no lock is held meanwhile.
    ///
    /// # Errors
    /// Why the caller is turned away; it has been counted.
    pub async fn admit_request(
        &self,
        origin: &Origin,
        authorization: Option<&[u8]>,
    ) -> Result<Admitted, AdmissionRefusal> {
        let token = authorization.and_then(bootstrap::bearer);
        // What else a bearer could be counts on this machine alone.
        let only = matches!(origin, Origin::Web(_));
        let token = token.filter(|token| only || token.contains(&b'.'));
        let (Some(bearers), Some(token), false) = (&self.bearers, token, self.asks_otherwise(origin)) else {
            return self.admit(origin, authorization).await;
        };
        match bearers.verify(token, origin.listener()).await {
            Ok((evidence, expires)) => Ok(Admitted::by(evidence, Some(expires))),
            Err(error) => {
                tracing::debug!(target: "chancery::admission", %error, "a bearer token was refused");
                let reason = error.refusal();
                self.refusals.count(origin.listener(), reason);
                Err(reason)
            }
        }
    }

    /// What clients without a token are told, where issuers are configured.
    pub fn authorization(&self) -> Option<Authorization> {
        let bearers = self.bearers.as_ref()?;
        let mut told = Authorization::default();
        for entry in &bearers.entries {
            let known = |list: &Vec<String>, text: &String| list.contains(text);
            if !known(&told.issuers, &entry.config.issuer) {
                told.issuers.push(entry.config.issuer.clone());
            }
            for scope in &entry.config.scopes {
                if !known(&told.scopes, scope) {
                    told.scopes.push(scope.clone());
                }
            }
        }
        Some(told)
    }

    /// Whether no bearer counts here, but the kernel's word or a certificate.
    fn asks_otherwise(&self, origin: &Origin) -> bool {
        match origin {
            Origin::Parent | Origin::Tls(..) => true,
            Origin::Unix(_) => self.peer.is_some(),
            Origin::Tcp(_) | Origin::Web(_) => false,
        }
    }
}

#[cfg(test)]
mod tests;
