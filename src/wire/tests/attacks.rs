use super::*;

/// Reason, code and id of a refusal.
fn refused(text: impl AsRef<[u8]>) -> Option<(Malformed, i64, Option<RequestId>)> {
    parse(text).err().map(|e| (e.reason, e.code, e.id))
}

#[test]
fn a_line_break_outside_strings_never_splits_a_message() {
    for end in ["\n", "\r", "\r\n", "\n\n"] {
        let inner = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"rm","arguments":{}}}"#;
        let body = with_arguments(&format!("{{\"x\":{end}{inner}{end}}}")) + end;
        let frame = parse(&body).unwrap();
        assert!(!frame.bytes().iter().any(|b| matches!(b, b'\n' | b'\r')), "{end:?}");
        assert_eq!(frame.bytes().len(), body.len());
        assert_eq!(&frame.bytes()[..], body.replace(['\n', '\r'], " ").as_bytes());
        assert_eq!((frame.name(), frame.id()), (Some("t"), Some(&RequestId::Integer(7))));
    }
}

#[test]
fn a_key_that_stands_twice_is_refused_at_any_depth_and_however_it_is_written() {
    let id = Some(RequestId::Integer(7));
    for text in [
        with_arguments(r#"{"a":1,"a":1}"#),
        with_arguments(r#"{"a":1,"\u0061":1}"#),
        with_arguments(r#"{"x":[{"y":{"a":1,"b":2,"\u0061":3}}]}"#),
        with_arguments(r#"{"é":1,"\u00e9":2}"#),
        with_arguments(r#"{"":1,"":2}"#),
        with_arguments(r#"{"😀":1,"\ud83d\ude00":2}"#),
        call(r#"{"name":"a","name":"b"}"#),
        call(r#"{"name":"a","n\u0061me":"b"}"#),
        call(r#"{"name":"a","_meta":{"progressToken":1,"progressToken":2}}"#),
    ] {
        assert_eq!(refused(&text), Some((Malformed::DuplicateKey, -32600, id.clone())), "{text}");
    }
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","id":2}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","\u0069d":2}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"ping"}"#,
    ] {
        assert_eq!(refused(text), Some((Malformed::DuplicateKey, -32600, None)), "{text}");
    }
}

#[test]
fn a_twin_of_a_known_key_or_of_a_sibling_is_refused() {
    let id = Some(RequestId::Integer(7));
    for text in [
        call(r#"{"name":"a","Name":"b"}"#),
        call(r#"{"Name":"b","name":"a"}"#),
        call(r#"{"name":"a","argument\u017f":{}}"#),
        call("{\"name\":\"a\",\"argument\u{17f}\":{}}"),
        call(r#"{"name":"a","name\u0000":"b"}"#),
        call(r#"{"name":"a","ARGUMENTS":{}}"#),
        call(r#"{"name":"a","URI":"x"}"#),
        call(r#"{"name":"a","_Meta":{}}"#),
        call(r#"{"name":"a","protocolversion":{}}"#),
        call("{\"name\":\"a\",\"ｎａｍｅ\":\"b\"}"),
        call("{\"name\":\"a\",\"na\u{200b}me\":\"b\"}"),
        call(r#"{"name":"a","x":1,"X":2}"#),
        call(r#"{"name":"a","_meta":{"progresstoken":2}}"#),
        call("{\"name\":\"a\",\"_meta\":{\"progressTo\u{212a}en\":2}}"),
        with_arguments(r#"{"path":1,"Path":2}"#),
        with_arguments(r#"{"path":1,"path\u0000":2}"#),
        with_arguments("{\"stra\u{df}e\":1,\"strasse\":2}"),
        with_arguments("{\"\u{fb01}le\":1,\"file\":2}"),
        with_arguments("{\"e\u{301}\":1,\"\u{e9}\":2}"),
        with_arguments(
            r#"{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"k":1,"l":1,"m":1,"n":1,"o":1,"p":1,"q":1,"A":1}"#,
        ),
    ] {
        assert_eq!(refused(&text), Some((Malformed::KeyTwin, -32600, id.clone())), "{text}");
    }
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"ID":2,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"id\u0000":2,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","Params":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"paramſ":{}}"#,
    ] {
        assert_eq!(refused(text), Some((Malformed::KeyTwin, -32600, None)), "{text}");
    }
    let hidden = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[],"Tools":[]}}"#;
    assert_eq!(refused(hidden), Some((Malformed::KeyTwin, -32600, Some(RequestId::Integer(1)))));
}

#[test]
fn keys_that_only_look_alike_deep_inside_arguments_pass() {
    for arguments in [
        r#"{"env":{"Path":"a","PATH":"b"}}"#,
        r#"{"files":[{"README":1,"readme":2}]}"#,
        r#"{"Name":1,"method":2,"ID":3,"jsonrpc":4}"#,
        r#"{"maxResults":1,"max_results":2,"max-results":3}"#,
    ] {
        assert_eq!(raw(parse(with_arguments(arguments)).unwrap().arguments()), Some(arguments));
    }
}

#[test]
fn what_is_not_one_json_value_is_a_parse_error_without_id() {
    for text in [
        "",
        " ",
        "\u{feff}{}",
        "{",
        "{}}",
        "{} {}",
        "{}x",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{'a':1}",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":+1}",
        "{\"a\":1e}",
        "{\"a\":-}",
        "{\"a\":0x1}",
        "{\"a\":NaN}",
        "{\"a\":tru}",
        "{\"a\":True}",
        "{\"a\":[1,]}",
        "{\"a\":[1 2]}",
        "{\"a\":[}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"\\u+123\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":\"",
        "{\"a\":\"\\",
        "{\"a\":1}\0",
        "{\"a\":1}//",
        "{/**/}",
        "tru",
        "{\u{a0}}",
        "{\u{2028}}",
        "{\u{c}}",
        "{\u{b}}",
        "\"a",
        "nul",
    ] {
        assert_eq!(refused(text), Some((Malformed::NotJson, -32700, None)), "{text:?}");
    }
    for text in ["{\"a\":\"\n\"}", "{\"a\":\"\r\"}", "{\"a\":\"\t\"}", "{\"a\":\"\0\"}", "{\"a\u{1f}\":1}"] {
        assert_eq!(refused(text), Some((Malformed::ControlCharacter, -32700, None)), "{text:?}");
    }
    for bytes in [
        &b"{\"a\":\"\xff\"}"[..],
        b"{\"a\":\"\xc0\x80\"}",
        b"{\"a\":\"\xed\xa0\x80\"}",
        b"{\"\xf5\":1}",
        b"\xfe\xff",
    ] {
        assert_eq!(refused(bytes), Some((Malformed::InvalidUtf8, -32700, None)), "{bytes:?}");
    }
}

#[test]
fn half_a_surrogate_pair_is_refused_in_keys_and_in_values() {
    for text in [
        r#"{"a":"\ud800"}"#,
        r#"{"a":"\udc00\ud800"}"#,
        r#"{"a":"\ud800\u0061"}"#,
        r#"{"a":"\ud83d\ud83d\ude00"}"#,
        r#"{"a":["\uDFFF"]}"#,
        r#"{"\ud800":1}"#,
        r#"{"a\ud800":1,"a\ud801":1}"#,
    ] {
        let id = Some(RequestId::Integer(7));
        assert_eq!(refused(with_arguments(text)), Some((Malformed::LoneSurrogate, -32600, id)), "{text}");
    }
    let own_id = r#"{"jsonrpc":"2.0","id":"\ud800","method":"ping"}"#;
    assert_eq!(refused(own_id), Some((Malformed::LoneSurrogate, -32600, None)));
    assert!(parse(with_arguments(r#"{"a":"\ud83d\ude00","\uD83D\uDE00":1}"#)).is_ok());
}

#[test]
fn depth_and_size_end_at_their_limits_exactly() {
    let nested =
        |depth: usize| with_arguments(&format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth)));
    assert!(parse(nested(61)).is_ok());
    assert_eq!(refused(nested(62)), Some((Malformed::TooDeep, -32600, None)));
    assert_eq!(refused(nested(2_000_000)).map(|r| r.0), Some(Malformed::TooDeep));
    assert_eq!(refused("[".repeat(1_000_000)).map(|r| r.0), Some(Malformed::Batch));

    let body = with_arguments("{}");
    let limit = |message_bytes| Limits { message_bytes, ..Limits::default() };
    assert!(Frame::parse(body.clone().into(), &limit(body.len())).is_ok());
    let over = Frame::parse(body.clone().into(), &limit(body.len() - 1)).unwrap_err();
    assert_eq!((over.reason, over.code), (Malformed::TooLarge, -32600));
}

#[test]
fn a_hundred_thousand_keys_cost_no_more_than_sorting_them() {
    for (escape, place) in [(false, true), (true, true), (false, false), (true, false)] {
        let key = |n: u32| if escape { format!(r#""\u006b{n}":0"#) } else { format!(r#""k{n}":0"#) };
        let keys: Vec<_> = (0..100_000).map(key).collect();
        let object = |keys: &[String]| format!("{{{}}}", keys.join(","));
        let text = |keys: &[String]| match place {
            true => with_arguments(&object(keys)),
            false => with_arguments(&format!(r#"{{"x":{}}}"#, object(keys))),
        };
        let start = std::time::Instant::now();
        assert!(parse(text(&keys)).is_ok());
        let mut doubled = keys.clone();
        doubled.push(key(50_000));
        assert_eq!(refused(text(&doubled)).map(|r| r.0), Some(Malformed::DuplicateKey));
        // Comparing each with each takes minutes in a debug build; sorting takes a fraction of a second.
        assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
    }
}

#[test]
fn what_is_no_message_of_mcp_is_refused_with_its_reason() {
    let one = Some(RequestId::Integer(1));
    let m = |rest: &str| format!(r#"{{"jsonrpc":"2.0",{rest}}}"#);
    let long = "x".repeat(257);
    let cases = [
        (r#"{"id":1,"method":"ping"}"#.to_owned(), Malformed::Version, one.clone()),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#.to_owned(), Malformed::Version, one.clone()),
        (r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#.to_owned(), Malformed::Version, one.clone()),
        (r#"{"jsonrpc":["2.0"],"id":1,"method":"ping"}"#.to_owned(), Malformed::Version, one.clone()),
        (m(r#""id":1"#), Malformed::Shape, one.clone()),
        (m(r#""id":1,"result":{},"error":{}"#), Malformed::Shape, one.clone()),
        (m(r#""id":1,"method":"ping","result":{}"#), Malformed::Shape, one.clone()),
        (m(r#""id":1,"method":"ping","error":{}"#), Malformed::Shape, one.clone()),
        (m(r#""id":1,"result":{},"params":{}"#), Malformed::Shape, one.clone()),
        (m(r#""id":1,"result":1"#), Malformed::Outcome, one.clone()),
        (m(r#""id":1,"error":"x""#), Malformed::Outcome, one.clone()),
        (m(r#""id":null,"result":{}"#), Malformed::IdPresence, None),
        (m(r#""result":{}"#), Malformed::IdPresence, None),
        (m(r#""method":"tools/call","params":{"name":"x"}"#), Malformed::IdPresence, None),
        (m(r#""id":null,"method":"tools/call","params":{"name":"x"}"#), Malformed::IdPresence, None),
        (m(r#""id":null,"method":"x/y""#), Malformed::IdPresence, None),
        (m(r#""id":null,"method":"notifications/initialized""#), Malformed::IdPresence, None),
        (m(r#""method":"resources/read","params":{"uri":"x"}"#), Malformed::IdPresence, None),
        (m(r#""method":"sampling/createMessage""#), Malformed::IdPresence, None),
        (m(r#""id":1,"method":"notifications/cancelled""#), Malformed::IdPresence, one.clone()),
        (m(r#""id":1.0,"method":"ping""#), Malformed::Id, None),
        (m(r#""id":1e2,"method":"ping""#), Malformed::Id, None),
        (m(r#""id":-0,"method":"ping""#), Malformed::Id, None),
        (m(r#""id":9007199254740992,"method":"ping""#), Malformed::Id, None),
        (m(r#""id":-9007199254740992,"method":"ping""#), Malformed::Id, None),
        (m(r#""id":99999999999999999999999999,"method":"ping""#), Malformed::Id, None),
        (m(r#""id":true,"method":"ping""#), Malformed::Id, None),
        (m(r#""id":[1],"method":"ping""#), Malformed::Id, None),
        (m(r#""id":{},"method":"ping""#), Malformed::Id, None),
        (m(&format!(r#""id":"{long}","method":"ping""#)), Malformed::Id, None),
        (m(r#""id":1,"method":7"#), Malformed::Method, one.clone()),
        (m(r#""id":1,"method":null"#), Malformed::Method, one.clone()),
        (m(r#""id":1,"method":"""#), Malformed::Method, one.clone()),
        (m(&format!(r#""id":1,"method":"{long}""#)), Malformed::Method, one.clone()),
        ("[]".to_owned(), Malformed::Batch, None),
        (format!(" \n[{}]", m(r#""id":1,"method":"ping""#)), Malformed::Batch, None),
        ("null".to_owned(), Malformed::NotAnObject, None),
        (" \"ping\" ".to_owned(), Malformed::NotAnObject, None),
        ("17".to_owned(), Malformed::NotAnObject, None),
    ];
    for (text, reason, id) in cases {
        assert_eq!(refused(&text), Some((reason, -32600, id)), "{text}");
    }
    for params in ["[]", "null", "\"x\"", "1", "[{\"name\":\"x\"}]"] {
        assert_eq!(
            refused(call(params)),
            Some((Malformed::Params, -32602, Some(RequestId::Integer(7)))),
            "{params}"
        );
    }
    for (method, params) in [
        ("tools/call", "{}"),
        ("tools/call", r#"{"name":7}"#),
        ("tools/call", r#"{"name":null}"#),
        ("tools/call", r#"{"name":"x","arguments":[]}"#),
        ("tools/call", r#"{"name":"x","arguments":"{}"}"#),
        ("prompts/get", r#"{"arguments":{}}"#),
        ("resources/read", r#"{"name":"x"}"#),
        ("resources/subscribe", r#"{"uri":1}"#),
    ] {
        let text = m(&format!(r#""id":1,"method":"{method}","params":{params}"#));
        assert_eq!(refused(&text), Some((Malformed::Params, -32602, one.clone())), "{text}");
    }
    assert_eq!(refused(m(r#""id":1,"method":"tools/call""#)), Some((Malformed::Params, -32602, one)));
}

#[test]
fn a_refusal_names_no_content_and_answers_the_id_it_could_read() {
    let error = parse(with_arguments(r#"{"secret-key":"secret-value","secret-key":1}"#)).unwrap_err();
    let reply = String::from_utf8(error.reply().to_vec()).unwrap();
    assert!(!reply.contains("secret"), "{reply}");
    assert!(
        reply.starts_with(r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32600,"message":"the same key twice"#),
        "{reply}"
    );
    assert!(reply.ends_with(r#""data":{"reason":"duplicate_key"}}}"#), "{reply}");
    let frame = parse(with_arguments(r#"{"k":"secret-value"}"#)).unwrap();
    assert!(!format!("{frame:?}").contains("secret"));
}
