//! The strict scan for JSON that is no message: a token's header and claims, a persisted file.

use super::error::{Malformed, WireError};
use super::place::Place;
use super::scan::{self, Fault};

/// Refuses what a message would be refused for wherever it stands: not one JSON value, duplicate keys (decoded), lone
/// surrogates, invalid UTF-8, more than `depth` arrays and objects inside one another.
///
/// # Errors
/// The first such finding.
pub fn check(bytes: &[u8], depth: usize) -> Result<(), WireError> {
    normalised(&mut bytes.to_vec(), depth)
}

/// The same, with CR and LF outside strings made spaces in place.
pub(super) fn normalised(bytes: &mut [u8], depth: usize) -> Result<(), WireError> {
    let scanned = scan::scan(bytes, depth, Place::Other).map_err(|f| error(f, bytes))?;
    scanned.fault.map_or(Ok(()), |fault| Err(error(fault, bytes)))
}

/// A fault, told to the sender.
pub(super) fn error(fault: Fault, bytes: &[u8]) -> WireError {
    let Fault { reason, at } = fault;
    let what = match reason {
        Malformed::NotJson if bytes.starts_with(b"\xef\xbb\xbf") => "a byte order mark before the JSON",
        Malformed::NotJson if at >= bytes.len() => "the JSON ends too early",
        Malformed::NotJson => "not JSON",
        Malformed::TooLarge => "more than 4 GiB",
        Malformed::InvalidUtf8 => "not UTF-8",
        Malformed::ControlCharacter => "a control character inside a string",
        Malformed::LoneSurrogate => "half of a surrogate pair",
        Malformed::TooDeep => "nested too deep",
        Malformed::DuplicateKey => "the same key twice in one object",
        Malformed::KeyTwin => "a key that could be taken for another one",
        _ => reason.as_str(),
    };
    WireError::new(reason, format!("{what} (byte {at})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_checked_wherever_the_fault_stands() {
        let reason = |text: &str| check(text.as_bytes(), 8).err().map(|e| e.reason);
        for fine in
            ["{}", " [1, -0.5e+7, \"\\ud83d\\ude00\", null, true, false, []] ", "\"a\"", r#"{"a":1,"A":2}"#]
        {
            assert_eq!(reason(fine), None, "{fine}");
        }
        for (text, expected) in [
            (r#"{"a":1,"a":2}"#, Malformed::DuplicateKey),
            (r#"[{"x":{"a":1,"\u0061":2}}]"#, Malformed::DuplicateKey),
            (r#"["\ud83d"]"#, Malformed::LoneSurrogate),
            (r#"["\ud83d\ud83d\ude00"]"#, Malformed::LoneSurrogate),
            (r#"{"\ude00":1}"#, Malformed::LoneSurrogate),
            ("[[[[[[[[[]]]]]]]]]", Malformed::TooDeep),
            ("\"a\tb\"", Malformed::ControlCharacter),
            ("\u{feff}{}", Malformed::NotJson),
            ("{} {}", Malformed::NotJson),
            ("", Malformed::NotJson),
        ] {
            assert_eq!(reason(text), Some(expected), "{text}");
        }
        assert_eq!(check(b"\"\xff\"", 8).unwrap_err().reason, Malformed::InvalidUtf8);
    }
}
