//! A tool's JSON Schema and a call's arguments, each up to the first newline: any schema has a type and a judge, and no
//! arguments get past them but as the schema says.
#![no_main]

use chancery::domain::clock::Timestamp;
use chancery::domain::digest::Salt;
use chancery::domain::evidence::{Evidence, EvidenceKind};
use chancery::domain::ids::SessionId;
use chancery::domain::principal::Principal;
use chancery::domain::revision::Revision;
use chancery::policy::{
    Action, ArgumentRules, Breaches, Catalogue, Engine, InputRule, Listed, Meaning, PolicySources, Query, SessionFacts,
    State, ToolDefinition,
};
use libfuzzer_sys::fuzz_target;

#[path = "../../src/policy/tests/fuzzed.rs"]
mod fuzzed;

fuzz_target!(|data: &[u8]| {
    let at = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (schema, arguments) = data.split_at(at);
    let facts = SessionFacts {
        principal: Principal::of(&Evidence::Anonymous),
        server: "t".parse().expect("a name"),
        session: SessionId::from_uuid(uuid::Uuid::nil()),
        evidence: EvidenceKind::Anonymous,
        protocol: Revision::R2025_11_25,
        transport: "tcp",
        opened: Timestamp::from_secs(1_767_323_000),
        client_name: None,
        client_version: None,
        uid: None,
        executable: None,
        groups: Vec::new(),
        claims: Default::default(),
    };
    let _ = fuzzed::judged(&facts, schema, arguments);
});
