//! Tools that are not what they were, in `policy diff`: where the two sides are from, how they differ, and which
//! policies, cases and recorded decisions that concerns.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

use super::definitions::{Difference, counted, tool_lines};
use super::given::{Given, beside, captured_tools, loaded};
use crate::app;
use crate::app::drift::{Drifted, drift as drift_of};
use crate::app::records::Records;
use crate::cli::report::{policies, start};
use crate::cli::{Failure, block_on};
use crate::config::{CaseAction, CaseFile, Config};
use crate::domain::ids::ServerName;
use crate::policy::{Catalogue, Engine, PolicyDiagnostic, Severity};

/// Most ids of policies that one line names.
const MOST_NAMED: usize = 6;
/// The lock file that is looked for without a configuration.
const LOCK_FILE: &str = "chancery.lock";

/// The tools on both sides.
#[derive(Debug)]
pub(super) struct Sides {
    pub(super) before: Catalogue,
    pub(super) now: Catalogue,
    /// Servers of which a tool that is not the approved one is denied.
    held: BTreeSet<ServerName>,
}

impl Sides {
    /// What the tools were and are, for policies at `old` and `new`.
    pub(super) fn of(given: &Given, drift: bool, old: &Path, new: &Path) -> Result<Self, Failure> {
        let found = given.find(&[new.to_owned(), old.to_owned()])?.catalogue;
        if let Some(config) = given.config()? {
            return configured(given, drift, &config, found);
        }
        let earlier = [beside(old), beside(new)].into_iter().take(if given.asks() { 2 } else { 1 });
        let mut before = match earlier.into_iter().find(|file| file.exists()) {
            Some(file) => captured_tools(&file)?,
            None => locked(given, &found)?.unwrap_or_else(|| found.clone()),
        };
        if given.asks() {
            // A command tells of one server only.
            before.servers.retain(|server, _| found.servers.contains_key(server));
        }
        before.rules.clone_from(&found.rules);
        Ok(Self { before, now: found, held: BTreeSet::new() })
    }
}

/// What the lock file in this directory has of the servers that were asked.
fn locked(given: &Given, found: &Catalogue) -> Result<Option<Catalogue>, Failure> {
    let file = Path::new(LOCK_FILE);
    if !given.asks() || !file.exists() {
        return Ok(None);
    }
    let lock = captured_tools(file)?;
    Ok(found.servers.keys().any(|server| lock.servers.contains_key(server)).then_some(lock))
}

/// Under a configuration: what is approved, against what the servers list now or the file of captured tools has.
fn configured(given: &Given, drift: bool, config: &Config, found: Catalogue) -> Result<Sides, Failure> {
    let held = config.servers.keys().filter(|server| config.pins.of(server).holds()).cloned().collect();
    if given.captures() {
        let approved = app::approve::on_disk(config).map_err(start)?;
        let mut before = Catalogue { servers: approved, ..found.clone() };
        // Of what nobody has approved yet nothing can have changed.
        for (server, tools) in found.servers.iter().filter(|(server, _)| !config.pins.is_locked(server)) {
            before.servers.entry(server.clone()).or_insert_with(|| tools.clone());
        }
        return Ok(Sides { before, now: found, held });
    }
    let mut now = found.clone();
    for (name, server) in config.servers.iter().filter(|_| drift) {
        match block_on(app::live_tools(config, server))? {
            Ok(tools) => {
                now.servers.insert(name.clone(), tools);
            }
            Err(error) => {
                eprintln!(
                    "chancery: `{name}` can't be asked, so its tools count as they are approved: {error}"
                );
            }
        }
    }
    Ok(Sides { before: found, now, held })
}

/// The new policies under the tools as they are now, and what of them does not fit those.
pub(super) fn compiled_for(path: &Path, sides: &Sides) -> Result<(Engine, Vec<PolicyDiagnostic>), Failure> {
    let sources = loaded(&[path.to_owned()])?;
    let misfits = match Engine::compile(&sources, &sides.now) {
        Ok((engine, _warnings)) => return Ok((engine, Vec::new())),
        Err(findings) => findings,
    };
    let wrong = |findings| Failure::misuse(policies(findings));
    // Under the tools as they were: then it is the tools that don't fit, and a gateway would deny those.
    let Ok((engine, _)) = Engine::compile(&sources, &sides.before) else { return Err(wrong(misfits)) };
    let Ok((engine, _)) = engine.with_catalogue(&sides.now) else { return Err(wrong(misfits)) };
    Ok((engine, misfits.into_iter().filter(|finding| finding.severity == Severity::Error).collect()))
}

/// How the tools differ.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolsReport<'a> {
    /// Whether they don't.
    pub(super) same: bool,
    servers: BTreeMap<&'a str, Vec<Concerned<'a>>>,
    /// What in the new policies does not fit the tools as they are now: `<file>:<line>:<column>: …`.
    misfits: Vec<String>,
}

/// A tool that differs, and what that concerns.
#[derive(Debug, Serialize)]
struct Concerned<'a> {
    #[serde(flatten)]
    difference: Difference<'a>,
    /// Whether it is denied until it is approved.
    held: bool,
    /// The ids of the new policies whose scope has room for it.
    policies: Vec<String>,
    /// How many cases call it.
    cases: usize,
    /// How many decisions of the log are about it, where there is one.
    decisions: Option<usize>,
    #[serde(skip)]
    drifted: &'a Drifted,
}

/// The tools that differ, by server.
pub(super) fn drifted(sides: &Sides) -> BTreeMap<ServerName, Vec<Drifted>> {
    let none = Vec::new();
    let servers: BTreeSet<&ServerName> =
        sides.before.servers.keys().chain(sides.now.servers.keys()).collect();
    let of = |server: &ServerName| {
        let tools = |side: &Catalogue| side.servers.get(server).unwrap_or(&none).clone();
        (server.clone(), drift_of(&tools(&sides.before), &tools(&sides.now), true))
    };
    servers.into_iter().map(of).filter(|(_, drifted)| !drifted.is_empty()).collect()
}

impl<'a> ToolsReport<'a> {
    pub(super) fn of(
        drifted: &'a BTreeMap<ServerName, Vec<Drifted>>,
        sides: &Sides,
        new: &Engine,
        misfits: &[PolicyDiagnostic],
        files: &[CaseFile],
        log: Option<&Records>,
    ) -> Self {
        let concerned = |server: &ServerName, own: &'a Drifted| {
            let action = format!("{server}/{}", own.tool);
            let calls = |case: &&crate::config::Case| matches!(&case.asked, CaseAction::Call { tool, .. } if *tool == own.tool && case.facts.server == *server);
            Concerned {
                difference: Difference::of(own),
                held: sides.held.contains(server),
                policies: new.about_tool(&action).iter().map(|id| id.to_string()).collect(),
                cases: files.iter().flat_map(|file| &file.cases).filter(calls).count(),
                decisions: log.map(|log| log.decisions.iter().filter(|d| d.action == action).count()),
                drifted: own,
            }
        };
        let servers = drifted
            .iter()
            .map(|(server, own)| (server.as_str(), own.iter().map(|own| concerned(server, own)).collect()))
            .collect();
        Self { same: drifted.is_empty(), servers, misfits: misfits.iter().map(ToString::to_string).collect() }
    }

    /// The same for people; nothing where nothing differs.
    pub(super) fn text(&self, drifted: &BTreeMap<ServerName, Vec<Drifted>>) -> String {
        let mut out = String::new();
        for (server, tools) in &self.servers {
            let own = drifted.iter().filter(|(name, _)| name.as_str() == *server);
            let own = own.map(|(name, tools)| (name.clone(), tools.clone())).collect();
            let held = if tools.iter().any(|tool| tool.held) {
                "; denied until they are approved (chancery policy approve)"
            } else {
                ""
            };
            out.push_str(&format!("\ntools of `{server}`: {}{held}\n", counted(&own)));
            for tool in tools {
                out.push_str(&tool_lines(tool.drifted));
                out.push_str(&format!("      concerns {}\n", tool.told()));
            }
        }
        if !self.misfits.is_empty() {
            out.push_str("\nthe new policies don't fit the tools as they are now, so a gateway would deny those tools:\n");
            out.extend(self.misfits.iter().map(|misfit| format!("  {misfit}\n")));
        }
        out
    }
}

impl Concerned<'_> {
    fn told(&self) -> String {
        let count = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
        let mut policies = match self.policies.len() {
            1 => "1 policy".to_owned(),
            many => format!("{many} policies"),
        };
        let named: Vec<String> = self.policies.iter().take(MOST_NAMED).map(|id| format!("`{id}`")).collect();
        if !named.is_empty() {
            let more = if self.policies.len() > MOST_NAMED { ", …" } else { "" };
            policies.push_str(&format!(" ({}{more})", named.join(", ")));
        }
        let decisions =
            self.decisions.map(|decisions| format!(", {}", count(decisions, "recorded decision")));
        format!("{policies}, {}{}", count(self.cases, "case"), decisions.unwrap_or_default())
    }
}
