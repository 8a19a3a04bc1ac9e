//! What a session's records must agree on: tokens, their end, one opening and one close.

use super::{check, first};
use crate::attest::testing::{Bench, Script, close, later};
use crate::attest::{Predicate, predicate};
use crate::audit::{Check, Report};
use crate::domain::decision::Effect;
use crate::domain::digest::Sha256Digest;

/// A log whose one session does what `play` says.
fn session(play: impl FnOnce(&Script, &crate::attest::Log)) -> Report {
    let bench = Bench::new();
    let log = bench.open();
    let script = Script::new(&bench.signer);
    play(&script, &log);
    close(&log);
    check(&bench)
}

fn decide(script: &Script, log: &crate::attest::Log, token: Option<predicate::TokenRef>) {
    log.append(&script.chain, |link| script.decision(link, Effect::Allow, token)).unwrap().wait().unwrap();
}

#[test]
fn decisions_carry_the_token_that_their_session_was_given() {
    let early = session(|script, log| decide(script, log, Some(script.token.clone())));
    assert_eq!(first(&early), (3, Check::Token));
    let none = session(|script, log| {
        script.open(log);
        decide(script, log, None);
    });
    assert_eq!(first(&none), (5, Check::Token));
    let other = session(|script, log| {
        script.open(log);
        let sha256 = Sha256Digest::of(b"stolen");
        decide(script, log, Some(predicate::TokenRef { sha256, ..script.token.clone() }));
    });
    assert_eq!(first(&other), (5, Check::Token));
    let bench = Bench::new();
    let log = bench.open();
    let script = Script::new(&bench.signer);
    script.open(&log);
    bench.clock.set(later(899));
    script.allow(&log);
    bench.clock.set(later(906));
    script.allow(&log);
    close(&log);
    assert_eq!(first(&check(&bench)), (6, Check::Token));
    let renewed = session(|script, log| {
        script.open(log);
        let token = predicate::TokenRef { sha256: Sha256Digest::of(b"2"), ..script.token.clone() };
        script.say(log, Predicate::SessionRenew(script.renewal(token.clone())));
        decide(script, log, Some(token));
        script.allow(log);
    });
    assert!(renewed.ok, "{renewed}");
}

#[test]
fn a_token_that_is_not_this_gateways_or_sessions_is_found() {
    type Spoil = fn(&mut predicate::SessionOpen);
    let cases: [(&str, Spoil); 5] = [
        ("issuer", |open| open.claims.iss = "spiffe://example.org/other".to_owned()),
        ("session", |open| open.claims.sid = "00000000-0000-4000-8000-000000000000".parse().unwrap()),
        ("times", |open| open.claims.exp = open.claims.iat),
        ("outlives its key", |open| open.claims.exp = later(3601).as_secs()),
        ("another's key", |open| {
            open.token.kid = format!("spiffe://example.org/other#{}", "x".repeat(43)).into()
        }),
    ];
    for (what, spoil) in cases {
        let report = session(|script, log| {
            let mut opening = script.opening();
            spoil(&mut opening);
            script.say(log, Predicate::SessionOpen(opening));
        });
        assert_eq!(first(&report), (3, Check::Token), "{what}");
    }
}

#[test]
fn an_identity_token_that_is_not_this_gateways_or_sessions_is_found() {
    type Spoil = fn(&mut predicate::IdentityToken);
    let cases: [(&str, Spoil); 6] = [
        ("issuer", |shown| shown.claims.iss = "spiffe://example.org/other".to_owned()),
        ("session", |shown| shown.claims.sid = "00000000-0000-4000-8000-000000000000".parse().unwrap()),
        ("audience", |shown| shown.claims.aud = String::new()),
        ("times", |shown| shown.claims.exp = shown.claims.iat),
        ("outlives its key", |shown| shown.claims.exp = later(3601).as_secs()),
        ("another's key", |shown| {
            shown.token.kid = format!("spiffe://example.org/other#{}", "x".repeat(43)).into()
        }),
    ];
    for (what, spoil) in cases {
        let report = session(|script, log| {
            script.open(log);
            let mut shown = script.introduction();
            spoil(&mut shown);
            script.say(log, Predicate::IdentityToken(shown));
        });
        assert_eq!(first(&report), (5, Check::Token), "{what}");
    }
}

#[test]
fn an_identity_token_carries_no_decision() {
    let shown = |script: &Script| {
        let token = predicate::TokenRef { sha256: Sha256Digest::of(b"shown"), ..script.token.clone() };
        predicate::IdentityToken { token, ..script.introduction() }
    };
    let good = session(|script, log| {
        script.open(log);
        script.say(log, Predicate::IdentityToken(shown(script)));
        script.allow(log);
    });
    assert!(good.ok, "{good}");
    let carried = session(|script, log| {
        script.open(log);
        let shown = shown(script);
        script.say(log, Predicate::IdentityToken(shown.clone()));
        decide(script, log, Some(shown.token));
    });
    assert_eq!(first(&carried), (6, Check::Token));
}

#[test]
fn a_session_is_opened_once_and_ends_once() {
    let twice = session(|script, log| {
        script.open(log);
        script.say(log, Predicate::SessionOpen(script.opening()));
    });
    assert_eq!(first(&twice), (5, Check::Session));
    let after = session(|script, log| {
        script.play(log, 1);
        script.allow(log);
    });
    assert_eq!(first(&after), (7, Check::Session));
}
