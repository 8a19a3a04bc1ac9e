//! `serve`: clients on TCP, TLS and a Unix socket, by streamable HTTP (MCP 2025-11-25, Transports).
//!
//! In this order, for every request: `Host` and `Origin`, admission, then method, headers, session and body. A
//! stranger's request is counted and nothing else; none of its body is read.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Admission;
use crate::attest::CloseReason;
use crate::domain::ids::{ServerName, SessionId};
use crate::domain::limits::Limits;
use crate::gate::Gate;
use crate::identity::WebCertificate;
use crate::proxy::relay::Relay;
use crate::proxy::upstream::Connector;

mod accept;
mod answer;
mod checks;
mod events;
mod linger;
mod listen;
mod post;
mod resource;
mod service;

use resource::Resource;

pub use listen::{BindError, Listeners, SocketFile, bind_unix};

/// What a listener tells about the gateway to anyone.
pub trait Published: Send + Sync + fmt::Debug {
    /// The JWKS with the keys whose tokens may still be alive, as JSON.
    fn jwks(&self) -> String;
    /// How long the JWKS may be kept.
    fn jwks_max_age(&self) -> Duration;
    /// Whether calls can be served now; else why not, in words fit for strangers.
    fn ready(&self) -> Result<(), &'static str>;
}

/// What the TLS listener shows and asks for.
#[derive(Debug)]
pub enum ServerTls {
    /// By SVIDs: demands and verifies a certificate of every client.
    Svid(rustls::ServerConfig),
    /// As on the web: asks for no certificate, but for a bearer token at every request.
    Web(rustls::ServerConfig, Arc<WebCertificate>),
}

/// What `serve` needs.
#[derive(Debug)]
pub struct ServeParts {
    /// Decides.
    pub gate: Arc<Gate>,
    /// Knows callers.
    pub admission: Arc<Admission>,
    /// The tool servers.
    pub connectors: BTreeMap<ServerName, Connector>,
    /// Bound, not accepting yet.
    pub listeners: Listeners,
    /// TLS for its listener. Without it that listener is closed.
    pub tls: Option<ServerTls>,
    /// Where clients find the JWKS, if they are to be told in the handshake.
    pub jwks_url: Option<Arc<str>>,
    /// The same for those on TLS.
    pub jwks_url_tls: Option<Arc<str>>,
    /// What is told to anyone.
    pub published: Arc<dyn Published>,
    /// Whether a bootstrap secret could admit a caller on TCP: then a 401 says so.
    pub bearer: bool,
    /// Scheme, host and port by which clients know the gateway; what they call it when absent.
    pub public_url: Option<Arc<str>>,
    /// Bounds.
    pub limits: Limits,
}

/// What all connections share.
#[derive(Debug)]
struct Server {
    gate: Arc<Gate>,
    admission: Arc<Admission>,
    connectors: BTreeMap<ServerName, Connector>,
    jwks_url: Option<Arc<str>>,
    jwks_url_tls: Option<Arc<str>>,
    published: Arc<dyn Published>,
    bearer: bool,
    /// Where tokens come from, where issuers are configured.
    resource: Option<Resource>,
    limits: Limits,
    relays: DashMap<SessionId, Arc<Relay>>,
    /// POSTs under way.
    posts: TaskTracker,
}

/// Serves clients until `shutdown` is cancelled; then finishes what is under way, within `limits.grace`, and closes
/// every session.
pub async fn serve(parts: ServeParts, shutdown: CancellationToken) {
    let ServeParts { gate, admission, connectors, listeners, tls, .. } = parts;
    let ServeParts { jwks_url, jwks_url_tls, published, bearer, public_url, limits, .. } = parts;
    let resource = admission.authorization().map(|told| Resource::new(told, public_url));
    let grace = limits.grace;
    let relays = DashMap::new();
    let posts = TaskTracker::new();
    let server = Arc::new(Server {
        gate,
        admission,
        connectors,
        jwks_url,
        jwks_url_tls,
        published,
        bearer,
        resource,
        limits,
        relays,
        posts,
    });
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    accept::accept(&server, listeners, tls, &shutdown, &connections, &cut).await;
    // Nothing new comes in from here on.
    server.posts.close();
    if tokio::time::timeout(grace, server.posts.wait()).await.is_err() {
        tracing::warn!("calls were still under way when the grace period ended");
    }
    server.gate.close_all(CloseReason::Shutdown).await;
    let relays: Vec<_> = server.relays.iter().map(|entry| Arc::clone(entry.value())).collect();
    let ended = futures_util::future::join_all(relays.iter().map(|relay| relay.over().cancelled()));
    // A child gets its time to leave, then SIGTERM, then the grace period.
    if tokio::time::timeout(grace * 2 + Duration::from_secs(3), ended).await.is_err() {
        tracing::warn!("some tool servers did not stop in time");
    }
    connections.close();
    if tokio::time::timeout(Duration::from_secs(1), connections.wait()).await.is_err() {
        cut.cancel();
        connections.wait().await;
    }
}
