//! The operator's socket of a running gateway: which sessions there are, and their end at once.
//!
//! One request a connection, one JSON object a line, both ways. Who may ask is the kernel's word: the gateway's own
//! user and root. A request is a [`Request`]; the answer is any number of `{"session": …}` lines and one that ends it,
//! `{"done": …}` or `{"error": …}` ([`Line`]). No token is ever in any of them.

use serde::{Deserialize, Serialize};

use crate::domain::ids::SessionId;
use crate::gate::Overview;

pub mod client;
pub mod server;

/// Longest line of either side, in bytes. What clients call themselves is cut so that it fits.
const LONGEST_LINE: usize = 16 * 1024;

/// Longest name of a client that is told, in characters.
const LONGEST_NAME: usize = 128;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// All sessions.
    List {},
    /// One.
    Show {
        /// Which.
        sid: SessionId,
    },
    /// The end of one.
    Revoke {
        /// Which.
        sid: SessionId,
    },
}

/// One line of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Line {
    /// A session; more follows.
    Session(Box<SessionRow>),
    /// The answer is complete.
    Done {},
    /// It is not.
    Error(Trouble),
}

/// Why a request was not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Trouble {
    /// The caller is neither the gateway's user nor root.
    Permission,
    /// No session of this id is open.
    UnknownSession,
    /// The request can't be read.
    Malformed,
}

/// A session as it is shown; times are RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionRow {
    /// Its id.
    pub sid: SessionId,
    /// Whose it is.
    pub principal: String,
    /// By what kind of evidence.
    pub evidence: String,
    /// The tool server.
    pub server: String,
    /// How its client is connected.
    pub transport: String,
    /// What the client calls itself, without characters that would move a terminal's cursor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// `opening` while the handshake is under way, else `open`.
    pub state: String,
    /// When it was opened.
    pub opened: String,
    /// When its client was last heard.
    pub last_active: String,
    /// Tool calls permitted so far.
    pub calls: u64,
    /// Messages that policies allowed, tool calls among them.
    pub allowed: u64,
    /// Messages that were refused and recorded.
    pub denied: u64,
}

impl From<Overview> for SessionRow {
    fn from(seen: Overview) -> Self {
        let client = seen.client.map(|(name, version)| printable(&format!("{name} {version}")));
        Self {
            sid: seen.id,
            principal: printable(seen.principal.as_str()),
            evidence: seen.evidence.as_str().to_owned(),
            server: seen.server.to_string(),
            transport: seen.transport.as_str().to_owned(),
            client,
            state: if seen.opening { "opening" } else { "open" }.to_owned(),
            opened: seen.opened.to_rfc3339(),
            last_active: seen.last_active.to_rfc3339(),
            calls: seen.calls,
            allowed: seen.allowed,
            denied: seen.denied,
        }
    }
}

/// Text of a stranger's choice, cut, with what is no visible character written out (`\u{1b}`).
fn printable(text: &str) -> String {
    let cut =
        text.char_indices().nth(LONGEST_NAME).map_or(text, |(at, _)| text.get(..at).unwrap_or_default());
    cut.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_name_can_neither_move_the_cursor_nor_turn_the_text_nor_fill_the_line() {
        assert_eq!(printable("it's plain \"ü\" 1.0"), "it's plain \"ü\" 1.0");
        assert_eq!(printable("a\u{1b}[2Jb\n\u{202e}c"), "a\\u{1b}[2Jb\\n\\u{202e}c");
        assert!(printable(&"\u{1b}".repeat(100_000)).len() < LONGEST_LINE / 4);
    }

    #[test]
    fn requests_are_read_strictly() {
        let sid = "01234567-89ab-4def-8123-456789abcdef";
        let asked: Request = serde_json::from_str(&format!(r#"{{"ask":"revoke","sid":"{sid}"}}"#)).unwrap();
        assert_eq!(asked, Request::Revoke { sid: sid.parse().unwrap() });
        for wrong in [
            r#"{"ask":"revoke"}"#,
            r#"{"ask":"revoke","sid":"*"}"#,
            r#"{"ask":"list","sid":"x"}"#,
            r#"{"ask":"end"}"#,
            "[]",
            "",
        ] {
            assert!(serde_json::from_str::<Request>(wrong).is_err(), "{wrong}");
        }
    }
}
