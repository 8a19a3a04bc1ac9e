//! TLS by the gateway's own SVID: what a listener asks of clients and what a tool server is shown and asked.
//!
//! The material is the stream's that the signing keys come from, so a rotation reaches new handshakes at once and a
//! withdrawal ends them; connections that stand are not cut. Who the peer is says the SPIFFE ID in its certificate
//! alone, never a DNS name (X509-SVID §5). Sessions are not resumed: a resumption would skip the peer's certificate.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::{ClientConfig, ServerConfig};
use spiffe::{TrustDomain, X509Bundle, X509Source};
use spiffe_rustls::{AllowList, TerminalSourcePolicy, authorizer, mtls_client, mtls_server};

use crate::domain::ids::SpiffeId;
use crate::keys::TrustBundle;

/// Why there is no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Nobody could be let in.
    #[error("name at least one SPIFFE ID or trust domain that the peer may have")]
    Nobody,
    /// A trust domain's name is none.
    #[error("`{name}` is not the name of a trust domain: {why}")]
    TrustDomain {
        /// What was named.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no SVID to show at the moment.
    #[error("TLS by the gateway's SVID can't be set up: {0}")]
    Material(#[from] spiffe_rustls::Error),
}

/// Who may be on the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peers {
    /// These workloads.
    Exactly(Vec<SpiffeId>),
    /// Every workload of these trust domains, of which the agent must have the bundles.
    TrustDomains(Vec<String>),
}

impl Peers {
    fn domains(&self) -> Result<BTreeSet<TrustDomain>, TlsError> {
        let names: Vec<&str> = match self {
            Self::Exactly(ids) => ids.iter().map(SpiffeId::trust_domain).collect(),
            Self::TrustDomains(names) => names.iter().map(String::as_str).collect(),
        };
        if names.is_empty() {
            return Err(TlsError::Nobody);
        }
        let read = |name: &str| {
            TrustDomain::new(name)
                .map_err(|error| TlsError::TrustDomain { name: name.to_owned(), why: error.to_string() })
        };
        names.into_iter().map(read).collect()
    }
}

/// TLS from the stream of one workload's SVIDs.
#[derive(Debug, Clone)]
pub struct SpiffeTls {
    source: X509Source,
    read: Arc<Mutex<HashMap<TrustDomain, Read>>>,
}

/// A bundle of the stream's, and what was read from it; nothing if it holds no sound roots.
#[derive(Debug)]
struct Read {
    of: Arc<X509Bundle>,
    bundle: Option<Arc<TrustBundle>>,
}

impl SpiffeTls {
    pub(super) fn new(source: X509Source) -> Self {
        Self { source, read: Arc::default() }
    }

    /// Whether there is a bundle of this trust domain now: a peer of it could make a handshake.
    pub fn trusts(&self, trust_domain: &str) -> bool {
        let bundle = |domain: TrustDomain| self.source.try_bundle_for_trust_domain(&domain);
        TrustDomain::new(trust_domain).ok().and_then(bundle).is_some()
    }

    /// The roots of this trust domain, if they can be read. Read once for each update that brings others.
    pub fn bundle(&self, trust_domain: &str) -> Option<Arc<TrustBundle>> {
        let domain = TrustDomain::new(trust_domain).ok()?;
        let now = self.source.try_bundle_for_trust_domain(&domain);
        let mut read = self.read.lock();
        let Some(of) = now else {
            read.remove(&domain);
            return None;
        };
        if let Some(known) = read.get(&domain).filter(|known| Arc::ptr_eq(&known.of, &of)) {
            return known.bundle.clone();
        }
        let roots = of.authorities().iter().map(|root| root.as_bytes().to_vec());
        let bundle = TrustBundle::from_ders(trust_domain, roots)
            .inspect_err(|error| tracing::error!(%error, "nobody of `{trust_domain}` is let in"))
            .ok()
            .map(Arc::new);
        read.insert(domain, Read { of, bundle: bundle.clone() });
        bundle
    }

    /// For connections to `servers`: shows the gateway's SVID, and goes on only with a server that proves to be one of
    /// them. No protocol is offered (ALPN); the caller adds its own.
    ///
    /// # Errors
    /// `servers` names nobody, or there is no SVID at the moment.
    pub fn client(&self, servers: &Peers) -> Result<ClientConfig, TlsError> {
        let builder = mtls_client(self.source.clone())
            .trust_domain_policy(AllowList(servers.domains()?))
            .terminal_source_policy(TerminalSourcePolicy::FailClosed);
        Ok(match servers {
            Peers::Exactly(ids) => {
                builder.authorize(authorizer::exact(ids.iter().map(SpiffeId::as_str))?).build()?
            }
            Peers::TrustDomains(_) => builder.authorize(authorizer::any()).build()?,
        })
    }

    /// For a listener: shows the gateway's SVID, and lets in only who proves to be one of `clients`. No protocol is
    /// offered (ALPN); the caller adds its own.
    ///
    /// # Errors
    /// `clients` names nobody, or there is no SVID at the moment.
    pub fn server(&self, clients: &Peers) -> Result<ServerConfig, TlsError> {
        let builder = mtls_server(self.source.clone())
            .trust_domain_policy(AllowList(clients.domains()?))
            .terminal_source_policy(TerminalSourcePolicy::FailClosed);
        Ok(match clients {
            Peers::Exactly(ids) => {
                builder.authorize(authorizer::exact(ids.iter().map(SpiffeId::as_str))?).build()?
            }
            Peers::TrustDomains(_) => builder.authorize(authorizer::any()).build()?,
        })
    }
}
