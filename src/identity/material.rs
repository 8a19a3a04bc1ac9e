//! What yields keys: the seam between the rotation and where keys come from.

use std::path::PathBuf;
use std::sync::Arc;

use super::error::IdentityError;
use crate::domain::clock::Timestamp;
use crate::keys::{ActiveKey, CertificateChain, TrustBundle};

/// A source of signing keys for one SPIFFE ID.
pub trait Material: Send + Sync + std::fmt::Debug {
    /// Everything that is published at `now`, made or renewed where it is due.
    ///
    /// # Errors
    /// The source can't be reached or used; what was published before stays in force until it ends.
    fn refresh(&self, now: Timestamp) -> Result<Published, IdentityError>;
}

/// The keys that a source has at one moment.
#[derive(Debug)]
pub struct Published {
    /// Keys that can sign, with the moment from which each should.
    pub keys: Vec<(Arc<ActiveKey>, Timestamp)>,
    /// Chains of keys that sign no more.
    pub retired: Vec<(CertificateChain, Option<PathBuf>)>,
    /// The roots.
    pub bundle: Arc<TrustBundle>,
}
