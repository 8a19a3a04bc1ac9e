//! An issuer's public keys: P-256, RSA of 2048 to 8192 bits, Ed25519.

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use crate::keys::{Jwk, PublicKey};

/// Keys of one issuer that are looked at.
const MAX_KEYS: usize = 128;

/// Bytes of an RSA modulus: 2048 to 8192 bits.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;

/// Signature algorithms of bearer tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// ECDSA on P-256 (RFC 7518 §3.4).
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 §3.3).
    Rs256,
    /// Ed25519 (RFC 8037 §3.1).
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Es256, Self::Rs256, Self::EdDsa];

    /// As `alg` spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }
}

/// One key: it verifies by one algorithm only, whatever a token says.
#[derive(Debug)]
pub(super) struct IssuerKey {
    pub(super) kid: String,
    pub(super) algorithm: Algorithm,
    material: Material,
}

#[derive(Debug)]
enum Material {
    Es256(PublicKey),
    Rs256 { n: Vec<u8>, e: Vec<u8> },
    EdDsa(Vec<u8>),
}

impl IssuerKey {
    /// Whether the signature is of these bytes by this key.
    pub(super) fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Es256(key) => key.verify_fixed(signed, signature).is_ok(),
            Material::Rs256 { n, e } => {
                let key = PublicKeyComponents { n, e };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature).is_ok()
            }
            Material::EdDsa(x) => UnparsedPublicKey::new(&ED25519, x).verify(signed, signature).is_ok(),
        }
    }

    /// From a JWK with an id; `None` for what is not for signatures, or not of a known kind.
    fn from_json(json: &Value) -> Option<Self> {
        let jwk = Jwk::deserialize(json).ok()?;
        let kid = jwk.kid.clone()?;
        if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return None;
        }
        let (algorithm, material) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("EC", Some("P-256")) => (Algorithm::Es256, Material::Es256(jwk.public_key().ok()?)),
            ("OKP", Some("Ed25519")) => {
                let x = decode(jwk.x.as_deref())?;
                (Algorithm::EdDsa, Material::EdDsa(Some(x).filter(|x| x.len() == 32)?))
            }
            ("RSA", _) => {
                let (n, e) = (unsigned(jwk.n.as_deref())?, unsigned(jwk.e.as_deref())?);
                let odd = e.last().is_some_and(|last| last % 2 == 1);
                if !MODULUS.contains(&n.len()) || e.len() > 4 || !odd || e == [1] {
                    return None;
                }
                (Algorithm::Rs256, Material::Rs256 { n, e })
            }
            _ => return None,
        };
        // Ed25519 by the name that RFC 9864 gives it is the same algorithm.
        let named =
            |alg: &str| alg == algorithm.as_str() || (algorithm == Algorithm::EdDsa && alg == "Ed25519");
        jwk.alg.as_deref().is_none_or(named).then_some(Self { kid, algorithm, material })
    }
}

/// The usable keys of a JWK set (RFC 7517 §5); `None` if it is none. Keys of other kinds are passed over.
pub(super) fn read_set(body: &[u8]) -> Option<Vec<IssuerKey>> {
    let set: Value = serde_json::from_slice(body).ok()?;
    let keys = set.get("keys")?.as_array()?;
    Some(keys.iter().take(MAX_KEYS).filter_map(IssuerKey::from_json).collect())
}

fn decode(text: Option<&str>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text?).ok()
}

/// A positive integer without the leading zeros that some write.
fn unsigned(text: Option<&str>) -> Option<Vec<u8>> {
    let bytes = decode(text)?;
    let start = bytes.iter().position(|byte| *byte != 0)?;
    bytes.get(start..).map(<[u8]>::to_vec)
}
