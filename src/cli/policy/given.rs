//! Which policies and which tools a command is about: a live server, a configuration, or a file of captured tools.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::live;
use crate::app;
use crate::app::lock::LockFile;
use crate::app::policies::case_files;
use crate::cli::inputs::Inputs;
use crate::cli::report::{policies, start, with_help};
use crate::cli::run::server;
use crate::cli::{Failure, block_on};
use crate::config::{CaseFile, Config, Environment, Purpose};
use crate::domain::ids::ServerName;
use crate::policy::{ArgumentRules, Catalogue, Engine, PolicySources, Provable};
use crate::proxy::config::{HttpConfig, ServerConfig, ServerKind};

/// The file of captured tools beside policies: a lock file, as `chancery policy lock` writes it.
pub(super) const TOOLS: &str = "tools.json";

/// Where the tools are from.
#[derive(Debug, clap::Args)]
pub(super) struct Given {
    /// File of captured tools; by default `tools.json` beside the policies, where there is one. With a configuration, in
    /// place of its servers' own.
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    tools: Option<PathBuf>,
    /// Configuration file: its policies, and its servers' tools as they are approved, were seen last, or are now.
    #[arg(short, long, value_name = "FILE", conflicts_with = "command")]
    config: Option<PathBuf>,
    /// The server's name in policies; by default taken from the command.
    #[arg(long, visible_alias = "name")]
    server: Option<ServerName>,
    #[command(flatten)]
    inputs: Inputs,
    /// A tool server's command and its arguments, or its URL, to ask it for the tools that it lists now.
    #[arg(last = true, value_name = "COMMAND|URL")]
    command: Vec<String>,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    /// Where the policies are.
    pub(super) policies: Vec<PathBuf>,
    /// Those of the configuration's shadow set, unless others were asked for.
    pub(super) shadow: Vec<PathBuf>,
    /// What the configuration can prove of principals, where there is one.
    pub(super) provable: Option<Provable>,
    /// The tools.
    pub(super) catalogue: Catalogue,
}

impl Given {
    /// The policies, those of the command line before others, and the tools.
    pub(super) fn find(&self, asked: &[PathBuf]) -> Result<Found, Failure> {
        let mut found = self.look(asked)?;
        self.inputs.extend_all(&mut found.catalogue);
        Ok(found)
    }

    fn look(&self, asked: &[PathBuf]) -> Result<Found, Failure> {
        let or = |paths: Vec<PathBuf>| if asked.is_empty() { paths } else { asked.to_vec() };
        if let Some(file) = &self.config {
            let env = Environment::process();
            let config = Config::load(file, Purpose::Run, &env).map_err(Failure::misuse)?;
            let catalogue = match &self.tools {
                None => block_on(app::known_tools(&config, &env))?.map_err(start)?,
                Some(file) => {
                    let rules = config.servers.values();
                    let rules = rules.map(|server| (server.name.clone(), server.arguments.clone())).collect();
                    Catalogue { rules, ..captured_tools(file)? }
                }
            };
            let shadow = if asked.is_empty() { config.shadow_policies } else { Vec::new() };
            let provable = Some(app::policies::provable(&config.admission));
            return Ok(Found { policies: or(config.policies), shadow, provable, catalogue });
        }
        let policies = or(vec!["policies".into()]);
        if !self.command.is_empty() {
            let server = server_at(self.server.clone(), self.command.clone())?;
            let catalogue = Catalogue::of(server.name.clone(), block_on(live(&server))??);
            return Ok(Found { policies, shadow: Vec::new(), provable: None, catalogue });
        }
        let captured = self
            .tools
            .clone()
            .or_else(|| policies.iter().map(|path| beside(path)).find(|file| file.exists()));
        let catalogue = captured.map_or(Ok(Catalogue::default()), |file| captured_tools(&file))?;
        Ok(Found { policies, shadow: Vec::new(), provable: None, catalogue })
    }

    /// The configuration, where one is given.
    pub(super) fn config(&self) -> Result<Option<Config>, Failure> {
        let load = |file| Config::load(file, Purpose::Run, &Environment::process()).map_err(Failure::misuse);
        self.config.as_deref().map(load).transpose()
    }

    /// Whether a running server is asked.
    pub(super) fn asks(&self) -> bool {
        !self.command.is_empty()
    }

    /// Whether a file of captured tools is named.
    pub(super) fn captures(&self) -> bool {
        self.tools.is_some()
    }

    /// The server that was named.
    pub(super) fn server(&self) -> Option<&ServerName> {
        self.server.as_ref()
    }

    /// The server of a command, which then is the one that requests are about.
    pub(super) fn server_of(&self, catalogue: &Catalogue) -> Option<ServerName> {
        let only = catalogue.servers.keys().next().filter(|_| catalogue.servers.len() == 1);
        self.server.clone().or_else(|| only.cloned())
    }
}

/// The server that a command line starts, or that is at its URL.
pub(super) fn server_at(name: Option<ServerName>, command: Vec<String>) -> Result<ServerConfig, Failure> {
    let url = match command.as_slice() {
        [only] if only.starts_with("http://") || only.starts_with("https://") => {
            Some(url::Url::parse(only).map_err(|error| {
                let help = "write the URL of its endpoint, such as http://127.0.0.1:3001/mcp";
                Failure::misuse(miette::miette!(help = help, "`{only}` is no URL: {error}"))
            })?)
        }
        _ => None,
    };
    let Some(url) = url else { return server(name, command) };
    let host = url.host_str().unwrap_or_default().to_owned();
    let Some(name) = name.or_else(|| app::server_name(&[host], Path::new(""))) else {
        return Err(Failure::misuse(miette::miette!(
            help = "say how policies call it: --server NAME",
            "the server has no name that can be taken from its URL"
        )));
    };
    let http = HttpConfig { url, headers: BTreeMap::new(), spiffe_ids: Vec::new(), forward_identity: None };
    Ok(ServerConfig { name, kind: ServerKind::Http(http), arguments: ArgumentRules::default() })
}

/// The file of captured tools that belongs to a policy file or directory.
pub(super) fn beside(path: &Path) -> PathBuf {
    let dir = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
    dir.join(TOOLS)
}

pub(super) fn captured_tools(file: &Path) -> Result<Catalogue, Failure> {
    let lock = LockFile::read(file).map_err(|error| {
        let help =
            format!("write it with `chancery policy lock --update --file {} -- COMMAND`", file.display());
        with_help(&error, help)
    })?;
    Ok(Catalogue { servers: lock.servers, ..Catalogue::default() })
}

/// The policies' text.
pub(super) fn loaded(paths: &[PathBuf]) -> Result<PolicySources, Failure> {
    app::policies::load(paths).map_err(|error| start(error.into()))
}

/// The policies, compiled; what is wrong with them is shown. Warnings are left to `policy check`.
pub(super) fn compiled(paths: &[PathBuf], catalogue: &Catalogue) -> Result<Engine, Failure> {
    let sources = loaded(paths)?;
    let (engine, _warnings) =
        Engine::compile(&sources, catalogue).map_err(|findings| Failure::misuse(policies(findings)))?;
    Ok(engine)
}

/// The case files that were asked for, or those beside the policies.
pub(super) fn cases(asked: &[PathBuf], policies: &[PathBuf]) -> Result<Vec<CaseFile>, Failure> {
    let mut files = Vec::new();
    for path in if asked.is_empty() { policies } else { asked } {
        let listed = || {
            let dir =
                if path.is_dir() { Some(path.as_path()) } else { path.parent().filter(|_| asked.is_empty()) };
            dir.map(|dir| if dir.as_os_str().is_empty() { Path::new(".") } else { dir }).map(case_files)
        };
        match listed() {
            Some(found) => files.extend(found.map_err(|error| {
                let help = "name a case file with --cases FILE";
                Failure::misuse(miette::miette!(help = help, "can't list {}: {error}", path.display()))
            })?),
            None => files.push(path.clone()),
        }
    }
    files.sort();
    files.dedup();
    files.iter().map(|file| CaseFile::load(file).map_err(Failure::misuse)).collect()
}
