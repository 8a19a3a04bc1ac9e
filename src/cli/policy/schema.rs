//! `chancery policy schema`: what can be written in policies for a real server.

use super::given::Given;
use super::print;
use crate::cli::{Exit, Failure};
use crate::policy::{Catalogue, Engine, PolicySources};

/// Arguments of `chancery policy schema`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    given: Given,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let catalogue = args.given.find(&[])?.catalogue;
    print(&text(&catalogue)?)?;
    Ok(Exit::Done)
}

/// The schema for these tools.
pub(super) fn text(catalogue: &Catalogue) -> Result<String, Failure> {
    match Engine::compile(&PolicySources::default(), catalogue) {
        Ok((engine, warnings)) => {
            for warning in warnings {
                eprintln!("chancery: {warning}");
            }
            Ok(engine.schema_text().to_owned())
        }
        Err(errors) => Err(Failure::runtime(crate::cli::report::policies(errors))),
    }
}
