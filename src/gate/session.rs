//! One session: its state, and the handle that the proxy holds.
//!
//! Everything that changes stands in [`Core`] behind one lock, which is held for the critical section of a decision
//! and never across an await. Signing, writing and compiling wait outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::attest::predicate::{SessionClose, TokenRef};
use crate::attest::{Chain, CloseReason, PendingReceipt, Predicate, Statement};
use crate::domain::admitted::Admitted;
use crate::domain::clock::Timestamp;
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::{KeyId, ServerName, SessionId};
use crate::domain::refusal::DenyReason;
use crate::domain::revision::Revision;
use crate::domain::secret::Secret;
use crate::policy::SessionEntities;
use crate::token::{Client, IssuedToken};
use crate::wire::RequestId;

use super::asked::{Asked, AskedKind};
use super::catalog::{OwnLists, SeenTools};
use super::changes::ShownLists;
use super::denial::Denial;
use super::forward::Forwarding;
use super::house::House;
use super::ledger;
use super::pending::Pending;
use super::route::Route;
use super::standing::{Standing, StandingMeter};
use super::state::Did;

/// One client's session with one tool server.
///
/// The proxy gives it every message of either side and does what the verdicts say. Clones of the `Arc` share it.
#[derive(Debug)]
pub struct Session {
    pub(super) shared: Arc<Shared>,
}

/// What a session, its permits and its table entry share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) id: SessionId,
    pub(super) route: Route,
    /// The admission of the `initialize` request: principal and binding stay as they were then.
    pub(super) admitted: Admitted,
    pub(super) client: Option<Client>,
    pub(super) opened: Timestamp,
    pub(super) house: Arc<House>,
    pub(super) chain: Chain,
    /// What the principal did, in this and in other sessions. Its lock comes after `core`'s.
    pub(super) account: ledger::Shared,
    /// Held while a token is renewed.
    pub(super) renewal: tokio::sync::Mutex<()>,
    pub(super) core: Mutex<Core>,
    /// What the lists show may have changed.
    pub(super) stirred: tokio::sync::Notify,
    /// Something came of the gateway's own `tools/list`.
    pub(super) listed: tokio::sync::Notify,
    /// Where the tool server is told who calls.
    pub(super) forwarding: Option<Forwarding>,
    ended: CancellationToken,
    /// Milliseconds since the epoch.
    active: AtomicI64,
}

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// `initialize` is on its way.
    Opening,
    /// The handshake's result was delivered under this revision.
    Open(Revision),
    /// Nothing is heard or sent any more, and no record follows.
    Over,
}

/// What changes.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) phase: Phase,
    pub(super) entities: Arc<SessionEntities>,
    /// The bearer that the entities' groups and claims are of, where there is one.
    pub(super) bearer: Option<Sha256Digest>,
    /// What policies can see of what happened.
    pub(super) did: Did,
    pub(super) allowed: u64,
    pub(super) denied: u64,
    /// Requests of the client and of the gateway.
    pub(super) asked: Pending<Asked>,
    /// Requests of the tool server.
    pub(super) served: Pending<()>,
    pub(super) standing: StandingMeter,
    /// The first token, by which HTTP clients name the session.
    pub(super) handle: Option<Handle>,
    /// The token in force.
    pub(super) current: Option<Current>,
    pub(super) seen: SeenTools,
    pub(super) own: OwnLists,
    pub(super) shown: ShownLists,
    /// When a binding mismatch was last recorded.
    pub(super) mismatch: Option<Timestamp>,
}

#[derive(Debug)]
pub(super) struct Handle {
    pub(super) token: Secret,
    pub(super) sha256: Sha256Digest,
    /// The key that signed it.
    pub(super) kid: KeyId,
}

#[derive(Debug)]
pub(super) struct Current {
    pub(super) reference: TokenRef,
    pub(super) issued: Timestamp,
    pub(super) expires: Timestamp,
}

impl Current {
    pub(super) fn of(issued: &IssuedToken) -> Self {
        Self {
            reference: token_ref(issued),
            issued: Timestamp::from_secs(issued.claims.iat),
            expires: issued.expires,
        }
    }
}

/// Names an issued token in records.
pub(super) fn token_ref(issued: &IssuedToken) -> TokenRef {
    TokenRef { jti: issued.claims.jti, kid: issued.key.id().as_str().into(), sha256: issued.sha256 }
}

impl Shared {
    pub(super) fn new(
        house: Arc<House>,
        id: SessionId,
        route: Route,
        admitted: Admitted,
        client: Option<Client>,
        entities: SessionEntities,
    ) -> Self {
        let now = house.parts.clock.now();
        let in_flight = house.parts.limits.in_flight;
        let account = house.ledger.account(admitted.principal().as_str());
        let core = Core {
            phase: Phase::Opening,
            entities: Arc::new(entities),
            bearer: admitted.evidence().bearer(),
            did: Did::default(),
            allowed: 0,
            denied: 0,
            asked: Pending::new(in_flight, |asked: &Asked| asked.kind == AskedKind::Plain),
            served: Pending::new(in_flight, |()| true),
            standing: StandingMeter::new(house.parts.config.standing, now),
            handle: None,
            current: None,
            seen: SeenTools::default(),
            own: OwnLists::default(),
            shown: ShownLists::default(),
            mismatch: None,
        };
        let forwards = house.parts.config.forward_identity.get(&route.server);
        let forwarding = forwards.map(|to| Forwarding::new(to, &admitted));
        Self {
            id,
            route,
            admitted,
            client,
            opened: now,
            house,
            chain: Chain::for_session(id),
            account,
            renewal: tokio::sync::Mutex::new(()),
            core: Mutex::new(core),
            stirred: tokio::sync::Notify::new(),
            listed: tokio::sync::Notify::new(),
            forwarding,
            ended: CancellationToken::new(),
            active: AtomicI64::new(now.as_millis()),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.ended.is_cancelled()
    }

    pub(super) fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    pub(super) fn policy_epoch(&self) -> u64 {
        self.house.parts.engines.epoch()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.house.parts.clock.now()
    }

    pub(super) fn touch(&self) {
        self.active.store(self.now().as_millis(), Ordering::Relaxed);
    }

    pub(super) fn last_active(&self) -> Timestamp {
        Timestamp::from_millis(self.active.load(Ordering::Relaxed))
    }

    /// Whether the handshake is still under way, and whether any request is.
    pub(super) fn waits(&self) -> (bool, bool) {
        let core = self.core.lock();
        (core.phase == Phase::Opening, core.asked.len() > 0)
    }

    /// Ends the session at once: no message passes and no record follows the one of the close, whose receipt
    /// is returned. `None` if it is over already.
    pub(super) fn end(&self, reason: CloseReason) -> Option<PendingReceipt> {
        let mut core = self.core.lock();
        if core.phase == Phase::Over {
            return None;
        }
        core.phase = Phase::Over;
        self.ended.cancel();
        let close = SessionClose {
            reason,
            allowed: core.allowed,
            denied: core.denied,
            standing: core.standing.total(),
        };
        let appended = self
            .house
            .parts
            .log
            .append(&self.chain, |link| Statement::new(Predicate::SessionClose(close), link));
        let unanswered = core.asked.drain();
        core.served.drain();
        // The handle stays: one that is superseded before its client was answered still gets it, and with it the 404
        // that tells it to begin anew. It opens nothing any more.
        drop(core);
        for (_, asked) in unanswered {
            asked.end(self, Some(reason.as_str()));
        }
        let left = self.house.registry.remove(self);
        self.house.parts.recorder.sessions(left);
        tracing::info!(target: "chancery::session", session = %self.id, reason = reason.as_str(), "session closed");
        appended.inspect_err(|error| self.close_unrecorded(error)).ok()
    }

    /// Takes a session that was refused without a record out of the table.
    pub(super) fn discard(&self) {
        self.core.lock().phase = Phase::Over;
        self.ended.cancel();
        let left = self.house.registry.remove(self);
        self.house.parts.recorder.sessions(left);
    }

    pub(super) fn close_unrecorded(&self, error: &crate::attest::AppendError) {
        tracing::warn!(target: "chancery::session", session = %self.id, %error, "the session's close is not recorded");
    }
}

impl Session {
    /// The session's id, the token's `sid`; fit for logs.
    pub fn id(&self) -> SessionId {
        self.shared.id
    }

    /// The tool server.
    pub fn server(&self) -> &ServerName {
        &self.shared.route.server
    }

    /// Where it runs.
    pub fn route(&self) -> &Route {
        &self.shared.route
    }

    /// The key that signed the handle.
    pub(super) fn handle_key(&self) -> Option<KeyId> {
        self.shared.core.lock().handle.as_ref().map(|handle| handle.kid.clone())
    }

    /// The handle, once the handshake is answered: what stands in `Mcp-Session-Id` of that answer, and in no other.
    pub fn token(&self) -> Option<Secret> {
        self.shared.core.lock().handle.as_ref().map(|handle| handle.token.clone())
    }

    /// The negotiated revision, once the handshake is answered.
    pub fn revision(&self) -> Option<Revision> {
        match self.shared.core.lock().phase {
            Phase::Open(revision) => Some(revision),
            Phase::Opening | Phase::Over => None,
        }
    }

    /// When it was opened.
    pub fn opened(&self) -> Timestamp {
        self.shared.opened
    }

    /// When its client was last heard.
    pub fn last_active(&self) -> Timestamp {
        self.shared.last_active()
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.shared.is_over()
    }

    /// Cancelled when the session is over, for whatever reason; streams and links end with it.
    pub fn ended(&self) -> CancellationToken {
        self.shared.ended()
    }

    /// How many messages of each kind passed under the standing permit.
    pub fn standing(&self) -> Vec<(Standing, u64)> {
        self.shared.core.lock().standing.counts().collect()
    }

    /// Ends the session and waits for the record of it.
    pub async fn close(&self, reason: CloseReason) {
        if let Some(pending) = self.shared.end(reason)
            && let Err(error) = pending.await
        {
            self.shared.close_unrecorded(&error);
        }
    }

    /// The tool server is gone or did not answer: what each waiting request of the client is answered with.
    #[must_use]
    pub fn fail_requests(&self) -> Vec<(RequestId, Bytes)> {
        let asked = self.shared.core.lock().asked.drain();
        asked.into_iter().filter_map(|(id, asked)| self.failed(id, asked)).collect()
    }

    /// As [`Session::fail_requests`], for one request; `None` if no such request waits.
    #[must_use]
    pub fn fail_request(&self, id: &RequestId) -> Option<Bytes> {
        let asked = self.shared.core.lock().asked.answer(id)?;
        self.failed(id.clone(), asked).map(|(_, reply)| reply)
    }

    fn failed(&self, id: RequestId, asked: Asked) -> Option<(RequestId, Bytes)> {
        let own = asked.kind == AskedKind::OwnTools;
        asked.end(&self.shared, Some(DenyReason::UpstreamUnavailable.as_str()));
        if own {
            self.shared.core.lock().own.forget();
            self.shared.listed.notify_waiters();
            return None;
        }
        let reply = Denial::plain(Some(&id), DenyReason::UpstreamUnavailable).reply();
        Some((id, reply))
    }
}
