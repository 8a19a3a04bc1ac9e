//! The search that every gateway of every test ends with finds what is planted.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::gateway::{Gateway, wait_for};
use crate::puppet::{puppet_gateway, script};
use crate::raw::Client;
use crate::support::leaks;

/// What the search at the gateway's end says.
fn end(gateway: Gateway) -> Option<String> {
    let failed = catch_unwind(AssertUnwindSafe(|| drop(gateway))).err()?;
    failed.downcast_ref::<String>().cloned()
}

#[test]
fn a_token_that_a_gateway_leaves_in_its_directory_fails_the_test() {
    let gateway = puppet_gateway(&script(""), "");
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
    let talkative = script("").replacen("; do\n", "; do printf '%s\\n' \"$line\" >&2\n", 1);
    for what in ["planted argument 4711", "the secret"] {
        let gateway = puppet_gateway(&talkative, "");
        let client = Client::open(&gateway, "/mcp", "2025-11-25");
        let text =
            if what == "the secret" { client.bearer["Bearer ".len()..].to_owned() } else { what.to_owned() };
        let call = json!({ "method": "tools/call", "params": { "arguments": { "a": text } } });
        leaks::arguments(call.to_string().as_bytes());
        let read = json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": { "uri": "puppet:x", "_meta": { "note": text } } });
        assert_eq!(client.post(read.to_string().as_bytes()).status, 200);
        wait_for("what the server repeats", || gateway.said().contains(&text).then_some(()));
        let found = end(gateway).unwrap();
        assert!(found.contains("in what the gateway said"), "{found}");
    }
}
