//! Against `jsonwebtoken` as a reference: our tokens are ordinary JWTs to it, and whatever it refuses we refuse too.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde_json::Value;

use super::{Bench, GATEWAY, now, secs};
use crate::keys::ActiveKey;
use crate::keys::testing::{Authority, LeafSpec, OneKey};
use crate::token::TYP;

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
    assert_eq!(there.header.kid.as_deref(), Some(issued.key.id().as_str()));
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
