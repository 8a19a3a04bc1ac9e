//! Asks a tool server for its tools on the gateway's own account, before any session exists.

use crate::domain::limits::Limits;
use crate::proxy::config::ServerConfig;

/// What a tool server says of itself.
#[derive(Debug, Clone)]
pub struct Probed {
    /// The entries of its `tools/list`, all pages, each as the server wrote it.
    pub tools: Vec<Vec<u8>>,
    /// The revision that it negotiated.
    pub revision: String,
    /// Its `serverInfo`, as it wrote it.
    pub server_info: Option<Vec<u8>>,
}

/// Why a tool server could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The server's command does not exist or can't be executed.
    #[error("can't start the tool server `{server}`: {why}")]
    Start {
        /// Which.
        server: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// It did not speak MCP as it should.
    #[error("the tool server `{server}` {why}")]
    Protocol {
        /// Which.
        server: String,
        /// What it did.
        why: String,
    },
}

/// Starts or reaches `server`, does the handshake, reads its whole `tools/list` and shuts it down in order.
/// Bounded by `limits.handshake` per answer, 64 pages and `limits.message_bytes` per page.
#[allow(clippy::todo, reason = "written next")]
pub async fn probe(_server: &ServerConfig, _limits: &Limits) -> Result<Probed, ProbeError> {
    todo!()
}
