//! The `policies` key: files and directories, or an active set and a shadow set of them.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use super::forms::{self, Forms};
use super::located::At;
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
pub(super) struct PolicySets {
    /// The policies in force: files, or directories whose `*.cedar` files are all taken.
    #[serde(default)]
    active: Texts,
    /// A candidate set that is evaluated beside them at every decision, recorded and counted, and never enforced.
    #[serde(default)]
    shadow: Texts,
}

impl<'de> Forms<'de> for Policies {
    type Word = String;
    type Mapping = PolicySets;
    const EXPECTED: &'static str = "one text, a list, or `active` and `shadow`";

    fn word(one: At<String>) -> Self {
        Self { active: Texts(vec![one]), shadow: Texts::default() }
    }

    fn list(many: Vec<At<String>>) -> Option<Self> {
        Some(Self { active: Texts(many), shadow: Texts::default() })
    }

    fn mapping(PolicySets { active, shadow }: PolicySets) -> Option<Self> {
        Some(Self { active, shadow })
    }
}

impl<'de> Deserialize<'de> for Policies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        forms::read(deserializer)
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
