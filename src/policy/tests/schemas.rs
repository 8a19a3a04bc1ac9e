//! Schemas are a tool server's word, and a hostile one's too.

use std::collections::BTreeSet;

use crate::policy::json::parse;
use crate::policy::types::{Field, Record, Type};

fn of(properties: &str, definition: &str) -> Record {
    let text = format!(
        r#"{{"type":"object","$defs":{{"d":{definition}}},"properties":{{{properties}}},"required":["p0"]}}"#
    );
    Record::of_input(&parse(text.as_bytes()).unwrap())
}

#[test]
fn a_schema_that_repeats_itself_by_reference_does_not_grow_without_bound() {
    let references: Vec<String> = (0..500).map(|n| format!(r##""p{n}":{{"$ref":"#/$defs/d"}}"##)).collect();
    let names: Vec<String> = (0..4_000).map(|n| format!("\"v{n}\"")).collect();
    let (references, names) = (references.join(","), names.join(","));

    let listed = of(&references, &format!(r#"{{"enum":[{names}]}}"#));
    let kept = |field: &Field| match &field.ty {
        Type::String { allowed } => allowed.as_ref().map_or(0, BTreeSet::len),
        other => panic!("{other:?}"),
    };
    assert!(listed.fields.iter().map(kept).sum::<usize>() <= 10_000);

    let demanded = of(&references, &format!(r#"{{"type":"object","required":[{names}]}}"#));
    assert!(demanded.size() <= 10_500, "{}", demanded.size());
    assert!(demanded.fields.iter().any(|field| field.required), "the tool's own are counted first");
}
