//! Clients that are admitted by their X.509-SVID on the TLS listener, and those that are not.

use std::fs;
use std::io::{BufReader, Read, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use chancery::identity::{Identity, Peers};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::gateway::{Gateway, PATIENCE, demo_server, is_kind, wait_for};
use crate::raw::{Answer, begin, call, initialize, read_head, send};
use crate::spire::{ID, part, workload};
use crate::support::authority::{Authority, Leaf};
use crate::support::messages::X509SvidResponse;
use crate::support::workload_api::Agent;

pub(crate) const ALICE: &str = "spiffe://example.org/agents/alice";
pub(crate) const BOB: &str = "spiffe://example.org/agents/bob";
pub(crate) const ANY_OF_ORG: &str = "trust_domains: [example.org]";
const AGENTS_ONLY: &str = r#"
@id("agents") permit (principal in Mcp::Group::"spiffe://example.org/agents", action, resource);
@id("partners") permit (principal in Mcp::Group::"spiffe://example.net", action, resource);
@id("not-bob") @reason("Bob adds nothing.")
forbid (principal == Mcp::Agent::"spiffe://example.org/agents/bob", action == Mcp::Action::"demo/add", resource);
"#;

pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A gateway with a TLS listener, whose identity `agent` gives and which lets in who `mtls` says.
pub(crate) fn gateway(agent: &Agent, mtls: &str) -> Gateway {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("policies")).unwrap();
    fs::write(dir.path().join("policies/test.cedar"), AGENTS_ONLY).unwrap();
    let text = format!(
        "listen: {{ tcp: \"127.0.0.1:0\", tls: \"127.0.0.1:0\", address_file: addresses }}\nservers:\n  demo: {}\n\
         admission: {{ bootstrap: {{ file: secret }}, mtls: {{ {mtls} }} }}\nlog: {{ dir: log }}\npolicies: policies\n\
         identity: {{ spire: {{ socket: \"{}\" }} }}\nrefusal_summary: 1s\n",
        demo_server(),
        agent.endpoint()
    );
    fs::write(dir.path().join("chancery.yaml"), text).unwrap();
    Gateway::start_in(dir)
}

/// `host:port` of the TLS listener.
fn address(gateway: &Gateway) -> String {
    let addresses = fs::read_to_string(gateway.dir.path().join("addresses")).unwrap();
    let https = addresses.lines().find_map(|line| line.strip_prefix("https://")).unwrap();
    https.split('/').next().unwrap().to_owned()
}

/// Waits for the summary that counts refusals of this reason on the TLS listener.
pub(crate) fn wait_for_refusal(gateway: &Gateway, reason: &str) {
    wait_for(reason, || {
        let records = gateway.records();
        let mut summaries = records.iter().filter(|record| is_kind(record, "refusal-summary"));
        let row = |row: &serde_json::Value| row["listener"] == "tls" && row["reason"] == reason;
        summaries
            .any(|record| record["predicate"]["refusals"].as_array().unwrap().iter().any(row))
            .then_some(())
    });
}

/// A client workload with an agent of its own.
pub(crate) struct Workload {
    tls: Arc<ClientConfig>,
    agent: Agent,
    _identity: Arc<Identity>,
    _dir: TempDir,
    _runtime: Runtime,
}

impl Workload {
    /// With what its agent hands it; it speaks to the gateway of this name only.
    pub(crate) fn with(update: impl Into<X509SvidResponse>) -> Self {
        let agent = Agent::serving(update);
        let dir = tempfile::tempdir().unwrap();
        let (identity, runtime) = workload(&agent, dir.path());
        let entered = runtime.enter();
        let gateway = Peers::Exactly(vec![ID.parse().unwrap()]);
        let tls = Arc::new(identity.tls().unwrap().client(&gateway).unwrap());
        drop(entered);
        Self { tls, agent, _identity: identity, _dir: dir, _runtime: runtime }
    }

    pub(crate) fn connect(&self, gateway: &Gateway) -> Tls {
        connect(&self.tls, gateway)
    }

    /// Gives it another certificate and waits until a handshake with that is let in.
    pub(crate) fn renew(&self, gateway: &Gateway, update: impl Into<X509SvidResponse>) {
        self.agent.serve(update);
        wait_for("a handshake with the next certificate", || {
            let mut connection = self.connect(gateway);
            let shaken = connection.conn.complete_io(&mut connection.sock).is_ok();
            // In TLS 1.3 the refusal comes with the first bytes read.
            let asked = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
            let whole = shaken && connection.write_all(asked).is_ok();
            (whole && connection.read_exact(&mut [0; 12]).is_ok()).then_some(())
        });
    }

    /// Opens a session; returns its handle.
    pub(crate) fn open(&self, gateway: &Gateway) -> String {
        let answer = post(&mut self.connect(gateway), "", &initialize("2025-11-25").to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.message().get("result").is_some(), "{answer:?}");
        let session = answer.header("mcp-session-id").unwrap().to_owned();
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }).to_string();
        assert_eq!(post(&mut self.connect(gateway), &session, &initialized).status, 202);
        session
    }
}

fn connect(tls: &Arc<ClientConfig>, gateway: &Gateway) -> Tls {
    let stream = TcpStream::connect(address(gateway)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    let name = "localhost".try_into().unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(tls), name).unwrap(), stream)
}

pub(crate) fn headers(session: &str) -> Vec<(&str, &str)> {
    let mut headers = vec![
        ("host", "localhost"),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
    ];
    if !session.is_empty() {
        headers.push(("mcp-session-id", session));
    }
    headers
}

/// Posts on a connection that is kept, in one write: who is refused by the head has the rest behind it.
pub(crate) fn post(connection: &mut Tls, session: &str, body: &str) -> Answer {
    let mut request = "POST /mcp/demo HTTP/1.1\r\n".to_owned();
    for (name, value) in headers(session) {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    connection.write_all(request.as_bytes()).unwrap();
    let (mut answer, mut rest) = read_head(BufReader::new(connection));
    match answer.header("content-length") {
        Some(length) => {
            let mut bytes = vec![0; length.parse().unwrap()];
            rest.read_exact(&mut bytes).unwrap();
            answer.body = String::from_utf8(bytes).unwrap();
        }
        // The answer to `initialize` is a stream when the server has more to say; its first event is enough.
        None => {
            let mut text = Vec::new();
            while !text.ends_with(b"\n\n") {
                let mut byte = [0];
                rest.read_exact(&mut byte).unwrap();
                text.push(byte[0]);
            }
            answer.body = String::from_utf8(text).unwrap();
        }
    }
    answer
}

pub(crate) fn add(connection: &mut Tls, session: &str) -> Answer {
    post(connection, session, &call(1, "add", r#"{"a":1,"b":2}"#))
}

pub(crate) fn adds(answer: &Answer) -> bool {
    answer.status == 200 && answer.message()["result"]["content"][0]["text"] == "3"
}

/// Reads a stream to its last chunk.
pub(crate) fn ends_in_order(mut events: impl Read) {
    let mut rest = Vec::new();
    while !rest.ends_with(b"0\r\n\r\n") {
        let mut byte = [0];
        events.read_exact(&mut byte).unwrap();
        rest.push(byte[0]);
    }
}

/// What the gateway says to a client that sends a request: nothing, as the handshake fails.
pub(crate) fn is_cut_off(mut connection: Tls) {
    let mut heard = Vec::new();
    let written = connection.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let read = written.and_then(|()| connection.read_to_end(&mut heard).map(drop));
    assert!(read.is_err() && heard.is_empty(), "{}", String::from_utf8_lossy(&heard));
}

#[test]
fn a_workload_is_admitted_as_its_spiffe_id_and_in_the_groups_of_its_path() {
    let authority = Authority::new("example.org");
    let ours = Agent::serving(authority.svid(&Leaf::of(ID)));
    let gateway = gateway(&ours, ANY_OF_ORG);
    let alice = Workload::with(authority.svid(&Leaf::of(ALICE)));
    let session = alice.open(&gateway);
    assert!(adds(&add(&mut alice.connect(&gateway), &session)));
    let claims = part(&session, 1);
    assert_eq!((&claims["sub"], &claims["amr"]), (&json!(ALICE), &json!(["mtls"])), "{claims}");
    assert_eq!(claims["cnf"], json!({ "kind": "mtls", "spiffe_id": ALICE }));
    assert_eq!(claims["mcp"]["transport"], "tls");

    // The policy knows Bob by his SPIFFE ID, and whoever is in no folder `agents` by that.
    let bob = Workload::with(authority.svid(&Leaf::of(BOB)));
    let session = bob.open(&gateway);
    let denied = add(&mut bob.connect(&gateway), &session);
    assert_eq!(denied.message()["error"]["code"], 403, "{denied:?}");
    let other = Workload::with(authority.svid(&Leaf::of("spiffe://example.org/batch/agents")));
    let refused = post(&mut other.connect(&gateway), "", &initialize("2025-11-25").to_string());
    assert_eq!(refused.message()["error"]["code"], 403, "{refused:?}");
}

#[test]
fn a_stolen_token_on_another_workloads_connection_is_refused() {
    let authority = Authority::new("example.org");
    let ours = Agent::serving(authority.svid(&Leaf::of(ID)));
    let gateway = gateway(&ours, ANY_OF_ORG);
    let (alice, bob) =
        (Workload::with(authority.svid(&Leaf::of(ALICE))), Workload::with(authority.svid(&Leaf::of(BOB))));
    let session = alice.open(&gateway);
    let stolen = post(&mut bob.connect(&gateway), &session, &call(1, "echo", r#"{"text":"x"}"#));
    assert_eq!(stolen.status, 404, "{stolen:?}");
    // Nor with the bootstrap secret on the other listener.
    let bearer = gateway.bearer();
    let mut more = headers(&session);
    more.push(("authorization", &bearer));
    let tcp = send(
        crate::raw::tcp(&gateway),
        "POST /mcp/demo",
        &more,
        call(1, "echo", r#"{"text":"x"}"#).as_bytes(),
    );
    assert_eq!((tcp.status, &tcp.body), (404, &stolen.body), "{tcp:?}");
    let mismatch = wait_for("the refusal in the log", || {
        gateway.records().into_iter().find(|record| record.to_string().contains("evidence_mismatch"))
    });
    assert!(is_kind(&mismatch, "decision"), "{mismatch}");
    assert!(adds(&add(&mut alice.connect(&gateway), &session)), "the session is as it was");
}

#[test]
fn a_spiffe_id_that_no_pattern_fits_is_refused_at_every_request() {
    let authority = Authority::new("example.org");
    let ours = Agent::serving(authority.svid(&Leaf::of(ID)));
    let gateway = gateway(&ours, "spiffe_ids: [\"spiffe://example.org/agents/*\"]");
    let other = Workload::with(authority.svid(&Leaf::of("spiffe://example.org/agents-not")));
    let refused = post(&mut other.connect(&gateway), "", &initialize("2025-11-25").to_string());
    assert_eq!(refused.status, 403, "{refused:?}");
    for method in ["GET", "DELETE"] {
        let line = format!("{method} /mcp/demo");
        let answer = send(other.connect(&gateway), &line, &headers(""), b"");
        assert_eq!(answer.status, 403, "{method}: {answer:?}");
    }
    wait_for_refusal(&gateway, "svid_not_allowed");
    assert!(!gateway.records().iter().any(|record| is_kind(record, "session-open")));
    Workload::with(authority.svid(&Leaf::of(ALICE))).open(&gateway);
}

#[test]
fn a_host_that_is_not_the_listeners_is_refused() {
    let authority = Authority::new("example.org");
    let ours = Agent::serving(authority.svid(&Leaf::of(ID)));
    let gateway = gateway(&ours, ANY_OF_ORG);
    let alice = Workload::with(authority.svid(&Leaf::of(ALICE)));
    for (name, value) in [("host", "evil.example"), ("origin", "https://evil.example")] {
        let mut headers = headers("");
        headers.retain(|(there, _)| *there != name);
        headers.push((name, value));
        let answer = send(alice.connect(&gateway), "GET /mcp/demo", &headers, b"");
        assert_eq!(answer.status, 403, "{answer:?}");
    }
    wait_for_refusal(&gateway, "origin_not_allowed");
}

#[test]
fn an_svid_that_ends_mid_connection_admits_nothing_more_and_the_next_one_goes_on() {
    let authority = Authority::new("example.org");
    let ours = Agent::serving(authority.svid(&Leaf::of(ID)));
    let gateway = gateway(&ours, ANY_OF_ORG);
    let alice = Workload::with(authority.svid(&Leaf::of(ALICE).ending_in(Duration::from_secs(6))));
    let session = alice.open(&gateway);
    let mut connection = alice.connect(&gateway);
    assert!(adds(&add(&mut connection, &session)));
    let exp = part(&session, 1)["exp"].as_i64().unwrap() - part(&session, 1)["iat"].as_i64().unwrap();
    assert!(exp <= 6, "the token ends with the certificate: {exp}");
    let streaming = alice.connect(&gateway);
    let (head, events) = begin(streaming, "GET /mcp/demo", &headers(&session), b"");
    assert_eq!(head.status, 200, "{head:?}");

    let refused = wait_for("the end of the certificate", || {
        let answer = add(&mut connection, &session);
        (answer.status != 200).then_some(answer)
    });
    assert_eq!((refused.status, refused.header("connection")), (401, Some("close")), "{refused:?}");
    // The stream that it admitted has ended, in order.
    ends_in_order(events);
    wait_for_refusal(&gateway, "svid_expired");

    alice.renew(&gateway, authority.svid(&Leaf::of(ALICE)));
    assert!(adds(&add(&mut alice.connect(&gateway), &session)));
}

#[test]
fn a_client_of_another_trust_domain_or_of_a_false_authority_makes_no_handshake() {
    let (authority, other) = (Authority::new("example.org"), Authority::new("example.net"));
    let forger = Authority::new("example.org");
    // The agent knows the other trust domain too: configuration keeps it out, not the want of a bundle.
    let svid = X509SvidResponse::from(authority.svid(&Leaf::of(ID)));
    let ours = Agent::serving(svid.federated("example.net", other.root().to_vec()));
    let gateway = gateway(&ours, ANY_OF_ORG);
    let foreign = X509SvidResponse::from(other.svid(&Leaf::of("spiffe://example.net/agents/alice")));
    let forged = forger.svid(&Leaf::of(ALICE)).bundle(&[forger.root(), authority.root()]);
    for update in [foreign.federated("example.org", authority.root().to_vec()), forged.into()] {
        is_cut_off(Workload::with(update).connect(&gateway));
    }
    wait_for_refusal(&gateway, "tls_handshake");
    assert!(!gateway.records().iter().any(|record| is_kind(record, "session-open")));
}

/// Shows no certificate.
#[derive(Debug)]
struct Nothing;

impl rustls::client::ResolvesClientCert for Nothing {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[test]
fn a_client_without_a_certificate_or_without_tls_gets_not_even_the_public_pages() {
    let authority = Authority::new("example.org");
    let ours = Agent::serving(authority.svid(&Leaf::of(ID)));
    let gateway = gateway(&ours, ANY_OF_ORG);
    let alice = Workload::with(authority.svid(&Leaf::of(ALICE)));
    let mut bare = ClientConfig::clone(&alice.tls);
    bare.client_auth_cert_resolver = Arc::new(Nothing);
    is_cut_off(connect(&Arc::new(bare), &gateway));
    wait_for_refusal(&gateway, "tls_handshake");

    let mut plain = TcpStream::connect(address(&gateway)).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut heard = Vec::new();
    plain.read_to_end(&mut heard).ok();
    assert!(!heard.starts_with(b"HTTP/"), "{}", String::from_utf8_lossy(&heard));

    let mut later = ClientConfig::clone(&alice.tls);
    later.alpn_protocols = vec![b"h2".to_vec()];
    is_cut_off(connect(&Arc::new(later), &gateway));
    // And with all of it in order they are served.
    let answer = send(alice.connect(&gateway), "GET /healthz", &[("host", "localhost")], b"");
    assert_eq!(answer.status, 200, "{answer:?}");
}
