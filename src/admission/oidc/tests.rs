//! Attacks on admission by a bearer token. Keys, signatures and the issuer are real.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::admission::{Config, Listener};
use crate::domain::evidence::PassedClaims;
use crate::domain::recorder::Silent;

#[path = "../../../tests/support/issuer.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "shared with the integration tests"
)]
pub(super) mod issuer;

pub(super) use issuer::{Issuer, Key, jwks};

pub(super) const NOW: i64 = 1_767_323_045;

pub(super) fn config(issuer: &Issuer) -> OidcConfig {
    OidcConfig {
        issuer: issuer.url(),
        audiences: vec!["chancery".to_owned()],
        jwks_url: None,
        algorithms: Algorithm::ALL.to_vec(),
        required_claims: Default::default(),
        scopes: Vec::new(),
        groups: Some(GroupsConfig { claim: "groups".to_owned(), prefix: "oidc:".to_owned() }),
        claims: Vec::new(),
        allow_http: true,
        allow_private: true,
    }
}

pub(super) fn claims(issuer: &Issuer) -> Value {
    json!({ "iss": issuer.url(), "aud": "chancery", "sub": "alice", "azp": "editor", "iat": NOW, "exp": NOW + 300 })
}

pub(super) struct World {
    pub(super) admission: Admission,
    pub(super) clock: Clock,
}

impl World {
    pub(super) fn of(oidc: Vec<OidcConfig>) -> Self {
        let clock = Clock::fixed(Timestamp::from_secs(NOW));
        let config = Config { oidc, ..Config::default() };
        let admission = Admission::open(config, clock.clone(), Arc::new(Silent)).unwrap();
        Self { admission, clock }
    }

    pub(super) async fn admit(&self, token: &str) -> Result<Admitted, AdmissionRefusal> {
        let origin = Origin::Tcp(([127, 0, 0, 1], 4711).into());
        self.admission.admit_request(&origin, Some(format!("Bearer {token}").as_bytes())).await
    }

    /// Why a token is refused, to the letter.
    async fn why(&self, token: &str) -> BearerError {
        let bearers = self.admission.bearers.as_ref().unwrap();
        bearers.verify(token.as_bytes(), Listener::Tcp).await.unwrap_err()
    }
}

#[tokio::test]
async fn a_token_of_each_algorithm_admits_its_subject_until_it_expires() {
    let issuer = Issuer::start();
    let keys = [Key::es256("e"), Key::rs256("r"), Key::eddsa("d")];
    issuer.publish(&keys.each_ref());
    let world = World::of(vec![config(&issuer)]);
    for key in &keys {
        let admitted = world.admit(&key.token(&claims(&issuer))).await.unwrap();
        assert_eq!(admitted.principal().as_str(), format!("oidc:{}#alice", issuer.url()));
        assert_eq!(admitted.expires(), Some(Timestamp::from_secs(NOW + 300)));
    }
    assert_eq!(issuer.asked().len(), 2, "metadata and keys, once: {:?}", issuer.asked());
    world.clock.set(Timestamp::from_secs(NOW + 300));
    assert_eq!(world.why(&keys[0].token(&claims(&issuer))).await, BearerError::Expired);
}

#[tokio::test]
async fn hostile_headers_are_refused_before_anyone_is_asked() {
    let issuer = Issuer::start();
    let key = Key::es256("k");
    let world = World::of(vec![config(&issuer)]);
    let claims = claims(&issuer).to_string();
    for (header, error) in [
        (r#"{"alg":"none","kid":"k"}"#, BearerError::Algorithm),
        (r#"{"alg":"None","kid":"k"}"#, BearerError::Algorithm),
        (r#"{"alg":"HS256","kid":"k"}"#, BearerError::Algorithm),
        (r#"{"alg":"ES384","kid":"k"}"#, BearerError::Algorithm),
        (r#"{"alg":"PS256","kid":"k"}"#, BearerError::Algorithm),
        (r#"{"alg":["ES256"],"kid":"k"}"#, BearerError::Algorithm),
        (r#"{"kid":"k"}"#, BearerError::Algorithm),
        (r#"{"alg":"ES256"}"#, BearerError::KeyId),
        (r#"{"alg":"ES256","kid":""}"#, BearerError::KeyId),
        (r#"{"alg":"ES256","kid":7}"#, BearerError::KeyId),
        (r#"{"alg":"ES256","kid":"a\u0000b"}"#, BearerError::KeyId),
        (r#"{"alg":"ES256","kid":"k","crit":["exp"]}"#, BearerError::Critical),
        (r#"{"alg":"ES256","kid":"k","typ":"mcp-session+jwt"}"#, BearerError::Type),
        (r#"{"alg":"ES256","kid":"k","typ":"dpop+jwt"}"#, BearerError::Type),
        (r#"{"alg":"ES256","kid":"k","typ":null}"#, BearerError::Type),
        (r#"{"alg":"ES256","alg":"none","kid":"k"}"#, BearerError::Header),
        (r#"["ES256","k"]"#, BearerError::Header),
    ] {
        assert_eq!(world.why(&key.sign(header, &claims)).await, error, "{header}");
    }
    let long = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "k".repeat(600));
    assert_eq!(world.why(&key.sign(&long, &claims)).await, BearerError::KeyId);
    let good = key.sign(r#"{"alg":"ES256","kid":"k"}"#, &claims);
    let cut = good.rsplit_once('.').unwrap().0;
    for malformed in
        [cut, &format!("{good}."), &format!("{good}="), &format!(" {good}"), &"a.b.".repeat(9000)]
    {
        assert_eq!(world.why(malformed).await, BearerError::Malformed);
    }
    assert_eq!(issuer.asked(), [""; 0]);
}

#[tokio::test]
async fn hostile_claims_are_refused_before_anyone_is_asked() {
    let issuer = Issuer::start();
    let key = Key::es256("k");
    let world = World::of(vec![config(&issuer)]);
    for (name, value, error) in [
        ("iss", json!("https://other.example"), BearerError::Issuer),
        ("iss", json!(format!("{}/", issuer.url())), BearerError::Issuer),
        ("iss", json!([issuer.url()]), BearerError::Claims),
        ("iss", Value::Null, BearerError::Claims),
        ("aud", json!("other"), BearerError::Audience),
        ("aud", json!(["other"]), BearerError::Audience),
        ("aud", json!([]), BearerError::Audience),
        ("aud", json!(["chancery", 7]), BearerError::Claims),
        ("aud", json!(7), BearerError::Claims),
        ("aud", Value::Null, BearerError::Claims),
        ("sub", json!(""), BearerError::Claims),
        ("sub", json!(7), BearerError::Claims),
        ("sub", json!("a\nb"), BearerError::Claims),
        ("sub", json!("x".repeat(600)), BearerError::Claims),
        ("exp", json!((NOW + 300).to_string()), BearerError::Claims),
        ("exp", json!(1e18), BearerError::Claims),
        ("exp", json!(1_000_000_000_000_000_000_i64), BearerError::Claims),
        ("exp", json!(-1), BearerError::Claims),
        ("exp", json!(NOW), BearerError::Expired),
        ("nbf", json!(NOW + 120), BearerError::NotYetValid),
        ("nbf", json!("soon"), BearerError::Claims),
        ("iat", json!(NOW + 120), BearerError::NotYetValid),
        ("cnf", json!({ "jkt": "x" }), BearerError::SenderConstrained),
        ("cnf", json!({ "x5t#S256": "x" }), BearerError::SenderConstrained),
    ] {
        let mut hostile = claims(&issuer);
        hostile[name] = value.clone();
        assert_eq!(world.why(&key.token(&hostile)).await, error, "{name}: {value}");
    }
    for name in ["iss", "aud", "sub", "exp"] {
        let mut hostile = claims(&issuer);
        hostile.as_object_mut().unwrap().remove(name);
        assert_eq!(world.why(&key.token(&hostile)).await, BearerError::Claims, "no {name}");
    }
    let text = claims(&issuer).to_string();
    let twice = text.replacen('{', r#"{"sub":"root","#, 1);
    assert_eq!(world.why(&key.sign(&key.header().to_string(), &twice)).await, BearerError::Claims);
    let deep = text.replacen('{', r#"{"x":{"y":1,"y":2},"#, 1);
    assert_eq!(world.why(&key.sign(&key.header().to_string(), &deep)).await, BearerError::Claims);
    assert_eq!(issuer.asked(), [""; 0]);
}

#[tokio::test]
async fn a_forged_signature_admits_nobody_whatever_key_the_header_brings() {
    let issuer = Issuer::start();
    let (right, thief) = (Key::es256("k"), Key::es256("k"));
    issuer.publish(&[&right]);
    let world = World::of(vec![config(&issuer)]);
    let claims = claims(&issuer);
    assert_eq!(world.why(&thief.token(&claims)).await, BearerError::Signature);
    let mut header = thief.header();
    header["jwk"] = thief.jwk();
    header["jku"] = json!(format!("{}/thief", issuer.url()));
    header["x5u"] = header["jku"].clone();
    issuer.page("/thief", 200, "", &jwks(&[&thief]));
    assert_eq!(
        world.why(&thief.sign(&header.to_string(), &claims.to_string())).await,
        BearerError::Signature
    );
    assert!(!issuer.asked().contains(&"/thief".to_owned()));
    // Another's signature, and none.
    let (body, _) = right.token(&claims).rsplit_once('.').map(|(b, s)| (b.to_owned(), s.to_owned())).unwrap();
    assert_eq!(world.why(&format!("{body}.")).await, BearerError::Signature);
    // RS256 and EdDSA by the id of a P-256 key.
    for other in [Key::rs256("k"), Key::eddsa("k")] {
        assert_eq!(world.why(&other.token(&claims)).await, BearerError::UnknownKey);
    }
    assert_eq!(world.admit(&thief.token(&claims)).await.unwrap_err(), AdmissionRefusal::InvalidToken);
    let counted = world.admission.refusals().drain();
    assert!(
        counted.iter().any(|c| c.listener == Listener::Tcp && c.reason == AdmissionRefusal::InvalidToken)
    );
    assert!(world.admit(&right.token(&claims)).await.is_ok());
}

#[tokio::test]
async fn groups_scopes_and_demanded_claims_are_read_as_configured() {
    let issuer = Issuer::start();
    let key = Key::eddsa("k");
    issuer.publish(&[&key]);
    let required = [("tenant".to_owned(), "blue".to_owned())].into();
    let world = World::of(vec![OidcConfig {
        scopes: vec!["mcp".to_owned()],
        required_claims: required,
        ..config(&issuer)
    }]);
    let with = |more: Value| {
        let mut claims = claims(&issuer);
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        key.token(&claims)
    };
    let token =
        with(json!({ "tenant": ["red", "blue"], "scope": "a mcp", "groups": ["staff", "ops", "staff"] }));
    let admitted = world.admit(&token).await.unwrap();
    assert_eq!(admitted.evidence().groups(), ["oidc:ops", "oidc:staff"]);
    for groups in [json!([""]), json!([7]), json!({}), json!(["a\u{0}"]), json!(vec!["x"; 600])] {
        let token = with(json!({ "tenant": "blue", "scope": "mcp", "groups": groups }));
        assert_eq!(world.why(&token).await, BearerError::Groups);
    }
    let elsewhere = with(json!({ "tenant": "blue", "scope": "mcp", "_claim_names": { "groups": "src1" } }));
    assert_eq!(world.why(&elsewhere).await, BearerError::Groups);
    assert_eq!(
        world.why(&with(json!({ "tenant": "red", "scope": "mcp" }))).await,
        BearerError::RequiredClaim
    );
    assert_eq!(world.why(&with(json!({ "scope": "mcp" }))).await, BearerError::RequiredClaim);
    let lacking = with(json!({ "tenant": "blue", "scope": "mcp2" }));
    assert_eq!(world.admit(&lacking).await.unwrap_err(), AdmissionRefusal::InsufficientScope);
}

#[tokio::test]
async fn claims_that_are_let_through_are_texts_and_few_and_nothing_else_of_the_token_is() {
    let issuer = Issuer::start();
    let key = Key::es256("k");
    issuer.publish(&[&key]);
    let names = ["department", "roles", "level", "contractor", "absent"];
    let world = World::of(vec![OidcConfig { claims: names.map(str::to_owned).to_vec(), ..config(&issuer) }]);
    let with = |more: Value| {
        let mut claims = claims(&issuer);
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        key.token(&claims)
    };
    let token = with(json!({
        "department": "lab", "roles": ["b", "a", "b"], "level": 3, "contractor": false, "email": "alice@example.org",
    }));
    let admitted = world.admit(&token).await.unwrap();
    let expected = [
        ("contractor", vec!["false"]),
        ("department", vec!["lab"]),
        ("level", vec!["3"]),
        ("roles", vec!["a", "b"]),
    ];
    let expected: PassedClaims = expected
        .into_iter()
        .map(|(name, values)| (name.to_owned(), values.into_iter().map(str::to_owned).collect()))
        .collect();
    assert_eq!(**admitted.evidence().claims().unwrap(), expected);
    for odd in [
        json!({ "department": null }),
        json!({ "department": { "name": "lab" } }),
        json!({ "department": [["lab"]] }),
        json!({ "level": 1.5 }),
        json!({ "roles": ["a\u{7}"] }),
        json!({ "roles": "x".repeat(1100) }),
        json!({ "roles": "0123456789", "department": "y".repeat(1020) }),
        json!({ "_claim_names": { "roles": "src1" } }),
    ] {
        assert_eq!(world.why(&with(odd.clone())).await, BearerError::PassedClaims, "{odd}");
    }
}

#[tokio::test]
async fn a_flood_of_forged_tokens_is_cut_short_while_good_ones_are_still_heard() {
    let issuer = Issuer::start();
    let (right, thief) = (Key::es256("k"), Key::es256("k"));
    issuer.publish(&[&right]);
    let world = World::of(vec![config(&issuer)]);
    let forged = thief.token(&claims(&issuer));
    let mut told = Vec::new();
    for _ in 0..100 {
        told.push(world.why(&forged).await);
    }
    assert_eq!(told.iter().filter(|error| **error == BearerError::Signature).count(), 30);
    assert!(told[30..].iter().all(|error| *error == BearerError::RateLimited));
    assert_eq!(world.admit(&forged).await.unwrap_err(), AdmissionRefusal::RateLimited);
    // An unknown key as well; what has expired is told so, or its client would not get another.
    assert_eq!(world.why(&Key::es256("x").token(&claims(&issuer))).await, BearerError::RateLimited);
    let mut expired = claims(&issuer);
    expired["exp"] = json!(NOW);
    assert_eq!(world.why(&right.token(&expired)).await, BearerError::Expired);
    // Many good ones at once, each for the first time.
    let tokens: Vec<_> = (0..20)
        .map(|n| {
            let mut claims = claims(&issuer);
            claims["sub"] = json!(format!("user-{n}"));
            right.token(&claims)
        })
        .collect();
    let heard = futures_util::future::join_all(tokens.iter().map(|token| world.admit(token))).await;
    assert!(heard.iter().all(Result::is_ok));
    world.clock.set(Timestamp::from_secs(NOW + 60));
    assert_eq!(world.why(&forged).await, BearerError::Signature, "a minute later");
    assert_eq!(issuer.asked().len(), 2, "the flood made nobody be asked: {:?}", issuer.asked());
}

#[tokio::test]
async fn a_token_that_was_verified_is_remembered_and_not_longer_than_its_key_and_its_time() {
    let issuer = Issuer::start();
    let (key, other) = (Key::es256("k"), Key::es256("k"));
    issuer.publish(&[&key]);
    let world = World::of(vec![config(&issuer)]);
    let known = || world.admission.bearers.as_ref().unwrap().known.len();
    let token = key.token(&claims(&issuer));
    for _ in 0..3 {
        assert!(world.admit(&token).await.is_ok());
    }
    assert_eq!(known(), 1);
    assert_eq!(world.why(&other.token(&claims(&issuer))).await, BearerError::Signature);
    assert_eq!(known(), 1, "what was refused is not remembered");
    // The issuer has another key of that id.
    issuer.publish(&[&other]);
    world.clock.set(Timestamp::from_secs(NOW + 40));
    assert_eq!(world.why(&Key::es256("x").token(&claims(&issuer))).await, BearerError::UnknownKey);
    assert_eq!(world.why(&token).await, BearerError::Signature);
    world.clock.set(Timestamp::from_secs(NOW + 300));
    assert_eq!(world.why(&other.token(&claims(&issuer))).await, BearerError::Expired);
}

#[test]
fn no_prefix_makes_a_group_that_the_gateway_makes_itself() {
    for fit in ["oidc:", "staff/", "https://login.example/"] {
        assert!(GroupsConfig::is_fit(fit), "{fit}");
    }
    for unfit in ["", ":", "p", "pee", "uid:", "uid:1:", "spiffe://", "spiffe:", "boot", "a\u{7}:"] {
        assert!(!GroupsConfig::is_fit(unfit), "{unfit}");
    }
}
