//! Keeps the policies compiled for what the tool servers show now.
//!
//! A server's live list that differs from the catalogue is taken over: the policies are compiled anew, archived in
//! the log and put in force at once, and the definitions are kept on disk. Where they don't compile for the new
//! definitions, nothing changes and the gate keeps the changed tools quarantined.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;

use super::policies::archived;
use super::shown::Shown;
use crate::attest::Log;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::ids::ServerName;
use crate::gate::{CatalogueSink, Learned};
use crate::policy::{Catalogue, Engine, EngineStore, PolicySources, ToolDefinition};
use crate::proxy::config::ServerConfig;

/// Changes of one server's definitions that are followed in [`WINDOW`]: each costs a compilation and an archived
/// schema, and a server may change as often as it likes.
const MOST_CHANGES: u32 = 60;
const WINDOW: Duration = Duration::from_secs(3600);

/// The catalogue in force, and what is needed to replace it.
#[derive(Debug)]
pub(super) struct Tools {
    servers: BTreeMap<ServerName, ServerConfig>,
    sources: PolicySources,
    engines: Arc<EngineStore>,
    log: Log,
    clock: Clock,
    shown: Shown,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    catalogue: Catalogue,
    changes: HashMap<ServerName, (Timestamp, u32)>,
}

/// What [`Tools`] is made from.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) servers: BTreeMap<ServerName, ServerConfig>,
    pub(super) sources: PolicySources,
    pub(super) catalogue: Catalogue,
    pub(super) engines: Arc<EngineStore>,
    pub(super) log: Log,
    pub(super) clock: Clock,
    pub(super) shown: Shown,
}

impl Tools {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { servers, sources, catalogue, engines, log, clock, shown } = parts;
        let state = Mutex::new(State { catalogue, changes: HashMap::new() });
        Self { servers, sources, engines, log, clock, shown, state }
    }

    async fn take_over(&self, learned: Learned) {
        let mut state = self.state.lock().await;
        let known = state.catalogue.servers.get(&learned.server).map(Vec::as_slice).unwrap_or_default();
        let next = merged(known, learned.definitions, learned.complete);
        if same(known, &next) {
            return;
        }
        if !state.may_change(&learned.server, self.clock.now()) {
            tracing::warn!(server = %learned.server, "tool definitions change too often; the changed ones stay denied");
            return;
        }
        let mut catalogue = state.catalogue.clone();
        catalogue.servers.insert(learned.server.clone(), next);
        catalogue.unanswered.remove(&learned.server);
        let (sources, candidate) = (self.sources.clone(), catalogue.clone());
        let compiled = tokio::task::spawn_blocking(move || Engine::compile(&sources, &candidate)).await;
        let engine = match compiled {
            Ok(Ok((engine, warnings))) => {
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                engine
            }
            Ok(Err(diagnostics)) => {
                for diagnostic in diagnostics {
                    tracing::error!("{diagnostic}");
                }
                tracing::error!(
                    server = %learned.server,
                    "the policies don't fit the tools as they are now; the changed tools stay denied"
                );
                return;
            }
            Err(error) => {
                tracing::error!(%error, "compiling the policies failed; the changed tools stay denied");
                return;
            }
        };
        if let Err(error) = archive(&self.log, &self.sources, &engine).await {
            tracing::error!(%error, "the policies could not be recorded; the changed tools stay denied");
            return;
        }
        self.engines.replace(engine);
        tracing::info!(server = %learned.server, "the policies were compiled for the server's tools as they are now");
        if let (Some(server), Some(tools)) =
            (self.servers.get(&learned.server), catalogue.servers.get(&learned.server))
            && let Err(error) = self.shown.save(server, tools)
        {
            tracing::warn!(%error, server = %learned.server, "the tool definitions could not be kept");
        }
        state.catalogue = catalogue;
    }
}

impl CatalogueSink for Tools {
    fn learned(&self, learned: Learned) -> BoxFuture<'_, ()> {
        Box::pin(self.take_over(learned))
    }
}

impl State {
    fn may_change(&mut self, server: &ServerName, now: Timestamp) -> bool {
        let (since, count) = self.changes.entry(server.clone()).or_insert((now, 0));
        if now.since(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count <= MOST_CHANGES
    }
}

/// Records the policy set in the log with its sources, before anything is decided by it.
///
/// # Errors
/// As the log's: the files can't be written, the record is not durable.
pub(super) async fn archive(
    log: &Log,
    sources: &PolicySources,
    engine: &Engine,
) -> Result<(), crate::attest::AppendError> {
    log.archive_policies(engine.digest(), engine.schema_digest(), &archived(sources, engine))?.await?;
    Ok(())
}

/// A whole list replaces what is known; a page of one replaces the tools that it names.
fn merged(known: &[ToolDefinition], shown: Vec<ToolDefinition>, complete: bool) -> Vec<ToolDefinition> {
    let keep = known.iter().filter(|tool| !complete && !shown.iter().any(|new| new.name == tool.name));
    let mut next: Vec<ToolDefinition> = keep.cloned().collect();
    next.extend(shown);
    next.sort_by(|a, b| a.name.cmp(&b.name));
    // Two that differ under one name both stay: the policies then know no such tool.
    next.dedup_by(|a, b| a.name == b.name && a.digest == b.digest);
    next
}

fn same(known: &[ToolDefinition], next: &[ToolDefinition]) -> bool {
    let digests = |tools: &[ToolDefinition]| {
        let mut digests: Vec<_> = tools.iter().map(|tool| (tool.name.clone(), tool.digest)).collect();
        digests.sort();
        digests
    };
    digests(known) == digests(next)
}
