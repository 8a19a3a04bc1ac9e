//! What the commands on tool definitions have in common: which servers are meant, and how differences are shown.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::given::server_at;
use super::startable;
use crate::app::drift::{Drifted, Place};
use crate::attest::predicate::ToolDrift;
use crate::cli::Failure;
use crate::config::{Config, Environment, Purpose};
use crate::domain::ids::ServerName;
use crate::policy::{Catalogue, ToolDefinition, remark};

/// Places of one tool that are shown to people, and how much of each side, in characters.
const MOST_PLACES: usize = 100;
const LONGEST: usize = 2_000;

/// Which servers.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// Configuration file: all its servers, unless a command is given.
    #[arg(short, long, value_name = "FILE", required_unless_present = "command")]
    config: Option<PathBuf>,
    /// The name of the command's server in policies; by default taken from the command.
    #[arg(long, visible_alias = "name")]
    server: Option<ServerName>,
    /// A tool server's command and its arguments, as `chancery run` has them, or its URL.
    #[arg(last = true, value_name = "COMMAND|URL")]
    command: Vec<String>,
}

impl Which {
    /// The configuration with just those servers; whether they are all that there are.
    pub(super) fn config(self) -> Result<(Config, bool), Failure> {
        let env = Environment::process();
        let config = match &self.config {
            Some(file) => Config::load(file, Purpose::Run, &env),
            None => Config::defaults(Purpose::Run, &env),
        };
        let mut config = config.map_err(Failure::misuse)?;
        let all = self.command.is_empty();
        if !all {
            let server = server_at(self.server, self.command)?;
            config.servers = [(server.name.clone(), server)].into();
        }
        if config.servers.is_empty() {
            return Err(Failure::misuse(miette::miette!(
                help = "give a command: -- COMMAND",
                "the configuration has no tool servers"
            )));
        }
        for server in config.servers.values() {
            startable(server)?;
        }
        Ok((config, all))
    }
}

/// The differences of all servers, for machines.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Differences<'a> {
    /// Whether there are none.
    pub(super) same: bool,
    pub(super) servers: BTreeMap<&'a str, Vec<Difference<'a>>>,
    /// Tools that could be taken for each other.
    pub(super) lookalikes: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Difference<'a> {
    tool: &'a str,
    drift: ToolDrift,
    /// Digests.
    before: Option<String>,
    now: Option<String>,
    places: Vec<Place>,
}

impl<'a> Difference<'a> {
    pub(super) fn of(drifted: &'a Drifted) -> Self {
        let digest = |tool: &Option<ToolDefinition>| tool.as_ref().map(|tool| tool.digest.to_string());
        Self {
            tool: &drifted.tool,
            drift: drifted.kind(),
            before: digest(&drifted.before),
            now: digest(&drifted.now),
            places: drifted.places(),
        }
    }
}

impl<'a> Differences<'a> {
    pub(super) fn of(drifted: &'a BTreeMap<ServerName, Vec<Drifted>>, lookalikes: Vec<String>) -> Self {
        let several = drifted.iter().filter(|(_, drifted)| !drifted.is_empty());
        let servers: BTreeMap<_, Vec<_>> = several
            .map(|(server, drifted)| (server.as_str(), drifted.iter().map(Difference::of).collect()))
            .collect();
        Self { same: servers.is_empty(), servers, lookalikes }
    }

    pub(super) fn json(&self) -> Result<String, Failure> {
        super::json(self)
    }
}

/// The same for people: one line a tool, and under it what differs.
pub(super) fn shown(drifted: &BTreeMap<ServerName, Vec<Drifted>>) -> String {
    let mut text = String::new();
    for (server, drifted) in drifted.iter().filter(|(_, drifted)| !drifted.is_empty()) {
        text.push_str(&format!("{server}\n"));
        text.extend(drifted.iter().map(tool_lines));
    }
    text
}

/// The same, with a line alone for each tool of a server that is new as a whole. A tool that is new with a server that
/// was there is shown with all that it says.
pub(super) fn listed(
    drifted: &BTreeMap<ServerName, Vec<Drifted>>,
    is_new: impl Fn(&ServerName) -> bool,
) -> String {
    let mut text = String::new();
    for (server, drifted) in drifted.iter().filter(|(_, drifted)| !drifted.is_empty()) {
        text.push_str(&format!("{server}\n"));
        text.extend(drifted.iter().map(|tool| match tool.kind() {
            ToolDrift::New if is_new(server) => format!("  + {}  new\n", remark(&tool.tool)),
            _ => tool_lines(tool),
        }));
    }
    text
}

/// One tool's difference.
pub(super) fn tool_lines(tool: &Drifted) -> String {
    let (sign, word) = match tool.kind() {
        ToolDrift::New => ('+', "new"),
        ToolDrift::Changed => ('~', "changed"),
        ToolDrift::Removed => ('-', "removed"),
    };
    let mut text = format!("  {sign} {}  {word}\n", remark(&tool.tool));
    if tool.kind() == ToolDrift::Removed {
        return text;
    }
    let places = tool.places();
    for Place { at, before, now } in places.iter().take(MOST_PLACES) {
        let (at, before) = (cut(at), before.as_deref().map(cut));
        text.push_str(&match (before, now.as_deref().map(cut)) {
            (Some(before), Some(now)) => format!("      {at}: {before} → {now}\n"),
            (Some(before), None) => format!("      {at}: {before} → (absent)\n"),
            (None, now) => format!("      {at}: {}\n", now.unwrap_or_default()),
        });
    }
    if places.len() > MOST_PLACES {
        let more = places.len() - MOST_PLACES;
        text.push_str(&format!("      and {more} more places, not shown here: --json has all\n"));
    }
    text
}

/// What is too long for a terminal says so.
fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(LONGEST) {
        None => text.into(),
        Some((at, _)) => {
            let (shown, more) = text.split_at(at);
            format!("{shown}… (and {} more characters, not shown here: --json has all)", more.chars().count())
                .into()
        }
    }
}

/// `2 changed, 1 new`.
pub(super) fn counted(drifted: &BTreeMap<ServerName, Vec<Drifted>>) -> String {
    let count = |kind| drifted.values().flatten().filter(|drifted| drifted.kind() == kind).count();
    let kinds = [(ToolDrift::Changed, "changed"), (ToolDrift::New, "new"), (ToolDrift::Removed, "removed")];
    let counts = kinds.map(|(kind, word)| (count(kind), word));
    let told: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    if told.is_empty() { "none differs".to_owned() } else { told.join(", ") }
}

/// Tools among these that could be taken for each other.
pub(super) fn lookalikes(tools: &BTreeMap<ServerName, Vec<ToolDefinition>>) -> Vec<String> {
    let catalogue = Catalogue { servers: tools.clone(), ..Catalogue::default() };
    catalogue.lookalikes().iter().map(ToString::to_string).collect()
}
