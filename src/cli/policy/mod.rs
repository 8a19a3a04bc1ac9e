//! `chancery policy`: for the authors of policies.

mod approve;
mod changed_lines;
mod check;
mod definitions;
mod diff;
mod drifted;
mod excerpt;
mod explain;
mod first_cases;
mod format;
mod given;
mod init;
mod lock;
mod past;
mod recorded;
mod schema;
mod story;
mod test;
mod verdict;
mod who;

use std::io::Write as _;

use super::report::{chain, start};
use super::{Exit, Failure};
use crate::app::{StartError, command};
use crate::config::Environment;
use crate::domain::limits::Limits;
use crate::domain::unseen::{is_unseen, visible};
use crate::policy::ToolDefinition;
use crate::proxy::config::{ServerConfig, ServerKind};
use crate::proxy::upstream::probe;

/// Arguments of `chancery policy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Check policies strictly against the tools that they are about.
    Check(check::Args),
    /// Hold cases (`*.cases.yaml`) against policies, and see which policies no case decides.
    Test(test::Args),
    /// Say of one request what each policy makes of it, and which condition did not hold.
    Explain(Box<explain::Args>),
    /// See what other policies change: by their ids, in cases, and in the decisions of a log.
    Diff(diff::Args),
    /// Lay policy files out as Cedar's own formatter does.
    Format(format::Args),
    /// Print the Cedar schema for a real server's tools.
    Schema(schema::Args),
    /// Write the first policies for a real server.
    Init(init::Args),
    /// Write the tools of real servers to a lock file, or see how they differ from it.
    Lock(lock::Args),
    /// See which tools are not the approved ones, and approve them.
    Approve(approve::Args),
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    match args.command {
        Command::Check(args) => check::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Format(args) => format::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Init(args) => init::run(args),
        Command::Lock(args) => lock::run(args),
        Command::Approve(args) => approve::run(args),
    }
}

/// Whether the server's command can be started at all.
fn startable(server: &ServerConfig) -> Result<(), Failure> {
    let ServerKind::Child(child) = &server.kind else { return Ok(()) };
    command::check(child, &Environment::process())
        .map_err(|source| start(StartError::Command { server: server.name.clone(), source }))
}

/// Asks a running server for its tools. What can't be used is told on stderr and left out: it is denied.
async fn live(server: &ServerConfig) -> Result<Vec<ToolDefinition>, Failure> {
    startable(server)?;
    let probed = probe(server, &Limits::default(), None, None).await;
    let probed = probed.map_err(|error| Failure::runtime(miette::miette!("{}", chain(&error))))?;
    let mut tools = Vec::with_capacity(probed.tools.len());
    for entry in &probed.tools {
        match ToolDefinition::from_list_entry(entry) {
            Ok(tool) => tools.push(tool),
            Err(error) => eprintln!("chancery: a tool of `{}` is left out, and denied: {error}", server.name),
        }
    }
    Ok(tools)
}

/// Prints what the command was asked for. Some of it may be a stranger's (a server's, a log's): none of it moves a cursor.
fn print(text: &str) -> Result<(), Failure> {
    let printed = std::io::stdout().write_all(visible(text).as_bytes());
    printed.map_err(|error| Failure::runtime(miette::miette!("can't print: {error}")))
}

/// What a command prints under `--json`.
fn json(report: &impl serde::Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(report);
    let text = text.map_err(|error| Failure::runtime(miette::miette!("{error}")))?;
    Ok(format!("{}\n", escaped(&text)))
}

/// JSON with what is unseen as JSON escapes it. Outside its texts there is nothing of that.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && is_unseen(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_says_the_same_with_nothing_in_it_that_nobody_would_see() {
        let hostile = serde_json::json!({ "a\u{202e}": "\u{1b}[2J\u{9b}\u{e0041}\u{2028}ü\n" });
        let text = json(&hostile).unwrap();
        assert!(!text.chars().any(|c| c != '\n' && is_unseen(c)), "{text:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), hostile);
    }
}
