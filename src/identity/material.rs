//! What yields keys: the seam between the rotation and where keys come from.

use std::path::PathBuf;
use std::sync::Arc;

use super::error::IdentityError;
use crate::domain::clock::Timestamp;
use crate::keys::{ActiveKey, CertificateChain, TrustBundle, VerifiedLeaf};

/// A source of signing keys for one SPIFFE ID.
pub trait Material: Send + Sync + std::fmt::Debug {
    /// Everything that is published at `now`, made or renewed where it is due.
    ///
    /// # Errors
    /// The source can't be reached or used; what was published before stays in force until it ends.
    fn refresh(&self, now: Timestamp) -> Result<Published, IdentityError>;
}

/// The keys that a source has at one moment.
#[derive(Debug, Clone)]
pub struct Published {
    /// Keys that can sign.
    pub keys: Vec<PublishedKey>,
    /// Keys that sign no more, but whose signatures may still be asked about.
    pub retired: Vec<Arc<RetiredKey>>,
    /// The roots.
    pub bundle: Arc<TrustBundle>,
    /// The file that holds them, where they are in one.
    pub bundle_file: Option<PathBuf>,
}

/// A key that can sign.
#[derive(Debug, Clone)]
pub struct PublishedKey {
    /// The key.
    pub key: Arc<ActiveKey>,
    /// From when it should sign: by then everyone who asks for the JWKS has seen it.
    pub from: Timestamp,
    /// The file that holds it, where it is in one.
    pub file: Option<PathBuf>,
}

/// The public half of a key that signs no more.
#[derive(Debug)]
pub struct RetiredKey {
    /// Its certificate, which the bundle vouched for.
    pub leaf: VerifiedLeaf,
    /// The chain.
    pub chain: CertificateChain,
    /// The file that holds it, where it is in one.
    pub file: Option<PathBuf>,
}
