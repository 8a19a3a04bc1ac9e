//! Fetching an issuer's documents: bounded in time and size, no redirect, no proxy, and only from public addresses
//! by HTTPS, unless the configuration says otherwise for this issuer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, CACHE_CONTROL};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a document may take in all.
const TOTAL: Duration = Duration::from_secs(10);
/// Largest document.
const MAX_BYTES: usize = 512 * 1024;

/// Why an issuer's document was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No client can be set up.
    #[error("an HTTPS client for issuers can't be set up: {0}")]
    Client(String),
    /// Plain HTTP, or no HTTP at all.
    #[error("{0} is not https, and `allow_http` is not set")]
    Insecure(Url),
    /// An address of this machine or of its networks.
    #[error("{0} is at a private address, and `allow_private` is not set")]
    Private(Url),
    /// It was not answered.
    #[error("{url} was not answered: {cause}")]
    Unanswered {
        /// What was asked for.
        url: Url,
        /// Why, down to the last cause.
        cause: String,
    },
    /// It was not answered with the document.
    #[error("{0} answered {1}")]
    Status(Url, StatusCode),
    /// More than is read.
    #[error("{0} is longer than 512 KiB")]
    TooLong(Url),
    /// It is not what it should be.
    #[error("{0} is not {1}")]
    Content(Url, &'static str),
}

/// A document.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) body: Vec<u8>,
    /// How long it may be kept, where it says so.
    pub(super) max_age: Option<Duration>,
}

/// Fetches for one issuer.
#[derive(Debug)]
pub(super) struct Fetcher {
    client: Client,
    allow_http: bool,
    allow_private: bool,
}

impl Fetcher {
    pub(super) fn new(allow_http: bool, allow_private: bool) -> Result<Self, FetchError> {
        Self::looking_up(allow_http, allow_private, Arc::new(Guard { allow_private, lookup: by_system }))
    }

    fn looking_up(
        allow_http: bool,
        allow_private: bool,
        guard: Arc<impl Resolve + 'static>,
    ) -> Result<Self, FetchError> {
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(CONNECT)
            .timeout(TOTAL)
            // Asked seldom: an idle connection would only hold a file.
            .pool_max_idle_per_host(0)
            .https_only(!allow_http)
            .dns_resolver(guard)
            .tls_backend_preconfigured(tls()?)
            .build();
        let client = client.map_err(|error| FetchError::Client(causes(&error)))?;
        Ok(Self { client, allow_http, allow_private })
    }

    /// Fetches one document.
    pub(super) async fn get(&self, url: &Url) -> Result<Page, FetchError> {
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            _ => return Err(FetchError::Insecure(url.clone())),
        }
        // A literal address is not resolved, so the guard never sees it.
        let literal = match url.host() {
            Some(Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
            Some(Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
            Some(Host::Domain(_)) | None => None,
        };
        if !self.allow_private && literal.is_some_and(|ip| !is_public(ip)) {
            return Err(FetchError::Private(url.clone()));
        }
        let unanswered =
            |error: reqwest::Error| FetchError::Unanswered { url: url.clone(), cause: causes(&error) };
        let asked = self.client.get(url.clone()).header(ACCEPT, "application/json").send();
        let mut response = asked.await.map_err(unanswered)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(url.clone(), response.status()));
        }
        let max_age = max_age(&response);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unanswered)? {
            if body.len() + chunk.len() > MAX_BYTES {
                return Err(FetchError::TooLong(url.clone()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Page { body, max_age })
    }
}

/// `max-age` of `Cache-Control` (RFC 9111 §5.2.2.1).
fn max_age(response: &Response) -> Option<Duration> {
    let values = response.headers().get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut directives = values.flat_map(|value| value.split(','));
    let seconds = directives.find_map(|directive| directive.trim().strip_prefix("max-age="))?;
    seconds.trim_matches('"').parse().ok().map(Duration::from_secs)
}

fn tls() -> Result<ClientConfig, FetchError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| FetchError::Client(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// An error and all that caused it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Resolves names, and keeps to addresses that may be connected to: the ones that are checked are the ones used.
#[derive(Debug)]
struct Guard<L> {
    allow_private: bool,
    lookup: L,
}

impl<L, F> Resolve for Guard<L>
where
    L: Fn(Name) -> F + Send + Sync,
    F: Future<Output = std::io::Result<Vec<SocketAddr>>> + Send + 'static,
{
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        let found = (self.lookup)(name);
        Box::pin(async move {
            let found = found.await?;
            if !allow_private && found.iter().any(|address| !is_public(address.ip())) {
                return Err("its name leads to a private address, and `allow_private` is not set".into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

async fn by_system(name: Name) -> std::io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.collect())
}

/// Whether an address is one of the public internet (IANA's special-purpose registries).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = match (a, b, c) {
        (0, ..) | (100, 64..=127, _) | (192, 0, 0) | (198, 18..=19, _) | (240.., ..) => true,
        // 6to4's relays.
        (192, 88, 99) => true,
        _ => false,
    };
    !(special
        || ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || ip.is_multicast())
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    match ip.segments() {
        // Global unicast is 2000::/3; of it, Teredo and the rest of 2001::/23, 6to4, and documentation are not hosts
        // of their own. What embeds an IPv4 address is judged by nobody else, so it is refused.
        [0x2001, 0..=0x1ff, ..] | [0x2002, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests;
