//! SHA-256 digests, plain for public things and salted for what must stay private (invariant I7).

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest as sha;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A SHA-256 digest. Its text form is 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha256Digest([u8; 32]);

impl Sha256Digest {
    /// Of `bytes` alone: for public things (policies, schemas, certificates, record payloads).
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_parts(&[bytes])
    }

    /// Of `salt ‖ bytes`: for arguments and params.
    pub fn salted(salt: &Salt, bytes: &[u8]) -> Self {
        Self::of_parts(&[&salt.0, bytes])
    }

    /// Of the parts one after the other, without separators.
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let mut context = sha::Context::new(&sha::SHA256);
        for part in parts {
            context.update(part);
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.finish().as_ref());
        Self(out)
    }

    /// From raw bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Base64url without padding, as in `x5t#S256` (RFC 7515 §4.1.8).
    pub fn to_base64url(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0_u8; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            if let ([high, low], Some(h), Some(l)) =
                (pair, HEX.get(usize::from(byte >> 4)), HEX.get(usize::from(byte & 15)))
            {
                (*high, *low) = (*h, *l);
            }
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self}")
    }
}

/// The text is not 64 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 digest: expected 64 lower-case hex digits")]
pub struct DigestError;

impl FromStr for Sha256Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        if text.len() != 64 {
            return Err(DigestError);
        }
        let mut out = [0_u8; 32];
        for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            for digit in pair {
                let value = match digit {
                    b'0'..=b'9' => digit - b'0',
                    b'a'..=b'f' => digit - b'a' + 10,
                    _ => return Err(DigestError),
                };
                *byte = (*byte << 4) | value;
            }
        }
        Ok(Self(out))
    }
}

impl serde::Serialize for Sha256Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Sha256Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Sixteen random bytes that make a digest of guessable content unguessable; one per record, then thrown away.
#[derive(Clone)]
pub struct Salt([u8; 16]);

impl Salt {
    /// Wraps bytes that [`crate::domain::random`] made.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_match_fips_180_and_round_trip() {
        let digest = Sha256Digest::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse::<Sha256Digest>().unwrap(), digest);
        assert!(text.to_uppercase().parse::<Sha256Digest>().is_err());
    }

    #[test]
    fn a_salt_changes_the_digest_and_is_never_printed() {
        let salt = Salt::from_bytes([7; 16]);
        assert_ne!(Sha256Digest::salted(&salt, b"abc"), Sha256Digest::of(b"abc"));
        assert_eq!(format!("{salt:?}"), "Salt(..)");
    }
}
