//! Where in a call's arguments a breach of a schema is that leads back to itself.
//!
//! To ask the validator for its errors costs too much there: it collects those of every branch. Instead the arguments
//! are followed down the schema, and each part is asked only whether it fits.

use jsonschema::{ValidationOptions, ValidatorMap};
use serde_json::Value;

/// Most subschemas of a schema that is looked into.
const MAX_NODES: usize = 200;
/// Most steps down.
const MAX_STEPS: usize = 64;

/// A schema, ready to be followed.
#[derive(Debug)]
pub(super) struct Places {
    schema: Value,
    parts: ValidatorMap,
}

impl Places {
    /// Of a schema; none if it is too large, or can't be compiled part by part.
    pub(super) fn new(schema: Value, options: &ValidationOptions<'static>) -> Option<Self> {
        if nodes(&schema) > MAX_NODES {
            return None;
        }
        let parts = options.build_map(&schema).ok()?;
        Some(Self { schema, parts })
    }

    /// The JSON pointer of the innermost part of `value` that is known not to fit. `value` does not.
    pub(super) fn find(&self, value: &Value) -> String {
        let (mut at, mut place, mut value) = (String::new(), String::new(), value);
        for _ in 0..MAX_STEPS {
            let Some(next) = self.step(&at, value) else { break };
            at = next.at;
            if let Some((name, inner)) = next.inner {
                place.push('/');
                place.push_str(&escaped(&name));
                value = inner;
            }
        }
        place
    }

    /// A step from the subschema at the pointer `at`, which `value` does not fit.
    fn step<'v>(&self, at: &str, value: &'v Value) -> Option<Step<'v>> {
        let node = self.schema.pointer(at)?;
        let within = |key: &str, name: &str| format!("{at}/{key}/{}", escaped(name));
        let named = |name: &str, at: String, inner| Step { at, inner: Some((name.to_owned(), inner)) };
        let same = |at: String| Step { at, inner: None };
        if let Some(target) = node.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#'))
            && self.breaks(target, value)
        {
            return Some(same(target.to_owned()));
        }
        let properties = node.get("properties").and_then(Value::as_object);
        for (name, inner) in value.as_object().into_iter().flatten() {
            let own = match properties.is_some_and(|properties| properties.contains_key(name)) {
                true => within("properties", name),
                false => format!("{at}/additionalProperties"),
            };
            if self.breaks(&own, inner) {
                return Some(named(name, own, inner));
            }
        }
        for (index, inner) in value.as_array().into_iter().flatten().enumerate() {
            let index = index.to_string();
            let first = within("prefixItems", &index);
            let own = if self.schema.pointer(&first).is_some() { first } else { format!("{at}/items") };
            if self.breaks(&own, inner) {
                return Some(named(&index, own, inner));
            }
        }
        let branches = |key: &str| {
            let count = node.get(key).and_then(Value::as_array).map_or(0, Vec::len);
            (0..count).map(|index| within(key, &index.to_string())).collect::<Vec<_>>()
        };
        if let Some(broken) = branches("allOf").into_iter().find(|branch| self.breaks(branch, value)) {
            return Some(same(broken));
        }
        // Of alternatives the only one that is for such values at all.
        let fitting: Vec<String> = ["anyOf", "oneOf"]
            .iter()
            .flat_map(|key| branches(key))
            .filter(|branch| self.breaks(branch, value) && self.takes(branch, value))
            .collect();
        match fitting.as_slice() {
            [only] => Some(same(only.clone())),
            _ => None,
        }
    }

    /// Whether the subschema there is known not to fit `value`.
    fn breaks(&self, at: &str, value: &Value) -> bool {
        self.parts.get(&format!("#{at}")).is_some_and(|part| !part.is_valid(value))
    }

    /// Whether the subschema there is for values of this type.
    fn takes(&self, at: &str, value: &Value) -> bool {
        let mut node = self.schema.pointer(at);
        for _ in 0..MAX_STEPS {
            let target = node.and_then(|node| node.get("$ref")).and_then(Value::as_str);
            let Some(target) = target.and_then(|text| text.strip_prefix('#')) else { break };
            node = self.schema.pointer(target);
        }
        let ty = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let is = |named: &Value| named == ty || (ty == "number" && named == "integer");
        match node.and_then(|node| node.get("type")) {
            Some(Value::Array(types)) => types.iter().any(is),
            Some(named) => is(named),
            None => true,
        }
    }
}

/// One step down.
struct Step<'v> {
    /// The subschema.
    at: String,
    /// The part of the value that it is about, and its name, where it is not the same value.
    inner: Option<(String, &'v Value)>,
}

fn escaped(step: &str) -> String {
    step.replace('~', "~0").replace('/', "~1")
}

fn nodes(schema: &Value) -> usize {
    match schema {
        Value::Object(members) => 1 + members.values().map(nodes).sum::<usize>(),
        Value::Array(items) => items.iter().map(nodes).sum(),
        Value::Bool(_) => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_breach_deep_in_a_schema_that_leads_back_to_itself_has_a_place() {
        let schema = json!({ "type": "object", "properties": { "tree": { "$ref": "#/$defs/node" }, "a/b": {} },
            "$defs": { "node": { "type": "object", "required": ["name"], "properties": {
                "name": { "type": "string" },
                "children": { "type": "array", "items": { "$ref": "#/$defs/node" } },
                "next": { "anyOf": [{ "$ref": "#/$defs/node" }, { "type": "null" }] } },
                "additionalProperties": { "type": "integer" } } } });
        let options = jsonschema::options().with_draft(jsonschema::Draft::Draft202012);
        let places = Places::new(schema, &options).unwrap();
        for (value, place) in [
            (json!({ "tree": 1 }), "/tree"),
            (
                json!({ "tree": { "name": "a", "children": [{ "name": "b" }, { "name": 1 }] } }),
                "/tree/children/1/name",
            ),
            (json!({ "tree": { "name": "a", "next": { "name": "b", "next": {} } } }), "/tree/next/next"),
            (json!({ "tree": { "name": "a", "x/y": "no" } }), "/tree/x~1y"),
            (json!([]), ""),
        ] {
            assert_eq!(places.find(&value), place, "{value}");
        }
        let wide: serde_json::Map<String, Value> = (0..300).map(|n| (n.to_string(), json!({}))).collect();
        assert!(Places::new(json!({ "properties": wide }), &options).is_none());
    }
}
