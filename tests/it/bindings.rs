//! Every kind of evidence against every other's session, by every method, at one gateway that takes them all.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::gateway::{Gateway, is_kind, wait_for};
use crate::mtls_admission::Workload;
use crate::puppet::{PERMIT_ALL, Tap};
use crate::raw::{Answer, call, initialize, send, tcp, unix};
use crate::session_cli::sid;
use crate::spire::ID;
use crate::support::authority::{Authority, Leaf};
use crate::support::issuer::{Issuer, Key};
use crate::support::workload_api::Agent;

const ADD: &str = r#"{"a":1,"b":2}"#;

/// What somebody shows.
enum Shown<'a> {
    /// On TCP, with this `Authorization` or without any.
    Tcp(Option<String>),
    /// On TLS, with this certificate.
    Tls(&'a Workload),
    /// On the Unix socket, by being this process.
    Unix,
}

impl Shown<'_> {
    const fn listener(&self) -> &'static str {
        match self {
            Self::Tcp(_) => "tcp",
            Self::Tls(_) => "tls",
            Self::Unix => "unix",
        }
    }

    fn ask(&self, gateway: &Gateway, method: &str, session: Option<&str>, body: &str) -> Answer {
        let mut headers = vec![
            ("host", "localhost"),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ];
        headers.extend(session.map(|session| ("mcp-session-id", session)));
        let line = format!("{method} /mcp/demo");
        match self {
            Self::Tcp(authorization) => {
                headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
                send(tcp(gateway), &line, &headers, body.as_bytes())
            }
            Self::Tls(workload) => send(workload.connect(gateway), &line, &headers, body.as_bytes()),
            Self::Unix => send(unix(&gateway.dir.path().join("mcp.sock")), &line, &headers, body.as_bytes()),
        }
    }

    fn open(&self, gateway: &Gateway) -> String {
        let answer = self.ask(gateway, "POST", None, &initialize("2025-11-25").to_string());
        let session = answer.header("mcp-session-id").unwrap_or_else(|| panic!("{answer:?}")).to_owned();
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }).to_string();
        assert_eq!(self.ask(gateway, "POST", Some(&session), &initialized).status, 202);
        session
    }

    fn adds(&self, gateway: &Gateway, session: &str) -> bool {
        let answer = self.ask(gateway, "POST", Some(session), &call(1, "add", ADD));
        answer.status == 200 && answer.message()["result"]["content"][0]["text"] == "3"
    }
}

/// A gateway that takes every kind of evidence.
fn gateway(agent: &Agent, issuer: &Issuer, tap: &Tap) -> Gateway {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("test.cedar"), PERMIT_ALL).unwrap();
    let text = format!(
        "listen: {{ tcp: \"127.0.0.1:0\", tls: \"127.0.0.1:0\", unix: mcp.sock, address_file: addresses }}\n\
         servers:\n{}\nadmission:\n  bootstrap: {{ file: secret }}\n  peer: {{}}\n  anonymous: true\n  mtls: {{ \
         trust_domains: [example.org] }}\n  oidc:\n    - issuer: {}\n      audience: [chancery]\n      allow_http: \
         true\n      allow_private: true\nlog: {{ dir: log }}\npolicies: test.cedar\nrefusal_summary: 1s\nidentity: \
         {{ spire: {{ socket: \"{}\" }} }}\n",
        tap.server(),
        issuer.url(),
        agent.endpoint()
    );
    fs::write(dir.path().join("chancery.yaml"), text).unwrap();
    Gateway::start_in(dir)
}

#[test]
fn nobodys_evidence_opens_anothers_session_by_any_method_and_no_session_suffers() {
    let (authority, issuer, key) = (Authority::new("example.org"), Issuer::start(), Key::es256("k1"));
    issuer.publish(&[&key]);
    let (agent, tap) = (Agent::serving(authority.svid(&Leaf::of(ID))), Tap::new());
    let gateway = gateway(&agent, &issuer, &tap);
    let bearer = |subject: &str, client: &str| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let claims = json!({
            "iss": issuer.url(), "aud": ["chancery"], "sub": subject, "azp": client, "iat": now, "exp": now + 600,
        });
        Shown::Tcp(Some(format!("Bearer {}", key.token(&claims))))
    };
    let workload =
        |name: &str| Workload::with(authority.svid(&Leaf::of(&format!("spiffe://example.org/{name}"))));
    let (first, second) = (workload("agents/alice"), workload("agents/bob"));
    let all = [
        ("bootstrap", Shown::Tcp(Some(gateway.bearer()))),
        ("oidc, alice by her editor", bearer("alice", "editor")),
        ("oidc, alice by another client", bearer("alice", "other")),
        ("oidc, bob", bearer("bob", "editor")),
        ("mtls, alice", Shown::Tls(&first)),
        ("mtls, bob", Shown::Tls(&second)),
        ("peer", Shown::Unix),
        ("anonymous", Shown::Tcp(None)),
    ];
    let sessions: Vec<String> = all.iter().map(|(_, shown)| shown.open(&gateway)).collect();
    for ((name, shown), session) in all.iter().zip(&sessions) {
        assert!(shown.adds(&gateway, session), "{name}");
    }
    let before = tap.settled();
    for ((whose, _), session) in all.iter().zip(&sessions) {
        for (who, shown) in all.iter().filter(|(who, _)| who != whose) {
            for method in ["POST", "GET", "DELETE"] {
                let body = if method == "POST" { call(66, "add", ADD) } else { String::new() };
                let answer = shown.ask(&gateway, method, Some(session), &body);
                assert_eq!(answer.status, 404, "{whose}'s session, {who}'s evidence, {method}: {answer:?}");
            }
        }
    }
    assert_eq!(tap.bytes(), before, "not a byte has reached the tool server");
    for ((name, shown), session) in all.iter().zip(&sessions) {
        assert!(shown.adds(&gateway, session), "{name} goes on");
    }
    for listener in ["tcp", "tls", "unix"] {
        let askers = all.iter().filter(|(_, shown)| shown.listener() == listener).count() as u64;
        let expected = askers * 3 * (all.len() as u64 - 1);
        let counted = || gateway.turned_away(listener, "session_of_another");
        wait_for("their count", || (counted() >= expected).then_some(()));
        assert_eq!(counted(), expected, "{listener}");
    }
    let records = gateway.records();
    for session in &sessions {
        let of_it = records.iter().filter(|record| record["predicate"]["session"] == *sid(session));
        let told = of_it.filter(|record| record["predicate"]["denyReason"] == "evidence_mismatch").count();
        assert_eq!(told, 1, "each session's chain tells of it, once a minute");
    }
    assert!(!records.iter().any(|record| is_kind(record, "session-close")));
}

/// Names what [`speaks_for_the_test_beside_it`] does.
const SPEAK: [&str; 3] = ["TO_SOCKET", "WHAT_IS_IN", "AND_WRITE"];

#[test]
#[ignore = "no test: it is another process for the test below, which runs it"]
fn speaks_for_the_test_beside_it() {
    let [socket, request, answer] = SPEAK.map(|name| std::env::var_os(name).expect(name));
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    std::io::Write::write_all(&mut stream, &fs::read(request).unwrap()).unwrap();
    let mut heard = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut heard).unwrap();
    fs::write(answer, heard).unwrap();
}

#[test]
fn a_token_in_another_process_of_the_same_user_and_executable_is_refused_by_every_method() {
    let tap = Tap::new();
    let gateway = crate::puppet::gateway(&tap.server(), PERMIT_ALL, "refusal_summary: 1s\n");
    let session = Shown::Unix.open(&gateway);
    assert!(Shown::Unix.adds(&gateway, &session));
    let before = tap.settled();
    let dir = tempfile::tempdir().unwrap();
    let [request, heard] = ["request", "heard"].map(|name| dir.path().join(name));
    let other = |text: &str| {
        fs::write(&request, text).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "bindings::speaks_for_the_test_beside_it", "--ignored"])
            .stdout(Stdio::null());
        let values = [gateway.dir.path().join("mcp.sock"), request.clone(), heard.clone()];
        assert!(command.envs(SPEAK.iter().zip(values)).status().unwrap().success());
        fs::read_to_string(&heard).unwrap()
    };
    let body = call(66, "add", ADD);
    let heads = "host: x\r\nconnection: close\r\ncontent-type: application/json\r\naccept: application/json, \
                 text/event-stream\r\n";
    for (method, body) in [("POST", body.as_str()), ("GET", ""), ("DELETE", "")] {
        let length = body.len();
        let text = format!(
            "{method} /mcp/demo HTTP/1.1\r\n{heads}mcp-session-id: {session}\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let heard = other(&text);
        assert!(heard.starts_with("HTTP/1.1 404 "), "{method}: {heard}");
    }
    assert_eq!(tap.bytes(), before);
    // It may have a session of its own: it was refused for the token, not for what it is.
    let hello = initialize("2025-11-25").to_string();
    let length = hello.len();
    let own = other(&format!("POST /mcp/demo HTTP/1.1\r\n{heads}content-length: {length}\r\n\r\n{hello}"));
    assert!(own.starts_with("HTTP/1.1 200 "), "{own}");
    assert!(Shown::Unix.adds(&gateway, &session));
    wait_for("their count", || (gateway.turned_away("unix", "session_of_another") == 3).then_some(()));
}
