//! What a decision costs as the policies grow of which few can apply, beside Cedar's own `is_authorized` over all of
//! them in the same run; what it costs to filter a list of 100 tools; and how long the policies take to compile.
//!
//! Run with `cargo bench --bench policy`. It prints medians and ratios and asserts no time; what was measured stands
//! in `docs/architecture.md`. That both sides decide alike is asserted. Where `valgrind` is installed it also counts
//! instructions, which other work on the machine does not change.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that can't be set up ends")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use cedar_policy::{Authorizer, Context, Decision, Entities, Entity, PolicySet, Request};
use cedar_policy::{EntityUid, RestrictedExpression as Expr};
use chancery::domain::clock::{Clock, Timestamp};
use chancery::domain::decision::Ruling;
use chancery::domain::digest::{Salt, Sha256Digest};
use chancery::domain::evidence::{BootstrapEvidence, Evidence};
use chancery::domain::ids::{ServerName, SessionId};
use chancery::domain::principal::Principal;
use chancery::domain::revision::Revision;
use chancery::policy::{
    Action, Catalogue, Engine, Listed, PolicySources, Query, SessionEntities, SessionFacts, State,
    ToolDefinition,
};

/// Policies that can apply to the call, by action, by group, by type, by server, by nothing at all.
const APPLYING: [&str; 10] = [
    r#"permit (principal, action == Mcp::Action::"files/read_file", resource) when { context.input.path like "/data/*" };"#,
    r#"forbid (principal, action == Mcp::Action::"files/read_file", resource) when { context.input.path like "*..*" };"#,
    r#"forbid (principal, action in [Mcp::Action::"files/read_file", Mcp::Action::"files/t1"], resource) when { context.input.path like "*.pem" };"#,
    r#"forbid (principal, action == Mcp::Action::"files/read_file", resource) when { context.input has head && context.input.head > 10000 };"#,
    r#"forbid (principal is Mcp::Agent, action, resource) unless { principal.evidence == "bootstrap" };"#,
    r#"forbid (principal, action in Mcp::Action::"tools/call", resource) when { principal.session.calls >= 1000000 };"#,
    r#"permit (principal in Mcp::Group::"uid:1000", action in Mcp::Action::"files/*", resource) when { principal.session.transport == "stdio" };"#,
    r#"permit (principal, action in Mcp::Action::"tools/call", resource in Mcp::Server::"files") when { resource.name == "t1" };"#,
    r#"forbid (principal, action in Mcp::Action::"tools/call", resource is Mcp::Tool) when { resource.pinned };"#,
    r#"forbid (principal, action, resource) when { context.time < datetime("2020-01-01") };"#,
];

const ARGUMENTS: &[u8] = br#"{"path":"/data/notes/2026/todo.md","head":100}"#;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Passed to this program's own runs under `valgrind`: what to do and how often.
const COUNTED: &str = "--counted";

/// How often each is done there: enough for what only the first times cost not to count.
const ROUNDS: u64 = 2_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, what, rounds] = arguments.as_slice()
        && mode == COUNTED
    {
        return counted(what, rounds.parse().unwrap());
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        // `cargo test` and `cargo clippy` only compile this.
        return;
    }
    println!(
        "{:>9} | {:>12} | {:>12} {:>8} | {:>9} {:>7}",
        "policies", "compiled in", "decide", "of 10", "Cedar, all", "ratio"
    );
    let mut first = None;
    for count in [10, 100, 1_000, 10_000] {
        let (setting, compiled) = Setting::new(count);
        let Setting { engine, session, state, now, .. } = &setting;
        assert_eq!(setting.decide().deny, None);
        let decide = median(|| setting.decide());
        let whole = Whole::new(&policies(count), *now);
        assert_eq!(whole.decide(), Decision::Allow);
        let cedar = median(|| whole.decide());
        let base = *first.get_or_insert(decide);
        println!(
            "{count:>9} | {compiled:>12.1?} | {decide:>12.2?} {:>7.2}× | {cedar:>10.2?} {:>6.1}×",
            ratio(decide, base),
            ratio(cedar, decide)
        );
        if count == 10 || count == 10_000 {
            lists(engine, session, *now, state);
        }
    }
    let (setting, _) = Setting::new(10);
    let opened = median(|| setting.engine.session_principal(setting.session.facts()));
    println!("what a session keeps for its decisions: {opened:.2?}, once");
    for what in ["decide", "hidden", "shown"] {
        match (instructions(what, 1), instructions(what, ROUNDS + 1)) {
            (Some(none), Some(all)) => {
                println!("instructions, {what}: {}", all.saturating_sub(none) / ROUNDS)
            }
            _ => println!("instructions, {what}: not counted, there is no valgrind"),
        }
    }
}

/// An engine with a session, and what a call of it is decided by.
struct Setting {
    engine: Engine,
    session: SessionEntities,
    state: State,
    salt: Salt,
    now: Timestamp,
}

impl Setting {
    /// With so many policies; and how long they took to compile.
    fn new(count: usize) -> (Self, Duration) {
        let now = Clock::system().now();
        let (sources, catalogue) = (PolicySources::single("bench.cedar", &policies(count)), catalogue());
        let (since, worked) = (Instant::now(), on_processor());
        let (engine, _) = Engine::compile(&sources, &catalogue).unwrap();
        let compiled = on_processor().zip(worked).map_or(since.elapsed(), |(now, before)| now - before);
        let session = engine.session_principal(&facts(now));
        let state = State { session_calls: 17, ..State::default() };
        (Self { engine, session, state, salt: Salt::from_bytes([7; 16]), now }, compiled)
    }

    fn decide(&self) -> Ruling {
        let Self { session, state, salt, now, .. } = self;
        let action = Action::ToolCall { name: "read_file", arguments: Some(ARGUMENTS) };
        self.engine.decide(black_box(&Query { session, action, now: *now, state, salt }))
    }

    fn shows(&self, tool: &str) -> bool {
        self.engine.could_be_permitted(&self.session, Listed::Tool(tool), self.now, &self.state)
    }
}

/// How long this thread had a processor, where the system tells: a compilation takes long enough for others to get in
/// between.
fn on_processor() -> Option<Duration> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(told.split_whitespace().next()?.parse().ok()?))
}

/// What runs under `valgrind`: `what`, so many times.
fn counted(what: &str, rounds: u64) {
    let (setting, _) = Setting::new(10);
    for _ in 0..rounds {
        match what {
            "decide" => drop(black_box(setting.decide())),
            "hidden" => assert!(!black_box(setting.shows("t2"))),
            _ => assert!(black_box(setting.shows("t1"))),
        }
    }
}

/// The instructions of a whole run that does `what` so many times.
fn instructions(what: &str, rounds: u64) -> Option<u64> {
    let own = std::env::current_exe().unwrap();
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(own);
    let output = valgrind.args([COUNTED, what, &rounds.to_string()]).output().ok()?;
    let told = String::from_utf8(output.stderr).unwrap();
    told.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
}

/// Filters a list of 100 tools; of 10,000 policies some fifty name each.
fn lists(engine: &Engine, session: &SessionEntities, now: Timestamp, state: &State) {
    let names: Vec<String> = (0..100).map(|n| format!("t{n}")).collect();
    let shown = || {
        names.iter().filter(|name| engine.could_be_permitted(session, Listed::Tool(name), now, state)).count()
    };
    let (count, took) = (shown(), median(shown));
    println!("{:>9} | a list of 100 tools, {count} shown: {took:.1?}, {:.1?} a tool", "", took / 100);
}

/// The median of 101 batches, after a fifth of a second to get warm.
fn median<T>(mut run: impl FnMut() -> T) -> Duration {
    let warm = Instant::now();
    let mut rounds = 0_u32;
    while warm.elapsed() < Duration::from_millis(200) || rounds < 3 {
        black_box(run());
        rounds += 1;
    }
    let batch = (rounds / 50).max(1);
    let mut taken: Vec<Duration> = (0..101)
        .map(|_| {
            let since = Instant::now();
            (0..batch).for_each(|_| {
                black_box(run());
            });
            since.elapsed() / batch
        })
        .collect();
    taken.sort_unstable();
    taken.get(50).copied().unwrap()
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

/// The ten that can apply, and `count - 10` that can't, in every way in which a scope can leave a request out.
fn policies(count: usize) -> String {
    let mut text = APPLYING.join("\n");
    for n in 0..count - APPLYING.len() {
        let tool = n % 100;
        let other = match n % 6 {
            0 => format!(
                r#"permit (principal, action == Mcp::Action::"files/t{tool}", resource) when {{ context.input.path like "/{n}/*" }};"#
            ),
            1 => format!(
                r#"permit (principal in Mcp::Group::"team-{n}", action == Mcp::Action::"files/read_file", resource);"#
            ),
            2 => format!(
                r#"permit (principal == Mcp::Agent::"peer:{n}:-", action, resource) when {{ context.time > datetime("2026-01-01") }};"#
            ),
            3 => format!(
                r#"forbid (principal, action in Mcp::Action::"tools/call", resource == Mcp::Tool::"files/t{tool}") when {{ principal.session.calls > {n} }};"#
            ),
            4 => format!(
                r#"forbid (principal, action in [Mcp::Action::"files/t{tool}", Mcp::Action::"prompts/get"], resource) when {{ principal.session.age > {n} }};"#
            ),
            _ => format!(
                r#"forbid (principal is Mcp::Server, action == Mcp::Action::"sampling/createMessage", resource in Mcp::Group::"team-{n}");"#
            ),
        };
        writeln!(text, "{other}").unwrap();
    }
    text
}

fn catalogue() -> Catalogue {
    let names = (0..100).map(|n| format!("t{n}")).chain(["read_file".to_owned()]);
    let definitions = names.map(|name| {
        let entry = format!(
            r#"{{"name":"{name}","inputSchema":{{"type":"object","properties":{{"path":{{"type":"string"}},
               "head":{{"type":"integer"}},"tail":{{"type":"integer"}}}},"required":["path"]}}}}"#
        );
        ToolDefinition::from_list_entry(entry.as_bytes()).unwrap()
    });
    Catalogue::of(server(), definitions.collect())
}

fn server() -> ServerName {
    "files".parse().unwrap()
}

fn facts(now: Timestamp) -> SessionFacts {
    let evidence =
        Evidence::Bootstrap(BootstrapEvidence { secret_sha256: Sha256Digest::of(b"x"), file_uid: 1000 });
    SessionFacts {
        principal: Principal::of(&evidence),
        server: server(),
        session: SessionId::from_uuid(uuid::Uuid::from_u128(7)),
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
    }
}

/// The same request to Cedar itself, prepared as well as can be: only the evaluation is measured.
struct Whole {
    policies: PolicySet,
    entities: Entities,
    request: Request,
}

impl Whole {
    fn new(policies: &str, now: Timestamp) -> Self {
        let uid = |text: &str| -> EntityUid { text.parse().unwrap() };
        let text = |text: &str| Expr::new_string(text.to_owned());
        let record = |pairs: Vec<(&str, Expr)>| {
            Expr::new_record(pairs.into_iter().map(|(key, value)| (key.to_owned(), value))).unwrap()
        };
        let agent = uid(r#"Mcp::Agent::"bootstrap:1000""#);
        let (action, tool) =
            (uid(r#"Mcp::Action::"files/read_file""#), uid(r#"Mcp::Tool::"files/read_file""#));
        let files = uid(r#"Mcp::Server::"files""#);
        let session = record(vec![
            ("calls", Expr::new_long(17)),
            ("age", Expr::new_long(0)),
            ("transport", text("tcp")),
        ]);
        let attributes = [("evidence".to_owned(), text("bootstrap")), ("session".to_owned(), session)];
        let groups = [uid(r#"Mcp::Group::"uid:1000""#), uid(r#"Mcp::Group::"bootstrap""#)];
        let own = [("name".to_owned(), text("read_file")), ("pinned".to_owned(), Expr::new_bool(false))];
        let actions = [uid(r#"Mcp::Action::"files/*""#), uid(r#"Mcp::Action::"tools/call""#)];
        let entities = [
            Entity::new(agent.clone(), attributes.into(), groups.into()).unwrap(),
            Entity::new(tool.clone(), own.into(), [files.clone()].into()).unwrap(),
            Entity::new_no_attrs(action.clone(), actions.into()),
            Entity::new_no_attrs(files, [].into()),
        ];
        let input = record(vec![("path", text("/data/notes/2026/todo.md")), ("head", Expr::new_long(100))]);
        let context = Context::from_pairs([
            ("input".to_owned(), input),
            ("time".to_owned(), Expr::new_datetime(now.to_rfc3339())),
            ("source".to_owned(), text("tcp")),
        ]);
        Self {
            policies: policies.parse().unwrap(),
            entities: Entities::from_entities(entities, None).unwrap(),
            request: Request::new(agent, action, tool, context.unwrap(), None).unwrap(),
        }
    }

    fn decide(&self) -> Decision {
        Authorizer::new().is_authorized(&self.request, &self.policies, &self.entities).decision()
    }
}
