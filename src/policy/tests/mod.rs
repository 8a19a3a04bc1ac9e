//! Tests of the policy module as a whole, on the real tools of the reference servers.

mod attacks;
mod compilation;
mod corpus;
mod decisions;
mod fuzzed;
mod generate;
mod hostile;
mod inputs;
mod json;
mod labels;
mod narrowing;
mod properties;
mod reachable;
mod reuse;
mod schemas;
mod semantic;
mod shipped;
mod slices;
mod spellings;
mod visibility;

use std::sync::Arc;

use super::*;
use crate::domain::clock::Timestamp;
use crate::domain::decision::Ruling;
use crate::domain::digest::Salt;
use crate::domain::evidence::{Evidence, EvidenceKind, Executable, PeerEvidence};
use crate::domain::ids::{ServerName, SessionId};
use crate::domain::principal::Principal;
use crate::domain::revision::Revision;

/// 2026-01-02T03:04:05Z.
const NOW: Timestamp = Timestamp::from_secs(1_767_323_045);

fn tools(list: &str) -> Vec<ToolDefinition> {
    let entries: Vec<Box<serde_json::value::RawValue>> = serde_json::from_str(list).unwrap();
    entries.iter().map(|entry| ToolDefinition::from_list_entry(entry.get().as_bytes()).unwrap()).collect()
}

fn name(text: &str) -> ServerName {
    text.parse().unwrap()
}

/// The tools of the two reference servers, as `filesystem` and `everything`.
fn reference() -> Catalogue {
    let mut catalogue = Catalogue::of(
        name("filesystem"),
        tools(include_str!("../../../tests/vectors/tools/server-filesystem.json")),
    );
    catalogue.servers.insert(
        name("everything"),
        tools(include_str!("../../../tests/vectors/tools/server-everything.json")),
    );
    catalogue
}

/// One server `t` with the tool `t` of this input schema.
fn with_schema(schema: &str) -> Catalogue {
    Catalogue::of(name("t"), tools(&format!(r#"[{{"name":"t","inputSchema":{schema}}}]"#)))
}

fn engine(policies: &str, catalogue: &Catalogue) -> Engine {
    match Engine::compile(&PolicySources::single("p.cedar", policies), catalogue) {
        Ok((engine, warnings)) => {
            assert!(warnings.is_empty(), "{}", lines(&warnings));
            engine
        }
        Err(errors) => panic!("{}", lines(&errors)),
    }
}

fn lines(findings: &[PolicyDiagnostic]) -> String {
    findings.iter().map(|d| format!("{}: {d}", d.severity.as_str())).collect::<Vec<_>>().join("\n")
}

fn facts(server: &str) -> SessionFacts {
    let executable =
        Executable { path: "/usr/bin/agent".into(), sha256: crate::domain::digest::Sha256Digest::of(b"x") };
    let peer = PeerEvidence {
        uid: 1000,
        gid: 1000,
        pid: 7,
        start_time: Some(1),
        executable: Some(executable),
        parent: true,
    };
    SessionFacts {
        principal: Principal::of(&Evidence::Peer(peer)),
        server: name(server),
        session: SessionId::from_uuid(uuid::Uuid::from_u128(9)),
        evidence: EvidenceKind::Peer,
        protocol: Revision::R2025_11_25,
        transport: "stdio",
        opened: Timestamp::from_secs(1_767_323_000),
        client_name: Some("test-client".into()),
        client_version: Some("1.2.3".into()),
        uid: Some(1000),
        executable: Some("/usr/bin/agent".into()),
        groups: Vec::new(),
        claims: Default::default(),
    }
}

/// Of a session with so many calls.
fn calls(calls: u64) -> State {
    State { session_calls: calls, ..State::default() }
}

fn ask(engine: &Engine, server: &str, action: Action<'_>) -> Ruling {
    let session = engine.session_principal(&facts(server));
    let salt = Salt::from_bytes([1; 16]);
    engine.decide(&Query { session: &session, action, now: NOW, state: &calls(3), salt: &salt })
}

fn call(engine: &Engine, server: &str, tool: &str, arguments: &str) -> Ruling {
    ask(engine, server, Action::ToolCall { name: tool, arguments: Some(arguments.as_bytes()) })
}

fn method(engine: &Engine, method: &str, target: Option<&str>, from: Direction) -> Ruling {
    ask(engine, "filesystem", Action::Method { method, target, from })
}

/// `allow`, or the reason of the denial.
fn effect(ruling: &Ruling) -> &'static str {
    ruling.deny.map_or("allow", |reason| reason.as_str())
}

fn ids(ruling: &Ruling) -> Vec<Arc<str>> {
    ruling.determining.iter().map(|policy| Arc::clone(&policy.id)).collect()
}
