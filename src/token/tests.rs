//! Everything that a session token must withstand.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;
use crate::domain::admitted::Admitted;
use crate::domain::binding::Binding;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::digest::Sha256Digest;
use crate::domain::evidence::{BootstrapEvidence, Evidence, PeerEvidence};
use crate::domain::ids::{ServerName, SessionId};
use crate::domain::random;
use crate::domain::revision::Revision;
use crate::keys::testing::{Authority, LeafSpec, OneKey};
use crate::keys::{ActiveKey, PublicKey, PublicKeySource, Signer};

const GATEWAY: &str = "spiffe://example.org/chancery";

fn now() -> Timestamp {
    Timestamp::parse_rfc3339("2026-03-01T12:00:00Z").unwrap()
}

fn secs(offset: i64) -> Timestamp {
    Timestamp::from_secs(now().as_secs() + offset)
}

/// A gateway's tokens, with everything that tests turn.
struct Bench {
    key: Arc<OneKey>,
    clock: Clock,
    config: Config,
}

impl Bench {
    fn new() -> Self {
        let key = Authority::new("example.org").signer("/chancery", secs(-60), secs(86_400));
        Self { key, clock: Clock::fixed(now()), config: Config::default() }
    }

    fn issuer(&self) -> Issuer {
        Issuer::new(self.key.clone(), self.clock.clone(), self.config.clone())
    }

    fn verifier(&self) -> Verifier {
        Verifier::new(self.key.clone(), GATEWAY.parse().unwrap(), &self.config, self.clock.clone())
    }

    fn issue(&self) -> IssuedToken {
        issue(&self.issuer(), &admitted(None)).unwrap()
    }

    /// A token with the gateway's own signature over whatever header and payload are given.
    fn forge(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = self.key.0.sign(signed.as_bytes()).unwrap().to_fixed();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn header(&self) -> String {
        format!(r#"{{"alg":"ES256","typ":"mcp-session+jwt","kid":"{}"}}"#, self.key.0.id())
    }
}

fn admitted(expires: Option<Timestamp>) -> Admitted {
    let peer =
        PeerEvidence { uid: 1000, gid: 1000, pid: 42, start_time: Some(7), executable: None, parent: true };
    Admitted::by(Evidence::Peer(peer), expires)
}

fn issue(issuer: &Issuer, admitted: &Admitted) -> Result<IssuedToken, TokenError> {
    issuer.issue(&Grant {
        admitted,
        session: SessionId::from_uuid(random::uuid_v4().unwrap()),
        client: Some(Client { name: "agent".to_owned(), version: "1".to_owned() }),
        protocol: Revision::LATEST,
        transport: "stdio",
        server: &"files".parse::<ServerName>().unwrap(),
        policy: Sha256Digest::of(b"policy"),
    })
}

fn payload_of(token: &IssuedToken) -> String {
    serde_json::to_string(&token.claims).unwrap()
}

#[test]
fn an_issued_token_says_who_was_admitted_and_verifies() {
    let bench = Bench::new();
    let issued = bench.issue();
    let verified = bench.verifier().verify(issued.token.expose()).unwrap();
    let claims = verified.claims();
    assert_eq!(*claims, issued.claims);
    assert_eq!((claims.iss.as_str(), claims.sub.as_str()), (GATEWAY, "peer:1000:-"));
    assert_eq!(claims.aud, ["spiffe://example.org/chancery/mcp/files"]);
    assert_eq!((claims.iat, claims.nbf, claims.exp), (now().as_secs(), now().as_secs(), secs(900).as_secs()));
    assert_eq!(claims.amr, ["peer"]);
    assert_eq!(claims.cnf, *admitted(None).binding());
    assert_eq!((verified.kid(), verified.sha256()), (&issued.kid, issued.sha256));
    assert_eq!(issued.kid, *bench.key.0.id(), "the kid of the token is the keyid of attestations");
    assert!(issued.token.expose().len() < MAX_TOKEN_BYTES);
}

#[test]
fn the_header_is_exactly_alg_typ_and_kid() {
    let bench = Bench::new();
    let issued = bench.issue();
    let header = issued.token.expose().split('.').next().unwrap();
    assert_eq!(String::from_utf8(URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap(), bench.header());
}

#[test]
fn a_token_ends_with_the_key_or_the_evidence_if_they_end_earlier() {
    let mut bench = Bench::new();
    assert_eq!(issue(&bench.issuer(), &admitted(Some(secs(60)))).unwrap().expires, secs(60));
    assert_eq!(issue(&bench.issuer(), &admitted(Some(now()))).unwrap_err(), TokenError::NoTimeLeft);
    bench.config.ttl = Duration::from_secs(10 * 86_400);
    assert_eq!(bench.issue().expires, secs(86_400));
}

#[test]
fn a_token_lives_until_its_exp_and_its_handle_longer() {
    let bench = Bench::new();
    let (issued, verifier) = (bench.issue(), bench.verifier());
    let token = issued.token.expose();
    bench.clock.set(secs(899));
    verifier.verify(token).unwrap();
    for seconds in [900, 901, 40_000] {
        bench.clock.set(secs(seconds));
        assert_eq!(verifier.verify(token).unwrap_err(), TokenError::Expired, "from the cache, {seconds}");
        assert_eq!(bench.verifier().verify(token).unwrap_err(), TokenError::Expired, "{seconds}");
        verifier.verify_handle(token).unwrap();
        bench.verifier().verify_handle(token).unwrap();
    }
    bench.clock.set(secs(-5));
    verifier.verify(token).expect("within the leeway");
    bench.clock.set(secs(-6));
    assert_eq!(verifier.verify(token).unwrap_err(), TokenError::NotYetValid, "from the cache");
    assert_eq!(bench.verifier().verify_handle(token).unwrap_err(), TokenError::NotYetValid);
}

#[test]
fn headers_that_issuing_would_not_write_are_refused() {
    let bench = Bench::new();
    let (verifier, payload, kid) =
        (bench.verifier(), payload_of(&bench.issue()), bench.key.0.id().to_string());
    let jwk = serde_json::to_string(&crate::keys::Jwk::of_leaf(
        bench.key.0.id(),
        bench.key.0.public_key(),
        bench.key.0.chain(),
    ))
    .unwrap();
    let with = |extra: &str| format!(r#"{{"alg":"ES256","typ":"mcp-session+jwt","kid":"{kid}"{extra}}}"#);
    let plain = |alg: &str, typ: &str, kid: &str| format!(r#"{{"alg":"{alg}","typ":"{typ}","kid":"{kid}"}}"#);
    let typ = "mcp-session+jwt";
    let foreign = kid.replace("example.org", "example.com");
    let unknown = format!("{GATEWAY}#{}", "A".repeat(43));
    let table = [
        ("alg none", plain("none", typ, &kid), TokenError::Algorithm),
        ("alg HS256", plain("HS256", typ, &kid), TokenError::Algorithm),
        ("alg ES384 with a P-256 key", plain("ES384", typ, &kid), TokenError::Algorithm),
        ("alg in another case", plain("es256", typ, &kid), TokenError::Algorithm),
        ("typ JWT", plain("ES256", "JWT", &kid), TokenError::Type),
        ("typ at+jwt", plain("ES256", "at+jwt", &kid), TokenError::Type),
        ("typ in another case", plain("ES256", "MCP-Session+JWT", &kid), TokenError::Type),
        ("typ as a media type", plain("ES256", "application/mcp-session+jwt", &kid), TokenError::Type),
        ("a kid of another gateway", plain("ES256", typ, &foreign), TokenError::ForeignKey),
        ("a kid that nobody knows", plain("ES256", typ, &unknown), TokenError::UnknownKey),
        ("a kid that is a path", plain("ES256", typ, "../../etc/passwd"), TokenError::KeyId),
        ("a kid that is empty", plain("ES256", typ, ""), TokenError::KeyId),
        ("a kid with a suffix", plain("ES256", typ, &format!("{kid}x")), TokenError::KeyId),
        ("a kid of a kilobyte", plain("ES256", typ, &"k".repeat(1024)), TokenError::KeyId),
        ("no typ", format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#), TokenError::Header),
        ("no kid", format!(r#"{{"alg":"ES256","typ":"{typ}"}}"#), TokenError::Header),
        ("no alg", format!(r#"{{"typ":"{typ}","kid":"{kid}"}}"#), TokenError::Header),
        ("crit", with(r#","crit":["exp"]"#), TokenError::Header),
        ("an empty crit", with(r#","crit":[]"#), TokenError::Header),
        ("crit null", with(r#","crit":null"#), TokenError::Header),
        ("jwk", with(&format!(r#","jwk":{jwk}"#)), TokenError::Header),
        ("jku", with(r#","jku":"https://evil.example/jwks""#), TokenError::Header),
        ("x5u", with(r#","x5u":"https://evil.example/x5u""#), TokenError::Header),
        ("x5c", with(r#","x5c":["AAAA"]"#), TokenError::Header),
        ("x5t#S256", with(r#","x5t#S256":"AAAA""#), TokenError::Header),
        ("b64 false (RFC 7797)", with(r#","b64":false"#), TokenError::Header),
        ("zip", with(r#","zip":"DEF""#), TokenError::Header),
        ("cty (a nested token)", with(r#","cty":"JWT""#), TokenError::Header),
        ("alg twice", with(r#","alg":"none""#), TokenError::Header),
        ("kid twice, once escaped", with(r#","k\u0069d":"x""#), TokenError::Header),
        ("alg as a list", with("").replace(r#""ES256""#, r#"["ES256"]"#), TokenError::Header),
        ("alg null", with("").replace(r#""ES256""#, "null"), TokenError::Header),
        ("a list", format!(r#"["ES256","{typ}","{kid}"]"#), TokenError::Header),
        ("bytes after it", with("") + "{}", TokenError::Header),
        ("space before it", " ".to_owned() + &with(""), TokenError::Header),
        ("nothing", String::new(), TokenError::Header),
        ("not UTF-8's text", "\u{feff}".to_owned() + &with(""), TokenError::Header),
    ];
    verifier.verify(&bench.forge(&bench.header(), &payload)).expect("the forger signs properly");
    for (name, header, expected) in table {
        assert_eq!(verifier.verify(&bench.forge(&header, &payload)).unwrap_err(), expected, "{name}");
    }
}

#[test]
fn claims_that_issuing_would_not_write_are_refused_even_with_a_good_signature() {
    let bench = Bench::new();
    let verifier = bench.verifier();
    let good: Value = serde_json::from_str(&payload_of(&bench.issue())).unwrap();
    let set = |pointer: &str, value: Value| {
        let mut claims = good.clone();
        *claims.pointer_mut(pointer).unwrap() = value;
        claims.to_string()
    };
    let add = |key: &str, value: Value| {
        let mut claims = good.clone();
        claims[key] = value;
        claims.to_string()
    };
    let without = |key: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(key);
        claims.to_string()
    };
    let audience = good["aud"][0].clone();
    let text = good.to_string();
    let twice = |extra: &str| format!("{},{extra}}}", &text[..text.len() - 1]);
    let mut table = vec![
        ("another issuer", set("/iss", json!("spiffe://example.org/other")), TokenError::Issuer),
        ("an issuer that only begins alike", set("/iss", json!(format!("{GATEWAY}/x"))), TokenError::Issuer),
        ("issuers", set("/iss", json!([GATEWAY])), TokenError::Claims),
        ("no issuer", set("/iss", json!(null)), TokenError::Claims),
        ("a number as subject", set("/sub", json!(1)), TokenError::Claims),
        ("subjects", set("/sub", json!(["a"])), TokenError::Claims),
        ("an audience as a string", set("/aud", audience), TokenError::Claims),
        (
            "another audience",
            set("/aud", json!(["spiffe://example.org/chancery/mcp/other"])),
            TokenError::Audience,
        ),
        ("no audience", set("/aud", json!([])), TokenError::Audience),
        ("numbers as audience", set("/aud", json!([1])), TokenError::Claims),
        ("another server", set("/mcp/server", json!("other")), TokenError::Audience),
        ("a server that is no name", set("/mcp/server", json!("../files")), TokenError::Claims),
        ("exp as text", set("/exp", json!("1772367300")), TokenError::Claims),
        ("exp as a fraction", set("/exp", json!(1_772_367_300.5)), TokenError::Claims),
        ("exp negative", set("/exp", json!(-1)), TokenError::Times),
        ("exp after the year 9999", set("/exp", json!(253_402_300_800_i64)), TokenError::Times),
        (
            "exp above 64 bits",
            text.replace(&good["exp"].to_string(), "18446744073709551616"),
            TokenError::Claims,
        ),
        ("exp with an exponent", text.replace(&good["exp"].to_string(), "2e9"), TokenError::Claims),
        ("exp before iat", set("/exp", json!(now().as_secs() - 1)), TokenError::Times),
        ("nbf in the future", set("/nbf", json!(now().as_secs() + 6)), TokenError::NotYetValid),
        ("iat in the future", set("/iat", json!(now().as_secs() + 6)), TokenError::NotYetValid),
        ("iat negative", set("/iat", json!(-5)), TokenError::Times),
        ("jti no UUID", set("/jti", json!("1")), TokenError::Claims),
        ("sid no UUID", set("/sid", json!(1)), TokenError::Claims),
        ("two methods", set("/amr", json!(["peer", "bootstrap"])), TokenError::Claims),
        ("no method", set("/amr", json!([])), TokenError::Claims),
        ("an unknown binding", set("/cnf", json!({"kind": "none"})), TokenError::Claims),
        ("an empty binding", set("/cnf", json!({})), TokenError::Claims),
        ("a binding with more", set("/cnf/uid", json!(-1)), TokenError::Claims),
        ("an unknown claim", add("admin", json!(true)), TokenError::Claims),
        ("exp twice", twice(r#""exp":9999999999"#), TokenError::Claims),
        ("sub twice, once escaped", twice(r#""s\u0075b":"root""#), TokenError::Claims),
        (
            "cnf's kind twice",
            text.replace(r#""kind":"peer""#, r#""kind":"peer","kind":"bootstrap""#),
            TokenError::Claims,
        ),
        ("cnf's uid twice", text.replace(r#""uid":1000"#, r#""uid":1000,"uid":0"#), TokenError::Claims),
        ("a list", format!("[{text}]"), TokenError::Claims),
        ("bytes after it", format!("{text} {{}}"), TokenError::Claims),
        ("nothing", String::new(), TokenError::Claims),
        ("deep nesting", "{\"a\":".repeat(400) + "1" + &"}".repeat(400), TokenError::Claims),
    ];
    for claim in ["iss", "sub", "aud", "iat", "nbf", "exp", "jti", "sid", "cnf", "amr", "mcp", "policy"] {
        table.push((claim, without(claim), TokenError::Claims));
    }
    verifier.verify(&bench.forge(&bench.header(), &text)).expect("the forger signs properly");
    for (name, payload, expected) in table {
        assert_ne!(payload, text, "{name} changes something");
        assert_eq!(verifier.verify(&bench.forge(&bench.header(), &payload)).unwrap_err(), expected, "{name}");
    }
}

#[test]
fn texts_that_are_no_compact_jws_are_refused() {
    let bench = Bench::new();
    let (verifier, issued) = (bench.verifier(), bench.issue());
    let token = issued.token.expose();
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("three parts") };
    let table = [
        ("nothing", String::new()),
        ("dots", "..".to_owned()),
        ("two parts", format!("{header}.{payload}")),
        ("four parts", format!("{token}.{signature}")),
        ("five parts, as JWE", format!("{token}..")),
        ("padding", format!("{header}.{payload}.{signature}==")),
        ("a line break", format!("{header}.{payload}\n.{signature}")),
        ("space around it", format!(" {token}")),
        ("standard base64", token.replacen('_', "/", 1).replacen('-', "+", 1)),
        ("a NUL", format!("{token}\0")),
        ("not ASCII", format!("{header}.{payload}.ü")),
        ("a JSON serialisation", format!(r#"{{"payload":"{payload}"}}"#)),
        ("one that is too long", format!("{}.{payload}.{signature}", "A".repeat(MAX_TOKEN_BYTES))),
    ];
    for (name, text) in table {
        // A text without `-` and `_` would make the standard alphabet's row no change.
        if text != token {
            assert!(
                matches!(verifier.verify(&text), Err(TokenError::Malformed | TokenError::Header)),
                "{name}"
            );
        }
    }
    // The last character of 86 has four bits that mean nothing; other values of them are another spelling.
    let last = signature.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let sibling = alphabet.chars().nth(alphabet.find(last).unwrap() | 1).unwrap();
    assert_ne!(sibling, last);
    let respelled = format!("{header}.{payload}.{}{sibling}", &signature[..signature.len() - 1]);
    assert_eq!(verifier.verify(&respelled).unwrap_err(), TokenError::Malformed);
}

#[test]
fn signatures_that_are_not_of_these_bytes_by_this_key_are_refused() {
    let bench = Bench::new();
    let (verifier, issued) = (bench.verifier(), bench.issue());
    let token = issued.token.expose();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let good = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let der = bench.key.0.sign(signed.as_bytes()).unwrap().der().to_vec();
    let hmac = {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, bench.key.0.public_key().point());
        aws_lc_rs::hmac::sign(&key, signed.as_bytes()).as_ref().to_vec()
    };
    let table = [
        ("none", Vec::new()),
        ("DER where r ‖ s belongs", der),
        ("an HMAC with the public key", hmac),
        ("zeroes (CVE-2022-21449)", vec![0; 64]),
        ("63 bytes", good[..63].to_vec()),
        ("65 bytes", [&good[..], &[0]].concat()),
        ("r and s swapped", [&good[32..], &good[..32]].concat()),
        ("96 bytes", vec![1; 96]),
    ];
    for (name, bytes) in table {
        let text = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes));
        assert_eq!(verifier.verify(&text).unwrap_err(), TokenError::Signature, "{name}");
    }
    let other = Bench::new();
    let theirs = other.forge(&bench.header(), &payload_of(&issued));
    assert_eq!(verifier.verify(&theirs).unwrap_err(), TokenError::Signature, "another key under our kid");
    let their_own = other.issue();
    assert_eq!(verifier.verify(their_own.token.expose()).unwrap_err(), TokenError::UnknownKey);
}

#[test]
fn a_token_altered_in_one_character_is_refused() {
    let bench = Bench::new();
    let (verifier, issued) = (bench.verifier(), bench.issue());
    let token = issued.token.expose();
    for index in 0..token.len() {
        let mut bytes = token.as_bytes().to_vec();
        bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
        assert!(verifier.verify(std::str::from_utf8(&bytes).unwrap()).is_err(), "character {index}");
        assert!(verifier.verify(&token[..index]).is_err(), "the first {index}");
    }
}

#[test]
fn a_configured_audience_is_the_only_one() {
    let mut bench = Bench::new();
    let by_route = bench.issue();
    bench.config.audience = Some("https://gateway.example".to_owned());
    let configured = bench.issue();
    assert_eq!(configured.claims.aud, ["https://gateway.example"]);
    bench.verifier().verify(configured.token.expose()).unwrap();
    assert_eq!(bench.verifier().verify(by_route.token.expose()).unwrap_err(), TokenError::Audience);
}

/// Knows its key only until it is told to forget it.
#[derive(Debug)]
struct Forgetful(Arc<OneKey>, std::sync::atomic::AtomicBool);

impl PublicKeySource for Forgetful {
    fn find(&self, kid: &str) -> Option<PublicKey> {
        if self.1.load(std::sync::atomic::Ordering::SeqCst) { None } else { self.0.find(kid) }
    }
}

#[test]
fn a_withdrawn_key_ends_tokens_that_were_verified_already() {
    let bench = Bench::new();
    let source = Arc::new(Forgetful(bench.key.clone(), false.into()));
    let verifier =
        Verifier::new(source.clone(), GATEWAY.parse().unwrap(), &bench.config, bench.clock.clone());
    let issued = bench.issue();
    verifier.verify(issued.token.expose()).unwrap();
    source.1.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(verifier.verify(issued.token.expose()).unwrap_err(), TokenError::UnknownKey);
}

#[test]
fn the_cache_is_bounded_and_strangers_fill_nothing() {
    let mut bench = Bench::new();
    bench.config.cache = 8;
    let verifier = bench.verifier();
    let (header, issued) = (bench.header(), bench.issue());
    for index in 0..50 {
        let refused = bench.forge(&header, &format!("{{\"sub\":\"{index}\"}}"));
        assert!(verifier.verify(&refused).is_err());
    }
    assert_eq!(verifier.cached(), 0);
    for _ in 0..50 {
        verifier.verify(bench.issue().token.expose()).unwrap();
        verifier.verify(issued.token.expose()).unwrap();
        assert!(verifier.cached() <= 16);
    }
}

#[test]
fn a_p_384_identity_issues_es384() {
    let authority = Authority::new("example.org");
    let spec =
        LeafSpec { algorithm: &rcgen::PKCS_ECDSA_P384_SHA384, ..LeafSpec::of(GATEWAY, secs(-60), secs(600)) };
    let (chain, pkcs8) = authority.leaf(&spec);
    let key = ActiveKey::new(&pkcs8, chain, authority.bundle.clone(), now()).unwrap();
    let bench = Bench { key: Arc::new(OneKey(Arc::new(key))), ..Bench::new() };
    let issued = bench.issue();
    assert_eq!(issued.expires, secs(600));
    bench.verifier().verify(issued.token.expose()).unwrap();
    let es256 = bench.forge(&bench.header(), &payload_of(&issued));
    assert_eq!(bench.verifier().verify(&es256).unwrap_err(), TokenError::Algorithm);
}

#[test]
fn a_token_that_would_not_fit_into_a_header_is_not_issued() {
    let bench = Bench::new();
    let grant = Grant {
        admitted: &admitted(None),
        session: SessionId::from_uuid(random::uuid_v4().unwrap()),
        client: Some(Client { name: "n".repeat(6000), version: String::new() }),
        protocol: Revision::LATEST,
        transport: "stdio",
        server: &"files".parse().unwrap(),
        policy: Sha256Digest::of(b""),
    };
    assert_eq!(bench.issuer().issue(&grant).unwrap_err(), TokenError::TooLong);
}

#[test]
fn errors_and_debug_output_hold_nothing_of_a_token() {
    let bench = Bench::new();
    let issued = bench.issue();
    let middle = issued.token.expose().split('.').nth(1).unwrap();
    let altered = issued.token.expose().replace(middle, &middle.replace('a', "b"));
    let error = bench.verifier().verify(&altered).unwrap_err();
    for shown in [format!("{error} {error:?}"), format!("{issued:?}"), format!("{:?}", bench.issuer())] {
        assert!(!shown.contains(middle) && !shown.contains("eyJ"), "{shown}");
    }
}

/// The reference: our tokens are ordinary JWTs to it, and whatever it refuses we refuse too.
mod against_jsonwebtoken {
    use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};

    use super::*;

    fn validation() -> Validation {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&["spiffe://example.org/chancery/mcp/files"]);
        validation.set_issuer(&[GATEWAY]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub", "nbf"]);
        // Our clock is held; theirs is not.
        validation.validate_exp = false;
        validation
    }

    #[test]
    fn our_tokens_verify_there() {
        let bench = Bench::new();
        let issued = bench.issue();
        let (x, y) = bench.key.0.public_key().coordinates();
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let key = DecodingKey::from_ec_components(&x, &y).unwrap();
        let there = decode::<Value>(issued.token.expose(), &key, &validation()).unwrap();
        assert_eq!(there.claims, serde_json::to_value(&issued.claims).unwrap());
        assert_eq!(there.header.kid.as_deref(), Some(issued.kid.as_str()));
        assert_eq!(there.header.typ.as_deref(), Some(TYP));
    }

    #[test]
    fn theirs_verify_here_and_whatever_they_refuse_we_refuse() {
        let authority = Authority::new("example.org");
        let (chain, pkcs8) = authority.leaf(&LeafSpec::of(GATEWAY, secs(-60), secs(86_400)));
        let active = ActiveKey::new(&pkcs8, chain, authority.bundle.clone(), now()).unwrap();
        let bench = Bench { key: Arc::new(OneKey(Arc::new(active))), ..Bench::new() };
        let (verifier, claims) = (bench.verifier(), bench.issue().claims);
        let header = Header {
            typ: Some(TYP.to_owned()),
            kid: Some(bench.key.0.id().to_string()),
            ..Header::new(Algorithm::ES256)
        };
        let theirs = encode(&header, &claims, &EncodingKey::from_ec_der(&pkcs8)).unwrap();
        assert_eq!(*verifier.verify(&theirs).unwrap().claims(), claims);

        let (x, y) = bench.key.0.public_key().coordinates();
        let key =
            DecodingKey::from_ec_components(&URL_SAFE_NO_PAD.encode(x), &URL_SAFE_NO_PAD.encode(y)).unwrap();
        let mut refused = 0;
        for index in 0..theirs.len() {
            for replacement in [b'A', b'.', b'='] {
                let mut bytes = theirs.as_bytes().to_vec();
                bytes[index] = replacement;
                let mutated = String::from_utf8(bytes).unwrap();
                if decode::<Value>(&mutated, &key, &validation()).is_err() {
                    refused += 1;
                    assert!(
                        verifier.verify(&mutated).is_err(),
                        "character {index} as {}",
                        char::from(replacement)
                    );
                }
            }
        }
        assert!(refused > theirs.len());
    }
}

#[test]
fn the_binding_of_a_bootstrap_secret_is_its_digest() {
    let bench = Bench::new();
    let secret_sha256 = Sha256Digest::of(b"secret");
    let admitted = Admitted::by(Evidence::Bootstrap(BootstrapEvidence { secret_sha256, file_uid: 5 }), None);
    let issued = issue(&bench.issuer(), &admitted).unwrap();
    assert_eq!(issued.claims.cnf, Binding::Bootstrap { secret_sha256 });
    let verified = bench.verifier().verify(issued.token.expose()).unwrap();
    assert!(verified.claims().cnf.holds_for(admitted.evidence()));
    assert!(!verified.claims().cnf.holds_for(super::tests::admitted(None).evidence()));
    assert_eq!(
        (verified.claims().sub.as_str(), &verified.claims().amr[0]),
        ("bootstrap:5", &"bootstrap".to_owned())
    );
    assert!(bench.key.current().is_ok());
}
