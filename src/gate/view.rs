//! What an operator is shown of a session; never its token.

use crate::domain::clock::Timestamp;
use crate::domain::evidence::EvidenceKind;
use crate::domain::ids::{ServerName, SessionId};
use crate::domain::principal::Principal;

use super::route::Transport;
use super::session::{Phase, Session};

/// A session at one moment.
#[derive(Debug, Clone)]
pub struct Overview {
    /// Its id, the token's `sid`.
    pub id: SessionId,
    /// Whose it is.
    pub principal: Principal,
    /// By what evidence.
    pub evidence: EvidenceKind,
    /// The tool server.
    pub server: ServerName,
    /// How its client is connected.
    pub transport: Transport,
    /// What the client says it is, name and version.
    pub client: Option<(String, String)>,
    /// Whether the handshake is still under way.
    pub opening: bool,
    /// When it was opened.
    pub opened: Timestamp,
    /// When its client was last heard.
    pub last_active: Timestamp,
    /// Tool calls permitted so far.
    pub calls: u64,
    /// What the session was labelled with.
    pub labels: Vec<std::sync::Arc<str>>,
    /// Messages that policies allowed, tool calls among them.
    pub allowed: u64,
    /// Messages that were refused and recorded.
    pub denied: u64,
}

impl Session {
    /// What an operator is shown of it.
    pub fn overview(&self) -> Overview {
        let shared = &self.shared;
        let core = shared.core.lock();
        Overview {
            id: shared.id,
            principal: shared.admitted.principal().clone(),
            evidence: shared.admitted.evidence().kind(),
            server: shared.route.server.clone(),
            transport: shared.route.transport,
            client: shared.client.as_ref().map(|client| (client.name.clone(), client.version.clone())),
            opening: core.phase == Phase::Opening,
            opened: shared.opened,
            last_active: shared.last_active(),
            calls: core.did.calls,
            labels: core.did.labels.iter().cloned().collect(),
            allowed: core.allowed,
            denied: core.denied,
        }
    }
}
