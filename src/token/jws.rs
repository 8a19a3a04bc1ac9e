//! JWS in its compact form (RFC 7515 §7.1): three parts of strict base64url, and a header of exactly three members.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::error::TokenError;
use crate::keys::ActiveKey;

/// The one `typ` of session tokens (RFC 8725 §3.11).
pub const TYP: &str = "mcp-session+jwt";

/// Longest token in bytes; all response headers together stay under 8 KiB.
pub const MAX_TOKEN_BYTES: usize = 6 * 1024;

/// Longest `kid` in bytes.
const MAX_KID_BYTES: usize = 512;

/// The header. Anything else in it (`crit`, `jwk`, `jku`, `x5u`, `x5c`, `zip`, `b64` …) is refused by the reader.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<'a> {
    #[serde(borrow)]
    alg: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    typ: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    kid: std::borrow::Cow<'a, str>,
}

/// A compact JWS taken apart; nothing of it is verified.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) alg: String,
    pub(super) kid: String,
    /// What the signature covers: header and payload as they stood, with the dot between.
    pub(super) signed: &'a str,
    pub(super) payload: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

/// Takes a token apart.
pub(super) fn split(token: &str) -> Result<Parts<'_>, TokenError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::Malformed);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
    let [header, payload, signature] = [decode(header)?, decode(payload)?, decode(signature)?];
    let header: Header<'_> = object(&header).ok_or(TokenError::Header)?;
    if header.typ != TYP {
        return Err(TokenError::Type);
    }
    if header.kid.len() > MAX_KID_BYTES {
        return Err(TokenError::KeyId);
    }
    Ok(Parts { alg: header.alg.into_owned(), kid: header.kid.into_owned(), signed, payload, signature })
}

/// Signs `payload` with `key`, as a token of type `typ`.
pub(super) fn sign(key: &ActiveKey, typ: &str, payload: &[u8]) -> Result<String, TokenError> {
    let header =
        Header { alg: key.algorithm().as_str().into(), typ: typ.into(), kid: key.id().as_str().into() };
    let header = serde_json::to_vec(&header).map_err(|e| TokenError::Unwritable(e.to_string()))?;
    let mut token = URL_SAFE_NO_PAD.encode(header);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(payload, &mut token);
    let signature = key.sign(token.as_bytes())?.to_fixed();
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    if token.len() > MAX_TOKEN_BYTES { Err(TokenError::TooLong) } else { Ok(token) }
}

/// A JSON object read into `T`. serde's derived readers would take an array for a struct; this does not.
pub(super) fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    if json.first() != Some(&b'{') {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// Base64url without padding, white space or stray bits in the last character (RFC 7515 §2).
fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    match URL_SAFE_NO_PAD.decode(part) {
        Ok(bytes) => Ok(bytes),
        Err(_malformed) => Err(TokenError::Malformed),
    }
}
