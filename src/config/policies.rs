//! The `policies` key: files and directories, or an active set and a shadow set of them.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use serde_yaml::Spanned;

use super::located::{At, range};
use super::texts::Texts;

/// One text or a list of them, or both sets by name.
#[derive(Debug, Default)]
pub(super) struct Policies {
    /// What decides.
    pub(super) active: Texts,
    /// What is only measured.
    pub(super) shadow: Texts,
}

/// Both sets.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PolicySets {
    /// The policies in force: files, or directories whose `*.cedar` files are all taken.
    #[serde(default)]
    active: Texts,
    /// A candidate set that is evaluated beside them at every decision, recorded and counted, and never enforced.
    #[serde(default)]
    shadow: Texts,
}

impl<'de> Deserialize<'de> for Policies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        enum Shape {
            One(String),
            Many(Vec<At<String>>),
            Sets(PolicySets),
        }

        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Shape;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("one text, a list, or `active` and `shadow`")
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

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Shape, A::Error> {
                PolicySets::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(Shape::Sets)
            }
        }

        impl<'de> Deserialize<'de> for Shape {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Visitor)
            }
        }

        let spanned = Spanned::<Shape>::deserialize(deserializer)?;
        let active = |texts| Self { active: Texts(texts), shadow: Texts::default() };
        Ok(match spanned.value {
            Shape::One(value) => active(vec![At { value, span: range(spanned.referenced) }]),
            Shape::Many(many) => active(many),
            Shape::Sets(PolicySets { active, shadow }) => Self { active, shadow },
        })
    }
}

impl JsonSchema for Policies {
    fn schema_name() -> Cow<'static, str> {
        "Policies".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let sets = generator.subschema_for::<PolicySets>();
        json_schema!({ "oneOf": [sets, { "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}
