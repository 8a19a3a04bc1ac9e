//! The gate as a whole: real policies, a real log on disk, a real identity; the two ends are the tests themselves.

mod again;
mod bearers;
mod bindings;
mod changes;
mod decisions;
mod forwarding;
mod lift;
mod lists;
mod revocation;
mod server;
mod sessions;
mod state;
mod tokens;
mod traces;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::observe::Unobserved;
use super::*;
use crate::attest::{self, GatewayInfo, Log, PolicySource};
use crate::domain::admitted::Admitted;
use crate::domain::clock::Clock;
use crate::domain::digest::Sha256Digest;
use crate::domain::evidence::{BootstrapEvidence, Evidence, PeerEvidence};
use crate::domain::ids::GatewayRunId;
use crate::domain::ids::ServerName;
use crate::domain::limits::Limits;
use crate::domain::random;
use crate::domain::recorder::Silent;
use crate::identity::{self, Identity};
use crate::policy::{Catalogue, Engine, EngineStore, PolicySources, ToolDefinition};
use crate::token::{self, Issuer, Verifier};
use crate::wire::Frame;

/// 2026-01-02T03:04:05Z.
const START: Timestamp = Timestamp::from_secs(1_767_323_045);

/// Everything the tests need is allowed, writing is forbidden, and one tool is not named at all.
const POLICIES: &str = r#"
@id("open") permit (principal, action == Mcp::Action::"session/open", resource);
@id("lists") permit (principal, action in Mcp::Action::"list", resource);
@id("read") permit (principal, action == Mcp::Action::"files/read", resource)
  when { context.input.path like "/public/*" };
@id("no-writes") @reason("This folder is read-only.")
forbid (principal, action == Mcp::Action::"files/write", resource);
@id("roots") permit (principal, action == Mcp::Action::"roots/list", resource);
@id("roots-changed") permit (principal, action == Mcp::Action::"notifications/roots/list_changed", resource);
"#;

fn tool(name: &str, about: &str) -> String {
    format!(
        r#"{{"name":"{name}","description":"{about}","inputSchema":{{"type":"object","properties":{{"path":{{"type":"string"}}}},"required":["path"]}}}}"#
    )
}

fn tools() -> Vec<String> {
    ["read", "write", "secret"].map(|name| tool(name, "first")).into()
}

/// Compiles for whatever it is told, as the application does.
#[derive(Debug)]
struct Recompiler {
    engines: Arc<EngineStore>,
    log: Log,
}

impl CatalogueSink for Recompiler {
    fn learned(&self, learned: Learned) -> BoxFuture<'_, ()> {
        let mut catalogue = self.engines.current().catalogue().clone();
        let known = catalogue.servers.entry(learned.server).or_default();
        if learned.definitions.iter().all(|shown| known.iter().any(|old| old.digest == shown.digest)) {
            return Box::pin(std::future::ready(()));
        }
        for definition in learned.definitions {
            known.retain(|old| old.name != definition.name);
            known.push(definition);
        }
        let (engine, _) = self.engines.current().with_catalogue(&catalogue).unwrap();
        archive(&self.log, &engine);
        self.engines.replace(engine);
        Box::pin(std::future::ready(()))
    }
}

fn archive(log: &Log, engine: &Engine) {
    let mut sources: Vec<_> = engine.sources().files.iter().map(source).collect();
    sources.push(PolicySource { name: "schema.cedarschema".to_owned(), text: engine.schema_text().into() });
    drop(log.archive_policies(engine.digest(), engine.schema_digest(), &sources).unwrap());
}

fn source(file: &crate::policy::SourceFile) -> PolicySource {
    PolicySource { name: file.name.to_string(), text: file.text.clone() }
}

/// A gate with its log and its identity in a directory of its own.
struct World {
    gate: Arc<Gate>,
    engines: Arc<EngineStore>,
    log: Log,
    clock: Clock,
    identity: Arc<Identity>,
    dir: TempDir,
    /// What the tool server lists to the gateway.
    tools: Vec<String>,
}

/// What a world is made of.
struct Terms {
    policies: &'static str,
    tools: Vec<String>,
    limits: Limits,
    config: Config,
    fixed_catalogue: bool,
    observer: Arc<dyn observe::Observer>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            policies: POLICIES,
            tools: tools(),
            limits: Limits::default(),
            config: Config::default(),
            fixed_catalogue: false,
            observer: Arc::new(Unobserved),
        }
    }
}

impl World {
    fn new() -> Self {
        Self::with(Terms::default())
    }

    fn with(terms: Terms) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::fixed(START);
        let local = identity::Local::in_dir(dir.path().join("identity"));
        let identity = Identity::open_local(&local, identity::Config::DEFAULT_LEAD, clock.clone()).unwrap();
        let run = GatewayRunId::from_uuid(random::uuid_v4().unwrap());
        let info = GatewayInfo { spiffe_id: identity.spiffe_id().clone(), version: "test".to_owned(), run };
        let config = attest::Config {
            durability: attest::Durability::Written,
            ..attest::Config::at(dir.path().join("log"))
        };
        let log = Log::open(config, identity.clone(), clock.clone(), Arc::new(Silent), info).unwrap();
        let engine = compile(terms.policies, &terms.tools);
        archive(&log, &engine);
        let engines = Arc::new(EngineStore::new(engine));
        let tokens = token::Config::default();
        let recompiler = Recompiler { engines: engines.clone(), log: log.clone() };
        let ledger = Ledger::open(&log, terms.limits.counters, clock.now()).unwrap();
        let parts = Parts {
            engines: engines.clone(),
            log: log.clone(),
            issuer: Issuer::new(identity.clone(), clock.clone(), tokens.clone()),
            verifier: Verifier::new(identity.clone(), identity.spiffe_id().clone(), &tokens, clock.clone()),
            clock: clock.clone(),
            recorder: Arc::new(Silent),
            observer: terms.observer,
            catalogue: if terms.fixed_catalogue { Arc::new(FixedCatalogue) } else { Arc::new(recompiler) },
            limits: terms.limits,
            config: terms.config,
        };
        let gate = Gate::new(parts, ledger);
        Self { gate, engines, log, clock, identity, dir, tools: terms.tools }
    }

    /// Puts other policies in force.
    fn replace_policies(&self, policies: &str) {
        let engine = compile(policies, &tools());
        archive(&self.log, &engine);
        self.engines.replace(engine);
    }

    /// Opens a session and answers its handshake and the gateway's own `tools/list`.
    async fn open(&self, admitted: &Admitted, transport: Transport) -> Open {
        let open = self.unlisted(admitted, transport).await;
        open.list_own(&self.tools).await;
        open
    }

    /// Opens a session and answers its handshake; returns what the client and the server are to see.
    async fn unlisted(&self, admitted: &Admitted, transport: Transport) -> Open {
        let route = Route::new(server(), transport);
        let opened = self.gate.open(admitted, &route, initialize(), &Arrival::default()).await;
        let (session, permit) = opened.map_err(|refused| refused.reply).unwrap();
        let sent = permit.redeem().unwrap();
        let answer = session.from_server(initialized_answer("2025-11-25")).await;
        let answer = delivered(answer).bytes;
        let admitted = admitted.clone();
        let verdict = session.from_client(&admitted, frame(INITIALIZED), &Arrival::default()).await;
        let _ = forwarded(verdict);
        Open { session, admitted, sent: sent.bytes, answer }
    }

    async fn http(&self) -> Open {
        self.open(&secret(1), Transport::Tcp).await
    }

    /// Closes everything and has the log verified by the real verifier; returns the records' predicates.
    async fn verified(&self) -> Vec<Value> {
        self.gate.close_all(CloseReason::Shutdown).await;
        self.log.close().await;
        let log = self.dir.path().join("log");
        let report =
            crate::audit::verify(&log, &self.identity.bundle(), self.identity.spiffe_id(), &mut ()).unwrap();
        assert!(report.ok, "{:#?}", report.findings);
        self.records()
    }

    fn records(&self) -> Vec<Value> {
        let mut files: Vec<_> = std::fs::read_dir(self.dir.path().join("log/records"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        let text: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
        let statement = |line: &str| -> Value {
            let envelope = attest::dsse::read(line.as_bytes()).unwrap();
            let mut statement: Value = serde_json::from_slice(&envelope.payload).unwrap();
            let kind = statement["predicateType"].as_str().unwrap().to_owned();
            let kind =
                kind.trim_start_matches("urn:chancery:attestation:").trim_end_matches(":v1").to_owned();
            statement["predicate"]["kind"] = kind.into();
            statement["predicate"].take()
        };
        text.lines().map(statement).collect()
    }

    fn log_text(&self) -> String {
        self.records().iter().map(Value::to_string).collect::<Vec<_>>().join("\n")
    }
}

fn compile(policies: &str, tools: &[String]) -> Engine {
    let definitions =
        tools.iter().map(|raw| ToolDefinition::from_list_entry(raw.as_bytes()).unwrap()).collect();
    let compiled =
        Engine::compile(&PolicySources::single("p.cedar", policies), &Catalogue::of(server(), definitions));
    compiled.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap().0
}

/// An open session and what its two ends saw of the handshake.
struct Open {
    session: Arc<Session>,
    admitted: Admitted,
    sent: Bytes,
    answer: Bytes,
}

impl Open {
    async fn client(&self, message: &Value) -> Verdict {
        self.session.from_client(&self.admitted, frame(message.to_string()), &Arrival::default()).await
    }

    async fn server(&self, message: &Value) -> ServerVerdict {
        self.session.from_server(frame(message.to_string())).await
    }

    /// Answers the gateway's own `tools/list`, which is on its way or due.
    async fn list_own(&self, tools: &[String]) {
        let own = json_of(&self.session.own_request().unwrap().redeem().unwrap().bytes);
        let (id, tools) = (&own["id"], tools.join(","));
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":[{tools}]}}}}"#);
        assert_eq!(ignored(self.session.from_server(frame(answer)).await), DropReason::Consumed);
    }

    /// The server says that its tools are others.
    async fn tools_changed(&self) {
        let changed = json!({"jsonrpc":"2.0","method":"notifications/tools/list_changed"});
        let _told = delivered(self.server(&changed).await);
    }

    async fn call(&self, id: i64, tool: &str, path: &str) -> Verdict {
        self.client(&call(id, tool, path)).await
    }
}

const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

fn server() -> ServerName {
    "files".parse().unwrap()
}

fn frame(text: impl Into<Vec<u8>>) -> Frame {
    Frame::parse(text.into(), &Limits::default()).unwrap()
}

fn initialize() -> Frame {
    frame(
        r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"roots":{}},"clientInfo":{"name":"tester","version":"1"}}}"#,
    )
}

fn initialized_answer(revision: &str) -> Frame {
    frame(format!(
        r#"{{"jsonrpc":"2.0","id":0,"result":{{"protocolVersion":"{revision}","capabilities":{{"tools":{{"listChanged":true}}}},"serverInfo":{{"name":"s","version":"1"}}}}}}"#
    ))
}

fn call(id: i64, tool: &str, path: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": {"path": path}}})
}

fn request(id: impl Into<Value>, method: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "method": method, "params": {}})
}

fn result(id: impl Into<Value>) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "result": {"content": []}})
}

/// A caller with a bootstrap secret.
fn secret(of: u8) -> Admitted {
    let secret_sha256 = Sha256Digest::of(&[of]);
    Admitted::by(Evidence::Bootstrap(BootstrapEvidence { secret_sha256, file_uid: 1000 }), None)
}

/// A local process.
fn process(pid: u32) -> Admitted {
    let peer =
        PeerEvidence { uid: 1000, gid: 1000, pid, start_time: Some(5), executable: None, parent: false };
    Admitted::by(Evidence::Peer(peer), None)
}

fn forwarded(verdict: Verdict) -> Outgoing {
    match verdict {
        Verdict::Forward(permit) => permit.redeem().unwrap(),
        Verdict::Reply(reply) => panic!("replied {}", String::from_utf8_lossy(&reply)),
        Verdict::Drop(reason) => panic!("dropped: {}", reason.as_str()),
    }
}

fn replied(verdict: Verdict) -> Value {
    match verdict {
        Verdict::Reply(reply) => serde_json::from_slice(&reply).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn code(verdict: Verdict) -> i64 {
    replied(verdict)["error"]["code"].as_i64().unwrap()
}

fn delivered(verdict: ServerVerdict) -> Outgoing {
    match verdict {
        ServerVerdict::Deliver(permit) => permit.redeem().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn dropped(verdict: Verdict) -> DropReason {
    match verdict {
        Verdict::Drop(reason) => reason,
        other => panic!("{other:?}"),
    }
}

fn ignored(verdict: ServerVerdict) -> DropReason {
    match verdict {
        ServerVerdict::Drop(reason) => reason,
        other => panic!("{other:?}"),
    }
}

fn json_of(bytes: &Bytes) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn of_kind<'a>(records: &'a [Value], kind: &str) -> Vec<&'a Value> {
    records.iter().filter(|record| record["kind"] == kind).collect()
}
