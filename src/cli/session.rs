//! `chancery session`: the sessions of running gateways, and their end at once.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::{Exit, Failure};
use crate::app::admin::client::{AskError, Gathered, Row, ask, ask_all};
use crate::app::admin::{Request, SessionRow};
use crate::config::{Config, Environment, Purpose};
use crate::domain::ids::SessionId;

/// Arguments of `chancery session`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
    /// The gateway's configuration file; without it, all gateways of the state directory are asked, those of
    /// `chancery run` too.
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The gateway's admin socket, instead of its configuration.
    #[arg(long, value_name = "PATH", global = true, conflicts_with = "config")]
    socket: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the sessions, the oldest first.
    List,
    /// Show one session.
    Show {
        /// Its id, as `list` and the log have it.
        sid: SessionId,
    },
    /// End one session at once: its streams are cut, its tool server is stopped, its token is refused from then on.
    Revoke {
        /// Its id, as `list` and the log have it.
        sid: SessionId,
    },
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    let request = match args.command {
        Command::List => Request::List {},
        Command::Show { sid } => Request::Show { sid },
        Command::Revoke { sid } => Request::Revoke { sid },
    };
    let named = args.socket.is_some() || args.config.is_some();
    let gathered = gathered(args.socket, args.config.as_deref(), &request)?;
    let text = match (&args.command, args.json) {
        (Command::List, true) => json(&listed(&gathered))?,
        (Command::List, false) => table(&gathered, !named),
        (Command::Show { .. }, true) => listed(&gathered).first().map(json).transpose()?.unwrap_or_default(),
        (Command::Show { .. }, false) => listed(&gathered).first().map(card).unwrap_or_default(),
        // None that answered knows it, and one did not answer.
        (Command::Revoke { .. }, _) if gathered.answers.is_empty() => String::new(),
        (Command::Revoke { sid }, true) => json(&serde_json::json!({ "revoked": sid }))?,
        (Command::Revoke { sid }, false) => format!("revoked {sid}\n"),
    };
    let printed = std::io::stdout().write_all(text.as_bytes());
    printed.map_err(|error| Failure::runtime(miette::miette!("can't print: {error}")))?;
    let complete =
        matches!(args.command, Command::Show { .. } | Command::Revoke { .. }) && !gathered.answers.is_empty();
    match gathered.failed.into_iter().next() {
        Some(error) if !complete => Err(failed(error)),
        _ => Ok(Exit::Done),
    }
}

/// What the gateway of this socket or configuration says, or else all of the state directory.
pub(super) fn gathered(
    socket: Option<PathBuf>,
    config: Option<&Path>,
    request: &Request,
) -> Result<Gathered, Failure> {
    let named = match (socket, config) {
        (Some(socket), _) => Some(socket),
        (None, Some(file)) => {
            // Of `run` or `serve`: what either demands besides is not asked for here.
            let config = Config::load(file, Purpose::Run, &Environment::process());
            Some(config.map_err(Failure::misuse)?.admin_socket())
        }
        (None, None) => None,
    };
    match named {
        Some(socket) => {
            let rows = ask(&socket, request).map_err(failed)?;
            Ok(Gathered { answers: vec![(socket, rows)], failed: Vec::new() })
        }
        None => {
            let config = Config::defaults(Purpose::Run, &Environment::process());
            let directory = config.map_err(Failure::misuse)?.admin_directory();
            ask_all(&directory, request).map_err(failed)
        }
    }
}

pub(super) fn failed(error: AskError) -> Failure {
    Failure::runtime(miette::miette!(help = error.help().to_owned(), "{}", super::report::chain(&error)))
}

/// A session, and the socket of its gateway.
#[derive(Debug, serde::Serialize)]
struct Listed<'a> {
    gateway: &'a Path,
    #[serde(flatten)]
    row: &'a SessionRow,
}

fn session(row: &Row) -> Option<&SessionRow> {
    match row {
        Row::Session(row) => Some(row),
        Row::Principal(_) => None,
    }
}

fn listed(gathered: &Gathered) -> Vec<Listed<'_>> {
    let answers = gathered.answers.iter();
    let listed = answers
        .flat_map(|(gateway, rows)| rows.iter().filter_map(session).map(move |row| Listed { gateway, row }));
    listed.collect()
}

pub(super) fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n").map_err(|error| Failure::runtime(miette::miette!("can't print: {error}")))
}

/// One line a session; with its gateway, by the name of its socket, where none was named.
fn table(gathered: &Gathered, of_all: bool) -> String {
    let listed = listed(gathered);
    if listed.is_empty() {
        return "no session is open\n".to_owned();
    }
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    let mut head =
        vec!["SID", "PRINCIPAL", "SERVER", "CLIENT", "OPENED", "LAST ACTIVE", "CALLS", "ALLOWED", "DENIED"];
    head.extend(of_all.then_some("GATEWAY"));
    table.set_header(head);
    for Listed { gateway, row } in listed {
        let mut cells = vec![
            row.sid.to_string(),
            row.principal.clone(),
            row.server.clone(),
            row.client.clone().unwrap_or_else(|| "-".to_owned()),
            row.opened.clone(),
            row.last_active.clone(),
            row.calls.to_string(),
            row.allowed.to_string(),
            row.denied.to_string(),
        ];
        cells.extend(of_all.then(|| gateway.file_stem().unwrap_or_default().to_string_lossy().into_owned()));
        table.add_row(cells);
    }
    let lines = table.to_string();
    lines.lines().map(|line| format!("{}\n", line.trim())).collect()
}

fn card(listed: &Listed<'_>) -> String {
    let Listed { gateway, row } = listed;
    let client = row.client.as_deref().unwrap_or("-");
    let facts = [
        ("session", row.sid.to_string()),
        ("gateway", gateway.display().to_string()),
        ("state", row.state.clone()),
        ("principal", row.principal.clone()),
        ("evidence", row.evidence.clone()),
        ("server", row.server.clone()),
        ("transport", row.transport.clone()),
        ("client", client.to_owned()),
        ("opened", row.opened.clone()),
        ("last active", row.last_active.clone()),
        ("tool calls", row.calls.to_string()),
        ("labels", if row.labels.is_empty() { "-".to_owned() } else { row.labels.join(", ") }),
        ("allowed", row.allowed.to_string()),
        ("denied", row.denied.to_string()),
    ];
    facts.iter().map(|(name, value)| format!("{name:<12} {value}\n")).collect()
}
