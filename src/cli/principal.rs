//! `chancery principal`: what running gateways know of principals for policies to read, and its end before its time.

use std::path::Path;

use super::gateways::{Gateways, card, finish, json, printable};
use super::{Exit, Failure};
use crate::app::admin::client::{Gathered, Row};
use crate::app::admin::{Counts, LONGEST_REASON, LabelRow, PrincipalRow, Request};

/// Arguments of `chancery principal`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    gateways: Gateways,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the principals of whom something is known: calls, labels, open sessions.
    List,
    /// Show what policies see of one: counted calls and labels with their ends.
    Show {
        /// Its name, as `list` and the log have it.
        principal: String,
    },
    /// Take labels away from a principal and its open sessions. It is recorded in the log.
    Lift {
        /// Its name, as `list` and the log have it.
        principal: String,
        /// The label; more than once if need be.
        #[arg(long = "label", value_name = "LABEL", required = true)]
        labels: Vec<String>,
        /// Why, for the log.
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        reason: String,
    },
    /// Have all counted calls of a principal begin at zero. It is recorded in the log. What a session counts for itself
    /// ends with the session.
    Reset {
        /// Its name, as `list` and the log have it.
        principal: String,
        /// Why, for the log.
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        reason: String,
    },
}

fn reason(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("say why: it is recorded in the log".to_owned()),
        text if text.len() > LONGEST_REASON => Err(format!("at most {LONGEST_REASON} bytes")),
        text => Ok(text.to_owned()),
    }
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    let request = match &args.command {
        Command::List => Request::Principals {},
        Command::Show { principal } => Request::Principal { principal: principal.clone() },
        Command::Lift { principal, labels, reason } => Request::Lift {
            principal: principal.clone(),
            labels: labels.clone(),
            calls: false,
            reason: reason.clone(),
        },
        Command::Reset { principal, reason } => Request::Lift {
            principal: principal.clone(),
            labels: Vec::new(),
            calls: true,
            reason: reason.clone(),
        },
    };
    let gateways = &args.gateways;
    let gathered = gateways.ask(&request)?;
    let known = known(&gathered);
    let text = match (&args.command, gateways.json) {
        (_, true) => json(&known)?,
        (Command::List, false) => table(gateways, &known),
        (Command::Show { .. }, false) => known.iter().map(shown).collect::<Vec<_>>().join("\n"),
        (Command::Lift { labels, principal, .. }, false) => {
            done(&known, &format!("{principal} no longer has {}", labels.join(", ")))
        }
        (Command::Reset { principal, .. }, false) => {
            done(&known, &format!("the calls of {principal} are counted from zero"))
        }
    };
    finish(&text, gathered.failed)
}

/// A principal, and the socket of the gateway that knows it.
#[derive(Debug, serde::Serialize)]
struct Known<'a> {
    gateway: &'a Path,
    #[serde(flatten)]
    row: &'a PrincipalRow,
}

fn known(gathered: &Gathered) -> Vec<Known<'_>> {
    let mut known = Vec::new();
    for (gateway, rows) in &gathered.answers {
        for row in rows {
            if let Row::Principal(row) = row {
                known.push(Known { gateway, row });
            }
        }
    }
    known
}

/// One line a gateway that did it.
fn done(known: &[Known<'_>], what: &str) -> String {
    known.iter().map(|known| format!("{what} (recorded by {})\n", known.gateway.display())).collect()
}

/// One line a principal.
fn table(gateways: &Gateways, known: &[Known<'_>]) -> String {
    if known.is_empty() {
        return "nothing is known of any principal\n".to_owned();
    }
    let head = ["PRINCIPAL", "CALLS", "MINUTE", "HOUR", "DAY", "LABELS", "SESSIONS"];
    let cells = |row: &PrincipalRow| {
        let Counts { calls, minute, hour, day } = row.usage;
        let mut cells = vec![printable(&row.principal)];
        cells.extend([calls, minute, hour, day].map(|count| count.to_string()));
        let labels: Vec<&str> = row.labels.iter().map(|label| label.label.as_str()).collect();
        cells.push(if labels.is_empty() { "-".to_owned() } else { labels.join(", ") });
        cells.push(row.sessions.len().to_string());
        cells
    };
    gateways.table(&head, known.iter().map(|known| (known.gateway, cells(known.row))))
}

fn shown(known: &Known<'_>) -> String {
    let Known { gateway, row } = known;
    let mut facts = vec![
        ("principal", printable(&row.principal)),
        ("gateway", gateway.display().to_string()),
        ("calls", counts(&row.usage)),
    ];
    let servers = row.servers.iter().map(|s| ("server", format!("{}: {}", s.name, counts(&s.counts))));
    facts.extend(servers);
    facts.extend(row.tools.iter().map(|t| ("tool", format!("{}: {}", t.name, counts(&t.counts)))));
    for LabelRow { label, until, sessions } in &row.labels {
        let until = until.as_ref().map(|until| format!(" until {until}")).unwrap_or_default();
        let sessions: Vec<String> = sessions.iter().map(ToString::to_string).collect();
        let of = match sessions.as_slice() {
            [] => String::new(),
            sessions => format!(", of session {}", sessions.join(", ")),
        };
        facts.push(("label", format!("{label}{until}{of}")));
    }
    facts.extend(row.sessions.iter().map(|session| ("session", session.to_string())));
    facts.extend(row.cut.then(|| ("", "… and more".to_owned())));
    card(facts)
}

fn counts(counts: &Counts) -> String {
    let Counts { calls, minute, hour, day } = counts;
    format!("{calls} (last minute {minute}, hour {hour}, day {day})")
}
