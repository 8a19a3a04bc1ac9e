//! The strict scan against `serde_json`: whatever one accepts the other reads the same way.

use std::collections::HashSet;
use std::fmt;

use proptest::prelude::*;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::*;

/// `serde_json`'s reading of a text, refusing keys that stand twice.
struct NoDuplicates;

impl<'de> Deserialize<'de> for NoDuplicates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reference)
    }
}

struct Reference;

impl<'de> Visitor<'de> for Reference {
    type Value = NoDuplicates;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate keys")
    }
    fn visit_bool<E>(self, _: bool) -> Result<NoDuplicates, E> {
        Ok(NoDuplicates)
    }
    fn visit_i64<E>(self, _: i64) -> Result<NoDuplicates, E> {
        Ok(NoDuplicates)
    }
    fn visit_u64<E>(self, _: u64) -> Result<NoDuplicates, E> {
        Ok(NoDuplicates)
    }
    fn visit_f64<E>(self, _: f64) -> Result<NoDuplicates, E> {
        Ok(NoDuplicates)
    }
    fn visit_str<E>(self, _: &str) -> Result<NoDuplicates, E> {
        Ok(NoDuplicates)
    }
    fn visit_unit<E>(self) -> Result<NoDuplicates, E> {
        Ok(NoDuplicates)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<NoDuplicates, A::Error> {
        while seq.next_element::<NoDuplicates>()?.is_some() {}
        Ok(NoDuplicates)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NoDuplicates, A::Error> {
        let mut seen = HashSet::new();
        while let Some((key, _)) = map.next_entry::<String, NoDuplicates>()? {
            if !seen.insert(key) {
                return Err(de::Error::custom("duplicate"));
            }
        }
        Ok(NoDuplicates)
    }
}

/// `None` where `serde_json` can't tell: a number that it can't hold.
fn reference(text: &[u8]) -> Option<bool> {
    match serde_json::from_slice::<NoDuplicates>(text) {
        Ok(_) => Some(true),
        Err(e) if e.to_string().contains("out of range") => None,
        Err(_) => Some(false),
    }
}

/// JSON as text, odd in every way that a text can be odd, and now and then no JSON.
fn json(keys: &'static [&'static str]) -> impl Strategy<Value = String> {
    let scalar = proptest::sample::select(vec![
        "0",
        "-1",
        "1.5e3",
        "9007199254740993",
        "1e400",
        "true",
        "false",
        "null",
        "\"\"",
        "\"a\\u0000b\"",
        "\"😀\"",
        "\"\\ud83d\\ude00\"",
        "\"x\\n\"",
        "\"{\\\"a\\\":1}\"",
    ]);
    let broken = proptest::sample::select(vec![
        "01",
        "\"\\ud800\"",
        "\"\n\"",
        "nul",
        "",
        "\"\\x\"",
        "[1,]",
        "{\"a\":1,\"a\":2}",
    ]);
    let leaf = prop_oneof![60 => scalar, 1 => broken].prop_map(str::to_owned);
    let key = proptest::sample::select(keys);
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let space = "[ \t\r\n]{0,2}";
        let list = |items: Vec<(String, String)>| {
            items
                .into_iter()
                .map(|(space, item)| format!("{space}{item}{space}"))
                .collect::<Vec<_>>()
                .join(",")
        };
        let member = (key.clone(), space, inner.clone())
            .prop_map(|(key, space, value)| format!("\"{key}\"{space}:{space}{value}"));
        prop_oneof![
            proptest::collection::vec((space, inner), 0..4)
                .prop_map(move |items| format!("[{}]", list(items))),
            proptest::collection::vec((space, member), 0..5)
                .prop_map(move |items| format!("{{{}}}", list(items))),
        ]
    })
}

const KEYS: &[&str] =
    &["a", "b", "c", "d", "A", r"\u0061", "é", r"\u00e9", "name", "", "a b", r"\n", "😀", r"\ud83d\ude00"];
const TWINS: &[&str] = &[
    "name",
    "x",
    "X",
    "y",
    "z",
    "arguments",
    "Name",
    "argument\u{17f}",
    r"name\u0000",
    "uri",
    "é",
    "e\u{301}",
    "É",
    r"\u0079",
];

/// The members' keys of an object that `serde_json` reads.
fn keys_of(value: &Value) -> Vec<String> {
    value.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
}

/// Whether two of these could be taken for one another; the reference for small sets.
fn have_twins(keys: &[String]) -> bool {
    let seen: Vec<_> = keys.iter().map(|k| k.replace('\0', "")).collect();
    let pair = |(i, a): (usize, &String)| {
        seen.iter().skip(i + 1).any(|b| caseless::compatibility_caseless_match_str(a, b))
    };
    seen.iter().enumerate().any(pair)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_scan_accepts_what_serde_json_accepts_without_duplicates(text in json(KEYS)) {
        if let Some(expected) = reference(text.as_bytes()) {
            prop_assert_eq!(strict::check(text.as_bytes(), 64).is_ok(), expected, "{}", text);
        }
    }

    #[test]
    fn a_text_with_one_byte_changed_is_read_alike(text in json(KEYS), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = text.into_bytes();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(expected) = reference(&bytes) {
            prop_assert_eq!(strict::check(&bytes, 64).is_ok(), expected, "{}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn an_accepted_message_means_to_us_what_it_means_to_serde_json(params in json(TWINS), arguments in json(KEYS)) {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":"i\u0064","method":"x/y","params":{{"p":{params},"name":"n\u0061","arguments":{arguments}}}}}"#
        );
        let (Ok(frame), Ok(value)) = (parse(&text), serde_json::from_str::<Value>(&text)) else { return Ok(()) };
        let same = |raw: Option<&[u8]>, pointer: &str| {
            raw.map(|raw| serde_json::from_slice::<Value>(raw).unwrap()) == value.pointer(pointer).cloned()
        };
        prop_assert_eq!(serde_json::from_slice::<Value>(frame.bytes()).unwrap(), value.clone());
        prop_assert!(same(frame.params(), "/params"));
        prop_assert!(frame.arguments().is_none() || same(frame.arguments(), "/params/arguments"));
        prop_assert_eq!(frame.arguments().is_some(), value["params"]["arguments"].is_object());
        prop_assert_eq!(frame.name(), Some("na"));
        prop_assert_eq!(frame.id(), Some(&RequestId::from("id")));
    }

    #[test]
    fn params_are_refused_exactly_when_they_hold_twins(
        keys in proptest::sample::subsequence(TWINS, 0..6).prop_shuffle(),
        arguments in proptest::sample::subsequence(TWINS, 0..6).prop_shuffle(),
    ) {
        let object = |keys: &[&str], last: &str| {
            let members: Vec<_> = keys.iter().map(|k| format!("\"{k}\":{}", if *k == "arguments" { last } else { "1" })).collect();
            format!("{{{}}}", members.join(","))
        };
        let params = object(&keys, &object(&arguments, "1"));
        prop_assume!(reference(params.as_bytes()) == Some(true));
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x/y","params":{params}}}"#);
        let value: Value = serde_json::from_str(&params).unwrap();
        let mut keys = keys_of(&value);
        keys.extend(["name", "arguments", "uri"].map(str::to_owned));
        keys.sort();
        keys.dedup();
        let expected = have_twins(&keys) || have_twins(&keys_of(&value["arguments"]));
        let got = parse(&text).map_err(|e| e.reason);
        prop_assert_eq!(got.is_err(), expected, "{} {:?}", text, got);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
        let _ = batch::split(bytes.clone(), &Limits::default());
        let _ = strict::check(&bytes, 8);
    }
}
