//! The gate: a state machine between client and tool server that lets a message pass only when a policy allowed it
//! and the log has it. It has no sockets: bytes and evidence come in, verdicts go out.
//!
//! [`Gate::open`] takes `initialize` and yields a [`Session`]; [`Session::from_client`] and [`Session::from_server`]
//! take every message after it. What may go on comes back inside a [`Permit`] (I1), which is redeemed at the moment
//! of sending; nothing else ever leaves.
//!
//! - `matter`, `decide`: what is decided, and the critical section of that; `pipeline` with `notifications`, `inbound`: the
//!   two directions; `again`: a decision that the policies outlived before its message was sent; `open`, `handshake`,
//!   `renew`: a session's beginning and its token; `forward`: what its tool server is told of it; `filter`, `catalog`,
//!   `changes`: lists, what they teach, and when they change.
//! - `permit`, `standing`: on what ground a message passes; `pending`, `claim`: which answers are waited for, and by whom.
//! - `ledger`, `state`: what each principal did before, for policies to read.
//! - `registry`, `meter`: what bounds strangers and friends alike (I10).
//! - `view`: what an operator is shown of a session; `lift`: of a principal, and what is taken away from it.
//! - [`observe`]: what is told to telemetry; `report`: one line in the operator's log for each decision.
//!
//! The lock of a session is held for its critical section and never across an await. The order of locks is: session,
//! then its principal's account, then the table of sessions, the quotas or the log's chain; never two of the latter.
//!
//! layer: L3

mod again;
mod asked;
mod catalog;
mod changes;
mod claim;
mod config;
mod decide;
mod denial;
mod filter;
mod forward;
mod handshake;
mod house;
mod inbound;
mod ledger;
mod lift;
mod matter;
mod meter;
mod notifications;
pub mod observe;
mod onward;
mod open;
mod pending;
mod permit;
mod pipeline;
mod record;
mod registry;
mod renew;
mod report;
mod route;
mod session;
mod standing;
mod state;
mod verdict;
mod view;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::attest::CloseReason;
use crate::domain::binding::Binding;
use crate::domain::clock::Timestamp;
use crate::domain::ids::SessionId;

use house::House;
use session::Shared;

pub use again::Outdated;
pub use catalog::{CatalogueSink, FixedCatalogue, Learned};
pub use config::{Config, HiddenTools};
pub use denial::{discover_reply, no_session_reply, upstream_unavailable_reply};
pub use forward::NoIdentity;
pub use house::{Counts, Parts};
pub use ledger::{Ledger, LedgerError, Past};
pub use lift::{Acquaintance, Lift, LiftError};
pub use meter::Allowance;
pub use permit::{Delivery, Outgoing, Permit, ToClient, ToServer, Withdrawn};
pub use route::{Route, Transport};
pub use session::Session;
pub use standing::Standing;
pub use verdict::{Arrival, DropReason, Refused, ResumeError, ServerVerdict, Verdict};
pub use view::Overview;

/// All sessions of a gateway, and what they share.
#[derive(Debug)]
pub struct Gate {
    house: Arc<House>,
}

impl Gate {
    /// A gate without sessions; `ledger` tells what principals did before.
    pub fn new(parts: Parts, ledger: Ledger) -> Arc<Self> {
        Arc::new(Self { house: Arc::new(House::new(parts, ledger)) })
    }

    /// The sessions there are, those whose handshake is under way included.
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        self.house.registry.all()
    }

    /// How many there are.
    pub fn open_sessions(&self) -> usize {
        self.house.registry.len()
    }

    /// What is counted and not recorded one by one.
    pub fn counts(&self) -> Counts {
        self.house.counters.read()
    }

    /// Ends a session at once by an operator's word; false if there is none of this id.
    pub async fn revoke(&self, id: &SessionId) -> bool {
        match self.house.registry.get(id) {
            Some(session) => {
                session.close(CloseReason::Revoked).await;
                true
            }
            None => false,
        }
    }

    /// Collects sessions that are idle, too old, or whose handshake was never answered. Call it from time to time.
    pub async fn sweep(&self, now: Timestamp) {
        self.house.ledger.prune(now);
        for session in self.sessions() {
            if let Some(reason) = self.outlived(&session.shared, now) {
                session.close(reason).await;
            }
        }
    }

    /// Sums up what principals did, if the log has grown enough since the last time or it is asked for `now`: the
    /// next start then has less to read. Blocks.
    pub fn save_ledger(&self, now: bool) {
        self.house.ledger.save(&self.house.parts.log, now);
    }

    /// Ends the sessions whose binding no evidence can match any more.
    pub async fn revoke_those(&self, outlived: impl Fn(&Binding) -> bool) {
        for session in self.sessions() {
            if outlived(session.shared.admitted.binding()) {
                session.close(CloseReason::Revoked).await;
            }
        }
    }

    /// Ends the sessions whose handle was signed by a key that is not believed any more: a client that shows it is
    /// told that there is no such session, and so there must be none.
    pub async fn end_signed_by(&self, dropped: impl Fn(&str) -> bool) {
        for session in self.sessions() {
            if session.handle_key().is_some_and(|kid| dropped(kid.as_str())) {
                tracing::warn!(
                    target: "chancery::session", session = %session.id(),
                    "a session ends: the trust bundle no longer vouches for the key that signed its token"
                );
                session.close(CloseReason::KeyRevoked).await;
            }
        }
    }

    /// Ends every session and waits for the records of it.
    pub async fn close_all(&self, reason: CloseReason) {
        let closing = self.sessions().into_iter().map(|session| async move { session.close(reason).await });
        futures_util::future::join_all(closing).await;
    }

    fn outlived(&self, shared: &Shared, now: Timestamp) -> Option<CloseReason> {
        let idle = now.since(shared.last_active());
        let (opening, waiting) = shared.waits();
        if opening {
            return (idle >= self.house.parts.limits.handshake).then_some(CloseReason::Handshake);
        }
        // On stdio the pipe is the session, and ends with it.
        if !shared.route.transport.has_handle() {
            return None;
        }
        if now.since(shared.opened) >= self.house.parts.config.max_lifetime {
            return Some(CloseReason::Lifetime);
        }
        (!waiting && idle >= self.house.parts.config.idle_timeout).then_some(CloseReason::Idle)
    }
}
