//! Session tokens that the gateway never wrote, shown by a caller whose evidence is good, beside a live session.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::gateway::{Gateway, wait_for};
use crate::puppet::{PERMIT_ALL, Tap, gateway};
use crate::raw::{Answer, Client, call, initialize, send, tcp, unix};
use crate::session_cli::malleated;
use crate::spire::{ID, kid_of, leaf_of, part};
use crate::support::authority::{Authority, Leaf};
use crate::support::issuer::Issuer;
use crate::support::messages::X509Svid;
use crate::support::workload_api::Agent;

const ADD: &str = r#"{"a":1,"b":2}"#;

/// Whoever has a key and signs what they like.
struct Forger {
    key: EcdsaKeyPair,
    svid: X509Svid,
}

impl Forger {
    fn of(svid: &X509Svid) -> Self {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &svid.x509_svid_key).unwrap();
        Self { key, svid: svid.clone() }
    }

    fn kid(&self) -> String {
        kid_of(&self.svid)
    }

    fn header(&self) -> Value {
        json!({ "alg": "ES256", "typ": "mcp-session+jwt", "kid": self.kid() })
    }

    fn sign(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn public_key(&self) -> Vec<u8> {
        self.key.public_key().as_ref().to_vec()
    }
}

/// With other bytes for a signature, or none.
fn signed_with(token: &str, signature: &[u8]) -> String {
    let (signed, _) = token.rsplit_once('.').unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn hs256(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// By which reason a forged token is counted.
const INVALID: &str = "invalid_session_token";
const NO_SESSION: &str = "no_session";

/// What forgers without the gateway's key, and even one with it, can write. `token` is a live session's.
fn forgeries(
    ours: &Forger,
    attacker: &Forger,
    elsewhere: &str,
    token: &str,
) -> Vec<(String, &'static str, String)> {
    let (header, claims) = (ours.header(), part(token, 1));
    let mut all: Vec<(String, &'static str, String)> = Vec::new();
    let mut add = |name: &str, reason, token: String| all.push((name.to_owned(), reason, token));
    let with = |base: &Value, name: &str, value: Value| {
        let mut changed = base.clone();
        changed[name] = value;
        changed
    };
    let headed = |header: &Value| ours.sign(&header.to_string(), &claims.to_string());
    let claimed = |claims: &Value| ours.sign(&header.to_string(), &claims.to_string());
    let now = claims["iat"].as_i64().unwrap();

    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let unsigned = headed(&with(&header, "alg", json!(alg)));
        add(&format!("alg {alg}, signed"), INVALID, unsigned.clone());
        add(&format!("alg {alg}, empty signature"), INVALID, signed_with(&unsigned, b""));
    }
    add("an empty signature", INVALID, signed_with(token, b""));
    add("zeroes for a signature", INVALID, signed_with(token, &[0; 64]));
    let certificate = leaf_of(&ours.svid);
    let pem = pem::encode(&pem::Pem::new("CERTIFICATE", certificate.clone()));
    for (name, secret) in [
        ("point", ours.public_key()),
        ("point without its first byte", ours.public_key()[1..].to_vec()),
        ("certificate", certificate),
        ("PEM", pem.into_bytes()),
        ("key id", ours.kid().into_bytes()),
        ("empty secret", Vec::new()),
    ] {
        let header = with(&header, "alg", json!("HS256"));
        add(&format!("HS256 with the {name}"), INVALID, hs256(&header, &claims, &secret));
    }
    for kid in [
        "../../../../../../etc/passwd",
        "/dev/null",
        "file:///proc/self/environ",
        &format!("{elsewhere}/kid"),
        "' OR '1'='1",
        "x' UNION SELECT 'AAAA'; --",
        "key\u{0}",
        "${jndi:ldap://127.0.0.1/x}",
        "",
        &"k".repeat(3000),
        &format!("{}#{}", ID, "A".repeat(43)),
        &attacker.kid(),
    ] {
        let name: String = kid.chars().take(30).collect();
        add(&format!("kid {name:?}"), INVALID, headed(&with(&header, "kid", json!(kid))));
        add(
            &format!("kid {name:?}, by another key"),
            INVALID,
            attacker.sign(&with(&header, "kid", json!(kid)).to_string(), &claims.to_string()),
        );
    }
    let (x, y) = (&attacker.public_key()[1..33].to_vec(), &attacker.public_key()[33..].to_vec());
    let [x, y] = [x, y].map(|half| URL_SAFE_NO_PAD.encode(half));
    for (name, value) in [
        ("jwk", json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y })),
        ("jku", json!(format!("{elsewhere}/keys"))),
        ("x5u", json!(format!("{elsewhere}/chain.pem"))),
        ("x5c", json!([STANDARD.encode(leaf_of(&attacker.svid))])),
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
    ] {
        let header = with(&header, name, value);
        add(
            &format!("{name}, by another key"),
            INVALID,
            attacker.sign(&header.to_string(), &claims.to_string()),
        );
        add(&format!("{name}, by our key"), INVALID, headed(&header));
    }
    add("another key", INVALID, attacker.sign(&header.to_string(), &claims.to_string()));
    for typ in ["JWT", "at+jwt", "JOSE", "MCP-SESSION+JWT", ""] {
        add(&format!("typ {typ}"), INVALID, headed(&with(&header, "typ", json!(typ))));
    }
    let twice = header.to_string().replacen('{', r#"{"alg":"none","#, 1);
    add("alg twice", INVALID, ours.sign(&twice, &claims.to_string()));

    // From here on with the gateway's own key.
    let text = claims.to_string();
    for (name, claim, value) in [
        ("exp as text", "exp", json!("9999999999")),
        ("exp of 1e18 seconds", "exp", json!(1_000_000_000_000_000_000_i64)),
        ("exp as 1e18", "exp", json!(1e18)),
        ("exp negative", "exp", json!(-1)),
        ("exp null", "exp", json!(null)),
        ("nbf in the future", "nbf", json!(now + 600)),
        ("iat in the future", "iat", json!(now + 600)),
        ("aud a number", "aud", json!(1)),
        ("aud null", "aud", json!(null)),
        ("aud a text", "aud", claims["aud"][0].clone()),
        ("aud another", "aud", json!(["spiffe://example.org/chancery/mcp/other"])),
        ("iss a list", "iss", json!([ID])),
        ("iss another", "iss", json!("spiffe://example.org/other")),
        ("sub a number", "sub", json!(0)),
        ("cnf of nobody", "cnf", json!({})),
        ("a claim that nobody issues", "admin", json!(true)),
    ] {
        add(name, INVALID, claimed(&with(&claims, claim, value)));
    }
    for claim in ["exp", "nbf", "iat", "aud", "iss", "sub", "jti", "sid", "cnf", "amr", "mcp"] {
        let mut lacking = claims.clone();
        lacking.as_object_mut().unwrap().remove(claim);
        add(&format!("no {claim}"), INVALID, claimed(&lacking));
    }
    for more in [r#""exp":9999999999"#, r#""sub":"root""#, r#""sid":"x""#, r#""s\u0075b":"root""#] {
        let twice = text.replacen('{', &format!("{{{more},"), 1);
        add(&format!("twice {more}"), INVALID, ours.sign(&header.to_string(), &twice));
    }
    // Well-formed and well signed, and still not what this session was given.
    let mut expired = claims.clone();
    (expired["iat"], expired["nbf"], expired["exp"]) = (json!(now - 20), json!(now - 20), json!(now - 10));
    add("expired, for this session", NO_SESSION, claimed(&expired));
    add(
        "another jti",
        NO_SESSION,
        claimed(&with(&claims, "jti", json!("6f0a3b52-0f5c-4a53-9d0e-2f9a53f4ab10"))),
    );
    add("another subject", NO_SESSION, claimed(&with(&claims, "sub", json!("peer:0:-"))));
    add("signed anew", NO_SESSION, claimed(&claims));
    add("malleated", NO_SESSION, malleated(token));
    // A JWT-SVID as SPIRE's server signs it, for our own SPIFFE ID.
    let jwt_svid = json!({ "aud": [ID], "exp": now + 300, "iat": now, "sub": ID });
    let svid_header = json!({ "alg": "ES256", "kid": "Xqu1vR0ezXtYWeMwKkGzB8gSQW3s4bEN", "typ": "JWT" });
    add("a JWT-SVID", INVALID, attacker.sign(&svid_header.to_string(), &jwt_svid.to_string()));
    for text in ["", "..", "x", "null", "0", "../../etc/passwd"] {
        add(&format!("{text:?}"), INVALID, text.to_owned());
    }
    all
}

fn by(client: &Client<'_>, gateway: &Gateway, method: &str, token: &str) -> Answer {
    let headers = client.headers();
    let swap = |(name, value)| (name, if name == "mcp-session-id" { token } else { value });
    let headers: Vec<_> = headers.into_iter().map(swap).collect();
    let body = if method == "POST" { call(66, "add", ADD) } else { String::new() };
    send(tcp(gateway), &format!("{method} /mcp/demo"), &headers, body.as_bytes())
}

fn adds(client: &Client<'_>) -> bool {
    client.call(7, "add", ADD).message()["result"]["content"][0]["text"] == "3"
}

/// A gateway of this SVID, with every byte that reaches its tool server on the tap.
fn start(svid: &X509Svid) -> (Agent, Tap, Gateway) {
    let (agent, tap) = (Agent::serving(svid.clone()), Tap::new());
    let more = format!(
        "identity: {{ kind: spire, spire: {{ socket: \"{}\" }} }}\nrefusal_summary: 1s\n",
        agent.endpoint()
    );
    let gateway = gateway(&tap.server(), PERMIT_ALL, &more);
    (agent, tap, gateway)
}

#[test]
fn no_forged_token_opens_a_session_beside_good_evidence_and_each_is_counted() {
    let authority = Authority::new("example.org");
    let svid = authority.svid(&Leaf::of(ID));
    let (ours, attacker) =
        (Forger::of(&svid), Forger::of(&Authority::new("example.org").svid(&Leaf::of(ID))));
    let (_agent, tap, gateway) = start(&svid);
    let client = Client::open(&gateway, "/mcp/demo", "2025-11-25");
    assert_eq!(part(&client.session, 0), ours.header(), "the forger knows what the gateway writes");
    let socket = gateway.dir.path().join("mcp.sock");
    let plain = [
        ("host", "x"),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
    ];
    let other =
        send(unix(&socket), "POST /mcp/demo", &plain, initialize("2025-11-25").to_string().as_bytes());
    let other = other.header("mcp-session-id").unwrap().to_owned();
    let mut headers = plain.to_vec();
    headers.push(("mcp-session-id", &other));
    let initialized = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    assert_eq!(send(unix(&socket), "POST /mcp/demo", &headers, initialized).status, 202);
    assert!(adds(&client));
    let before = tap.settled();

    let elsewhere = Issuer::start();
    let forged = forgeries(&ours, &attacker, &elsewhere.url(), &client.session);
    for (name, _, token) in &forged {
        for method in ["POST", "GET", "DELETE"] {
            let answer = by(&client, &gateway, method, token);
            assert_eq!(answer.status, 404, "{name} by {method}: {answer:?}");
            assert_eq!(answer.header("mcp-session-id"), None, "{name}");
        }
    }
    // Of a megabyte not even the head is read to its end.
    let huge = json!({ "alg": "ES256", "typ": "mcp-session+jwt", "kid": "k".repeat(1 << 20) });
    let huge = ours.sign(&huge.to_string(), &part(&client.session, 1).to_string());
    assert_eq!(by(&client, &gateway, "GET", &huge).status, 431);

    assert_eq!(tap.bytes(), before, "not a byte has reached the tool server");
    assert_eq!(elsewhere.asked(), [""; 0], "no key was fetched");
    assert!(adds(&client), "the session goes on");
    assert_eq!(tap.bytes(), format!("{before}\n{}", call(7, "add", ADD)), "and the tap tells every byte");
    assert_eq!(send(unix(&socket), "POST /mcp/demo", &headers, call(8, "add", ADD).as_bytes()).status, 200);
    for reason in [INVALID, NO_SESSION] {
        let expected = 3 * forged.iter().filter(|(_, counted, _)| *counted == reason).count() as u64;
        wait_for(reason, || (gateway.turned_away("tcp", reason) >= expected).then_some(()));
        assert_eq!(gateway.turned_away("tcp", reason), expected, "{reason}");
    }
    wait_for("the count of what is no request", || {
        (gateway.turned_away("tcp", "unreadable") == 1).then_some(())
    });
}

#[test]
fn a_token_of_another_gateway_with_the_same_name_opens_nothing() {
    let authority = Authority::new("example.org");
    let (_agent, tap, gateway) = start(&authority.svid(&Leaf::of(ID)));
    let (_other_agent, _other_tap, other) = start(&authority.svid(&Leaf::of(ID)));
    let (client, theirs) =
        (Client::open(&gateway, "/mcp/demo", "2025-11-25"), Client::open(&other, "/mcp/demo", "2025-11-25"));
    let [ours, foreign] = [&client.session, &theirs.session].map(|token| part(token, 1));
    assert_eq!(
        (&ours["iss"], &ours["aud"], &ours["sub"]),
        (&foreign["iss"], &foreign["aud"], &foreign["sub"])
    );
    assert!(adds(&client));
    let before = tap.settled();
    for method in ["POST", "GET", "DELETE"] {
        assert_eq!(by(&client, &gateway, method, &theirs.session).status, 404, "{method}");
    }
    assert_eq!(tap.bytes(), before);
    wait_for("their count", || (gateway.turned_away("tcp", INVALID) == 3).then_some(()));
    assert!(adds(&client) && adds(&theirs));
}

#[test]
fn a_jwt_svid_is_no_bearer() {
    let authority = Authority::new("example.org");
    let svid = authority.svid(&Leaf::of(ID));
    let (_agent, tap, gateway) = start(&svid);
    let mut client = Client::open(&gateway, "/mcp/demo", "2025-11-25");
    assert!(adds(&client));
    let now = part(&client.session, 1)["iat"].as_i64().unwrap();
    let claims =
        json!({ "aud": [ID], "exp": now + 300, "iat": now, "sub": "spiffe://example.org/agents/alice" });
    let header = json!({ "alg": "ES256", "kid": "Xqu1vR0ezXtYWeMwKkGzB8gSQW3s4bEN", "typ": "JWT" });
    let bearer = format!("Bearer {}", Forger::of(&svid).sign(&header.to_string(), &claims.to_string()));
    let before = tap.settled();
    let secret = std::mem::replace(&mut client.bearer, bearer);
    for method in ["POST", "GET", "DELETE"] {
        assert_eq!(by(&client, &gateway, method, &client.session).status, 401, "{method}");
    }
    assert_eq!(tap.bytes(), before);
    client.bearer = secret;
    assert!(adds(&client));
    wait_for("their count", || (gateway.turned_away("tcp", "wrong_secret") == 3).then_some(()));
}

#[test]
fn a_call_before_the_handshake_is_refused_and_counted() {
    let (tap, more) = (Tap::new(), "refusal_summary: 1s\n");
    let gateway = gateway(&tap.server(), PERMIT_ALL, more);
    let client = Client::open(&gateway, "/mcp/demo", "2025-11-25");
    let before = tap.settled();
    let headers: Vec<_> =
        client.headers().into_iter().filter(|(name, _)| *name != "mcp-session-id").collect();
    let early = [
        ("POST", call(1, "add", ADD)),
        ("POST", r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned()),
        ("POST", r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#.to_owned()),
        ("POST", format!("[{}]", initialize("2025-03-26"))),
        ("GET", String::new()),
        ("DELETE", String::new()),
    ];
    for (method, body) in &early {
        let answer = send(tcp(&gateway), &format!("{method} /mcp/demo"), &headers, body.as_bytes());
        assert!(answer.status == 400 || answer.message()["error"]["code"] == -32600, "{body}: {answer:?}");
    }
    assert_eq!(tap.bytes(), before);
    wait_for("their count", || (gateway.turned_away("tcp", NO_SESSION) == early.len() as u64).then_some(()));
    assert!(adds(&client));
}
