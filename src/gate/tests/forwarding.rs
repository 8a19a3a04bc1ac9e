//! What a session's tool server is told of who calls it, and when it is told nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::domain::secret::Secret;
use crate::token::{IdentityConfig, TokenError};

const AUDIENCE: &str = "https://tools.example.org";

fn seconds(count: u64) -> Timestamp {
    START.plus(Duration::from_secs(count))
}

fn world() -> World {
    let to = IdentityConfig { audience: AUDIENCE.to_owned(), lifetime: Duration::from_secs(60) };
    let forward_identity = BTreeMap::from([(server(), to)]);
    World::with(Terms { config: Config { forward_identity, ..Config::default() }, ..Terms::default() })
}

async fn told(open: &Open) -> Arc<Secret> {
    open.session.identity_for_server().await.unwrap().unwrap()
}

fn claims(told: &Secret) -> Value {
    let payload = told.expose().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// The same secret, of which is known until when it counts.
fn until(end: Timestamp) -> Admitted {
    Admitted::by(secret(1).evidence().clone(), Some(end))
}

#[tokio::test]
async fn a_server_that_is_not_to_be_told_is_told_nothing() {
    let world = World::new();
    let open = world.http().await;
    assert!(open.session.identity_for_server().await.unwrap().is_none());
    assert!(of_kind(&world.verified().await, "identity-token").is_empty());
}

#[tokio::test]
async fn one_token_serves_all_messages_of_its_period_and_the_log_has_it() {
    let world = world();
    let open = Arc::new(world.http().await);
    let asked = (0..50).map(|_| {
        let open = Arc::clone(&open);
        tokio::spawn(async move { told(&open).await.expose().to_owned() })
    });
    let mut shown = Vec::new();
    for one in asked.collect::<Vec<_>>() {
        shown.push(one.await.unwrap());
    }
    world.clock.set(seconds(47));
    shown.push(told(&open).await.expose().to_owned());
    shown.dedup();
    assert_eq!(shown.len(), 1, "fifty at once and one later, signed once");
    world.clock.set(seconds(48));
    let renewed = told(&open).await;
    assert_ne!(renewed.expose(), shown[0], "in the last fifth it is renewed");

    let records = world.verified().await;
    let issued = of_kind(&records, "identity-token");
    assert_eq!(issued.len(), 2);
    let said = claims(&renewed);
    assert_eq!(issued[1]["token"]["jti"], said["jti"]);
    assert_eq!(issued[1]["server"], "files");
    for claim in ["iss", "sub", "sid", "aud", "iat", "nbf", "exp"] {
        assert_eq!(issued[1]["claims"][claim], said[claim], "{claim}");
    }
    assert_eq!((&said["sub"], &said["aud"]), (&json!("bootstrap:1000"), &json!(AUDIENCE)));
    assert_eq!(said["sid"], of_kind(&records, "session-open")[0]["claims"]["sid"]);
    let text = serde_json::to_string(&records).unwrap();
    assert!(!text.contains(renewed.expose().rsplit('.').next().unwrap()), "the log names it and has it not");
}

#[tokio::test]
async fn each_session_is_told_of_by_a_token_of_its_own() {
    let world = world();
    let (one, two) = (world.http().await, world.open(&process(7), Transport::Unix).await);
    let (one, two) = (claims(&*told(&one).await), claims(&*told(&two).await));
    assert_eq!((&one["sub"], &two["sub"]), (&json!("bootstrap:1000"), &json!("peer:1000:-")));
    assert_ne!(one["sid"], two["sid"]);
}

#[tokio::test]
async fn a_token_ends_with_the_evidence_of_the_last_request_and_is_not_renewed_without_it() {
    let world = world();
    let open = world.open(&until(seconds(20)), Transport::Tcp).await;
    assert_eq!(claims(&*told(&open).await)["exp"], seconds(20).as_secs());
    world.clock.set(seconds(20));
    let refused = open.session.identity_for_server().await.unwrap_err();
    assert!(matches!(refused, NoIdentity::Token(TokenError::NoTimeLeft)), "{refused}");
    // The same caller with evidence that counts longer.
    let open = Open { admitted: until(seconds(500)), ..open };
    let _ = forwarded(open.call(1, "read", "/public/a").await);
    assert_eq!(claims(&*told(&open).await)["exp"], seconds(80).as_secs());
}

#[tokio::test]
async fn someone_else_with_the_handle_lengthens_nothing() {
    let world = world();
    let open = world.open(&until(seconds(20)), Transport::Tcp).await;
    let thief = Open { admitted: secret(9), ..open };
    assert_eq!(code(thief.call(1, "read", "/public/a").await), 404);
    assert_eq!(claims(&*told(&thief).await)["exp"], seconds(20).as_secs());
}

#[tokio::test]
async fn without_a_key_to_sign_with_even_a_token_at_hand_is_not_shown() {
    let world = world();
    let open = world.http().await;
    let _ = told(&open).await;
    // The certificate lasts a day; the clock is set back before its beginning.
    world.clock.set(Timestamp::from_secs(START.as_secs() - 86_400));
    let refused = open.session.identity_for_server().await.unwrap_err();
    assert!(matches!(refused, NoIdentity::Token(TokenError::Signer(_))), "{refused}");
}

#[tokio::test]
async fn no_token_is_shown_that_the_log_could_not_take() {
    let world = world();
    let open = world.http().await;
    world.log.close().await;
    let refused = open.session.identity_for_server().await.unwrap_err();
    assert!(matches!(refused, NoIdentity::Unrecorded(_)), "{refused}");
}

#[tokio::test]
async fn after_the_end_a_session_gets_no_new_token_and_its_last_one_says_goodbye() {
    let world = world();
    let open = world.http().await;
    let last = told(&open).await;
    open.session.close(CloseReason::Revoked).await;
    world.clock.set(seconds(59));
    assert_eq!(told(&open).await.expose(), last.expose());
    world.clock.set(seconds(60));
    let refused = open.session.identity_for_server().await.unwrap_err();
    assert!(matches!(refused, NoIdentity::SessionOver), "{refused}");
    let records = world.verified().await;
    assert_eq!(records.last().unwrap()["kind"], "gateway-stop");
    assert_eq!(of_kind(&records, "identity-token").len(), 1, "nothing follows the close");
}
