//! The tools that servers have shown: the definitions that schemas and decisions rest on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::domain::digest::Sha256Digest;
use crate::domain::ids::ServerName;

use super::checker::Checker;
use super::json::{Json, parse};
use super::lookalikes::{Lookalike, lookalikes};
use super::rules::ArgumentRules;
use super::types::Record;

/// Largest tool definition, in bytes.
const MAX_DEFINITION: usize = 256 * 1024;
/// Longest tool name, in bytes (MCP asks for at most 128).
const MAX_NAME: usize = 256;
/// Most properties of one tool's input, nested ones included.
const MAX_PROPERTIES: usize = 1_000;

/// What a server claims of its own tool (MCP `ToolAnnotations`); nothing here is verified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotations {
    /// `readOnlyHint`.
    pub read_only: Option<bool>,
    /// `destructiveHint`.
    pub destructive: Option<bool>,
    /// `idempotentHint`.
    pub idempotent: Option<bool>,
    /// `openWorldHint`.
    pub open_world: Option<bool>,
    /// `title`.
    pub title: Option<String>,
}

/// A tool as its server defines it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolDefinition {
    /// Its name at its server.
    pub name: String,
    /// Its title.
    pub title: Option<String>,
    /// Its description.
    pub description: Option<String>,
    /// The JSON of `inputSchema`, canonical.
    pub input_schema: Arc<str>,
    /// Its annotations.
    pub annotations: Annotations,
    /// SHA-256 of the whole entry's canonical JSON (keys sorted, no blanks, numbers exact).
    pub digest: Sha256Digest,
    entry: Arc<str>,
    /// The properties of its input, nested ones included.
    size: usize,
    checker: Lazy,
}

/// Made when it is first needed, from the definition that it is part of, and shared by its copies.
#[derive(Debug, Clone, Default)]
struct Lazy(Arc<OnceLock<Checker>>);

impl PartialEq for Lazy {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Lazy {}

/// Why an entry of a tool list can't be used; the tool stays unknown, and so denied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// Not a tool definition.
    #[error("not a tool definition: {0}")]
    Shape(String),
    /// Its name can't be used.
    #[error("the tool's name can't be used: {0}")]
    Name(&'static str),
    /// Larger than the gateway takes.
    #[error("the tool's definition is too large: {0}")]
    TooLarge(&'static str),
}

impl ToolDefinition {
    /// Reads one entry of a `tools/list` result.
    ///
    /// # Errors
    /// If it is not an object with a usable `name` and an `inputSchema` for an object, or is too large.
    pub fn from_list_entry(raw: &[u8]) -> Result<Self, DefinitionError> {
        if raw.len() > MAX_DEFINITION {
            return Err(DefinitionError::TooLarge("more than 256 KiB"));
        }
        let entry = parse(raw).map_err(|error| DefinitionError::Shape(error.to_string()))?;
        let shape = |what: &str| DefinitionError::Shape(what.to_owned());
        let name = entry.get("name").and_then(Json::as_str).ok_or_else(|| shape("`name` is not a string"))?;
        check_name(name)?;
        let input = entry.get("inputSchema").filter(|schema| matches!(schema, Json::Object(_)));
        let input = input.ok_or_else(|| shape("`inputSchema` is not an object"))?;
        let size = Record::of_input(input).size();
        if size > MAX_PROPERTIES {
            return Err(DefinitionError::TooLarge("more than 1,000 properties"));
        }
        let text = |value: &Json<'_>, key: &str| value.get(key).and_then(Json::as_str).map(str::to_owned);
        let claims = entry.get("annotations").unwrap_or(&Json::Null);
        let flag = |key| match claims.get(key) {
            Some(Json::Bool(value)) => Some(*value),
            _ => None,
        };
        let canonical = entry.canonical();
        // Read again from where it is kept, it must fit as well.
        if canonical.len() > MAX_DEFINITION {
            return Err(DefinitionError::TooLarge("more than 256 KiB"));
        }
        Ok(Self {
            name: name.to_owned(),
            title: text(&entry, "title"),
            description: text(&entry, "description"),
            input_schema: input.canonical().into(),
            annotations: Annotations {
                read_only: flag("readOnlyHint"),
                destructive: flag("destructiveHint"),
                idempotent: flag("idempotentHint"),
                open_world: flag("openWorldHint"),
                title: text(claims, "title"),
            },
            digest: Sha256Digest::of(canonical.as_bytes()),
            entry: canonical.into(),
            size,
            checker: Lazy::default(),
        })
    }

    /// The whole definition as canonical JSON; [`ToolDefinition::from_list_entry`] reads it again.
    pub fn entry(&self) -> &str {
        &self.entry
    }

    /// The properties of its input, nested ones included.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The type of its input.
    pub(super) fn input(&self) -> Record {
        parse(self.input_schema.as_bytes()).map(|schema| Record::of_input(&schema)).unwrap_or_default()
    }

    /// The judge of its arguments.
    pub(super) fn checker(&self) -> &Checker {
        self.checker.0.get_or_init(|| {
            let schema = parse(self.input_schema.as_bytes());
            Checker::new(schema.as_ref().unwrap_or(&Json::Bool(true)))
        })
    }
}

fn check_name(name: &str) -> Result<(), DefinitionError> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(DefinitionError::Name("it must have 1 to 256 bytes"));
    }
    if name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(DefinitionError::Name("it has blanks or control characters"));
    }
    if name == "*" {
        return Err(DefinitionError::Name("`*` is the group of all the server's tools"));
    }
    Ok(())
}

/// All known tools, by server. As JSON it is an object of server names, each an array of the tools' definitions as
/// `tools/list` shows them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// The tools of each server.
    pub servers: BTreeMap<ServerName, Vec<ToolDefinition>>,
    /// Servers that are configured and did not answer when they were asked; not part of the JSON.
    pub unanswered: BTreeSet<ServerName>,
    /// Servers whose definitions are held to approved ones; not part of the JSON.
    pub pinned: BTreeSet<ServerName>,
    /// What is configured for the servers' arguments; not part of the JSON.
    pub rules: BTreeMap<ServerName, ArgumentRules>,
}

impl Catalogue {
    /// One server's tools.
    pub fn of(server: ServerName, tools: Vec<ToolDefinition>) -> Self {
        Self { servers: BTreeMap::from([(server, tools)]), ..Self::default() }
    }

    /// Tools that a person or a model could take for each other, at most 64 pairs.
    pub fn lookalikes(&self) -> Vec<Lookalike> {
        lookalikes(self)
    }
}

impl Serialize for Catalogue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error;
        let mut shape: BTreeMap<&str, Vec<Box<RawValue>>> = BTreeMap::new();
        for (server, tools) in &self.servers {
            let raw = tools.iter().map(|tool| RawValue::from_string(tool.entry.to_string()));
            shape.insert(server.as_str(), raw.collect::<Result<_, _>>().map_err(S::Error::custom)?);
        }
        shape.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Catalogue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let shape: BTreeMap<String, Vec<Box<RawValue>>> = BTreeMap::deserialize(deserializer)?;
        let mut servers = BTreeMap::new();
        for (server, raw) in shape {
            let server: ServerName = server.parse().map_err(D::Error::custom)?;
            let tools = raw.iter().map(|entry| ToolDefinition::from_list_entry(entry.get().as_bytes()));
            servers.insert(server, tools.collect::<Result<_, _>>().map_err(D::Error::custom)?);
        }
        Ok(Self { servers, ..Self::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_keeps_its_digest_through_a_file() {
        let raw = br#"{"name":"get-sum","inputSchema":{"type":"object","properties":{"a":{"type":"number","default":1.50}}},
            "annotations":{"readOnlyHint":true},"title":"Sum"}"#;
        let tool = ToolDefinition::from_list_entry(raw).unwrap();
        assert_eq!(tool.annotations.read_only, Some(true));
        let catalogue = Catalogue::of("every".parse().unwrap(), vec![tool]);
        let text = serde_json::to_string(&catalogue).unwrap();
        assert_eq!(serde_json::from_str::<Catalogue>(&text).unwrap(), catalogue);
    }

    #[test]
    fn definitions_that_could_confuse_or_exhaust_are_refused() {
        let wide: Vec<String> = (0..1_200).map(|n| format!("\"p{n}\":{{\"type\":\"string\"}}")).collect();
        let wide = format!("{{\"type\":\"object\",\"properties\":{{{}}}}}", wide.join(","));
        for (raw, part) in [
            (r#"{"name":"*","inputSchema":{}}"#.to_owned(), "group"),
            (r#"{"name":"","inputSchema":{}}"#.to_owned(), "1 to 256"),
            (r#"{"name":"a\nb","inputSchema":{}}"#.to_owned(), "control"),
            (r#"{"name":"a","name":"b","inputSchema":{}}"#.to_owned(), "duplicate"),
            (r#"{"name":"a"}"#.to_owned(), "inputSchema"),
            (r#"[]"#.to_owned(), "name"),
            (format!(r#"{{"name":"a","inputSchema":{wide}}}"#), "properties"),
            (format!(r#"{{"name":"a","inputSchema":{{"x":"{}"}}}}"#, "x".repeat(300_000)), "256 KiB"),
        ] {
            let error = ToolDefinition::from_list_entry(raw.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
