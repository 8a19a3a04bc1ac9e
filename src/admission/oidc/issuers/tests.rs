//! Where keys come from, and what happens when they don't.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::admission::oidc::tests::{Issuer as Server, Key, NOW, World, claims, config, jwks};
use crate::admission::oidc::{AdmissionRefusal, OidcConfig};
use crate::keys::testing::Authority;
use crate::keys::{KnownKey, Signer as _};

/// Moves a world's clock to `seconds` after its beginning.
fn at(world: &World, seconds: u64) {
    world.clock.set(Timestamp::from_secs(NOW).plus(Duration::from_secs(seconds)));
}

fn by_url(issuer: &Server, path: &str) -> OidcConfig {
    OidcConfig { jwks_url: Some(format!("{}{path}", issuer.url()).parse().unwrap()), ..config(issuer) }
}

fn long_claims(issuer: &Server) -> serde_json::Value {
    let mut claims = claims(issuer);
    claims["exp"] = (NOW + 1_000_000).into();
    claims
}

#[tokio::test]
async fn a_kid_is_found_among_several_keys_and_those_of_unknown_kinds_are_passed_over() {
    let issuer = Server::start();
    let keys = [Key::es256("1"), Key::es256("2"), Key::rs256("3")];
    let mut set: serde_json::Value = serde_json::from_str(&jwks(&keys.each_ref())).unwrap();
    let odd = [
        serde_json::json!({ "kty": "oct", "kid": "2", "k": "c2VjcmV0" }),
        serde_json::json!({ "kty": "EC", "crv": "P-521", "kid": "2" }),
        serde_json::json!({ "kty": "RSA", "kid": "3", "n": "AQAB", "e": "AQAB" }),
        serde_json::json!(7),
    ];
    set["keys"].as_array_mut().unwrap().splice(0..0, odd);
    issuer.page("/keys", 200, "", &set.to_string());
    let world = World::of(vec![by_url(&issuer, "/keys")]);
    for key in &keys {
        assert!(world.admit(&key.token(&claims(&issuer))).await.is_ok());
    }
    assert_eq!(issuer.asked(), ["/keys"]);
}

#[tokio::test]
async fn an_rsa_key_that_is_too_short_is_no_key() {
    let short = serde_json::json!({ "kty": "RSA", "kid": "k", "e": "AQAB", "n": "w".repeat(170) });
    let set = serde_json::json!({ "keys": [short] }).to_string();
    assert!(jwk::read_set(set.as_bytes()).unwrap().is_empty());
    for none in ["", "[]", "{}", r#"{"keys":{}}"#, "<html>"] {
        assert!(jwk::read_set(none.as_bytes()).is_none(), "{none}");
    }
}

#[tokio::test]
async fn a_source_without_the_kid_leaves_the_word_to_the_next() {
    let issuer = Server::start();
    let (old, new) = (Key::es256("old"), Key::es256("new"));
    issuer.page("/old", 200, "", &jwks(&[&old]));
    issuer.page("/new", 200, "", &jwks(&[&new]));
    let world = World::of(["/old", "/new"].map(|path| by_url(&issuer, path)).to_vec());
    assert!(world.admit(&new.token(&claims(&issuer))).await.is_ok());
    assert_eq!(issuer.asked(), ["/old", "/new"]);
    assert!(world.admit(&old.token(&claims(&issuer))).await.is_ok());
    assert_eq!(issuer.asked().len(), 2);
}

#[tokio::test]
async fn a_source_that_fails_leaves_the_word_to_the_next_and_rests() {
    let issuer = Server::start();
    let key = Key::es256("k");
    issuer.page("/keys", 200, "", &jwks(&[&key]));
    let world = World::of(["/broken", "/keys"].map(|path| by_url(&issuer, path)).to_vec());
    for _ in 0..3 {
        assert!(world.admit(&key.token(&claims(&issuer))).await.is_ok());
    }
    assert_eq!(issuer.asked(), ["/broken", "/keys"]);
}

#[tokio::test]
async fn a_key_that_no_source_has_is_told_apart_from_a_source_that_failed() {
    let issuer = Server::start();
    let (known, unknown) = (Key::es256("known"), Key::es256("unknown"));
    issuer.page("/keys", 200, "", &jwks(&[&known]));
    let token = unknown.token(&claims(&issuer));
    let all_answered = World::of(vec![by_url(&issuer, "/keys")]);
    assert_eq!(all_answered.admit(&token).await.unwrap_err(), AdmissionRefusal::UnknownKey);
    // The one that failed might have it.
    let one_failed = World::of(["/keys", "/broken"].map(|path| by_url(&issuer, path)).to_vec());
    assert_eq!(one_failed.admit(&token).await.unwrap_err(), AdmissionRefusal::IssuerUnavailable);
}

/// What asks no source: neither the gateway's own keys nor the issuer.
async fn is_refused_with_no_source_asked(header: &str) {
    let issuer = Server::start();
    let key = Key::es256("k");
    issuer.publish(&[&key]);
    let World { admission, clock } = World::of(vec![config(&issuer)]);
    let own = Arc::new(Unasked::default());
    let world = World { admission: admission.knowing(Arc::clone(&own) as Arc<dyn PublicKeySource>), clock };
    let refused = world.admit(&key.sign(header, &claims(&issuer).to_string())).await.unwrap_err();
    assert_eq!(refused, AdmissionRefusal::InvalidToken, "{header}");
    assert_eq!(issuer.asked(), [""; 0]);
    assert!(!own.0.load(Ordering::SeqCst), "its own keys were asked");
}

/// Notes whether it is asked.
#[derive(Debug, Default)]
struct Unasked(AtomicBool);

impl PublicKeySource for Unasked {
    fn find(&self, _kid: &str) -> Option<KnownKey> {
        self.0.store(true, Ordering::SeqCst);
        None
    }
}

#[tokio::test]
async fn an_algorithm_that_is_not_allowed_is_a_hard_error_and_no_source_is_asked() {
    for alg in ["HS256", "none", "ES384", "es256", ""] {
        is_refused_with_no_source_asked(&format!(r#"{{"alg":"{alg}","kid":"k"}}"#)).await;
    }
}

#[tokio::test]
async fn a_missing_kid_is_a_hard_error_and_no_source_is_asked() {
    for header in [r#"{"alg":"ES256"}"#, r#"{"alg":"ES256","kid":""}"#, r#"{"alg":"ES256","kid":null}"#] {
        is_refused_with_no_source_asked(header).await;
    }
}

#[tokio::test]
async fn an_algorithm_that_the_configuration_leaves_out_is_a_hard_error_whatever_the_issuer_publishes() {
    let issuer = Server::start();
    let key = Key::rs256("k");
    issuer.publish(&[&key]);
    let world = World::of(vec![OidcConfig { algorithms: vec![Algorithm::Es256], ..config(&issuer) }]);
    let refused = world.admit(&key.token(&claims(&issuer))).await.unwrap_err();
    assert_eq!(refused, AdmissionRefusal::InvalidToken);
    assert_eq!(issuer.asked(), [""; 0]);
}

#[tokio::test]
async fn what_has_outlived_its_max_age_serves_while_it_is_fetched_anew_and_nobody_waits() {
    let issuer = Server::start();
    let (old, new) = (Key::es256("old"), Key::es256("new"));
    issuer.page("/keys", 200, "cache-control: max-age=90\n", &jwks(&[&old]));
    let world = World::of(vec![by_url(&issuer, "/keys")]);
    let token = old.token(&long_claims(&issuer));
    assert!(world.admit(&token).await.is_ok());
    issuer.page("/keys", 200, "", &jwks(&[&new]));
    at(&world, 89);
    assert!(world.admit(&token).await.is_ok());
    assert_eq!(issuer.asked().len(), 1, "it is fresh for as long as its issuer says");
    at(&world, 90);
    assert!(world.admit(&token).await.is_ok(), "stale, and still there: the answer is not waited for");
    while world.admit(&token).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(issuer.asked().len(), 2);
    assert!(world.admit(&new.token(&long_claims(&issuer))).await.is_ok());
}

#[tokio::test]
async fn no_more_keys_are_kept_of_an_issuer_than_fit() {
    let issuer = Server::start();
    let (first, last) = (Key::es256("first"), Key::es256("last"));
    let mut keys = vec![first.jwk()];
    keys.resize(200, last.jwk());
    for (at, key) in keys.iter_mut().enumerate().skip(1).take(198) {
        key["kid"] = format!("k{at}").into();
    }
    issuer.page("/keys", 200, "", &serde_json::json!({ "keys": keys }).to_string());
    let world = World::of(vec![by_url(&issuer, "/keys")]);
    assert!(world.admit(&first.token(&claims(&issuer))).await.is_ok());
    let refused = world.admit(&last.token(&claims(&issuer))).await.unwrap_err();
    assert_eq!(refused, AdmissionRefusal::UnknownKey);
}

#[tokio::test]
async fn an_unknown_kid_asks_at_most_once_in_the_rest_and_finds_what_was_rotated() {
    let issuer = Server::start();
    let (old, new) = (Key::es256("old"), Key::es256("new"));
    issuer.page("/keys", 200, "", &jwks(&[&old]));
    let world = World::of(vec![by_url(&issuer, "/keys")]);
    for _ in 0..5 {
        let refused = world.admit(&new.token(&claims(&issuer))).await.unwrap_err();
        assert_eq!(refused, AdmissionRefusal::UnknownKey);
    }
    assert_eq!(issuer.asked().len(), 1);
    issuer.page("/keys", 200, "", &jwks(&[&old, &new]));
    at(&world, REST.as_secs());
    assert!(world.admit(&new.token(&claims(&issuer))).await.is_ok());
    assert_eq!(issuer.asked().len(), 2);
}

#[tokio::test]
async fn with_its_issuer_down_a_known_key_still_counts_at_once_and_not_for_ever() {
    let issuer = Server::start();
    let key = Key::es256("k");
    issuer.page("/keys", 200, "cache-control: public, max-age=5\n", &jwks(&[&key]));
    let world = World::of(vec![by_url(&issuer, "/keys")]);
    let token = key.token(&long_claims(&issuer));
    assert!(world.admit(&token).await.is_ok());
    issuer.fail();
    at(&world, SHORTEST.as_secs() - 1);
    assert!(world.admit(&token).await.is_ok());
    assert_eq!(issuer.asked().len(), 1, "no max-age is too short for a minute");
    at(&world, SHORTEST.as_secs());
    assert!(world.admit(&token).await.is_ok());
    while issuer.asked().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert!(world.admit(&token).await.is_ok());
    at(&world, SHORTEST.as_secs() + STALE.as_secs());
    assert_eq!(world.admit(&token).await.unwrap_err(), AdmissionRefusal::IssuerUnavailable);
}

#[tokio::test]
async fn a_withdrawn_key_is_gone_with_the_next_answer() {
    let issuer = Server::start();
    let (old, new) = (Key::es256("old"), Key::es256("new"));
    issuer.page("/keys", 200, "", &jwks(&[&old]));
    let world = World::of(vec![by_url(&issuer, "/keys")]);
    assert!(world.admit(&old.token(&claims(&issuer))).await.is_ok());
    issuer.page("/keys", 200, "", &jwks(&[&new]));
    at(&world, REST.as_secs());
    assert!(world.admit(&new.token(&claims(&issuer))).await.is_ok());
    let refused = world.admit(&old.token(&claims(&issuer))).await.unwrap_err();
    assert_eq!(refused, AdmissionRefusal::UnknownKey);
}

#[tokio::test]
async fn many_that_wait_for_one_issuer_ask_once() {
    let issuer = Server::start();
    let key = Key::es256("k");
    issuer.publish(&[&key]);
    let world = World::of(vec![config(&issuer)]);
    let token = key.token(&claims(&issuer));
    let all = futures_util::future::join_all((0..50).map(|_| world.admit(&token))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(issuer.asked(), ["/.well-known/openid-configuration", "/keys"]);
}

#[tokio::test]
async fn discovery_falls_back_and_believes_no_metadata_of_another_issuer() {
    let issuer = Server::start();
    let key = Key::es256("k");
    issuer.publish(&[&key]);
    let other = serde_json::json!({ "issuer": "https://other.example", "jwks_uri": format!("{}/keys", issuer.url()) });
    issuer.page("/.well-known/openid-configuration", 200, "", &other.to_string());
    let token = key.token(&claims(&issuer));
    let world = World::of(vec![config(&issuer)]);
    assert_eq!(world.admit(&token).await.unwrap_err(), AdmissionRefusal::IssuerUnavailable);
    assert!(!issuer.asked().contains(&"/keys".to_owned()));

    issuer.page("/.well-known/openid-configuration", 404, "", "");
    let right = other.to_string().replace("https://other.example", &issuer.url());
    issuer.page("/.well-known/oauth-authorization-server", 200, "", &right);
    assert!(World::of(vec![config(&issuer)]).admit(&token).await.is_ok());
}

#[tokio::test]
async fn a_redirect_is_not_followed_be_it_to_a_private_address_and_an_endless_document_not_read() {
    let issuer = Server::start();
    let key = Key::es256("k");
    issuer.page("/keys", 200, "", &jwks(&[&key]));
    issuer.page("/moved", 302, "location: /keys\n", "");
    let metadata_service = Server::start();
    issuer.page("/inwards", 307, &format!("location: {}/keys\n", metadata_service.url()), "");
    issuer.page("/long", 200, "", &" ".repeat(600 * 1024));
    for path in ["/moved", "/inwards", "/long"] {
        let world = World::of(vec![by_url(&issuer, path)]);
        let refused = world.admit(&key.token(&claims(&issuer))).await.unwrap_err();
        assert_eq!(refused, AdmissionRefusal::IssuerUnavailable, "{path}");
    }
    assert_eq!(issuer.asked(), ["/moved", "/inwards", "/long"]);
    assert_eq!(metadata_service.asked(), [""; 0]);
}

#[tokio::test]
async fn an_issuer_on_loopback_is_not_asked_unless_configured() {
    let issuer = Server::start();
    let key = Key::es256("k");
    issuer.publish(&[&key]);
    for (allow_http, allow_private) in [(true, false), (false, true)] {
        let world = World::of(vec![OidcConfig { allow_http, allow_private, ..config(&issuer) }]);
        let refused = world.admit(&key.token(&claims(&issuer))).await.unwrap_err();
        assert_eq!(refused, AdmissionRefusal::IssuerUnavailable);
    }
    assert_eq!(issuer.asked(), [""; 0]);
}

/// The gateway's own keys: one, of this id.
#[derive(Debug)]
struct Own(String, KnownKey);

impl PublicKeySource for Own {
    fn find(&self, kid: &str) -> Option<KnownKey> {
        (kid == self.0).then(|| self.1.clone())
    }
}

#[tokio::test]
async fn with_discovery_down_our_own_key_is_found_at_once_and_nobody_is_asked() {
    let down = Server::start();
    let from = Timestamp::from_secs(NOW);
    let signer = Authority::new("example.org").signer("/chancery", from, from.plus(LONGEST));
    let kid = signer.current().unwrap().id().as_str().to_owned();
    let own = Own(kid.clone(), signer.find(&kid).unwrap());
    let issuer = |name: &Server| {
        let source = Source::Discovery(name.url());
        let fetcher = Fetcher::new(true, true).unwrap();
        Arc::new(Issuer::new(name.url(), source, fetcher, Clock::fixed(from)))
    };
    let sources = [issuer(&down)];
    for _ in 0..3 {
        let found = resolve(Some(&own), sources.iter(), &kid, Algorithm::Es256).await;
        assert!(matches!(found, Ok(Found::Own)));
    }
    assert_eq!(down.asked(), [""; 0]);
    // It failed for another key, and its rest keeps nobody from ours.
    let foreign = resolve(Some(&own), sources.iter(), "foreign", Algorithm::Es256).await;
    assert_eq!(foreign.unwrap_err(), BearerError::Unavailable);
    let found = resolve(Some(&own), sources.iter(), &kid, Algorithm::Es256).await;
    assert!(matches!(found, Ok(Found::Own)));
}

#[tokio::test]
async fn a_token_that_names_our_own_key_is_judged_in_process() {
    let issuer = Server::start();
    let from = Timestamp::from_secs(NOW);
    let signer = Authority::new("example.org").signer("/chancery", from, from.plus(LONGEST));
    let kid = signer.current().unwrap().id().as_str().to_owned();
    let own = Own(kid.clone(), signer.find(&kid).unwrap());
    let World { admission, clock } = World::of(vec![config(&issuer)]);
    let world = World { admission: admission.knowing(Arc::new(own)), clock };
    let refused = world.admit(&Key::es256(&kid).token(&claims(&issuer))).await.unwrap_err();
    assert_eq!(refused, AdmissionRefusal::InvalidToken);
    assert_eq!(issuer.asked(), [""; 0]);
}
