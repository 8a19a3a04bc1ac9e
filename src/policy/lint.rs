//! What an author should know of policies that are valid: tests of a text that can be spelt in several ways.
//!
//! `context.input.path like "/srv/public/*"` holds for `/srv/public/../secret`, and a `forbid` of one spelling of a
//! path, URL or host is passed by another. Where an argument's name says that it is one, and it is plain text, the
//! author is told how to have it read.

use std::collections::BTreeSet;

use cedar_policy::{ActionConstraint, Policy};
use serde_json::Value;

use crate::domain::unseen::is_unseen;

use super::compile::find_in;
use super::diagnostic::{PolicyDiagnostic, Severity, Warning};
use super::engine::{Engine, ToolEntry};
use super::rules::Meaning;
use super::sources::SourceFile;
use super::types::Type;

/// Words in arguments' names that say that they are a path, a URI or a host.
const WORDS: [(Meaning, &[&str]); 3] = [
    (
        Meaning::Path,
        &["path", "paths", "file", "files", "filename", "filepath", "dir", "directory", "folder", "cwd"],
    ),
    (Meaning::Uri, &["uri", "uris", "url", "urls", "href", "link", "endpoint"]),
    (Meaning::Host, &["host", "hosts", "hostname", "domain", "domains"]),
];

/// See [`Engine::lint`].
pub(super) fn lint(engine: &Engine) -> Vec<Warning> {
    let mut found = disguised(engine);
    for (statement, compiled) in engine.sources.statements().zip(&engine.policies) {
        let Ok(json) = compiled.policy.to_json() else { continue };
        let mut tests = BTreeSet::new();
        visit(json.get("conditions").unwrap_or(&Value::Null), compiled.forbid, &mut tests);
        let tools: Vec<&ToolEntry> = engine
            .tools
            .values()
            .flat_map(|tools| tools.values())
            .filter(|tool| applies(&compiled.policy, tool))
            .collect();
        for Test { path, like } in tests {
            let names: Vec<&str> = path.iter().map(String::as_str).collect();
            let told = match names.is_empty() {
                true => Some(told_of_resource(like)),
                false => tools.iter().find_map(|tool| told(tool, &names, like)),
            };
            let Some((message, help)) = told else { continue };
            let dotted = if names.is_empty() { "resource.uri".to_owned() } else { names.join(".") };
            let span = find_in(statement.text, &dotted);
            found.push(statement.warning(&compiled.reference.id, span, message, Some(help)));
        }
    }
    found
}

/// Files in which something can't be seen: who reviews them may take a comment for a policy in force, or not see one
/// (CVE-2021-42574). One warning a file.
fn disguised(engine: &Engine) -> Vec<Warning> {
    let warning = |file: &SourceFile| {
        let (at, c) = file.text.char_indices().find(|(at, c)| {
            let rest = file.text.get(*at..).unwrap_or_default();
            let plain = matches!(c, '\n' | '\t') || rest.starts_with("\r\n");
            !plain && is_unseen(*c)
        })?;
        Some(PolicyDiagnostic {
            severity: Severity::Warning,
            file: file.name.clone(),
            text: file.text.clone(),
            span: Some((at, c.len_utf8())),
            message: format!(
                "a character that can't be seen, U+{:04X}: what an editor shows here may not be what is in force",
                u32::from(c)
            ),
            help: Some("remove it; within a text write it as `\\u{…}`".to_owned()),
            policy: None,
            unknown_name: false,
        })
    };
    engine.sources.files.iter().filter_map(warning).collect()
}

/// A comparison of a text in the input with a pattern or a literal.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Test {
    /// The names below `context.input`; none for `resource.uri`.
    path: Vec<String>,
    /// Whether with a pattern.
    like: bool,
}

fn told(tool: &ToolEntry, names: &[&str], like: bool) -> Option<(String, String)> {
    let ty = tool.input.at(names)?;
    let what = if like { "`like`" } else { "`==`" };
    let name = names.join(".");
    if let (Type::Meant(meaning), Some((&"raw", outer))) = (ty, names.split_last()) {
        return Some((
            format!(
                "{what} on the raw {} of `{name}`: the same one can be spelt in other ways",
                meaning.as_str()
            ),
            format!("write `context.input.{}.normal`", outer.join(".")),
        ));
    }
    let Type::String { allowed: None } = ty else { return None };
    let words = words(names.last()?);
    let (meaning, _) =
        WORDS.iter().find(|(_, known)| words.iter().any(|word| known.contains(&word.as_str())))?;
    let example = match meaning {
        Meaning::Path => "`/srv/public/../secret` begins with `/srv/public/` too",
        Meaning::Uri => "`https://good.example@evil.example/` begins with `https://good.example` too",
        Meaning::Host => "`EVIL.example.` is `evil.example` too",
    };
    let server = tool.action.id().unescaped().split_once('/').map_or("NAME", |(server, _)| server).to_owned();
    Some((
        format!("{what} on the plain text of `{name}`: {example}"),
        format!(
            "configure `servers.{server}.inputs: {{ {}: [\"{name}\"] }}` and write `context.input.{name}.{}`",
            meaning.as_str(),
            if *meaning == Meaning::Uri { "host` or `.normal" } else { "normal" }
        ),
    ))
}

fn told_of_resource(like: bool) -> (String, String) {
    let what = if like { "`like`" } else { "`==`" };
    let example = "`file:///public/../secret` begins with `file:///public/` too";
    (
        format!("{what} on the text of `resource.uri`: {example}"),
        "write `resource has parts && resource.parts.path like …`, after `unless` in a `forbid`".to_owned(),
    )
}

/// The words of a name: `fileName`, `file_name` and `file-name` have two.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for c in name.chars() {
        if !c.is_alphanumeric() || c.is_uppercase() {
            words.push(String::new());
        }
        if let (true, Some(word)) = (c.is_alphanumeric(), words.last_mut()) {
            word.extend(c.to_lowercase());
        }
    }
    words
}

pub(super) fn applies(policy: &Policy, tool: &ToolEntry) -> bool {
    match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(action) => action == tool.action,
        ActionConstraint::In(actions) => {
            actions.iter().any(|action| *action == tool.action || tool.action_groups.contains(action))
        }
    }
}

/// Collects the tests in a condition; a comparison with one literal matters in a `forbid` only, where another spelling
/// passes it.
fn visit(node: &Value, forbid: bool, tests: &mut BTreeSet<Test>) {
    match node {
        Value::Object(members) => {
            for (key, value) in members {
                let sides = [value.get("left"), value.get("right")];
                let resource = sides.into_iter().flatten().any(is_resource_uri);
                if resource && (key == "like" || forbid && matches!(key.as_str(), "==" | "!=")) {
                    tests.insert(Test { path: Vec::new(), like: key == "like" });
                }
                let read = match key.as_str() {
                    "like" => sides.first().copied().flatten().and_then(path_of),
                    "==" | "!=" if forbid => sides.into_iter().flatten().find_map(path_of),
                    _ => None,
                };
                tests.extend(read.map(|path| Test { path, like: key == "like" }));
                visit(value, forbid, tests);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| visit(item, forbid, tests)),
        _ => {}
    }
}

/// Whether the expression is `resource.uri`.
fn is_resource_uri(node: &Value) -> bool {
    node.get(".").is_some_and(|access| {
        access.get("attr").is_some_and(|attr| attr == "uri")
            && access.get("left").and_then(|left| left.get("Var")).is_some_and(|var| var == "resource")
    })
}

/// The names below `context.input` that the expression reads.
fn path_of(node: &Value) -> Option<Vec<String>> {
    let access = node.get(".")?;
    let (left, name) = (access.get("left")?, access.get("attr")?.as_str()?);
    if name == "input" && left.get("Var").is_some_and(|var| var == "context") {
        return Some(Vec::new());
    }
    let mut path = path_of(left)?;
    path.push(name.to_owned());
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Catalogue, PolicySources};

    #[test]
    fn a_comment_that_turns_itself_around_to_pass_for_a_policy_is_told() {
        let forbid = "forbid (principal, action, resource);";
        let lint = |text: &str| {
            let sources = PolicySources::single("a.cedar", text);
            lint(&Engine::compile(&sources, &Catalogue::default()).unwrap().0)
        };
        let found = lint(&format!("{forbid} // \u{202e}all of it\u{2066} {forbid}\n"));
        assert_eq!(found.len(), 1);
        assert!(found[0].message.contains("U+202E"), "{}", found[0].message);
        assert!(lint(&format!("// ü\r\n\t{forbid}\r\n")).is_empty());
        assert_eq!(
            lint(&format!("// a\r{forbid}")).len(),
            1,
            "a carriage return alone ends no line everywhere"
        );
    }
}
