//! The JSON Schema of the configuration file, for editors; generated from the shapes.

use serde_json::Value;

use super::raw::Raw;

/// The schema as JSON.
pub(super) fn value() -> Value {
    schemars::schema_for!(Raw).to_value()
}

/// The schema as text, ending in a newline: what stands in `schemas/config.schema.json`.
pub fn json_schema() -> String {
    format!("{:#}\n", value())
}
