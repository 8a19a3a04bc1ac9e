//! The strict JSON reader.

use crate::policy::json::parse;
use proptest::prelude::*;

#[test]
fn what_another_parser_could_read_differently_is_refused() {
    for bad in [
        r#"{"a":1,"a":2}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#""\ud800""#,
        r#""\ud800\u0041""#,
        "01",
        "1.",
        "-",
        "+1",
        ".5",
        "1e",
        "nul",
        "[1,]",
        "{,}",
        "\"a\nb\"",
        "1 2",
        "",
        "\"",
        r#""\x""#,
        r#""\u00g0""#,
        r#""\u+123""#,
        "NaN",
    ] {
        assert!(parse(bad.as_bytes()).is_err(), "{bad}");
    }
    assert!(parse(b"\"\xff\"").is_err());
    let deep = "[".repeat(80) + &"]".repeat(80);
    assert_eq!(parse(deep.as_bytes()).unwrap_err().what, "nested too deeply");
}

#[test]
fn canonical_text_has_one_spelling() {
    let text = r#" {"b":[1.50e1, 9007199254740993],"a":"\u00e9\u0000\/","c":{}} "#;
    let expected = "{\"a\":\"é\\u0000/\",\"b\":[15,9007199254740993],\"c\":{}}";
    assert_eq!(parse(text.as_bytes()).unwrap().canonical(), expected);
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn it_reads_what_serde_json_writes_and_writes_what_serde_json_reads(value in any_json()) {
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let canonical = parse(text.as_bytes()).unwrap().canonical();
            let back: serde_json::Value = serde_json::from_str(&canonical).unwrap();
            prop_assert_eq!(&back, &value);
        }
    }

    #[test]
    fn it_accepts_nothing_that_serde_json_refuses(text in "[\\[\\]{}\",:0-9eE+.\\-a-fnrtu\\\\ ]{0,24}") {
        if parse(text.as_bytes()).is_ok() {
            prop_assert!(serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok());
        }
    }
}
