//! The only door to a private key (invariant I3). Nothing that only verifies imports this file.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{EcdsaKeyPair, KeyPair as _};

use super::algorithm::Algorithm;
use super::bundle::TrustBundle;
use super::chain::{CertificateChain, ChainError, VerifiedLeaf};
use super::public_key::PublicKey;
use super::signature::{Signature, SignatureError};
use crate::domain::clock::Timestamp;
use crate::domain::ids::{KeyId, SpiffeId};

/// Why there is nothing to sign with at the moment. Issuance stops; nothing else takes the key's place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignerError {
    /// The signing certificate has ended.
    #[error("the signing certificate of {spiffe_id} expired at {not_after}")]
    Expired {
        /// Whose.
        spiffe_id: SpiffeId,
        /// When.
        not_after: Timestamp,
    },
    /// The signing certificate begins in the future: the clock was set back.
    #[error("the signing certificate of {spiffe_id} is valid only from {not_before}: is the clock right?")]
    NotYetValid {
        /// Whose.
        spiffe_id: SpiffeId,
        /// From when.
        not_before: Timestamp,
    },
    /// The identity was taken away.
    #[error("the signing identity was withdrawn: {0}")]
    Withdrawn(String),
    /// The library failed to sign.
    #[error("the signature could not be made")]
    Crypto,
    /// The library made bytes that are no signature.
    #[error("the signature that was made is malformed")]
    Malformed(#[from] SignatureError),
}

/// Whoever holds the signing identity. Tokens, attestations and checkpoints all ask here, and each gets the
/// key that signs *now*: ask anew for every batch, keep nothing.
pub trait Signer: Send + Sync + fmt::Debug {
    /// The key to sign with now.
    ///
    /// # Errors
    /// There is none: expired, withdrawn, not yet valid.
    fn current(&self) -> Result<Arc<ActiveKey>, SignerError>;
}

/// Why a private key and a chain make no signing key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not an unencrypted PKCS#8 key of the leaf's curve.
    #[error("the private key is not an unencrypted PKCS#8 {0} key")]
    Unreadable(&'static str),
    /// The key is another than the leaf certificate's.
    #[error("the private key is not the one that the leaf certificate names")]
    Mismatch,
    /// The chain does not lead to the bundle, or its leaf is no signing SVID.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

/// A private key with the certificates that vouch for it. It can't be cloned, serialised or read back.
pub struct ActiveKey {
    pair: Arc<EcdsaKeyPair>,
    random: SystemRandom,
    algorithm: Algorithm,
    leaf: VerifiedLeaf,
    chain: CertificateChain,
    bundle: Arc<TrustBundle>,
}

impl ActiveKey {
    /// Joins a private key (PKCS#8 DER) with its chain. `at` is the moment for which the chain must be valid.
    /// Only `identity` calls this.
    ///
    /// # Errors
    /// A key that is not the leaf's, a chain that does not lead to `bundle` at `at`, a leaf that may not sign.
    pub fn new(
        pkcs8: &[u8],
        chain: CertificateChain,
        bundle: Arc<TrustBundle>,
        at: Timestamp,
    ) -> Result<Self, KeyError> {
        let leaf = chain.verify(&bundle, at)?;
        let algorithm = leaf.key.algorithm();
        let pair = match EcdsaKeyPair::from_pkcs8(algorithm.signing(), pkcs8) {
            Ok(pair) => pair,
            Err(_rejected) => return Err(KeyError::Unreadable(algorithm.curve())),
        };
        if pair.public_key().as_ref() != leaf.key.point() {
            return Err(KeyError::Mismatch);
        }
        Ok(Self::of(Arc::new(pair), leaf, chain, bundle))
    }

    /// The same key under another bundle of its trust domain, as after a rotation of the CA. `at` is the moment for
    /// which the chain must be valid.
    ///
    /// # Errors
    /// `bundle` does not vouch for the chain at `at`.
    pub fn under(&self, bundle: Arc<TrustBundle>, at: Timestamp) -> Result<Self, KeyError> {
        let leaf = self.chain.verify(&bundle, at)?;
        Ok(Self::of(Arc::clone(&self.pair), leaf, self.chain.clone(), bundle))
    }

    fn of(
        pair: Arc<EcdsaKeyPair>,
        leaf: VerifiedLeaf,
        chain: CertificateChain,
        bundle: Arc<TrustBundle>,
    ) -> Self {
        let (algorithm, random) = (leaf.key.algorithm(), SystemRandom::new());
        Self { pair, random, algorithm, leaf, chain, bundle }
    }

    /// Its certificate, as the bundle vouched for it.
    pub const fn leaf(&self) -> &VerifiedLeaf {
        &self.leaf
    }

    /// Its id, the `kid` of tokens and the `keyid` of attestations.
    pub fn id(&self) -> &KeyId {
        &self.leaf.key_id
    }

    /// Whose key it is.
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.leaf.spiffe_id
    }

    /// The one algorithm that it signs with.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.leaf.key
    }

    /// The chain that vouches for it, leaf first.
    pub fn chain(&self) -> &CertificateChain {
        &self.chain
    }

    /// The bundle that the chain was checked against.
    pub fn bundle(&self) -> &Arc<TrustBundle> {
        &self.bundle
    }

    /// From when the leaf is valid.
    pub const fn not_before(&self) -> Timestamp {
        self.leaf.not_before
    }

    /// Until when the leaf is valid, that second included.
    pub const fn not_after(&self) -> Timestamp {
        self.leaf.not_after
    }

    /// Signs `message`.
    ///
    /// # Errors
    /// The library failed.
    pub fn sign(&self, message: &[u8]) -> Result<Signature, SignerError> {
        match self.pair.sign(&self.random, message) {
            Ok(made) => Ok(Signature::from_der(self.algorithm, made.as_ref())?),
            Err(aws_lc_rs::error::Unspecified) => Err(SignerError::Crypto),
        }
    }
}

impl fmt::Debug for ActiveKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActiveKey")
            .field("id", self.id())
            .field("not_after", &self.leaf.not_after)
            .finish_non_exhaustive()
    }
}
