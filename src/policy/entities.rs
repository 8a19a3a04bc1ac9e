//! The entities of a session: who asks and what is known of the session, built once when it opens.

use crate::domain::admitted::Admitted;
use crate::domain::clock::Timestamp;
use crate::domain::evidence::{Evidence, EvidenceKind};
use crate::domain::ids::{ServerName, SessionId};
use crate::domain::principal::Principal;
use crate::domain::revision::Revision;

/// What policies may know of a session.
#[derive(Debug, Clone)]
pub struct SessionFacts {
    /// Who asks.
    pub principal: Principal,
    /// The server that the session is with.
    pub server: ServerName,
    /// The session's id.
    pub session: SessionId,
    /// What the principal rests on.
    pub evidence: EvidenceKind,
    /// The protocol revision; before the server answered, the one that the client asked for.
    pub protocol: Revision,
    /// `stdio`, `unix` or `tcp`.
    pub transport: &'static str,
    /// When the session opened.
    pub opened: Timestamp,
    /// What the client calls itself.
    pub client_name: Option<String>,
    /// The version that the client claims.
    pub client_version: Option<String>,
    /// The user id, where the evidence tells it.
    pub uid: Option<u32>,
    /// The executable's path, where the evidence tells it.
    pub executable: Option<String>,
}

impl SessionFacts {
    /// Of an admission's evidence; the client's name and version are still to be filled in.
    pub fn of(
        admitted: &Admitted,
        server: ServerName,
        session: SessionId,
        protocol: Revision,
        transport: &'static str,
        opened: Timestamp,
    ) -> Self {
        let (uid, executable) = match admitted.evidence() {
            Evidence::Peer(peer) => {
                (peer.uid, peer.executable.as_ref().map(|exe| exe.path.to_string_lossy().into_owned()))
            }
            Evidence::Bootstrap(bootstrap) => (bootstrap.file_uid, None),
        };
        Self {
            principal: admitted.principal().clone(),
            server,
            session,
            evidence: admitted.evidence().kind(),
            protocol,
            transport,
            opened,
            client_name: None,
            client_version: None,
            uid: Some(uid),
            executable,
        }
    }
}

/// A session's principal as Cedar sees it. It belongs to no engine: it stays valid when the policies are replaced.
#[derive(Debug, Clone)]
pub struct SessionEntities {
    facts: SessionFacts,
}

impl SessionEntities {
    pub(super) fn new(facts: &SessionFacts) -> Self {
        Self { facts: facts.clone() }
    }

    /// The facts that it was built from.
    pub fn facts(&self) -> &SessionFacts {
        &self.facts
    }
}
