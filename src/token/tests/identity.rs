//! Identity tokens: what they say, when they end, and that neither type of token passes as the other.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde_json::{Value, json};

use super::{Bench, GATEWAY, admitted, now, secs};
use crate::domain::clock::Timestamp;
use crate::domain::ids::SessionId;
use crate::domain::random;
use crate::token::{IdentityConfig, IssuedIdentity, OnBehalfOf, TokenError};

const AUDIENCE: &str = "https://tools.example.org";

fn config(audience: &str) -> IdentityConfig {
    IdentityConfig { audience: audience.to_owned(), lifetime: Duration::from_secs(60) }
}

fn identity(
    bench: &Bench,
    until: Option<Timestamp>,
    config: &IdentityConfig,
) -> Result<IssuedIdentity, TokenError> {
    let session = SessionId::from_uuid(random::uuid_v4().unwrap());
    let caller = admitted(None);
    bench
        .issuer()
        .issue_identity(OnBehalfOf::Caller { principal: caller.principal(), session, until }, config)
}

fn token(issued: &IssuedIdentity) -> &str {
    issued.authorization.expose().strip_prefix("Bearer ").unwrap()
}

fn part(token: &str, at: usize) -> Value {
    let part = token.split('.').nth(at).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[test]
fn an_identity_token_says_who_calls_through_whom_and_for_whom() {
    let bench = Bench::new();
    let issued = identity(&bench, None, &config(AUDIENCE)).unwrap();
    let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": bench.key.0.id().as_str() });
    assert_eq!(part(token(&issued), 0), header);
    let claims = json!({
        "iss": GATEWAY, "sub": "peer:1000:-", "aud": AUDIENCE, "client_id": GATEWAY,
        "iat": now().as_secs(), "nbf": now().as_secs(), "exp": secs(60).as_secs(),
        "jti": issued.claims.jti, "sid": issued.claims.sid, "act": { "sub": GATEWAY },
    });
    assert_eq!(part(token(&issued), 1), claims);
    let again = identity(&bench, None, &config(AUDIENCE)).unwrap();
    assert_ne!(again.claims.jti, issued.claims.jti);
}

#[test]
fn the_gateway_on_its_own_account_acts_for_nobody() {
    let bench = Bench::new();
    let issued = bench.issuer().issue_identity(OnBehalfOf::Gateway, &config(AUDIENCE)).unwrap();
    let claims = part(token(&issued), 1);
    assert_eq!(
        (&claims["sub"], &claims["act"], &claims["sid"]),
        (&json!(GATEWAY), &Value::Null, &Value::Null)
    );
}

#[test]
fn an_identity_token_ends_with_the_key_or_the_evidence_if_they_end_earlier() {
    let bench = Bench::new();
    let ends = |until, config: &IdentityConfig| identity(&bench, until, config).map(|i| i.claims.exp);
    assert_eq!(ends(Some(secs(9)), &config(AUDIENCE)), Ok(secs(9).as_secs()));
    assert_eq!(ends(Some(now()), &config(AUDIENCE)), Err(TokenError::NoTimeLeft));
    let long = IdentityConfig { lifetime: Duration::from_secs(10 * 86_400), ..config(AUDIENCE) };
    assert_eq!(ends(None, &long), Ok(secs(86_400).as_secs()));
}

#[test]
fn an_identity_token_shown_as_a_session_token_is_refused() {
    let bench = Bench::new();
    let issued = identity(&bench, None, &config(AUDIENCE)).unwrap();
    assert_eq!(bench.verifier().verify(token(&issued)).unwrap_err(), TokenError::Type);
    assert_eq!(bench.verifier().verify_handle(token(&issued)).unwrap_err(), TokenError::Type);
    // Even under the other type's header its claims are not those of a session.
    let payload = serde_json::to_string(&issued.claims).unwrap();
    let forged = bench.forge(&bench.header(), &payload);
    assert_eq!(bench.verifier().verify(&forged).unwrap_err(), TokenError::Claims);
}

#[test]
fn an_audience_of_the_gateways_own_gets_no_identity_token() {
    let mut bench = Bench::new();
    bench.config.audience = Some("https://gateway.example".to_owned());
    for own in [GATEWAY, "spiffe://example.org/chancery/mcp/files", "https://gateway.example"] {
        let refused = identity(&bench, None, &config(own)).unwrap_err();
        assert_eq!(refused, TokenError::OwnAudience(own.to_owned()));
    }
    identity(&bench, None, &config("spiffe://example.org/chancery-tools")).unwrap();
}

#[test]
fn an_ordinary_verifier_takes_an_identity_token_and_no_session_token() {
    let bench = Bench::new();
    let (x, y) = bench.key.0.public_key().coordinates();
    let key =
        DecodingKey::from_ec_components(&URL_SAFE_NO_PAD.encode(x), &URL_SAFE_NO_PAD.encode(y)).unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[GATEWAY]);
    // Our clock is held; theirs is not.
    validation.validate_exp = false;
    let issued = identity(&bench, None, &config(AUDIENCE)).unwrap();
    let there = decode::<Value>(token(&issued), &key, &validation).unwrap();
    assert_eq!(there.claims["act"]["sub"], GATEWAY);
    assert_eq!(there.header.typ.as_deref(), Some("at+jwt"));
    assert!(decode::<Value>(bench.issue().token.expose(), &key, &validation).is_err());
    let elsewhere = identity(&bench, None, &config("https://other.example.org")).unwrap();
    assert!(decode::<Value>(token(&elsewhere), &key, &validation).is_err());
}

#[test]
fn debug_output_holds_nothing_of_an_identity_token() {
    let issued = identity(&Bench::new(), None, &config(AUDIENCE)).unwrap();
    assert!(!format!("{issued:?}").contains("eyJ"));
}
