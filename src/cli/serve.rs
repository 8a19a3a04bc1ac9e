//! `chancery serve`: configured tool servers over streamable HTTP.

use std::path::PathBuf;

use super::report::{chain, start};
use super::{Exit, Failure, block_on};
use crate::app;
use crate::config::{Config, Environment, Purpose};
use crate::telemetry::subscriber;

/// Arguments of `chancery serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    let env = Environment::process();
    let config = Config::load(&args.config, Purpose::Serve, &env).map_err(Failure::misuse)?;
    subscriber::install(&config.telemetry.log)
        .map_err(|error| Failure::misuse(miette::miette!("{}", chain(&error))))?;
    let tell = |line: &str| eprintln!("chancery: {line}");
    block_on(app::serve(config, &env, &tell))?.map_err(start)?;
    Ok(Exit::Done)
}
