//! The TLS listener with a certificate as on the web: who is let in there, and how the certificate is renewed.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::gateway::{Gateway, PATIENCE, chancery, demo_server, is_kind, wait_for};
use crate::puppet::PERMIT_ALL;
use crate::raw::{Answer, call, initialize, send};
use crate::support::issuer::{Issuer, Key};

const NAME: &str = "mcp.example.org";

/// Makes a certificate for `NAME`; its own root.
fn issue() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new([NAME.to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// Writes both files as renewals do, the key first.
fn put(dir: &Path, (certificate, key): &(String, String)) {
    for (name, text, mode) in [("key.pem", key, 0o600), ("chain.pem", certificate, 0o644)] {
        let temporary = dir.join("new.pem");
        fs::write(&temporary, text).unwrap();
        fs::set_permissions(&temporary, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(temporary, dir.join(name)).unwrap();
    }
}

fn configured(issuer: &Issuer, pair: &(String, String)) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), pair);
    fs::write(dir.path().join("test.cedar"), PERMIT_ALL).unwrap();
    // On all of the machine's addresses, as where it is used; the tests come by loopback.
    let text = format!(
        "listen: {{ tls: {{ address: \"0.0.0.0:0\", certificate: chain.pem, key: key.pem }}, allowed_hosts: [{NAME}], \
         unix: mcp.sock, tcp: \"127.0.0.1:0\", address_file: addresses }}\nservers:\n  demo: {}\nadmission:\n  bootstrap: {{ file: \
         secret }}\n  peer: {{}}\n  anonymous: true\n  oidc:\n    - issuer: {}\n      audience: chancery\n      allow_http: \
         true\n      allow_private: true\nlog: {{ dir: log }}\npolicies: test.cedar\nrefusal_summary: 1s\n",
        demo_server(),
        issuer.url()
    );
    fs::write(dir.path().join("chancery.yaml"), text).unwrap();
    dir
}

fn trusting(pair: &(String, String), versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pair.0.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    builder.with_root_certificates(roots).with_no_client_auth()
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

fn connect(gateway: &Gateway, config: &ClientConfig) -> Tls {
    let addresses = fs::read_to_string(gateway.dir.path().join("addresses")).unwrap();
    let https = addresses.lines().find_map(|line| line.strip_prefix("https://0.0.0.0:")).unwrap();
    let port: u16 = https.split('/').next().unwrap().parse().unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let connection = ClientConnection::new(Arc::new(config.clone()), NAME.try_into().unwrap()).unwrap();
    StreamOwned::new(connection, stream)
}

fn token(issuer: &Issuer, key: &Key) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({ "iss": issuer.url(), "aud": "chancery", "sub": "alice", "azp": "editor", "iat": now,
        "exp": now + 600 });
    format!("Bearer {}", key.token(&claims))
}

fn post(connection: Tls, authorization: Option<&str>, session: Option<&str>, body: &str) -> Answer {
    let mut headers = vec![
        ("host", NAME),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
    ];
    headers.extend(authorization.map(|value| ("authorization", value)));
    headers.extend(session.map(|value| ("mcp-session-id", value)));
    send(connection, "POST /mcp/demo", &headers, body.as_bytes())
}

#[test]
fn a_bearer_token_opens_a_session_over_tls_and_nothing_else_does() {
    let (issuer, key, pair) = (Issuer::start(), Key::es256("k1"), issue());
    issuer.publish(&[&key]);
    let gateway = Gateway::start_in(configured(&issuer, &pair));
    let bearer = token(&issuer, &key);
    for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
        let tls = trusting(&pair, versions);
        let opened =
            post(connect(&gateway, &tls), Some(&bearer), None, &initialize("2025-11-25").to_string());
        assert_eq!(opened.status, 200, "{opened:?}");
        let session = opened.header("mcp-session-id").unwrap();
        assert_eq!(crate::spire::part(session, 1)["mcp"]["transport"], "tls");
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }).to_string();
        assert_eq!(post(connect(&gateway, &tls), Some(&bearer), Some(session), &initialized).status, 202);
        let add = call(1, "add", r#"{"a":1,"b":2}"#);
        let sum = post(connect(&gateway, &tls), Some(&bearer), Some(session), &add);
        assert_eq!(sum.message()["result"]["content"][0]["text"], "3", "{sum:?}");
        // The handle alone is nothing.
        assert_eq!(post(connect(&gateway, &tls), None, Some(session), &add).status, 401);
    }
    let tls = trusting(&pair, rustls::ALL_VERSIONS);
    let metadata = format!("https://{NAME}/.well-known/oauth-protected-resource/mcp/demo");
    let secret = gateway.bearer();
    for (shown, error) in [
        (None, ""),
        (Some(secret.as_str()), ", error=\"invalid_token\""),
        (Some("Bearer x"), ", error=\"invalid_token\""),
    ] {
        let answer = post(connect(&gateway, &tls), shown, None, &initialize("2025-11-25").to_string());
        assert_eq!(answer.status, 401, "neither the secret nor the want of anything: {answer:?}");
        let expected = format!("Bearer realm=\"chancery\", resource_metadata=\"{metadata}\"{error}");
        assert_eq!(answer.header("www-authenticate"), Some(expected.as_str()));
    }
    let line = "GET /.well-known/oauth-protected-resource/mcp/demo";
    let page = send(connect(&gateway, &tls), line, &[("host", NAME)], b"");
    let document: Value = serde_json::from_str(&page.body).unwrap();
    assert_eq!(document["resource"], format!("https://{NAME}/mcp/demo"));
    for host in ["evil.example", "localhost"] {
        assert_eq!(send(connect(&gateway, &tls), line, &[("host", host)], b"").status, 403, "{host}");
    }
    wait_for("the count", || {
        let records = gateway.records();
        let rows = records.iter().filter(|record| is_kind(record, "refusal-summary"));
        let mut rows = rows.flat_map(|record| record["predicate"]["refusals"].as_array().unwrap());
        rows.any(|row| row["listener"] == "tls" && row["reason"] == "no_evidence").then_some(())
    });
    // Only what is spoken there is agreed on.
    let mut later = tls.clone();
    later.alpn_protocols = vec![b"h2".to_vec()];
    let mut refused = connect(&gateway, &later);
    assert!(refused.conn.complete_io(&mut refused.sock).is_err());
}

#[test]
fn a_renewed_certificate_is_shown_without_a_restart_and_a_bad_one_is_not() {
    let (issuer, first, second) = (Issuer::start(), issue(), issue());
    let gateway = Gateway::start_in(configured(&issuer, &first));
    let shakes = |pair| {
        let mut connection = connect(&gateway, &trusting(pair, rustls::ALL_VERSIONS));
        connection.conn.complete_io(&mut connection.sock).is_ok()
    };
    assert!(shakes(&first) && !shakes(&second));
    // A connection that stands is not cut.
    let mut standing = connect(&gateway, &trusting(&first, rustls::ALL_VERSIONS));
    standing.conn.complete_io(&mut standing.sock).unwrap();
    fs::write(gateway.dir.path().join("chain.pem"), &second.0).unwrap();
    wait_for("what is told of half a renewal", || {
        gateway.said().contains("keeps the certificate that it has").then_some(())
    });
    assert!(shakes(&first) && !shakes(&second));
    put(gateway.dir.path(), &second);
    wait_for("the renewed one", || shakes(&second).then_some(()));
    assert!(!shakes(&first));
    assert_eq!(send(standing, "GET /healthz", &[("host", NAME)], b"").status, 200);
}

#[test]
fn a_key_that_others_can_read_does_not_start_and_begins_nothing() {
    let (issuer, pair) = (Issuer::start(), issue());
    let dir = configured(&issuer, &pair);
    fs::set_permissions(dir.path().join("key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    let output =
        chancery(dir.path()).args(["serve", "-c"]).arg(dir.path().join("chancery.yaml")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("0644") && said.contains("chmod 600"), "{said}");
    assert!(!dir.path().join("log").exists() && !dir.path().join("secret").exists());
}
