//! `chancery policy lock`: the tools of real servers as a file for version control. `--check` compares, for CI: exit code
//! 0 when nothing differs, 1 when something does, 2 when it could not look.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::definitions::{Differences, Which, counted, listed, lookalikes};
use super::print;
use crate::app;
use crate::app::drift::{Drifted, drift};
use crate::app::lock::{LockFile, LockFileError};
use crate::cli::report::{start, with_help};
use crate::cli::{Exit, Failure, block_on};
use crate::domain::ids::ServerName;

/// Arguments of `chancery policy lock`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// The lock file; by default the configuration's, else `chancery.lock`.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Compare only, and write nothing.
    #[arg(long, conflicts_with = "update")]
    check: bool,
    /// Replace what is there by what the servers show now.
    #[arg(long)]
    update: bool,
    /// Print the differences as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    let (mut config, all) = args.which.config()?;
    if let Some(file) = args.file {
        config.pins.lock_file = file;
    }
    let file = config.pins.lock_file.display().to_string();
    let old = match LockFile::read(&config.pins.lock_file) {
        Ok(lock) => Some(lock),
        Err(error) if error.is_missing() && !args.check => None,
        Err(error) => return Err(unusable(&error)),
    };
    let live = block_on(app::approve::live(&config))?.map_err(start)?;
    let known = old.clone().unwrap_or_default();
    let were: BTreeSet<ServerName> = known.servers.keys().cloned().collect();
    let mut drifted: BTreeMap<ServerName, Vec<Drifted>> = BTreeMap::new();
    for (server, tools) in &live {
        let locked = known.servers.get(server).map(Vec::as_slice).unwrap_or_default();
        drifted.insert(server.clone(), drift(locked, tools, true));
    }
    // Servers that are configured no more are gone with all their tools.
    for (server, locked) in known.servers.iter().filter(|(server, _)| all && !live.contains_key(*server)) {
        drifted.insert(server.clone(), drift(locked, &[], true));
    }
    let same = drifted.values().all(Vec::is_empty) && live.keys().all(|s| known.servers.contains_key(s));
    let alike = lookalikes(&live);
    for pair in &alike {
        eprintln!("chancery: {pair}");
    }
    let writes = !args.check && (args.update || old.is_none());
    if writes && !same {
        let mut lock = if all { LockFile::default() } else { known };
        lock.servers.extend(live);
        app::approve::write(&lock, &config).map_err(start)?;
    }
    if args.json {
        print(&Differences::of(&drifted, alike).json()?)?;
    } else {
        let tools: usize = drifted.values().map(Vec::len).sum();
        let lines =
            if old.is_some() { listed(&drifted, |server| !were.contains(server)) } else { String::new() };
        print(&lines)?;
        print(&match (same, writes) {
            (true, _) => format!("{file}: every tool is as it is locked\n"),
            (false, true) if old.is_none() => format!("{file}: {tools} tools locked\n"),
            (false, true) => format!("{file}: {}, and locked as they are now\n", counted(&drifted)),
            (false, false) => format!("{file}: {}; --update locks them as they are now\n", counted(&drifted)),
        })?;
    }
    Ok(if same || writes { Exit::Done } else { Exit::Findings })
}

fn unusable(error: &LockFileError) -> Failure {
    let help = match error.is_missing() {
        true => "write it first, without --check",
        false => "take back what was changed in it, or remove it and write it anew",
    };
    with_help(error, help)
}
