//! Public keys: all that code which verifies ever holds (invariant I8).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::ParsedPublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::algorithm::Algorithm;
use super::signature::{Signature, SignatureError};

/// Why bytes are not a public key that can be used here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// Neither P-256 nor P-384.
    #[error("the key is neither P-256 nor P-384 ECDSA: {0}")]
    Unsupported(String),
    /// Not an uncompressed point on the curve.
    #[error("the key is not an uncompressed {0} point on its curve")]
    Point(&'static str),
}

/// Why a signature does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// It can't be read.
    #[error(transparent)]
    Malformed(#[from] SignatureError),
    /// It is of other bytes or another key.
    #[error("the signature does not verify")]
    Mismatch,
}

/// A P-256 or P-384 public key, parsed once. Cloning shares it.
#[derive(Clone)]
pub struct PublicKey(Arc<Inner>);

struct Inner {
    algorithm: Algorithm,
    point: Box<[u8]>,
    parsed: ParsedPublicKey,
}

impl PublicKey {
    /// From an uncompressed point, `04 ‖ x ‖ y` (SEC 1 §2.3.3).
    ///
    /// # Errors
    /// Another form or length, or a point that is not on the curve.
    pub fn from_point(algorithm: Algorithm, point: &[u8]) -> Result<Self, PublicKeyError> {
        let expected = algorithm.field_bytes() * 2 + 1;
        if point.len() != expected || point.first() != Some(&4) {
            return Err(PublicKeyError::Point(algorithm.curve()));
        }
        match ParsedPublicKey::new(algorithm.verification(), point) {
            Ok(parsed) => Ok(Self(Arc::new(Inner { algorithm, point: point.into(), parsed }))),
            Err(_rejected) => Err(PublicKeyError::Point(algorithm.curve())),
        }
    }

    /// From a certificate's `SubjectPublicKeyInfo` (RFC 5480 §2).
    pub(super) fn from_spki(info: &SubjectPublicKeyInfo<'_>) -> Result<Self, PublicKeyError> {
        let oid = info.algorithm.algorithm.to_id_string();
        if oid != "1.2.840.10045.2.1" {
            // RFC 8017 §A.1, RFC 8410 §3: what else an SVID may hold, by the name that people know.
            let named = match oid.as_str() {
                "1.2.840.113549.1.1.1" => "an RSA key".to_owned(),
                "1.3.101.112" => "an Ed25519 key".to_owned(),
                _ => format!("algorithm {oid}"),
            };
            return Err(PublicKeyError::Unsupported(named));
        }
        let curve = info.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok());
        let curve = curve.map(|oid| oid.to_id_string()).unwrap_or_default();
        let Some(algorithm) = Algorithm::of_curve_oid(&curve) else {
            return Err(PublicKeyError::Unsupported(format!("curve {curve}")));
        };
        Self::from_point(algorithm, &info.subject_public_key.data)
    }

    /// The one algorithm that this key verifies.
    pub fn algorithm(&self) -> Algorithm {
        self.0.algorithm
    }

    /// The uncompressed point, `04 ‖ x ‖ y`.
    pub fn point(&self) -> &[u8] {
        &self.0.point
    }

    /// The coordinates, each of the field's full width.
    pub fn coordinates(&self) -> (&[u8], &[u8]) {
        self.0.point.get(1..).unwrap_or_default().split_at(self.0.algorithm.field_bytes())
    }

    /// Checks a signature in canonical ASN.1 DER (DSSE) of `message`.
    ///
    /// # Errors
    /// Bytes that are not such a signature, or one that does not hold.
    pub fn verify_der(&self, message: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
        self.verify(message, &Signature::from_der(self.algorithm(), signature)?)
    }

    /// Checks a signature `r ‖ s` (JWS) of `message`.
    ///
    /// # Errors
    /// Bytes that are not such a signature, or one that does not hold.
    pub fn verify_fixed(&self, message: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
        self.verify(message, &Signature::from_fixed(self.algorithm(), signature)?)
    }

    fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), VerifyError> {
        match self.0.parsed.verify_sig(message, signature.der()) {
            Ok(()) => Ok(()),
            Err(aws_lc_rs::error::Unspecified) => Err(VerifyError::Mismatch),
        }
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.algorithm == other.0.algorithm && self.0.point == other.0.point
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.algorithm())
    }
}
