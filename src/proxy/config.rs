//! Resolved settings of the transports: where tool servers are and where clients connect.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use url::Url;

use crate::domain::ids::{ServerName, SpiffeId};
use crate::domain::secret::Secret;
use crate::identity::CertificateFiles;
use crate::policy::ArgumentRules;
use crate::token::IdentityConfig;

/// One configured tool server.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Its name, the last segment of `/mcp/<server>` and the first of its tools' action ids.
    pub name: ServerName,
    /// How it is reached.
    pub kind: ServerKind,
    /// What its tools' arguments mean to policies, and what becomes of those that don't fit.
    pub arguments: ArgumentRules,
}

/// How a tool server is reached.
#[derive(Debug, Clone)]
pub enum ServerKind {
    /// A process of our own, one per session, speaking over its stdin and stdout.
    Child(ChildConfig),
    /// A streamable HTTP endpoint.
    Http(HttpConfig),
}

/// A tool server that we start.
#[derive(Debug, Clone, Default)]
pub struct ChildConfig {
    /// The program, a path or a name to be found in `PATH`.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables set besides those that it inherits from us.
    pub env: BTreeMap<String, String>,
    /// Where it starts; our own working directory when absent.
    pub cwd: Option<PathBuf>,
}

/// A tool server at a URL.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Its MCP endpoint, `http` or `https`; nothing is ever sent to another origin.
    pub url: Url,
    /// Headers sent with every request to it, such as its own `Authorization`.
    pub headers: BTreeMap<String, HeaderSource>,
    /// Who the server must prove to be by its SVID, shown the gateway's own; the web's authorities are then not asked.
    /// Empty for plain HTTP and for HTTPS as on the web.
    pub spiffe_ids: Vec<SpiffeId>,
    /// How the server is told who calls it, if it is.
    pub forward_identity: Option<IdentityConfig>,
}

/// Where a configured header's value comes from.
#[derive(Debug, Clone)]
pub enum HeaderSource {
    /// The configuration.
    Text(Secret),
    /// A file that others can't read; looked at again when it changes.
    File {
        /// The file.
        path: PathBuf,
        /// What stands before its content, such as `Bearer `.
        prefix: String,
    },
}

/// Where clients connect under `serve`.
#[derive(Debug, Clone, Default)]
pub struct ListenConfig {
    /// TCP address; port 0 takes any free one.
    pub tcp: Option<SocketAddr>,
    /// TLS address; port 0 takes any free one.
    pub tls: Option<SocketAddr>,
    /// What is shown there as on the web, clients then being asked for a bearer token. Without it the gateway shows its
    /// own SVID there, and clients must show theirs.
    pub certificate: Option<CertificateFiles>,
    /// Path of a Unix socket.
    pub unix: Option<PathBuf>,
    /// Names that `Host` may have besides the loopback names of a loopback listener. Without a port any port will do.
    pub allowed_hosts: Vec<String>,
    /// Origins that a browser may call from, such as `http://localhost:6274`; none by default.
    pub allowed_origins: Vec<String>,
    /// Scheme, host and port by which clients know the gateway; what they call it when absent.
    pub public_url: Option<String>,
}
