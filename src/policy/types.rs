//! From a tool's JSON Schema to the types that policies see.
//!
//! Every schema maps to something: what Cedar has no type for becomes [`Type::Text`], the value's canonical JSON.
//! Schemas come from tool servers and are hostile: no reference leaves the document, and depth and size are bounded.

use std::collections::BTreeSet;

use super::json::Json;

/// Deepest nesting of schemas that is typed; below it everything is text.
const MAX_DEPTH: usize = 12;
/// Most subschemas of one tool that are typed; the rest is text.
const MAX_NODES: usize = 2_000;
/// Most values of `enum` and names of `required` that are taken over from one tool, each as often as it is referred
/// to: a reference is short and what it repeats need not be.
const MAX_NAMES: usize = 10_000;

/// What policies see of one value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Type {
    /// `String`; `allowed` lists the values of an `enum` of strings.
    String { allowed: Option<BTreeSet<String>> },
    /// `Long`.
    Long,
    /// `Bool`.
    Bool,
    /// `decimal`.
    Decimal,
    /// `datetime`, of an RFC 3339 string.
    Datetime,
    /// `ipaddr`, of a string.
    Ip,
    /// `Set`; order and repetition are lost.
    Set(Box<Self>),
    /// A record.
    Record(Record),
    /// `String`: the canonical JSON text of whatever it is.
    Text,
}

impl Type {
    fn settle_defaults(&mut self) {
        match self {
            Self::Record(record) => record.settle_defaults(),
            Self::Set(of) => of.settle_defaults(),
            _ => {}
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Record(record) => record.size(),
            Self::Set(of) => of.size(),
            _ => 0,
        }
    }
}

/// An object with named properties.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Record {
    /// Its properties; names are distinct.
    pub(super) fields: Vec<Field>,
    /// Whether other properties are refused (`additionalProperties: false`).
    pub(super) closed: bool,
}

/// One property.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    /// Its name.
    pub(super) name: String,
    /// What it holds.
    pub(super) ty: Type,
    /// Whether it must be there.
    pub(super) required: bool,
    /// Whether it may be `null`.
    pub(super) nullable: bool,
    /// The value that the schema declares for when it is absent.
    pub(super) default: Option<Json<'static>>,
}

impl Field {
    /// Whether policies can rely on the attribute being there.
    pub(super) fn present(&self) -> bool {
        !self.nullable && (self.required || self.default.is_some())
    }
}

impl Record {
    /// The input of a tool whose `inputSchema` is `schema`.
    pub(super) fn of_input<'a>(schema: &'a Json<'a>) -> Self {
        let mut mapper = Mapper { root: schema, nodes: 0, names: 0 };
        match mapper.map(schema, 0).ty {
            Type::Record(mut record) => {
                record.settle_defaults();
                record
            }
            _ => Self::default(),
        }
    }

    /// Drops the declared defaults that are not of their own property's type.
    fn settle_defaults(&mut self) {
        for field in &mut self.fields {
            let fits = |default: &Json<'_>| match default {
                Json::Null if field.nullable => true,
                default => super::input::fits(&field.ty, default),
            };
            if field.default.as_ref().is_some_and(|default| !fits(default)) {
                field.default = None;
            }
            field.ty.settle_defaults();
        }
    }

    /// All properties, nested ones included.
    pub(super) fn size(&self) -> usize {
        self.fields.iter().map(|field| 1 + field.ty.size()).sum()
    }

    /// The property `name`.
    pub(super) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// A type, and whether `null` is allowed beside it.
#[derive(Debug, Clone, PartialEq)]
struct Mapped {
    ty: Type,
    nullable: bool,
}

impl Mapped {
    fn plain(ty: Type) -> Self {
        Self { ty, nullable: false }
    }

    const TEXT: Self = Self { ty: Type::Text, nullable: false };
}

struct Mapper<'a> {
    root: &'a Json<'a>,
    nodes: usize,
    names: usize,
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
        if let Some(target) = schema.get("$ref").and_then(Json::as_str) {
            return self.resolve(target).map_or(Mapped::TEXT, |found| self.map(found, depth + 1));
        }
        if let Some(value) = schema.get("const") {
            return of_values(std::slice::from_ref(value), true);
        }
        if let Some(values) = schema.get("enum").and_then(Json::as_array) {
            return of_values(values, self.has_room(values.len()));
        }
        let own = self.own(schema, depth);
        let nullable_flag = schema.get("nullable") == Some(&Json::Bool(true));
        let mut mapped = match schema.get("allOf").and_then(Json::as_array) {
            Some(parts) => parts.iter().fold(own, |all, part| {
                let part = self.map(part, depth + 1);
                both(all, part)
            }),
            None => own,
        };
        if mapped.ty == Type::Text {
            let choices = schema.get("anyOf").or(schema.get("oneOf")).and_then(Json::as_array);
            mapped = choices.map_or(mapped, |choices| self.choice(choices, depth));
        }
        mapped.nullable |= nullable_flag && mapped.ty != Type::Text;
        mapped
    }

    /// What `type`, `properties` and `items` alone say.
    fn own(&mut self, schema: &'a Json<'a>, depth: usize) -> Mapped {
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
        let closed = schema.get("additionalProperties") == Some(&Json::Bool(false))
            && schema.get("patternProperties").is_none();
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
        Type::Record(Record { fields, closed })
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
            joined = Some(joined.map_or(mapped.ty.clone(), |before| either(before, mapped.ty)));
        }
        match joined {
            None | Some(Type::Text) => Mapped::TEXT,
            Some(ty) => Mapped { ty, nullable },
        }
    }

    /// A reference within this document, as a JSON pointer (RFC 6901).
    fn resolve(&self, target: &str) -> Option<&'a Json<'a>> {
        let pointer = target.strip_prefix('#')?;
        let mut at = self.root;
        for step in pointer.split('/').skip(1) {
            let step = step.replace("~1", "/").replace("~0", "~");
            at = match at {
                Json::Array(items) => items.get(step.parse::<usize>().ok()?)?,
                object => object.get(&step)?,
            };
        }
        (pointer.is_empty() || pointer.starts_with('/')).then_some(at)
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

/// A type of all values of either type.
fn either(a: Type, b: Type) -> Type {
    match (a, b) {
        (a, b) if a == b => a,
        (Type::String { allowed: Some(mut a) }, Type::String { allowed: Some(b) }) => {
            a.extend(b);
            Type::String { allowed: Some(a) }
        }
        (Type::String { .. }, Type::String { .. }) => Type::String { allowed: None },
        (Type::Long, Type::Decimal) | (Type::Decimal, Type::Long) => Type::Decimal,
        (Type::Record(a), Type::Record(b)) => Type::Record(either_record(a, b)),
        _ => Type::Text,
    }
}

fn either_record(a: Record, b: Record) -> Record {
    let closed = a.closed && b.closed;
    let mut others = b.fields;
    let mut fields = Vec::new();
    for mut field in a.fields {
        match others.iter().position(|other| other.name == field.name).map(|at| others.swap_remove(at)) {
            None => (field.required, field.default) = (false, None),
            Some(other) => {
                field.required &= other.required;
                field.nullable |= other.nullable;
                field.default = field.default.filter(|default| other.default.as_ref() == Some(default));
                field.ty = either(field.ty, other.ty);
                field.nullable &= field.ty != Type::Text;
            }
        }
        fields.push(field);
    }
    fields.extend(others.into_iter().map(|field| Field { required: false, default: None, ..field }));
    Record { fields, closed }
}

/// A type of all values that are of both types; text is the type of everything.
fn both(a: Mapped, b: Mapped) -> Mapped {
    match (a.ty, b.ty) {
        (Type::Text, ty) => Mapped { ty, nullable: b.nullable },
        (ty, Type::Text) => Mapped { ty, nullable: a.nullable },
        (Type::Record(a), Type::Record(b)) => Mapped::plain(Type::Record(both_records(a, b))),
        (x, y) if x == y => Mapped { ty: x, nullable: a.nullable && b.nullable },
        _ => Mapped::TEXT,
    }
}

fn both_records(a: Record, b: Record) -> Record {
    let mut fields = a.fields;
    for other in b.fields {
        match fields.iter_mut().find(|field| field.name == other.name) {
            Some(field) => {
                field.required |= other.required;
                field.default = field.default.take().or(other.default);
                let left = Mapped { ty: field.ty.clone(), nullable: field.nullable };
                let merged = both(left, Mapped { ty: other.ty, nullable: other.nullable });
                (field.ty, field.nullable) = (merged.ty, merged.nullable);
            }
            None => fields.push(other),
        }
    }
    // `additionalProperties: false` in one branch refuses the other's properties; the union is what is visible.
    Record { fields, closed: false }
}
