//! What a hostile client tries, over the real transports.

use std::fs;
use std::io::{Read as _, Write as _};
use std::time::Instant;

use serde_json::json;

use crate::gateway::{Gateway, PATIENCE, wait_for};
use crate::puppet::{POLICIES, gateway};
use crate::raw::{Answer, Client, call, initialize, send, tcp, unix};

/// A gateway whose demo server writes down what reaches it.
fn recorded(more: &str) -> (Gateway, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let server = format!(
        "  demo: {{ command: \"{}\", args: [demo-server, --root, \"{1}\", --record, \"{1}/record\"] }}",
        env!("CARGO_BIN_EXE_chancery"),
        dir.path().display()
    );
    (gateway(&server, POLICIES, more), dir)
}

/// The lines that reached the server.
fn seen(dir: &tempfile::TempDir) -> Vec<String> {
    let text = fs::read_to_string(dir.path().join("record")).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_line_break_outside_strings_never_makes_two_messages_of_one() {
    let (gateway, dir) = recorded("");
    fs::write(dir.path().join("keep.txt"), "keep").unwrap();
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    let inner = call(66, "delete_everything", "{}");
    for (id, line_break) in [(1, "\n"), (2, "\r"), (3, "\r\n"), (4, "\n\n")] {
        let arguments = format!("{{\"message\":\"{id}\",\"nested\":{line_break}{inner}{line_break}}}");
        let answer = client.call(id, "echo", &arguments);
        assert_eq!(answer.status, 200, "{answer:?}");
        let message = answer.message();
        assert_eq!(message["result"]["structuredContent"]["nested"]["id"], 66, "{message}");
    }
    // One more answered call stands behind them all.
    assert_eq!(client.call(5, "add", r#"{"a":1,"b":1}"#).message()["id"], 5);
    let lines = seen(&dir);
    let with_inner: Vec<_> = lines.iter().filter(|line| line.contains("delete_everything")).collect();
    assert_eq!(with_inner.len(), 4, "{lines:#?}");
    for line in with_inner {
        assert!(line.starts_with(r#"{"jsonrpc":"2.0","id":"#) && line.contains(r#""name":"echo""#), "{line}");
    }
    assert_eq!(fs::read_to_string(dir.path().join("keep.txt")).unwrap(), "keep");
}

#[test]
fn keys_that_another_parser_could_take_for_others_are_refused() {
    let (gateway, dir) = recorded("");
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    let twins = [
        r#"{"name":"add","Name":"delete_everything","arguments":{"a":1,"b":1}}"#,
        "{\"name\":\"add\",\"arguments\":{\"a\":1,\"b\":1},\"argument\u{17f}\":{\"a\":1}}",
        r#"{"name":"add","arguments":{"a":1,"b":1},"argument\u017f":{"a":1}}"#,
        r#"{"name":"add","name\u0000":"delete_everything","arguments":{"a":1,"b":1}}"#,
        r#"{"name":"add","name":"delete_everything","arguments":{"a":1,"b":1}}"#,
        r#"{"name":"add","n\u0061me":"delete_everything","arguments":{"a":1,"b":1}}"#,
        r#"{"name":"add","arguments":{"a":1,"b":1,"A":2}}"#,
        r#"{"name":"add","arguments":{"a":1,"b":1,"a":2}}"#,
    ];
    for (id, params) in twins.iter().enumerate() {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{params}}}"#);
        let answer = client.post(body.as_bytes());
        let error = &answer.message()["error"];
        assert!(matches!(error["code"].as_i64(), Some(-32600 | -32602)), "{params}: {answer:?}");
    }
    let envelopes = [
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
        r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"add","arguments":{"a":1,"b":1}}}"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"add","arguments":{"a":1,"b":1}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"} {"jsonrpc":"2.0","id":2,"method":"ping"}"#,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"x\":\"\\ud800\"}",
    ];
    for body in envelopes {
        let answer = client.post(body.as_bytes());
        assert!(
            answer.message()["error"]["code"].as_i64().is_some_and(|code| code <= -32600),
            "{body}: {answer:?}"
        );
    }
    let mut invalid = br#"{"jsonrpc":"2.0","id":1,"method":"ping","x":""#.to_vec();
    invalid.extend_from_slice(b"\xff\"}");
    assert!(client.post(&invalid).message()["error"].is_object());
    let lines = seen(&dir);
    assert!(lines.iter().all(|line| !line.contains("tools/call") && !line.contains("ping")), "{lines:#?}");
}

#[test]
fn arguments_reach_the_server_byte_for_byte() {
    let (gateway, dir) = recorded("");
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    let exact = [
        r#"{"z":9007199254740993,"a":1}"#,
        r#"{"n":1e400}"#,
        r#"{"n":1234567890123456789012345678901234567890}"#,
        r#"{"n":-0.0,"m":1.10,"k":1E5}"#,
        r#"{"message":"a\u0000b"}"#,
        r#"{"message":"😀 \ud83d\ude00 \/ \u00e9 é"}"#,
        r#"{"zz":1,"b":{"y":1,"x":2},"a":[3,2,1]}"#,
        "{ \"message\" :\t\"spaces\" }",
    ];
    std::thread::scope(|scope| {
        for (id, arguments) in (1..).zip(exact) {
            // The server may give no answer to what it can't read itself; that it came is what counts.
            let (client, gateway) = (&client, &gateway);
            let mut wire = tcp(gateway);
            let body = call(id, "echo", arguments);
            let head = client.headers().iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect::<String>();
            let text = format!("POST /mcp HTTP/1.1\r\n{head}content-length: {}\r\n\r\n{body}", body.len());
            wire.write_all(text.as_bytes()).unwrap();
            let closer = wire.try_clone().unwrap();
            let answered = scope.spawn(move || {
                let mut text = String::new();
                wire.read_to_string(&mut text).map(|_| text)
            });
            wait_for("the call at the server", || {
                seen(&dir).iter().any(|l| l.contains(arguments)).then_some(())
            });
            closer.shutdown(std::net::Shutdown::Both).unwrap();
            answered.join().unwrap().ok();
        }
    });
    let calls = seen(&dir).iter().filter(|line| line.contains("tools/call")).count();
    let unchanged =
        seen(&dir).iter().filter(|line| exact.iter().any(|arguments| line.contains(arguments))).count();
    assert_eq!(calls, unchanged, "nothing else arrived");
    assert_eq!(calls, exact.len());
}

#[test]
fn a_foreign_host_or_origin_is_refused_before_anything_else() {
    let (gateway, _dir) = recorded("");
    let bearer = gateway.bearer();
    let body = initialize("2025-11-25").to_string();
    let post = |host: &str, origin: Option<&str>| {
        let mut headers =
            vec![("host", host), ("authorization", bearer.as_str()), ("content-type", "application/json")];
        headers.extend(origin.map(|origin| ("origin", origin)));
        send(tcp(&gateway), "POST /mcp", &headers, body.as_bytes()).status
    };
    assert_eq!(post("evil.example", None), 403);
    assert_eq!(post("localhost.evil.example:80", None), 403);
    assert_eq!(post("localhost", Some("http://evil.example")), 403);
    assert_eq!(post("localhost", Some("null")), 403);
    assert_eq!(post("localhost", None), 200);
    let no_host = send(tcp(&gateway), "POST /mcp", &[("authorization", bearer.as_str())], body.as_bytes());
    assert!(matches!(no_host.status, 400 | 403), "{no_host:?}");
}

#[test]
fn who_shows_no_evidence_gets_401_and_no_session_and_a_stolen_handle_opens_nothing() {
    let (gateway, dir) = recorded("");
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    let body = call(1, "add", r#"{"a":1,"b":1}"#);
    let json = ("content-type", "application/json");
    let over_tcp = |headers: &[(&str, &str)]| -> Answer {
        let mut all = vec![("host", "localhost"), json];
        all.extend_from_slice(headers);
        send(tcp(&gateway), "POST /mcp", &all, body.as_bytes())
    };
    let handle = ("mcp-session-id", client.session.as_str());
    let none = over_tcp(&[]);
    assert_eq!(none.status, 401);
    assert!(none.header("www-authenticate").unwrap().starts_with("Bearer"), "{none:?}");
    let wrong = format!("Bearer {}", "A".repeat(43));
    for headers in [
        vec![handle],
        vec![handle, ("authorization", wrong.as_str())],
        vec![handle, ("authorization", "Bearer ")],
        vec![handle, ("authorization", "Basic eDp5")],
        vec![("mcp-session-id", "nobody"), ("authorization", wrong.as_str())],
    ] {
        let answer = over_tcp(&headers);
        assert_eq!(answer.status, 401, "{headers:?}: {answer:?}");
    }
    let token = format!("Bearer {}", client.session);
    assert_eq!(
        over_tcp(&[handle, ("authorization", token.as_str())]).status,
        401,
        "the handle is no evidence"
    );

    // The same handle with good evidence of another kind.
    let socket = gateway.dir.path().join("mcp.sock");
    let headers = [("host", "localhost"), json, handle];
    assert_eq!(send(unix(&socket), "POST /mcp", &headers, body.as_bytes()).status, 404);
    let mut forged = client.session.clone();
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'B' } else { 'A' });
    let bearer = gateway.bearer();
    let admitted = ("authorization", bearer.as_str());
    for handle in [forged.as_str(), "x", ""] {
        let answer = over_tcp(&[("mcp-session-id", handle), admitted]);
        assert_eq!(answer.status, 404, "{handle:?}: {answer:?}");
    }
    assert_eq!(over_tcp(&[admitted]).status, 400, "no handle");
    assert_eq!(over_tcp(&[handle, admitted]).status, 200, "the owner goes on");
    let calls = seen(&dir).iter().filter(|line| line.contains("tools/call")).count();
    assert_eq!(calls, 1);
}

#[test]
fn a_session_on_the_unix_socket_is_its_process_own() {
    let (gateway, _dir) = recorded("");
    let socket = gateway.dir.path().join("mcp.sock");
    let json = ("content-type", "application/json");
    let body = initialize("2025-11-25").to_string();
    let opened = send(unix(&socket), "POST /mcp", &[("host", "any"), json], body.as_bytes());
    assert_eq!(opened.status, 200, "{opened:?}");
    let handle = opened.header("mcp-session-id").unwrap();
    let bearer = gateway.bearer();
    let headers =
        [("host", "localhost"), json, ("mcp-session-id", handle), ("authorization", bearer.as_str())];
    let ping = br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(send(tcp(&gateway), "POST /mcp", &headers, ping).status, 404);
    let ours = send(unix(&socket), "POST /mcp", &headers[..3], ping);
    assert_eq!((ours.status, &ours.message()["result"]), (200, &json!({})), "{ours:?}");
}

#[test]
fn bodies_that_are_too_large_or_not_json_are_refused_unread() {
    let (gateway, _dir) = recorded("limits: { message_bytes: 64KiB }");
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    let large = call(1, "echo", &format!("{{\"message\":\"{}\"}}", "x".repeat(70_000)));
    let refused = client.post(large.as_bytes());
    assert_eq!(refused.status, 413, "{refused:?}");
    assert_eq!(refused.message()["error"]["code"], -32600);

    // Without a length, as chunks.
    let mut headers = client.headers();
    headers.push(("transfer-encoding", "chunked"));
    let mut wire = tcp(&gateway);
    let head = headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect::<String>();
    wire.write_all(format!("POST /mcp HTTP/1.1\r\n{head}\r\n").as_bytes()).unwrap();
    for _ in 0..10 {
        if wire.write_all(format!("2710\r\n{}\r\n", "y".repeat(10_000)).as_bytes()).is_err() {
            break;
        }
    }
    let (answer, _) = crate::raw::read_head(std::io::BufReader::new(wire));
    assert_eq!(answer.status, 413, "{answer:?}");

    for (name, value) in [("content-type", "text/plain"), ("content-encoding", "gzip")] {
        let mut headers: Vec<_> = client.headers().into_iter().filter(|(n, _)| *n != name).collect();
        headers.push((name, value));
        assert_eq!(send(tcp(&gateway), "POST /mcp", &headers, b"{}").status, 415, "{value}");
    }
    for (line, header, status) in [
        ("PUT /mcp", None, 405),
        ("POST /mcp", Some(("mcp-protocol-version", "1999-01-01")), 400),
        ("POST /mcp", Some(("accept", "text/html")), 406),
    ] {
        let name = header.map(|(name, _)| name);
        let mut headers: Vec<_> = client.headers().into_iter().filter(|(n, _)| Some(*n) != name).collect();
        headers.extend(header);
        let answer = send(tcp(&gateway), line, &headers, br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
        assert_eq!(answer.status, status, "{line} {header:?}: {answer:?}");
        assert_eq!(answer.header("allow").is_some(), status == 405);
    }
}

#[test]
fn a_request_that_never_ends_is_cut_off() {
    let (gateway, _dir) = recorded("limits: { request_read: 1s }");
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    let begun = Instant::now();
    let mut head = tcp(&gateway);
    head.write_all(b"POST /mcp HTTP/1.1\r\nhost: localhost\r\nx-slow: ").unwrap();
    let mut body = tcp(&gateway);
    let headers = client.headers().iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect::<String>();
    body.write_all(format!("POST /mcp HTTP/1.1\r\n{headers}content-length: 50\r\n\r\n{{").as_bytes())
        .unwrap();
    for mut wire in [head, body] {
        let mut answer = String::new();
        wire.read_to_string(&mut answer).unwrap();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    assert!(begun.elapsed() < PATIENCE / 2);
}

#[test]
fn a_request_with_too_many_or_too_long_headers_is_refused() {
    let (gateway, _dir) = recorded("");
    let many: Vec<(String, String)> = (0..200).map(|n| (format!("x-{n}"), "y".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(send(tcp(&gateway), "GET /healthz", &many, b"").status, 431);
    let long = "z".repeat(64 * 1024);
    assert_eq!(send(tcp(&gateway), "GET /healthz", &[("x", long.as_str())], b"").status, 431);
    // And it goes on.
    assert_eq!(send(tcp(&gateway), "GET /healthz", &[("host", "localhost")], b"").status, 200);
}
