//! Whether arguments fit a tool's own JSON Schema, by a standard validator.
//!
//! The schema is a tool server's word, and a hostile one's too. Nothing outside of it is looked up. Patterns run in
//! linear time; one that can't (with look-around or back references) is not checked, and said to be so. What a schema
//! can make of one value by references is counted beforehand, and the work of a call is bounded: beyond that the
//! types alone are checked, or the call does not fit.

use std::sync::OnceLock;

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;

use super::input::InputError;
use super::json::Json;
use super::number::{Integer, integer};
use super::places::Places;
use super::subschemas::{Plain, cost, expansion, plain, referred};

/// Most schemas that one value may meet at one place.
const MAX_COST: u64 = 20_000;
/// Most steps that a call may take: the schemas that a value may meet, times the values.
const MAX_WORK: u64 = 50_000_000;
/// Largest schema, all its references written out, in which the place of a breach is looked for.
const MAX_EXPANSION: u64 = 50_000;
/// Largest program that a pattern may become, in bytes.
const MAX_PATTERN: usize = 64 * 1024;
/// Most bytes of texts that patterns may look at in one call, each counted for each pattern that could look at it.
const MAX_MATCHED: u64 = 256 * 1024 * 1024;

/// A tool's input schema, ready to judge arguments.
#[derive(Debug)]
pub(super) struct Checker {
    validator: Option<Validator>,
    /// The most schemas that a value may meet at one place.
    cost: u64,
    /// The most patterns that a text may meet.
    patterns: u64,
    /// The schema, where the validator may not be asked for the place of a breach, and what finds it then: made when it
    /// is first needed.
    winding: Option<(Value, OnceLock<Option<Places>>)>,
    /// What is not checked, and why.
    pub(super) unchecked: Vec<Unchecked>,
}

/// A part of a schema that is not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unchecked {
    /// Where: a JSON pointer into the schema.
    pub(super) pointer: String,
    /// Why.
    pub(super) why: &'static str,
}

/// What a checker says of arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They fit.
    Fits,
    /// They don't.
    Breach(InputError),
    /// The schema can't be judged by; its types are all there is.
    Unknown,
}

impl Checker {
    /// Of an `inputSchema`.
    pub(super) fn new(schema: &Json<'_>) -> Self {
        let Plain { value, mut unchecked, patterns } = plain(schema);
        let cost = cost(&value);
        // Where a pattern is referred to, it may stand once and be met at every step.
        let patterns = if patterns == 0 { 0 } else { patterns.max(referred(&value)).min(cost) };
        let validator = match cost <= MAX_COST {
            true => build(&value),
            false => None,
        };
        if validator.is_none() {
            let why = match cost <= MAX_COST {
                true => "it is not valid JSON Schema",
                false => "it makes too much of one value",
            };
            unchecked = vec![Unchecked { pointer: String::new(), why }];
        }
        let winding = expansion(&value) > MAX_EXPANSION;
        Self { validator, cost, patterns, winding: winding.then(|| (value, OnceLock::new())), unchecked }
    }

    /// Whether `arguments` fit.
    pub(super) fn check(&self, arguments: &Json<'_>) -> Verdict {
        let Some(validator) = &self.validator else { return Verdict::Unknown };
        let breach = |pointer: String, what| Verdict::Breach(InputError { pointer, what });
        let mut values = 0;
        let value = value_of(arguments, &mut values);
        let matched = if self.patterns == 0 { 0 } else { self.patterns.saturating_mul(bytes(arguments)) };
        if self.cost.saturating_mul(values) > MAX_WORK || matched > MAX_MATCHED {
            return breach(String::new(), "is too large to be checked against the tool's schema");
        }
        if validator.is_valid(&value) {
            return Verdict::Fits;
        }
        if let Some((schema, places)) = &self.winding {
            // Each step down asks again.
            let room = self.cost.saturating_mul(values) <= MAX_WORK / 64;
            let places = places.get_or_init(|| {
                drafts(schema).into_iter().find_map(|draft| Places::new(schema.clone(), &options(draft)))
            });
            let place = places.as_ref().filter(|_| room).map(|places| places.find(&value));
            let pointer = place.unwrap_or_default().chars().take(200).collect();
            return breach(pointer, "does not fit the tool's schema");
        }
        match validator.validate(&value) {
            Ok(()) => breach(String::new(), "does not fit the tool's schema"),
            Err(error) => {
                // The error's own text quotes the value (I7).
                let pointer = error.instance_path().as_str().chars().take(200).collect();
                breach(pointer, told(error.kind().keyword()))
            }
        }
    }
}

/// The bytes of all texts and names in a value.
fn bytes(json: &Json<'_>) -> u64 {
    let length = |text: &str| u64::try_from(text.len()).unwrap_or(u64::MAX);
    match json {
        Json::String(text) => length(text),
        Json::Array(items) => items.iter().map(bytes).sum(),
        Json::Object(members) => members.iter().map(|(name, value)| length(name) + bytes(value)).sum(),
        Json::Null | Json::Bool(_) | Json::Number(_) => 0,
    }
}

/// The drafts that a schema may be written in.
fn drafts(schema: &Value) -> Vec<Option<Draft>> {
    match schema.get("$schema") {
        Some(_) => vec![None],
        // Without a word on it, the current revision or what many still write.
        None => vec![Some(Draft::Draft202012), Some(Draft::Draft7), Some(Draft::Draft4)],
    }
}

fn build(schema: &Value) -> Option<Validator> {
    drafts(schema).into_iter().find_map(|draft| options(draft).build(schema).ok())
}

fn options(draft: Option<Draft>) -> jsonschema::ValidationOptions<'static> {
    let patterns = PatternOptions::regex().size_limit(MAX_PATTERN).dfa_size_limit(MAX_PATTERN);
    let options = jsonschema::options()
        .offline()
        // A `format` is an annotation (JSON Schema 2020-12 §7); policies that read one are refused what is none.
        .should_validate_formats(false)
        .with_pattern_options(patterns);
    match draft {
        Some(draft) => options.with_draft(draft),
        None => options,
    }
}

/// Whether the pattern can be checked in linear time.
pub(super) fn is_linear(pattern: &str) -> bool {
    options(Some(Draft::Draft202012)).build(&serde_json::json!({ "pattern": pattern })).is_ok()
}

/// The value for the validator. A number that is no 64-bit integer is the nearest `f64`, as almost every reader of JSON
/// has it; it is judged only, never forwarded, and policies see the exact one.
pub(super) fn value_of(json: &Json<'_>, values: &mut u64) -> Value {
    *values += 1;
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(text) => number(text),
        Json::String(text) => Value::String(text.clone().into_owned()),
        Json::Array(items) => Value::Array(items.iter().map(|item| value_of(item, values)).collect()),
        Json::Object(members) => Value::Object(
            members.iter().map(|(key, value)| (key.clone().into_owned(), value_of(value, values))).collect(),
        ),
    }
}

fn number(text: &str) -> Value {
    if let Ok(unsigned) = text.parse::<u64>() {
        return unsigned.into();
    }
    if let Integer::Exact(value) = integer(text) {
        return value.into();
    }
    let nearest: f64 = text.parse().unwrap_or_default();
    serde_json::Number::from_f64(nearest.clamp(f64::MIN, f64::MAX)).map_or(Value::Null, Value::Number)
}

/// A keyword's breach in words.
fn told(keyword: &str) -> &'static str {
    match keyword {
        "type" => "is not of a type that the tool takes",
        "required" | "dependentRequired" | "dependencies" => "lacks a property that the tool asks for",
        "enum" | "const" => "is not one of the values that the tool allows",
        "pattern" => "is not of the form that the tool asks for",
        "minLength" | "minItems" | "minProperties" => "is shorter than the tool asks for",
        "maxLength" | "maxItems" | "maxProperties" => "is longer than the tool allows",
        "minimum" | "exclusiveMinimum" => "is smaller than the tool asks for",
        "maximum" | "exclusiveMaximum" => "is larger than the tool allows",
        "multipleOf" => "is no multiple of what the tool asks for",
        "uniqueItems" => "has an item twice",
        "additionalProperties" | "unevaluatedProperties" | "propertyNames" => {
            "has a property that the tool does not have"
        }
        "additionalItems" | "unevaluatedItems" => "has more items than the tool takes",
        "anyOf" | "oneOf" => "is not exactly one of what the tool takes",
        _ => "does not fit the tool's schema",
    }
}
