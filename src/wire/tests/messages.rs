use super::*;

#[test]
fn every_part_of_a_call_is_found_where_it_stands() {
    let text = r#" {"params": {"arguments" : { "a" : [1] },"_meta":{"progressToken":"p\u0031",
        "traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},"name":"a\u002fb"}, "method":"tools\/call",
        "x":{"name":"no","id":9}, "id":"\u0061", "jsonrpc":"2\u002e0" } "#;
    let frame = parse(text).unwrap();
    assert_eq!((frame.kind(), frame.class()), (Kind::Request, methods::Class::ToolCall));
    assert_eq!(frame.id(), Some(&RequestId::from("a")));
    assert_eq!((frame.method(), frame.name()), (Some("tools/call"), Some("a/b")));
    assert_eq!(raw(frame.arguments()), Some(r#"{ "a" : [1] }"#));
    assert_eq!(raw(frame.progress_token()), Some(r#""p\u0031""#));
    assert_eq!(frame.traceparent().unwrap().parent_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
    let params = raw(frame.params()).unwrap();
    assert!(params.starts_with(r#"{"arguments" "#) && params.ends_with(r#""name":"a\u002fb"}"#));
    assert_eq!((frame.result(), frame.error(), frame.uri()), (None, None, None));
}

#[test]
fn the_handshake_tells_revision_and_client() {
    let long = "ü".repeat(200);
    let frame = parse(format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"2025-11-25","capabilities":{{}},
        "clientInfo":{{"name":"{long}","version":"1\u002e0","title":"t"}}}}}}"#
    ))
    .unwrap();
    assert_eq!(frame.protocol_version(), Some("2025-11-25"));
    assert_eq!(frame.client_info(), Some(ClientInfo { name: "ü".repeat(128), version: "1.0".to_owned() }));
    let answer = parse(r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-06-18"}}"#).unwrap();
    assert_eq!((answer.kind(), answer.protocol_version()), (Kind::Response, Some("2025-06-18")));
}

#[test]
fn notifications_results_and_errors_are_told_apart() {
    let cancelled = parse(
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"7","reason":"x"}}"#,
    )
    .unwrap();
    assert_eq!((cancelled.kind(), cancelled.cancelled_id()), (Kind::Notification, Some("7".into())));
    let progress = parse(
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":-3,"progress":1}}"#,
    )
    .unwrap();
    assert_eq!(raw(progress.progress_token()), Some("-3"));
    let read =
        parse(r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///a"}}"#).unwrap();
    assert_eq!((read.uri(), read.cancelled_id()), (Some("file:///a"), None));
    for id in ["3", "null"] {
        let error =
            parse(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":1,"message":"m"}}}}"#)).unwrap();
        assert_eq!((error.kind(), error.id().is_some()), (Kind::Error, id != "null"));
        assert_eq!(raw(error.error()), Some(r#"{"code":1,"message":"m"}"#));
    }
    assert!(parse(r#"{"jsonrpc":"2.0","error":{"code":1,"message":"m"}}"#).unwrap().id().is_none());
    let no_arguments = parse(call(r#"{"name":"x","arguments":null}"#)).unwrap();
    assert_eq!(no_arguments.arguments(), None);
}

#[test]
fn ids_are_compared_with_their_type_and_printed_as_json() {
    let id = |text: &str| {
        parse(format!(r#"{{"jsonrpc":"2.0","id":{text},"method":"ping"}}"#)).unwrap().id().cloned()
    };
    assert_ne!(id("1"), id("\"1\""));
    assert_eq!(id("\"a\\u0000\""), id("\"\\u0061\\u0000\""));
    for text in ["0", "-1", "9007199254740991", "-9007199254740991", "\"\"", "\"a\\\"b\\u0000😀\""] {
        assert_eq!(id(text).unwrap().to_string(), text);
    }
}

#[test]
fn numbers_escapes_emoji_and_order_reach_the_server_byte_for_byte() {
    let arguments =
        r#"{"z":9007199254740993,"y":1e400,"x":1234567890123456789012345678901234567890,"w":-0.0,"v":1.10,
        "u":"a\u0000b","t":"😀\ud83d\ude00\/","b":1,"a":1E+2}"#
            .replace('\n', "");
    let text = with_arguments(&arguments);
    let frame = parse(&text).unwrap();
    assert_eq!(&frame.bytes()[..], text.as_bytes());
    assert_eq!(raw(frame.arguments()), Some(&*arguments));
}

#[test]
fn a_megabyte_of_argument_passes() {
    let text = with_arguments(&format!(r#"{{"data":"{}"}}"#, "0123456789abcdef".repeat(65_536)));
    assert_eq!(&parse(&text).unwrap().bytes()[..], text.as_bytes());
}
