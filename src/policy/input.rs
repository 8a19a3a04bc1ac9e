//! From a call's arguments to the attributes that policies see, without loss.
//!
//! A value that doesn't fit the tool's schema is an error that names its place, never the value (I7). A property with
//! a value that fits but that Cedar can't hold exactly is left out and named as opaque: the call is refused if a policy
//! that applies can observe it.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use cedar_policy::RestrictedExpression as Expr;

use crate::domain::clock::Timestamp;
use crate::wire::folded;

use super::json::Json;
use super::number::{Integer, decimal, integer};
use super::types::{Field, Record, Type};

/// Suffix of the attribute that says whether a nullable property is `null`.
pub(super) const NULL: &str = "__null";
/// Suffix of the attribute with an array's length.
pub(super) const LENGTH: &str = "__length";
/// Suffix of the attribute with an array's canonical JSON text, which keeps the order that Cedar's sets lose.
pub(super) const JSON: &str = "__json";

/// Most elements of arrays, and properties of records in records, that one call's arguments make: each costs many
/// times its bytes in the message. What is larger counts as having no exact value.
const MAX_VALUES: usize = 20_000;

/// The arguments don't fit the tool's schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the argument at `{pointer}` {what}")]
pub(super) struct InputError {
    /// Where: a JSON pointer (RFC 6901) into `arguments`.
    pub(super) pointer: String,
    /// What is wrong with it.
    pub(super) what: &'static str,
}

/// The converted arguments.
#[derive(Debug)]
pub(super) struct Input {
    /// The value of `context.input`.
    pub(super) value: Expr,
    /// What was left out because Cedar can't hold it exactly.
    pub(super) opaque: Vec<Opaque>,
}

/// A value that has no exact Cedar value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Opaque {
    /// The tool's property that it is in; the whole property is left out.
    pub(super) property: String,
    /// Where it is: a JSON pointer into `arguments`.
    pub(super) pointer: String,
}

/// Converts `arguments` to the attributes of `record`.
pub(super) fn convert(record: &Record, arguments: &Json<'_>) -> Result<Input, InputError> {
    let mut converter = Converter::default();
    let value = converter.record(record, arguments)?;
    Ok(Input { value, opaque: converter.opaque })
}

/// Whether `value` is of type `ty`, exactly.
pub(super) fn fits(ty: &Type, value: &Json<'_>) -> bool {
    let mut converter = Converter::default();
    converter.value(ty, value).is_ok() && converter.opaque.is_empty()
}

/// The attributes that stand beside the property `field` for what its own type can't tell.
pub(super) fn companions<'a>(
    record: &'a Record,
    field: &'a Field,
) -> impl Iterator<Item = &'static str> + 'a {
    let null = field.nullable.then_some(NULL);
    let array = matches!(field.ty, Type::Set(_)).then_some([LENGTH, JSON]);
    let names = null.into_iter().chain(array.into_iter().flatten());
    names.filter(|suffix| record.field(&format!("{}{suffix}", field.name)).is_none())
}

#[derive(Default)]
struct Converter {
    path: String,
    /// How many records deep.
    depth: usize,
    /// The property of the outermost record that is being converted.
    property: String,
    opaque: Vec<Opaque>,
    /// Elements of arrays, and properties of records in records, so far.
    values: usize,
}

impl Converter {
    fn fail<T>(&self, what: &'static str) -> Result<T, InputError> {
        Err(InputError { pointer: self.pointer(), what })
    }

    /// Where it is, at most 200 characters of it: names are the caller's too.
    fn pointer(&self) -> String {
        self.path.chars().take(200).collect()
    }

    /// Notes that the value here has no exact Cedar value; what is returned is dropped with the property.
    fn unknown(&mut self) -> Expr {
        self.opaque.push(Opaque { property: self.property.clone(), pointer: self.pointer() });
        Expr::new_bool(false)
    }

    fn at<T>(&mut self, step: &str, inner: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        self.path.push('/');
        self.path.push_str(&step.replace('~', "~0").replace('/', "~1"));
        let result = inner(self);
        self.path.truncate(length);
        result
    }

    fn record(&mut self, record: &Record, value: &Json<'_>) -> Result<Expr, InputError> {
        let Json::Object(members) = value else { return self.fail("must be an object") };
        if self.depth > 0 && !self.has_room(record.fields.len()) {
            return Ok(self.unknown());
        }
        self.undeclared(record, members)?;
        let by_name: HashMap<&str, &Json<'_>> = members.iter().map(|(k, v)| (k.as_ref(), v)).collect();
        let mut pairs = Vec::with_capacity(record.fields.len() + 2);
        for field in &record.fields {
            let value = by_name.get(field.name.as_str()).copied();
            if self.depth == 0 {
                self.property.clone_from(&field.name);
            }
            self.depth += 1;
            self.at(&field.name, |this| this.field(record, field, value, &mut pairs))?;
            self.depth -= 1;
        }
        // Names are distinct by construction, so this can't fail.
        Expr::new_record(pairs).or_else(|_duplicate| self.fail("has two properties of one name"))
    }

    /// Refuses the properties that the tool does not have where it allows no others, and everywhere those that a
    /// lenient server would take for one that it has (I2): a policy sees only what is spelt as declared.
    fn undeclared(
        &mut self,
        record: &Record,
        members: &[(Cow<'_, str>, Json<'_>)],
    ) -> Result<(), InputError> {
        let declared: HashSet<&str> = record.fields.iter().map(|field| field.name.as_str()).collect();
        let names = members.iter().map(|(name, _)| name.as_ref());
        let mut others = names.filter(|name| !declared.contains(name)).peekable();
        let Some(first) = others.peek().copied() else { return Ok(()) };
        if record.closed {
            return self.at(first, |this| this.fail("is not a property that the tool has"));
        }
        let lookalikes: HashSet<String> = declared.iter().map(|name| folded(name)).collect();
        match others.find(|name| lookalikes.contains(&folded(name))) {
            Some(name) => self.at(name, |this| this.fail("could be taken for another property of the tool")),
            None => Ok(()),
        }
    }

    /// Whether so many more values may be converted.
    fn has_room(&mut self, values: usize) -> bool {
        self.values = self.values.saturating_add(values);
        self.values <= MAX_VALUES
    }

    fn field(
        &mut self,
        record: &Record,
        field: &Field,
        value: Option<&Json<'_>>,
        pairs: &mut Vec<(String, Expr)>,
    ) -> Result<(), InputError> {
        let value = match (value, &field.default) {
            (None, Some(default)) => Some(default),
            (None, None) if field.required => return self.fail("is missing"),
            (value, _) => value,
        };
        let null = value == Some(&Json::Null) && field.nullable;
        for suffix in companions(record, field) {
            let attribute = match (suffix, value) {
                (NULL, _) => Expr::new_bool(null),
                (LENGTH, Some(Json::Array(items))) => {
                    Expr::new_long(i64::try_from(items.len()).unwrap_or(i64::MAX))
                }
                (JSON, Some(array @ Json::Array(_))) => Expr::new_string(array.canonical()),
                _ => continue,
            };
            pairs.push((format!("{}{suffix}", field.name), attribute));
        }
        if let Some(value) = value.filter(|_| !null) {
            let before = self.opaque.len();
            let converted = self.value(&field.ty, value)?;
            if self.opaque.len() == before || self.depth > 1 {
                pairs.push((field.name.clone(), converted));
            }
        }
        Ok(())
    }

    fn value(&mut self, ty: &Type, value: &Json<'_>) -> Result<Expr, InputError> {
        Ok(match (ty, value) {
            (Type::Text, value) => Expr::new_string(value.canonical()),
            (Type::String { allowed }, Json::String(text)) => match allowed {
                Some(allowed) if !allowed.contains(text.as_ref()) => {
                    return self.fail("is not one of the values that the tool allows");
                }
                _ => Expr::new_string(text.clone().into_owned()),
            },
            (Type::String { .. }, _) => return self.fail("must be a string"),
            (Type::Long, Json::Number(text)) => match integer(text) {
                Integer::Exact(value) => Expr::new_long(value),
                Integer::TooLarge => self.unknown(),
                Integer::Fraction => return self.fail("must be an integer"),
            },
            (Type::Long, _) => return self.fail("must be an integer"),
            (Type::Decimal, Json::Number(text)) => match decimal(text) {
                Some(text) => Expr::new_decimal(text),
                None => self.unknown(),
            },
            (Type::Decimal, _) => return self.fail("must be a number"),
            (Type::Bool, Json::Bool(value)) => Expr::new_bool(*value),
            (Type::Bool, _) => return self.fail("must be a boolean"),
            (Type::Datetime, Json::String(text)) => match datetime(text) {
                Some(text) => Expr::new_datetime(text),
                None => self.unknown(),
            },
            (Type::Ip, Json::String(text)) => match text.parse::<IpAddr>() {
                Ok(ip) if plain_ip(&ip) => Expr::new_ip(ip.to_string()),
                _ => self.unknown(),
            },
            (Type::Datetime | Type::Ip, _) => return self.fail("must be a string"),
            (Type::Set(of), Json::Array(items)) => {
                if !self.has_room(items.len()) {
                    return Ok(self.unknown());
                }
                let mut values = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    values.push(self.at(&index.to_string(), |this| this.value(of, item))?);
                }
                Expr::new_set(values)
            }
            (Type::Set(_), _) => return self.fail("must be an array"),
            (Type::Record(record), value) => self.record(record, value)?,
        })
    }
}

/// The text of a Cedar `datetime` of exactly this moment: RFC 3339, whole milliseconds.
fn datetime(text: &str) -> Option<String> {
    let digits = text.split_once('.').map_or("", |(_, rest)| rest);
    let places = digits.bytes().take_while(u8::is_ascii_digit).count();
    // A leap second has no `datetime`; neither does what is finer than a millisecond.
    if places > 3 || text.get(17..19) == Some("60") {
        return None;
    }
    let at = Timestamp::parse_rfc3339(text)?;
    let written = at.to_rfc3339();
    // Years beyond four digits, or before 0, are written in a form that Cedar doesn't read.
    (written.len() == 24 && Timestamp::parse_rfc3339(&written) == Some(at)).then_some(written)
}

/// Cedar reads no IPv6 address with an embedded IPv4 one; `Display` writes mapped addresses that way.
fn plain_ip(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => !v6.to_string().contains('.'),
    }
}
