//! Files of the identity directory: PEM blocks, a private key or none and certificates.

use std::path::PathBuf;

use zeroize::Zeroizing;

use super::error::IdentityError;
use super::store::Store;
use crate::domain::clock::Timestamp;
use crate::keys::{CertificateChain, TrustBundle, VerifiedLeaf};

/// One file's blocks. The key is wiped when this goes.
pub(super) struct PemFile {
    path: PathBuf,
    key: Option<Zeroizing<Vec<u8>>>,
    certificates: Vec<Vec<u8>>,
}

impl PemFile {
    /// Reads it; `None` where it does not exist.
    pub(super) fn read(store: &Store, name: &str) -> Result<Option<Self>, IdentityError> {
        let Some(text) = store.read(name)? else { return Ok(None) };
        let mut file = Self { path: store.path(name), key: None, certificates: Vec::new() };
        let blocks = pem::parse_many(&*text).map_err(|e| file.damaged(e))?;
        for block in blocks {
            match (block.tag(), &file.key) {
                ("CERTIFICATE", _) => file.certificates.push(block.into_contents()),
                ("PRIVATE KEY", None) => file.key = Some(Zeroizing::new(block.into_contents())),
                _ => return Err(file.damaged("it holds a block that does not belong there")),
            }
        }
        if file.certificates.is_empty() {
            return Err(file.damaged("it holds no certificate"));
        }
        Ok(Some(file))
    }

    /// The private key, PKCS#8.
    pub(super) fn key(&self) -> Result<&[u8], IdentityError> {
        self.key.as_ref().map(|key| key.as_slice()).ok_or_else(|| self.damaged("it holds no private key"))
    }

    /// The certificates' DER.
    pub(super) fn certificates(&self) -> &[Vec<u8>] {
        &self.certificates
    }

    /// The chain, checked against `bundle` at the moment nearest to `now` at which the leaf is valid: whether it is
    /// valid now is asked where it signs.
    pub(super) fn chain(
        &self,
        bundle: &TrustBundle,
        now: Timestamp,
    ) -> Result<(CertificateChain, VerifiedLeaf), IdentityError> {
        let chain = self.unverified()?;
        let (first, last) = chain.validity().map_err(|e| self.damaged(e))?;
        let leaf = chain.verify(bundle, now.max(first).min(last)).map_err(|e| self.damaged(e))?;
        Ok((chain, leaf))
    }

    /// When the leaf ends, by its own word.
    pub(super) fn ends(&self) -> Result<Timestamp, IdentityError> {
        Ok(self.unverified()?.validity().map_err(|e| self.damaged(e))?.1)
    }

    fn unverified(&self) -> Result<CertificateChain, IdentityError> {
        CertificateChain::from_ders(self.certificates.clone()).map_err(|e| self.damaged(e))
    }

    /// That this file is not what chancery wrote.
    pub(super) fn damaged(&self, why: impl std::fmt::Display) -> IdentityError {
        IdentityError::Damaged { path: self.path.clone(), why: why.to_string() }
    }
}
