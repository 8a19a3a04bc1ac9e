//! `chancery policy schema`: what can be written in policies for a real server.

use super::given::Given;
use super::print;
use crate::cli::{Exit, Failure};
use crate::policy::{Catalogue, Engine, PolicySources, schema_json};

/// Arguments of `chancery policy schema`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print it in Cedar's JSON form of schemas.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    given: Given,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let catalogue = args.given.find(&[])?.catalogue;
    let text = text(&catalogue)?;
    print(&match args.json {
        true => schema_json(&text).map_err(|error| Failure::runtime(miette::miette!("{error}")))?,
        false => text,
    })?;
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
