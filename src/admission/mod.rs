//! Admission: who stands at the other end of a connection, known before anything of theirs is heard.
//!
//! Evidence is collected anew at every request ([`peer`] asks the kernel, [`bootstrap`] compares a secret) and
//! yields an [`Admitted`], nothing more. Whoever has none is counted by listener and reason in [`Refusals`];
//! nothing is stored or signed for a stranger's request (invariant I10).
//!
//! layer: L3

use std::net::SocketAddr;
use std::sync::Arc;

use crate::domain::admitted::Admitted;
use crate::domain::recorder::SharedRecorder;
use crate::domain::refusal::AdmissionRefusal;

pub mod bootstrap;
mod config;
pub mod peer;
mod refusals;

pub use config::{BootstrapConfig, Config, ExecutableRule, PeerConfig};
pub use peer::ConnectionPeer;
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
}

impl Origin {
    /// The listener that it belongs to.
    pub const fn listener(&self) -> Listener {
        match self {
            Self::Parent => Listener::Stdio,
            Self::Unix(_) => Listener::Unix,
            Self::Tcp(_) => Listener::Tcp,
        }
    }
}

/// Why admission can't begin.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    /// The bootstrap secret's file is not usable.
    #[error(transparent)]
    Bootstrap(#[from] bootstrap::SecretFileError),
}

/// Decides who may hold a session.
#[derive(Debug)]
pub struct Admission {
    #[allow(dead_code, reason = "filled in next")]
    config: Config,
    refusals: Arc<Refusals>,
}

impl Admission {
    /// Reads the bootstrap secret, if one is configured.
    ///
    /// # Errors
    /// When the secret's file is missing, not ours, open to others or not a 256-bit secret.
    pub fn open(config: Config, recorder: SharedRecorder) -> Result<Self, AdmissionError> {
        Ok(Self { config, refusals: Arc::new(Refusals::new(recorder)) })
    }

    /// Collects and judges the evidence of one request. A refusal has been counted when this returns.
    ///
    /// `authorization` is the value of the request's `Authorization` header, if it has one.
    #[allow(clippy::todo, reason = "filled in next")]
    pub fn admit(
        &self,
        _origin: &Origin,
        _authorization: Option<&[u8]>,
    ) -> Result<Admitted, AdmissionRefusal> {
        todo!()
    }

    /// The counters of those turned away; listeners count Host and Origin refusals here too.
    pub fn refusals(&self) -> &Arc<Refusals> {
        &self.refusals
    }
}
