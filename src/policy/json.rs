//! A strict JSON reader that keeps numbers exact, and the canonical text of what Cedar has no type for.
//!
//! Duplicate keys, lone surrogates, invalid UTF-8 and excess depth are refused, so that policies and tool servers
//! can't read two different messages from the same bytes (I2).

use std::borrow::Cow;
use std::collections::HashSet;

/// Deepest nesting that is read; a message's own limit is the gateway's and not larger.
pub(super) const MAX_DEPTH: usize = 64;

/// A JSON value; strings and numbers point into the text that was read where they can.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    /// The number as it was written.
    Number(Cow<'a, str>),
    String(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    /// Members in the order in which they were written; keys are distinct.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

/// Why a text is not taken as JSON. It names a place and never quotes the text (I7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub(super) struct JsonError {
    pub(super) what: &'static str,
    pub(super) at: usize,
}

/// Reads one JSON text.
pub(super) fn parse(bytes: &[u8]) -> Result<Json<'_>, JsonError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| JsonError { what: "invalid UTF-8", at: error.valid_up_to() })?;
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.blank();
    if reader.at == text.len() { Ok(value) } else { Err(reader.fail("text after the value")) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn fail(&self, what: &'static str) -> JsonError {
        JsonError { what, at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn slice(&self, from: usize) -> &'a str {
        self.text.get(from..self.at).unwrap_or_default()
    }

    fn value(&mut self, depth: usize) -> Result<Json<'a>, JsonError> {
        if depth > MAX_DEPTH {
            return Err(self.fail("nested too deeply"));
        }
        self.blank();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Json::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            _ => Err(self.fail("a value is missing")),
        }
    }

    fn word(&mut self, word: &'static str, value: Json<'a>) -> Result<Json<'a>, JsonError> {
        match self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            true => {
                self.at += word.len();
                Ok(value)
            }
            false => Err(self.fail("an unknown word")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json<'a>, JsonError> {
        self.at += 1;
        let mut members: Vec<(Cow<'a, str>, Json<'a>)> = Vec::new();
        self.blank();
        if self.take(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.blank();
            if self.peek() != Some(b'"') {
                return Err(self.fail("a key is missing"));
            }
            let key = self.string()?;
            self.blank();
            if !self.take(b':') {
                return Err(self.fail("`:` is missing"));
            }
            let value = self.value(depth + 1)?;
            members.push((key, value));
            self.blank();
            if self.take(b'}') {
                break;
            }
            if !self.take(b',') {
                return Err(self.fail("`,` or `}` is missing"));
            }
        }
        let mut seen = HashSet::with_capacity(members.len());
        match members.iter().all(|(key, _)| seen.insert(key.as_ref())) {
            true => Ok(Json::Object(members)),
            false => Err(self.fail("a duplicate key in the object that ends")),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json<'a>, JsonError> {
        self.at += 1;
        let mut items = Vec::new();
        self.blank();
        if self.take(b']') {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.blank();
            if self.take(b']') {
                return Ok(Json::Array(items));
            }
            if !self.take(b',') {
                return Err(self.fail("`,` or `]` is missing"));
            }
        }
    }

    fn digits(&mut self) -> bool {
        let from = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at > from
    }

    fn number(&mut self) -> Result<Json<'a>, JsonError> {
        let from = self.at;
        self.take(b'-');
        let whole = self.take(b'0') || self.digits();
        let fraction = !self.take(b'.') || self.digits();
        let exponent = if self.take(b'e') || self.take(b'E') {
            let _signed = self.take(b'+') || self.take(b'-');
            self.digits()
        } else {
            true
        };
        match whole && fraction && exponent && !matches!(self.peek(), Some(b'0'..=b'9')) {
            true => Ok(Json::Number(Cow::Borrowed(self.slice(from)))),
            false => Err(self.fail("a malformed number")),
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        self.at += 1;
        let from = self.at;
        let mut owned: Option<String> = None;
        let mut copied = from;
        loop {
            match self.peek() {
                None => return Err(self.fail("a string does not end")),
                Some(b'"') => {
                    let rest = self.slice(copied);
                    self.at += 1;
                    return Ok(match owned {
                        None => Cow::Borrowed(rest),
                        Some(text) => Cow::Owned(text + rest),
                    });
                }
                Some(b'\\') => {
                    let text = owned.get_or_insert_with(String::new);
                    text.push_str(self.text.get(copied..self.at).unwrap_or_default());
                    self.at += 1;
                    let decoded = self.escape()?;
                    owned.get_or_insert_with(String::new).push(decoded);
                    copied = self.at;
                }
                Some(0..=0x1f) => return Err(self.fail("a control character in a string")),
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let kind = self.peek();
        self.at += 1;
        Ok(match kind {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = self.hex()?;
                let code = match first {
                    0xd800..=0xdbff if self.take(b'\\') && self.take(b'u') => match self.hex()? {
                        low @ 0xdc00..=0xdfff => 0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00),
                        _ => return Err(self.fail("a lone surrogate")),
                    },
                    _ => first,
                };
                char::from_u32(code).ok_or(self.fail("a lone surrogate"))?
            }
            _ => return Err(self.fail("an unknown escape")),
        })
    }

    fn hex(&mut self) -> Result<u32, JsonError> {
        let digits = self.text.get(self.at..self.at + 4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        self.at += 4;
        code.ok_or(JsonError { what: "a malformed \\u escape", at: self.at.saturating_sub(4) })
    }
}

impl Json<'_> {
    /// The member `key` of an object.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// What the JSON pointer (RFC 6901) `pointer` leads to.
    pub(super) fn pointer(&self, pointer: &str) -> Option<&Self> {
        let mut at = self;
        for step in pointer.split('/').skip(1) {
            let step = step.replace("~1", "/").replace("~0", "~");
            at = match at {
                Json::Array(items) => items.get(step.parse::<usize>().ok()?)?,
                object => object.get(&step)?,
            };
        }
        Some(at)
    }

    /// The text of a string.
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The items of an array.
    pub(super) fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// A copy that borrows nothing.
    pub(super) fn to_owned(&self) -> Json<'static> {
        match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Number(text) => Json::Number(Cow::Owned(text.clone().into_owned())),
            Self::String(text) => Json::String(Cow::Owned(text.clone().into_owned())),
            Self::Array(items) => Json::Array(items.iter().map(Json::to_owned).collect()),
            Self::Object(members) => Json::Object(
                members.iter().map(|(k, v)| (Cow::Owned(k.clone().into_owned()), v.to_owned())).collect(),
            ),
        }
    }

    /// Canonical text: no blanks, members sorted by key, shortest escapes, numbers exact in one spelling.
    pub(super) fn canonical(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    /// Appends the canonical text.
    pub(super) fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(true) => out.push_str("true"),
            Self::Bool(false) => out.push_str("false"),
            Self::Number(text) => out.push_str(&super::number::canonical(text)),
            Self::String(text) => write_string(text, out),
            Self::Array(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                let mut sorted: Vec<_> = members.iter().collect();
                sorted.sort_by(|a, b| a.0.cmp(&b.0));
                out.push('{');
                for (at, (key, value)) in sorted.into_iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    write_string(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// Appends `text` as a JSON string with the escapes of RFC 8785 §3.2.2.2.
pub(super) fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut rest = text;
    // All that is escaped is ASCII, so what is before and after it are whole characters.
    while let Some(at) = rest.bytes().position(|byte| byte < b' ' || matches!(byte, b'"' | b'\\')) {
        let (plain, from) = rest.split_at(at);
        out.push_str(plain);
        let mut escaped = from.chars();
        match escaped.next() {
            Some('\u{8}') => out.push_str("\\b"),
            Some('\u{c}') => out.push_str("\\f"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(c) if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => {
                out.push('\\');
                out.extend(c);
            }
        }
        rest = escaped.as_str();
    }
    out.push_str(rest);
    out.push('"');
}
