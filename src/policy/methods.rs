//! MCP's methods as Cedar actions: who may send each and what it is about.

use super::query::Direction;

/// What a method's resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// The server as a whole; for what a server sends, the agent.
    Peer,
    /// A prompt, by name.
    Prompt,
    /// A resource, by URI.
    Resource,
}

/// A method that has an action of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Method {
    /// The JSON-RPC method and the action's id.
    pub(super) name: &'static str,
    /// What it is about.
    pub(super) about: About,
    /// The action group that it is in.
    pub(super) group: Option<&'static str>,
    client: bool,
    server: bool,
}

const fn client(name: &'static str, about: About, group: Option<&'static str>) -> Method {
    Method { name, about, group, client: true, server: false }
}

const fn server(name: &'static str) -> Method {
    Method { name, about: About::Peer, group: None, client: false, server: true }
}

const fn either(name: &'static str) -> Method {
    Method { name, about: About::Peer, group: None, client: true, server: true }
}

const LIST: Option<&str> = Some("list");

/// Opening a session; no JSON-RPC method is mapped to it.
pub(super) const SESSION_OPEN: Method = client("session/open", About::Peer, None);
/// The action of every method that is not in [`METHODS`], or that comes from the wrong side.
pub(super) const OTHER: Method = either("other");

/// The methods that have an action of their own (`tools/call` has one for each tool instead).
pub(super) const METHODS: &[Method] = &[
    client("tools/list", About::Peer, LIST),
    client("prompts/list", About::Peer, LIST),
    client("resources/list", About::Peer, LIST),
    client("resources/templates/list", About::Peer, LIST),
    client("prompts/get", About::Prompt, None),
    client("resources/read", About::Resource, None),
    client("resources/subscribe", About::Resource, None),
    client("resources/unsubscribe", About::Resource, None),
    client("completion/complete", About::Peer, None),
    client("logging/setLevel", About::Peer, None),
    client("notifications/roots/list_changed", About::Peer, None),
    server("sampling/createMessage"),
    server("elicitation/create"),
    server("roots/list"),
    either("tasks/get"),
    either("tasks/list"),
    either("tasks/result"),
    either("tasks/cancel"),
];

/// The action groups that hold actions of [`METHODS`] or tools.
pub(super) const GROUPS: [&str; 2] = ["tools/call", "list"];

/// Messages that pass with the session and are never decided, so no action bears their name.
pub(super) fn is_upkeep(method: &str) -> bool {
    let client = ["notifications/initialized", "notifications/cancelled", "notifications/progress"];
    let server = [
        "notifications/message",
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
    ];
    ["ping", "initialize"].contains(&method) || client.contains(&method) || server.contains(&method)
}

/// The action of `method`, sent by `from`.
pub(super) fn find(method: &str, from: Direction) -> Method {
    let sent = |known: &&Method| match from {
        Direction::Client => known.client,
        Direction::Server => known.server,
    };
    METHODS.iter().filter(sent).find(|known| known.name == method).copied().unwrap_or(OTHER)
}
