//! Where a session runs: over which transport, to which tool server, under which address of its own.

use std::sync::Arc;

use crate::domain::ids::ServerName;

/// How a client is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A pipe: the session is the process's standard input and output.
    Stdio,
    /// HTTP on a TCP socket.
    Tcp,
    /// HTTP on TLS.
    Tls,
    /// HTTP on a Unix socket.
    Unix,
}

impl Transport {
    /// The label in tokens, policies and attestations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdio => "stdio",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Unix => "unix",
        }
    }

    /// The semantic conventions' `network.transport`.
    pub const fn network(self) -> &'static str {
        match self {
            Self::Stdio => "pipe",
            Self::Tcp | Self::Tls => "tcp",
            Self::Unix => "unix",
        }
    }

    /// Whether the session's token travels as a handle (`Mcp-Session-Id`); on stdio the pipe is the session.
    pub const fn has_handle(self) -> bool {
        !matches!(self, Self::Stdio)
    }
}

/// One way from a client to a tool server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The tool server.
    pub server: ServerName,
    /// How the client is connected.
    pub transport: Transport,
    /// Where the gateway's JWKS can be fetched, for the handshake's `_meta` entry; absent where nothing serves it.
    pub jwks: Option<Arc<str>>,
}

impl Route {
    /// A route without an address for the JWKS.
    pub fn new(server: ServerName, transport: Transport) -> Self {
        Self { server, transport, jwks: None }
    }
}
