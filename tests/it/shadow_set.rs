//! A candidate set beside the one in force, through the real binary: measured, recorded, counted, never enforced.

use std::fs;

use serde_json::{Value, json};

use crate::durability::verify;
use crate::gateway::{Gateway, chancery, demo_server, is_kind, wait_for};
use crate::raw::Client;
use crate::telemetry::Receiver;

const ACTIVE: &str = r#"@id("all") permit (principal, action, resource);
@id("no-echo") forbid (principal, action == Mcp::Action::"demo/echo", resource);
@id("soon") @shadow forbid (principal, action == Mcp::Action::"demo/list_files", resource);
"#;
const CANDIDATE: &str = r#"@id("all") permit (principal, action, resource);
@id("no-add") forbid (principal, action == Mcp::Action::"demo/add", resource);
"#;

/// A gateway with both sets, exporting to `receiver`.
fn serving(candidate: &str, receiver: Option<&Receiver>) -> Gateway {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    for (name, text) in [("active", ACTIVE), ("next", candidate)] {
        fs::create_dir(path.join(name)).unwrap();
        fs::write(path.join(name).join("a.cedar"), text).unwrap();
    }
    let endpoint =
        receiver.map(|receiver| format!("telemetry: {{ otlp_endpoint: \"{}\" }}", receiver.endpoint()));
    let text = format!(
        "listen: {{ tcp: \"127.0.0.1:0\", address_file: addresses }}\nservers:\n  demo: {}\n\
         admission: {{ bootstrap: {{ file: secret }} }}\nlog: {{ dir: log }}\npolicies: {{ active: [active], shadow: next }}\n{}\n",
        demo_server(),
        endpoint.unwrap_or_default()
    );
    fs::write(path.join("chancery.yaml"), text).unwrap();
    let mut command = chancery(path);
    command.env("OTEL_METRIC_EXPORT_INTERVAL", "200");
    Gateway::start_by(command, dir)
}

fn allowed(client: &Client<'_>, tool: &str, arguments: &str) -> bool {
    client.call(1, tool, arguments).message().get("result").is_some()
}

fn decisions(gateway: &Gateway, action: &str) -> Vec<Value> {
    let records = gateway.records().into_iter().filter(|record| is_kind(record, "decision"));
    records
        .map(|record| record["predicate"].clone())
        .filter(|decision| decision["action"] == action)
        .collect()
}

#[test]
fn a_shadow_set_is_asked_at_every_decision_and_enforced_at_none() {
    let receiver = Receiver::start();
    let gateway = serving(CANDIDATE, Some(&receiver));
    let client = Client::open(&gateway, "/mcp/demo", "2025-11-25");
    assert!(allowed(&client, "add", r#"{"a":1,"b":2}"#), "the candidate would deny it");
    assert!(!allowed(&client, "echo", "{}"), "the candidate would permit it");
    client.call(2, "list_files", r#"{"path":"."}"#);

    let add = decisions(&gateway, "demo/add").remove(0);
    assert_eq!((&add["effect"], &add["mode"]), (&json!("allow"), &json!("enforce")));
    let candidate = &add["candidate"];
    assert_eq!((&candidate["effect"], &candidate["wouldFlip"]), (&json!("deny"), &json!(true)), "{add}");
    assert_eq!(
        (&candidate["denyReason"], &candidate["policies"][0]["id"]),
        (&json!("forbidden"), &json!("no-add"))
    );
    assert_ne!(candidate["policySet"], add["policySet"]);
    let echo = decisions(&gateway, "demo/echo").remove(0);
    assert_eq!((&echo["effect"], &echo["candidate"]["effect"]), (&json!("deny"), &json!("allow")));
    assert_eq!(echo["candidate"]["wouldFlip"], true);
    let listed = decisions(&gateway, "demo/list_files").remove(0);
    assert_eq!((&listed["effect"], &listed["candidate"]["wouldFlip"]), (&json!("allow"), &json!(false)));
    assert_eq!((&listed["shadow"][0]["id"], &listed["wouldFlip"]), (&json!("soon"), &json!(true)));

    for (by, flip) in [("set", "allow_to_deny"), ("set", "deny_to_allow"), ("policy", "allow_to_deny")] {
        let labels = [("chancery.shadow.by", by), ("chancery.shadow.flip", flip)];
        let counted = wait_for("the metric", || receiver.counted("chancery.policy.shadow_flips", &labels));
        assert_eq!(counted, 1, "{by} {flip}");
    }
    let start = gateway.records().into_iter().find(|record| is_kind(record, "policy-change")).unwrap();
    let shadow = &start["predicate"]["shadow"];
    assert_eq!(shadow["policySet"], candidate["policySet"]);
    let archived = gateway.dir.path().join("log/policies").join(shadow["policySet"].as_str().unwrap());
    assert!(archived.is_dir(), "its files are archived with the log");
    let (code, said, dir) = gateway.stop();
    assert_eq!(code, Some(0), "{said}");
    let flip =
        said.lines().find(|line| line.contains("the shadow set would have decided otherwise")).unwrap();
    let parts =
        ["effect=\"allow\" candidate=\"deny\"", "effect=\"deny\" candidate=\"allow\"", "candidate_policies="];
    assert!(parts[..2].iter().any(|part| flip.contains(part)) && flip.contains(parts[2]), "{flip}");
    verify(dir.path());
}

#[test]
fn a_broken_shadow_set_stops_nothing_fails_the_check_and_its_last_good_one_is_measured() {
    let broken =
        "permit (principal, action == Mcp::Action::\"demo/add\", resource) when { context.input.aa == 1 };";
    let gateway = serving(broken, None);
    gateway.says(&["the shadow set is wrong", "╰── here"]);
    let client = Client::open(&gateway, "/mcp/demo", "2025-11-25");
    assert!(allowed(&client, "add", r#"{"a":1,"b":2}"#));
    assert_eq!(decisions(&gateway, "demo/add")[0].get("candidate"), None);
    let check = chancery(gateway.dir.path())
        .args(["policy", "check", "-c"])
        .arg(gateway.dir.path().join("chancery.yaml"))
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8(check.stdout).unwrap(), String::from_utf8(check.stderr).unwrap());
    assert_eq!(check.status.code(), Some(1), "{out}{err}");
    assert!(err.contains("next/a.cedar"), "{err}");

    // Mended it is measured, and broken again the last good one still is, whatever becomes of the active set.
    let next = gateway.dir.path().join("next/a.cedar");
    fs::write(&next, CANDIDATE).unwrap();
    let measured = || {
        allowed(&client, "add", r#"{"a":1,"b":2}"#);
        let last = decisions(&gateway, "demo/add").pop().unwrap();
        (last["candidate"]["wouldFlip"] == true).then_some(last)
    };
    wait_for("the candidate", measured);
    fs::write(&next, broken).unwrap();
    wait_for("word of it", || (gateway.said().matches("the shadow set is wrong").count() == 2).then_some(()));
    assert!(measured().is_some());
    let without_echo = ACTIVE.replace("demo/echo", "demo/summarise");
    fs::write(gateway.dir.path().join("active/a.cedar"), without_echo).unwrap();
    wait_for("the active set", || allowed(&client, "echo", "{}").then_some(()));
    assert!(measured().is_some());
}
