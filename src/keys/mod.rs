//! Keys and certificates: what signs, what verifies, and what vouches for a public key.
//!
//! [`Signer`] is the only door to a private key (invariant I3); [`PublicKey`], [`CertificateChain`] and
//! [`TrustBundle`] are all that code which verifies ever gets, and none of them can reach a private one (I8).
//! Certificates are X.509-SVIDs (SPIFFE X509-SVID §2 to §5), checked at the moment of signing, not at the
//! moment of reading. Signatures are ECDSA: ASN.1 DER for DSSE envelopes, `r ‖ s` for JWS (RFC 7518 §3.4).
//!
//! layer: L1

mod algorithm;
mod bundle;
mod chain;
mod jwk;
mod public_key;
mod public_svid;
mod signature;
mod signer;
mod source;
mod svid;
#[cfg(test)]
pub(crate) mod testing;

pub use algorithm::Algorithm;
pub use bundle::{BundleError, RootFacts, TrustBundle};
pub use chain::{CertificateChain, ChainError, Unverified, VerifiedLeaf};
pub use jwk::{Jwk, JwkError, Jwks};
pub use public_key::{PublicKey, PublicKeyError, VerifyError};
pub use public_svid::PublicSvid;
pub use signature::{Signature, SignatureError};
pub use signer::{ActiveKey, KeyError, Signer, SignerError};
pub use source::{KnownKey, PublicKeySource};
pub use svid::SvidError;

#[cfg(test)]
mod tests;
