//! `chancery config`: checks a configuration file, prints the JSON Schema.

use std::io::Write as _;
use std::path::PathBuf;

use super::{Exit, Failure};
use crate::config::{Config, Environment, Purpose, json_schema};

/// Arguments of `chancery config`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Check a file and report every mistake in it.
    Check {
        /// The configuration file.
        file: PathBuf,
        /// Check it for `chancery run`, which needs neither listeners nor servers.
        #[arg(long)]
        run: bool,
    },
    /// Print the JSON Schema of configuration files, for editors.
    Schema,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    match args.command {
        Command::Check { file, run } => {
            let purpose = if run { Purpose::Run } else { Purpose::Serve };
            Config::load(&file, purpose, &Environment::process()).map_err(Failure::misuse)?;
            eprintln!("{} is in order", file.display());
        }
        Command::Schema => {
            let printed = std::io::stdout().write_all(json_schema().as_bytes());
            printed.map_err(|error| Failure::runtime(miette::miette!("can't print: {error}")))?;
        }
    }
    Ok(Exit::Done)
}
