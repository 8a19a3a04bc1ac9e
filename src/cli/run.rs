//! `chancery run`: drop-in for the `command` of any MCP client's configuration.

use std::path::PathBuf;

use super::inputs::Inputs;
use super::report::{chain, start};
use super::{Exit, Failure, block_on};
use crate::app;
use crate::config::{Config, Environment, Purpose};
use crate::domain::ids::ServerName;
use crate::policy::ArgumentRules;
use crate::proxy::config::{ChildConfig, ServerConfig, ServerKind};
use crate::telemetry::subscriber;

/// Arguments of `chancery run`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example, in an MCP client's configuration:\n  \"command\": \"chancery\",\n  \"args\": [\"run\", \
    \"--policies\", \"./policies\", \"--\", \"npx\", \"-y\", \"@modelcontextprotocol/server-filesystem\", \"./data\"]"
)]
pub(crate) struct Args {
    /// Configuration file; without one the defaults hold. What it says of a server of this name (its `inputs`, its
    /// `arguments`, its `pin`) holds for a COMMAND too.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Policy file or directory; without any every call is refused. May be given more than once. A changed file is taken
    /// over at once, if it is in order.
    #[arg(long, value_name = "DIR")]
    policies: Vec<PathBuf>,
    /// Directory of the attestation log; by default the configuration's `log.dir`, which one gateway at a time can have,
    /// else a new one for each run below the state directory.
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
    /// The server's name in policies; by default taken from the command.
    #[arg(long, visible_alias = "server")]
    name: Option<ServerName>,
    #[command(flatten)]
    inputs: Inputs,
    /// The tool server's command and its arguments; without one, the server that the configuration file names
    /// (`--name` chooses among several), which may be at a URL.
    #[arg(last = true, required_unless_present = "config", value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    let env = Environment::process();
    let mut config = match &args.config {
        Some(file) => Config::load(file, Purpose::Run, &env),
        None => Config::defaults(Purpose::Run, &env),
    }
    .map_err(Failure::misuse)?;
    subscriber::install(&config.telemetry.log)
        .map_err(|error| Failure::misuse(miette::miette!("{}", chain(&error))))?;
    if !args.policies.is_empty() {
        config.policies = args.policies;
    }
    let mut server = match args.command.is_empty() {
        true => configured(args.name, &mut config)?,
        false => server(args.name, args.command)?,
    };
    if let Some(same) = config.servers.get(&server.name) {
        server.arguments = same.arguments.clone();
    }
    args.inputs.extend(&mut server.arguments);
    match args.log {
        Some(dir) => config.log.dir = dir,
        None if !config.named_log => config.log.dir = app::own_log_dir(&config, &server).map_err(start)?,
        None => {}
    }
    let tell = |line: &str| eprintln!("chancery: {line}");
    let code = block_on(app::run(config, server, &env, &tell))?.map_err(start)?;
    Ok(Exit::Child(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// The server of the configuration file, where the command line starts none.
fn configured(name: Option<ServerName>, config: &mut Config) -> Result<ServerConfig, Failure> {
    let found = match &name {
        Some(name) => config.servers.remove(name),
        None if config.servers.len() == 1 => config.servers.pop_first().map(|(_, server)| server),
        None => None,
    };
    found.ok_or_else(|| {
        Failure::misuse(miette::miette!(
            help = "name one of its servers with --name, or give a command: chancery run -c FILE -- COMMAND",
            "which tool server is meant is not clear from the configuration"
        ))
    })
}

/// The server that a command line starts.
pub(super) fn server(name: Option<ServerName>, command: Vec<String>) -> Result<ServerConfig, Failure> {
    let here = Environment::process().working_dir();
    let name = match name.or_else(|| app::server_name(&command, &here)) {
        Some(name) => name,
        None => {
            return Err(Failure::misuse(miette::miette!(
                help = "say how policies call it: chancery run --name NAME -- COMMAND",
                "the server has no name that can be taken from its command"
            )));
        }
    };
    let mut words = command.into_iter();
    let command = words.next().unwrap_or_default();
    let child = ChildConfig { command, args: words.collect(), ..ChildConfig::default() };
    Ok(ServerConfig { name, kind: ServerKind::Child(child), arguments: ArgumentRules::default() })
}
