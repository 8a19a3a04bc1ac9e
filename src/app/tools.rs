//! Keeps in force what was approved: the policies, and the tool definitions that they are compiled for.
//!
//! There is one way for either to change, and one change at a time: compile, record in the log, put in force. What a
//! server shows is held against what was approved for it, as `pin` says: taken over, or quarantined and recorded. What an
//! operator changes on disk comes in by [`Tools::adopt`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, Semaphore};

use super::compiled::{self, Inputs, Made};
use super::drift::{Drifted, drift};
use super::held::{merged, tell};
use super::shown::Shown;
use crate::attest::predicate::{PolicyCause, PolicySummary, ToolChange, ToolDrift, ToolEffect};
use crate::attest::{AppendError, Log, Predicate};
use crate::config::Pins;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::ServerName;
use crate::domain::recorder::SharedRecorder;
use crate::gate::{CatalogueSink, Learned};
use crate::policy::{
    ArgumentRules, Catalogue, Engine, EngineStore, Lookalike, Pin, PolicyDiagnostic, PolicySources,
    ToolDefinition,
};
use crate::proxy::config::ServerConfig;

/// Changes of one server's definitions that are followed, or recorded, in [`WINDOW`]: a server may change as often as
/// it likes.
const MOST_CHANGES: u32 = 60;
const WINDOW: Duration = Duration::from_secs(3600);
/// How long after a server was first seen its first list may take: what it shows later is no part of that.
const FIRST_LIST: Duration = Duration::from_secs(300);
/// Tools of one server that are taken over, and those that are kept in mind as held back.
const MOST_TOOLS: usize = 4096;
/// Lists of tools that wait at once, of all sessions.
pub(super) const MOST_WAITING: usize = 256;

/// What is in force, and what is needed to replace it.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) servers: BTreeMap<ServerName, ServerConfig>,
    pub(super) engines: Arc<EngineStore>,
    pub(super) log: Log,
    pub(super) clock: Clock,
    pub(super) recorder: SharedRecorder,
    pub(super) shown: Shown,
    pub(super) state: Mutex<State>,
    /// For what servers show and is not weighed yet.
    pub(super) places: Arc<Semaphore>,
}

/// What changes.
#[derive(Debug)]
pub(super) struct State {
    inputs: Inputs,
    /// Servers whose first list was not seen to its end yet, and since when it is waited for.
    open: BTreeMap<ServerName, Timestamp>,
    /// The digests of tools that differ from what is approved, as they were recorded.
    told: HashMap<ServerName, BTreeMap<String, Option<Sha256Digest>>>,
    changes: HashMap<ServerName, (Timestamp, u32)>,
    alike: BTreeSet<Lookalike>,
}

impl State {
    /// Begins with these.
    pub(super) fn new(inputs: Inputs) -> Self {
        let alike = inputs.catalogue.lookalikes().into_iter().collect();
        Self { inputs, open: BTreeMap::new(), told: HashMap::new(), changes: HashMap::new(), alike }
    }

    fn may_change(&mut self, server: &ServerName, now: Timestamp) -> bool {
        let (since, count) = self.changes.entry(server.clone()).or_insert((now, 0));
        if now.since(*since) >= WINDOW || *since > now {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count <= MOST_CHANGES
    }

    /// Warns of tools that look like others, once for each pair.
    fn tell_lookalikes(&mut self, catalogue: &Catalogue) {
        let found: BTreeSet<Lookalike> = catalogue.lookalikes().into_iter().collect();
        for pair in found.difference(&self.alike) {
            tracing::warn!("{pair}");
        }
        self.alike = found;
    }
}

/// What was read anew.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) sources: PolicySources,
    pub(super) shadow: Option<PolicySources>,
    pub(super) pins: Pins,
    /// What is said of each server's tools' arguments.
    pub(super) rules: BTreeMap<ServerName, ArgumentRules>,
    /// What is approved on disk for each server, where there is something.
    pub(super) approved: BTreeMap<ServerName, Vec<ToolDefinition>>,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Adopted {
    /// It is what is in force.
    Unchanged,
    /// It is in force now.
    Applied {
        policy_set: Sha256Digest,
        summary: PolicySummary,
        /// Whether the candidate set is wrong.
        shadow_refused: bool,
        /// The enforced forbids that are gone.
        lifted: Vec<Arc<str>>,
    },
}

/// Why nothing changed.
#[derive(Debug)]
pub(super) enum Rejected {
    /// The policies are wrong.
    Policies(Vec<PolicyDiagnostic>),
    /// The change could not be recorded.
    Unrecorded(AppendError),
    /// The compilation ended abnormally.
    Failed,
}

/// The definitions that count, of what is approved on disk and what is in force.
pub(super) fn catalogue<'a>(
    servers: impl Iterator<Item = &'a ServerName>,
    pins: &Pins,
    approved: &BTreeMap<ServerName, Vec<ToolDefinition>>,
    current: &Catalogue,
) -> Catalogue {
    let (unanswered, rules) = (current.unanswered.clone(), current.rules.clone());
    let mut next = Catalogue { unanswered, rules, ..Catalogue::default() };
    for server in servers {
        let (on_disk, now) = (approved.get(server), current.servers.get(server));
        let pin = pins.of(server);
        let tools = match pin {
            Pin::Off => now.or(on_disk).cloned(),
            Pin::FirstUse => on_disk.or(now).cloned(),
            // Nothing else is approved, so nothing is.
            Pin::Lock => Some(on_disk.cloned().unwrap_or_default()),
        };
        if let Some(tools) = tools {
            next.unanswered.remove(server);
            next.servers.insert(server.clone(), tools);
        }
        if pin.holds() {
            next.pinned.insert(server.clone());
        }
    }
    next
}

impl Tools {
    /// Takes over what an operator changed on disk: all of it or, where something is wrong, nothing.
    pub(super) async fn adopt(&self, reading: Reading) -> Result<Adopted, Rejected> {
        let mut state = self.state.lock().await;
        let Reading { sources, shadow, pins, rules, approved } = reading;
        let mut catalogue = catalogue(self.servers.keys(), &pins, &approved, &state.inputs.catalogue);
        catalogue.rules = rules;
        let next = Inputs { sources, shadow, pins, catalogue };
        if next == state.inputs {
            return Ok(Adopted::Unchanged);
        }
        let before = self.engines.current();
        let (inputs, current) = (next.clone(), Arc::clone(&before));
        let made = tokio::task::spawn_blocking(move || compiled::make(&inputs, Some(&current))).await;
        let Ok(made) = made else { return Err(Rejected::Failed) };
        let made = made.map_err(Rejected::Policies)?;
        made.tell();
        let Made { engine, shadow_refused, .. } = made;
        for (server, tools) in &next.catalogue.servers {
            let known = state.inputs.catalogue.servers.get(server).map(Vec::as_slice).unwrap_or_default();
            let drifted = drift(known, tools, true);
            let pin = next.pins.of(server);
            if drifted.is_empty() || !pin.holds() {
                continue;
            }
            tracing::info!(%server, tools = drifted.len(), "definitions were approved");
            let approved = self.record(server, pin, ToolEffect::Approved, &drifted).await;
            approved.map_err(Rejected::Unrecorded)?;
            let told = state.told.entry(server.clone()).or_default();
            told.retain(|tool, shown| {
                tools.iter().find(|approved| approved.name == *tool).map(|approved| approved.digest) != *shown
            });
            self.recorder.quarantined(server.as_str(), told.len());
        }
        // Last of all: from here on it is what the log says decides.
        let announced = compiled::announce(&self.log, PolicyCause::Reload, Some(&before), &engine).await;
        announced.map_err(Rejected::Unrecorded)?;
        let summary = compiled::summary(&engine, Some(&before));
        let (policy_set, lifted) = (engine.digest(), engine.lifted_since(&before));
        self.engines.replace(engine);
        state.tell_lookalikes(&next.catalogue);
        state.inputs = next;
        Ok(Adopted::Applied { policy_set, summary, shadow_refused: shadow_refused.is_some(), lifted })
    }

    /// Weighs what a server shows.
    async fn weigh(&self, learned: Learned) {
        let mut state = self.state.lock().await;
        let Learned { server, definitions, complete } = learned;
        let pin = state.inputs.pins.of(&server);
        let mut known = state.inputs.catalogue.servers.get(&server).cloned();
        if known.is_none() && pin == Pin::FirstUse {
            // Another gateway may have seen it first.
            let kept = self.servers.get(&server).map_or(Ok(None), |server| self.shown.load(server));
            known = kept.unwrap_or_else(|error| {
                tracing::error!(%error, %server, "nothing of the server is approved");
                Some(Vec::new())
            });
        }
        let now = self.clock.now();
        // A clock that went back ends it too.
        state.open.retain(|_, since| *since <= now && now.since(*since) < FIRST_LIST);
        match (pin, known) {
            (Pin::Off, known) => {
                let next = merged(&known.unwrap_or_default(), definitions, complete);
                self.follow(&mut state, &server, next, ToolEffect::Followed).await;
            }
            (Pin::FirstUse, None) => {
                if !complete {
                    state.open.insert(server.clone(), now);
                }
                self.follow(&mut state, &server, merged(&[], definitions, true), ToolEffect::Approved).await;
            }
            (Pin::FirstUse, Some(known)) if state.open.contains_key(&server) => {
                let new = definitions.iter().filter(|tool| known.iter().all(|known| known.name != tool.name));
                let next = merged(&known, new.cloned().collect(), false);
                self.follow(&mut state, &server, next, ToolEffect::Approved).await;
                if complete {
                    state.open.remove(&server);
                }
                self.hold(&mut state, &server, drift(&known, &definitions, false), false).await;
            }
            (_, known) => {
                let drifted = drift(&known.unwrap_or_default(), &definitions, complete);
                self.hold(&mut state, &server, drifted, complete).await;
            }
        }
    }

    /// Takes a server's definitions over, but for those that would make the policies invalid.
    async fn follow(
        &self,
        state: &mut State,
        server: &ServerName,
        next: Vec<ToolDefinition>,
        effect: ToolEffect,
    ) {
        let known = state.inputs.catalogue.servers.get(server);
        let drifted = drift(known.map(Vec::as_slice).unwrap_or_default(), &next, true);
        // Whoever was shown first is to be known, even without any tool.
        let same = known.is_some() && drifted.is_empty();
        if same {
            return;
        }
        if !state.may_change(server, self.clock.now()) {
            tracing::warn!(%server, "tool definitions change too often; the changed ones stay denied");
            return;
        }
        if next.len() > MOST_TOOLS {
            tracing::warn!(%server, "more than {MOST_TOOLS} tools; those that are new stay denied");
            return;
        }
        let mut catalogue = state.inputs.catalogue.clone();
        catalogue.servers.insert(server.clone(), next);
        catalogue.unanswered.remove(server);
        let before = self.engines.current();
        let (current, candidate) = (Arc::clone(&before), catalogue.clone());
        let compiled = tokio::task::spawn_blocking(move || current.with_catalogue(&candidate)).await;
        let engine = match compiled {
            Ok(Ok((engine, warnings))) => {
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                engine
            }
            Ok(Err(findings)) => {
                tracing::error!(
                    %server,
                    "the policies don't fit the tools as they are now; the changed tools stay denied:{}",
                    super::excerpt::of_policies(&findings)
                );
                return;
            }
            Err(error) => {
                tracing::error!(%error, "compiling the policies failed; the changed tools stay denied");
                return;
            }
        };
        let pin = state.inputs.pins.of(server);
        if let Err(error) = self.keep(server, &engine) {
            tracing::warn!(%error, %server, "the tool definitions could not be kept");
            if pin.holds() {
                // The next start would approve whatever is shown then.
                return;
            }
        }
        let recorded = match self.record(server, pin, effect, &drifted).await {
            Ok(()) => compiled::announce(&self.log, PolicyCause::Tools, Some(&before), &engine).await,
            Err(error) => Err(error),
        };
        if let Err(error) = recorded {
            tracing::error!(%error, "the policies could not be recorded; the changed tools stay denied");
            return;
        }
        self.engines.replace(engine);
        tracing::info!(%server, "the policies were compiled for the server's tools as they are now");
        state.tell_lookalikes(&catalogue);
        state.inputs.catalogue = catalogue;
    }

    /// Keeps what fits on disk: what does not must not stop the next start.
    fn keep(&self, server: &ServerName, engine: &Engine) -> std::io::Result<()> {
        let tools = engine.catalogue().servers.get(server).map(Vec::as_slice).unwrap_or_default();
        self.servers.get(server).map_or(Ok(()), |config| self.shown.save(config, tools))
    }

    /// Leaves what differs from the approved definitions to the gate, which denies it, and tells of it once.
    async fn hold(&self, state: &mut State, server: &ServerName, drifted: Vec<Drifted>, complete: bool) {
        let told = state.told.entry(server.clone()).or_default();
        let digest = |drifted: &Drifted| drifted.now.as_ref().map(|tool| tool.digest);
        let new: Vec<Drifted> =
            drifted.iter().filter(|d| told.get(&d.tool) != Some(&digest(d))).cloned().collect();
        if complete {
            told.clear();
        }
        for d in &drifted {
            if told.len() < MOST_TOOLS || told.contains_key(&d.tool) {
                told.insert(d.tool.clone(), digest(d));
            }
        }
        self.recorder.quarantined(server.as_str(), told.len());
        if new.is_empty() {
            return;
        }
        if !state.may_change(server, self.clock.now()) {
            tracing::warn!(%server, "tool definitions change too often to tell of each; the changed ones stay denied");
            return;
        }
        let pin = state.inputs.pins.of(server);
        if let Err(error) = self.record(server, pin, ToolEffect::Quarantined, &new).await {
            tracing::error!(%error, %server, "a change of tool definitions could not be recorded; the tools stay denied");
        }
        tell(server, pin, &new);
        let mut seen = state.inputs.catalogue.clone();
        let added = new.into_iter().filter(|d| d.kind() == ToolDrift::New).filter_map(|d| d.now);
        seen.servers.entry(server.clone()).or_default().extend(added);
        state.tell_lookalikes(&seen);
    }

    async fn record(
        &self,
        server: &ServerName,
        pin: Pin,
        effect: ToolEffect,
        drifted: &[Drifted],
    ) -> Result<(), AppendError> {
        if drifted.is_empty() {
            return Ok(());
        }
        let tools = drifted.iter().map(Drifted::entry).collect();
        let change = ToolChange::new(server.to_string(), pin.as_str(), effect, tools);
        self.log.append_gateway(Predicate::ToolChange(change))?.await?;
        Ok(())
    }
}

impl CatalogueSink for Arc<Tools> {
    /// On a task of its own: who waits for it may stop to, or go, and nobody else must wait for that.
    fn learned(&self, learned: Learned) -> BoxFuture<'_, ()> {
        let tools = Self::clone(self);
        Box::pin(async move {
            let Ok(place) = Arc::clone(&tools.places).try_acquire_owned() else {
                tracing::warn!(server = %learned.server, "too many servers show tools at once; what differs stays denied");
                return;
            };
            let weighed = async move {
                tools.weigh(learned).await;
                drop(place);
            };
            if let Err(error) = tokio::spawn(weighed).await {
                tracing::error!(%error, "what a tool server shows was not taken over");
            }
        })
    }
}

#[cfg(test)]
mod tests;
