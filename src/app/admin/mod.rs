//! The operator's socket of a running gateway: which sessions there are, and their end at once; what principals did, and
//! what is taken away from it.
//!
//! One request a connection, one JSON object a line, both ways. Who may ask is the kernel's word: the gateway's own
//! user and root. A request is a [`Request`]; the answer is any number of `{"session": …}` or `{"principal": …}` lines and one that ends it,
//! `{"done": …}` or `{"error": …}` ([`Line`]). No token is ever in any of them.

use serde::{Deserialize, Serialize};

use crate::domain::ids::SessionId;
use crate::gate::Overview;

pub mod client;
mod principal;
pub mod server;

pub use principal::{CallsRow, Counts, LabelRow, PrincipalRow};

/// Longest request, in bytes.
const LONGEST_LINE: usize = 16 * 1024;

/// Longest line of an answer, in bytes. What it lists, and names that others chose, is cut so that it fits.
const LONGEST_ANSWER: usize = 2 * 1024 * 1024;

/// Longest reason that an operator gives, in bytes.
pub const LONGEST_REASON: usize = 512;

/// Longest name of a client that is told, in characters.
const LONGEST_NAME: usize = 128;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// All principals of whom something is known.
    Principals {},
    /// One.
    Principal {
        /// Its name, a token's `sub`.
        principal: String,
    },
    /// The end of what policies see of one's past.
    Lift {
        /// Its name.
        principal: String,
        /// These labels.
        labels: Vec<String>,
        /// All counted calls.
        calls: bool,
        /// Why.
        reason: String,
    },
}

impl Request {
    /// Whether it concerns a session, which one gateway has; else each gateway has a part of the answer.
    const fn of_one_session(&self) -> Option<SessionId> {
        match self {
            Self::Show { sid } | Self::Revoke { sid } => Some(*sid),
            Self::List {} | Self::Principals {} | Self::Principal { .. } | Self::Lift { .. } => None,
        }
    }
}

/// One line of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Line {
    /// A session; more follows.
    Session(Box<SessionRow>),
    /// A principal; more follows.
    Principal(Box<PrincipalRow>),
    /// The answer is complete.
    Done {},
    /// It is not.
    Error(Trouble),
}

/// Why a request was not served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Trouble {
    /// The caller is neither the gateway's user nor root.
    Permission,
    /// No session of this id is open.
    UnknownSession,
    /// Nothing is known of a principal of this name.
    UnknownPrincipal,
    /// The principal has no such label.
    NoLabel(String),
    /// The log can't take the record, so nothing was done.
    Unrecorded,
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
    /// What the session was labelled with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
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
            labels: seen.labels.iter().map(ToString::to_string).collect(),
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
            r#"{"ask":"lift","principal":"p","labels":["x"],"calls":false}"#,
            r#"{"ask":"principal"}"#,
            "[]",
            "",
        ] {
            assert!(serde_json::from_str::<Request>(wrong).is_err(), "{wrong}");
        }
    }
}
