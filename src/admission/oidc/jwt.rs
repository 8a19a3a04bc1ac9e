//! A bearer token, read strictly. Nothing of it is verified here, and no key is ever taken from it: `jwk`, `jku`,
//! `x5u` and `x5c` are not looked at.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::error::BearerError;
use super::json;
use super::jwk::Algorithm;
use crate::domain::clock::Timestamp;
use crate::domain::digest::Sha256Digest;

/// Longest token in bytes.
const MAX_BYTES: usize = 16 * 1024;

/// Longest `kid`, `sub` or client in bytes.
pub(super) const MAX_NAME: usize = 512;

/// The last second of the year 9999; no NumericDate lies beyond.
const LAST_SECOND: i64 = 253_402_300_799;

/// What `typ` may be, besides absent (RFC 9068 §2.1, RFC 7519 §5.1). Session tokens have another, and so do proofs
/// and logout tokens.
const TYPES: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];

/// A token taken apart.
#[derive(Debug)]
pub(super) struct Jwt<'a> {
    algorithm: Algorithm,
    kid: String,
    claims: Map<String, Value>,
    issuer: String,
    expires: i64,
    signed: &'a [u8],
    signature: Vec<u8>,
    sha256: Sha256Digest,
}

impl<'a> Jwt<'a> {
    /// Takes a token apart.
    pub(super) fn read(token: &'a [u8]) -> Result<Self, BearerError> {
        if token.len() > MAX_BYTES {
            return Err(BearerError::Malformed);
        }
        let mut parts = token.split(|byte| *byte == b'.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BearerError::Malformed);
        };
        let signed = token.get(..header.len() + 1 + payload.len()).ok_or(BearerError::Malformed)?;
        let [header, payload, signature] = [decode(header)?, decode(payload)?, decode(signature)?];
        let header = json::object(&header).ok_or(BearerError::Header)?;
        let (algorithm, kid) = read_header(&header)?;
        let claims = json::object(&payload).ok_or(BearerError::Claims)?;
        let issuer = claims.get("iss").and_then(Value::as_str).ok_or(BearerError::Claims)?.to_owned();
        let expires = time(&claims, "exp")?.ok_or(BearerError::Claims)?;
        let sha256 = Sha256Digest::of(token);
        Ok(Self { algorithm, kid, claims, issuer, expires, signed, signature, sha256 })
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(super) fn claim(&self, name: &str) -> Option<&Value> {
        self.claims.get(name)
    }

    /// A claim that is a name: a text that is neither empty nor long, without control characters.
    pub(super) fn name(&self, claim: &str) -> Result<Option<&str>, BearerError> {
        match self.claims.get(claim) {
            None => Ok(None),
            Some(Value::String(text)) if is_name(text) => Ok(Some(text)),
            Some(_) => Err(BearerError::Claims),
        }
    }

    /// A time that a claim gives, in seconds since the epoch.
    pub(super) fn time(&self, claim: &str) -> Result<Option<i64>, BearerError> {
        time(&self.claims, claim)
    }

    pub(super) fn expires(&self) -> Timestamp {
        Timestamp::from_secs(self.expires)
    }

    pub(super) fn signed(&self) -> &[u8] {
        self.signed
    }

    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }

    pub(super) fn sha256(&self) -> Sha256Digest {
        self.sha256
    }
}

/// Whether a text can name someone.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME && !text.chars().any(char::is_control)
}

fn read_header(header: &Map<String, Value>) -> Result<(Algorithm, String), BearerError> {
    if header.contains_key("crit") {
        return Err(BearerError::Critical);
    }
    match header.get("typ") {
        None => {}
        Some(Value::String(typ)) if TYPES.iter().any(|known| typ.eq_ignore_ascii_case(known)) => {}
        Some(_) => return Err(BearerError::Type),
    }
    let algorithm = header.get("alg").and_then(Value::as_str).and_then(Algorithm::named);
    let algorithm = algorithm.ok_or(BearerError::Algorithm)?;
    let kid = header.get("kid").and_then(Value::as_str).filter(|kid| is_name(kid));
    Ok((algorithm, kid.ok_or(BearerError::KeyId)?.to_owned()))
}

fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, BearerError> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_i64() {
            Some(at) if (0..=LAST_SECOND).contains(&at) => Ok(Some(at)),
            _ => Err(BearerError::Claims),
        },
    }
}

/// Base64url without padding, white space or stray bits in the last character (RFC 7515 §2).
fn decode(part: &[u8]) -> Result<Vec<u8>, BearerError> {
    match URL_SAFE_NO_PAD.decode(part) {
        Ok(bytes) => Ok(bytes),
        Err(_malformed) => Err(BearerError::Malformed),
    }
}
