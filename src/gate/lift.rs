//! What an operator sees of principals, and takes away from what policies see of them.
//!
//! What is taken away widens what policies permit, so it is recorded first (I1): under the lock of the principal's
//! account, so that the log has it in the order in which it was in force, and given back if the log can't take it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::attest::predicate::{LiftedLabel, StateChange};
use crate::attest::{AppendError, PendingReceipt, Predicate};
use crate::domain::ids::SessionId;

use super::Gate;
use super::house::House;
use super::ledger::{self, Account, Past};
use super::session::Session;

/// A principal as an operator is shown it.
#[derive(Debug, Clone)]
pub struct Acquaintance {
    /// Its name, a token's `sub`.
    pub principal: Arc<str>,
    /// What it did.
    pub past: Past,
    /// Its open sessions, each with its own labels.
    pub sessions: BTreeMap<SessionId, Vec<Arc<str>>>,
}

/// What an operator takes away.
#[derive(Debug, Clone)]
pub struct Lift {
    /// From whom.
    pub principal: String,
    /// These labels, from the principal and its open sessions.
    pub labels: Vec<String>,
    /// All counted calls. What a session counts for itself ends with it.
    pub calls: bool,
    /// Why, for the record.
    pub reason: String,
    /// Who, by the kernel's word.
    pub uid: u32,
}

/// Why nothing was taken away.
#[derive(Debug, thiserror::Error)]
pub enum LiftError {
    /// Nothing is known of such a principal.
    #[error("nothing is known of this principal")]
    UnknownPrincipal,
    /// Neither the principal nor a session of its has this label.
    #[error("the principal has no label `{0}`")]
    NoLabel(String),
    /// The log can't take the record.
    #[error(transparent)]
    Unrecorded(#[from] AppendError),
    /// The gateway ends.
    #[error("the gateway ends")]
    Abandoned,
}

impl Gate {
    /// The principals of whom something is known or a session is open, by name.
    pub fn principals(&self) -> Vec<Acquaintance> {
        let now = self.house.parts.clock.now();
        let mut sessions: BTreeMap<Arc<str>, BTreeMap<SessionId, Vec<Arc<str>>>> = BTreeMap::new();
        for session in self.sessions() {
            let principal = session.shared.admitted.principal().as_str().into();
            sessions.entry(principal).or_default().insert(session.id(), session.labels());
        }
        let pasts = self.house.ledger.pasts(now).into_iter();
        let known = pasts.filter(|(name, past)| !past.is_empty() || sessions.contains_key(name));
        let known: Vec<(Arc<str>, Past)> = known.collect();
        let seen = |(principal, past): (Arc<str>, Past)| {
            let sessions = sessions.remove(&principal).unwrap_or_default();
            Acquaintance { principal, past, sessions }
        };
        known.into_iter().map(seen).collect()
    }

    /// Takes away what `lift` says, once the log has it. From then on policies don't see it.
    ///
    /// # Errors
    /// See [`LiftError`]; nothing was taken away then.
    pub async fn lift(&self, lift: &Lift) -> Result<(), LiftError> {
        let house = &self.house;
        let account = house.ledger.find(&lift.principal).ok_or(LiftError::UnknownPrincipal)?;
        let of = |session: &Arc<Session>| session.shared.admitted.principal().as_str() == lift.principal;
        let sessions: Vec<Arc<Session>> = self.sessions().into_iter().filter(of).collect();
        let in_sessions: Vec<Arc<str>> = sessions.iter().flat_map(|session| session.labels()).collect();
        let (pending, taken) = {
            let mut account = account.lock();
            let past = account.past(house.parts.clock.now());
            if past.is_empty() && sessions.is_empty() {
                return Err(LiftError::UnknownPrincipal);
            }
            let mut lifted = Vec::with_capacity(lift.labels.len());
            for label in &lift.labels {
                let own = past.labels.iter().find(|(name, _)| **name == **label);
                let until = own.map(|(_, until)| *until);
                let name = own.map(|(name, _)| name);
                let name = name.or_else(|| in_sessions.iter().find(|name| ***name == **label));
                let label = Arc::clone(name.ok_or_else(|| LiftError::NoLabel(label.clone()))?);
                lifted.push(LiftedLabel { label, until });
            }
            let change = StateChange {
                principal: lift.principal.clone(),
                lifted_labels: lifted,
                reset_calls: lift.calls.then_some(past.all.calls),
                reason: lift.reason.clone(),
                uid: lift.uid,
            };
            let pending = house.parts.log.append_gateway(Predicate::StateChange(change))?;
            // What decisions of from here on rest on comes after this record in the log.
            let before = account.entries();
            let taken = take(&mut account, lift);
            house.ledger.taken(before - account.entries());
            (pending, taken)
        };
        let lifted = Lifted { house: Arc::clone(house), account, taken, sessions, lift: lift.clone() };
        // Whoever asked may go away: what the log could not take is given back all the same.
        tokio::spawn(lifted.settle(pending)).await.unwrap_or(Err(LiftError::Abandoned))
    }
}

/// What was taken away, until the log has it.
struct Lifted {
    house: Arc<House>,
    account: ledger::Shared,
    taken: Account,
    sessions: Vec<Arc<Session>>,
    lift: Lift,
}

impl Lifted {
    async fn settle(self, pending: PendingReceipt) -> Result<(), LiftError> {
        let Self { house, account, taken, sessions, lift } = self;
        if let Err(error) = pending.await {
            house.ledger.added(account.lock().absorb(taken));
            return Err(error.into());
        }
        for session in sessions {
            let mut core = session.shared.core.lock();
            core.did.labels.retain(|label| !lift.labels.iter().any(|lifted| **lifted == **label));
            drop(core);
            // What its lists show may be more now.
            session.shared.stirred.notify_one();
        }
        tracing::warn!(
            target: "chancery::session",
            principal = lift.principal,
            labels = lift.labels.join(","),
            calls = lift.calls,
            uid = lift.uid,
            "an operator took away what policies see of a principal's past"
        );
        Ok(())
    }
}

/// Takes it out of the account; gives what can be given back.
fn take(account: &mut Account, lift: &Lift) -> Account {
    let mut taken = if lift.calls { account.reset() } else { Account::default() };
    for label in &lift.labels {
        if let Some(until) = account.lift(label) {
            taken.label(&label.as_str().into(), until);
        }
    }
    taken
}

impl Session {
    /// What the session itself was labelled with.
    fn labels(&self) -> Vec<Arc<str>> {
        self.shared.core.lock().did.labels.iter().cloned().collect()
    }
}
