//! Finds every unknown key and every key without a value, in one look at the whole file.
//!
//! The typed reader stops at its first error; this walks the file beside the JSON Schema that the types
//! generate, so that an author sees all misspelt keys at once, each with the key that was probably meant.

use std::ops::Range;

use serde_json::{Map, Value};

use super::diagnostic::Mistakes;
use super::located::{At, Node};

/// Adds a mistake for each key that `schema` does not know and each known key that has no value.
pub(super) fn check(root: &At<Node>, schema: &Value, mistakes: &mut Mistakes) {
    let definitions = schema.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
    Walk { definitions, mistakes }.node(root, schema);
}

/// What other programs call a key, where its letters would lead to another.
const SYNONYMS: [(&str, &str); 4] =
    [("cmd", "command"), ("endpoint", "url"), ("environment", "env"), ("working_directory", "cwd")];

struct Walk<'a> {
    definitions: Map<String, Value>,
    mistakes: &'a mut Mistakes,
}

impl Walk<'_> {
    fn node(&mut self, node: &At<Node>, schema: &Value) {
        let schema = self.resolve(schema);
        match &node.value {
            Node::Map(entries) => {
                for (key, value) in entries {
                    self.entry(key, value, &schema);
                }
            }
            Node::List(items) => {
                if let Some(item) = schema.get("items") {
                    for node in items {
                        self.node(node, item);
                    }
                }
            }
            Node::Null | Node::Scalar => {}
        }
    }

    fn entry(&mut self, key: &At<String>, value: &At<Node>, schema: &Value) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let known = properties
            .and_then(|p| p.get(&key.value))
            .or_else(|| schema.get("additionalProperties").filter(|open| open.is_object()));
        match known {
            Some(_) if matches!(value.value, Node::Null) => {
                let message = format!("`{}` has no value", key.value);
                let help = format!("write one, or `{}: {{}}` for the defaults, or remove the key", key.value);
                self.mistakes.add(&key.span, message, help);
            }
            Some(known) => self.node(value, known),
            None => {
                if let Some(properties) = properties {
                    self.unknown(&key.span, &key.value, properties);
                }
            }
        }
    }

    fn unknown(&mut self, span: &Range<usize>, key: &str, properties: &Map<String, Value>) {
        let meant = SYNONYMS.iter().find(|(word, known)| *word == key && properties.contains_key(*known));
        if let Some((_, known)) = meant {
            self.mistakes.add(span, format!("unknown key `{key}`"), format!("did you mean `{known}`?"));
            return;
        }
        let near = properties.keys().map(|known| (distance(key, known), known)).min();
        let help = match near {
            Some((steps, known)) if steps <= 1 + known.len() / 4 => format!("did you mean `{known}`?"),
            _ => {
                let known: Vec<String> = properties.keys().map(|known| format!("`{known}`")).collect();
                format!("known here: {}", known.join(", "))
            }
        };
        self.mistakes.add(span, format!("unknown key `{key}`"), help);
    }

    /// Follows references and takes, of alternatives, the one that describes a mapping or a list.
    fn resolve(&self, schema: &Value) -> Value {
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            let name = name.trim_start_matches("#/$defs/");
            return self.definitions.get(name).map_or(Value::Null, |found| self.resolve(found));
        }
        for choice in ["anyOf", "oneOf"] {
            let choices = schema.get(choice).and_then(Value::as_array).into_iter().flatten();
            let structured = choices.map(|choice| self.resolve(choice)).find(|choice| {
                ["properties", "additionalProperties", "items"].iter().any(|k| choice.get(k).is_some())
            });
            if let Some(found) = structured {
                return found;
            }
        }
        schema.clone()
    }
}

/// Edit distance (Levenshtein) in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for (y, pair) in b.iter().zip(row.windows(2)) {
            let (diagonal, above) = match pair {
                [diagonal, above] => (*diagonal, *above),
                _ => continue,
            };
            let left = next.last().copied().unwrap_or(0);
            next.push((diagonal + usize::from(x != *y)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn distance_counts_edits() {
        for (a, b, expected) in
            [("", "abc", 3), ("listen", "listen", 0), ("lisen", "listen", 1), ("tpc", "tcp", 2)]
        {
            assert_eq!(distance(a, b), expected);
        }
    }
}
