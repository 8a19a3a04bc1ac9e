//! What each principal did, over all its sessions: counted calls and labels, for policies to read.
//!
//! - A decision that reads them holds its principal's account from reading to counting, so that a limit of ten lets
//!   ten through, over however many sessions and servers. The account's lock comes after the session's; it is held
//!   across no await and no I/O.
//! - The attestation log is the journal: a call is counted by its record, which is as durable as configured before
//!   anything goes on. What is kept beside it (`ledger.json`) only says where to begin reading; see `book`.
//! - Counters and labels are bounded in number (I10). What is let go of has no effect any more.

mod account;
mod book;
mod counter;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use parking_lot::Mutex;

pub(super) use account::Account;
pub use account::Past;
use book::Book;
pub use book::LedgerError;

use crate::attest::{Log, Place};
use crate::domain::clock::Timestamp;

/// How often what has no effect any more is looked for.
const PRUNE: Duration = Duration::from_secs(60);

/// The log's growth after which `ledger.json` is written anew, in bytes.
const GROWTH: u64 = 16 * 1024 * 1024;

/// An account that sessions share.
pub(super) type Shared = Arc<Mutex<Account>>;

/// The accounts of all principals.
#[derive(Debug)]
pub struct Ledger {
    accounts: DashMap<Arc<str>, Shared>,
    /// Counters and labels that there are, and that there may be.
    entries: AtomicUsize,
    limit: usize,
    pruned: AtomicI64,
    /// Where `ledger.json` stands; held while it is written.
    saved: Mutex<Place>,
}

impl Ledger {
    /// The accounts as the log tells them, with room for `limit` counters and labels. Reads what was written since
    /// `ledger.json`, or the whole log where there is none, and brings that file up to date.
    ///
    /// # Errors
    /// The file or a record after it can't be read: then nobody knows what principals may still do.
    pub fn open(log: &Log, limit: usize, now: Timestamp) -> Result<Self, LedgerError> {
        let mut book = Book::load(log)?;
        book.catch_up(log)?;
        book.save(log)?;
        let accounts = DashMap::new();
        let mut entries = 0;
        let saved = book.place();
        for (principal, mut account) in book.into_accounts() {
            if account.prune(now) {
                entries += account.entries();
                accounts.insert(principal, Arc::new(Mutex::new(account)));
            }
        }
        Ok(Self {
            accounts,
            entries: entries.into(),
            limit,
            pruned: now.as_millis().into(),
            saved: Mutex::new(saved),
        })
    }

    /// The account of a principal; made if there is none.
    pub(super) fn account(&self, principal: &str) -> Shared {
        if let Some(account) = self.accounts.get(principal) {
            return Arc::clone(&account);
        }
        Arc::clone(&self.accounts.entry(principal.into()).or_default())
    }

    /// The account of a principal, if there is one.
    pub(super) fn find(&self, principal: &str) -> Option<Shared> {
        self.accounts.get(principal).map(|account| Arc::clone(&account))
    }

    /// All principals of whom something is known, by name.
    pub(super) fn pasts(&self, now: Timestamp) -> Vec<(Arc<str>, Past)> {
        let read = self.accounts.iter().map(|entry| (Arc::clone(entry.key()), Arc::clone(entry.value())));
        // Not under the table's lock: an account's lock comes before it.
        let read: Vec<(Arc<str>, Shared)> = read.collect();
        let mut pasts: Vec<_> =
            read.into_iter().map(|(name, account)| (name, account.lock().past(now))).collect();
        pasts.sort_by(|a, b| a.0.cmp(&b.0));
        pasts
    }

    /// So many counters and labels were taken out of an account.
    pub(super) fn taken(&self, entries: usize) {
        self.entries.fetch_sub(entries, Ordering::Relaxed);
    }

    /// Whether no counter and no label can be added.
    pub(super) fn is_full(&self) -> bool {
        self.entries.load(Ordering::Relaxed) >= self.limit
    }

    /// So many counters and labels were added to an account.
    pub(super) fn added(&self, entries: usize) {
        if entries > 0 {
            self.entries.fetch_add(entries, Ordering::Relaxed);
        }
    }

    /// Lets go of what has no effect any more, now and then.
    pub(super) fn prune(&self, now: Timestamp) {
        let last = Timestamp::from_millis(self.pruned.load(Ordering::Relaxed));
        if now.since(last) < PRUNE && !self.is_full() {
            return;
        }
        self.pruned.store(now.as_millis(), Ordering::Relaxed);
        self.accounts.retain(|_, shared| {
            let Some(mut account) = shared.try_lock() else { return true };
            let before = account.entries();
            let kept = account.prune(now);
            self.entries.fetch_sub(before - account.entries(), Ordering::Relaxed);
            // Nobody else can take it meanwhile: sessions get theirs from this table, whose lock is held.
            kept || Arc::strong_count(shared) > 1
        });
    }

    /// Brings `ledger.json` up to date, if the log has grown enough or `now` is asked for. Blocks.
    pub(super) fn save(&self, log: &Log, now: bool) {
        let Some(mut saved) = self.saved.try_lock() else { return };
        let end = log.end();
        let grown = end.segment != saved.segment || end.offset.saturating_sub(saved.offset) >= GROWTH;
        if end == *saved || !(grown || now) {
            return;
        }
        let done = Book::load(log).and_then(|mut book| {
            book.catch_up(log)?;
            book.save(log)?;
            Ok(book.place())
        });
        match done {
            Ok(place) => *saved = place,
            Err(error) => {
                tracing::warn!(%error, "what principals did could not be summed up; it is tried again")
            }
        }
    }
}
