//! Which key signs at a moment, and which can still be found: a function of what is published and the time.

use std::collections::HashMap;

use super::describe::{KeyDescription, KeyRole};
use super::material::{Published, PublishedKey, signing};
use crate::domain::clock::Timestamp;
use crate::keys::{Jwk, Jwks, KnownKey, SignerError};

/// What a source published, indexed by key id.
#[derive(Debug)]
pub(super) struct Ring {
    published: Published,
    by_kid: HashMap<String, KnownKey>,
}

impl Ring {
    pub(super) fn new(published: Published) -> Self {
        let active = published.keys.iter().map(|p| {
            let (not_before, not_after) = (p.key.not_before(), p.key.not_after());
            let known = KnownKey { key: p.key.public_key().clone(), not_before, not_after };
            (p.key.id().as_str().to_owned(), known)
        });
        let public = published.public.iter().map(|r| {
            let (not_before, not_after) = (r.leaf.not_before, r.leaf.not_after);
            let known = KnownKey { key: r.leaf.key.clone(), not_before, not_after };
            (r.leaf.key_id.as_str().to_owned(), known)
        });
        let by_kid = public.chain(active).collect();
        Self { published, by_kid }
    }

    pub(super) fn published(&self) -> &Published {
        &self.published
    }

    pub(super) fn find(&self, kid: &str) -> Option<&KnownKey> {
        self.by_kid.get(kid)
    }

    /// The key that signs at `now`.
    pub(super) fn current(&self, now: Timestamp) -> Result<&PublishedKey, SignerError> {
        let keys = &self.published.keys;
        signing(keys, now).and_then(|index| keys.get(index)).ok_or_else(|| self.why_none(now))
    }

    fn why_none(&self, now: Timestamp) -> SignerError {
        if let Some(why) = &self.published.withdrawn {
            return SignerError::Withdrawn(why.clone());
        }
        let Some(last) = self.published.keys.iter().max_by_key(|p| p.key.leaf().to) else {
            return SignerError::Withdrawn("the source has no key".to_owned());
        };
        let spiffe_id = last.key.spiffe_id().clone();
        let (not_before, not_after) = (last.key.leaf().from, last.key.leaf().to);
        if now < not_before {
            return SignerError::NotYetValid { spiffe_id, not_before };
        }
        SignerError::Expired { spiffe_id, not_after }
    }

    /// Every key whose tokens may be alive at `now`: a token never outlives its key's certificate.
    pub(super) fn jwks(&self, now: Timestamp) -> Jwks {
        let alive = |not_after: Timestamp| now.as_secs() <= not_after.as_secs();
        let active = self.published.keys.iter().filter(|p| alive(p.key.not_after()));
        let active = active.map(|p| Jwk::of_leaf(p.key.id(), p.key.public_key(), p.key.chain()));
        let retired = self.published.public.iter().filter(|r| alive(r.leaf.not_after));
        let retired = retired.map(|r| Jwk::of_leaf(&r.leaf.key_id, &r.leaf.key, &r.chain));
        Jwks { keys: active.chain(retired).collect() }
    }

    pub(super) fn describe(&self, now: Timestamp) -> Vec<KeyDescription> {
        let bundle = &self.published.bundle;
        let domain = format!("spiffe://{}", bundle.trust_domain());
        let roots = bundle.root_facts().map(|root| KeyDescription {
            role: KeyRole::Root,
            id: domain.clone(),
            algorithm: root.algorithm,
            thumbprint: root.thumbprint.to_string(),
            not_before: root.not_before,
            not_after: root.not_after,
            file: self.published.bundle_file.clone(),
        });
        let signing = self.current(now).ok().map(|p| p.key.id());
        let active = self.published.keys.iter().map(|p| KeyDescription {
            role: match signing {
                Some(id) if id == p.key.id() => KeyRole::Signing,
                _ if p.from > now => KeyRole::Next,
                _ => KeyRole::Retired,
            },
            id: p.key.id().to_string(),
            algorithm: p.key.algorithm().as_str(),
            thumbprint: p.key.chain().leaf_thumbprint().to_string(),
            not_before: p.key.not_before(),
            not_after: p.key.not_after(),
            file: p.file.clone(),
        });
        let retired = self.published.public.iter().map(|r| KeyDescription {
            role: r.role,
            id: r.leaf.key_id.to_string(),
            algorithm: r.leaf.key.algorithm().as_str(),
            thumbprint: r.chain.leaf_thumbprint().to_string(),
            not_before: r.leaf.not_before,
            not_after: r.leaf.not_after,
            file: r.file.clone(),
        });
        roots.chain(active).chain(retired).collect()
    }
}
