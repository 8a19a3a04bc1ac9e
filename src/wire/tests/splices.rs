use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const TRACED: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}}}"#;

#[test]
fn a_parent_id_is_replaced_in_place_and_only_where_it_stands_plain() {
    let traced = parse(TRACED).unwrap().with_trace_parent_id(7u64.to_be_bytes());
    assert_eq!(&traced.bytes()[..], TRACED.replace("00f067aa0ba902b7", "0000000000000007").as_bytes());
    assert_eq!(traced.traceparent().unwrap().parent_id, 7u64.to_be_bytes());
    for text in [
        TRACED.replace("00-4b", r"00\u002d4b"),
        TRACED.replace("4bf9", "4BF9"),
        TRACED.replace("-01", "-01-00"),
        TRACED.replace("_meta", "meta"),
        TRACED.replace(
            r#""00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01""#,
            &format!("[{}]", "1,".repeat(27) + "1"),
        ),
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#.to_owned(),
    ] {
        let frame = parse(&text).unwrap();
        assert_eq!(frame.traceparent(), None, "{text}");
        assert_eq!(&frame.with_trace_parent_id([1; 8]).bytes()[..], text.as_bytes());
    }
}

#[test]
fn filtering_cuts_entries_out_and_leaves_every_other_byte() {
    let list = |entries: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{ "tools" :{entries}, "nextCursor":"c\u0031" }} }}"#)
    };
    let (a, b, c) =
        (r#"{"name":"a","x":["],",{}]}"#, r#"{ "x":{"name":"no"}, "name":"\u0062" }"#, r#"{"name":"c"}"#);
    let all = format!("[ {a} ,  {b},{c} ]");
    let keep = |names: &'static [&'static str], text: &str| {
        let frame = parse(text).unwrap();
        let (frame, removed) =
            lists::filter(&frame, "tools", &Limits::default(), |n, _| names.contains(&n)).unwrap();
        (String::from_utf8(frame.bytes().to_vec()).unwrap(), removed)
    };
    assert_eq!(keep(&["a", "b", "c"], &list(&all)), (list(&all), 0));
    assert_eq!(keep(&["a", "c"], &list(&all)), (list(&format!("[ {a} ,{c} ]")), 1));
    assert_eq!(keep(&["b"], &list(&all)), (list(&format!("[  {b}]")), 2));
    assert_eq!(keep(&["c"], &list(&all)), (list(&format!("[{c} ]")), 2));
    assert_eq!(keep(&[], &list(&all)), (list("[]"), 3));
    assert_eq!(keep(&[], &list("[ ]")), (list("[ ]"), 0));
    assert_eq!(keep(&[], r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).1, 0);

    let frame = parse(list(&all)).unwrap();
    let entries = lists::entries(&frame, "tools").unwrap();
    let entries: Vec<_> = entries.iter().map(|(name, entry)| (&**name, raw(Some(entry)).unwrap())).collect();
    assert_eq!(entries, [("a", a), ("b", b), ("c", c)]);
    assert_eq!(lists::next_cursor(&frame).as_deref(), Some("c1"));
}

#[test]
fn an_entry_that_could_be_read_under_another_name_is_cut_out_unasked() {
    let text = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","Name":"rm"},{"Name":"a"},{"name":7},{},7,"a",
        {"name\u0000":"a","name":"a"},{"name":"a","title":"Name"}]}}"#;
    let (frame, removed) =
        lists::filter(&parse(text).unwrap(), "tools", &Limits::default(), |_, _| true).unwrap();
    assert_eq!(raw(frame.result()), Some(r#"{"tools":[{"name":"a","title":"Name"}]}"#));
    assert_eq!(removed, 7);
    assert_eq!(lists::entries(&frame, "tools").unwrap().len(), 1);
}

#[test]
fn resources_go_by_uri_and_a_list_that_is_none_is_an_error() {
    let text = r#"{"jsonrpc":"2.0","id":1,"result":{"resources":[{"name":"n","uri":"u:1"}],"resourceTemplates":[{"uriTemplate":"u:{x}"}],"tools":{}}}"#;
    let frame = parse(text).unwrap();
    assert_eq!(lists::entries(&frame, "resources").unwrap()[0].0, "u:1");
    assert_eq!(lists::entries(&frame, "resourceTemplates").unwrap()[0].0, "u:{x}");
    let error = lists::entries(&frame, "tools").unwrap_err();
    assert_eq!((error.reason, error.id), (Malformed::Outcome, Some(RequestId::Integer(1))));
    assert!(lists::filter(&frame, "tools", &Limits::default(), |_, _| true).is_err());
}

#[test]
fn the_session_entry_is_added_to_meta_and_every_other_byte_stays() {
    let whole = |result: &str| format!(r#" {{"jsonrpc":"2.0","result":{result},"id":1 }}"#);
    let insert = |result: &str, value: &str| {
        let frame = parse(whole(result)).unwrap();
        let inserted = meta::insert_result_meta(&frame, "chancery/session", value, &Limits::default());
        inserted.map(|f| String::from_utf8(f.bytes().to_vec()).unwrap()).map_err(|e| e.reason)
    };
    for (before, after) in [
        ("{}", r#"{"_meta":{"chancery/session":{"t":1}}}"#),
        (r#"{"a":1 }"#, r#"{"a":1 ,"_meta":{"chancery/session":{"t":1}}}"#),
        (r#"{"_meta":{ } ,"a":1}"#, r#"{"_meta":{ "chancery/session":{"t":1}} ,"a":1}"#),
        (r#"{"_m\u0065ta":{"x":{"y":"}"}}}"#, r#"{"_m\u0065ta":{"x":{"y":"}"},"chancery/session":{"t":1}}}"#),
        (r#"{"a":{"_meta":{}}}"#, r#"{"a":{"_meta":{}},"_meta":{"chancery/session":{"t":1}}}"#),
    ] {
        assert_eq!(insert(before, r#"{"t":1}"#), Ok(whole(after)));
    }
    assert_eq!(insert(r#"{"_meta":null}"#, "1"), Err(Malformed::Outcome));
    assert_eq!(insert(r#"{"_meta":{"chancery/session":1}}"#, "1"), Err(Malformed::DuplicateKey));
    assert_eq!(insert("{}", r#"1},"x":{"#), Err(Malformed::NotJson));
    let request = parse(TRACED).unwrap();
    assert!(meta::insert_result_meta(&request, "k", "1", &Limits::default()).is_err());
}

/// An entry of a list, as text, and its name.
fn entry() -> impl Strategy<Value = (String, String)> {
    let space = "[ \n\r\t]{0,2}";
    ("[a-e]", space, space, r#"[\[\]{},:]{0,4}"#).prop_map(|(name, before, after, junk)| {
        (format!(r#"{before}{{"j":["{junk}",{{"name":"z"}}],"name":{before}"{name}"}}{after}"#), name)
    })
}

proptest! {
    #[test]
    fn filtering_means_what_it_says(
        entries in proptest::collection::vec(entry(), 0..6),
        keep in proptest::sample::subsequence(vec!["a", "b", "c", "d", "e"], 0..=5),
    ) {
        let list: Vec<_> = entries.iter().map(|(text, _)| &**text).collect();
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"x":[1],"tools":[{}],"y":"]"}}}}"#, list.join(","));
        let frame = parse(&text).unwrap();
        let (filtered, removed) = lists::filter(&frame, "tools", &Limits::default(), |n, _| keep.contains(&n)).unwrap();

        let mut expected: Value = serde_json::from_str(&text).unwrap();
        let tools = expected["result"]["tools"].as_array_mut().unwrap();
        let before = tools.len();
        tools.retain(|t| keep.iter().any(|k| t["name"] == *k));
        prop_assert_eq!(removed, before - tools.len());
        prop_assert_eq!(serde_json::from_slice::<Value>(filtered.bytes()).unwrap(), expected);
        let kept = entries.iter().filter(|(_, name)| keep.contains(&&**name)).map(|(text, _)| &**text);
        let plain = kept.collect::<Vec<_>>().join(",").replace(['\n', '\r'], " ");
        if removed > 0 {
            let whole = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"x":[1],"tools":[{plain}],"y":"]"}}}}"#);
            prop_assert_eq!(std::str::from_utf8(filtered.bytes()).unwrap(), whole);
        }
    }

    #[test]
    fn an_entry_in_meta_adds_itself_and_nothing_else(
        members in proptest::collection::btree_map("[a-z]{1,3}", 0..9u8, 0..4),
        meta in proptest::option::of(proptest::collection::btree_map("[a-z]{1,3}", 0..9u8, 0..3)),
        value in "[a-z\"\\\\\n]{0,8}",
    ) {
        let mut result = json!(members);
        if let Some(meta) = &meta {
            result["_meta"] = json!(meta);
        }
        let text = serde_json::to_string_pretty(&json!({"jsonrpc": "2.0", "id": 1, "result": result})).unwrap();
        let frame = parse(&text).unwrap();
        let with = meta::insert_result_meta(&frame, "k/s", &json!(value).to_string(), &Limits::default()).unwrap();
        result["_meta"]["k/s"] = json!(value);
        let read: Value = serde_json::from_slice(with.bytes()).unwrap();
        prop_assert_eq!(&read["result"], &result);
        // Taking the inserted run out gives the bytes as they were.
        let (old, new) = (frame.bytes(), with.bytes());
        let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
        let tail = &old[head..];
        prop_assert!(new.ends_with(tail) && new.len() > old.len());
    }
}
