//! The table of sessions: bounded in all and for each principal, by id, and at most one live session for each bootstrap
//! secret.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::domain::binding::Binding;
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::SessionId;
use crate::domain::principal::Principal;

use super::session::{Session, Shared};

#[derive(Debug)]
pub(super) struct Registry {
    limit: usize,
    per_principal: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    sessions: HashMap<SessionId, Arc<Session>>,
    /// The live session of each bootstrap secret.
    secrets: HashMap<Sha256Digest, SessionId>,
    /// How many sessions each principal has.
    principals: HashMap<Principal, usize>,
}

/// As many sessions as allowed are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// Of the gateway.
    Gateway,
    /// Of this principal.
    Principal,
}

impl Registry {
    pub(super) fn new(limit: usize, per_principal: usize) -> Self {
        Self { limit, per_principal, table: Mutex::default() }
    }

    /// Enters a session whose handshake begins; returns how many there are now.
    ///
    /// The live session of the same secret, whose place this one takes once its handshake is answered, is not counted:
    /// it lives until then, and one more than the limit is there meanwhile. Handshakes under way are counted, so no
    /// secret makes room for a second.
    pub(super) fn insert(&self, session: Arc<Session>) -> Result<usize, Full> {
        let mut table = self.table.lock();
        let replaced = secret_of(&session.shared).is_some_and(|secret| table.secrets.contains_key(&secret));
        let leaving = usize::from(replaced);
        if table.sessions.len().saturating_sub(leaving) >= self.limit {
            return Err(Full::Gateway);
        }
        let principal = session.shared.admitted.principal();
        let held = table.principals.get(principal).copied().unwrap_or_default();
        if held.saturating_sub(leaving) >= self.per_principal {
            return Err(Full::Principal);
        }
        table.principals.insert(principal.clone(), held + 1);
        table.sessions.insert(session.id(), session);
        Ok(table.sessions.len())
    }

    pub(super) fn get(&self, id: &SessionId) -> Option<Arc<Session>> {
        self.table.lock().sessions.get(id).cloned()
    }

    /// Makes `shared` the live session of its secret, if it has one; returns the one before.
    pub(super) fn claim_secret(&self, shared: &Shared) -> Option<Arc<Session>> {
        let secret = secret_of(shared)?;
        let mut table = self.table.lock();
        let before = table.secrets.insert(secret, shared.id).filter(|id| *id != shared.id)?;
        table.sessions.get(&before).cloned()
    }

    /// Whether the secret of `binding` holds a live session, and another one than `id`.
    pub(super) fn is_claimed_by_another(&self, binding: &Binding, id: SessionId) -> bool {
        let Binding::Bootstrap { secret_sha256 } = binding else { return false };
        self.table.lock().secrets.get(secret_sha256).is_some_and(|holder| *holder != id)
    }

    /// Takes a session out; returns how many are left.
    pub(super) fn remove(&self, shared: &Shared) -> usize {
        let mut table = self.table.lock();
        let removed = table.sessions.remove(&shared.id);
        let principal = shared.admitted.principal();
        if removed.is_some()
            && let Some(held) = table.principals.get_mut(principal)
        {
            *held -= 1;
            if *held == 0 {
                table.principals.remove(principal);
            }
        }
        if let Some(secret) = secret_of(shared)
            && table.secrets.get(&secret) == Some(&shared.id)
        {
            table.secrets.remove(&secret);
        }
        let left = table.sessions.len();
        drop(table);
        // Outside the lock: this may be the session's last owner.
        drop(removed);
        left
    }

    pub(super) fn all(&self) -> Vec<Arc<Session>> {
        self.table.lock().sessions.values().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.table.lock().sessions.len()
    }
}

fn secret_of(shared: &Shared) -> Option<Sha256Digest> {
    match shared.admitted.binding() {
        Binding::Bootstrap { secret_sha256 } => Some(*secret_sha256),
        Binding::Peer { .. } | Binding::Oidc { .. } | Binding::Mtls { .. } | Binding::Anonymous {} => None,
    }
}
