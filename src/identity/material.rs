//! What yields keys: the seam between the rotation and where keys come from.

use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::describe::KeyRole;
use super::error::IdentityError;
use crate::domain::clock::Timestamp;
use crate::domain::ids::KeyId;
use crate::keys::{ActiveKey, CertificateChain, TrustBundle, VerifiedLeaf};

/// How long a key is answered for after its certificate ended: a session's first token stays its handle, and the
/// longest session lasts 30 days.
pub(super) const RETAIN: Duration = Duration::from_secs(31 * 24 * 3600);

/// A source of signing keys for one SPIFFE ID.
pub trait Material: Send + Sync + std::fmt::Debug {
    /// Everything that is published at `now`, made or renewed where it is due.
    ///
    /// # Errors
    /// The source can't be reached or used; what was published before stays in force until it ends.
    fn refresh(&self, now: Timestamp) -> Result<Published, IdentityError>;

    /// Writes down what outlives the process. Called when what was refreshed is in force, which does not wait for it.
    fn keep(&self, _now: Timestamp) {}

    /// Resolves when [`Material::refresh`] has something new to say before its time. One caller at a time.
    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(pending())
    }
}

/// The keys that a source has at one moment.
#[derive(Debug, Clone)]
pub struct Published {
    /// Keys that can sign.
    pub keys: Vec<PublishedKey>,
    /// Keys that don't sign here, but whose signatures may still be asked about.
    pub public: Vec<Arc<PublicHalf>>,
    /// The roots.
    pub bundle: Arc<TrustBundle>,
    /// The file that holds them, where they are in one.
    pub bundle_file: Option<PathBuf>,
    /// Why there is no key that can sign, where the source said so.
    pub withdrawn: Option<String>,
    /// Keys that were believed until a bundle came that does not vouch for them, the newest last.
    pub dropped: Vec<KeyId>,
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

/// The public half of a key that signs no more, or not in this process.
#[derive(Debug)]
pub struct PublicHalf {
    /// What the key is for.
    pub role: KeyRole,
    /// Its certificate, which the bundle vouched for.
    pub leaf: VerifiedLeaf,
    /// The chain.
    pub chain: CertificateChain,
    /// The file that holds it, where it is in one.
    pub file: Option<PathBuf>,
}

/// Which of `keys` signs at `now`: the newest whose lead has passed. One that is younger signs at once when there is
/// no other, or when the other ends before the lead does.
pub(super) fn signing(keys: &[PublishedKey], now: Timestamp) -> Option<usize> {
    let valid = |(_, p): &(usize, &PublishedKey)| {
        // What stands above the certificate counts as well: nobody could verify what is signed after its end.
        let leaf = p.key.leaf();
        leaf.from.as_secs() <= now.as_secs() && now.as_secs() <= leaf.to.as_secs()
    };
    let valid = || keys.iter().enumerate().filter(valid);
    let ready = valid().filter(|(_, p)| p.from <= now).max_by_key(|(_, p)| p.from);
    let coming = valid().filter(|(_, p)| p.from > now).min_by_key(|(_, p)| p.from);
    match (ready, coming) {
        (Some((_, ready)), Some((index, coming))) if ready.key.leaf().to <= coming.from => Some(index),
        (Some((index, _)), _) | (None, Some((index, _))) => Some(index),
        (None, None) => None,
    }
}
