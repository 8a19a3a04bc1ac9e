//! `chancery session`: what an operator sees of a running gateway's sessions, and how one is ended.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::gateway::{Gateway, PATIENCE, chancery, demo_server, is_kind, wait_for};
use crate::puppet::{POLICIES, gateway};
use crate::raw::{Client, begin, call, initialize, send, tcp, unix};

fn session(gateway: &Gateway, args: &[&str]) -> Output {
    let config = gateway.dir.path().join("chancery.yaml");
    chancery(gateway.dir.path()).arg("session").args(args).arg("-c").arg(config).output().unwrap()
}

fn listed(gateway: &Gateway) -> Vec<Value> {
    let output = session(gateway, &["list", "--json"]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(crate) fn sid(token: &str) -> String {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice::<Value>(&claims).unwrap()["sid"].as_str().unwrap().to_owned()
}

fn socket(gateway: &Gateway) -> PathBuf {
    let admin = gateway.dir.path().join("state/chancery/admin");
    fs::read_dir(admin).unwrap().next().unwrap().unwrap().path()
}

/// The other signature, (r, n−s), that ECDSA on P-256 takes as well.
pub(crate) fn malleated(token: &str) -> String {
    const N: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
        0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    assert_eq!(signature.len(), 64, "an ES256 signature");
    let mut borrow = 0;
    for at in (0..32).rev() {
        let digit = i16::from(N[at]) - i16::from(signature[32 + at]) - borrow;
        borrow = i16::from(digit < 0);
        signature[32 + at] = u8::try_from(digit.rem_euclid(256)).unwrap();
    }
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn demo(more: &str) -> Gateway {
    gateway(&format!("  demo: {}", demo_server()), POLICIES, more)
}

#[test]
fn a_revoked_session_ends_at_once_with_its_streams_and_its_tool_server_and_no_other_session_does() {
    let gateway = demo("");
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    let local = gateway.dir.path().join("mcp.sock");
    let headers = [
        ("host", "x"),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
    ];
    let other = send(unix(&local), "POST /mcp", &headers, initialize("2025-11-25").to_string().as_bytes());
    let other_token = other.header("mcp-session-id").unwrap().to_owned();
    assert_eq!(gateway.children().len(), 2);

    assert_eq!(client.call(1, "add", r#"{"a":1,"b":1}"#).status, 200);
    assert_eq!(client.call(2, "delete_everything", "{}").message()["error"]["code"], 403);
    let sid = sid(&client.session);
    let rows = listed(&gateway);
    assert_eq!(rows.len(), 2);
    let row = rows.iter().find(|row| row["sid"] == *sid).unwrap();
    assert!(row["principal"].as_str().unwrap().starts_with("bootstrap:"), "{row}");
    assert_eq!((&row["evidence"], &row["server"]), (&json!("bootstrap"), &json!("demo")));
    assert_eq!((&row["client"], &row["state"]), (&json!("by-hand 1"), &json!("open")));
    assert_eq!((&row["calls"], &row["denied"]), (&json!(1), &json!(1)), "{row}");
    for args in [&["list"][..], &["list", "--json"], &["show", &sid], &["show", &sid, "--json"]] {
        let output = session(&gateway, args);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && said.contains(&sid) && said.contains("by-hand 1"), "{said}");
        let secret = gateway.bearer();
        for hidden in [&client.session, &other_token, secret.strip_prefix("Bearer ").unwrap()] {
            assert!(!said.contains(hidden) && !said.contains(hidden.rsplit('.').next().unwrap()), "{said}");
        }
    }

    let (answer, mut stream) = client.listen();
    assert_eq!(answer.status, 200, "{answer:?}");
    let slow = call(3, "slow", r#"{"steps":1000,"step_ms":1000}"#);
    let mut wanted = client.headers();
    wanted.push(("connection", "close"));
    let calling = std::thread::scope(|scope| {
        let calling = scope.spawn(|| send(tcp(&gateway), "POST /mcp", &wanted, slow.as_bytes()));
        let calls = || (listed(&gateway).iter().any(|row| row["calls"] == 2)).then_some(());
        wait_for("the call under way", calls);

        let output = session(&gateway, &["revoke", &sid]);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("revoked {sid}\n"));
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        calling.join().unwrap()
    });
    assert!(calling.message()["error"].is_object(), "{calling:?}");
    wait_for("the end of its tool server", || (gateway.children().len() == 1).then_some(()));

    let malleated = malleated(&client.session);
    assert_ne!(malleated, client.session);
    for token in [&client.session, &malleated] {
        let headers: Vec<_> = client.headers();
        let headers: Vec<_> = headers
            .into_iter()
            .map(|(name, value)| (name, if name == "mcp-session-id" { token.as_str() } else { value }))
            .collect();
        let body = call(4, "add", r#"{"a":1,"b":1}"#);
        for (line, body) in [("POST /mcp", body.as_bytes()), ("GET /mcp", b""), ("DELETE /mcp", b"")] {
            assert_eq!(send(tcp(&gateway), line, &headers, body).status, 404, "{line}");
        }
    }
    let mut headers = headers.to_vec();
    headers.push(("mcp-session-id", &other_token));
    let add = call(5, "add", r#"{"a":1,"b":1}"#);
    let answer = send(unix(&local), "POST /mcp", &headers, add.as_bytes());
    assert_eq!(answer.message()["result"]["content"][0]["text"], "2", "{answer:?}");

    let again = session(&gateway, &["revoke", &sid]);
    assert_eq!(again.status.code(), Some(1));
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(said.contains(&format!("no session {sid} is open")), "{said}");
    assert_eq!(listed(&gateway).len(), 1);
    let records = gateway.records();
    let closes = records.iter().filter(|record| is_kind(record, "session-close"));
    let closes: Vec<_> = closes.map(|record| &record["predicate"]).collect();
    assert_eq!(closes.len(), 1, "{closes:?}");
    assert_eq!(closes[0]["reason"], "revoked");
}

#[test]
fn a_session_of_a_revoked_secret_can_be_opened_anew() {
    let gateway = demo("");
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    assert!(session(&gateway, &["revoke", &sid(&client.session)]).status.success());
    let anew = Client::open(&gateway, "/mcp", "2025-11-25");
    assert_ne!(sid(&anew.session), sid(&client.session));
}

#[test]
fn who_is_meant_is_found_or_the_error_says_how_to_name_it() {
    let home = tempfile::tempdir().unwrap();
    let without = |args: &[&str]| chancery(home.path()).arg("session").args(args).output().unwrap();
    let said = |output: &Output, parts: &[&str]| {
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    };
    said(&without(&["list"]), &["no gateway runs", "--socket PATH"]);
    said(
        &without(&["list", "--socket", "/nonexistent/x.sock"]),
        &["no gateway runs on", "/nonexistent/x.sock"],
    );

    let shared = |name: &str| {
        let socket = home.path().join(format!("state/chancery/admin/{name}.sock"));
        demo(&format!("admin: {{ socket: \"{}\" }}\n", socket.display()))
    };
    let one = shared("one");
    let output = without(&["list"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "no session is open\n", "{output:?}");
    let two = shared("two");
    // With several all are asked, and the session leads to its own.
    let (first, second) =
        (Client::open(&one, "/mcp", "2025-11-25"), Client::open(&two, "/mcp", "2025-11-25"));
    let (first, second) = (sid(&first.session), sid(&second.session));
    let text = String::from_utf8(without(&["list"]).stdout).unwrap();
    for (sid, gateway) in [(&first, "one"), (&second, "two")] {
        let line = text.lines().find(|line| line.starts_with(sid)).unwrap();
        assert!(line.ends_with(gateway), "{text}");
    }
    let named = home.path().join("state/chancery/admin/two.sock");
    let of_two: Vec<Value> =
        serde_json::from_slice(&without(&["list", "--json", "--socket", named.to_str().unwrap()]).stdout)
            .unwrap();
    assert_eq!((of_two.len(), &of_two[0]["sid"]), (1, &json!(second)));
    assert_eq!(of_two[0]["gateway"], named.to_str().unwrap());
    assert!(String::from_utf8(without(&["show", &second]).stdout).unwrap().contains("two.sock"));
    assert!(without(&["revoke", &second]).status.success());
    said(&without(&["revoke", &second]), &["no session", "is open"]);
    assert!(without(&["show", &first]).status.success(), "the other gateway's is as it was");
    // What a gateway that was killed leaves behind is no gateway.
    let _dir = one.kill();
    assert!(without(&["list"]).status.success());
    let (_, _, _dir) = two.stop();
    assert!(!named.exists());
    said(&without(&["list"]), &["no gateway runs"]);
}

#[test]
fn a_second_gateway_with_the_same_socket_does_not_begin_its_log() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("own/admin.sock");
    let configured = || {
        let dir = Gateway::configured(&format!("admin: {{ socket: \"{}\" }}\n", socket.display()));
        let file = dir.path().join("chancery.yaml");
        (dir, file)
    };
    let (dir, _) = configured();
    let gateway = Gateway::start_in(dir);
    let (second, file) = configured();
    let output = chancery(second.path()).args(["serve", "-c"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("own/admin.sock") && said.contains("let `admin.socket` name another"), "{said}");
    for made in ["log", "secret", "addresses", "state/chancery/identity"] {
        assert!(!second.path().join(made).exists(), "it has begun: {made}");
    }
    // With the same log too, that is what is said.
    let file = gateway.dir.path().join("chancery.yaml");
    let text = fs::read_to_string(&file).unwrap().replace("mcp.sock", "other.sock");
    let other = gateway.dir.path().join("other.yaml");
    fs::write(&other, text).unwrap();
    let output = chancery(gateway.dir.path()).args(["serve", "-c"]).arg(&other).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("is in use by process"), "{said}");
    assert!(session(&gateway, &["list"]).status.success(), "the first goes on");
}

#[test]
fn a_session_of_run_is_listed_and_revoked_and_its_pipe_ends() {
    let home = tempfile::tempdir().unwrap();
    let asked = |args: &[&str]| chancery(home.path()).arg("session").args(args).output().unwrap();
    let start = || {
        let mut command = chancery(home.path());
        command.args(["run", "--policies"]).arg(home.path().join("policies")).args(["--name", "demo", "--"]);
        command.args([env!("CARGO_BIN_EXE_chancery"), "demo-server"]);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut exchange = move |line: &str| {
            stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
            let mut answer = String::new();
            lines.read_line(&mut answer).unwrap();
            serde_json::from_str::<Value>(&answer).unwrap_or(Value::Null)
        };
        let opened = exchange(&initialize("2025-11-25").to_string());
        assert_eq!(opened["result"]["protocolVersion"], "2025-11-25", "nothing but the protocol: {opened}");
        let token = opened["result"]["_meta"]["chancery/session"]["token"].as_str().unwrap().to_owned();
        (child, exchange, sid(&token))
    };
    fs::create_dir(home.path().join("policies")).unwrap();
    fs::write(home.path().join("policies/test.cedar"), crate::puppet::PERMIT_ALL).unwrap();
    let ((mut first, to_first, revoked), (mut second, mut to_second, kept)) = (start(), start());
    let rows: Vec<Value> = serde_json::from_slice(&asked(&["list", "--json"]).stdout).unwrap();
    for sid in [&revoked, &kept] {
        let row = rows.iter().find(|row| row["sid"] == **sid).unwrap();
        assert_eq!((&row["transport"], &row["evidence"]), (&json!("stdio"), &json!("peer")), "{row}");
    }
    assert!(asked(&["revoke", &revoked]).status.success());
    wait_for("the end of the process", || first.try_wait().unwrap());
    assert_eq!(to_second(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#)["id"], 1);
    let rows: Vec<Value> = serde_json::from_slice(&asked(&["list", "--json"]).stdout).unwrap();
    assert_eq!((rows.len(), &rows[0]["sid"]), (1, &json!(kept)));
    let sockets = || fs::read_dir(home.path().join("state/chancery/admin")).unwrap().count();
    assert_eq!(sockets(), 1, "each takes its own away");

    // One that was killed leaves its socket, until a later gateway finds it old and silent.
    second.kill().unwrap();
    second.wait().unwrap();
    assert_eq!(sockets(), 1);
    let left =
        fs::read_dir(home.path().join("state/chancery/admin")).unwrap().next().unwrap().unwrap().path();
    let hour_ago = "1 hour ago";
    assert!(Command::new("touch").args(["-d", hour_ago]).arg(&left).status().unwrap().success());
    let (mut third, _to_third, sid) = start();
    assert!(!left.exists());
    let rows: Vec<Value> = serde_json::from_slice(&asked(&["list", "--json"]).stdout).unwrap();
    assert_eq!((rows.len(), &rows[0]["sid"]), (1, &json!(sid)));
    third.kill().unwrap();
    third.wait().unwrap();
    drop((to_first, to_second));
}

#[test]
fn the_socket_is_its_users_alone() {
    let gateway = demo("");
    let socket = socket(&gateway);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o700));
    if !rustix::process::geteuid().is_root() {
        // Only root can be somebody else. Not by a macro: what is left out is said whether the test passes or not.
        let said = "LEFT OUT: another user on the admin socket (this test needs root to be one)\n";
        std::io::stderr().write_all(said.as_bytes()).unwrap();
        return;
    }
    // Even where the modes would let another user in.
    let mut path = socket.as_path();
    while path.starts_with(gateway.dir.path()) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        path = path.parent().unwrap();
    }
    // Not among the gateway's own files, which are searched for secrets at the end.
    let elsewhere = tempfile::tempdir().unwrap();
    fs::set_permissions(elsewhere.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let binary = elsewhere.path().join("chancery");
    // By a process of its own: a file that this one has open for writing can't be run by those that it forks.
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_chancery")).arg(&binary).status().unwrap().success());
    let mut command = Command::new(&binary);
    command.uid(65534).gid(65534);
    command.args(["session", "list", "--socket"]).arg(&socket);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("belongs to another user"), "{said}");
}

#[test]
fn a_socket_that_others_could_reach_does_not_start() {
    let dir = Gateway::configured("admin: { socket: open/admin.sock }\n");
    fs::create_dir(dir.path().join("open")).unwrap();
    fs::set_permissions(dir.path().join("open"), fs::Permissions::from_mode(0o755)).unwrap();
    let output =
        chancery(dir.path()).args(["serve", "-c"]).arg(dir.path().join("chancery.yaml")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("0755") && said.contains("chmod 700"), "{said}");
    assert!(!dir.path().join("log/records").exists(), "the log was begun");
}

#[test]
fn what_is_no_request_ends_no_session() {
    let gateway = demo("");
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    let socket = socket(&gateway);
    let long = format!("{{\"ask\":\"revoke\",\"sid\":\"{}\"}}", "x".repeat(100_000));
    for text in ["\n", "{}\n", "GET / HTTP/1.1\r\n\r\n", r#"{"ask":"revoke"}"#, &long] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // It may hang up in the middle of a line that is too long.
        stream.write_all(text.as_bytes()).ok();
        stream.shutdown(std::net::Shutdown::Write).ok();
        let mut answer = String::new();
        if BufReader::new(stream).read_line(&mut answer).is_ok() && !answer.is_empty() {
            assert_eq!(answer, "{\"error\":\"malformed\"}\n", "{text:.40}");
        }
    }
    assert_eq!(client.call(1, "add", r#"{"a":1,"b":1}"#).message()["id"], 1);
    let (answer, _stream) =
        begin(tcp(&gateway), "GET /healthz", &[("host", "x"), ("connection", "close")], b"");
    assert_eq!(answer.status, 200);
}
