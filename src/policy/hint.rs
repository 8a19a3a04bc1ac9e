//! What may be wrong with a request that an author makes up: a tool, a server or a method that there is none of.

use super::engine::Engine;
use super::methods::{METHODS, OTHER, find, is_upkeep};
use super::names::nearest;
use super::query::{Action, Query};

/// What is odd about the names in `query`, and what was probably meant.
pub(super) fn hint(engine: &Engine, query: &Query<'_>) -> Option<String> {
    match query.action {
        Action::SessionOpen => None,
        Action::ToolCall { name, .. } => tool(engine, query, name),
        Action::Method { method, from, .. } => {
            if method == OTHER.name || find(method, from).name != OTHER.name {
                return None;
            }
            if is_upkeep(method) {
                return Some(format!("`{method}` passes with the session, no policy decides it"));
            }
            if METHODS.iter().any(|known| known.name == method) {
                return Some(format!("`{method}` is not sent from that side, so it counts as `other`"));
            }
            let own = format!("`{method}` has no action of its own, so it counts as `other`");
            let known = METHODS.iter().map(|known| known.name).chain(["session/open"]);
            match nearest(method, known) {
                _ if method == "tools/call" => Some(format!("{own}: ask for the tool")),
                Some(near) => Some(format!("{own}; did you mean `{near}`?")),
                None => Some(own),
            }
        }
    }
}

fn tool(engine: &Engine, query: &Query<'_>, name: &str) -> Option<String> {
    let server = &query.session.facts().server;
    if engine.is_empty() || engine.tool(server, name).is_some() {
        return None;
    }
    let whole = format!("{server}/{name}");
    // A tool's own name may have a slash.
    if let Some((other, _)) = engine.tools.iter().find(|(_, tools)| tools.contains_key(&whole)) {
        return Some(format!("`{other}` has the tool `{whole}`: write `{other}/{whole}`"));
    }
    let Some(tools) = engine.tools.get(server) else {
        let known = engine.tools.keys().map(|known| known.as_str());
        return Some(match nearest(server.as_str(), known) {
            Some(near) => format!("no tools of a server `{server}` are known; did you mean `{near}`?"),
            None if engine.tools.is_empty() => {
                "no tools are known: give them with --tools FILE, -c FILE or -- COMMAND".to_owned()
            }
            None => {
                let mut known: Vec<&str> = engine.tools.keys().map(|known| known.as_str()).collect();
                known.sort_unstable();
                format!("no tools of a server `{server}` are known; there are those of {}", known.join(", "))
            }
        });
    };
    let near = nearest(name, tools.keys().map(String::as_str));
    Some(match near {
        Some(near) => format!("`{server}` has no tool `{name}`; did you mean `{near}`?"),
        None => format!("`{server}` has no tool `{name}`"),
    })
}
