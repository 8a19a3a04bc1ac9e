//! Admission: who stands at the other end of a connection, known before anything of theirs is heard.
//!
//! Evidence is collected anew at every request ([`peer`] asks the kernel, [`bootstrap`] compares a secret, [`mtls`]
//! looks at the connection's certificate) and
//! yields an [`Admitted`], nothing more. Whoever has none is counted by listener and reason in [`Refusals`];
//! nothing is stored or signed for a stranger's request (invariant I10).
//!
//! layer: L3

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::domain::admitted::Admitted;
use crate::domain::binding::Binding;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::evidence::{Evidence, PeerEvidence};
use crate::domain::recorder::SharedRecorder;
use crate::domain::refusal::AdmissionRefusal;

pub mod bootstrap;
mod config;
pub mod mtls;
mod oidc;
pub mod peer;
mod refusals;

use bootstrap::{BootstrapSecret, Checked};
pub use config::{BootstrapConfig, Config, ExecutableRule, PeerConfig};
pub use mtls::{ConnectionSvid, MtlsConfig, TrustDomains};
use oidc::Bearers;
pub use oidc::{Algorithm, Authorization, FetchError, GroupsConfig, OidcConfig};
pub use peer::ConnectionPeer;
use peer::Processes;
pub use refusals::{Listener, RefusalCount, Refusals};

/// Where a request came in.
#[derive(Debug, Clone)]
pub enum Origin {
    /// On our own stdin, from the parent process.
    Parent,
    /// On the Unix socket, from this peer.
    Unix(ConnectionPeer),
    /// On the TCP listener, from this address.
    Tcp(SocketAddr),
    /// On the TLS listener, from a client that has proved to hold this certificate.
    Tls(ConnectionSvid),
    /// On the TLS listener with a certificate as on the web, which asks for none, from this address.
    Web(SocketAddr),
}

impl Origin {
    /// The listener that it belongs to.
    pub const fn listener(&self) -> Listener {
        match self {
            Self::Parent => Listener::Stdio,
            Self::Unix(_) => Listener::Unix,
            Self::Tcp(_) => Listener::Tcp,
            Self::Tls(_) | Self::Web(_) => Listener::Tls,
        }
    }
}

/// Why admission can't begin.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    /// The bootstrap secret's file is not usable.
    #[error(transparent)]
    Bootstrap(#[from] bootstrap::SecretFileError),
    /// Issuers can't be asked.
    #[error(transparent)]
    Issuers(#[from] FetchError),
}

/// Wrong secrets, and forged tokens, that one listener hears out in a minute; beyond it they are refused as
/// `rate_limited`. What is right is always heard, so that a stranger can't lock its holder out; 256 bits are not guessed anyway,
/// the limit is what makes guessing visible.
const GUESSES_PER_MINUTE: u64 = 30;

/// Decides who may hold a session.
#[derive(Debug)]
pub struct Admission {
    peer: Option<PeerConfig>,
    secret: Option<BootstrapSecret>,
    mtls: Option<MtlsConfig>,
    trust: Option<Arc<dyn TrustDomains>>,
    anonymous: bool,
    clock: Clock,
    bearers: Option<Bearers>,
    processes: Processes,
    guesses: Guesses,
    refusals: Arc<Refusals>,
}

impl Admission {
    /// Reads the bootstrap secret, if one is configured.
    ///
    /// # Errors
    /// When the secret's file is missing, not ours, open to others or not a 256-bit secret; when no TLS client for
    /// issuers can be set up.
    pub fn open(config: Config, clock: Clock, recorder: SharedRecorder) -> Result<Self, AdmissionError> {
        let secret = config.bootstrap.map(|b| BootstrapSecret::open(b, clock.clone())).transpose()?;
        let bearers = match config.oidc.is_empty() {
            true => None,
            false => Some(Bearers::new(config.oidc, &clock)?),
        };
        Ok(Self {
            peer: config.peer,
            secret,
            mtls: config.mtls,
            trust: None,
            anonymous: config.anonymous,
            clock: clock.clone(),
            bearers,
            processes: Processes::default(),
            guesses: Guesses::new(clock),
            refusals: Arc::new(Refusals::new(recorder)),
        })
    }

    /// With the trust domains that a client's certificate may be of; without, nobody is let in by one.
    #[must_use]
    pub fn believing(mut self, trust: Arc<dyn TrustDomains>) -> Self {
        self.trust = Some(trust);
        self
    }

    /// The moment now, by the clock that evidence is judged by.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Collects and judges the evidence of one request. A refusal has been counted when this returns.
    ///
    /// `authorization` is the value of the request's `Authorization` header, if it has one. On the Unix socket
    /// the peer is asked for where `peer` is configured, else the secret; on TCP a secret counts, and where
    /// `anonymous` is configured the want of any header; on TLS the client's certificate and nothing else, or where
    /// none is asked for a bearer token ([`Admission::admit_request`]) and nothing else. The first
    /// look at an executable reads it whole on a thread of its own (some 50 ms for 100 MB); later ones are cached.
    ///
    /// # Errors
    /// Why the caller is turned away.
    pub async fn admit(
        &self,
        origin: &Origin,
        authorization: Option<&[u8]>,
    ) -> Result<Admitted, AdmissionRefusal> {
        let mut expires = None;
        let evidence = match (origin, &self.peer) {
            (Origin::Parent, Some(config)) => self.peer(config, self.processes.parent(config).await),
            (Origin::Unix(peer), Some(config)) => {
                self.peer(config, self.processes.connected(peer, config).await)
            }
            // Bearer tokens are judged before; a secret of this machine is none for a network.
            (Origin::Parent, None) | (Origin::Web(_), _) => Err(AdmissionRefusal::NoEvidence),
            (Origin::Tls(svid), _) => self.svid(svid).map(|(evidence, until)| {
                expires = Some(until);
                evidence
            }),
            // Who shows something is judged by it, never taken for nobody.
            (Origin::Tcp(from), _)
                if self.anonymous && authorization.is_none() && from.ip().is_loopback() =>
            {
                Ok(Evidence::Anonymous)
            }
            (Origin::Unix(_), None) | (Origin::Tcp(_), _) => self.bearer(origin.listener(), authorization),
        };
        match evidence {
            Ok(evidence) => Ok(Admitted::by(evidence, expires)),
            Err(reason) => {
                self.refusals.count(origin.listener(), reason);
                Err(reason)
            }
        }
    }

    /// Whether nobody can show any more what this binding rests on, because the bootstrap secret was replaced or
    /// is too old, or the trust domain is not believed any more. What is bound to it is to end: a stream that is
    /// open asks for no evidence again.
    pub fn has_outlived(&self, binding: &Binding) -> bool {
        match (binding, &self.secret) {
            (Binding::Bootstrap { secret_sha256 }, Some(secret)) => secret.has_outlived(*secret_sha256),
            (Binding::Mtls { spiffe_id }, _) => {
                let admits = |config| mtls::admits(config, self.trust.as_deref(), spiffe_id);
                !self.mtls.as_ref().is_some_and(admits)
            }
            _ => false,
        }
    }

    /// Whether a connection from `origin` may go on. A stream that is open asks for no evidence again: call it from time
    /// to time.
    pub fn holds(&self, origin: &Origin) -> bool {
        match origin {
            // What else may end ends the session too, or the stream by its own clock.
            Origin::Tls(svid) => !matches!(self.svid(svid), Err(AdmissionRefusal::SvidNotBelieved)),
            Origin::Parent | Origin::Unix(_) | Origin::Tcp(_) | Origin::Web(_) => true,
        }
    }

    /// Tells the operator what has come to an end without anybody asking; call it from time to time.
    pub fn watch(&self) {
        if let Some(secret) = &self.secret {
            secret.watch();
        }
    }

    /// The counters of those turned away; listeners count Host and Origin refusals here too.
    pub fn refusals(&self) -> &Arc<Refusals> {
        &self.refusals
    }

    fn peer(
        &self,
        config: &PeerConfig,
        facts: Result<PeerEvidence, AdmissionRefusal>,
    ) -> Result<Evidence, AdmissionRefusal> {
        let facts = facts?;
        if peer::allowed(config, &facts) {
            Ok(Evidence::Peer(facts))
        } else {
            let executable = facts.executable.as_ref();
            let path = executable.map(|exe| exe.path.display().to_string());
            let sha256 = executable.map(|exe| format!("sha256:{}", exe.sha256));
            tracing::debug!(
                target: "chancery::admission", uid = facts.uid, pid = facts.pid, path, sha256, "a process was refused"
            );
            Err(AdmissionRefusal::PeerNotAllowed)
        }
    }

    fn svid(&self, svid: &ConnectionSvid) -> Result<(Evidence, Timestamp), AdmissionRefusal> {
        let config = self.mtls.as_ref().ok_or(AdmissionRefusal::NoEvidence)?;
        let judged = mtls::judge(config, self.trust.as_deref(), svid, self.clock.now());
        judged.map(|(evidence, until)| (Evidence::Mtls(evidence), until))
    }

    fn bearer(&self, listener: Listener, authorization: Option<&[u8]>) -> Result<Evidence, AdmissionRefusal> {
        let presented = authorization.and_then(bootstrap::bearer).ok_or(AdmissionRefusal::NoEvidence)?;
        // Where tokens count, whoever shows something is told that it is none.
        let none = || match &self.bearers {
            Some(_) => AdmissionRefusal::InvalidToken,
            None => AdmissionRefusal::NoEvidence,
        };
        let secret = self.secret.as_ref().ok_or_else(none)?;
        match secret.check(presented) {
            Checked::Right(evidence) => Ok(Evidence::Bootstrap(evidence)),
            Checked::TooOld => Err(AdmissionRefusal::SecretTooOld),
            Checked::Wrong if self.guesses.take(listener) => Err(AdmissionRefusal::WrongSecret),
            Checked::Wrong => Err(AdmissionRefusal::RateLimited),
        }
    }
}

/// Wrong secrets (or forged tokens) of the current minute, for each listener.
#[derive(Debug)]
struct Guesses {
    clock: Clock,
    minutes: [(Listener, AtomicI64, AtomicU64); Listener::ALL.len()],
}

impl Guesses {
    fn new(clock: Clock) -> Self {
        Self { clock, minutes: Listener::ALL.map(|l| (l, AtomicI64::new(0), AtomicU64::new(0))) }
    }

    /// Whether one more wrong secret is within the rate.
    fn take(&self, listener: Listener) -> bool {
        self.count(listener).is_some_and(|count| count.fetch_add(1, Ordering::Relaxed) < GUESSES_PER_MINUTE)
    }

    /// Whether none is any more.
    fn is_spent(&self, listener: Listener) -> bool {
        self.count(listener).is_none_or(|count| count.load(Ordering::Relaxed) >= GUESSES_PER_MINUTE)
    }

    /// This minute's.
    fn count(&self, listener: Listener) -> Option<&AtomicU64> {
        let minute = self.clock.now().as_secs() / 60;
        let (_, current, count) = self.minutes.iter().find(|(l, ..)| *l == listener)?;
        if current.swap(minute, Ordering::Relaxed) != minute {
            count.store(0, Ordering::Relaxed);
        }
        Some(count)
    }
}

#[cfg(test)]
mod tests;
