//! One text or a list of them, as several keys of the file take it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use serde_yaml::Spanned;

use super::located::{At, range};

/// One text or a list of them.
#[derive(Debug, Default)]
pub(super) struct Texts(pub(super) Vec<At<String>>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        enum Shape {
            One(String),
            Many(Vec<At<String>>),
        }

        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Shape;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("one text or a list")
            }

            fn visit_str<E>(self, one: &str) -> Result<Shape, E> {
                Ok(Shape::One(one.to_owned()))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
                let mut many = Vec::new();
                while let Some(path) = seq.next_element()? {
                    many.push(path);
                }
                Ok(Shape::Many(many))
            }
        }

        impl<'de> Deserialize<'de> for Shape {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Visitor)
            }
        }

        let spanned = Spanned::<Shape>::deserialize(deserializer)?;
        Ok(Self(match spanned.value {
            Shape::One(value) => vec![At { value, span: range(spanned.referenced) }],
            Shape::Many(many) => many,
        }))
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
