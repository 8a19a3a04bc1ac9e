//! One text or a list of them, as several keys of the file take it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::forms::{self, Forms};
use super::located::At;

/// One text or a list of them.
#[derive(Debug, Default)]
pub(super) struct Texts(pub(super) Vec<At<String>>);

impl<'de> Forms<'de> for Texts {
    type Word = String;
    type Mapping = IgnoredAny;
    const EXPECTED: &'static str = "one text or a list";

    fn word(one: At<String>) -> Self {
        Self(vec![one])
    }

    fn list(many: Vec<At<String>>) -> Option<Self> {
        Some(Self(many))
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        forms::read(deserializer)
    }
}

impl JsonSchema for Texts {
    fn schema_name() -> Cow<'static, str> {
        "Texts".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "oneOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}
