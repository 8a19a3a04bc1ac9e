//! What must show up nowhere: secrets that tests hand out or see are noted here, and whatever a program leaves behind is
//! searched for all of them, in every spelling in which they could stand there.
//!
//! All tests of a process share what is noted: one test's secret in another's traces would be worth knowing, too.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{LazyLock, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Shorter texts are found by chance.
const SHORTEST: usize = 16;
/// Needles are looked up by so many of their first bytes.
const PREFIX: usize = 8;

/// What is noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A token, secret or key: nobody but its holder and its verifier sees it.
    Credential,
    /// A value of an argument: a tool server sees it, the gateway's own traces don't.
    Argument,
}

/// Who may have left something behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Logs, spans, records, errors.
    Trace,
    /// What a tool server was sent.
    Upstream,
}

/// One spelling of something noted.
struct Needle {
    bytes: Vec<u8>,
    kind: Kind,
    spelling: &'static str,
}

#[derive(Default)]
struct Noted {
    seen: HashSet<(Kind, Vec<u8>)>,
    needles: HashMap<[u8; PREFIX], Vec<Needle>>,
}

static NOTED: LazyLock<RwLock<Noted>> = LazyLock::new(RwLock::default);

/// Notes a credential, such as the rest of `Authorization: Bearer …`; of a JWT its claims and its signature count.
pub(crate) fn credential(secret: &str) {
    let parts: Vec<&str> = secret.split('.').collect();
    match parts[..] {
        [header, claims, signature] if header.starts_with("eyJ") => {
            [claims, signature].into_iter().for_each(|part| note(Kind::Credential, part.as_bytes()));
        }
        _ => note(Kind::Credential, secret.as_bytes()),
    }
}

/// Notes the credentials of an `Authorization` header.
pub(crate) fn authorization(value: &str) {
    credential(value.split_once(' ').map_or(value, |(_, rest)| rest));
}

/// Notes the texts among the arguments of a `tools/call`, if `body` is one, but for bare words.
pub(crate) fn arguments(body: &[u8]) {
    let Ok(message) = serde_json::from_slice::<serde_json::Value>(body) else { return };
    if message["method"] == "tools/call" {
        texts(&message["params"]["arguments"]);
    }
}

fn texts(value: &serde_json::Value) {
    match value {
        // A bare word is a name that stands elsewhere with good reason: `delete_everything`.
        serde_json::Value::String(text)
            if text.contains([' ', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) =>
        {
            note(Kind::Argument, text.as_bytes());
        }
        serde_json::Value::Array(values) => values.iter().for_each(texts),
        serde_json::Value::Object(members) => members.values().for_each(texts),
        _ => {}
    }
}

fn note(kind: Kind, secret: &[u8]) {
    // Of a long one the beginning is enough.
    let secret = secret.get(..4096).unwrap_or(secret);
    if secret.len() < SHORTEST || NOTED.read().unwrap().seen.contains(&(kind, secret.to_vec())) {
        return;
    }
    let mut noted = NOTED.write().unwrap();
    noted.seen.insert((kind, secret.to_vec()));
    for (spelling, bytes) in spellings(secret) {
        let prefix = bytes[..PREFIX].try_into().unwrap();
        noted.needles.entry(prefix).or_default().push(Needle { bytes, kind, spelling });
    }
}

/// How a secret could stand somewhere: as it is, cut short, or encoded; and the same of the bytes that it encodes.
fn spellings(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let percent = |all: bool| {
        let one = |byte: &u8| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' if !all => {
                char::from(*byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        };
        secret.iter().map(one).collect::<String>().into_bytes()
    };
    let mut all = vec![
        ("as it is", secret.to_vec()),
        ("its beginning", secret[..SHORTEST.max(secret.len() / 2)].to_vec()),
        ("its end", secret[secret.len() - SHORTEST.max(secret.len() / 2)..].to_vec()),
        ("percent-encoded", percent(false)),
        ("percent-encoded throughout", percent(true)),
        ("reversed", secret.iter().rev().copied().collect()),
    ];
    let mut bytes = vec![secret.to_vec()];
    if let Ok(decoded) = URL_SAFE_NO_PAD.decode(secret)
        && decoded.len() >= SHORTEST
    {
        all.push(("its bytes", decoded.clone()));
        bytes.push(decoded);
    }
    for bytes in bytes {
        all.push(("hex", hex(&bytes).into_bytes()));
        all.push(("upper-case hex", hex(&bytes).to_ascii_uppercase().into_bytes()));
        for before in 0..3 {
            // Inside of something longer it is encoded from any of three positions on.
            let padded = [&[0; 3][..before], &bytes].concat();
            let (first, last) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
            for (spelling, encoded) in
                [("base64", STANDARD_NO_PAD.encode(&padded)), ("base64url", URL_SAFE_NO_PAD.encode(&padded))]
            {
                all.push((spelling, encoded.as_bytes()[first..last].to_vec()));
            }
        }
    }
    // A text of the base64url alphabet decodes to what it may stand for only by chance; it is itself all the same.
    let mut seen = HashSet::new();
    all.retain(|(_, bytes)| bytes.len() >= PREFIX && is_telling(bytes) && seen.insert(bytes.clone()));
    all
}

/// Whether it would not stand somewhere by chance, as zeroes do.
fn is_telling(bytes: &[u8]) -> bool {
    bytes.iter().collect::<HashSet<_>>().len() >= 6
}

/// What of the noted stands in `bytes`; in traces also anything that looks like a JWT. The answer holds none of it.
pub(crate) fn find(bytes: &[u8], place: Place) -> Option<String> {
    let around = |at: usize| {
        let before = String::from_utf8_lossy(&bytes[at.saturating_sub(80)..at]).into_owned();
        format!("at byte {at}, after {before:?}")
    };
    if let (Place::Trace, Some(at)) = (place, jwt(bytes)) {
        return Some(format!("a JWT {}", around(at)));
    }
    let noted = NOTED.read().unwrap();
    for (at, window) in bytes.windows(PREFIX).enumerate() {
        for needle in noted.needles.get(window).into_iter().flatten() {
            let wanted = needle.kind == Kind::Credential || place == Place::Trace;
            if wanted && bytes[at..].starts_with(&needle.bytes) {
                return Some(format!("{:?}, {}, {}", needle.kind, needle.spelling, around(at)));
            }
        }
    }
    None
}

/// Where a text begins that has the form of a signed token.
fn jwt(bytes: &[u8]) -> Option<usize> {
    let part = |from: usize| {
        let in_it = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        bytes.get(from..).unwrap_or_default().iter().take_while(|byte| in_it(byte)).count()
    };
    let starts = bytes.windows(3).enumerate().filter(|(_, window)| window == b"eyJ").map(|(at, _)| at);
    let mut long = starts.filter(|at| {
        let dot = at + part(*at);
        part(*at) >= 20 && bytes.get(dot) == Some(&b'.') && part(dot + 1) >= 20
    });
    long.next()
}

/// Searches every file below `dir` but those that a test wrote for the program to read: configuration, scripts, and
/// the files that hold a secret and nothing else.
///
/// # Errors
/// Where something noted stands, and how.
pub(crate) fn search_files(dir: &Path) -> Result<(), String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(()) };
    for entry in entries.flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            search_files(&path)?;
        } else if kind.is_file() && !is_input(&path) {
            // What another process has removed meanwhile leaves nothing behind.
            let Ok(bytes) = std::fs::read(&path) else { continue };
            if !is_a_secrets_own(&bytes)
                && let Some(found) = find(&bytes, Place::Trace)
            {
                return Err(format!("{} holds {found}", path.display()));
            }
        }
    }
    Ok(())
}

fn is_input(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    [".yaml", ".cedar", ".sh", ".env"].iter().any(|end| name.ends_with(end))
}

fn is_a_secrets_own(bytes: &[u8]) -> bool {
    let whole = bytes.trim_ascii();
    NOTED.read().unwrap().seen.contains(&(Kind::Credential, whole.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noted_secret_is_found_in_every_spelling() {
        let secret = "Zp3-mu9_Q1xLh7TnVbKc4RsWdYfAoEgJ2iUq6Ot8Mv0";
        credential(secret);
        let bytes = URL_SAFE_NO_PAD.decode(secret).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for (name, text) in [
            ("as it is", secret.to_owned()),
            ("cut", secret[..30].to_owned()),
            ("the rest", secret[20..].to_owned()),
            ("in base64", STANDARD_NO_PAD.encode(secret)),
            ("in the base64 of more", STANDARD_NO_PAD.encode(format!("Bearer {secret}; more"))),
            ("in the base64 of one more", URL_SAFE_NO_PAD.encode(format!("{{\"token\":\"{secret}\"}}"))),
            ("its bytes in hex", hex.clone()),
            ("in upper case", hex.to_ascii_uppercase()),
            ("its bytes in base64", STANDARD_NO_PAD.encode(&bytes)),
            ("percent-encoded", percent),
        ] {
            let text = format!("level=info msg=\"{text}\"");
            assert!(find(text.as_bytes(), Place::Trace).is_some(), "{name}");
            assert!(find(text.as_bytes(), Place::Upstream).is_some(), "{name}");
            assert!(!find(text.as_bytes(), Place::Trace).unwrap().contains(&secret[..20]), "{name}");
        }
        assert_eq!(find(b"nothing of it here: Zp3-mu9_Q1x", Place::Trace), None);
    }

    #[test]
    fn an_argument_is_a_tool_servers_to_see_and_a_token_nobodys() {
        arguments(br#"{"method":"tools/call","params":{"arguments":{"a":[{"b":"planted-argument-0815"}]}}}"#);
        let text = b"... planted-argument-0815 ...";
        assert!(find(text, Place::Trace).is_some());
        assert_eq!(find(text, Place::Upstream), None);
        let token = format!("eyJ{0}.eyJ{0}.{0}", "xk4_Zb9-".repeat(5));
        let text = format!("token={token}");
        assert!(find(text.as_bytes(), Place::Trace).is_some(), "a token that nobody noted");
        credential(&token.replace('x', "y"));
        assert!(find(token.replace('x', "y").as_bytes(), Place::Upstream).is_some());
    }
}
