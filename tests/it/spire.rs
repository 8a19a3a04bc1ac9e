//! A signing identity from the SPIFFE Workload API: what the other `spire_*` tests share, and what stands at the
//! start.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use chancery::domain::clock::Clock;
use chancery::identity::{Config, Identity, Kind, Spire};
use chancery::keys::{CertificateChain, TrustBundle};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::gateway::{Gateway, chancery, demo_server, wait_for};
use crate::puppet::{PERMIT_ALL, configured};
use crate::raw::{Answer, Client, initialize, send, tcp, unix};
use crate::support::authority::{Authority, Leaf};
use crate::support::messages::X509Svid;
use crate::support::workload_api::Agent;

/// The gateway's SPIFFE ID in these tests.
pub(crate) const ID: &str = "spiffe://example.org/chancery";

/// The life of an SVID whose end is waited for: long enough for a gateway to start on a busy machine.
pub(crate) const BRIEF: Duration = Duration::from_secs(20);

/// A place for a gateway that takes its identity from `agent`; `identity` and `spire` are more settings of these
/// sections.
pub(crate) fn place(agent: &Agent, identity: &str, spire: &str) -> TempDir {
    let socket = agent.endpoint();
    place_of(&format!("identity: {{ kind: spire, {identity} spire: {{ socket: \"{socket}\", {spire} }} }}"))
}

/// A place for a gateway with these lines of configuration.
pub(crate) fn place_of(more: &str) -> TempDir {
    configured(&format!("  demo: {}", demo_server()), PERMIT_ALL, more)
}

/// A workload of its own with the SVID that `agent` hands out; what it keeps is in `dir`.
pub(crate) fn workload(agent: &Agent, dir: &Path) -> (Arc<Identity>, Runtime) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let kind = Kind::Spire(Spire {
        socket: Some(agent.endpoint()),
        spiffe_id: None,
        hint: None,
        initial_sync_timeout: Duration::from_secs(30),
        dir: dir.join("spire"),
    });
    let config = Config { kind, lead: Config::DEFAULT_LEAD };
    (runtime.block_on(Identity::open(&config, Clock::system())).unwrap(), runtime)
}

/// The SVID's leaf certificate.
pub(crate) fn leaf_of(svid: &X509Svid) -> Vec<u8> {
    let (rest, _) = X509Certificate::from_der(&svid.x509_svid).unwrap();
    svid.x509_svid[..svid.x509_svid.len() - rest.len()].to_vec()
}

/// The id that the SVID's key must have: `<SPIFFE ID>#<x5t#S256>`.
pub(crate) fn kid_of(svid: &X509Svid) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &leaf_of(svid));
    let id = std::str::from_utf8(&svid.spiffe_id).unwrap();
    format!("{id}#{}", BASE64_URL_SAFE_NO_PAD.encode(digest))
}

/// A part of a JWT: 0 is its header, 1 its claims.
pub(crate) fn part(token: &str, at: usize) -> Value {
    let text = token.split('.').nth(at).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

/// The `kid` of a session's token.
pub(crate) fn signer_of(client: &Client<'_>) -> String {
    part(&client.session, 0)["kid"].as_str().unwrap().to_owned()
}

/// The published keys, and for how many seconds they may be cached.
pub(crate) fn published(gateway: &Gateway) -> (Value, u64) {
    let answer = send(tcp(gateway), "GET /.well-known/jwks.json", &[("host", "localhost")], b"");
    assert_eq!(answer.status, 200, "{answer:?}");
    let cache = answer.header("cache-control").unwrap().to_owned();
    let age = cache.split("max-age=").nth(1).unwrap_or_else(|| panic!("{cache}"));
    let age = age.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap();
    (serde_json::from_str(&answer.body).unwrap(), age)
}

/// The ids of the published keys.
pub(crate) fn published_kids(gateway: &Gateway) -> Vec<String> {
    let (jwks, _) = published(gateway);
    jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// The claims of a token, verified by another library with what is published.
pub(crate) fn verified(gateway: &Gateway, token: &str) -> Value {
    let (jwks, _) = published(gateway);
    let kid = part(token, 0)["kid"].clone();
    let key = jwks["keys"].as_array().unwrap().iter().find(|key| key["kid"] == kid);
    let key = key.unwrap_or_else(|| panic!("{kid} is not published: {jwks}"));
    let key: jsonwebtoken::jwk::Jwk = serde_json::from_value(key.clone()).unwrap();
    verified_by(&jsonwebtoken::DecodingKey::from_jwk(&key).unwrap(), token)
}

/// The claims of a token, verified by another library with this key.
fn verified_by(key: &jsonwebtoken::DecodingKey, token: &str) -> Value {
    let algorithm = serde_json::from_value(part(token, 0)["alg"].clone()).unwrap();
    let mut validation = jsonwebtoken::Validation::new(algorithm);
    validation.validate_aud = false;
    jsonwebtoken::decode::<Value>(token, key, &validation).unwrap().claims
}

/// Whether a call goes through; otherwise what was said.
pub(crate) fn calls(client: &Client<'_>) -> Result<(), Answer> {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let answer = client.call(NEXT.fetch_add(1, Ordering::Relaxed), "add", r#"{"a":1,"b":2}"#);
    let sum = answer.status == 200 && answer.message()["result"]["content"][0]["text"] == "3";
    if sum { Ok(()) } else { Err(answer) }
}

/// Asserts that a call is refused for want of a signing identity, and told so.
pub(crate) fn is_refused_for_want_of_an_identity(answer: &Answer) {
    let error = &answer.message()["error"];
    assert_eq!((answer.status, &error["code"]), (200, &503.into()), "{answer:?}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("signing identity"), "{answer:?}");
}

/// Asks for a session of its own over the Unix socket, where it replaces no other.
pub(crate) fn asks_for_a_session(gateway: &Gateway) -> Answer {
    let headers = [
        ("host", "localhost"),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
    ];
    let body = initialize("2025-11-25").to_string();
    send(unix(&gateway.dir.path().join("mcp.sock")), "POST /mcp", &headers, body.as_bytes())
}

/// Calls without a pause while `body` runs. Every call must go through; returns how many there were.
pub(crate) fn while_calling(client: &Client<'_>, body: impl FnOnce()) -> usize {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let caller = scope.spawn(|| {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                calls(client).unwrap_or_else(|answer| panic!("call {count}: {answer:?}"));
                count += 1;
            }
            count
        });
        let stopping = Stop(&stop);
        body();
        drop(stopping);
        caller.join().unwrap()
    })
}

/// Waits until records are signed by this key.
pub(crate) fn wait_until_signed_by(gateway: &Gateway, kid: &str) {
    wait_for("a record signed by the new key", || {
        gateway.signers().last().is_some_and(|signer| signer == kid).then_some(())
    });
}

/// What `chancery verify` says of a log, with these roots, and whether it passes.
pub(crate) fn verify(home: &Path, roots: &[&Authority]) -> (bool, String) {
    let mut command = chancery(home);
    command.arg("verify").arg(home.join("log")).args(["--identity", ID]);
    for (n, root) in roots.iter().enumerate() {
        let file = home.join(format!("root-{n}.pem"));
        fs::write(&file, root.root_pem()).unwrap();
        command.arg("--trust-bundle").arg(file);
    }
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// Every file below a directory.
pub(crate) fn files_below(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// Asserts that nothing below the gateway's home is a private key or an embedded identity.
pub(crate) fn no_key_was_made(home: &Path) {
    assert!(!home.join("state/chancery/identity").exists(), "an embedded identity was made");
    for file in files_below(home) {
        if !file.metadata().unwrap().is_file() {
            continue;
        }
        let bytes = fs::read(&file).unwrap();
        let found = bytes.windows(11).any(|window| window == b"PRIVATE KEY");
        assert!(!found, "{} holds a private key", file.display());
    }
}

/// One key stands behind tokens and records, and anyone can check it by the SVID.
fn one_identity_signs_all(authority: &Authority, svid: &X509Svid, alg: &str, length: usize) {
    let agent = Agent::serving(svid.clone());
    let gateway = Gateway::start_in(place(&agent, "", ""));
    let kid = kid_of(svid);
    assert!(kid.starts_with(&format!("{ID}#")));
    let client = Client::open(&gateway, "/mcp", "2025-11-25");
    calls(&client).unwrap();
    assert_eq!(signer_of(&client), kid, "the token's kid");
    let header = part(&client.session, 0);
    assert_eq!((&header["alg"], &header["typ"]), (&alg.into(), &"mcp-session+jwt".into()));
    let signers = gateway.signers();
    assert!(!signers.is_empty() && signers.iter().all(|keyid| *keyid == kid), "{signers:?}");

    let (jwks, _) = published(&gateway);
    let [key] = jwks["keys"].as_array().unwrap().as_slice() else { panic!("{jwks}") };
    assert_eq!((&key["kid"], &key["use"], &key["alg"]), (&kid.as_str().into(), &"sig".into(), &alg.into()));
    assert_eq!(format!("{ID}#{}", key["x5t#S256"].as_str().unwrap()), kid);
    let x5c: Vec<Vec<u8>> = key["x5c"].as_array().unwrap().iter().map(decode).collect();
    assert_eq!((x5c.len(), x5c.concat()), (length, svid.x509_svid.clone()));
    let bundle = TrustBundle::from_pem("example.org", &authority.root_pem()).unwrap();
    let chain = CertificateChain::from_ders(x5c).unwrap();
    assert_eq!(chain.verify(&bundle, Clock::system().now()).unwrap().spiffe_id.as_str(), ID);

    // By the JWKS, and by nothing but the certificate.
    let claims = verified(&gateway, &client.session);
    let leaf = leaf_of(svid);
    let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
    let spki = pem::encode(&pem::Pem::new("PUBLIC KEY", leaf.public_key().raw));
    let by_certificate = jsonwebtoken::DecodingKey::from_ec_pem(spki.as_bytes()).unwrap();
    assert_eq!(verified_by(&by_certificate, &client.session), claims);
    assert_eq!(claims["iss"], ID);
    assert!(claims["exp"].as_i64().unwrap() <= leaf.validity().not_after.timestamp(), "{claims}");

    let (_, _, dir) = gateway.stop();
    let (passed, said) = verify(dir.path(), &[authority]);
    assert!(passed, "{said}");
    let (passed, said) = verify(dir.path(), &[&Authority::new("example.org")]);
    assert!(!passed, "{said}");
    no_key_was_made(dir.path());
}

fn decode(text: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(text.as_str().unwrap()).unwrap()
}

#[test]
fn tokens_and_records_carry_one_key_id_and_anyone_can_verify_them_by_the_svid() {
    let authority = Authority::new("example.org");
    one_identity_signs_all(&authority, &authority.svid(&Leaf::of(ID)), "ES256", 1);
}

#[test]
fn a_p_384_svid_below_intermediates_signs_as_well() {
    let authority = Authority::new("example.org");
    let leaf = Leaf::of(ID).algorithm(&rcgen::PKCS_ECDSA_P384_SHA384);
    let svid = authority.intermediate().intermediate().svid(&leaf);
    one_identity_signs_all(&authority, &svid, "ES384", 3);
}
