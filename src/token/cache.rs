//! Tokens that were verified already, by digest: bounded, and never an answer about expiry or revocation.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::verify::VerifiedToken;
use crate::domain::digest::Sha256Digest;

type Generation = HashMap<Sha256Digest, Arc<VerifiedToken>>;

/// Two generations of at most `capacity` each: when the young one is full it becomes the old one, and what was
/// not asked for since goes. Only tokens whose signature held are ever put in, so strangers can't push others out.
#[derive(Debug)]
pub(super) struct Cache {
    capacity: usize,
    generations: Mutex<(Generation, Generation)>,
}

impl Cache {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), generations: Mutex::default() }
    }

    pub(super) fn get(&self, digest: &Sha256Digest) -> Option<Arc<VerifiedToken>> {
        let mut generations = self.generations.lock();
        let (young, old) = &mut *generations;
        if let Some(found) = young.get(digest) {
            return Some(Arc::clone(found));
        }
        let found = old.remove(digest)?;
        self.insert(&mut generations, *digest, Arc::clone(&found));
        Some(found)
    }

    pub(super) fn put(&self, digest: Sha256Digest, token: Arc<VerifiedToken>) {
        self.insert(&mut self.generations.lock(), digest, token);
    }

    fn insert(
        &self,
        (young, old): &mut (Generation, Generation),
        digest: Sha256Digest,
        token: Arc<VerifiedToken>,
    ) {
        if young.len() >= self.capacity {
            *old = std::mem::take(young);
        }
        young.insert(digest, token);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let generations = self.generations.lock();
        generations.0.len() + generations.1.len()
    }
}
