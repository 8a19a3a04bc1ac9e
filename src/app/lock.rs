//! The lock file: every tool's whole definition and its digest, in an order and a layout that version control shows
//! well.
//!
//! ```json
//! {
//!   "version": 1,
//!   "servers": {
//!     "files": {
//!       "read_file": {
//!         "sha256": "…",
//!         "definition": { … }
//!       }
//!     }
//!   }
//! }
//! ```
//!
//! The digest is SHA-256 of the definition's canonical JSON (RFC 8785, but that numbers keep every digit), so a
//! definition that was edited without its digest is refused.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::plain::read_text;
use super::shown::replace;
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::ServerName;
use crate::domain::unseen::visible;
use crate::policy::ToolDefinition;

/// The layout that is read and written.
const VERSION: u64 = 1;
/// Largest lock file, in bytes.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Why a lock file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LockFileError {
    /// It can't be read.
    #[error("can't read the lock file {path}: {source}", path = .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What was approved at first use is kept there, and can't be read.
    #[error(
        "{path} holds the approved tool definitions and can't be read: {why}; put it back as it was, or remove it to \
         approve what the server shows now", path = .path.display()
    )]
    Kept {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// It is not what `chancery policy lock` writes.
    #[error("{path} is no lock file: {why}", path = .path.display())]
    Shape {
        /// Which.
        path: PathBuf,
        /// What is wrong, and where.
        why: String,
    },
}

impl LockFileError {
    /// Whether there is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// The approved definitions of each server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockFile {
    /// By server, each sorted by name.
    pub servers: BTreeMap<ServerName, Vec<ToolDefinition>>,
}

impl LockFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// It can't be read, is no lock file, or a digest is not its definition's.
    pub fn read(path: &Path) -> Result<Self, LockFileError> {
        let failed = |source| LockFileError::Read { path: path.to_owned(), source };
        let shape = |why: String| LockFileError::Shape { path: path.to_owned(), why: visible(&why) };
        Self::parse(&read_text(path, MAX_FILE).map_err(failed)?).map_err(shape)
    }

    /// Reads its text.
    fn parse(text: &str) -> Result<Self, String> {
        let file: Shape = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if file.version != VERSION {
            return Err(format!("its version is {}, and {VERSION} is what is known here", file.version));
        }
        let mut servers = BTreeMap::new();
        for (server, entries) in file.servers.0 {
            let server: ServerName = server.parse().map_err(|error| format!("{error}"))?;
            let mut tools = Vec::with_capacity(entries.0.len());
            for (name, entry) in entries.0 {
                // Laid out it may be larger than a definition may be.
                let tool = ToolDefinition::from_list_entry(compact(entry.definition.get()).as_bytes());
                let tool = tool.map_err(|error| format!("`{server}/{name}`: {error}"))?;
                if tool.name != name {
                    return Err(format!("`{server}/{name}` has the definition of `{}`", tool.name));
                }
                if tool.digest != entry.sha256 {
                    return Err(format!(
                        "the definition of `{server}/{name}` is not the one of its `sha256`: it was edited by hand"
                    ));
                }
                tools.push(tool);
            }
            tools.sort_by(|a, b| a.name.cmp(&b.name));
            servers.insert(server, tools);
        }
        Ok(Self { servers })
    }

    /// Its text: sorted, one member a line.
    pub fn text(&self) -> String {
        let mut text = format!("{{\n  \"version\": {VERSION},\n  \"servers\": {{");
        for (at, (server, tools)) in self.servers.iter().enumerate() {
            text.push_str(if at > 0 { ",\n" } else { "\n" });
            text.push_str(&format!("    \"{server}\": {{"));
            let mut sorted: Vec<&ToolDefinition> = tools.iter().collect();
            sorted.sort_by(|a, b| a.name.cmp(&b.name));
            for (at, tool) in sorted.into_iter().enumerate() {
                let name = serde_json::Value::from(tool.name.as_str());
                let digest = tool.digest;
                text.push_str(if at > 0 { ",\n" } else { "\n" });
                text.push_str(&format!("      {name}: {{\n        \"sha256\": \"{digest}\",\n"));
                text.push_str(&format!("        \"definition\": {}\n      }}", laid_out(tool.entry(), 8)));
            }
            text.push_str(if tools.is_empty() { "}" } else { "\n    }" });
        }
        text.push_str(if self.servers.is_empty() { "}\n}\n" } else { "\n  }\n}\n" });
        text
    }

    /// Writes it whole in the place of what is there.
    ///
    /// # Errors
    /// If it can't be written, or is too large to be read again.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let text = self.text();
        if text.len() as u64 > MAX_FILE {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it would be larger than 64 MiB"));
        }
        replace(path, text.as_bytes(), 0o644)
    }
}

/// JSON without blanks as JSON with a line for each member; nothing else of it changes.
fn laid_out(json: &str, indent: usize) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let (mut depth, mut quoted, mut escaped) = (indent / 2, false, false);
    let mut chars = json.chars().peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    while let Some(c) = chars.next() {
        if quoted {
            out.push(c);
            quoted = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            '"' => {
                quoted = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                if matches!(chars.peek(), Some('}' | ']')) {
                    out.extend(chars.next());
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c => out.push(c),
        }
    }
    out
}

/// JSON without the blanks between its parts.
fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut quoted, mut escaped) = (false, false);
    for c in json.chars() {
        if quoted {
            quoted = escaped || c != '"';
            escaped = c == '\\' && !escaped;
        } else {
            quoted = c == '"';
            if matches!(c, ' ' | '\t' | '\n' | '\r') {
                continue;
            }
        }
        out.push(c);
    }
    out
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    version: u64,
    servers: Entries<Entries<Entry>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    sha256: Sha256Digest,
    definition: Box<RawValue>,
}

/// The members of an object, none of them twice.
struct Entries<V>(Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Entries<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Members<V> {
            type Value = Entries<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<V>, A::Error> {
                let (mut entries, mut seen) = (Vec::new(), HashSet::new());
                while let Some((key, value)) = map.next_entry::<String, V>()? {
                    if !seen.insert(key.clone()) {
                        return Err(serde::de::Error::custom(format!("`{key}` stands in it twice")));
                    }
                    entries.push((key, value));
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Members(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> LockFile {
        let odd = r#"{"name":"b\"{,}","description":"with \"quotes\", {braces} and \\","inputSchema":{"properties":{},"default":1.50,"enum":[1,[],{}]}}"#;
        let plain = r#"{"name":"a","inputSchema":{"type":"object"}}"#;
        let tools = [odd, plain].map(|raw| ToolDefinition::from_list_entry(raw.as_bytes()).unwrap());
        let empty = ("none".parse().unwrap(), Vec::new());
        let mut sorted = tools.to_vec();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        LockFile { servers: [("files".parse().unwrap(), sorted), empty].into() }
    }

    #[test]
    fn a_lock_file_reads_back_as_it_was_written_and_its_order_is_its_own() {
        let text = lock().text();
        assert_eq!(LockFile::parse(&text).unwrap(), lock());
        let mut shuffled = lock();
        shuffled.servers.get_mut(&"files".parse().unwrap()).unwrap().reverse();
        assert_eq!(shuffled.text(), text);
        assert!(text.contains("\n        \"sha256\": \""), "{text}");
        assert!(text.contains("\n          \"name\": \"a\"\n"), "one member a line: {text}");
        assert!(text.ends_with("}\n}\n") && serde_json::from_str::<serde_json::Value>(&text).is_ok());
        assert_eq!(LockFile::parse(&LockFile::default().text()).unwrap(), LockFile::default());
    }

    #[test]
    fn what_was_edited_by_hand_or_says_one_thing_twice_is_refused() {
        let text = lock().text();
        let twice = text.replacen("\"servers\": {", "\"servers\": {\n\"files\": {},", 1);
        for (text, part) in [
            (text.replace("\"type\": \"object\"", "\"type\": \"string\""), "edited by hand"),
            (text.replace("\"name\": \"a\"", "\"name\": \"c\""), "has the definition of `c`"),
            (text.replace("\"version\": 1", "\"version\": 2"), "version is 2"),
            (text.replace("\"version\": 1", "\"version\": 1, \"extra\": 1"), "extra"),
            (twice, "twice"),
            (text[..text.len() / 2].to_owned(), "line"),
            (String::new(), "EOF"),
        ] {
            let why = LockFile::parse(&text).unwrap_err();
            assert!(why.contains(part), "{part}: {why}");
        }
    }

    #[test]
    fn a_definition_that_grows_when_it_is_laid_out_is_read_back_all_the_same() {
        let deep = format!("{}{}{}", "[".repeat(55), vec!["1"; 20_000].join(","), "]".repeat(55));
        let json = format!(r#"{{"name":"a","description":"\\\" {{ , ","inputSchema":{{"x":{deep}}}}}"#);
        let tool = ToolDefinition::from_list_entry(json.as_bytes()).unwrap();
        let lock = LockFile { servers: [("files".parse().unwrap(), vec![tool])].into() };
        assert!(lock.text().len() > 1024 * 1024);
        assert_eq!(LockFile::parse(&lock.text()).unwrap(), lock);
    }
}
