//! What the gate asks: one message of one session.

use crate::domain::clock::Timestamp;
use crate::domain::digest::Salt;

use super::entities::SessionEntities;
use super::state::State;

/// Where a message comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client, on its way to the tool server.
    Client,
    /// From the tool server, on its way to the client.
    Server,
}

/// What is to be decided.
#[derive(Debug, Clone, Copy)]
pub enum Action<'a> {
    /// Opening the session: `Mcp::Action::"session/open"`.
    SessionOpen,
    /// A `tools/call`.
    ToolCall {
        /// The tool's name at its server.
        name: &'a str,
        /// The raw bytes of `params.arguments`; absent is the same as `{}`.
        arguments: Option<&'a [u8]>,
    },
    /// Any other method, request or notification.
    Method {
        /// The JSON-RPC method.
        method: &'a str,
        /// The prompt's name (`prompts/get`) or the resource's URI (`resources/*`), where the method has one.
        target: Option<&'a str>,
        /// Who sends it.
        from: Direction,
    },
}

/// One decision's question.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// The session that it belongs to.
    pub session: &'a SessionEntities,
    /// What is asked for.
    pub action: Action<'a>,
    /// The time of the decision.
    pub now: Timestamp,
    /// What the principal did before.
    pub state: &'a State,
    /// The record's salt, for the digest of the decision's input.
    pub salt: &'a Salt,
}

/// An entry of a list that a server answered, to be shown or hidden.
#[derive(Debug, Clone, Copy)]
pub enum Listed<'a> {
    /// A tool, by its name.
    Tool(&'a str),
    /// A prompt, by its name.
    Prompt(&'a str),
    /// A resource, by its URI.
    Resource(&'a str),
    /// The resources that a URI template (RFC 6570) can expand to.
    Template(&'a str),
}
