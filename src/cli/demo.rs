//! `chancery demo`.

use super::{Exit, Failure};

/// Arguments of `chancery demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the command.
pub(crate) fn run(_args: Args) -> Result<Exit, Failure> {
    Err(Failure::misuse(miette::miette!("not built in yet")))
}
