//! From a call's arguments to the attributes that policies see, without loss.
//!
//! A property with a value that Cedar can't hold exactly, or that is not of the type that policies see, is left out and
//! named as opaque: the call is refused if a policy that applies can observe it. Whether the arguments fit the tool's
//! schema is the [checker](super::checker)'s to say; what is said of them names a place, never the value (I7).

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use cedar_policy::RestrictedExpression as Expr;

use crate::domain::clock::Timestamp;
use crate::wire::folded;

use super::json::Json;
use super::number::{Integer, decimal, integer};
use super::opaque::{FEWER, OF_ITS_TYPE, Opaque, plainly};
use super::path::Path;
use super::rules::Meaning;
use super::types::{Field, Record, Type};
use super::{host, path, uri};

/// Suffix of the attribute that says whether a nullable property is `null`.
pub(super) const NULL: &str = "__null";
/// Suffix of the attribute with an array's length.
pub(super) const LENGTH: &str = "__length";
/// Suffix of the attribute with an array's canonical JSON text, which keeps the order that Cedar's sets lose.
pub(super) const JSON: &str = "__json";
/// Suffix of the attribute with the folders that hold all paths of an array.
pub(super) const WITHIN: &str = "__within";
/// Suffix of the attribute with the hosts of all URIs or hosts of an array.
pub(super) const HOSTS: &str = "__hosts";
/// The attribute of a record with the properties that the schema does not name, as one object's canonical JSON text.
pub(super) const OTHER: &str = "__other";

/// Most elements of arrays, and properties of records in records, that one call's arguments make: each costs many
/// times its bytes in the message. What is larger counts as having no exact value.
const MAX_VALUES: usize = 20_000;
/// Most places of one property that are noted.
const MAX_NOTES: usize = 4;

/// The arguments don't fit the tool's schema, or no schema.
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
    /// What was left out because Cedar can't hold it exactly, or because it is of another type.
    pub(super) opaque: Vec<Opaque>,
    /// What is not as its type says, in the order in which it was found.
    pub(super) misfits: Vec<InputError>,
}

/// Converts `arguments` to the attributes of `record`.
///
/// # Errors
/// For what could be read as other arguments than these: no object, or names that could be taken for others.
pub(super) fn convert(record: &Record, arguments: &Json<'_>) -> Result<Input, InputError> {
    let mut converter = Converter::default();
    let value = converter.record(record, arguments)?;
    Ok(Input { value, opaque: converter.opaque, misfits: converter.misfits })
}

/// Whether `value` is of type `ty`, exactly.
pub(super) fn fits(ty: &Type, value: &Json<'_>) -> bool {
    let mut converter = Converter { depth: 1, ..Converter::default() };
    converter.value(ty, value).is_ok() && converter.opaque.is_empty() && converter.misfits.is_empty()
}

/// The attributes that stand beside the property `field` for what its own type can't tell.
pub(super) fn companions<'a>(
    record: &'a Record,
    field: &'a Field,
) -> impl Iterator<Item = &'static str> + 'a {
    let null = field.nullable.then_some(NULL);
    let array = matches!(field.ty, Type::Set(_)).then_some([LENGTH, JSON]);
    let meant = match &field.ty {
        Type::Set(of) => match **of {
            Type::Meant(Meaning::Path) => Some(WITHIN),
            Type::Meant(Meaning::Uri | Meaning::Host) => Some(HOSTS),
            _ => None,
        },
        _ => None,
    };
    let names = null.into_iter().chain(array.into_iter().flatten()).chain(meant);
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
    misfits: Vec<InputError>,
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

    /// Notes that what is here is not as its type says, and so has no value.
    fn misfit(&mut self, what: &'static str) -> Expr {
        if self.misfits.len() < MAX_NOTES {
            self.misfits.push(InputError { pointer: self.pointer(), what });
        }
        self.unknown(OF_ITS_TYPE)
    }

    /// Notes that the value here has no exact Cedar value; what is returned is dropped with the property.
    fn unknown(&mut self, wanted: &'static str) -> Expr {
        if self.opaque.iter().filter(|opaque| opaque.property == self.property).count() >= MAX_NOTES {
            return Expr::new_bool(false);
        }
        self.opaque.push(Opaque { property: self.property.clone(), pointer: self.pointer(), wanted });
        Expr::new_bool(false)
    }

    /// Notes that what stands beside a property has no exact value; in a record within a record nothing of it has.
    fn hide(&mut self, companion: String, pointer: String, wanted: &'static str) {
        if self.depth > 1 {
            self.unknown(wanted);
        } else {
            self.opaque.push(Opaque { property: companion, pointer, wanted });
        }
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
        let Json::Object(members) = value else {
            return if self.depth == 0 {
                self.fail("must be an object")
            } else {
                Ok(self.misfit("must be an object"))
            };
        };
        if self.depth > 0 && !self.has_room(record.fields.len()) {
            return Ok(self.unknown(FEWER));
        }
        let declared: HashSet<&str> = record.fields.iter().map(|field| field.name.as_str()).collect();
        self.undeclared(record, &declared, members)?;
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
        if record.others && record.field(OTHER).is_none() {
            let others =
                members.iter().filter(|(name, _)| !declared.contains(name.as_ref())).cloned().collect();
            pairs.push((OTHER.to_owned(), Expr::new_string(Json::Object(others).canonical())));
        }
        // Names are distinct by construction, so this can't fail.
        Expr::new_record(pairs).or_else(|_duplicate| self.fail("has two properties of one name"))
    }

    /// Refuses the properties that the tool does not have where it allows no others, and everywhere those that a
    /// lenient server would take for one that it has (I2): a policy sees only what is spelt as declared.
    fn undeclared(
        &mut self,
        record: &Record,
        declared: &HashSet<&str>,
        members: &[(Cow<'_, str>, Json<'_>)],
    ) -> Result<(), InputError> {
        let names = members.iter().map(|(name, _)| name.as_ref());
        let mut others = names.filter(|name| !declared.contains(name)).peekable();
        let Some(first) = others.peek().copied() else { return Ok(()) };
        if record.closed && self.misfits.len() < MAX_NOTES {
            // No policy sees it, so nothing of what they see is missing.
            let pointer = self.at(first, |this| this.pointer());
            self.misfits.push(InputError { pointer, what: "is not a property that the tool has" });
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
        let before = self.opaque.len();
        let value = match (value, &field.default) {
            (None, Some(default)) => Some(default),
            (None, None) if field.required => {
                self.misfit("is missing");
                None
            }
            (value, _) => value,
        };
        let null = value == Some(&Json::Null) && field.nullable;
        if let Some(value) = value.filter(|_| !null) {
            let converted = self.value(&field.ty, value)?;
            if self.opaque.len() == before || self.depth > 1 {
                pairs.push((field.name.clone(), converted));
            }
        }
        let exact = self.opaque.len() == before;
        for suffix in companions(record, field) {
            let name = format!("{}{suffix}", field.name);
            let attribute = match (suffix, value) {
                (NULL, _) => Some(Expr::new_bool(null)),
                (LENGTH, Some(Json::Array(items))) => i64::try_from(items.len()).ok().map(Expr::new_long),
                (JSON, Some(array @ Json::Array(_))) => Some(Expr::new_string(array.canonical())),
                // What is said of all of them is not known where one can't be read.
                (WITHIN | HOSTS, Some(Json::Array(items))) if exact => self.together(&field.ty, items),
                (_, None) if exact => continue,
                _ if null => continue,
                _ => None,
            };
            match attribute {
                Some(attribute) => pairs.push((name, attribute)),
                // Its own value says why; where that is exact, they are too many to be told of together.
                None => match self.opaque.get(before).cloned() {
                    Some(why) => self.hide(name, why.pointer, why.wanted),
                    None => self.hide(name, self.pointer(), FEWER),
                },
            }
        }
        Ok(())
    }

    fn value(&mut self, ty: &Type, value: &Json<'_>) -> Result<Expr, InputError> {
        Ok(match (ty, value) {
            (Type::Text, value) => Expr::new_string(value.canonical()),
            (Type::String { allowed }, Json::String(text)) => match allowed {
                Some(allowed) if !allowed.contains(text.as_ref()) => {
                    self.misfit("is not one of the values that the tool allows")
                }
                _ => Expr::new_string(text.clone().into_owned()),
            },
            (Type::Long, Json::Number(text)) => match integer(text) {
                Integer::Exact(value) => Expr::new_long(value),
                Integer::TooLarge => self.unknown("an integer of 64 bits"),
                Integer::Fraction => self.misfit("must be an integer"),
            },
            (Type::Long, _) => self.misfit("must be an integer"),
            (Type::Decimal, Json::Number(text)) => match decimal(text) {
                Some(text) => Expr::new_decimal(text),
                None => self.unknown("a number of at most four decimal places, below 922337203685477"),
            },
            (Type::Decimal, _) => self.misfit("must be a number"),
            (Type::Bool, Json::Bool(value)) => Expr::new_bool(*value),
            (Type::Bool, _) => self.misfit("must be a boolean"),
            (Type::Datetime, Json::String(text)) => match datetime(text) {
                Some(text) => Expr::new_datetime(text),
                None => self.unknown("a time as in RFC 3339, with whole milliseconds"),
            },
            (Type::Ip, Json::String(text)) => match text.parse::<IpAddr>() {
                Ok(ip) if plain_ip(&ip) => Expr::new_ip(ip.to_string()),
                _ => self.unknown("an IPv4 or IPv6 address"),
            },
            (Type::Meant(meaning), Json::String(text)) => match self.meant(*meaning, text) {
                Ok(record) => record,
                Err(wanted) => self.unknown(wanted),
            },
            (Type::String { .. } | Type::Datetime | Type::Ip | Type::Meant(_), _) => {
                self.misfit("must be a string")
            }
            (Type::Set(of), Json::Array(items)) => {
                if !self.has_room(items.len()) {
                    return Ok(self.unknown(FEWER));
                }
                let mut values = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    values.push(self.at(&index.to_string(), |this| this.value(of, item))?);
                }
                Expr::new_set(values)
            }
            (Type::Set(_), _) => self.misfit("must be an array"),
            (Type::Record(record), value) => self.record(record, value)?,
        })
    }

    /// What holds for all paths, URIs or hosts of an array; what can't be read among them is told with the array.
    /// `None` where they are too many: an empty set would say that there is none.
    fn together(&mut self, ty: &Type, items: &[Json<'_>]) -> Option<Expr> {
        let texts: Vec<&str> = items.iter().filter_map(Json::as_str).collect();
        let found: BTreeSet<String> = match ty {
            _ if !self.has_room(texts.len()) => return None,
            Type::Set(of) if **of == Type::Meant(Meaning::Path) => path::within(&texts),
            Type::Set(of) if **of == Type::Meant(Meaning::Uri) => {
                texts.into_iter().filter_map(uri::Uri::read).map(|uri| uri.host_name()).collect()
            }
            _ => texts.into_iter().filter_map(host::Host::with_port).map(|(host, _)| host.name).collect(),
        };
        Some(Expr::new_set(found.into_iter().map(Expr::new_string)))
    }

    /// What a text that is a path, a URI or a host says; else what would say something.
    fn meant(&mut self, meaning: Meaning, text: &str) -> Result<Expr, &'static str> {
        let record = match meaning {
            Meaning::Path => match Path::read(text) {
                Some(path) if !self.has_room(path.values()) => return Err(FEWER),
                path => path.and_then(|path| path.record()),
            },
            Meaning::Uri => uri::record(text),
            Meaning::Host => host::record(text),
        };
        record.ok_or(plainly(meaning))
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
