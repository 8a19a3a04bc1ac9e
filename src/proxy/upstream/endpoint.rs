//! The HTTP client to one tool server's URL: one origin, no redirects, its own headers and no one else's.
//!
//! hyper's client follows no redirect and the URL never changes, so a credential goes to the configured origin only.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};

use super::credential::{CredentialError, CredentialFile};
use crate::domain::ids::SpiffeId;
use crate::identity::{Peers, SpiffeTls};
use crate::proxy::config::{HeaderSource, HttpConfig};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(60);
/// Between probes of a silent connection.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Headers that are the transport's own; a configuration can't set them.
const RESERVED: [&str; 11] = [
    "accept",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "last-event-id",
    "mcp-protocol-version",
    "mcp-session-id",
    "te",
    "transfer-encoding",
];

/// A tool server's URL and the client that reaches it.
#[derive(Debug)]
pub(super) struct Endpoint {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    headers: HeaderMap,
    files: Vec<CredentialFile>,
}

/// Why there is no answer to a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    /// A configured header has no value now; nothing was sent.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The server can't be reached, or broke off.
    #[error(transparent)]
    Client(#[from] hyper_util::client::legacy::Error),
}

impl Endpoint {
    /// Sets the client up; fails with what to correct.
    pub(super) fn new(config: &HttpConfig, own: Option<&SpiffeTls>) -> Result<Self, String> {
        if !config.url.username().is_empty() || config.url.password().is_some() {
            return Err("its URL holds credentials; put them into `headers`".to_owned());
        }
        let uri: Uri =
            config.url.as_str().parse().map_err(|error| format!("its URL is not usable: {error}"))?;
        let (mut headers, mut files) = (HeaderMap::new(), Vec::new());
        for (name, source) in &config.headers {
            let parsed: Result<HeaderName, _> = name.parse();
            let parsed = parsed.map_err(|error| format!("header `{name}`: {error}"))?;
            if RESERVED.contains(&parsed.as_str()) {
                return Err(format!("header `{name}` is the transport's own and can't be configured"));
            }
            let value = match source {
                HeaderSource::Text(value) => value,
                HeaderSource::File { path, prefix } => {
                    let file = CredentialFile::open(parsed, path.clone(), prefix.clone());
                    files.push(file.map_err(|error| format!("header `{name}`: {error}"))?);
                    continue;
                }
            };
            let value = HeaderValue::from_str(value.expose());
            // The value is a secret: the error must not show it.
            let mut value = value.map_err(|error| format!("the value of header `{name}`: {error}"))?;
            value.set_sensitive(true);
            headers.insert(parsed, value);
        }
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.set_keepalive(Some(KEEPALIVE));
        let https = config.url.scheme() == "https";
        let tls = match config.spiffe_ids.as_slice() {
            [] => web_tls(https)?,
            ids => spiffe_tls(https, ids, own)?,
        };
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls);
        // What is asked for by `https` never goes out in the clear.
        let connector = if https { connector.https_only() } else { connector.https_or_http() };
        let connector = connector.enable_http1().enable_http2().wrap_connector(tcp);
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).pool_max_idle_per_host(64);
        Ok(Self { client: client.build(connector), uri, headers, files })
    }

    /// The server's host and port, fit for logs.
    pub(super) fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    /// One request. `own` are the transport's headers for it; nothing of a client's request is among them.
    pub(super) async fn request(
        &self,
        method: Method,
        own: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, RequestError> {
        let accept = match method {
            Method::GET => "text/event-stream",
            _ => "application/json, text/event-stream",
        };
        let mut request = Request::new(Full::new(body));
        let is_post = method == Method::POST;
        *request.method_mut() = method;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.extend(self.headers.clone());
        for file in &self.files {
            headers.insert(file.header().clone(), file.value()?);
        }
        headers.extend(own);
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        if is_post {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Ok(self.client.request(request).await?)
    }
}

/// TLS with the gateway's SVID, and with a server that proves to be one of `ids`.
fn spiffe_tls(https: bool, ids: &[SpiffeId], own: Option<&SpiffeTls>) -> Result<ClientConfig, String> {
    if !https {
        return Err("a server with a `spiffe_id` needs an https URL".to_owned());
    }
    let own = own.ok_or("its `spiffe_id` needs `identity: spire`: the gateway shows it its own SVID")?;
    own.client(&Peers::Exactly(ids.to_vec())).map_err(|error| error.to_string())
}

/// TLS with the system's trusted roots; for plain `http` none are loaded.
fn web_tls(needed: bool) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    if needed {
        let native = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(native.certs);
        if roots.is_empty() {
            return Err(
                "the system has no trusted root certificates (`SSL_CERT_FILE` names a file of them)".into()
            );
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| format!("TLS: {error}"))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
