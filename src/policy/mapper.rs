//! From a tool's JSON Schema to the types that policies see.
//!
//! Every schema maps to something: what Cedar has no type for becomes [`Type::Text`], the value's canonical JSON.
//! Schemas come from tool servers and are hostile: no reference leaves the document, one that leads back to itself is
//! text where it does, and depth and size are bounded.

use std::collections::BTreeSet;

use super::join::{Mapped, both, either};
use super::json::Json;
use super::rules::Meaning;
use super::types::{Field, Record, Type};

/// Deepest nesting of schemas that is typed; below it everything is text.
const MAX_DEPTH: usize = 12;
/// Most subschemas of one tool that are typed; the rest is text.
const MAX_NODES: usize = 3_000;
/// Most values of `enum` and names of `required` that are taken over from one tool, each as often as it is referred
/// to: a reference is short and what it repeats need not be.
const MAX_NAMES: usize = 10_000;

/// The type of what fits `schema`, the whole `inputSchema` of a tool.
pub(super) fn map<'a>(schema: &'a Json<'a>) -> Type {
    Mapper { root: schema, nodes: 0, names: 0, within: Vec::new() }.map(schema, 0).ty
}

struct Mapper<'a> {
    root: &'a Json<'a>,
    nodes: usize,
    names: usize,
    /// The references that are being followed.
    within: Vec<&'a str>,
}

impl<'a> Mapper<'a> {
    /// Whether so many more names may be taken over.
    fn has_room(&mut self, names: usize) -> bool {
        self.names = self.names.saturating_add(names);
        self.names <= MAX_NAMES
    }

    fn map(&mut self, schema: &'a Json<'a>, depth: usize) -> Mapped {
        self.nodes += 1;
        if depth > MAX_DEPTH || self.nodes > MAX_NODES || !matches!(schema, Json::Object(_)) {
            return Mapped::TEXT;
        }
        let mut mapped = self.own(schema, depth);
        // Beside other keywords a reference is one more thing that must hold.
        if let Some(target) = schema.get("$ref").and_then(Json::as_str) {
            let referred = self.referred(target, depth);
            mapped = both(mapped, referred);
        }
        for part in schema.get("allOf").and_then(Json::as_array).unwrap_or_default() {
            let part = self.map(part, depth + 1);
            mapped = both(mapped, part);
        }
        for choices in ["anyOf", "oneOf"].into_iter().filter_map(|key| schema.get(key)) {
            let choice = self.choice(choices.as_array().unwrap_or_default(), depth);
            mapped = both(mapped, choice);
        }
        if let Type::Record(record) = &mut mapped.ty {
            self.conditional(schema, record, depth);
        }
        let nullable = schema.get("nullable") == Some(&Json::Bool(true));
        mapped.nullable |= nullable && mapped.ty != Type::Text;
        mapped
    }

    fn referred(&mut self, target: &'a str, depth: usize) -> Mapped {
        let Some(found) = self.resolve(target).filter(|_| !self.within.contains(&target)) else {
            return Mapped::TEXT;
        };
        self.within.push(target);
        let mapped = self.map(found, depth + 1);
        self.within.pop();
        mapped
    }

    /// What `type`, `const`, `enum`, `properties` and `items` say.
    fn own(&mut self, schema: &'a Json<'a>, depth: usize) -> Mapped {
        if let Some(value) = schema.get("const") {
            return of_values(std::slice::from_ref(value), true);
        }
        if let Some(values) = schema.get("enum").and_then(Json::as_array) {
            let room = self.has_room(values.len());
            return of_values(values, room);
        }
        let names: Vec<&str> = match schema.get("type") {
            Some(Json::String(name)) => vec![name.as_ref()],
            Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).collect(),
            _ if schema.get("properties").is_some() => vec!["object"],
            _ => return Mapped::TEXT,
        };
        let nullable = names.len() > 1 && names.contains(&"null");
        let names: Vec<&str> = names.into_iter().filter(|name| *name != "null").collect();
        let ty = match *names.as_slice() {
            ["string"] => match schema.get("format").and_then(Json::as_str) {
                Some("date-time") => Type::Datetime,
                Some("ipv4" | "ipv6") => Type::Ip,
                Some("uri") => Type::Meant(Meaning::Uri),
                _ => Type::String { allowed: None },
            },
            ["integer"] => Type::Long,
            ["number"] | ["integer", "number"] | ["number", "integer"] => Type::Decimal,
            ["boolean"] => Type::Bool,
            ["array"] => self.array(schema, depth),
            ["object"] => self.object(schema, depth),
            _ => Type::Text,
        };
        Mapped { nullable: nullable && ty != Type::Text, ty }
    }

    fn array(&mut self, schema: &'a Json<'a>, depth: usize) -> Type {
        let Some(items) = schema.get("items").filter(|_| schema.get("prefixItems").is_none()) else {
            return Type::Text;
        };
        match self.map(items, depth + 1) {
            Mapped { ty: Type::Text, .. } | Mapped { nullable: true, .. } => Type::Text,
            Mapped { ty, nullable: false } => Type::Set(Box::new(ty)),
        }
    }

    fn object(&mut self, schema: &'a Json<'a>, depth: usize) -> Type {
        let further = schema.get("additionalProperties");
        let patterns = schema.get("patternProperties").is_some();
        let closed = further == Some(&Json::Bool(false)) && !patterns;
        let others = patterns || matches!(further, Some(Json::Object(_) | Json::Bool(true)));
        let required = schema.get("required").and_then(Json::as_array).unwrap_or_default();
        // A policy that relies on what is not required here is found when it is compiled.
        let required = if self.has_room(required.len()) { required } else { &[] };
        let required: BTreeSet<&str> = required.iter().filter_map(Json::as_str).collect();
        let mut fields = Vec::new();
        if let Some(Json::Object(properties)) = schema.get("properties") {
            for (name, property) in properties {
                let Mapped { ty, nullable } = self.map(property, depth + 1);
                let required = required.contains(name.as_ref());
                let default = property.get("default").map(Json::to_owned);
                fields.push(Field { name: name.clone().into_owned(), ty, required, nullable, default });
            }
        }
        let typed: BTreeSet<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        let untyped: Vec<String> = required.difference(&typed).map(|name| (*name).to_owned()).collect();
        fields.extend(untyped.into_iter().map(|name| Field {
            name,
            ty: Type::Text,
            required: true,
            nullable: false,
            default: None,
        }));
        if fields.is_empty() && !closed && depth > 0 {
            return Type::Text;
        }
        Type::Record(Record { fields, closed, others })
    }

    fn choice(&mut self, choices: &'a [Json<'a>], depth: usize) -> Mapped {
        let mut nullable = false;
        let mut joined: Option<Type> = None;
        for choice in choices {
            if choice.get("type").and_then(Json::as_str) == Some("null")
                || choice.get("const") == Some(&Json::Null)
            {
                nullable = true;
                continue;
            }
            let mapped = self.map(choice, depth + 1);
            nullable |= mapped.nullable;
            joined = Some(match joined {
                None => mapped.ty,
                Some(before) => either(before, mapped.ty),
            });
        }
        match joined {
            None | Some(Type::Text) => Mapped::TEXT,
            Some(ty) => Mapped { ty, nullable },
        }
    }

    /// The properties that only some objects have: what `then`, `else` and schemas that depend on a property say.
    fn conditional(&mut self, schema: &'a Json<'a>, record: &mut Record, depth: usize) {
        let members = |key: &str| match schema.get(key) {
            Some(Json::Object(members)) => members.as_slice(),
            _ => &[],
        };
        let branches = ["then", "else"].into_iter().filter_map(|key| schema.get(key));
        let dependent = ["dependentSchemas", "dependencies"].into_iter().flat_map(members);
        let own = record.fields.len();
        for branch in branches.chain(dependent.map(|(_, branch)| branch)) {
            let Mapped { ty: Type::Record(found), .. } = self.map(branch, depth + 1) else { continue };
            record.others |= found.others;
            for field in found.fields {
                match record.fields.iter().position(|known| known.name == field.name) {
                    Some(at) if at < own => {}
                    Some(at) => {
                        if let Some(known) = record.fields.get_mut(at) {
                            known.ty = either(known.ty.clone(), field.ty);
                            known.nullable = (known.nullable || field.nullable) && known.ty != Type::Text;
                        }
                    }
                    None => record.fields.push(Field { required: false, default: None, ..field }),
                }
            }
        }
    }

    /// A reference within this document, as a JSON pointer (RFC 6901).
    fn resolve(&self, target: &str) -> Option<&'a Json<'a>> {
        let pointer = target.strip_prefix('#')?;
        (pointer.is_empty() || pointer.starts_with('/')).then(|| self.root.pointer(pointer))?
    }
}

/// The type of a closed list of values; the list of strings itself is kept only where there is room for it.
fn of_values(values: &[Json<'_>], room: bool) -> Mapped {
    let nullable = values.contains(&Json::Null);
    let values: Vec<_> = values.iter().filter(|value| **value != Json::Null).collect();
    let all = |test: fn(&Json<'_>) -> bool| !values.is_empty() && values.iter().all(|value| test(value));
    let ty = if all(|value| matches!(value, Json::String(_))) {
        let allowed = || values.iter().filter_map(|value| value.as_str()).map(str::to_owned).collect();
        Type::String { allowed: room.then(allowed) }
    } else if all(|value| matches!(value, Json::Bool(_))) {
        Type::Bool
    } else if all(
        |value| matches!(value, Json::Number(text) if super::number::integer(text) != super::number::Integer::Fraction),
    ) {
        Type::Long
    } else if all(|value| matches!(value, Json::Number(_))) {
        Type::Decimal
    } else {
        return Mapped::TEXT;
    };
    Mapped { ty, nullable }
}
