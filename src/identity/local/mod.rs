//! The embedded trust domain: a root and the SVIDs it issued, in a directory that only this user can enter.
//!
//! `root.pem` holds the root's key and certificate, `svids/<x5t hex>.pem` a leaf's key and chain, `retired/` the
//! chains of leaves that sign no more (their keys are gone). Every file is written whole or not at all, and only
//! under the directory's lock, so several processes can work on one directory: they use the same keys, and each
//! switches to a new one at the moment that its certificate implies, not when it happens to look.

mod issue;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::config::Local;
use super::describe::KeyRole;
use super::error::IdentityError;
use super::material::{Material, PublicHalf, Published, PublishedKey, RETAIN};
use super::pem_file::PemFile;
use super::store::{Lock, Store};
use crate::domain::clock::Timestamp;
use crate::domain::ids::SpiffeId;
use crate::keys::{ActiveKey, CertificateChain, TrustBundle};
use issue::Root;

const ROOT: &str = "root.pem";
const SVIDS: &str = "svids";
const RETIRED: &str = "retired";

/// Whether the directory may be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Make what is missing, renew what is due.
    Make,
    /// Only look.
    Look,
}

/// A local trust domain and the SVIDs of one path in it.
#[derive(Debug)]
pub(super) struct LocalDomain {
    store: Store,
    access: Access,
    lead: Duration,
    svid_ttl: Duration,
    spiffe_id: SpiffeId,
    bundle: Arc<TrustBundle>,
    /// What was read already, by file name. Files never change, they only come and go.
    read: Mutex<Read>,
}

#[derive(Debug, Default)]
struct Read {
    /// `None` for a leaf of another path.
    svids: HashMap<String, Option<Arc<ActiveKey>>>,
    retired: HashMap<String, Option<Arc<PublicHalf>>>,
}

impl LocalDomain {
    pub(super) fn open(
        config: &Local,
        lead: Duration,
        access: Access,
        now: Timestamp,
    ) -> Result<Self, IdentityError> {
        if !(Local::MIN_SVID_TTL..=Local::MAX_SVID_TTL).contains(&config.svid_ttl) {
            return Err(IdentityError::SvidTtl);
        }
        // Before anything is made: a name that makes no SPIFFE ID of a workload.
        if !config.path.starts_with('/') {
            return Err(IdentityError::Path(config.path.clone()));
        }
        let checked = config.trust_domain.as_deref().unwrap_or("checked.below");
        format!("spiffe://{checked}{}", config.path).parse::<SpiffeId>()?;
        let store = Store::open(&config.dir, &[SVIDS, RETIRED], access == Access::Make)?;
        let root = match read_root(&store)? {
            Some(root) => root,
            None if access == Access::Make => make_root(&store, config, now)?,
            None => return Err(IdentityError::Absent { dir: config.dir.clone() }),
        };
        if let Some(wanted) = config.trust_domain.as_deref().filter(|wanted| *wanted != root.trust_domain()) {
            let (found, wanted) = (root.trust_domain().to_owned(), wanted.to_owned());
            return Err(IdentityError::OtherDomain { dir: config.dir.clone(), found, wanted });
        }
        if root.not_after() < now {
            let (root_file, dir) = (store.path(ROOT), config.dir.clone());
            return Err(IdentityError::RootExpired { root: root_file, dir, not_after: root.not_after() });
        }
        let path = &config.path;
        let spiffe_id = format!("spiffe://{}{path}", root.trust_domain()).parse()?;
        let (svid_ttl, bundle, read) = (config.svid_ttl, root.bundle(), Mutex::default());
        Ok(Self { store, access, lead, svid_ttl, spiffe_id, bundle, read })
    }

    pub(super) fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// When a leaf may sign: its lead after it was made. The certificate says when that was, so every process on
    /// the directory comes to the same moment.
    fn signs_from(&self, key: &ActiveKey) -> Timestamp {
        key.not_before().plus(issue::BACKDATE).plus(self.lead)
    }

    /// The leaves of our path, oldest first.
    fn scan(&self, read: &mut Read, now: Timestamp) -> Result<Vec<PublishedKey>, IdentityError> {
        let names = self.store.list(SVIDS)?;
        read.svids.retain(|name, _| names.contains(name));
        for name in names {
            if !read.svids.contains_key(&name)
                && let Some(key) = self.read_svid(&name, now)?
            {
                read.svids.insert(name, key);
            }
        }
        let keys = read.svids.iter().filter_map(|(name, key)| Some((name, key.as_ref()?)));
        let mut keys: Vec<PublishedKey> = keys
            .map(|(name, key)| PublishedKey {
                key: Arc::clone(key),
                from: self.signs_from(key),
                file: Some(self.store.path(name)),
            })
            .collect();
        keys.sort_by_key(|published| published.from);
        Ok(keys)
    }

    /// The outer `None`: it was retired just now. The inner: it is of another path.
    #[expect(clippy::option_option, reason = "two different absences, told apart by the caller")]
    fn read_svid(&self, name: &str, now: Timestamp) -> Result<Option<Option<Arc<ActiveKey>>>, IdentityError> {
        let Some(file) = PemFile::read(&self.store, name)? else { return Ok(None) };
        let (chain, leaf) = file.chain(&self.bundle, now)?;
        if leaf.spiffe_id != self.spiffe_id {
            return Ok(Some(None));
        }
        let key = file.key()?;
        // An expired leaf is read too, so that it can be named and retired; it never signs.
        let at = now.max(leaf.not_before).min(leaf.not_after);
        let key = ActiveKey::new(key, chain, Arc::clone(&self.bundle), at).map_err(|e| file.damaged(e))?;
        Ok(Some(Some(Arc::new(key))))
    }

    fn scan_retired(&self, read: &mut Read, now: Timestamp) -> Result<Vec<Arc<PublicHalf>>, IdentityError> {
        let names = self.store.list(RETIRED)?;
        read.retired.retain(|name, _| names.contains(name));
        for name in names {
            if read.retired.contains_key(&name) {
                continue;
            }
            let Some(file) = PemFile::read(&self.store, &name)? else { continue };
            let (chain, leaf) = file.chain(&self.bundle, now)?;
            let ours = leaf.spiffe_id == self.spiffe_id;
            let retired = ours.then(|| PublicHalf {
                role: KeyRole::Retired,
                leaf,
                chain,
                file: Some(self.store.path(&name)),
            });
            read.retired.insert(name, retired.map(Arc::new));
        }
        let mut keys: Vec<Arc<PublicHalf>> = read.retired.values().flatten().cloned().collect();
        keys.sort_by_key(|retired| std::cmp::Reverse(retired.leaf.not_after));
        Ok(keys)
    }

    /// Whether the newest leaf has passed half of its validity, or there is none.
    fn is_due(keys: &[PublishedKey], now: Timestamp) -> bool {
        keys.last().is_none_or(|newest| {
            let life = newest.key.not_after().since(newest.key.not_before());
            now >= newest.key.not_before().plus(life / 2)
        })
    }

    /// The leaves that sign no more: ended, or a newer one has taken over.
    fn superseded(keys: &[PublishedKey], now: Timestamp) -> Vec<PublishedKey> {
        let active = keys.iter().rposition(|p| p.from <= now && p.key.not_before() <= now);
        let older = |index: usize| active.is_some_and(|active| index < active);
        let ended = |p: &PublishedKey| p.key.not_after().as_secs() < now.as_secs();
        keys.iter().enumerate().filter(|(i, p)| older(*i) || ended(p)).map(|(_, p)| p.clone()).collect()
    }

    /// Renews, retires and prunes, under the lock.
    fn maintain(&self, read: &mut Read, now: Timestamp) -> Result<Vec<PublishedKey>, IdentityError> {
        let lock = self.store.lock()?;
        self.store.sweep(&lock)?;
        // Another process may have been here since.
        let mut keys = self.scan(read, now)?;
        if Self::is_due(&keys, now) {
            let root = read_root(&self.store)?
                .ok_or_else(|| IdentityError::Absent { dir: self.store.path("").clone() })?;
            let (name, text) = root.issue(&self.spiffe_id, self.svid_ttl, now)?;
            self.store.write(&lock, &format!("{SVIDS}/{name}.pem"), text.as_bytes())?;
            keys = self.scan(read, now)?;
        }
        for gone in Self::superseded(&keys, now) {
            self.retire(&lock, gone.key.chain())?;
        }
        for retired in self.scan_retired(read, now)? {
            if retired.leaf.not_after.plus(RETAIN) < now {
                self.store.remove(&lock, &retired_name(&retired.chain))?;
            }
        }
        self.scan(read, now)
    }

    fn retire(&self, lock: &Lock, chain: &CertificateChain) -> Result<(), IdentityError> {
        self.store.write(lock, &retired_name(chain), chain.to_pem().as_bytes())?;
        self.store.remove(lock, &format!("{SVIDS}/{}.pem", chain.leaf_thumbprint()))
    }
}

impl Material for LocalDomain {
    fn refresh(&self, now: Timestamp) -> Result<Published, IdentityError> {
        let read = &mut *self.read.lock();
        let mut keys = self.scan(read, now)?;
        let due = Self::is_due(&keys, now) || !Self::superseded(&keys, now).is_empty();
        if due && self.access == Access::Make {
            keys = self.maintain(read, now)?;
        }
        let retired = self.scan_retired(read, now)?;
        let bundle_file = Some(self.store.path(ROOT));
        let bundle = Arc::clone(&self.bundle);
        Ok(Published { keys, public: retired, bundle, bundle_file, withdrawn: None, dropped: Vec::new() })
    }
}

fn retired_name(chain: &CertificateChain) -> String {
    format!("{RETIRED}/{}.pem", chain.leaf_thumbprint())
}

fn read_root(store: &Store) -> Result<Option<Root>, IdentityError> {
    if let Some(file) = PemFile::read(store, ROOT)? {
        return Root::read(&file).map(Some);
    }
    if store.list(SVIDS)?.is_empty() && store.list(RETIRED)?.is_empty() {
        return Ok(None);
    }
    let dir: PathBuf = store.path("");
    Err(IdentityError::RootMissing { root: store.path(ROOT), dir })
}

fn make_root(store: &Store, config: &Local, now: Timestamp) -> Result<Root, IdentityError> {
    let lock = store.lock()?;
    // Another process may have made it while this one waited.
    if let Some(root) = read_root(store)? {
        return Ok(root);
    }
    store.sweep(&lock)?;
    let text = issue::new_root(config.trust_domain.as_deref(), now)?;
    store.write(&lock, ROOT, text.as_bytes())?;
    read_root(store)?.ok_or_else(|| IdentityError::Absent { dir: config.dir.clone() })
}

#[cfg(test)]
mod tests;
