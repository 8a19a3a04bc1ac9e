//! `chancery policy schema`: what can be written in policies for a real server.

use super::{live, print};
use crate::cli::run::server;
use crate::cli::{Exit, Failure, block_on};
use crate::domain::ids::ServerName;
use crate::policy::{Catalogue, Engine, PolicySources};

/// Arguments of `chancery policy schema`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The server's name in policies; by default taken from the command.
    #[arg(long, visible_alias = "name")]
    server: Option<ServerName>,
    /// The tool server's command and its arguments; without one only what is the same for every server is printed.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    let catalogue = match args.command.is_empty() {
        true => Catalogue::default(),
        false => {
            let server = server(args.server, args.command)?;
            Catalogue::of(server.name.clone(), block_on(live(&server))??)
        }
    };
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
