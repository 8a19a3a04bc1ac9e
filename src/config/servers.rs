//! Tool servers: commands with their environment, URLs with their headers.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use super::inputs::Breaches as Said;
use super::located::At;
use super::raw;
use super::resolve::Resolver;
use super::texts::Texts;
use crate::domain::ids::{ServerName, SpiffeId};
use crate::policy::{ArgumentRules, Breaches, InputRule, Meaning};
use crate::proxy::config::{ChildConfig, HttpConfig, ServerConfig, ServerKind};

impl Resolver<'_> {
    pub(super) fn servers(
        &mut self,
        raw: &BTreeMap<At<String>, At<raw::Server>>,
        own_audience: Option<&str>,
    ) -> BTreeMap<ServerName, ServerConfig> {
        let mut servers = BTreeMap::new();
        for (name, server) in raw {
            let kind = self.server(server);
            let arguments = self.arguments(&server.value);
            match (ServerName::from_str(&name.value), kind) {
                (Ok(name), Some(kind)) => {
                    servers.insert(name.clone(), ServerConfig { name, kind, arguments });
                }
                (Ok(_), None) => {}
                (Err(error), _) => self.mistakes.add(&name.span, error.to_string(), ""),
            }
        }
        self.audiences(raw, &servers, own_audience);
        servers
    }

    fn server(&mut self, raw: &At<raw::Server>) -> Option<ServerKind> {
        let server = &raw.value;
        let mut misplaced = |keys: &[(&str, bool)], other: &str| {
            for (key, _) in keys.iter().filter(|(_, there)| *there) {
                self.mistakes.add(&raw.span, format!("`{key}` has no meaning beside `{other}`"), "remove it");
            }
        };
        match (&server.command, &server.url) {
            (Some(command), None) => {
                let there = [
                    ("headers", !server.headers.is_empty()),
                    ("spiffe_id", !server.spiffe_id.0.is_empty()),
                    ("forward_identity", server.forward_identity.is_some()),
                ];
                misplaced(&there, "command");
                if command.value.trim().is_empty() {
                    self.mistakes.add(&command.span, "the command is empty", "name the program to start");
                }
                let env = self.variables(&server.env);
                let cwd = self.optional_path(server.cwd.as_ref());
                // A command with a slash is a path, and as such relative to the file that names it.
                let command = match command.value.contains('/') {
                    true => self.path(command).display().to_string(),
                    false => command.value.clone(),
                };
                Some(ServerKind::Child(ChildConfig { command, args: server.args.clone(), env, cwd }))
            }
            (None, Some(url)) => {
                let there = [
                    ("args", !server.args.is_empty()),
                    ("env", !server.env.is_empty()),
                    ("cwd", server.cwd.is_some()),
                ];
                misplaced(&there, "url");
                let headers = self.headers(&server.headers);
                let spiffe_ids = self.spiffe_ids(url, &server.spiffe_id);
                let url = self.endpoint(url);
                let forward_identity = self.forward_identity(url.as_ref(), server);
                url.map(|url| ServerKind::Http(HttpConfig { url, headers, spiffe_ids, forward_identity }))
            }
            (Some(_), Some(url)) => {
                self.mistakes.add(
                    &url.span,
                    "a server has a `command` or a `url`, not both",
                    "remove one of them",
                );
                None
            }
            (None, None) => {
                let help = "write `command:` (with `args:`) to start it, or `url:` to reach it";
                self.mistakes.add(&raw.span, "this server has neither `command` nor `url`", help);
                None
            }
        }
    }

    /// What is said of its tools' arguments.
    fn arguments(&mut self, server: &raw::Server) -> ArgumentRules {
        let breaches = match server.arguments {
            None | Some(Said::Refuse) => Breaches::Refuse,
            Some(Said::Record) => Breaches::Record,
        };
        let named = &server.inputs;
        let mut inputs = Vec::new();
        for (meaning, texts) in
            [(Meaning::Path, &named.path), (Meaning::Uri, &named.uri), (Meaning::Host, &named.host)]
        {
            for text in &texts.0 {
                match InputRule::new(meaning, &text.value) {
                    Ok(rule) => inputs.push(rule),
                    Err(error) => {
                        let help = "write `<argument>` or `<tool>:<argument>`";
                        self.mistakes.add(&text.span, error.to_string(), help);
                    }
                }
            }
        }
        ArgumentRules { breaches, inputs }
    }

    /// Who the server must prove to be.
    fn spiffe_ids(&mut self, url: &At<String>, raw: &Texts) -> Vec<SpiffeId> {
        if let Some(first) = raw.0.first()
            && !url.value.starts_with("https:")
        {
            let help = "write an https URL: the server proves its SPIFFE ID by TLS";
            self.mistakes.add(&first.span, "`spiffe_id` has no meaning without TLS", help);
        }
        raw.0.iter().filter_map(|id| self.spiffe_id(id)).collect()
    }

    fn endpoint(&mut self, url: &At<String>) -> Option<url::Url> {
        let parsed = url::Url::parse(&url.value).ok().filter(|parsed| {
            matches!(parsed.scheme(), "http" | "https")
                && parsed.has_host()
                && parsed.username().is_empty()
                && parsed.password().is_none()
        });
        if parsed.is_none() {
            let help = "write an http or https URL without user and password; credentials go into `headers`";
            self.mistakes.add(&url.span, "this is not the URL of a tool server", help);
        }
        parsed
    }

    fn variables(&mut self, raw: &BTreeMap<At<String>, At<String>>) -> BTreeMap<String, String> {
        let mut variables = BTreeMap::new();
        for (name, value) in raw {
            if name.value.is_empty() || name.value.contains(['=', '\0']) {
                self.mistakes.add(&name.span, "this can't be the name of a variable", "");
            }
            if let Some(value) = self.interpolated(value) {
                variables.insert(name.value.clone(), value);
            }
        }
        variables
    }

    pub(super) fn interpolated(&mut self, value: &At<String>) -> Option<String> {
        match self.env.interpolate(&value.value) {
            Ok(text) => Some(text),
            Err(why) => {
                let help = "set the variable for the gateway, or write `$$` for a plain dollar sign";
                self.mistakes.add(&value.span, why, help);
                None
            }
        }
    }
}
