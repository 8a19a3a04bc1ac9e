//! What may be wrong with a request that an author makes up: a tool, a server or a method that there is none of.

use std::fmt;

use super::engine::Engine;
use super::methods::{METHODS, OTHER, find, is_upkeep};
use super::names::nearest;
use super::query::{Action, Query};

/// What may be wrong with a request itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// What of the request it is about.
    pub about: Misnamed,
    /// What is odd.
    pub what: String,
    /// What was probably meant.
    pub fix: Option<String>,
}

/// What of a request is odd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misnamed {
    /// No such server is known.
    Server,
    /// Its server has no such tool.
    Tool,
    /// No policy decides such a method under its own name.
    Method,
    /// Nothing: the method exists, and the other side sends it.
    Nothing,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.fix.iter().try_for_each(|fix| write!(f, "; {fix}"))
    }
}

impl Hint {
    fn of(about: Misnamed, what: String, fix: Option<String>) -> Self {
        Self { about, what, fix }
    }

    fn meant(about: Misnamed, what: String, near: Option<&str>) -> Self {
        Self::of(about, what, near.map(|near| format!("did you mean `{near}`?")))
    }
}

/// What is odd about the names in `query`, and what was probably meant.
pub(super) fn hint(engine: &Engine, query: &Query<'_>) -> Option<Hint> {
    match query.action {
        Action::SessionOpen => server(engine, query),
        Action::ToolCall { name, .. } => tool(engine, query, name),
        Action::Method { method, from, .. } => {
            if method == OTHER.name || find(method, from).name != OTHER.name {
                return server(engine, query);
            }
            if is_upkeep(method) {
                let what = format!("`{method}` passes with the session, no policy decides it");
                return Some(Hint::of(Misnamed::Method, what, Some("ask for `session/open`".to_owned())));
            }
            if METHODS.iter().any(|known| known.name == method) {
                let what = format!("`{method}` is not sent from that side, so it counts as `other`");
                return Some(Hint::of(Misnamed::Nothing, what, None));
            }
            let own = format!("`{method}` has no action of its own, so it counts as `other`");
            let known = METHODS.iter().map(|known| known.name).chain(["session/open"]);
            Some(match nearest(method, known) {
                _ if method == "tools/call" => {
                    Hint::of(Misnamed::Method, own, Some("ask for the tool".to_owned()))
                }
                near => Hint::meant(Misnamed::Method, own, near),
            })
        }
    }
}

/// That none of the servers is the one that is asked, and one is called nearly so. Without tools another name may well be
/// meant: of a server that is to have nothing.
fn server(engine: &Engine, query: &Query<'_>) -> Option<Hint> {
    let (server, catalogue) = (&query.session.facts().server, &engine.catalogue);
    if engine.is_empty() || catalogue.servers.contains_key(server) || catalogue.unanswered.contains(server) {
        return None;
    }
    nearest(server.as_str(), catalogue.servers.keys().map(|known| known.as_str()))?;
    Some(strange(engine, server.as_str()))
}

/// A server that is not known.
fn strange(engine: &Engine, server: &str) -> Hint {
    let mut known: Vec<&str> = engine.catalogue.servers.keys().map(|known| known.as_str()).collect();
    known.sort_unstable();
    let what = format!("no tools of a server `{server}` are known");
    let fix = match nearest(server, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are those of {}", known.join(", ")),
    };
    Hint::of(Misnamed::Server, what, Some(fix))
}

fn tool(engine: &Engine, query: &Query<'_>, name: &str) -> Option<Hint> {
    let server = &query.session.facts().server;
    if engine.is_empty() || engine.tool(server, name).is_some() {
        return None;
    }
    let whole = format!("{server}/{name}");
    // A tool's own name may have a slash.
    if let Some((other, _)) = engine.tools.iter().find(|(_, tools)| tools.contains_key(&whole)) {
        let fix = format!("`{other}` has the tool `{whole}`: write `{other}/{whole}`");
        return Some(Hint::of(
            Misnamed::Tool,
            format!("no tools of a server `{server}` are known"),
            Some(fix),
        ));
    }
    let Some(tools) = engine.tools.get(server) else {
        if engine.catalogue.servers.is_empty() {
            let fix = "give them with --tools FILE, -c FILE or -- COMMAND".to_owned();
            return Some(Hint::of(Misnamed::Tool, "no tools are known".to_owned(), Some(fix)));
        }
        return Some(strange(engine, server.as_str()));
    };
    let near = nearest(name, tools.keys().map(String::as_str));
    Some(Hint::meant(Misnamed::Tool, format!("`{server}` has no tool `{name}`"), near))
}
