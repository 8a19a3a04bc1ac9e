//! The search that every gateway of every test ends with finds what is planted.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::gateway::{Gateway, wait_for};
use crate::puppet::puppet_gateway;
use crate::raw::Client;

/// What the search at the gateway's end says.
fn end(gateway: Gateway) -> Option<String> {
    let failed = catch_unwind(AssertUnwindSafe(|| drop(gateway))).err()?;
    failed.downcast_ref::<String>().cloned()
}

#[test]
fn a_token_that_a_gateway_leaves_in_its_directory_fails_the_test() {
    let gateway = Gateway::start("");
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    let secret = client.bearer.strip_prefix("Bearer ").unwrap();
    let payload = STANDARD.encode(format!("{{\"decision\":1,\"token\":\"{}\"}}", client.session));
    for text in [client.session.clone(), format!("bearer={secret}!"), payload] {
        let gateway = Gateway::start("");
        fs::write(gateway.dir.path().join("log/debug"), text).unwrap();
        let found = end(gateway).unwrap();
        assert!(found.contains("log/debug holds"), "{found}");
        assert!(!found.contains(&secret[..16]), "{found}");
    }
    assert_eq!(end(gateway), None, "and only what is planted");
}

#[test]
fn a_token_or_an_argument_in_what_a_gateway_says_fails_the_test() {
    // What a tool server writes to its stderr comes out at ours.
    for what in ["planted argument 4711", "token"] {
        let script = "while IFS= read -r line; do echo \"$line\" >&2; done";
        let gateway = puppet_gateway(script, "");
        let text = match what {
            "token" => gateway.bearer().split_off("Bearer ".len()),
            text => text.to_owned(),
        };
        crate::support::leaks::arguments(
            format!(r#"{{"method":"tools/call","params":{{"arguments":{{"a":"{text}"}}}}}}"#).as_bytes(),
        );
        let hello = format!(
            r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"2025-11-25","capabilities":{{}},"clientInfo":{{"name":"{text}","version":"1"}}}}}}"#
        );
        let bearer = gateway.bearer();
        let headers =
            [("host", "localhost"), ("authorization", bearer.as_str()), ("content-type", "application/json")];
        let (wire, body) = (crate::raw::tcp(&gateway), hello.as_bytes());
        let mut head: String = headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
        head = format!("POST /mcp HTTP/1.1\r\n{head}content-length: {}\r\n\r\n{hello}", body.len());
        std::io::Write::write_all(&mut &wire, head.as_bytes()).unwrap();
        wait_for("what the server repeats", || gateway.said().contains(&text).then_some(()));
        let found = end(gateway).unwrap();
        assert!(found.contains("holds") || found.contains("in what"), "{found}");
    }
}
