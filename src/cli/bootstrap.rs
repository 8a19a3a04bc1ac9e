//! `chancery bootstrap`: makes or rotates the secret that admits a client over loopback HTTP.

use std::path::PathBuf;

use super::report::with_help;
use super::{Exit, Failure};
use crate::admission::bootstrap::{Created, create};

/// Arguments of `chancery bootstrap`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write a new 256-bit secret, mode 0600; an older secret there ends at once, also for a running gateway.
    New {
        /// The secret's file.
        file: PathBuf,
    },
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    let Command::New { file } = args.command;
    let created = create(&file).map_err(|error| with_help(&error, error.help()))?;
    let file = file.display();
    match created {
        Created::Made => eprint!("made a bootstrap secret in {file}"),
        Created::Replaced => {
            eprint!("replaced the bootstrap secret in {file}: the old one admits nobody any more");
        }
    }
    eprintln!("; clients send it as `Authorization: Bearer <secret>`");
    Ok(Exit::Done)
}
