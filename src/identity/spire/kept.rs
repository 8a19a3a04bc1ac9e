//! The directory of public chains: what a gateway that starts again still answers for, and what `chancery keys`
//! shows without asking the agent. No private key is ever in it.
//!
//! `svids/<from in ms>-<x5t hex>.pem` holds a chain and from when its key signs, `bundle-<trust domain>.pem` the
//! bundle in force, `spiffe-id` whose keys they are, `withdrawn` why none of them signs, while that is so.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::held::{Held, MOST_PUBLIC};
use crate::domain::clock::Timestamp;
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::SpiffeId;
use crate::identity::IdentityError;
use crate::identity::describe::KeyRole;
use crate::identity::material::{PublicHalf, Published, PublishedKey};
use crate::identity::pem_file::PemFile;
use crate::identity::store::{Lock, Store};
use crate::keys::TrustBundle;

/// How long a chain is kept after its end. Sessions don't outlive the process, so the disk needs no more than what is
/// alive; the rest is for who looks.
const RETAIN: Duration = Duration::from_secs(24 * 3600);

const SVIDS: &str = "svids";
const OWNER: &str = "spiffe-id";
const WITHDRAWN: &str = "withdrawn";

/// See the module.
#[derive(Debug)]
pub(super) struct Kept {
    store: Store,
    /// What is on the disk, by thumbprint.
    files: HashMap<Sha256Digest, String>,
    bundle: Option<Arc<TrustBundle>>,
    withdrawn: Option<String>,
}

impl Kept {
    pub(super) fn open(dir: &Path) -> Result<Self, IdentityError> {
        let store = Store::open(dir, &[SVIDS], true)?;
        let withdrawn = store.read(WITHDRAWN)?.map(|text| text.trim().to_owned());
        Ok(Self { store, files: HashMap::new(), bundle: None, withdrawn })
    }

    /// The keys of `id` whose tokens may be alive and which `bundle` vouches for.
    pub(super) fn known(
        &mut self,
        id: &SpiffeId,
        bundle: &TrustBundle,
        now: Timestamp,
    ) -> Result<Vec<Arc<PublicHalf>>, IdentityError> {
        let mut known = Vec::new();
        for (name, _from) in chains(&self.store)? {
            let half = read(&self.store, &name, bundle, now)?;
            let alive = half.filter(|half| half.leaf.spiffe_id == *id && now <= half.leaf.not_after);
            if let Some(half) = alive {
                self.files.insert(half.chain.leaf_thumbprint(), name);
                known.push(Arc::new(half));
            }
        }
        Ok(known)
    }

    /// Writes down what is held and not yet on the disk, and removes what nobody can ask for any more. `patience` is
    /// how long another process may hold the directory's lock.
    pub(super) fn keep(
        &mut self,
        held: &Held,
        now: Timestamp,
        patience: Duration,
    ) -> Result<(), IdentityError> {
        let missing = |held: &&PublishedKey| !self.files.contains_key(&held.key.chain().leaf_thumbprint());
        let missing: Vec<&PublishedKey> = held.keys.iter().filter(missing).collect();
        let changed = self.bundle.as_ref().is_none_or(|kept| !Arc::ptr_eq(kept, &held.bundle));
        let told = held.withdrawn != self.withdrawn;
        if missing.is_empty() && !changed && !told {
            return Ok(());
        }
        let lock = self.store.lock_within(patience)?;
        self.store.sweep(&lock)?;
        if changed {
            let bundle = &held.bundle;
            self.store.write(&lock, &bundle_name(bundle.trust_domain()), bundle.to_pem().as_bytes())?;
        }
        match &held.withdrawn {
            Some(why) if told => self.store.write(&lock, WITHDRAWN, format!("{why}\n").as_bytes())?,
            None if told => self.store.remove(&lock, WITHDRAWN)?,
            _ => {}
        }
        if let Some(key) = held.keys.first() {
            self.store.write(&lock, OWNER, format!("{}\n", key.key.spiffe_id()).as_bytes())?;
        }
        let there: HashSet<String> = chains(&self.store)?.into_iter().map(|(name, _)| name).collect();
        for held in missing {
            let thumbprint = held.key.chain().leaf_thumbprint();
            let ours = format!("-{thumbprint}.pem");
            // Another gateway of the same entry has seen it first: its moment counts.
            let name = match there.iter().find(|name| name.ends_with(&ours)) {
                Some(name) => name.clone(),
                None => {
                    let name = format!("{SVIDS}/{}{ours}", held.from.as_millis());
                    self.store.write(&lock, &name, held.key.chain().to_pem().as_bytes())?;
                    name
                }
            };
            self.files.insert(thumbprint, name);
        }
        self.clear(&lock, now)?;
        self.files.retain(|_, name| self.store.path(name).exists());
        self.bundle = Some(Arc::clone(&held.bundle));
        self.withdrawn.clone_from(&held.withdrawn);
        Ok(())
    }

    /// Whose keys are kept.
    pub(super) fn owner(&self) -> Option<SpiffeId> {
        self.store.read(OWNER).ok()??.trim().parse().ok()
    }

    /// Removes what nobody can ask for any more, and the oldest of what is more than can be answered for.
    fn clear(&self, lock: &Lock, now: Timestamp) -> Result<(), IdentityError> {
        let mut there = chains(&self.store)?;
        there.sort_by_key(|(_, from)| std::cmp::Reverse(*from));
        for (index, (name, _)) in there.iter().enumerate() {
            // A file that can't be read is not ours to judge here; the next start names it.
            let file = PemFile::read(&self.store, name).ok().flatten();
            let end = file.and_then(|file| file.ends().ok());
            if index >= MOST_PUBLIC || end.is_some_and(|end| end.plus(RETAIN) < now) {
                self.store.remove(lock, name)?;
            }
        }
        Ok(())
    }

    /// What is held, with the files that keep it.
    pub(super) fn published(&self, held: &Held) -> Published {
        let file = |thumbprint: &Sha256Digest| self.files.get(thumbprint).map(|name| self.store.path(name));
        let keys = held.keys.iter().map(|key| {
            let file = file(&key.key.chain().leaf_thumbprint());
            PublishedKey { file, ..key.clone() }
        });
        Published {
            keys: keys.collect(),
            public: held.public.clone(),
            bundle: Arc::clone(&held.bundle),
            bundle_file: Some(self.store.path(&bundle_name(held.bundle.trust_domain()))),
            withdrawn: held.withdrawn.clone(),
            dropped: held.dropped.clone(),
        }
    }
}

/// What a gateway keeps, read by a process that only looks: there are no private keys in it.
pub(in crate::identity) fn look(
    dir: &Path,
    wanted: Option<&SpiffeId>,
    now: Timestamp,
) -> Result<(SpiffeId, Published), IdentityError> {
    let store = Store::open(dir, &[SVIDS], false)?;
    let absent = || IdentityError::Absent { dir: dir.to_owned() };
    let id = match wanted {
        Some(id) => id.clone(),
        None => store.read(OWNER)?.ok_or_else(absent)?.trim().parse()?,
    };
    let name = bundle_name(id.trust_domain());
    let text = store.read(&name)?.ok_or_else(absent)?;
    let bundle_file = store.path(&name);
    let damaged = |error| IdentityError::Damaged { path: bundle_file.clone(), why: format!("{error}") };
    let bundle = TrustBundle::from_pem(id.trust_domain(), &text).map_err(damaged)?;
    let mut found: Vec<(Timestamp, PublicHalf)> = Vec::new();
    for (name, from) in chains(&store)? {
        if let Some(half) = read(&store, &name, &bundle, now)?
            && half.leaf.spiffe_id == id
        {
            found.push((from, half));
        }
    }
    if found.is_empty() {
        return Err(absent());
    }
    found.sort_by_key(|(from, _)| std::cmp::Reverse(*from));
    let withdrawn = store.read(WITHDRAWN)?.map(|text| text.trim().to_owned());
    let signing = found.iter().position(|(from, half)| *from <= now && now <= half.leaf.not_after);
    let signing = signing.filter(|_| withdrawn.is_none());
    let public = found.into_iter().enumerate().map(|(index, (from, half))| {
        let role = match signing {
            Some(signing) if signing == index => KeyRole::Signing,
            _ if from > now => KeyRole::Next,
            _ => KeyRole::Retired,
        };
        Arc::new(PublicHalf { role, ..half })
    });
    let (keys, public, dropped) = (Vec::new(), public.collect(), Vec::new());
    let (bundle, bundle_file) = (Arc::new(bundle), Some(bundle_file));
    Ok((id, Published { keys, public, bundle, bundle_file, withdrawn, dropped }))
}

/// The chains' files and from when their keys sign. A name that is not ours is passed over.
fn chains(store: &Store) -> Result<Vec<(String, Timestamp)>, IdentityError> {
    let from = |name: &str| -> Option<i64> {
        name.strip_prefix(SVIDS)?.strip_prefix('/')?.split_once('-')?.0.parse().ok()
    };
    let names = store.list(SVIDS)?.into_iter();
    Ok(names.filter_map(|name| from(&name).map(|at| (name, Timestamp::from_millis(at)))).collect())
}

/// The public half in a file, if `bundle` vouches for it. What it does not vouch for is no error: its CA may be gone.
fn read(
    store: &Store,
    name: &str,
    bundle: &TrustBundle,
    now: Timestamp,
) -> Result<Option<PublicHalf>, IdentityError> {
    let Some(file) = PemFile::read(store, name)? else { return Ok(None) };
    let Ok((chain, leaf)) = file.chain(bundle, now) else { return Ok(None) };
    let file: Option<PathBuf> = Some(store.path(name));
    Ok(Some(PublicHalf { role: KeyRole::Retired, leaf, chain, file }))
}

/// A trust domain's name has letters, digits, dots, dashes and underscores only.
fn bundle_name(trust_domain: &str) -> String {
    format!("bundle-{trust_domain}.pem")
}
