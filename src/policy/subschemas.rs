//! A tool's schema as the validator gets it, and how much it can make of a value.
//!
//! Only what has one meaning in this document stays: references out of it, patterns without linear time, identifiers
//! that would move references, and annotations that some drafts assert are taken out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value};

use super::checker::{Unchecked, is_linear, value_of};
use super::json::Json;

/// Keywords whose value is a schema.
const ONE: [&str; 10] = [
    "not",
    "if",
    "then",
    "else",
    "additionalProperties",
    "contains",
    "propertyNames",
    "unevaluatedProperties",
    "unevaluatedItems",
    "additionalItems",
];
/// Keywords whose value is an array of schemas.
const SEVERAL: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
/// Keywords whose value is an object of schemas.
const NAMED: [&str; 6] =
    ["properties", "patternProperties", "dependentSchemas", "$defs", "definitions", "dependencies"];
/// Keywords that are left out: they identify, or only annotate.
const LEFT_OUT: [&str; 9] = [
    "$id",
    "id",
    "$vocabulary",
    "$comment",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "examples",
    "default",
];
/// Keywords whose schemas are for the same value as the schema that they are in.
const IN_PLACE: [&str; 10] = [
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentSchemas",
    "dependencies",
    "propertyNames",
];
/// Keywords that depend on what the schemas beside them have looked at.
const UNEVALUATED: [&str; 2] = ["unevaluatedProperties", "unevaluatedItems"];
/// More than any count.
const ENDLESS: u64 = u64::MAX;
/// Longer than any way.
const ENDLESS_WAY: usize = usize::MAX;
/// Longest way from a schema to one that it leads to.
const MAX_WAY: usize = 256;
/// Longest way from a schema to one for the same value: a value that is nested 64 deep may go it at every level.
const MAX_IN_PLACE: usize = 24;
/// Most patterns of one tool that are checked: each is compiled, which takes longer than to read it.
const MAX_PATTERNS: usize = 256;
const NOT_LINEAR: &str = "its pattern can't be checked in linear time";
/// The names of types.
const TYPES: [&str; 7] = ["null", "boolean", "object", "array", "number", "string", "integer"];
/// The drafts, by what stands in `$schema`.
const DRAFTS: [&str; 5] = ["draft-04", "draft-06", "draft-07", "2019-09", "2020-12"];

/// A schema for the validator.
#[derive(Debug)]
pub(super) struct Plain {
    pub(super) value: Value,
    pub(super) unchecked: Vec<Unchecked>,
    /// How many patterns stand in it.
    pub(super) patterns: u64,
}

/// `schema` without what can't be checked.
pub(super) fn plain(schema: &Json<'_>) -> Plain {
    let mut copier = Copier {
        root: schema,
        unchecked: Vec::new(),
        path: String::new(),
        linear: HashMap::new(),
        patterns: 0,
    };
    let mut value = copier.copy(schema);
    let draft = schema.get("$schema").and_then(Json::as_str);
    if let (Some(draft), Value::Object(members)) = (draft, &mut value)
        && draft.contains("json-schema.org/")
        && DRAFTS.iter().any(|known| draft.contains(known))
    {
        members.insert("$schema".to_owned(), Value::String(draft.trim_end_matches('#').to_owned()));
    }
    Plain { value, unchecked: copier.unchecked, patterns: copier.patterns }
}

struct Copier<'a> {
    root: &'a Json<'a>,
    unchecked: Vec<Unchecked>,
    path: String,
    /// The patterns so far, and whether each takes linear time.
    linear: HashMap<&'a str, bool>,
    /// Those that are kept, as often as they stand.
    patterns: u64,
}

impl<'a> Copier<'a> {
    fn at<T>(&mut self, step: &str, inner: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        self.path.push('/');
        self.path.push_str(&step.replace('~', "~0").replace('/', "~1"));
        let result = inner(self);
        self.path.truncate(length);
        result
    }

    fn leave_out(&mut self, why: &'static str) {
        if self.unchecked.len() < 64 {
            self.unchecked.push(Unchecked { pointer: self.path.chars().take(200).collect(), why });
        }
    }

    /// Whether a pattern is checked; why not is noted at `step`.
    fn keeps(&mut self, pattern: &'a str, step: Option<&str>) -> bool {
        let known = self.linear.get(pattern).copied();
        let why = match known {
            None if self.linear.len() >= MAX_PATTERNS => "it has too many patterns",
            None if !*self.linear.entry(pattern).or_insert_with(|| is_linear(pattern)) => NOT_LINEAR,
            Some(false) => NOT_LINEAR,
            _ => {
                self.patterns += 1;
                return true;
            }
        };
        match step {
            Some(step) => self.at(step, |this| this.leave_out(why)),
            None => self.leave_out(why),
        }
        false
    }

    fn copy(&mut self, schema: &'a Json<'a>) -> Value {
        let Json::Object(members) = schema else { return value_of(schema, &mut 0) };
        let mut out = Map::new();
        for (key, value) in members {
            let copied = self.at(key, |this| this.keyword(key, value));
            if let Some(copied) = copied {
                out.insert(key.clone().into_owned(), copied);
            }
        }
        // What a pattern that is not checked would have allowed must not be refused as one property too many.
        if let (Some(Json::Object(all)), Some(Value::Object(kept))) =
            (schema.get("patternProperties"), out.get("patternProperties"))
            && kept.len() < all.len()
        {
            out.remove("additionalProperties");
            out.remove("unevaluatedProperties");
        }
        nullable(schema, &mut out);
        Value::Object(out)
    }

    fn keyword(&mut self, key: &str, value: &'a Json<'a>) -> Option<Value> {
        match (key, value) {
            (key, _) if LEFT_OUT.contains(&key) || key == "$schema" => None,
            ("$ref" | "$dynamicRef" | "$recursiveRef", Json::String(target)) => {
                let inside = target.strip_prefix('#');
                let found = inside.is_some_and(|pointer| {
                    !pointer.starts_with('/') || pointer.contains('%') || self.root.pointer(pointer).is_some()
                });
                if !found {
                    self.leave_out("it refers to what is not in the schema");
                    return None;
                }
                Some(value_of(value, &mut 0))
            }
            ("pattern", Json::String(pattern)) => self.keeps(pattern, None).then(|| value_of(value, &mut 0)),
            ("type", Json::String(name)) if !TYPES.contains(&name.as_ref()) => {
                self.leave_out("there is no such type");
                None
            }
            // Not a list of names: an old draft's flag.
            ("required", Json::Bool(_)) => None,
            ("required", Json::Array(names)) => {
                let names: BTreeSet<&str> = names.iter().filter_map(Json::as_str).collect();
                Some(names.into_iter().collect())
            }
            ("items", Json::Array(items)) => Some(self.list(items)),
            ("items", _) => Some(self.copy(value)),
            (key, Json::Array(items)) if SEVERAL.contains(&key) => Some(self.list(items)),
            (key, Json::Object(members)) if NAMED.contains(&key) => {
                let mut out = Map::new();
                for (name, schema) in members {
                    if key == "patternProperties" && !self.keeps(name, Some(name)) {
                        continue;
                    }
                    out.insert(name.clone().into_owned(), self.at(name, |this| this.copy(schema)));
                }
                Some(Value::Object(out))
            }
            (key, _) if ONE.contains(&key) => Some(self.copy(value)),
            _ => Some(value_of(value, &mut 0)),
        }
    }

    fn list(&mut self, items: &'a [Json<'a>]) -> Value {
        items
            .iter()
            .enumerate()
            .map(|(index, item)| self.at(&index.to_string(), |this| this.copy(item)))
            .collect()
    }
}

/// OpenAPI's `nullable` in words of JSON Schema.
fn nullable(schema: &Json<'_>, out: &mut Map<String, Value>) {
    if schema.get("nullable") != Some(&Json::Bool(true)) {
        return;
    }
    let null = Value::String("null".to_owned());
    match out.get_mut("type") {
        Some(Value::Array(names)) if !names.contains(&null) => names.push(null),
        Some(name @ Value::String(_)) => *name = Value::Array(vec![name.clone(), null]),
        _ => {}
    }
    if let Some(Value::Array(values)) = out.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
}

/// The schemas in `schema`, and whether each is for the same value.
fn children(schema: &Value) -> Vec<(&Value, bool)> {
    let Value::Object(members) = schema else { return Vec::new() };
    let mut out = Vec::new();
    for (key, value) in members {
        let in_place = IN_PLACE.contains(&key.as_str());
        match value {
            Value::Array(items) if SEVERAL.contains(&key.as_str()) || key == "items" => {
                out.extend(items.iter().map(|item| (item, in_place)));
            }
            Value::Object(named) if NAMED.contains(&key.as_str()) => {
                out.extend(named.values().map(|item| (item, in_place)));
            }
            _ if ONE.contains(&key.as_str()) || key == "items" => out.push((value, in_place)),
            _ => {}
        }
    }
    out
}

/// Where references lead.
struct Targets<'a> {
    root: &'a Value,
    anchors: BTreeMap<&'a str, Vec<&'a Value>>,
    /// What is known of a schema: how many it is, and how long the longest way in it; nothing while it is counted.
    known: BTreeMap<*const Value, Option<(u64, usize)>>,
}

impl<'a> Targets<'a> {
    fn new(root: &'a Value) -> Self {
        let mut targets = Self { root, anchors: BTreeMap::new(), known: BTreeMap::new() };
        targets.collect(root);
        targets
    }

    fn collect(&mut self, schema: &'a Value) {
        for key in ["$anchor", "$dynamicAnchor"] {
            if let Some(name) = schema.get(key).and_then(Value::as_str) {
                self.anchors.entry(name).or_default().push(schema);
            }
        }
        for (child, _) in children(schema) {
            self.collect(child);
        }
    }

    fn of(&self, schema: &'a Value) -> Vec<&'a Value> {
        let referred = ["$ref", "$dynamicRef", "$recursiveRef"].into_iter().filter_map(|key| schema.get(key));
        let targets = referred.filter_map(Value::as_str).filter_map(|target| target.strip_prefix('#'));
        targets
            .flat_map(|target| match target.starts_with('/') || target.is_empty() {
                true => self.root.pointer(target).into_iter().collect(),
                false => self.anchors.get(target).cloned().unwrap_or_default(),
            })
            .collect()
    }

    /// The schemas that `schema` is, with those that it leads to: all of them, or those for the same value only; and
    /// the longest way from one to the next. [`ENDLESS`] for one that leads back to itself, or too far: whoever
    /// follows it would need as deep a stack.
    fn count(&mut self, schema: &'a Value, all: bool, depth: usize) -> (u64, usize) {
        let key: *const Value = schema;
        match self.known.get(&key) {
            Some(Some(known)) => return *known,
            Some(None) => return (ENDLESS, 0),
            None if depth > MAX_WAY => return (ENDLESS, ENDLESS_WAY),
            None => {}
        }
        self.known.insert(key, None);
        let (mut count, mut way) = (1 + own(schema), 0);
        // To know what is not evaluated yet the validator asks each schema for the same value again, at every level.
        let again = if UNEVALUATED.iter().any(|key| schema.get(*key).is_some()) { 3 } else { 1 };
        let inner = children(schema).into_iter().filter(|(_, in_place)| all || *in_place);
        let inner: Vec<&Value> = inner.map(|(child, _)| child).chain(self.of(schema)).collect();
        for next in inner {
            let (more, further) = self.count(next, all, depth + 1);
            count = count.saturating_add(more.saturating_mul(again));
            way = way.max(further.saturating_add(1));
        }
        if way > MAX_WAY {
            (count, way) = (ENDLESS, ENDLESS_WAY);
        }
        self.known.insert(key, Some((count, way)));
        (count, way)
    }
}

/// The names and values that are looked at for one value.
fn own(schema: &Value) -> u64 {
    let length = |key: &str| match schema.get(key) {
        Some(Value::Array(items)) => items.len(),
        Some(Value::Object(members)) => members.len(),
        _ => 0,
    };
    let lengths = ["enum", "required", "properties", "patternProperties", "dependentRequired"].map(length);
    u64::try_from(lengths.iter().sum::<usize>()).unwrap_or(u64::MAX)
}

/// The most schemas that one value can meet at one place of `schema`; [`ENDLESS`] where a way through it has no end or
/// is too long to be followed.
pub(super) fn cost(schema: &Value) -> u64 {
    if Targets::new(schema).count(schema, true, 0).1 == ENDLESS_WAY {
        return ENDLESS;
    }
    let mut targets = Targets::new(schema);
    let mut waiting = vec![schema];
    let mut most = 0;
    while let Some(next) = waiting.pop() {
        let (count, way) = targets.count(next, false, 0);
        most = most.max(if way > MAX_IN_PLACE { ENDLESS } else { count });
        waiting.extend(children(next).into_iter().map(|(child, _)| child));
    }
    most
}

/// [`ENDLESS`] where a schema is referred to, 0 where none is.
pub(super) fn referred(schema: &Value) -> u64 {
    let mut waiting = vec![schema];
    while let Some(next) = waiting.pop() {
        if ["$ref", "$dynamicRef", "$recursiveRef"].into_iter().any(|key| next.get(key).is_some()) {
            return ENDLESS;
        }
        waiting.extend(children(next).into_iter().map(|(child, _)| child));
    }
    0
}

/// How many schemas `schema` is with every reference written out; [`ENDLESS`] for one that leads back to itself.
pub(super) fn expansion(schema: &Value) -> u64 {
    Targets::new(schema).count(schema, true, 0).0
}
