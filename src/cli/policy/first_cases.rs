//! The first cases for new policies: what `policy init` permits and what it does not, in a file that passes at once.

use serde_json::{Map, Value};

use super::verdict::judge;
use crate::config::CaseFile;
use crate::domain::ids::ServerName;
use crate::policy::{Catalogue, Engine, PolicySources, ToolDefinition, remark};

/// How deep arguments are made up.
const MAX_DEPTH: usize = 4;

/// What the cases are about.
pub(super) struct First<'a> {
    pub(super) server: &'a ServerName,
    pub(super) tools: &'a [ToolDefinition],
    pub(super) uid: u32,
    /// The policies, as they are written.
    pub(super) policies: &'a str,
}

/// The text of the case file. Each case was asked of the policies; what they do not say is not written.
pub(super) fn text(of: &First<'_>) -> String {
    let catalogue = Catalogue::of(of.server.clone(), of.tools.to_vec());
    let sources = PolicySources::single("policies.cedar", of.policies);
    let engine = Engine::compile(&sources, &catalogue).ok().map(|(engine, _)| engine);
    let (server, uid, stranger) = (of.server, of.uid, of.uid.wrapping_add(1));
    let head = format!(
        "# What the policies beside this file should say. `chancery policy test` asks them; tools.json holds the tools.\n\
         server: {server}\nprincipal: {{ uid: {uid} }}\n\ncases:\n"
    );
    let mut out = head.clone();
    let mut add = |candidates: &[String]| {
        let passes = |case: &&String| {
            let file = CaseFile::parse("policies.cases.yaml", &format!("{head}{case}"));
            match (file, &engine) {
                (Ok(file), Some(engine)) => {
                    file.cases.iter().all(|case| judge(engine, case).missed.is_none())
                }
                _ => false,
            }
        };
        if let Some(case) = candidates.iter().find(passes) {
            out.push_str(case);
        }
    };
    add(&[format!(
        "  - {{ name: the user opens a session, method: session/open, expect: allow, by: [\"{server}:open\"] }}\n"
    )]);
    add(&[format!(
        "  - {{ name: the user sees the lists, method: tools/list, expect: allow, by: [\"{server}:lists\"] }}\n"
    )]);
    add(&[format!(
        "  - {{ name: the user sets the log level, method: logging/setLevel, expect: allow, by: [\"{server}:comfort\"] }}\n"
    )]);
    add(&[format!(
        "  - {{ name: another user opens none, principal: {{ uid: {stranger} }}, method: session/open, expect: not_permitted }}\n"
    )]);
    for tool in of.tools {
        let quoted = |text: &str| Value::from(text).to_string();
        let (name, shown) = (quoted(&tool.name), remark(&tool.name));
        let id = quoted(&format!("{server}/{}", tool.name));
        let case = |what: &str, rest: &str| format!("  - name: {}\n    tool: {name}\n{rest}", quoted(what));
        let schema: Value = serde_json::from_str(&tool.input_schema).unwrap_or_default();
        let arguments = made_up(&schema, 0).unwrap_or_else(|| Value::Object(Map::new()));
        add(&[
            case(
                &format!("{shown} may be called"),
                &format!("    arguments: {arguments}\n    expect: allow\n    by: [{id}]\n"),
            ),
            case(&format!("{shown} may be called with some arguments"), "    expect: listed\n"),
            case(&format!("{shown} may not be called"), "    expect: hidden\n"),
        ]);
    }
    out
}

/// A value of this JSON Schema with nothing but what is required; none where it is not plain to see.
fn made_up(schema: &Value, depth: usize) -> Option<Value> {
    if depth > MAX_DEPTH {
        return None;
    }
    if let Some(value) = schema.get("const").or_else(|| schema.get("enum")?.get(0)) {
        return Some(value.clone());
    }
    let ty = match schema.get("type") {
        Some(Value::Array(types)) => types.first()?.as_str()?,
        Some(ty) => ty.as_str()?,
        None if schema.get("properties").is_some() => "object",
        None => return None,
    };
    let least = |key: &str| schema.get(key).cloned();
    Some(match ty {
        "string" => match schema.get("format").and_then(Value::as_str) {
            Some("date-time") => "2026-01-05T12:00:00Z".into(),
            Some("uri" | "url") => "https://example.com/".into(),
            Some("ipv4") => "192.0.2.1".into(),
            Some("ipv6") => "2001:db8::1".into(),
            _ => "example".into(),
        },
        "integer" | "number" => least("minimum").unwrap_or_else(|| 1.into()),
        "boolean" => true.into(),
        "null" => Value::Null,
        "array" => {
            let count = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1).clamp(1, 8);
            let item = schema.get("items").and_then(|items| made_up(items, depth + 1));
            match item {
                Some(item) => (0..count).map(|_| item.clone()).collect(),
                None => Value::Array(Vec::new()),
            }
        }
        "object" => {
            let mut members = Map::new();
            for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
                let name = name.as_str()?;
                members.insert(name.to_owned(), made_up(schema.get("properties")?.get(name)?, depth + 1)?);
            }
            Value::Object(members)
        }
        _ => return None,
    })
}
