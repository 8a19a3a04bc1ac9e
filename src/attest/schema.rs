//! The JSON Schemas of all predicates, as they are checked in under `schemas/predicates/`.
//!
//! `CHANCERY_BLESS=1 cargo test --lib attest::schema` writes them anew.

use std::collections::BTreeSet;
use std::path::Path;

use schemars::{JsonSchema, Schema, schema_for};
use serde_json::{Map, Value, json};

use super::predicate::{self, IdentityToken, IdentityTokenClaims, Predicate, RefusalCount, RefusalSummary};
use super::testing::{Bench, NOW, Script, await_recovery, close, kind, later, statements};
use crate::domain::decision::Effect;
use crate::keys::SignerError;

/// What stands in every predicate.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "only its schema is used; `statement` writes the fields")]
struct Common {
    /// The session; absent on the gateway's own chain.
    session: Option<String>,
    /// The record's number in its chain, counted from 0 without gaps.
    seq: u64,
    /// SHA-256 of the payload of the chain's record before; absent in the first.
    previous: Option<String>,
    /// When the record was made, RFC 3339.
    time: String,
    /// Who keeps the log.
    gateway: Gateway,
}

/// A gateway.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "only its schema is used")]
struct Gateway {
    /// Its SPIFFE ID.
    id: String,
    /// chancery's version.
    version: String,
    /// This run of the process, a UUID.
    run: String,
}

fn all() -> Vec<(&'static str, Schema)> {
    vec![
        ("session-open", schema_for!(predicate::SessionOpen)),
        ("decision", schema_for!(predicate::Decision)),
        ("session-renew", schema_for!(predicate::SessionRenew)),
        ("identity-token", schema_for!(predicate::IdentityToken)),
        ("session-close", schema_for!(predicate::SessionClose)),
        ("gateway-start", schema_for!(predicate::GatewayStart)),
        ("gateway-stop", schema_for!(predicate::GatewayStop)),
        ("key-change", schema_for!(predicate::KeyChange)),
        ("policy-change", schema_for!(predicate::PolicyChange)),
        ("tool-change", schema_for!(predicate::ToolChange)),
        ("state-change", schema_for!(predicate::StateChange)),
        ("refusal-summary", schema_for!(predicate::RefusalSummary)),
        ("gap", schema_for!(predicate::LogGap)),
    ]
}

fn object<'a>(schema: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    schema[key].as_object_mut().unwrap()
}

/// The schema of one kind, the common fields first.
fn complete(kind: &str, own: Schema) -> Value {
    let mut own = own.to_value();
    let mut whole = schema_for!(Common).to_value();
    for (name, property) in std::mem::take(object(&mut own, "properties")) {
        let double = object(&mut whole, "properties").insert(name.clone(), property);
        assert!(double.is_none(), "`{name}` of {kind} hides a common field");
    }
    let required = own["required"].as_array().cloned().unwrap_or_default();
    whole["required"].as_array_mut().unwrap().extend(required);
    if own.get("$defs").is_some() {
        let definitions = std::mem::take(object(&mut own, "$defs"));
        object(&mut whole, "$defs").extend(definitions);
    }
    whole["description"] = own["description"].take();
    whole["title"] = json!(format!("{}{kind}{}", super::PREDICATE_PREFIX, super::PREDICATE_SUFFIX));
    whole
}

impl Script {
    /// What its tool server is told.
    pub(crate) fn introduction(&self) -> IdentityToken {
        let claims = self.claims();
        IdentityToken {
            token: self.token.clone(),
            key: self.key.clone(),
            server: "files".parse().unwrap(),
            claims: IdentityTokenClaims {
                iss: claims.iss,
                sub: claims.sub,
                sid: self.id,
                aud: "https://tools.example".to_owned(),
                iat: claims.iat,
                nbf: claims.nbf,
                exp: claims.exp,
            },
        }
    }
}

#[test]
fn the_checked_in_schemas_are_those_of_the_code() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/predicates");
    for (kind, own) in all() {
        let text = serde_json::to_string_pretty(&complete(kind, own)).unwrap() + "\n";
        let path = dir.join(format!("{kind}.schema.json"));
        if std::env::var_os("CHANCERY_BLESS").is_some() {
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(there == text, "{kind} differs; run: CHANCERY_BLESS=1 cargo test --lib attest::schema");
    }
}

#[test]
fn real_records_of_every_kind_have_the_fields_of_their_schema() {
    let bench = Bench::new();
    let log = bench.open();
    let script = Script::new(&bench.signer);
    script.open(&log);
    script.say(&log, Predicate::SessionRenew(script.renewal(script.token.clone())));
    script.say(&log, Predicate::IdentityToken(script.introduction()));
    bench.signer.hold(Err(SignerError::Crypto));
    let refused = log.append(&script.chain, |link| script.decision(link, Effect::Deny, None)).unwrap().wait();
    assert!(refused.is_err());
    bench.signer.hold(Ok(bench.authority.key("/gw", later(0), later(7200))));
    await_recovery(&log);
    script.allow(&log);
    let refusals =
        vec![RefusalCount { listener: "tcp".to_owned(), reason: "no_evidence".to_owned(), count: 9 }];
    let summary = RefusalSummary { since: NOW, until: later(60), refusals };
    log.append_gateway(Predicate::RefusalSummary(summary)).unwrap().wait().unwrap();
    let tool = predicate::ToolEntry {
        tool: "read".to_owned(),
        drift: predicate::ToolDrift::New,
        before: None,
        now: Some(super::testing::policy_set()),
    };
    let change = predicate::ToolChange::new(
        "files".to_owned(),
        "lock",
        predicate::ToolEffect::Quarantined,
        vec![tool],
    );
    log.append_gateway(Predicate::ToolChange(change)).unwrap().wait().unwrap();
    let lifted = predicate::LiftedLabel { label: "pii".into(), until: Some(later(60)) };
    let change = predicate::StateChange {
        principal: "bootstrap:1000".to_owned(),
        lifted_labels: vec![lifted],
        reset_calls: Some(10),
        reason: "a test".to_owned(),
        uid: 1000,
    };
    log.append_gateway(Predicate::StateChange(change)).unwrap().wait().unwrap();
    script.say(&log, Predicate::SessionClose(script.closing()));
    close(&log);
    let schemas: Vec<(&str, Value)> =
        all().into_iter().map(|(kind, own)| (kind, complete(kind, own))).collect();
    let mut seen = BTreeSet::new();
    for statement in statements(&bench.segment()) {
        let (name, schema) = schemas.iter().find(|(name, _)| *name == kind(&statement)).unwrap();
        seen.insert(*name);
        let fields = statement["predicate"].as_object().unwrap();
        for field in fields.keys() {
            assert!(schema["properties"].get(field).is_some(), "{name} has a field `{field}` of its own");
        }
        for required in schema["required"].as_array().unwrap() {
            assert!(fields.contains_key(required.as_str().unwrap()), "{name} lacks {required}");
        }
    }
    assert_eq!(seen.len(), all().len(), "{seen:?}");
}
