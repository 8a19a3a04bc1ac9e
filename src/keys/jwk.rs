//! JSON Web Keys (RFC 7517), as `/.well-known/jwks.json` and SPIFFE bundles carry them.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::algorithm::Algorithm;
use super::chain::CertificateChain;
use super::public_key::{PublicKey, PublicKeyError};
use crate::domain::ids::KeyId;

/// Why a JWK gives no public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwkError {
    /// `kty` and `crv` are not those of P-256 or P-384, or `alg` is another than the curve's.
    #[error("the JWK is neither an ES256 nor an ES384 key")]
    Unsupported,
    /// A coordinate is missing or is not base64url of the field's full width (RFC 7518 §6.2.1.2).
    #[error("the JWK's coordinate `{0}` is missing or malformed")]
    Coordinate(&'static str),
    /// The point is not on the curve.
    #[error(transparent)]
    Key(#[from] PublicKeyError),
}

/// A public key as JSON. Members that chancery neither writes nor needs are ignored when read (RFC 7517 §4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// `EC`; in a SPIFFE bundle also `RSA`.
    pub kty: String,
    /// What the key is for: `sig`, or in a SPIFFE bundle `x509-svid`.
    #[serde(rename = "use", default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
    /// The key's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// The one algorithm that it may be used with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    /// The curve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crv: Option<String>,
    /// The point's x, base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    /// The point's y, base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
    /// An RSA key's modulus, base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<String>,
    /// An RSA key's exponent, base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e: Option<String>,
    /// The certificate chain, each as standard base64 of its DER, leaf first (RFC 7517 §4.7).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub x5c: Vec<String>,
    /// SHA-256 of the leaf's DER, base64url (RFC 7517 §4.9).
    #[serde(rename = "x5t#S256", default, skip_serializing_if = "Option::is_none")]
    pub x5t_s256: Option<String>,
}

impl Jwk {
    /// A signing key with the chain that vouches for it.
    pub fn of_leaf(id: &KeyId, key: &PublicKey, chain: &CertificateChain) -> Self {
        let mut jwk = Self::of_key(key);
        jwk.usage = Some("sig".to_owned());
        jwk.kid = Some(id.as_str().to_owned());
        jwk.alg = Some(key.algorithm().as_str().to_owned());
        jwk.x5c = chain.ders().map(|der| STANDARD.encode(der)).collect();
        jwk.x5t_s256 = Some(chain.leaf_thumbprint().to_base64url());
        jwk
    }

    /// The key's numbers alone.
    pub(super) fn of_key(key: &PublicKey) -> Self {
        let (x, y) = key.coordinates();
        Self {
            kty: "EC".to_owned(),
            crv: Some(key.algorithm().curve().to_owned()),
            x: Some(URL_SAFE_NO_PAD.encode(x)),
            y: Some(URL_SAFE_NO_PAD.encode(y)),
            ..Self::empty("EC")
        }
    }

    /// A key of type `kty` with every other member absent.
    pub(super) fn empty(kty: &str) -> Self {
        Self {
            kty: kty.to_owned(),
            usage: None,
            kid: None,
            alg: None,
            crv: None,
            x: None,
            y: None,
            n: None,
            e: None,
            x5c: Vec::new(),
            x5t_s256: None,
        }
    }

    /// The public key that the JWK's numbers give. Nothing vouches for it: that is the chain's part.
    ///
    /// # Errors
    /// Another key type, a coordinate that is not exactly the field's width, a point off the curve.
    pub fn public_key(&self) -> Result<PublicKey, JwkError> {
        let algorithm = [Algorithm::Es256, Algorithm::Es384].into_iter().find(|algorithm| {
            self.kty == "EC"
                && self.crv.as_deref() == Some(algorithm.curve())
                && self.alg.as_deref().is_none_or(|alg| alg == algorithm.as_str())
        });
        let algorithm = algorithm.ok_or(JwkError::Unsupported)?;
        let mut point = vec![4];
        for (name, text) in [("x", &self.x), ("y", &self.y)] {
            let bytes = text.as_ref().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
            let bytes = bytes.filter(|bytes| bytes.len() == algorithm.field_bytes());
            point.extend(bytes.ok_or(JwkError::Coordinate(name))?);
        }
        Ok(PublicKey::from_point(algorithm, &point)?)
    }
}

/// A set of keys (RFC 7517 §5).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwks {
    /// The keys.
    pub keys: Vec<Jwk>,
}

impl Jwks {
    /// The key of that id.
    pub fn find(&self, kid: &str) -> Option<&Jwk> {
        self.keys.iter().find(|key| key.kid.as_deref() == Some(kid))
    }
}
