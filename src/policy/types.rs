//! The types that policies see: what a tool's JSON Schema came to.

use std::collections::BTreeSet;

use super::json::Json;
use super::mapper;
use super::rules::{InputRule, Meaning};

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
    /// `Path`, `Uri` or `Host`, of a string.
    Meant(Meaning),
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

    /// Gives texts the meaning that `rules` say, below `name`; each rule's use is noted.
    fn mean(&mut self, tool: &str, name: &str, rules: &mut [RuleUse<'_>]) {
        match self {
            Self::Record(record) => record.mean(tool, Some(name), rules),
            Self::Set(of) if matches!(**of, Self::Record(_)) => of.mean(tool, name, rules),
            _ => {
                let mut matching = rules.iter_mut().filter(|used| used.rule.is_for(tool, name));
                let Some(first) = matching.next() else { return };
                first.matched = true;
                matching.for_each(|used| used.matched = true);
                match self {
                    Self::String { .. } | Self::Meant(_) => *self = Self::Meant(first.rule.meaning),
                    Self::Set(of) if matches!(**of, Self::String { .. } | Self::Meant(_)) => {
                        **of = Self::Meant(first.rule.meaning);
                    }
                    _ => first.misfits.push(format!("{tool}:{name}")),
                }
            }
        }
    }
}

/// A rule, and what became of it.
#[derive(Debug)]
pub(super) struct RuleUse<'a> {
    /// The rule.
    pub(super) rule: &'a InputRule,
    /// Whether some argument has its name.
    pub(super) matched: bool,
    /// Arguments of its name that are no text.
    pub(super) misfits: Vec<String>,
}

/// An object with named properties.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Record {
    /// Its properties; names are distinct.
    pub(super) fields: Vec<Field>,
    /// Whether other properties are refused (`additionalProperties: false`).
    pub(super) closed: bool,
    /// Whether the schema says what other properties hold; they are then visible together, as text.
    pub(super) others: bool,
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
        match mapper::map(schema) {
            Type::Record(mut record) => {
                record.settle_defaults();
                record
            }
            _ => Self::default(),
        }
    }

    /// The same, with the meanings that `rules` give to the texts of the tool `tool`.
    pub(super) fn meaning(mut self, tool: &str, rules: &mut [RuleUse<'_>]) -> Self {
        if !rules.is_empty() {
            self.mean(tool, None, rules);
            self.settle_defaults();
        }
        self
    }

    fn mean(&mut self, tool: &str, within: Option<&str>, rules: &mut [RuleUse<'_>]) {
        for field in &mut self.fields {
            let name = within.map_or_else(|| field.name.clone(), |outer| format!("{outer}.{}", field.name));
            field.ty.mean(tool, &name, rules);
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

    /// What stands at the names `path`, one within the other, through sets.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Type> {
        let (first, rest) = path.split_first()?;
        let mut ty = &self.field(first)?.ty;
        while let Type::Set(of) = ty {
            ty = of;
        }
        match (rest.is_empty(), ty) {
            (true, ty) => Some(ty),
            (false, Type::Record(record)) => record.at(rest),
            (false, meant @ Type::Meant(_)) => Some(meant),
            _ => None,
        }
    }
}
