//! The public side of a signing key: all that a verifier will ever need of it.

use std::sync::Arc;

use super::bundle::TrustBundle;
use super::chain::CertificateChain;
use super::signer::ActiveKey;
use crate::domain::clock::Timestamp;
use crate::domain::ids::KeyId;

/// A signing key's chain, with the bundle that vouched for it when it signed. Made from the key itself only, so that
/// nobody can name one key and hand over the certificates of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicSvid {
    id: KeyId,
    chain: CertificateChain,
    bundle: Arc<TrustBundle>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl From<&ActiveKey> for PublicSvid {
    fn from(key: &ActiveKey) -> Self {
        Self {
            id: key.id().clone(),
            chain: key.chain().clone(),
            bundle: Arc::clone(key.bundle()),
            not_before: key.not_before(),
            not_after: key.not_after(),
        }
    }
}

impl PublicSvid {
    /// The key's id.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The chain, leaf first.
    pub fn chain(&self) -> &CertificateChain {
        &self.chain
    }

    /// The bundle that was in force.
    pub fn bundle(&self) -> &TrustBundle {
        &self.bundle
    }

    /// From when the leaf is valid.
    pub const fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// Until when the leaf is valid, that second included.
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }
}
