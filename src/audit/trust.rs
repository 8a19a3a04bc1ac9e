//! Archived chains, believed only as far as the caller's bundle and identity carry them.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::lines::read_file;
use crate::attest::Layout;
use crate::domain::clock::Timestamp;
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::{KeyId, SpiffeId};
use crate::keys::{CertificateChain, TrustBundle, VerifiedLeaf};

/// Largest archived chain, in bytes.
const MAX_CHAIN: u64 = 256 * 1024;

/// The keys that signed, by key id.
pub(super) struct Trust<'a> {
    layout: &'a Layout,
    bundle: &'a TrustBundle,
    identity: &'a SpiffeId,
    known: HashMap<String, Known>,
}

struct Known {
    chain: CertificateChain,
    leaf: VerifiedLeaf,
    /// The chain was verified at both ends, so in between: validity periods have no holes.
    from: Timestamp,
    to: Timestamp,
}

impl<'a> Trust<'a> {
    pub(super) fn new(layout: &'a Layout, bundle: &'a TrustBundle, identity: &'a SpiffeId) -> Self {
        Self { layout, bundle, identity, known: HashMap::new() }
    }

    /// How many keys have been believed.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// The key named `kid`, if it was the gateway's own at `at`.
    ///
    /// # Errors
    /// In words: why not.
    pub(super) fn key(&mut self, kid: &str, at: Timestamp) -> Result<&VerifiedLeaf, String> {
        if !self.known.contains_key(kid) {
            let known = self.load(kid, at)?;
            self.known.insert(kid.to_owned(), known);
        }
        let known = self.known.get_mut(kid).ok_or("the key is not known")?;
        if at < known.from || at > known.to {
            known.chain.verify(self.bundle, at).map_err(|error| error.to_string())?;
            known.from = known.from.min(at);
            known.to = known.to.max(at);
        }
        Ok(&known.leaf)
    }

    fn load(&self, kid: &str, at: Timestamp) -> Result<Known, String> {
        let id: KeyId = kid.parse().map_err(|error: crate::domain::ids::IdError| error.to_string())?;
        if id.spiffe_id() != self.identity.as_str() {
            return Err(format!("signed by {}, not by {}", id.spiffe_id(), self.identity));
        }
        let thumbprint = URL_SAFE_NO_PAD.decode(id.thumbprint()).ok().and_then(|raw| raw.try_into().ok());
        let thumbprint = Sha256Digest::from_bytes(thumbprint.ok_or("the key id's thumbprint is not one")?);
        let path = self.layout.chain(&thumbprint);
        let missing = |error| format!("its chain is not archived ({}: {error})", path.display());
        let text = read_file(&path, MAX_CHAIN).map_err(missing)?;
        let chain =
            CertificateChain::from_pem(&String::from_utf8_lossy(&text)).map_err(|error| error.to_string())?;
        let leaf = chain.verify(self.bundle, at).map_err(|error| error.to_string())?;
        if leaf.key_id != id {
            return Err(format!("the archived chain is of {}", leaf.key_id));
        }
        let end = |moment| if chain.verify(self.bundle, moment).is_ok() { moment } else { at };
        let (from, to) = (end(leaf.not_before), end(leaf.not_after));
        Ok(Known { chain, leaf, from, to })
    }
}
