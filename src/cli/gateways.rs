//! Which running gateways a command asks, and how what they say is printed.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::{Exit, Failure};
use crate::app::admin::Request;
use crate::app::admin::client::{AskError, Gathered, ask, ask_all};
use crate::config::{Config, Environment, Purpose};

/// Arguments of the commands that ask running gateways.
#[derive(Debug, clap::Args)]
pub(super) struct Gateways {
    /// The gateway's configuration file; without it, all gateways of the state directory are asked, those of
    /// `chancery run` too.
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The gateway's admin socket, instead of its configuration.
    #[arg(long, value_name = "PATH", global = true, conflicts_with = "config")]
    socket: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub(super) json: bool,
}

impl Gateways {
    /// What the gateway of this socket or configuration says, or else all of the state directory.
    pub(super) fn ask(&self, request: &Request) -> Result<Gathered, Failure> {
        let named = match (&self.socket, &self.config) {
            (Some(socket), _) => Some(socket.clone()),
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

    /// A table of `head` and `rows`, which must be [`printable`], without borders; each row ends with its gateway, by the
    /// name of its socket, where none was named.
    pub(super) fn table<'a>(
        &self,
        head: &[&str],
        rows: impl Iterator<Item = (&'a Path, Vec<String>)>,
    ) -> String {
        let of_all = self.socket.is_none() && self.config.is_none();
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header(head.iter().copied().chain(of_all.then_some("GATEWAY")));
        for (gateway, mut cells) in rows {
            let name = || gateway.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            cells.extend(of_all.then(name));
            table.add_row(cells);
        }
        let lines = table.to_string();
        lines.lines().map(|line| format!("{}\n", line.trim())).collect()
    }
}

/// Prints `text`; fails with the first of `failures`, whatever was printed.
pub(super) fn finish(text: &str, failures: Vec<AskError>) -> Result<Exit, Failure> {
    let printed = std::io::stdout().write_all(text.as_bytes());
    printed.map_err(|error| Failure::runtime(miette::miette!("can't print: {error}")))?;
    match failures.into_iter().next() {
        Some(error) => Err(failed(error)),
        None => Ok(Exit::Done),
    }
}

/// A line for each fact, which must be [`printable`].
pub(super) fn card<'a>(facts: impl IntoIterator<Item = (&'a str, String)>) -> String {
    facts.into_iter().map(|(name, value)| format!("{name:<12} {value}\n")).collect()
}

pub(super) fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n").map_err(|error| Failure::runtime(miette::miette!("can't print: {error}")))
}

fn failed(error: AskError) -> Failure {
    Failure::runtime(miette::miette!(help = error.help().to_owned(), "{}", super::report::chain(&error)))
}

/// A name that others chose must not move the terminal's cursor.
pub(super) fn printable(text: &str) -> String {
    text.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\"")
}
