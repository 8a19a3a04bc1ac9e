//! `chancery principal`: what running gateways know of principals for policies to read, and its end before its time.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::session::{failed, gathered, json};
use super::{Exit, Failure};
use crate::app::admin::client::{Gathered, Row};
use crate::app::admin::{Counts, LONGEST_REASON, LabelRow, PrincipalRow, Request};

/// Arguments of `chancery principal`.
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
    let named = args.socket.is_some() || args.config.is_some();
    let gathered = gathered(args.socket, args.config.as_deref(), &request)?;
    let known = known(&gathered);
    let text = match (&args.command, args.json) {
        (_, true) => json(&known)?,
        (Command::List, false) => table(&known, !named),
        (Command::Show { .. }, false) => cards(&known),
        (Command::Lift { labels, principal, .. }, false) => {
            done(&known, &format!("{principal} no longer has {}", labels.join(", ")))
        }
        (Command::Reset { principal, .. }, false) => {
            done(&known, &format!("the calls of {principal} are counted from zero"))
        }
    };
    let printed = std::io::stdout().write_all(text.as_bytes());
    printed.map_err(|error| Failure::runtime(miette::miette!("can't print: {error}")))?;
    match gathered.failed.into_iter().next() {
        Some(error) => Err(failed(error)),
        None => Ok(Exit::Done),
    }
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

/// One line a principal; with its gateway, by the name of its socket, where none was named.
fn table(known: &[Known<'_>], of_all: bool) -> String {
    if known.is_empty() {
        return "nothing is known of any principal\n".to_owned();
    }
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    let mut head = vec!["PRINCIPAL", "CALLS", "MINUTE", "HOUR", "DAY", "LABELS", "SESSIONS"];
    head.extend(of_all.then_some("GATEWAY"));
    table.set_header(head);
    for Known { gateway, row } in known {
        let Counts { calls, minute, hour, day } = row.usage;
        let mut cells = vec![printable(&row.principal)];
        cells.extend([calls, minute, hour, day].map(|count| count.to_string()));
        let labels: Vec<&str> = row.labels.iter().map(|label| label.label.as_str()).collect();
        cells.push(if labels.is_empty() { "-".to_owned() } else { labels.join(", ") });
        cells.push(row.sessions.len().to_string());
        cells.extend(of_all.then(|| gateway.file_stem().unwrap_or_default().to_string_lossy().into_owned()));
        table.add_row(cells);
    }
    let lines = table.to_string();
    lines.lines().map(|line| format!("{}\n", line.trim())).collect()
}

fn cards(known: &[Known<'_>]) -> String {
    known.iter().map(card).collect::<Vec<_>>().join("\n")
}

fn card(known: &Known<'_>) -> String {
    let Known { gateway, row } = known;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| text.push_str(&format!("{name:<12} {value}\n"));
    line("principal", &printable(&row.principal));
    line("gateway", &gateway.display().to_string());
    line("calls", &counts(&row.usage));
    for server in &row.servers {
        line("server", &format!("{}: {}", server.name, counts(&server.counts)));
    }
    for tool in &row.tools {
        line("tool", &format!("{}: {}", tool.name, counts(&tool.counts)));
    }
    for LabelRow { label, until, sessions } in &row.labels {
        let until = until.as_ref().map(|until| format!(" until {until}")).unwrap_or_default();
        let sessions: Vec<String> = sessions.iter().map(ToString::to_string).collect();
        let of = match sessions.as_slice() {
            [] => String::new(),
            sessions => format!(", of session {}", sessions.join(", ")),
        };
        line("label", &format!("{label}{until}{of}"));
    }
    for session in &row.sessions {
        line("session", &session.to_string());
    }
    if row.cut {
        line("", "… and more");
    }
    text
}

fn counts(counts: &Counts) -> String {
    let Counts { calls, minute, hour, day } = counts;
    format!("{calls} (last minute {minute}, hour {hour}, day {day})")
}

/// A name that others chose must not move the terminal's cursor.
fn printable(text: &str) -> String {
    text.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\"")
}
