//! The SVIDs that were taken over: which signs, which is next, which are answered for. Pure, but for the log.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::clock::Timestamp;
use crate::domain::ids::KeyId;
use crate::identity::describe::KeyRole;
use crate::identity::material::{PublicHalf, PublishedKey, RETAIN, signing};
use crate::keys::{ActiveKey, TrustBundle};

/// Why nothing signs, when the roots are others and no SVID has come that leads to them.
pub(super) const NOT_VOUCHED_FOR: &str =
    "the trust bundle in force does not vouch for any SVID that has come";

/// Most keys that are answered for besides those that sign: of an SVID each half minute, those of a working day.
pub(super) const MOST_PUBLIC: usize = 2048;

/// See the module.
#[derive(Debug)]
pub(super) struct Held {
    lead: Duration,
    /// The one that signs first, the newest last.
    pub(super) keys: Vec<PublishedKey>,
    pub(super) public: Vec<Arc<PublicHalf>>,
    pub(super) bundle: Arc<TrustBundle>,
    pub(super) withdrawn: Option<String>,
    /// What a bundle stopped vouching for, the newest last.
    pub(super) dropped: Vec<KeyId>,
}

impl Held {
    /// With the first key, which signs at once: there is no other.
    pub(super) fn begin(key: ActiveKey, known: Vec<Arc<PublicHalf>>, lead: Duration, now: Timestamp) -> Self {
        let bundle = Arc::clone(key.bundle());
        let mut public: Vec<_> = known.into_iter().filter(|half| half.leaf.key_id != *key.id()).collect();
        public.sort_by_key(|half| std::cmp::Reverse(half.leaf.not_before));
        let first = PublishedKey { key: Arc::new(key), from: now, file: None };
        Self { lead, keys: vec![first], public, bundle, withdrawn: None, dropped: Vec::new() }
    }

    /// Takes over a key that was checked. A key that nobody has seen yet is published for the lead first, unless
    /// there is no other to sign with meanwhile.
    pub(super) fn take(&mut self, key: ActiveKey, now: Timestamp) {
        let back = self.withdrawn.take().is_some();
        let bundle = Arc::clone(key.bundle());
        let other_bundle = *bundle != *self.bundle;
        if let Some(newest) = self.keys.last_mut().filter(|newest| newest.key.id() == key.id()) {
            // The same leaf; by way of other intermediates, or to other roots.
            if other_bundle || newest.key.chain() != key.chain() {
                newest.key = Arc::new(key);
            }
            if other_bundle {
                self.change_bundle(bundle, now);
            }
            return;
        }
        if other_bundle {
            self.change_bundle(bundle, now);
        }
        let (id, not_after) = (key.id().clone(), key.not_after());
        self.dropped.retain(|dropped| *dropped != id);
        let mut known = self.public.iter().any(|half| half.leaf.key_id == id);
        self.public.retain(|half| half.leaf.key_id != id);
        let signing = signing(&self.keys, now).map(|index| self.keys.swap_remove(index));
        // Keys that have not begun to sign are no longer what the agent offers.
        for held in std::mem::take(&mut self.keys) {
            known |= *held.key.id() == id;
            if *held.key.id() != id {
                self.retire(&held.key);
            }
        }
        let from = if known || signing.is_none() { now } else { now.plus(self.lead) };
        self.keys.extend(signing.map(|held| PublishedKey { from: held.from.min(now), ..held }));
        self.keys.retain(|held| *held.key.id() != id);
        self.keys.push(PublishedKey { key: Arc::new(key), from, file: None });
        let again = if back { " again" } else { "" };
        tracing::info!("an SVID came{again}: {id}, signs from {from}, valid until {not_after}");
    }

    /// Another bundle may be in force, without an SVID that holds. Whether there still is a key.
    pub(super) fn trust(&mut self, bundle: Arc<TrustBundle>, now: Timestamp) -> bool {
        if *bundle != *self.bundle {
            self.change_bundle(bundle, now);
        }
        if self.keys.is_empty() {
            self.withdrawn.get_or_insert_with(|| NOT_VOUCHED_FOR.to_owned());
        }
        !self.keys.is_empty()
    }

    /// Another bundle is in force: what it no longer vouches for is no longer believed.
    fn change_bundle(&mut self, bundle: Arc<TrustBundle>, now: Timestamp) {
        let digest = bundle.thumbprint();
        tracing::info!("another trust bundle is in force: {} roots, sha256:{digest}", bundle.roots().count());
        let mut dropped = Vec::new();
        let mut lost = |id: &KeyId, error: &dyn std::fmt::Display| {
            tracing::warn!("the new trust bundle does not vouch for {id}, which is dropped: {error}");
            dropped.push(id.clone());
        };
        self.keys.retain_mut(|held| {
            match held
                .key
                .under(Arc::clone(&bundle), within(now, held.key.not_before(), held.key.not_after()))
            {
                Ok(key) => {
                    held.key = Arc::new(key);
                    true
                }
                Err(error) => {
                    lost(held.key.id(), &error);
                    false
                }
            }
        });
        self.public.retain(|half| {
            let leaf = &half.leaf;
            // Ended already: it was vouched for as long as that mattered, and its root may have ended since.
            if leaf.not_after < now {
                return true;
            }
            let vouched = half.chain.verify(&bundle, within(now, leaf.not_before, leaf.not_after));
            vouched.map_err(|error| lost(&leaf.key_id, &error)).is_ok()
        });
        self.bundle = bundle;
        self.dropped.append(&mut dropped);
        let most = self.dropped.len().saturating_sub(MOST_PUBLIC);
        self.dropped.drain(..most);
    }

    /// The identity was taken away: nothing signs any more, what was signed can still be verified.
    pub(super) fn withdraw(&mut self, why: String) {
        self.withdrawn = Some(why);
        for held in std::mem::take(&mut self.keys) {
            self.retire(&held.key);
        }
    }

    /// Private keys that another has taken over from are let go, and what nobody can ask for any more.
    pub(super) fn settle(&mut self, now: Timestamp) {
        for held in &mut self.keys {
            // The way to a root that was found first has ended; there may be another.
            if held.key.leaf().to < now
                && let Ok(key) = held.key.under(Arc::clone(&self.bundle), now)
            {
                held.key = Arc::new(key);
            }
        }
        let signing = signing(&self.keys, now).unwrap_or(0);
        for held in self.keys.drain(..signing).collect::<Vec<_>>() {
            self.retire(&held.key);
        }
        self.public.retain(|half| now <= half.leaf.not_after.plus(RETAIN));
        self.public.truncate(MOST_PUBLIC);
    }

    fn retire(&mut self, key: &ActiveKey) {
        let half = PublicHalf {
            role: KeyRole::Retired,
            leaf: key.leaf().clone(),
            chain: key.chain().clone(),
            file: None,
        };
        self.public.insert(0, Arc::new(half));
    }

    /// How long something can be signed.
    pub(super) fn left(&self, now: Timestamp) -> Duration {
        let ends = self.keys.iter().map(|held| held.key.leaf().to).max();
        ends.map_or(Duration::ZERO, |end| end.since(now))
    }

    /// Whether less than a quarter of the newest SVID's validity is left: an agent renews at half.
    pub(super) fn is_overdue(&self, now: Timestamp) -> bool {
        self.keys.last().is_some_and(|newest| {
            let life = newest.key.not_after().since(newest.key.not_before());
            newest.key.not_after().since(now) < life / 4
        })
    }
}

/// The moment nearest to `now` at which a certificate was valid.
fn within(now: Timestamp, not_before: Timestamp, not_after: Timestamp) -> Timestamp {
    now.max(not_before).min(not_after)
}
