//! `chancery session`: the sessions of a gateway that serves, and their end at once.

use std::io::Write as _;
use std::path::PathBuf;

use super::{Exit, Failure};
use crate::app::admin::client::{AskError, ask, only_one};
use crate::app::admin::{Request, SessionRow};
use crate::config::{Config, Environment, Purpose};
use crate::domain::ids::SessionId;

/// Arguments of `chancery session`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
    /// The gateway's configuration file.
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
    let failed = |error: AskError| {
        Failure::runtime(miette::miette!(help = error.help().to_owned(), "{}", super::report::chain(&error)))
    };
    let socket = match (&args.socket, &args.config) {
        (Some(socket), _) => socket.clone(),
        (None, Some(file)) => {
            let config = Config::load(file, Purpose::Serve, &Environment::process());
            config.map_err(Failure::misuse)?.admin_socket
        }
        (None, None) => {
            let config = Config::defaults(Purpose::Run, &Environment::process());
            only_one(&config.map_err(Failure::misuse)?.state_dir.join("admin")).map_err(failed)?
        }
    };
    let request = match args.command {
        Command::List => Request::List {},
        Command::Show { sid } => Request::Show { sid },
        Command::Revoke { sid } => Request::Revoke { sid },
    };
    let rows = ask(&socket, request).map_err(failed)?;
    let text = match (&args.command, args.json) {
        (Command::List, true) => json(&rows)?,
        (Command::List, false) if rows.is_empty() => "no session is open\n".to_owned(),
        (Command::List, false) => table(&rows),
        (Command::Show { .. }, true) => rows.first().map(json).transpose()?.unwrap_or_default(),
        (Command::Show { .. }, false) => rows.first().map(card).unwrap_or_default(),
        (Command::Revoke { sid }, true) => json(&serde_json::json!({ "revoked": sid }))?,
        (Command::Revoke { sid }, false) => format!("revoked {sid}\n"),
    };
    let printed = std::io::stdout().write_all(text.as_bytes());
    printed.map_err(|error| Failure::runtime(miette::miette!("can't print: {error}")))?;
    Ok(Exit::Done)
}

fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n").map_err(|error| Failure::runtime(miette::miette!("can't print: {error}")))
}

fn table(rows: &[SessionRow]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    let head =
        ["SID", "PRINCIPAL", "SERVER", "CLIENT", "OPENED", "LAST ACTIVE", "CALLS", "ALLOWED", "DENIED"];
    table.set_header(head);
    for row in rows {
        table.add_row([
            row.sid.to_string(),
            row.principal.clone(),
            row.server.clone(),
            row.client.clone().unwrap_or_else(|| "-".to_owned()),
            row.opened.clone(),
            row.last_active.clone(),
            row.calls.to_string(),
            row.allowed.to_string(),
            row.denied.to_string(),
        ]);
    }
    let lines = table.to_string();
    lines.lines().map(|line| format!("{}\n", line.trim())).collect()
}

fn card(row: &SessionRow) -> String {
    let client = row.client.as_deref().unwrap_or("-");
    let facts = [
        ("session", row.sid.to_string()),
        ("state", row.state.clone()),
        ("principal", row.principal.clone()),
        ("evidence", row.evidence.clone()),
        ("server", row.server.clone()),
        ("transport", row.transport.clone()),
        ("client", client.to_owned()),
        ("opened", row.opened.clone()),
        ("last active", row.last_active.clone()),
        ("tool calls", row.calls.to_string()),
        ("allowed", row.allowed.to_string()),
        ("denied", row.denied.to_string()),
    ];
    facts.iter().map(|(name, value)| format!("{name:<12} {value}\n")).collect()
}
