//! `chancery config`: checks a configuration file, prints the JSON Schema.

use std::io::Write as _;
use std::path::PathBuf;

use super::{Exit, Failure, report};
use crate::app;
use crate::config::{Config, Environment, Purpose, json_schema};

/// Arguments of `chancery config`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Check a file and report every mistake in it (exit code 2), and every file that it names and that would keep the
    /// gateway from starting here (exit code 1).
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
            let env = Environment::process();
            let config = Config::load(&file, purpose, &env).map_err(Failure::misuse)?;
            for remark in if run { Vec::new() } else { config.remarks() } {
                eprintln!("warning: {remark}");
            }
            let missing = super::block_on(async { app::files::missing(&config, &env) })?;
            if missing.is_empty() {
                eprintln!(
                    "{0} is in order; ports, the identity and what others run were not looked at, nor whether policies \
                     and `inputs` fit the servers' tools: chancery policy check -c {0}",
                    file.display()
                );
                return Ok(Exit::Done);
            }
            eprintln!("{} is well-formed, but nothing starts with it on this machine:", file.display());
            for error in missing {
                let _ = report::start(error).print();
            }
            return Ok(Exit::Findings);
        }
        Command::Schema => {
            let printed = std::io::stdout().write_all(json_schema().as_bytes());
            printed.map_err(|error| Failure::runtime(miette::miette!("can't print: {error}")))?;
        }
    }
    Ok(Exit::Done)
}
