//! `chancery demo`.

use super::{Exit, Failure};

/// Arguments of `chancery demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the command.
pub(crate) fn run(_args: Args) -> Result<Exit, Failure> {
    Err(Failure::misuse(miette::miette!("not built in yet")))
}

/// Arguments of the hidden `chancery demo-server`.
#[derive(Debug, clap::Args)]
pub(crate) struct ServerArgs {}

/// Runs the tool server of the demo on stdio.
pub(crate) fn serve(_args: ServerArgs) -> Result<Exit, Failure> {
    Err(Failure::misuse(miette::miette!("not built in yet")))
}
