//! `chancery policy init`: a directory with the first policies for a real server, usable at once.

use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::first_cases::{self, First};
use super::given::{TOOLS, server_at};
use super::who::someone;
use super::{json, live, print, schema, startable};
use crate::app;
use crate::app::lock::LockFile;
use crate::app::policies::policy_files;
use crate::cli::inputs::Inputs;
use crate::cli::report::start;
use crate::cli::{Exit, Failure, block_on};
use crate::config::{CASE_FILES, Config, Environment, Purpose};
use crate::domain::ids::ServerName;
use crate::domain::unseen::visible;
use crate::policy::{Catalogue, Starter, ToolDefinition, Who, starter};
use crate::proxy::config::{ServerConfig, ServerKind};

/// The generated schema, beside the policies.
const SCHEMA: &str = "mcp.cedarschema";
/// The policies, where there is one server; where there are several, each has a file of its name.
const POLICIES: &str = "policies";

/// Arguments of `chancery policy init`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  chancery policy init -- npx -y @modelcontextprotocol/server-filesystem ./data\n  \
    chancery policy init -- http://127.0.0.1:3001/mcp\n  chancery policy init -c chancery.yaml --group oidc:staff"
)]
pub(crate) struct Args {
    /// Where to write.
    #[arg(long, default_value = "policies", value_name = "DIR")]
    dir: PathBuf,
    /// Permit the tools that the servers themselves call read-only, without asking.
    #[arg(long)]
    yes: bool,
    /// Overwrite what is there; other policy files stay, and are in force too.
    #[arg(long)]
    force: bool,
    /// Configuration file, in place of a command: for all its servers, and for those whom it admits.
    #[arg(short, long, value_name = "FILE", conflicts_with = "command")]
    config: Option<PathBuf>,
    /// The server's name in policies; by default taken from the command. With a configuration: only this one.
    #[arg(long, visible_alias = "name")]
    server: Option<ServerName>,
    /// Whom to permit: an agent, by the `sub` of its tokens. May be given more than once; by default your user id, or
    /// whom the configuration admits.
    #[arg(long = "principal", value_name = "ID")]
    principals: Vec<String>,
    /// Whom to permit: a group, such as `uid:1000`, `oidc`, `oidc:staff`, `mtls`, `spiffe://example.org/agents`. May be
    /// given more than once.
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    #[command(flatten)]
    inputs: Inputs,
    /// Print what was written as JSON.
    #[arg(long)]
    json: bool,
    /// The tool server's command and its arguments, or the URL of its endpoint.
    #[arg(last = true, required_unless_present = "config", value_name = "COMMAND|URL")]
    command: Vec<String>,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    dir: String,
    /// The files that were written.
    files: Vec<String>,
    /// Whom the policies are about: groups and agents, as policies write them.
    principals: Vec<String>,
    servers: Vec<Written>,
    /// What to run next.
    next: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Written {
    server: String,
    /// How many tools it has, and how many of them are permitted.
    tools: usize,
    permitted: usize,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    let (config, servers) = servers(&args)?;
    let everybody = someone(&args.principals, &args.groups, Some(&config).filter(|_| args.config.is_some()))?;
    let names = match servers.as_slice() {
        [_] => vec![POLICIES.to_owned()],
        several => several.iter().map(|server| server.name.to_string()).collect(),
    };
    let own = names.iter().flat_map(|name| [format!("{name}.cedar"), format!("{name}{CASE_FILES}")]);
    let files: Vec<PathBuf> = [SCHEMA.to_owned(), TOOLS.to_owned()]
        .into_iter()
        .chain(own)
        .map(|name| args.dir.join(name))
        .collect();
    for server in &servers {
        startable(server)?;
    }
    if !args.force {
        alone(&args.dir, &files)?;
        if let Some(file) = files.iter().find(|file| file.exists()) {
            return Err(taken(file));
        }
    }
    let mut catalogue = Catalogue::default();
    for server in &servers {
        let tools = match args.config.is_some() {
            true => block_on(app::live_tools(&config, server))?.map_err(start)?,
            false => block_on(live(server))??,
        };
        catalogue.servers.insert(server.name.clone(), tools);
        catalogue.rules.insert(server.name.clone(), server.arguments.clone());
    }
    if let (None, None, [server]) = (&args.server, &args.config, servers.as_slice()) {
        let from = if matches!(server.kind, ServerKind::Http(_)) { "URL" } else { "command" };
        eprintln!(
            "chancery: policies call this server `{}`, after its {from}; --server NAME gives it another name",
            server.name
        );
    }
    let who: Vec<Who> = everybody.iter().map(|someone| someone.who.clone()).collect();
    let somebody: Vec<&str> = everybody.iter().map(|someone| someone.example.as_str()).collect();
    let reading =
        |tools: &[ToolDefinition]| tools.iter().filter(|t| t.annotations.read_only == Some(true)).count();
    let approved = approves(&args, &catalogue);
    let mut texts = vec![schema::text(&catalogue)?, LockFile { servers: catalogue.servers.clone() }.text()];
    let mut written = Vec::new();
    for server in &servers {
        let tools = catalogue.servers.get(&server.name).map(Vec::as_slice).unwrap_or_default();
        let policies = starter(&Starter { server: &server.name, tools, who: &who, approved });
        let (rules, name) = (&server.arguments, &server.name);
        let cases = first_cases::text(&First {
            server: name,
            tools,
            somebody: &somebody,
            rules,
            policies: &policies,
        });
        texts.extend([policies, cases]);
        let permitted = if approved { reading(tools) } else { 0 };
        written.push(Written { server: name.to_string(), tools: tools.len(), permitted });
    }
    fs::create_dir_all(&args.dir).map_err(|error| failed(&args.dir, &error))?;
    for (file, text) in files.iter().zip(&texts) {
        write(file, text, args.force)?;
    }
    let report = Report {
        dir: args.dir.display().to_string(),
        files: files.iter().map(|file| file.display().to_string()).collect(),
        principals: who.iter().map(ToString::to_string).collect(),
        servers: written,
        next: next(&args, &servers),
    };
    print(&if args.json { json(&report)? } else { shown(&report) })?;
    Ok(Exit::Done)
}

/// The servers that are meant, and the configuration that they are from, or the defaults.
fn servers(args: &Args) -> Result<(Config, Vec<ServerConfig>), Failure> {
    let env = Environment::process();
    let config = match &args.config {
        Some(file) => Config::load(file, Purpose::Run, &env),
        None => Config::defaults(Purpose::Run, &env),
    };
    let config = config.map_err(Failure::misuse)?;
    let mut servers: Vec<ServerConfig> = match &args.config {
        None => vec![server_at(args.server.clone(), args.command.clone())?],
        Some(_) => {
            let wanted =
                |server: &&ServerConfig| args.server.as_ref().is_none_or(|name| *name == server.name);
            config.servers.values().filter(wanted).cloned().collect()
        }
    };
    if servers.is_empty() {
        let known: Vec<&str> = config.servers.keys().map(ServerName::as_str).collect();
        let help = if known.is_empty() {
            "write `servers:` into it, or give a command: -- COMMAND".to_owned()
        } else {
            format!("its servers are {}", known.join(", "))
        };
        return Err(Failure::misuse(miette::miette!(
            help = help,
            "the configuration has no such tool server"
        )));
    }
    for server in &mut servers {
        args.inputs.extend(&mut server.arguments);
    }
    Ok((config, servers))
}

/// The commands to go on with.
fn next(args: &Args, servers: &[ServerConfig]) -> Vec<String> {
    let words: Vec<String> = args.command.iter().map(|word| shell(word)).collect();
    let dir = shell(&args.dir.display().to_string());
    let inputs: String = args.inputs.words().iter().map(|word| format!(" {}", shell(word))).collect();
    if let Some(file) = &args.config {
        let file = shell(&file.display().to_string());
        return vec![
            format!("chancery policy check -c {file} --policies {dir}{inputs}"),
            format!("chancery policy test -c {file} --policies {dir}{inputs} --require-coverage"),
            format!("chancery serve -c {file}    # with `policies: {dir}` in it"),
        ];
    }
    let name = args.server.as_ref().map(|name| format!(" --server {name}")).unwrap_or_default();
    let command = words.join(" ");
    let test = format!("chancery policy test --policies {dir}{inputs} --require-coverage");
    let run = match servers.first().map(|server| &server.kind) {
        Some(ServerKind::Http(_)) => {
            "chancery serve -c FILE    # with the URL and this directory in its configuration".to_owned()
        }
        _ => format!("chancery run --policies {dir}{name}{inputs} -- {command}"),
    };
    vec![format!("chancery policy check --policies {dir}{name}{inputs} -- {command}"), test, run]
}

/// The same for people.
fn shown(report: &Report) -> String {
    let whom = report.principals.join(", ");
    let mut out = String::new();
    for written in &report.servers {
        let Written { server, tools, permitted } = written;
        out.push_str(&format!("permitted {permitted} of {tools} tools of `{server}` to {whom}\n"));
    }
    out.push_str(&format!("\nwritten     {}\n", report.files.join("\n            ")));
    for (word, command) in ["check them", "test them", "use them"].iter().zip(&report.next) {
        out.push_str(&format!("{word:<12}{command}\n"));
    }
    out
}

/// Whether what servers call read-only is to be permitted.
fn approves(args: &Args, catalogue: &Catalogue) -> bool {
    let reading = catalogue.servers.iter().map(|(server, tools)| {
        (server, tools.iter().filter(|tool| tool.annotations.read_only == Some(true)).collect::<Vec<_>>())
    });
    let reading: Vec<_> = reading.filter(|(_, tools)| !tools.is_empty()).collect();
    !reading.is_empty() && (args.yes || confirmed(&reading))
}

/// Asks the author, where there is one.
fn confirmed(reading: &[(&ServerName, Vec<&ToolDefinition>)]) -> bool {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        for (server, _) in reading {
            eprintln!(
                "chancery: nothing is permitted yet; with --yes the tools that `{server}` calls read-only are"
            );
        }
        return false;
    }
    for (server, tools) in reading {
        eprintln!("`{server}` calls these of its tools read-only (its own claim):");
        for tool in tools {
            let title = tool.title.as_deref().or(tool.annotations.title.as_deref()).unwrap_or_default();
            eprintln!("  {}  {}", visible(&tool.name), crate::policy::remark(title));
        }
    }
    eprint!("Permit them? [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// Writes a new file, or under `force` puts it whole in the place of the old one.
fn write(path: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let written = if force {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        fs::write(&beside, text).and_then(|()| fs::rename(&beside, path))
    } else {
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
    };
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => taken(path),
        _ => failed(path, &error),
    })
}

/// Refuses a directory with policies of someone else's: they would be in force beside the new ones.
fn alone(dir: &Path, own: &[PathBuf]) -> Result<(), Failure> {
    let files = match policy_files(dir) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(dir, &error)),
    };
    let names = files.iter().filter(|file| !own.contains(file)).filter_map(|file| file.file_name());
    let names: Vec<String> = names.map(|name| name.display().to_string()).collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(Failure::misuse(miette::miette!(
        help = "choose another --dir, or let them be in force too with --force",
        "{} holds other policies, which would be in force too: {}",
        dir.display(),
        names.join(", ")
    )))
}

fn taken(path: &Path) -> Failure {
    Failure::misuse(miette::miette!(
        help = "choose another --dir, or overwrite it with --force",
        "{} is there already",
        path.display()
    ))
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::misuse(miette::miette!(
        help = "choose a --dir that can be written",
        "can't write {}: {error}",
        path.display()
    ))
}

/// A word as a shell takes it.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}
