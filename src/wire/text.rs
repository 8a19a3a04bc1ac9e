//! JSON strings, decoded.

use std::borrow::Cow;

use serde::Deserialize;

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Decodes a JSON string with its quotes; `None` if `raw` is none. Borrowed where nothing is escaped.
pub fn decode(raw: &[u8]) -> Option<Cow<'_, str>> {
    serde_json::from_slice::<Text<'_>>(raw).ok().map(|text| text.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_decoded_and_what_is_no_string_is_none() {
        assert!(matches!(decode(b"\"plain \xc3\xbc\""), Some(Cow::Borrowed("plain ü"))));
        assert_eq!(decode(br#""a\u0000\ud83d\ude00\/""#).as_deref(), Some("a\0😀/"));
        for bad in [&b"\"\\ud83d\""[..], b"\"a", b"a", b"1", b"\"\n\"", b"\"a\" 1", b"\"\xff\""] {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
    }
}
