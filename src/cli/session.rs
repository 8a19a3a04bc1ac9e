//! `chancery session`: the sessions of running gateways, and their end at once.

use std::path::Path;

use super::gateways::{Gateways, card, finish, json};
use super::{Exit, Failure};
use crate::app::admin::client::{Gathered, Row};
use crate::app::admin::{Request, SessionRow};
use crate::domain::ids::SessionId;

/// Arguments of `chancery session`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    gateways: Gateways,
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
    let gateways = &args.gateways;
    let gathered = gateways.ask(&request)?;
    let listed = listed(&gathered);
    let text = match (&args.command, gateways.json) {
        (Command::List, true) => json(&listed)?,
        (Command::List, false) => table(gateways, &listed),
        (Command::Show { .. }, true) => listed.first().map(json).transpose()?.unwrap_or_default(),
        (Command::Show { .. }, false) => listed.first().map(shown).unwrap_or_default(),
        // None that answered knows it, and one did not answer.
        (Command::Revoke { .. }, _) if gathered.answers.is_empty() => String::new(),
        (Command::Revoke { sid }, true) => json(&serde_json::json!({ "revoked": sid }))?,
        (Command::Revoke { sid }, false) => format!("revoked {sid}\n"),
    };
    let of_one = matches!(args.command, Command::Show { .. } | Command::Revoke { .. });
    let complete = of_one && !gathered.answers.is_empty();
    finish(&text, if complete { Vec::new() } else { gathered.failed })
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

/// One line a session.
fn table(gateways: &Gateways, listed: &[Listed<'_>]) -> String {
    if listed.is_empty() {
        return "no session is open\n".to_owned();
    }
    let head =
        ["SID", "PRINCIPAL", "SERVER", "CLIENT", "OPENED", "LAST ACTIVE", "CALLS", "ALLOWED", "DENIED"];
    let cells = |row: &SessionRow| {
        vec![
            row.sid.to_string(),
            row.principal.clone(),
            row.server.clone(),
            row.client.clone().unwrap_or_else(|| "-".to_owned()),
            row.opened.clone(),
            row.last_active.clone(),
            row.calls.to_string(),
            row.allowed.to_string(),
            row.denied.to_string(),
        ]
    };
    gateways.table(&head, listed.iter().map(|listed| (listed.gateway, cells(listed.row))))
}

fn shown(listed: &Listed<'_>) -> String {
    let Listed { gateway, row } = listed;
    let client = row.client.as_deref().unwrap_or("-");
    card([
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
    ])
}
