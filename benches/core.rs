//! The steps of a decided call, each through the API that the gateway itself uses: scan, decide, sign, append.
//!
//! Run with `cargo bench --bench core`. Budgets stand in `docs/architecture.md`; no time is asserted here.
#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench that can't be set up ends")]

use std::sync::Arc;

use chancery::attest::predicate::SessionClose;
use chancery::attest::{self, Chain, CloseReason, Durability, GatewayInfo, Log, Predicate, Statement};
use chancery::domain::clock::Clock;
use chancery::domain::digest::Sha256Digest;
use chancery::domain::evidence::{BootstrapEvidence, Evidence};
use chancery::domain::ids::{GatewayRunId, ServerName, SessionId};
use chancery::domain::limits::Limits;
use chancery::domain::principal::Principal;
use chancery::domain::random;
use chancery::domain::recorder::Silent;
use chancery::domain::revision::Revision;
use chancery::identity::{Config, Identity, Local};
use chancery::keys::Signer as _;
use chancery::policy::{
    Action, Catalogue, Engine, PolicySources, Query, SessionFacts, State, ToolDefinition,
};
use chancery::wire::Frame;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const TOOL: &str = r#"{"name":"read_file","description":"Reads a file","inputSchema":{"type":"object",
    "properties":{"path":{"type":"string"},"head":{"type":"integer"},"tail":{"type":"integer"}},"required":["path"]}}"#;

/// Eight policies that can apply to a call.
const POLICIES: &str = r#"
    @id("read") permit (principal, action == Mcp::Action::"files/read_file", resource) when { context.input.path like "/data/*" };
    @id("no-dots") forbid (principal, action == Mcp::Action::"files/read_file", resource) when { context.input.path like "*..*" };
    @id("no-keys") forbid (principal, action == Mcp::Action::"files/read_file", resource) when { context.input.path like "*.pem" };
    @id("short") forbid (principal, action == Mcp::Action::"files/read_file", resource)
        when { context.input has head && context.input.head > 10000 };
    @id("local") forbid (principal is Mcp::Agent, action, resource) unless { principal.evidence == "bootstrap" };
    @id("calls") forbid (principal, action in Mcp::Action::"tools/call", resource) when { principal.session.calls >= 1000000 };
    @id("server") permit (principal, action in Mcp::Action::"files/*", resource) when { principal.session.transport == "stdio" };
    @id("methods") permit (principal, action == Mcp::Action::"tools/list", resource);
"#;

/// A call of about 1 KB, as agents make them.
fn message() -> Vec<u8> {
    let content = "The quick brown fox jumps over the lazy dog; \\\"quoted\\\" and naïve text.\\n".repeat(9);
    let call = format!(
        r#"{{"jsonrpc":"2.0","id":4711,"method":"tools/call","params":{{"name":"write_file","arguments":{{"path":"/data/notes/2026/todo.md","mode":"append","create":true,"offset":12345,"tags":["a","b","c"],"options":{{"encoding":"utf-8","retries":3}},"content":"{content}"}},"_meta":{{"progressToken":17,"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}}}}}}"#
    );
    call.into_bytes()
}

fn scan(c: &mut Criterion) {
    let (limits, message) = (Limits::default(), message());
    let mut group = c.benchmark_group("scan");
    group.throughput(Throughput::Bytes(message.len() as u64));
    group.bench_function("1KB", |b| {
        b.iter_batched(
            || message.clone(),
            |bytes| Frame::parse(bytes, &limits).unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn decide(c: &mut Criterion) {
    let server: ServerName = "files".parse().unwrap();
    let catalogue =
        Catalogue::of(server.clone(), vec![ToolDefinition::from_list_entry(TOOL.as_bytes()).unwrap()]);
    let (engine, _) = Engine::compile(&PolicySources::single("bench.cedar", POLICIES), &catalogue).unwrap();
    let evidence =
        Evidence::Bootstrap(BootstrapEvidence { secret_sha256: Sha256Digest::of(b"x"), file_uid: 1000 });
    let now = Clock::system().now();
    let session = engine.session_principal(&SessionFacts {
        principal: Principal::of(&evidence),
        server,
        session: SessionId::from_uuid(random::uuid_v4().unwrap()),
        evidence: evidence.kind(),
        protocol: Revision::LATEST,
        transport: "tcp",
        opened: now,
        client_name: Some("bench".to_owned()),
        client_version: None,
        uid: Some(1000),
        executable: None,
        groups: Vec::new(),
        claims: Default::default(),
    });
    let salt = random::salt().unwrap();
    let arguments = Some(&br#"{"path":"/data/notes/2026/todo.md","head":100}"#[..]);
    let state = State { session_calls: 17, ..State::default() };
    let query = Query {
        session: &session,
        action: Action::ToolCall { name: "read_file", arguments },
        now,
        state: &state,
        salt: &salt,
    };
    assert_eq!(engine.decide(&query).deny, None);
    c.bench_function("decide/8 policies", |b| b.iter(|| engine.decide(&query)));
}

fn sign(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity::open_local(
        &Local::in_dir(dir.path().join("identity")),
        Config::DEFAULT_LEAD,
        Clock::system(),
    )
    .unwrap();
    let key = identity.current().unwrap();
    let payload = attest::dsse::pae(attest::dsse::PAYLOAD_TYPE, &[b'x'; 1500]);
    c.bench_function("sign/1.5KB", |b| b.iter(|| key.sign(&payload).unwrap()));
}

fn append(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut group = c.benchmark_group("append");
    group.sample_size(50);
    for durability in [Durability::Written, Durability::Fsync] {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::open_local(
            &Local::in_dir(dir.path().join("identity")),
            Config::DEFAULT_LEAD,
            Clock::system(),
        )
        .unwrap();
        let gateway = GatewayInfo {
            spiffe_id: identity.spiffe_id().clone(),
            version: "bench".to_owned(),
            run: GatewayRunId::from_uuid(random::uuid_v4().unwrap()),
        };
        let config = attest::Config { durability, ..attest::Config::at(dir.path().join("log")) };
        let log = Log::open(config, identity, Clock::system(), Arc::new(Silent), gateway).unwrap();
        let chain = Chain::for_session(SessionId::from_uuid(random::uuid_v4().unwrap()));
        let close = || SessionClose { reason: CloseReason::Client, allowed: 1, denied: 2, standing: 3 };
        group.bench_function(durability.as_str(), |b| {
            b.iter(|| {
                let build = |link: &_| Statement::new(Predicate::SessionClose(close()), link);
                let pending = log.append(&chain, build).unwrap();
                runtime.block_on(pending).unwrap()
            });
        });
        runtime.block_on(log.close());
    }
    group.finish();
}

criterion_group!(benches, scan, decide, sign, append);
criterion_main!(benches);
