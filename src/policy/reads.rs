//! Which arguments a policy can observe: found once, when it is compiled.
//!
//! Needed where an argument has no exact Cedar value: the policies that can't observe it are evaluated without it,
//! and one that can makes the call be refused. In doubt a policy counts as observing.

use std::collections::HashSet;

use serde_json::Value;

/// What a policy can observe of `context.input`.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Every name and text that its conditions mention; an attribute that is not among them is not read by name.
    mentioned: HashSet<String>,
    /// Whether it uses `context` or `context.input` as a whole, as in a comparison.
    whole: bool,
    /// Whether its conditions could not be looked at.
    unread: bool,
}

impl Reads {
    /// Of a policy's conditions in Cedar's JSON format; without them anything may be read.
    pub(super) fn of(conditions: Option<&Value>) -> Self {
        let mut reads = Self::default();
        match conditions {
            Some(conditions) => reads.visit(conditions),
            None => (reads.whole, reads.unread) = (true, true),
        }
        reads
    }

    /// Whether it uses `context` or its input as a whole.
    pub(super) const fn whole(&self) -> bool {
        self.whole
    }

    /// Whether the name `name` stands anywhere in the conditions: an attribute can't be read without its name.
    pub(super) fn mentions(&self, name: &str) -> bool {
        self.unread || self.mentioned.contains(name)
    }

    /// Whether it can observe any property of the input.
    pub(super) fn any(&self) -> bool {
        self.whole || self.mentioned.contains("input")
    }

    /// Whether it can observe the property `name` of the input, or anything in it.
    pub(super) fn observes(&self, name: &str) -> bool {
        self.whole || self.mentioned.contains(name)
    }

    fn visit(&mut self, node: &Value) {
        match node {
            Value::Object(members) => {
                for (key, value) in members {
                    self.mentioned.insert(key.clone());
                    let access = matches!(key.as_str(), "." | "has").then(|| value.get("left")).flatten();
                    match access {
                        // `context.time`, `context has input`, `context.input.path`: what is read has its name in it.
                        Some(left) if is_context(left) && is_part(key, value) => self.mention(value),
                        Some(left) if is_input(left) => self.mention(value),
                        _ if key == "Var" && value == "context" => self.whole = true,
                        _ => self.visit(value),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.visit(item)),
            Value::String(text) => {
                self.mentioned.insert(text.clone());
            }
            _ => {}
        }
    }

    /// Notes every text below `node` without looking at its structure.
    fn mention(&mut self, node: &Value) {
        match node {
            Value::Object(members) => members.values().for_each(|value| self.mention(value)),
            Value::Array(items) => items.iter().for_each(|item| self.mention(item)),
            Value::String(text) => {
                self.mentioned.insert(text.clone());
            }
            _ => {}
        }
    }
}

fn is_context(node: &Value) -> bool {
    node.get("Var").is_some_and(|var| var == "context")
}

/// `context.input`
fn is_input(node: &Value) -> bool {
    node.get(".").is_some_and(|access| {
        access.get("left").is_some_and(is_context) && access.get("attr").is_some_and(|attr| attr == "input")
    })
}

/// A test for, or the value of, an attribute of `context`; `context.input` as a value is the whole of it.
fn is_part(operator: &str, access: &Value) -> bool {
    operator == "has" || access.get("attr").is_some_and(|attr| attr.is_string() && attr != "input")
}

#[cfg(test)]
mod tests {
    use cedar_policy::Policy;

    use super::*;

    #[test]
    fn an_attribute_is_observed_by_name_or_with_the_whole() {
        for (condition, observed) in [
            ("context.input.n > 1", true),
            ("context.input has n", true),
            ("context has input.n", true),
            ("context[\"input\"][\"n\"] > 1", true),
            ("(if true then context.input else context.input).n > 1", true),
            ("context.input == {m: 1}", true),
            ("context == {m: 1}", true),
            ("[context.input].contains({m: 1})", true),
            ("{m: context}.m.input.m > 1", true),
            ("context.input.who.n > 1", true),
            ("context.input.m > 1 && context.source == \"x\"", false),
            ("context has input && context.input has m && context.input.m.k == 1", false),
            ("principal.session.calls > 1", false),
            ("true", false),
        ] {
            for kind in ["when", "unless"] {
                let text = format!("permit (principal, action, resource) {kind} {{ {condition} }};");
                let json = Policy::parse(None, &text).unwrap().to_json().unwrap();
                let reads = Reads::of(json.get("conditions"));
                assert_eq!(reads.observes("n"), observed, "{text} {reads:?}");
            }
        }
    }
}
