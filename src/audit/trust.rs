//! Archived chains, believed only as far as the caller's bundle and identity carry them.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::archived::{Archived, Found};
use super::lines::read_file;
use super::missing::{self, Missing};
use super::report::KeyUse;
use crate::attest::Layout;
use crate::domain::clock::Timestamp;
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::{IdError, KeyId, SpiffeId};
use crate::keys::{CertificateChain, ChainError, TrustBundle, VerifiedLeaf};

/// Largest archived chain, in bytes.
const MAX_CHAIN: u64 = 256 * 1024;

/// Most keys that are remembered as refused; more are looked at again each time.
const MAX_REFUSED: usize = 1000;

/// The keys that signed, by key id.
pub(super) struct Trust<'a> {
    layout: &'a Layout,
    bundle: &'a TrustBundle,
    identity: &'a SpiffeId,
    known: HashMap<String, Known>,
    /// Why a key is none of the gateway's, whatever the time.
    refused: HashMap<String, String>,
    archived: Archived<'a>,
    /// What the bundle lacks for refused keys.
    pub(super) missing: Vec<Missing>,
}

struct Known {
    chain: CertificateChain,
    /// As of a moment when its chain held; it says until when that stays so.
    leaf: VerifiedLeaf,
    records: u64,
    /// The earliest and the latest time of a record that it signed.
    times: Option<(Timestamp, Timestamp)>,
}

/// Why a key is not believed. The words hold nothing of the single record, so that one reason is one finding.
struct Refused {
    why: String,
    /// At no other time either.
    ever: bool,
    /// The key's certificate, and the root that would vouch for it, if one is archived.
    lacks: Option<Box<(Sha256Digest, Option<Found>)>>,
}

impl Refused {
    const fn ever(why: String) -> Self {
        Self { why, ever: true, lacks: None }
    }

    const fn then(why: String) -> Self {
        Self { why, ever: false, lacks: None }
    }
}

impl<'a> Trust<'a> {
    pub(super) fn new(layout: &'a Layout, bundle: &'a TrustBundle, identity: &'a SpiffeId) -> Self {
        let archived = Archived::new(layout, identity.trust_domain());
        let (known, refused, missing) = (HashMap::new(), HashMap::new(), Vec::new());
        Self { layout, bundle, identity, known, refused, archived, missing }
    }

    /// The key named `kid`, if it was the gateway's own at `at`.
    ///
    /// # Errors
    /// In words: why not.
    pub(super) fn key(&mut self, kid: &str, at: Timestamp) -> Result<&VerifiedLeaf, String> {
        if let Some(why) = self.refused.get(kid) {
            return Err(why.clone());
        }
        if let Err(Refused { why, ever, lacks }) = self.look(kid, at) {
            if ever && self.refused.len() < MAX_REFUSED {
                self.refused.insert(kid.to_owned(), why.clone());
                if let Some(lacks) = lacks {
                    missing::add(&mut self.missing, &lacks.0, lacks.1.as_ref());
                }
            }
            return Err(why);
        }
        self.known.get(kid).map(|known| &known.leaf).ok_or_else(|| "the key is not known".to_owned())
    }

    /// A believed record was signed by this key at this time.
    pub(super) fn signed(&mut self, kid: &str, time: Timestamp) {
        if let Some(known) = self.known.get_mut(kid) {
            known.records += 1;
            let (first, last) = known.times.unwrap_or((time, time));
            known.times = Some((first.min(time), last.max(time)));
        }
    }

    /// What there is to say of the believed keys, in the order of their validity.
    pub(super) fn keys(&self) -> Vec<KeyUse> {
        let mut keys: Vec<_> = self.known.values().collect();
        keys.sort_by_key(|known| (known.leaf.not_before, known.leaf.key_id.as_str()));
        let said = |known: &Known| KeyUse {
            kid: known.leaf.key_id.to_string(),
            not_before: known.leaf.not_before.to_rfc3339(),
            not_after: known.leaf.not_after.to_rfc3339(),
            root: known.leaf.root.to_string(),
            records: known.records,
            first: known.times.map(|(first, _)| first.to_rfc3339()),
            last: known.times.map(|(_, last)| last.to_rfc3339()),
        };
        keys.into_iter().map(said).collect()
    }

    /// Sees to it that `known` has the key as of `at`.
    fn look(&mut self, kid: &str, at: Timestamp) -> Result<(), Refused> {
        if let Some(known) = self.known.get_mut(kid) {
            let (from, to) = (known.leaf.from.as_secs(), known.leaf.to.as_secs());
            if !(from..=to).contains(&at.as_secs()) {
                known.leaf = known.chain.verify(self.bundle, at).map_err(|error| not_then(&error))?;
            }
            return Ok(());
        }
        let chain = self.chain(kid)?;
        let leaf = match chain.verify(self.bundle, at) {
            Ok(leaf) => leaf,
            Err(ChainError::Path(error)) => return Err(self.explain(&chain, at, error)),
            Err(error @ ChainError::Validity { .. }) => return Err(not_then(&error)),
            Err(error) => return Err(Refused::ever(format!("of the key {kid}: {error}"))),
        };
        self.known.insert(kid.to_owned(), Known { chain, leaf, records: 0, times: None });
        Ok(())
    }

    /// The archived chain of the key, which is of that very key and names the gateway; nothing vouches for it yet.
    fn chain(&self, kid: &str) -> Result<CertificateChain, Refused> {
        // Of any length, so it is not remembered.
        let id: KeyId = kid.parse().map_err(|error: IdError| Refused::then(error.to_string()))?;
        let identity = self.identity;
        if id.spiffe_id() != identity.as_str() {
            return Err(Refused::ever(format!("signed by {id}, another workload's key, not by {identity}")));
        }
        let Some(thumbprint) = thumbprint(&id) else {
            return Err(Refused::ever(format!("the key id's thumbprint is not one: {id}")));
        };
        let path = self.layout.chain(&thumbprint);
        let file = path.display();
        let text = read_file(&path, MAX_CHAIN)
            .map_err(|error| Refused::ever(format!("its chain is not archived ({file}: {error})")))?;
        let unreadable = |error: ChainError| Refused::ever(format!("its archived chain ({file}): {error}"));
        let chain = CertificateChain::from_pem(&String::from_utf8_lossy(&text)).map_err(unreadable)?;
        let whose = chain.unverified().map_err(unreadable)?.spiffe_id;
        if whose != *identity {
            let why = format!(
                "it claims to be of {identity}, but the archived chain ({file}) is of {whose}: another workload's key"
            );
            return Err(Refused::ever(why));
        }
        if chain.leaf_thumbprint() != thumbprint {
            let other = chain.leaf_thumbprint();
            return Err(Refused::ever(format!(
                "the archived chain ({file}) was altered: it is of the certificate {other}"
            )));
        }
        Ok(chain)
    }

    /// Why the chain leads to no root of the caller's bundle, and which one it lacks.
    fn explain(&self, chain: &CertificateChain, at: Timestamp, error: webpki::Error) -> Refused {
        let Ok(leaf) = chain.unverified() else { return Refused::ever(error.to_string()) };
        let ends = [leaf.not_before, leaf.not_after];
        if let Some(held) = ends.iter().find_map(|end| chain.verify(self.bundle, *end).ok()) {
            return Refused::then(format!(
                "the chain of its key leads to the root {} of the given trust bundle, but held from {} to {} only, and \
                 this record is not of that time",
                held.root, held.from, held.to
            ));
        }
        let key = chain.leaf_thumbprint();
        let found = self.archived.root_of(chain, at);
        let root = match &found {
            Some(found) => format!("its root {} is not in it", short(&found.root)),
            None => format!("no root in it signed its chain ({error}), and none in the log's archive did"),
        };
        let why = format!(
            "the given trust bundle does not vouch for the key #{}, valid from {} to {}: {root}",
            key.to_base64url(),
            leaf.not_before,
            leaf.not_after
        );
        Refused { lacks: Some(Box::new((key, found))), ..Refused::ever(why) }
    }

    /// Whether a record's reference to a believed key leads to what is archived of it.
    ///
    /// # Errors
    /// In words: what does not agree, is missing or altered.
    pub(super) fn archived(&mut self, key: &super::read::Key) -> Result<(), String> {
        let Some(Known { leaf, chain, .. }) = self.known.get(&key.kid) else { return Ok(()) };
        let thumbprint = chain.leaf_thumbprint();
        if key.chain != thumbprint {
            return Err(format!(
                "it says that the chain of {} is archived as {}, but that is {thumbprint}",
                key.kid, key.chain
            ));
        }
        let (from, to) = (leaf.not_before.to_rfc3339(), leaf.not_after.to_rfc3339());
        if key.not_before != from || key.not_after != to {
            return Err(format!(
                "it says that {} is valid from {} to {}, but its certificate is from {from} to {to}",
                key.kid, key.not_before, key.not_after
            ));
        }
        self.archived.bundle(&key.bundle)
    }
}

/// The digest that a key id names.
fn thumbprint(id: &KeyId) -> Option<Sha256Digest> {
    let raw = URL_SAFE_NO_PAD.decode(id.thumbprint()).ok()?;
    raw.try_into().ok().map(Sha256Digest::from_bytes)
}

/// Enough of a thumbprint to tell roots apart.
fn short(root: &Sha256Digest) -> String {
    root.to_string().chars().take(16).chain(['…']).collect()
}

fn not_then(error: &ChainError) -> Refused {
    Refused::then(match error {
        ChainError::Validity { not_before, not_after, .. } => format!(
            "the certificate of its key is valid from {not_before} to {not_after}, and this record is not of that time"
        ),
        ChainError::Path(_) => {
            "the chain of its key held at other times, but not at this record's".to_owned()
        }
        other => other.to_string(),
    })
}
