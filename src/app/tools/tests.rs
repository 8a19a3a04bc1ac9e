//! What hostile servers and bad luck make of approvals.

use std::fs;

use super::*;
use crate::attest::testing::Bench;
use crate::config::{Config, Environment, Purpose};
use crate::domain::recorder::Silent;
use crate::proxy::config::{ChildConfig, ServerKind};

fn server() -> ServerName {
    "files".parse().unwrap()
}

fn tool(name: &str) -> ToolDefinition {
    let json = format!(r#"{{"name":"{name}","inputSchema":{{"type":"object"}}}}"#);
    ToolDefinition::from_list_entry(json.as_bytes()).unwrap()
}

fn page(names: &[&str]) -> Learned {
    Learned { server: server(), definitions: names.iter().map(|name| tool(name)).collect(), complete: false }
}

/// Tools that stand alone, of a server that nobody has seen.
fn tools(bench: &Bench, log: &Log) -> Arc<Tools> {
    let config = Config::defaults(Purpose::Run, &Environment::process()).unwrap();
    let sources = PolicySources::single("p.cedar", "permit (principal, action, resource);");
    let catalogue = Catalogue::default();
    let engine = Engine::compile(&sources, &catalogue).unwrap().0;
    let child = ChildConfig { command: "x".to_owned(), ..ChildConfig::default() };
    let config_of =
        ServerConfig { name: server(), kind: ServerKind::Child(child), arguments: Default::default() };
    Arc::new(Tools {
        servers: [(server(), config_of)].into(),
        engines: Arc::new(EngineStore::new(engine)),
        log: log.clone(),
        clock: bench.clock.clone(),
        recorder: Arc::new(Silent),
        shown: Shown::below(&bench.path().join("state")),
        state: Mutex::new(State::new(Inputs { sources, shadow: None, pins: config.pins, catalogue })),
        places: Arc::new(Semaphore::new(MOST_WAITING)),
    })
}

fn knows(tools: &Tools, name: &str) -> bool {
    tools.engines.current().tool(&server(), name).is_some()
}

#[tokio::test]
async fn a_server_that_never_ends_its_first_list_gets_no_tool_approved_later() {
    let bench = Bench::new();
    let log = bench.try_open(bench.config(), Bench::identity()).unwrap();
    let tools = tools(&bench, &log);
    tools.learned(page(&["read"])).await;
    bench.clock.set(bench.clock.now().plus(Duration::from_secs(30)));
    tools.learned(page(&["list"])).await;
    assert!(knows(&tools, "read") && knows(&tools, "list"), "pages of the first list");
    bench.clock.set(bench.clock.now().plus(FIRST_LIST));
    tools.learned(page(&["read", "exfiltrate"])).await;
    assert!(!knows(&tools, "exfiltrate"));
    assert!(knows(&tools, "read"));
    log.close().await;
}

#[tokio::test]
async fn what_can_not_be_kept_as_approved_is_not_in_force_and_not_approved_anew_after_a_restart() {
    let bench = Bench::new();
    let log = bench.try_open(bench.config(), Bench::identity()).unwrap();
    let tools = tools(&bench, &log);
    // Where the files would be is something else: as with a full disk, nothing can be kept.
    fs::create_dir_all(bench.path().join("state")).unwrap();
    fs::write(bench.path().join("state/tools"), "").unwrap();
    tools.learned(Learned { complete: true, ..page(&["read"]) }).await;
    assert!(!knows(&tools, "read"));
    fs::remove_file(bench.path().join("state/tools")).unwrap();
    tools.learned(Learned { complete: true, ..page(&["read"]) }).await;
    assert!(knows(&tools, "read"));
    log.close().await;
}

#[tokio::test]
async fn damaged_approvals_leave_all_tools_of_the_server_denied() {
    let bench = Bench::new();
    let log = bench.try_open(bench.config(), Bench::identity()).unwrap();
    let tools = tools(&bench, &log);
    tools.shown.save(&tools.servers[&server()], &[]).unwrap();
    fs::write(tools.shown.path(&tools.servers[&server()]), "[{").unwrap();
    tools.learned(Learned { complete: true, ..page(&["read"]) }).await;
    assert!(!knows(&tools, "read"));
    log.close().await;
}

#[tokio::test]
async fn names_without_end_fill_neither_the_policies_nor_the_memory() {
    let bench = Bench::new();
    let log = bench.try_open(bench.config(), Bench::identity()).unwrap();
    let tools = tools(&bench, &log);
    tools.learned(Learned { complete: true, ..page(&["read"]) }).await;
    for round in 0..3 {
        let names: Vec<String> = (0..3_000).map(|n| format!("t{round}-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        tools.learned(page(&names)).await;
    }
    let state = tools.state.lock().await;
    assert_eq!(state.told[&server()].len(), MOST_TOOLS);
    drop(state);
    log.close().await;
}

#[tokio::test]
async fn a_session_that_stops_waiting_for_its_tools_holds_up_nobody_elses() {
    let bench = Bench::new();
    let log = bench.try_open(bench.config(), Bench::identity()).unwrap();
    let tools = tools(&bench, &log);
    // Its client does not read, so that it is not gone on with: begun, and no more.
    let mut stuck = tools.learned(page(&["read"]));
    assert!(futures_util::poll!(&mut stuck).is_pending());
    while tools.state.try_lock().is_ok() && !knows(&tools, "read") {
        tokio::task::yield_now().await;
    }
    let other = tools.learned(page(&["list"]));
    tokio::time::timeout(Duration::from_secs(60), other).await.expect("others wait for it");
    assert!(knows(&tools, "read") && knows(&tools, "list"));
    drop(stuck);
    log.close().await;
}

#[tokio::test]
async fn lists_that_wait_to_be_weighed_are_bounded_and_what_is_left_out_is_approved_by_nobody() {
    let bench = Bench::new();
    let log = bench.try_open(bench.config(), Bench::identity()).unwrap();
    let tools = tools(&bench, &log);
    let state = tools.state.lock().await;
    let mut waiting = Vec::new();
    for _ in 0..=MOST_WAITING {
        let mut learned = tools.learned(page(&["read"]));
        let done = futures_util::poll!(&mut learned).is_ready();
        // Whoever waited for it is gone, and it still takes its place.
        waiting.push(done);
    }
    assert!(waiting.pop().unwrap(), "there was room for one more");
    assert!(!waiting.contains(&true) && !knows(&tools, "read"));
    drop(state);
    while tools.places.available_permits() < MOST_WAITING {
        tokio::task::yield_now().await;
    }
    assert!(knows(&tools, "read"));
    log.close().await;
}
