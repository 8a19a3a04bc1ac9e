//! Writes the Cedar schema: the part that is always there, and one action for each known tool.

use std::fmt::Write as _;

use crate::domain::unseen::is_unseen;

use super::catalogue::ToolDefinition;
use super::input::{HOSTS, JSON, LENGTH, NULL, OTHER, WITHIN, companions};
use super::types::{Record, Type};

/// The part of the schema that is the same for every server.
pub(super) const BASE: &str = include_str!("../../schemas/mcp.cedarschema");

/// A tool, ready to be written.
#[derive(Debug)]
pub(super) struct TypedTool<'a> {
    /// Its definition.
    pub(super) definition: &'a ToolDefinition,
    /// Its input's type.
    pub(super) input: &'a Record,
}

/// The whole schema for `servers`, each with its tools.
pub(super) fn generate<'a>(servers: impl IntoIterator<Item = (&'a str, Vec<TypedTool<'a>>)>) -> String {
    let mut out = BASE.trim_end().strip_suffix('}').unwrap_or(BASE).to_owned();
    for (server, tools) in servers {
        let _infallible = writeln!(out, "\n  action {};", quoted(&format!("{server}/*")));
        for tool in tools {
            write_tool(&mut out, server, &tool);
        }
    }
    out.push_str("}\n");
    out
}

/// Declarations of actions that policies name and no known tool has, so that the rest of such a policy is validated
/// all the same. They apply to nothing.
pub(super) fn with_stubs<'a>(
    schema: &str,
    stubs: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
) -> String {
    let mut out = schema.trim_end().strip_suffix('}').unwrap_or(schema).to_owned();
    for (id, server) in stubs {
        let groups = server.map(|server| format!(" in [{}, \"tools/call\"]", quoted(&format!("{server}/*"))));
        let _infallible = writeln!(out, "  action {}{};", quoted(id), groups.unwrap_or_default());
    }
    out.push_str("}\n");
    out
}

fn write_tool(out: &mut String, server: &str, tool: &TypedTool<'_>) {
    let id = quoted(&format!("{server}/{}", tool.definition.name));
    let title = tool.definition.title.as_deref().or(tool.definition.annotations.title.as_deref());
    out.push('\n');
    if let Some(title) = title {
        let _infallible = writeln!(out, "  // {}", remark(title));
    }
    let group = quoted(&format!("{server}/*"));
    let _infallible = writeln!(
        out,
        "  action {id} in [{group}, \"tools/call\"]\n    appliesTo {{ principal: [Agent], resource: [Tool], context: {{"
    );
    out.push_str("      input: ");
    write_record(out, tool.input, 6);
    out.push_str(",\n      time: datetime,\n      local: Local,\n      source: String,\n    } };\n");
}

fn write_record(out: &mut String, record: &Record, indent: usize) {
    let others = record.others && record.field(OTHER).is_none();
    if record.fields.is_empty() && !others {
        out.push_str("{}");
        return;
    }
    out.push_str("{\n");
    let pad = " ".repeat(indent + 2);
    for field in &record.fields {
        let mark = if field.present() { "" } else { "?" };
        let _infallible = write!(out, "{pad}{}{mark}: ", attribute(&field.name));
        write_type(out, &field.ty, indent + 2);
        out.push_str(",\n");
        for suffix in companions(record, field) {
            let ty = match suffix {
                NULL => "Bool",
                LENGTH => "Long",
                WITHIN | HOSTS => "Set<String>",
                _ => "String",
            };
            let mark = if suffix == NULL { "" } else { mark };
            debug_assert!([NULL, LENGTH, JSON, WITHIN, HOSTS].contains(&suffix));
            let name = attribute(&format!("{}{suffix}", field.name));
            let _infallible = writeln!(out, "{pad}{name}{mark}: {ty},");
        }
    }
    if others {
        let _infallible = writeln!(out, "{pad}{}: String,", attribute(OTHER));
    }
    let _infallible = write!(out, "{}}}", " ".repeat(indent));
}

fn write_type(out: &mut String, ty: &Type, indent: usize) {
    match ty {
        Type::String { .. } | Type::Text => out.push_str("String"),
        Type::Long => out.push_str("Long"),
        Type::Bool => out.push_str("Bool"),
        Type::Decimal => out.push_str("decimal"),
        Type::Datetime => out.push_str("datetime"),
        Type::Ip => out.push_str("ipaddr"),
        Type::Meant(meaning) => out.push_str(meaning.cedar()),
        Type::Set(of) => {
            out.push_str("Set<");
            write_type(out, of, indent);
            out.push('>');
        }
        Type::Record(record) => write_record(out, record, indent),
    }
}

/// A server's text as it may stand in a comment: one line, at most 100 characters, nothing that a terminal or an
/// editor would not show as it is (controls, bidirectional overrides, invisible characters).
pub fn remark(text: &str) -> String {
    let shown = |c: char| if is_unseen(c) { ' ' } else { c };
    let line: String = text.chars().map(shown).take(400).collect();
    let words: Vec<&str> = line.split_whitespace().collect();
    words.join(" ").chars().take(100).collect()
}

/// `text` as a Cedar string literal.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}

/// An attribute's name: bare where it is an identifier, else quoted.
fn attribute(name: &str) -> String {
    const RESERVED: [&str; 9] = ["true", "false", "if", "then", "else", "in", "is", "like", "has"];
    let head = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match head && plain && !RESERVED.contains(&name) && !name.starts_with("__") {
        true => name.to_owned(),
        false => quoted(name),
    }
}
