//! Values that a JSON Schema takes, made from the schema, and others that are near to them.
//!
//! It knows the common keywords; for what it does not know (patterns, formats, conditions) it takes the schema's own
//! `examples`. What it makes is not said to fit: that is for a validator.

use serde_json::{Map, Value, json};

/// Numbers of a fixed sequence.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % bound.max(1)
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let at = self.below(items.len());
        items.get(at)
    }
}

/// A value for `schema`.
pub(super) fn value(root: &Value, schema: &Value, random: &mut Random, depth: usize) -> Value {
    let Value::Object(members) = schema else { return anything(random) };
    if let Some(examples) = members.get("examples").and_then(Value::as_array) {
        return random.pick(examples).cloned().unwrap_or(Value::Null);
    }
    let mut flat = Map::new();
    flatten(root, schema, random, &mut flat, 0);
    let array = |key: &str| flat.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    if let Some(value) = flat.get("const") {
        return value.clone();
    }
    if let Some(value) = random.pick(&array("enum")) {
        return value.clone();
    }
    if let Some(example) = random.pick(&array("examples")) {
        return example.clone();
    }
    let types = match flat.get("type") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(several)) => several.iter().filter_map(|t| t.as_str().map(str::to_owned)).collect(),
        _ if flat.contains_key("properties") || flat.contains_key("required") => vec!["object".to_owned()],
        _ => return anything(random),
    };
    match random.pick(&types).map(String::as_str) {
        Some("string") => string(&flat, random),
        Some("integer") => number(&flat, random, 1.0),
        Some("number") => number(&flat, random, 0.25),
        Some("boolean") => json!(random.below(2) == 0),
        Some("array") => items(root, &flat, random, depth),
        Some("object") => object(root, &flat, random, depth),
        _ => Value::Null,
    }
}

/// What a schema says together with its references, parts and one of its choices.
fn flatten(root: &Value, schema: &Value, random: &mut Random, into: &mut Map<String, Value>, steps: usize) {
    let Value::Object(members) = schema else { return };
    if steps > 20 {
        return;
    }
    for key in ["$ref", "$dynamicRef"] {
        if let Some(target) = members.get(key).and_then(Value::as_str).and_then(|t| resolve(root, t)) {
            flatten(root, target, random, into, steps + 1);
        }
    }
    for part in members.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        flatten(root, part, random, into, steps + 1);
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(choice) = members.get(key).and_then(Value::as_array).and_then(|c| random.pick(c)) {
            flatten(root, choice, random, into, steps + 1);
        }
    }
    for (key, value) in members {
        match (into.get_mut(key), value) {
            (Some(Value::Object(known)), Value::Object(more)) => known.extend(more.clone()),
            (Some(Value::Array(known)), Value::Array(more)) if key == "required" => {
                known.extend(more.clone())
            }
            _ => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}

fn resolve<'a>(root: &'a Value, target: &str) -> Option<&'a Value> {
    root.pointer(&target.strip_prefix('#')?.replace("%20", " "))
}

fn anything(random: &mut Random) -> Value {
    let values = [json!("s"), json!(7), json!(1.5), json!(true), json!([1]), json!({"k": "v"}), Value::Null];
    random.pick(&values).cloned().unwrap_or(Value::Null)
}

fn string(schema: &Map<String, Value>, random: &mut Random) -> Value {
    let bound = |key: &str, or: u64| schema.get(key).and_then(Value::as_u64).unwrap_or(or);
    let least = usize::try_from(bound("minLength", 0)).unwrap();
    let most = usize::try_from(bound("maxLength", 12)).unwrap();
    let length = least + random.below(most - least + 1);
    let letters = ['a', 'Z', '7', ' ', 'é', '\u{1f600}', '"', '/', '.'];
    Value::String((0..length).filter_map(|_| random.pick(&letters)).collect())
}

fn number(schema: &Map<String, Value>, random: &mut Random, step: f64) -> Value {
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    let step = bound("multipleOf").unwrap_or(step);
    let least = bound("minimum").or(bound("exclusiveMinimum").map(|low| low + step)).unwrap_or(-20.0);
    let most = bound("maximum").or(bound("exclusiveMaximum").map(|high| high - step)).unwrap_or(least + 40.0);
    let steps = ((most - least) / step).clamp(0.0, 100.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 100")]
    let taken = random.below(steps as usize + 1);
    let value = ((least / step).ceil() + f64::from(u32::try_from(taken).unwrap())) * step;
    #[expect(clippy::cast_possible_truncation, reason = "small")]
    if value.fract() == 0.0 { json!(value as i64) } else { json!(value) }
}

fn items(root: &Value, schema: &Map<String, Value>, random: &mut Random, depth: usize) -> Value {
    let bound = |key: &str| schema.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    let mut out = Vec::new();
    for prefix in schema.get("prefixItems").and_then(Value::as_array).into_iter().flatten() {
        out.push(value(root, prefix, random, depth + 1));
    }
    let least = bound("minItems").unwrap_or(0);
    let most = bound("maxItems").unwrap_or(least + 2);
    let wanted = if depth > 6 { least } else { least + random.below(most - least + 1) };
    if schema.get("items").is_none_or(|items| *items != Value::Bool(false)) {
        while out.len() < wanted {
            let item = value(root, schema.get("items").unwrap_or(&Value::Null), random, depth + 1);
            out.push(item);
        }
    }
    Value::Array(out)
}

fn object(root: &Value, schema: &Map<String, Value>, random: &mut Random, depth: usize) -> Value {
    let mut out = Map::new();
    let required: Vec<&str> = match schema.get("required") {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        let odds = if depth > 6 { usize::MAX } else { 2 + properties.map_or(0, Map::len) / 40 };
        if *property != Value::Bool(false) && (required.contains(&name.as_str()) || random.below(odds) == 0) {
            out.insert(name.clone(), value(root, property, random, depth + 1));
        }
    }
    for name in required {
        if !out.contains_key(name) {
            out.insert(name.to_owned(), anything(random));
        }
    }
    if let Some(further @ Value::Object(_)) = schema.get("additionalProperties")
        && random.below(2) == 0
        && depth < 6
    {
        out.insert("further".to_owned(), value(root, further, random, depth + 1));
    }
    Value::Object(out)
}

/// A value near to `value`: one place of it is another.
pub(super) fn mutant(value: &Value, random: &mut Random) -> Value {
    let mut copy = value.clone();
    match &mut copy {
        Value::Object(members) if !members.is_empty() && random.below(4) > 0 => {
            let names: Vec<String> = members.keys().cloned().collect();
            let name = random.pick(&names).unwrap();
            match random.below(4) {
                0 => {
                    members.remove(name);
                }
                1 => {
                    members.insert("surplus".to_owned(), json!([1]));
                }
                _ => {
                    let inner = mutant(members.get(name).unwrap_or(&Value::Null), random);
                    members.insert(name.clone(), inner);
                }
            }
        }
        Value::Array(items) if !items.is_empty() && random.below(3) > 0 => {
            let at = random.below(items.len());
            items[at] = mutant(&items[at], random);
        }
        other => *other = anything(random),
    }
    copy
}
