//! What tool servers at a URL are shown: who calls, by a token that they can verify; credentials from files; and what
//! becomes of either where it does not belong.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};

use crate::gateway::{Gateway, chancery, wait_for};
use crate::puppet::{PERMIT_ALL, configured};
use crate::raw::{Client, initialize, send, tcp};
use crate::support::leaks;
use crate::upstream::{Seen, Upstream};

const AUDIENCE: &str = "https://tools.example.org";

/// A gateway that tells `upstream` who calls, and logs all it can.
fn telling(upstream: &Upstream) -> Gateway {
    let server =
        format!("  demo: {{ url: \"{}\", forward_identity: {{ audience: \"{AUDIENCE}\" }} }}", upstream.url);
    start(configured(&server, PERMIT_ALL, ""))
}

fn start(dir: tempfile::TempDir) -> Gateway {
    let mut command = chancery(dir.path());
    command.env("CHANCERY_LOG", "trace");
    Gateway::start_by(command, dir)
}

/// The claims of what a request was shown, as a resource server of RFC 9068 §4 reads them by the gateway's JWKS.
fn identity(gateway: &Gateway, shown: &str, audience: &str) -> Result<Value, String> {
    let token = shown.strip_prefix("Bearer ").ok_or("no bearer")?;
    let page = send(tcp(gateway), "GET /.well-known/jwks.json", &[("host", "localhost")], b"");
    let keys: JwkSet = serde_json::from_str(&page.body).unwrap();
    let header = decode_header(token).map_err(|error| error.to_string())?;
    if header.typ.as_deref() != Some("at+jwt") {
        return Err(format!("typ is {:?}", header.typ));
    }
    let jwk = keys.find(header.kid.as_deref().unwrap()).ok_or("no such key")?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub", "nbf"]);
    validation.leeway = 0;
    let key = DecodingKey::from_jwk(jwk).unwrap();
    decode::<Value>(token, &key, &validation).map(|token| token.claims).map_err(|error| error.to_string())
}

/// What the last request of this method and content was shown.
fn shown(upstream: &Upstream, method: &str, contains: &str) -> String {
    let seen = upstream.seen();
    let request = seen.iter().rfind(|request| request.is(method, contains)).unwrap();
    let shown = request.header("authorization").unwrap_or_default();
    leaks::authorization(shown);
    shown.to_owned()
}

fn signature(authorization: &str) -> &str {
    authorization.rsplit('.').next().unwrap()
}

#[test]
fn a_tool_server_is_told_who_calls_by_a_token_that_it_can_verify() {
    let upstream = Upstream::start();
    let gateway = telling(&upstream);
    let asked = upstream.seen().len();
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    for id in 1..=20 {
        let answer = client.call(id, "plain", "{}");
        assert_eq!(answer.message()["result"], json!({ "content": [] }), "{answer:?}");
    }
    assert_eq!(client.listen().0.status, 405);
    assert!(client.delete().status < 300);
    wait_for("the DELETE", || upstream.seen().iter().any(|r| r.is("DELETE", "")).then_some(()));

    let seen = upstream.seen();
    let (probe, session) = seen.split_at(asked);
    let shown = |request: &Seen| request.header("authorization").unwrap_or_default().to_owned();
    let mut all: Vec<_> = session.iter().map(shown).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 1, "POST, GET and DELETE alike, and nothing is signed for a call");
    let claims = identity(&gateway, &all[0], AUDIENCE).unwrap();
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(claims["sub"], format!("bootstrap:{uid}"));
    assert_eq!((&claims["act"], &claims["client_id"]), (&json!({ "sub": claims["iss"] }), &claims["iss"]));
    assert!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap() <= 60);
    // Before any session the gateway asks on its own account.
    let own = identity(&gateway, &shown(&probe[0]), AUDIENCE).unwrap();
    assert_eq!((&own["sub"], &own["act"], &own["sid"]), (&own["iss"], &Value::Null, &Value::Null));

    let records = gateway.records();
    let kind = "urn:chancery:attestation:identity-token:v1";
    let issued: Vec<_> = records.iter().filter(|record| record["predicateType"] == kind).collect();
    assert_eq!(issued.len(), 1);
    let record = &issued[0]["predicate"];
    assert_eq!(record["token"]["jti"], claims["jti"]);
    assert_eq!((&record["claims"]["aud"], &record["claims"]["sid"]), (&json!(AUDIENCE), &claims["sid"]));
    let log = serde_json::to_string(&records).unwrap();
    assert!(!log.contains(signature(&all[0])) && !gateway.said().contains(signature(&all[0])));
}

#[test]
fn a_forwarded_token_opens_nothing_at_the_gateway() {
    let upstream = Upstream::start();
    let server =
        format!("  demo: {{ url: \"{}\", forward_identity: {{ audience: \"{AUDIENCE}\" }} }}", upstream.url);
    let dir = configured(&server, PERMIT_ALL, "");
    // The gateway believes issuers' tokens as well, for the very audience.
    let file = dir.path().join("chancery.yaml");
    let oidc = format!("oidc: [{{ issuer: \"https://issuer.invalid\", audience: \"{AUDIENCE}\" }}]");
    let text = fs::read_to_string(&file).unwrap().replace("peer: {} }", &format!("peer: {{}}, {oidc} }}"));
    assert!(text.contains("oidc:"));
    fs::write(&file, text).unwrap();
    let gateway = start(dir);
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    client.call(1, "plain", "{}");
    let stolen = shown(&upstream, "POST", "plain");
    let token = stolen.strip_prefix("Bearer ").unwrap();
    let before = upstream.seen().len();

    let headers = |authorization, session| {
        let mut headers = vec![
            ("host", "localhost"),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("authorization", authorization),
        ];
        headers.extend(Option::map(session, |session| ("mcp-session-id", session)));
        headers
    };
    let hello = initialize("2025-11-25").to_string();
    let post =
        |headers: &[(&str, &str)], body: &str| send(tcp(&gateway), "POST /mcp", headers, body.as_bytes());
    let as_bearer = post(&headers(stolen.as_str(), None), &hello);
    assert_eq!(as_bearer.status, 401, "{as_bearer:?}");
    let in_its_session = post(&headers(stolen.as_str(), Some(client.session.as_str())), &hello);
    assert_eq!(in_its_session.status, 401, "{in_its_session:?}");
    let own = gateway.bearer();
    let as_session = post(&headers(own.as_str(), Some(token)), &crate::raw::call(2, "plain", "{}"));
    assert_eq!(as_session.status, 404, "{as_session:?}");
    assert_eq!(upstream.seen().len(), before, "the tool server got nothing of it");
    assert_eq!(client.call(3, "plain", "{}").message()["id"], 3, "the session goes on");
}

#[test]
fn neither_a_session_token_nor_another_servers_token_passes_as_an_identity() {
    let (one, two) = (Upstream::start(), Upstream::start());
    let other = "https://other.example.org";
    let servers = format!(
        "  demo: {{ url: \"{}\", forward_identity: {{ audience: \"{AUDIENCE}\" }} }}\n  other: {{ url: \"{}\", \
         forward_identity: {{ audience: \"{other}\" }} }}",
        one.url, two.url
    );
    let gateway = start(configured(&servers, PERMIT_ALL, ""));
    let client = Client::open(&gateway, "/mcp/demo", "2025-11-25");
    client.call(1, "plain", "{}");
    let told = shown(&one, "POST", "plain");
    identity(&gateway, &told, AUDIENCE).unwrap();
    assert!(identity(&gateway, &told, other).unwrap_err().contains("InvalidAudience"));
    let session = format!("Bearer {}", client.session);
    assert!(identity(&gateway, &session, AUDIENCE).unwrap_err().contains("mcp-session+jwt"));
    let next = Client::open(&gateway, "/mcp/other", "2025-11-25");
    next.call(1, "plain", "{}");
    let told = shown(&two, "POST", "plain");
    identity(&gateway, &told, other).unwrap();
    assert!(identity(&gateway, &told, AUDIENCE).unwrap_err().contains("InvalidAudience"));
}

#[test]
fn a_redirect_to_another_host_gets_no_credentials() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let to = format!("{{\"port\":{}}}", elsewhere.local_addr().unwrap().port());
    let upstream = Upstream::start();
    let gateway = telling(&upstream);
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    let answer = client.call(1, "elsewhere", &to);
    assert_eq!((answer.status, &answer.message()["error"]["code"]), (200, &json!(503)), "{answer:?}");
    assert_eq!(client.call(2, "plain", "{}").message()["id"], 2);
    let nobody = elsewhere.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock, "nobody came");
}

#[test]
fn what_a_refusing_server_says_of_the_credentials_reaches_no_client() {
    let upstream = Upstream::start();
    let gateway = telling(&upstream);
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    let refused = client.call(1, "refused", "{}");
    assert_eq!(refused.status, 200, "{refused:?}");
    assert_eq!(refused.message()["error"]["code"], 503);
    let message = refused.message()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("refused the gateway's credentials"), "{message}");
    assert!(refused.header("www-authenticate").is_none());
    let told = shown(&upstream, "POST", "refused");
    let whole = format!("{refused:?} {} {:?}", gateway.said(), gateway.records());
    assert!(told.len() > 100 && !whole.contains("REFLECTED") && !whole.contains(signature(&told)));
    wait_for("the warning", || {
        gateway.said().contains("look at `forward_identity` and `headers`").then_some(())
    });
}

fn write(file: &Path, content: &str, mode: u32) {
    let fresh = file.with_extension("new");
    fs::write(&fresh, content).unwrap();
    fs::set_permissions(&fresh, fs::Permissions::from_mode(mode)).unwrap();
    fs::rename(&fresh, file).unwrap();
}

#[test]
fn a_credential_file_is_followed_and_one_opened_to_others_is_refused() {
    let upstream = Upstream::start();
    let server = format!(
        "  demo: {{ url: \"{}\", headers: {{ Authorization: {{ file: token, prefix: \"Bearer \" }} }} }}",
        upstream.url
    );
    let dir = configured(&server, PERMIT_ALL, "");
    let file = dir.path().join("token");
    write(&file, "f1rst-s3cret\n", 0o644);
    let refused =
        chancery(dir.path()).args(["serve", "-c", "chancery.yaml"]).current_dir(dir.path()).output();
    let refused = refused.unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && said.contains("chmod 600") && !said.contains("s3cret"), "{said}");

    write(&file, "f1rst-s3cret\n", 0o600);
    let gateway = start(dir);
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    client.call(1, "plain", "{}");
    assert_eq!(shown(&upstream, "POST", "plain"), "Bearer f1rst-s3cret");
    write(&file, "s3cond-s3cret\n", 0o600);
    client.call(2, "plain", "{}");
    assert_eq!(shown(&upstream, "POST", "plain"), "Bearer s3cond-s3cret");
    let before = upstream.seen().len();
    for (content, mode) in [("s3cond-s3cret", 0o640), ("s3cret\r\nX-Admin: 1", 0o600), ("", 0o600)] {
        write(&file, content, mode);
        let answer = client.call(3, "plain", "{}");
        assert_eq!((answer.status, &answer.message()["error"]["code"]), (200, &json!(503)), "{answer:?}");
        assert!(!answer.body.contains("s3cret") && !answer.body.contains("token"), "{answer:?}");
    }
    assert_eq!(upstream.seen().len(), before, "the tool server got nothing");
    write(&file, "th1rd-s3cret\n", 0o400);
    client.call(4, "plain", "{}");
    assert_eq!(shown(&upstream, "POST", "plain"), "Bearer th1rd-s3cret");
    wait_for("the fix", || gateway.said().contains("others can use it; chmod 600").then_some(()));
    let said = gateway.said();
    assert!(
        !said.contains("s3cret") && !serde_json::to_string(&gateway.records()).unwrap().contains("s3cret")
    );
}

#[test]
fn a_server_with_the_gateways_own_audience_is_refused_at_the_start() {
    for own in ["spiffe://example.org/chancery", "spiffe://example.org/chancery/mcp/demo"] {
        let server = format!(
            "  demo: {{ url: \"http://127.0.0.1:1/\", forward_identity: {{ audience: \"{own}\" }} }}"
        );
        let more = "identity: { kind: local, local: { trust_domain: example.org } }\nstate_dir: state";
        let dir = configured(&server, PERMIT_ALL, more);
        let mut serve = assert_cmd::Command::new(env!("CARGO_BIN_EXE_chancery"));
        serve
            .args(["serve", "-c"])
            .arg(dir.path().join("chancery.yaml"))
            .env_remove("SPIFFE_ENDPOINT_SOCKET");
        let refused = serve.timeout(std::time::Duration::from_secs(60)).assert().code(2);
        let said = String::from_utf8_lossy(&refused.get_output().stderr).replace("\n", "");
        assert!(said.contains("gateway's own audience"), "{said}");
        assert!(said.contains("forward_identity.audience"), "{said}");
    }
}
