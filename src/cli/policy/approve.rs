//! `chancery policy approve`: which tools are not the approved ones, how they differ, and their approval. A running
//! gateway takes it over at once. Exit code 0 when nothing is left to approve, 1 when something is.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal as _};

use super::definitions::{Differences, Which, counted, lookalikes, shown};
use super::print;
use crate::app;
use crate::app::approve::Standing;
use crate::app::drift::Drifted;
use crate::cli::report::start;
use crate::cli::{Exit, Failure, block_on};
use crate::domain::ids::ServerName;
use crate::policy::{Pin, ToolDefinition};

/// Arguments of `chancery policy approve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// Only this tool, `<server>/<tool>`. May be given more than once; by default all that differ.
    #[arg(long = "tool", value_name = "TOOL")]
    tools: Vec<String>,
    /// Approve without asking.
    #[arg(long)]
    yes: bool,
    /// Print the differences as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    let (config, _) = args.which.config()?;
    let mut standings = block_on(app::approve::standings(&config))?.map_err(start)?;
    for standing in standings.iter().filter(|standing| standing.pin == Pin::Off) {
        eprintln!("chancery: `{}` has `pin: off`: whatever it shows is taken over", standing.server);
    }
    standings.retain(|standing| standing.pin.holds());
    let wanted: BTreeSet<&str> = args.tools.iter().map(String::as_str).collect();
    let mut drifted: BTreeMap<ServerName, Vec<Drifted>> = BTreeMap::new();
    let mut left = 0;
    for standing in &standings {
        let named = |d: &Drifted| wanted.contains(format!("{}/{}", standing.server, d.tool).as_str());
        let (chosen, rest): (Vec<_>, Vec<_>) =
            standing.drifted().into_iter().partition(|d| wanted.is_empty() || named(d));
        left += rest.len();
        drifted.insert(standing.server.clone(), chosen);
    }
    told_of_none(&wanted, &drifted, &standings)?;
    let live = standings.iter().map(|standing| (standing.server.clone(), standing.live.clone())).collect();
    let alike = lookalikes(&live);
    for pair in &alike {
        eprintln!("chancery: {pair}");
    }
    let some = drifted.values().any(|drifted| !drifted.is_empty());
    if args.json {
        print(&Differences::of(&drifted, alike).json()?)?;
    } else if some {
        print(&shown(&drifted))?;
    } else {
        print("every tool is as it was approved\n")?;
    }
    let approves = some && (args.yes || confirmed());
    if approves {
        app::approve::approve(&config, &next(&standings, &drifted)).map_err(start)?;
    }
    if some && !args.json {
        let counted = counted(&drifted);
        print(&match approves {
            true => format!("{counted}: approved\n"),
            false => format!("{counted}: nothing was approved; --yes approves them\n"),
        })?;
    }
    Ok(if (approves || !some) && left == 0 { Exit::Done } else { Exit::Findings })
}

/// What is approved afterwards, of the servers for which it changes.
fn next(
    standings: &[Standing],
    drifted: &BTreeMap<ServerName, Vec<Drifted>>,
) -> BTreeMap<ServerName, Vec<ToolDefinition>> {
    let changed = standings.iter().filter_map(|standing| {
        let chosen = drifted.get(&standing.server).filter(|chosen| !chosen.is_empty())?;
        Some((standing.server.clone(), standing.with(chosen)))
    });
    changed.collect()
}

/// Refuses a name of `--tool` that nothing differs under: it may be misspelt.
fn told_of_none(
    wanted: &BTreeSet<&str>,
    drifted: &BTreeMap<ServerName, Vec<Drifted>>,
    standings: &[Standing],
) -> Result<(), Failure> {
    let found = |name: &str| {
        drifted.iter().any(|(server, drifted)| {
            drifted.iter().any(|d| name.strip_prefix(server.as_str()) == Some(&format!("/{}", d.tool)))
        })
    };
    match wanted.iter().find(|name| !found(name)) {
        Some(name) => Err(Failure::misuse(miette::miette!(
            help = whole(name, standings),
            "no tool `{name}` differs from what is approved"
        ))),
        None => Ok(()),
    }
}

/// What may be meant by a name that nothing differs under.
fn whole(name: &str, standings: &[Standing]) -> String {
    match standings.iter().find(|standing| standing.drifted().iter().any(|d| *d.tool == *name)) {
        Some(standing) => format!("tools are named with their server: --tool {}/{name}", standing.server),
        None => "without --tool all tools that differ are shown; a name is SERVER/TOOL".to_owned(),
    }
}

/// Asks the operator, where there is one.
fn confirmed() -> bool {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return false;
    }
    eprint!("Approve them? [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}
