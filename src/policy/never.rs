//! What a policy asks for and no request has: attributes that no tool it is about takes, values that are never there.
//!
//! Cedar accepts `context has x` for any `x`, and every text beside `==`: such a condition is false for good, and a
//! `forbid` with it protects nothing.

use std::collections::BTreeSet;

use cedar_policy::{ActionConstraint, Policy};
use serde_json::Value;

use super::compile::find_in;
use super::diagnostic::Warning;
use super::engine::Engine;
use super::names::nearest;
use super::schema::BASE;
use super::types::{Record, Type};

/// What has few values, and which: the place that reads it, and the values.
const FEW: [(&str, &[&str]); 4] = [
    ("context.source", &["stdio", "unix", "tcp", "tls", "server"]),
    ("principal.evidence", &["peer", "bootstrap", "oidc", "mtls", "anonymous"]),
    ("principal.session.evidence", &["peer", "bootstrap", "oidc", "mtls", "anonymous"]),
    ("principal.session.transport", &["stdio", "unix", "tcp", "tls"]),
];
/// What lies between two numbers.
const BETWEEN: [(&str, i64, i64); 3] =
    [("context.local.weekday", 1, 7), ("context.local.hour", 0, 23), ("context.local.minute", 0, 59)];

/// Something that is never there.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Never {
    /// What stands in the policy, to be pointed at.
    needles: Vec<String>,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Never {
    /// Where it stands in `text`.
    pub(super) fn place(&self, text: &str) -> Option<(usize, usize)> {
        self.needles.iter().find_map(|needle| find_in(text, needle))
    }
}

/// See [`Engine::lint`].
pub(super) fn never(engine: &Engine) -> Vec<Warning> {
    let mut found = Vec::new();
    for (statement, compiled) in engine.sources.statements().zip(&engine.policies) {
        // Of a server that did not answer nobody knows what its tools take.
        let all = engine.catalogue.unanswered.is_empty();
        let tools = engine.tools.values().filter(|_| all).flat_map(|tools| tools.values());
        let tools = tools.map(|tool| (tool.action.id().unescaped(), &tool.input));
        for never in asked(&compiled.policy, tools) {
            let span = never.place(statement.text);
            found.push(statement.warning(&compiled.reference.id, span, never.message, never.help));
        }
    }
    found
}

/// What `policy` asks for in vain; `tools` are all that are known, by their action.
pub(super) fn asked<'a>(
    policy: &Policy,
    tools: impl Iterator<Item = (&'a str, &'a Record)>,
) -> BTreeSet<Never> {
    let inputs: Vec<&Record> =
        tools.filter(|(action, _)| is_about(policy, action)).map(|(_, input)| input).collect();
    let mut found = BTreeSet::new();
    if let Ok(json) = policy.to_json() {
        visit(json.get("conditions").unwrap_or(&Value::Null), &inputs, &mut found);
    }
    found
}

/// Whether the scope of `policy` has room for the tool whose action this is.
fn is_about(policy: &Policy, action: &str) -> bool {
    let server = action.split_once('/').map_or("", |(server, _)| server);
    let group = |id: &str| id == action || id == "tools/call" || id.strip_suffix("/*") == Some(server);
    match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(one) => one.id().unescaped() == action,
        ActionConstraint::In(several) => several.iter().any(|one| group(one.id().unescaped())),
    }
}

fn visit(node: &Value, inputs: &[&Record], found: &mut BTreeSet<Never>) {
    match node {
        Value::Object(members) => {
            for (key, value) in members {
                found.extend(match key.as_str() {
                    "has" => lacking(value, inputs),
                    "==" | "!=" => compared(value, inputs),
                    _ => None,
                });
                visit(value, inputs, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| visit(item, inputs, found)),
        _ => {}
    }
}

/// `base has name`, where nothing has it.
fn lacking(has: &Value, inputs: &[&Record]) -> Option<Never> {
    let name = has.get("attr")?.as_str()?;
    let base = path_of(has.get("left")?)?;
    let words: Vec<&str> = base.iter().map(String::as_str).collect();
    let needles = vec![format!("has {name}"), format!("has {name:?}"), format!(".{name}"), name.to_owned()];
    let near = |known: &BTreeSet<&str>| {
        nearest(name, known.iter().copied()).map(|near| format!("did you mean `{near}`?"))
    };
    let ["context", "input", within @ ..] = words.as_slice() else {
        let known = base_names();
        let message =
            format!("nothing has an attribute `{name}`, so `{} has {name}` is never true", words.join("."));
        return (!known.contains(name)).then(|| Never { needles, message, help: near(&known) });
    };
    let (mut known, mut records) = (BTreeSet::new(), 0);
    for input in inputs {
        let record = match within {
            [] => input,
            within => match input.at(within) {
                Some(Type::Record(record)) => record,
                None => continue,
                // It has attributes of its own: those of a path, say.
                Some(_) => return None,
            },
        };
        records += 1;
        known.extend(record.fields.iter().map(|field| field.name.as_str()));
        // What stands beside an argument is told from it by `__`.
        if record.others || name.contains("__") {
            return None;
        }
    }
    if records == 0 || known.contains(name) {
        return None;
    }
    let help = near(&known);
    let message = format!(
        "no tool that this policy is about takes `{name}`, so `{} has {name}` is never true",
        words.join(".")
    );
    Some(Never { needles, message, help })
}

/// A comparison with what is never there.
fn compared(sides: &Value, inputs: &[&Record]) -> Option<Never> {
    let (left, right) = (sides.get("left")?, sides.get("right")?);
    let (path, value) = match (path_of(left), right.get("Value")) {
        (Some(path), Some(value)) => (path, value),
        _ => (path_of(right)?, left.get("Value")?),
    };
    let whole = path.join(".");
    if let Some(number) = value.as_i64() {
        let (_, least, most) = BETWEEN.iter().find(|(place, ..)| *place == whole)?;
        let help = format!("it is {least} to {most}{}", if *least == 1 { ", and 1 is Monday" } else { "" });
        let message = format!("`{whole}` is never {number}");
        return (number < *least || number > *most).then(|| Never {
            needles: vec![whole],
            message,
            help: Some(help),
        });
    }
    let text = value.as_str()?;
    let words: Vec<&str> = path.iter().map(String::as_str).collect();
    let known: BTreeSet<&str> = match words.as_slice() {
        ["context", "input", within @ ..] => {
            let mut known = BTreeSet::new();
            for ty in inputs.iter().filter_map(|input| input.at(within)) {
                let Type::String { allowed: Some(allowed) } = ty else { return None };
                known.extend(allowed.iter().map(String::as_str));
            }
            known
        }
        _ => FEW.iter().find(|(place, _)| *place == whole)?.1.iter().copied().collect(),
    };
    if known.is_empty() || known.contains(text) {
        return None;
    }
    let help = match nearest(text, known.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => {
            format!("it is one of {}", known.iter().map(|k| format!("{k:?}")).collect::<Vec<_>>().join(", "))
        }
    };
    let needles = vec![format!("{text:?}"), whole.clone()];
    Some(Never { needles, message: format!("`{whole}` is never {text:?}"), help: Some(help) })
}

/// The names of an access: `context.input.path` has three.
fn path_of(node: &Value) -> Option<Vec<String>> {
    if let Some(variable) = node.get("Var") {
        return Some(vec![variable.as_str()?.to_owned()]);
    }
    let access = node.get(".")?;
    let mut path = path_of(access.get("left")?)?;
    path.push(access.get("attr")?.as_str()?.to_owned());
    Some(path)
}

/// Every attribute that stands in the part of the schema that is always there, and those of a tool call.
fn base_names() -> BTreeSet<&'static str> {
    let lines = BASE.lines().map(|line| line.split("//").next().unwrap_or_default());
    let words = lines.flat_map(|line| line.split([' ', '{', ',', '}']));
    let names = words.filter_map(|word| word.strip_suffix(':')).map(|word| word.trim_end_matches('?'));
    names.chain(["input"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Catalogue, PolicySources, ToolDefinition};

    fn told(condition: &str) -> Vec<String> {
        let raw = br#"{"name":"t","inputSchema":{"properties":{"mode":{"enum":["fast","slow"]},"head":{"type":"integer"},
            "deep":{"type":"object","properties":{"inner":{"type":"string"}}}}}}"#;
        let tools = vec![ToolDefinition::from_list_entry(raw).unwrap()];
        let text =
            format!("forbid (principal, action == Mcp::Action::\"f/t\", resource) unless {{ {condition} }};");
        let catalogue = Catalogue::of("f".parse().unwrap(), tools);
        let (engine, _) = Engine::compile(&PolicySources::single("p.cedar", &text), &catalogue).unwrap();
        let line = |w: Warning| {
            let (at, length) = w.span.unwrap();
            format!("{} ({}) at {}", w.message, w.help.unwrap_or_default(), &text[at..at + length])
        };
        never(&engine).into_iter().map(line).collect()
    }

    #[test]
    fn what_is_never_there_is_told_with_what_was_meant() {
        for (condition, parts) in [
            ("context.input has hed", ["takes `hed`", "did you mean `head`?", "at has hed"]),
            (
                "context.input has deep && context.input.deep has iner",
                ["takes `iner`", "`inner`", "has iner"],
            ),
            (
                "context.input has mode && context.input.mode == \"fsat\"",
                ["is never \"fsat\"", "\"fast\"", "at \"fsat\""],
            ),
            ("principal has executible", ["`executible`", "did you mean `executable`?", "executible"]),
            ("context.source == \"stdin\"", ["is never \"stdin\"", "\"stdio\"", "at \"stdin\""]),
            ("context.local.weekday == 0", ["is never 0", "1 is Monday", "context.local.weekday"]),
        ] {
            let told = told(condition);
            assert!(
                told.len() == 1 && parts.iter().all(|part| told[0].contains(part)),
                "{condition}: {told:?}"
            );
        }
    }

    #[test]
    fn what_may_be_there_is_not_spoken_of() {
        for condition in [
            "context.input has head && context.input.head == 7",
            "context.input has mode && context.input.mode == \"slow\"",
            "context.input has deep && context.input.deep has inner && context.input.deep.inner == \"x\"",
            "principal has uid && resource.annotations has readOnlyHint",
            "context.source == \"tls\" && context.local.weekday == 7",
        ] {
            assert_eq!(told(condition), Vec::<String>::new(), "{condition}");
        }
    }
}
