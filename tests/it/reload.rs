//! Hot reload, through the real binary: files are saved as people, editors and Kubernetes save them.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use serde_json::Value;

use crate::durability::verify;
use crate::gateway::{Gateway, demo_server, is_kind, wait_for};
use crate::puppet::{PERMIT_ALL, configured, gateway, puppet_gateway, script};
use crate::raw::Client;

/// Everything but `add`.
const NO_ADD: &str = "@id(\"all\") permit (principal, action, resource);\n\
                      @id(\"no-add\") @reason(\"No sums today.\") forbid (principal, action == Mcp::Action::\"demo/add\", resource);\n";
const SUM: &str = r#"{"a":1,"b":2}"#;

fn serving() -> Gateway {
    gateway(&format!("  demo: {}", demo_server()), PERMIT_ALL, "")
}

fn policies(gateway: &Gateway) -> std::path::PathBuf {
    gateway.dir.path().join("policies/test.cedar")
}

/// Whether `add` is let through.
fn adds(client: &Client<'_>, id: u32) -> bool {
    let message = client.call(id, "add", SUM).message();
    match (message.get("result"), &message["error"]["message"]) {
        (Some(_), _) => true,
        (None, said) if said == "No sums today." => false,
        other => panic!("{other:?}"),
    }
}

/// Waits until `add` is let through, or not.
fn until_adds(client: &Client<'_>, expected: bool) {
    let mut id = 1_000;
    wait_for("the other policies", || {
        id += 1;
        (adds(client, id) == expected).then_some(())
    });
}

fn changes(gateway: &Gateway) -> Vec<Value> {
    gateway.records().into_iter().filter(|record| is_kind(record, "policy-change")).collect()
}

/// Writes beside the file and renames over it, as editors do.
fn save(path: &Path, text: &str) {
    let beside = path.with_extension("swp");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

#[test]
fn a_saved_policy_is_in_force_for_the_next_call_and_its_record_says_what_changed() {
    let gateway = serving();
    let client = Client::open(&gateway, "/mcp/demo", "2025-11-25");
    assert!(adds(&client, 1));
    save(&policies(&gateway), NO_ADD);
    until_adds(&client, false);
    // In place, as a shell writes.
    fs::write(policies(&gateway), PERMIT_ALL).unwrap();
    until_adds(&client, true);
    let changes = changes(&gateway);
    assert_eq!(changes.len(), 3, "the start and two reloads");
    let said = |at: usize, pointer: &str| changes[at]["predicate"].pointer(pointer).unwrap().clone();
    assert_eq!((said(0, "/cause"), said(1, "/cause")), ("start".into(), "reload".into()));
    assert_eq!(said(1, "/replaces"), said(0, "/policySet"));
    assert_eq!(said(1, "/summary/added/ids"), serde_json::json!(["no-add"]));
    assert_eq!(said(2, "/summary/removed/ids"), serde_json::json!(["no-add"]));
    let (code, said, dir) = gateway.stop();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("1 new (no-add)") && said.contains("1 gone (no-add)"), "{said}");
    verify(dir.path());
}

/// Stops the traffic when it goes.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_broken_file_saved_during_traffic_changes_no_decision_and_is_told_once_with_a_caret() {
    let gateway = gateway(&format!("  demo: {}", demo_server()), NO_ADD, "");
    let typo = "@id(\"all\") permit (principal, action == Mcp::Action::\"demo/add\", resource)\nwhen { context.input.aa == 1 };\n";
    let (stop, calls) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let client = Client::open(&gateway, "/mcp/demo", "2025-11-25");
            while !stop.load(Ordering::Relaxed) {
                let call = calls.fetch_add(1, Ordering::Relaxed);
                assert!(!adds(&client, call), "a decision changed at call {call}");
                let echoed = client.call(1_000_000 + call, "echo", r#"{"text":"x"}"#).message();
                assert!(echoed.get("result").is_some(), "{echoed}");
            }
        });
        // Also where something fails here: the scope waits for the traffic's end.
        let _stop = Stop(&stop);
        let five_more = || {
            let before = calls.load(Ordering::Relaxed);
            wait_for("more calls", || {
                assert!(!traffic.is_finished(), "the traffic failed");
                (calls.load(Ordering::Relaxed) > before + 5).then_some(())
            });
        };
        five_more();
        for (at, broken) in
            [typo, "permit (", "@id(\"all\") permit (principal, action, resource) when { nobody };"]
                .into_iter()
                .enumerate()
        {
            save(&policies(&gateway), broken);
            wait_for("word of it", || {
                (gateway.said().matches("nothing was taken over").count() == at + 1).then_some(())
            });
            five_more();
            // The same content again is no news.
            save(&policies(&gateway), broken);
            five_more();
        }
    });
    let said = gateway.says(&["aa", "╰── here", "test.cedar:2"]);
    assert_eq!(said.matches("nothing was taken over").count(), 3, "{said}");
    assert_eq!(changes(&gateway).len(), 1);
    // Mended, it is in force at once.
    save(&policies(&gateway), PERMIT_ALL);
    let client = Client::open(&gateway, "/mcp/demo", "2025-11-25");
    until_adds(&client, true);
}

#[test]
fn a_request_that_waits_for_its_server_while_the_policies_change_is_decided_anew() {
    let gateway = puppet_gateway(&script(""), "");
    let client = Client::open(&gateway, "/mcp/demo", "2025-11-25");
    let read = |id: u32, uri: &str, padding: usize| {
        let padding = " ".repeat(padding);
        client.post(
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"resources/read","params":{{"uri":"{uri}","_meta":{{"a":"{padding}"}}}}}}"#
            )
            .as_bytes(),
        )
    };
    let decided = |count: usize| {
        wait_for("the decision", || {
            (gateway.said().matches("method=\"resources/read\"").count() == count).then_some(())
        });
    };
    let [held, large, late, forbidden] = thread::scope(|scope| {
        // The server stops reading, its pipe is full, and so the rest waits in the gateway, allowed.
        let held = scope.spawn(|| read(1, "puppet:hold", 0));
        decided(1);
        let large = scope.spawn(|| read(2, "file:///large", 200_000));
        decided(2);
        let late = scope.spawn(|| read(3, "file:///late", 0));
        let forbidden = scope.spawn(|| read(4, "file:///secret", 0));
        decided(4);
        let no_secrets = "@id(\"no-secrets\") @reason(\"That one is secret.\") forbid (principal, \
                          action == Mcp::Action::\"resources/read\", resource) \
                          when { resource.uri == \"file:///secret\" };\n";
        save(&policies(&gateway), &format!("{PERMIT_ALL}\n{no_secrets}"));
        wait_for("the new policies", || gateway.said().contains("1 new (no-secrets)").then_some(()));
        fs::write(gateway.dir.path().join("puppet.sh.go"), "").unwrap();
        [held, large, late, forbidden].map(|thread| thread.join().unwrap().message())
    });
    for answered in [held, large, late] {
        assert!(answered.get("result").is_some(), "{answered}");
    }
    assert_eq!(
        (&forbidden["id"], &forbidden["error"]["message"]),
        (&4.into(), &"That one is secret.".into())
    );
    decided(6);
    let records = gateway.records();
    let replacing = |effect: &str| {
        let is = |predicate: &&Value| predicate["effect"] == effect && !predicate["replaces"].is_null();
        records.iter().map(|record| &record["predicate"]).filter(is).count()
    };
    assert_eq!((replacing("allow"), replacing("deny")), (1, 1));
    let (code, said, dir) = gateway.stop();
    assert_eq!(code, Some(0), "{said}");
    verify(dir.path());
}

#[test]
fn a_file_that_is_being_written_is_not_taken_for_a_smaller_one() {
    let gateway = gateway(&format!("  demo: {}", demo_server()), NO_ADD, "");
    let client = Client::open(&gateway, "/mcp/demo", "2025-11-25");
    assert!(!adds(&client, 1));
    // Half of it is a whole policy that permits everything.
    let whole = format!("{NO_ADD}@id(\"late\") permit (principal, action, resource);\n");
    let half = whole.find("@id(\"no-add\")").unwrap();
    let mut file = fs::File::create(policies(&gateway)).unwrap();
    file.write_all(&whole.as_bytes()[..half]).unwrap();
    file.sync_all().unwrap();
    wait_for("word that it is being written", || gateway.said().contains("was not closed yet").then_some(()));
    assert!(!adds(&client, 2), "half of a file was taken for a whole one");
    file.write_all(&whole.as_bytes()[half..]).unwrap();
    drop(file);
    wait_for("the whole file", || (changes(&gateway).len() == 2).then_some(()));
    assert!(!adds(&client, 3));
    let added = changes(&gateway)[1]["predicate"]["summary"]["added"]["ids"].clone();
    assert_eq!(added, serde_json::json!(["late"]));
}

#[test]
fn an_emptied_file_or_a_vanished_path_is_an_error_and_an_emptied_directory_refuses_everything() {
    let gateway = gateway(&format!("  demo: {}", demo_server()), NO_ADD, "");
    let client = Client::open(&gateway, "/mcp/demo", "2025-11-25");
    let dir = gateway.dir.path().join("policies");
    fs::write(dir.join("more.cedar"), "@id(\"more\") permit (principal, action, resource);").unwrap();
    wait_for("the second file", || (changes(&gateway).len() == 2).then_some(()));

    fs::write(policies(&gateway), "").unwrap();
    wait_for("word of it", || gateway.said().contains("is empty and was not").then_some(()));
    assert!(!adds(&client, 1), "the forbid in the emptied file is in force");
    save(&policies(&gateway), NO_ADD);
    wait_for("word that it is mended", || gateway.said().contains("is in order again").then_some(()));

    fs::rename(&dir, gateway.dir.path().join("elsewhere")).unwrap();
    wait_for("word of it", || gateway.said().contains("can't read the policies at").then_some(()));
    assert!(!adds(&client, 2));
    fs::rename(gateway.dir.path().join("elsewhere"), &dir).unwrap();

    fs::remove_file(dir.join("more.cedar")).unwrap();
    fs::remove_file(policies(&gateway)).unwrap();
    let denied = wait_for("the empty set", || {
        let message = client.call(3, "add", SUM).message();
        (message["error"]["data"]["reason"] == "no_policy").then_some(message)
    });
    assert_eq!(denied["error"]["code"], 403, "{denied}");
    wait_for("all of it", || gateway.said().contains("read anew and in force: 0 policies").then_some(()));
    gateway.says(&["no policies are in force any more"]);
    assert!(!gateway.said().contains("forbids are gone"), "nothing is permitted: {}", gateway.said());
}

#[test]
fn a_swapped_link_is_seen_as_kubernetes_mounts_it() {
    let dir = configured(&format!("  demo: {}", demo_server()), "", "");
    let mount = dir.path().join("policies");
    fs::remove_file(mount.join("test.cedar")).unwrap();
    for (version, text) in [("..v1", PERMIT_ALL), ("..v2", NO_ADD)] {
        fs::create_dir(mount.join(version)).unwrap();
        fs::write(mount.join(version).join("test.cedar"), text).unwrap();
    }
    symlink("..v1", mount.join("..data")).unwrap();
    symlink("..data/test.cedar", mount.join("test.cedar")).unwrap();
    let gateway = Gateway::start_in(dir);
    let client = Client::open(&gateway, "/mcp/demo", "2025-11-25");
    assert!(adds(&client, 1));
    let mount = gateway.dir.path().join("policies");
    symlink("..v2", mount.join("..data_tmp")).unwrap();
    fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    until_adds(&client, false);
}

#[test]
fn hangup_has_everything_read_anew_and_names_what_needs_a_restart() {
    let gateway = serving();
    let client = Client::open(&gateway, "/mcp/demo", "2025-11-25");
    gateway.signal("HUP");
    wait_for("an answer", || gateway.said().contains("read anew: nothing changed").then_some(()));
    assert!(adds(&client, 1), "it lives on, and so does the session");

    let other = gateway.dir.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("b.cedar"), NO_ADD).unwrap();
    let config = gateway.dir.path().join("chancery.yaml");
    let text = fs::read_to_string(&config).unwrap();
    // A mistake in it: nothing of it counts.
    save(&config, &text.replace("policies: policies", "policies: other\nlimts: { sessions: 9 }"));
    wait_for("word of the mistake", || gateway.said().contains("did you mean `limits`").then_some(()));
    assert!(adds(&client, 2));
    save(
        &config,
        &text.replace(
            "policies: policies",
            "policies: other\nlimits: { sessions: 9 }\ntelemetry: { log_filter: error }",
        ),
    );
    until_adds(&client, false);
    let said = gateway.says(&["after a restart only: limits.sessions"]);
    assert!(!said.contains("telemetry.log_filter,") && !said.contains("restart only: policies"), "{said}");
}

#[test]
fn over_a_hundred_reloads_leak_nothing() {
    let gateway = serving();
    let client = Client::open(&gateway, "/mcp/demo", "2025-11-25");
    let reload = |n: usize| {
        // Enough of them that one that stays would be seen.
        let padding: String = (0..20)
            .map(|at| {
                format!(
                    "@id(\"p{at}-{n}\") permit (principal, action == Mcp::Action::\"demo/echo\", resource);\n"
                )
            })
            .collect();
        save(
            &policies(&gateway),
            &format!("{}\n{padding}", if n.is_multiple_of(2) { PERMIT_ALL } else { NO_ADD }),
        );
        gateway.signal("HUP");
        until_adds(&client, n.is_multiple_of(2));
    };
    (1..=20).for_each(reload);
    let (memory, files) = (gateway.memory(), gateway.open_files());
    (21..=130).for_each(reload);
    let grown = gateway.memory().saturating_sub(memory);
    assert!(grown < 16 * 1024, "{grown} KiB more after 110 reloads");
    assert!(gateway.open_files() <= files + 4, "{} files, {files} before", gateway.open_files());
    let (code, said, dir) = gateway.stop();
    assert_eq!(code, Some(0), "{said}");
    verify(dir.path());
}

#[test]
fn what_arguments_mean_is_read_anew_and_a_mistake_in_it_denies_nothing() {
    let gateway = serving();
    let client = Client::open(&gateway, "/mcp/demo", "2025-11-25");
    let config = gateway.dir.path().join("chancery.yaml");
    let text = fs::read_to_string(&config).unwrap();
    let with = |more: &str| text.replace("args: [demo-server]", &format!("args: [demo-server], {more}"));
    let reads = |path: &str| {
        let arguments = serde_json::json!({ "path": path }).to_string();
        client.call(5, "read_file", &arguments).message()["error"]["data"]["reason"].clone()
    };
    // Policy and meaning in one go: a policy on a path that is none would be wrong.
    let policy = format!(
        "{PERMIT_ALL}\n@id(\"in\") forbid (principal, action == Mcp::Action::\"demo/read_file\", resource)\n\
         unless {{ context.input.path.normal like \"/in/*\" }};\n"
    );
    fs::write(policies(&gateway), &policy).unwrap();
    wait_for("word of it", || gateway.said().contains("nothing was taken over").then_some(()));
    save(&config, &with("inputs: { path: [path] }"));
    wait_for("the meaning", || (reads("/in/../etc/passwd") == "forbidden").then_some(()));
    assert!(reads("/in/a") != "forbidden");
    assert!(!gateway.said().contains("restart only"), "{}", gateway.said());

    // Taken back without the policy that rests on it: all stays as it was, no tool is held back for it.
    save(&config, &text);
    wait_for("word of it", || (gateway.said().matches("nothing was taken over").count() == 2).then_some(()));
    assert_eq!(reads("/in/../etc/passwd"), "forbidden");
    assert!(reads("/in/a") != "tool_quarantined" && adds(&client, 6));

    // Warnings of what nobody can prove come with each reload, as at the start.
    save(&config, &with("inputs: { path: [path] }, arguments: record"));
    let of_nobody = "permit (principal in Mcp::Group::\"oidc:staff\", action, resource);";
    save(&policies(&gateway), &format!("{policy}{of_nobody}\n"));
    wait_for("the warning", || gateway.said().contains("oidc:staff").then_some(()));
    wait_for("arguments that are recorded only", || {
        let message = client.call(7, "add", r#"{"a":1,"b":"x"}"#).message();
        (message["error"]["data"]["reason"] != "invalid_input").then_some(())
    });
}
