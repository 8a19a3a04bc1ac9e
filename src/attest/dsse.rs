//! DSSE envelopes (<https://github.com/secure-systems-lab/dsse>, protocol v1.0.0): how a record is signed and
//! how a line of the log is read back, strictly.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// The payload type of an in-toto Statement.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// The pre-authentication encoding, which is what is signed:
/// `"DSSEv1" SP LEN(type) SP type SP LEN(body) SP body`, lengths in ASCII decimal, of bytes.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

/// Appends one envelope and its newline to `out`. `keyid` is a `KeyId`'s text: its characters need no escaping.
pub(super) fn write(out: &mut Vec<u8>, payload: &[u8], keyid: &str, signature_der: &[u8]) {
    out.reserve(payload.len() * 4 / 3 + signature_der.len() * 4 / 3 + keyid.len() + 128);
    out.extend_from_slice(br#"{"payload":""#);
    out.extend_from_slice(STANDARD.encode(payload).as_bytes());
    out.extend_from_slice(br#"","payloadType":""#);
    out.extend_from_slice(PAYLOAD_TYPE.as_bytes());
    out.extend_from_slice(br#"","signatures":[{"keyid":""#);
    out.extend_from_slice(keyid.as_bytes());
    out.extend_from_slice(br#"","sig":""#);
    out.extend_from_slice(STANDARD.encode(signature_der).as_bytes());
    out.extend_from_slice(b"\"}]}\n");
}

/// One signed record as read from the log; nothing of it is verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The statement's bytes.
    pub payload: Vec<u8>,
    /// Who claims to have signed.
    pub keyid: String,
    /// The signature, ASN.1 DER.
    pub signature: Vec<u8>,
}

impl Envelope {
    /// The bytes that the signature covers.
    pub fn pae(&self) -> Vec<u8> {
        pae(PAYLOAD_TYPE, &self.payload)
    }
}

/// Why a line is not an envelope of this log.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Not the JSON of an envelope: broken, a field missing, unknown or given twice.
    #[error("not a DSSE envelope: {0}")]
    Json(#[from] serde_json::Error),
    /// Another payload type.
    #[error("the payload type is `{0}`, not `{PAYLOAD_TYPE}`")]
    PayloadType(String),
    /// Not exactly one signature.
    #[error("{0} signatures where there must be one")]
    Signatures(usize),
    /// Not canonical base64.
    #[error("the {field} is not base64: {source}")]
    Base64 {
        /// `payload` or `signature`.
        field: &'static str,
        /// What is wrong.
        source: base64::DecodeError,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEnvelope<'a> {
    #[serde(borrow)]
    payload: std::borrow::Cow<'a, str>,
    #[serde(rename = "payloadType", borrow)]
    payload_type: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    signatures: Vec<RawSignature<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSignature<'a> {
    #[serde(borrow)]
    keyid: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    sig: std::borrow::Cow<'a, str>,
}

/// Reads one line, without its newline.
///
/// # Errors
/// Anything that the gateway would not have written: see [`EnvelopeError`].
pub fn read(line: &[u8]) -> Result<Envelope, EnvelopeError> {
    let raw: RawEnvelope<'_> = serde_json::from_slice(line)?;
    if raw.payload_type != PAYLOAD_TYPE {
        return Err(EnvelopeError::PayloadType(raw.payload_type.chars().take(128).collect()));
    }
    let count = raw.signatures.len();
    let mut signatures = raw.signatures.into_iter();
    let (Some(only), None) = (signatures.next(), signatures.next()) else {
        return Err(EnvelopeError::Signatures(count));
    };
    let decode =
        |field, text: &str| STANDARD.decode(text).map_err(|source| EnvelopeError::Base64 { field, source });
    Ok(Envelope {
        payload: decode("payload", &raw.payload)?,
        signature: decode("signature", &only.sig)?,
        keyid: only.keyid.into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_the_specifications() {
        // protocol.md, "Test Vectors"
        let expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world";
        assert_eq!(pae("http://example.com/HelloWorld", b"hello world"), expected);
        assert_eq!(pae("", b""), b"DSSEv1 0  0 ");
        let umlaut = "ü".as_bytes();
        assert_eq!(pae("x", umlaut), [b"DSSEv1 1 x 2 ", umlaut].concat());
    }

    #[test]
    fn what_is_written_is_read_back_and_nothing_else_is() {
        let mut line = Vec::new();
        write(&mut line, b"{\"a\":1}", "spiffe://a/b#c", &[1, 2, 3]);
        let text = String::from_utf8(line).unwrap();
        let line = text.strip_suffix('\n').unwrap();
        let envelope = read(line.as_bytes()).unwrap();
        assert_eq!((&*envelope.payload, &*envelope.signature), (&b"{\"a\":1}"[..], &[1, 2, 3][..]));
        assert_eq!(envelope.keyid, "spiffe://a/b#c");
        for (from, to) in [
            ("in-toto", "in-tot0"),
            ("\"payload\":", "\"payload\":\"\",\"payload\":"),
            ("\"keyid\"", "\"other\":1,\"keyid\""),
            ("[{", "[{\"keyid\":\"x\",\"sig\":\"\"},{"),
            ("}]}", "}]} x"),
            ("}]}", "}],\"more\":1}"),
            ("eyJhIjoxfQ==", "eyJhIjoxfR=="),
            ("eyJhIjoxfQ==", "eyJhIjoxfQ"),
        ] {
            let other = line.replacen(from, to, 1);
            assert_ne!(other, line, "{from}");
            assert!(read(other.as_bytes()).is_err(), "{other}");
        }
    }
}
