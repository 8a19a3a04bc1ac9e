//! `chancery policy init`: a directory with the first policies for a real server, usable at once.

use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use super::first_cases::{self, First};
use super::given::{TOOLS, server_at};
use super::{live, print, schema, startable};
use crate::app::lock::LockFile;
use crate::app::policies::policy_files;
use crate::cli::{Exit, Failure, block_on};
use crate::domain::ids::ServerName;
use crate::domain::unseen::visible;
use crate::policy::{Catalogue, Starter, ToolDefinition, starter};
use crate::proxy::config::ServerKind;

/// The generated schema, beside the policies.
const SCHEMA: &str = "mcp.cedarschema";
/// The policies.
const POLICIES: &str = "policies.cedar";
/// What they should say.
const CASES: &str = "policies.cases.yaml";

/// Arguments of `chancery policy init`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to write.
    #[arg(long, default_value = "policies", value_name = "DIR")]
    dir: PathBuf,
    /// Permit the tools that the server itself calls read-only, without asking.
    #[arg(long)]
    yes: bool,
    /// Overwrite what is there; other policy files stay, and are in force too.
    #[arg(long)]
    force: bool,
    /// The server's name in policies; by default taken from the command.
    #[arg(long, visible_alias = "name")]
    server: Option<ServerName>,
    /// The tool server's command and its arguments, or the URL of its endpoint.
    #[arg(last = true, required = true, value_name = "COMMAND|URL")]
    command: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    let words: Vec<String> = args.command.iter().map(|word| shell(word)).collect();
    let named = args.server.is_some();
    let server = server_at(args.server, args.command)?;
    let files = [SCHEMA, POLICIES, CASES, TOOLS].map(|name| args.dir.join(name));
    let [schema_file, policy_file, case_file, tools_file] = &files;
    startable(&server)?;
    if !args.force {
        alone(&args.dir)?;
        if let Some(file) = files.iter().find(|file| file.exists()) {
            return Err(taken(file));
        }
    }
    let tools = block_on(live(&server))??;
    let reading: Vec<&ToolDefinition> =
        tools.iter().filter(|tool| tool.annotations.read_only == Some(true)).collect();
    let approved = !reading.is_empty() && (args.yes || confirmed(&server.name, &reading));
    let uid = rustix::process::getuid().as_raw();
    let text = starter(&Starter { server: &server.name, tools: &tools, uid, approved });
    let schema_text = schema::text(&Catalogue::of(server.name.clone(), tools.clone()))?;
    let cases = first_cases::text(&First { server: &server.name, tools: &tools, uid, policies: &text });
    let captured = LockFile { servers: [(server.name.clone(), tools.clone())].into() };
    fs::create_dir_all(&args.dir).map_err(|error| failed(&args.dir, &error))?;
    write(schema_file, &schema_text, args.force)?;
    write(tools_file, &captured.text(), args.force)?;
    write(case_file, &cases, args.force)?;
    write(policy_file, &text, args.force)?;
    let permitted = if approved { reading.len() } else { 0 };
    let name = if named { format!(" --server {}", server.name) } else { String::new() };
    let (dir, command) = (shell(&args.dir.display().to_string()), words.join(" "));
    let (policies, schema) = (policy_file.display(), schema_file.display());
    let all = tools.len();
    let run = match &server.kind {
        ServerKind::Child(_) => format!("use them    chancery run --policies {dir}{name} -- {command}\n"),
        ServerKind::Http(_) => {
            "use them    chancery serve, with the URL and this directory in its configuration\n".to_owned()
        }
    };
    print(&format!(
        "{policies} permits {permitted} of {all} tools of `{}` to you (uid {uid}); {schema} lists what can be written\n\n\
         check them  chancery policy check --policies {dir}{name} -- {command}\n\
         test them   chancery policy test --policies {dir}\n{run}",
        server.name,
    ))?;
    Ok(Exit::Done)
}

/// Asks the author, where there is one.
fn confirmed(server: &ServerName, reading: &[&ToolDefinition]) -> bool {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        eprintln!(
            "chancery: nothing is permitted yet; with --yes the tools that `{server}` calls read-only are"
        );
        return false;
    }
    eprintln!("`{server}` calls these of its tools read-only (its own claim):");
    for tool in reading {
        let title = tool.title.as_deref().or(tool.annotations.title.as_deref()).unwrap_or_default();
        eprintln!("  {}  {}", visible(&tool.name), crate::policy::remark(title));
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
fn alone(dir: &Path) -> Result<(), Failure> {
    let files = match policy_files(dir) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(dir, &error)),
    };
    let names = files.iter().filter_map(|file| file.file_name()).filter(|name| *name != POLICIES);
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
