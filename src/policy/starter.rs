//! Writes the first policies for a real server: enough to begin with, and every line an author needs to go on.

use std::fmt::{self, Write as _};

use crate::domain::ids::ServerName;

use super::catalogue::ToolDefinition;
use super::format::{LINE_WIDTH, laid_out};
use super::schema::{quoted, remark};

/// What the first policies are written for.
#[derive(Debug, Clone, Copy)]
pub struct Starter<'a> {
    /// The server.
    pub server: &'a ServerName,
    /// Its tools.
    pub tools: &'a [ToolDefinition],
    /// Who may use it; any of them.
    pub who: &'a [Who],
    /// Whether the author agreed to permit the tools that the server itself calls read-only.
    pub approved: bool,
}

/// Whom policies are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Whoever is in this group.
    Group(String),
    /// This agent alone.
    Agent(String),
}

impl Who {
    /// In a policy's scope.
    fn scope(&self) -> String {
        match self {
            Self::Group(_) => format!("in {self}"),
            Self::Agent(_) => format!("== {self}"),
        }
    }

    /// In words.
    fn words(&self) -> String {
        match self {
            Self::Group(id) => match id.strip_prefix("uid:") {
                Some(uid) => format!("whoever runs as uid {uid}"),
                None => format!("whoever is in the group {}", quoted(&remark(id))),
            },
            Self::Agent(id) => format!("the agent {}", quoted(&remark(id))),
        }
    }
}

impl fmt::Display for Who {
    /// As policies write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(id) => write!(f, "Mcp::Group::{}", quoted(id)),
            Self::Agent(id) => write!(f, "Mcp::Agent::{}", quoted(id)),
        }
    }
}

/// How policies say whom they are about: what stands in the scope, and what follows it.
struct Whom {
    scope: String,
    after: String,
}

impl Whom {
    fn of(who: &[Who]) -> Self {
        match who {
            [one] => Self { scope: format!("principal {}", one.scope()), after: String::new() },
            several => {
                let tests: Vec<String> =
                    several.iter().map(|who| format!("principal {}", who.scope())).collect();
                Self {
                    scope: "principal is Mcp::Agent".to_owned(),
                    after: format!("\n  when {{ {} }}", tests.join(" || ")),
                }
            }
        }
    }
}

/// The text of the policies: opening a session, lists and logging for one user; each tool as a policy of its own, in
/// force only where the server calls it read-only and the author agreed. It is in the layout of `chancery policy format`.
pub fn starter(of: &Starter<'_>) -> String {
    let text = written(of);
    // What can't be laid out is as good without.
    laid_out(&text, LINE_WIDTH).unwrap_or(text)
}

fn written(of: &Starter<'_>) -> String {
    let server = quoted(of.server.as_str());
    let whom = Whom::of(of.who);
    let Whom { scope: user, after } = &whom;
    let words: Vec<String> = of.who.iter().map(Who::words).collect();
    let mut words = words.join(", or ");
    if let Some(first) = words.get(..1).map(str::to_uppercase) {
        words.replace_range(..1, &first);
    }
    // In a comment each line is one.
    let off = after.replace('\n', "\n// ");
    let name = of.server.as_str();
    let mut out = format!(
        "// Who may do what with the tool server {server}. What is not permitted here is denied.\n\
         // Check this file with `chancery policy check`; mcp.cedarschema beside it lists what can be written.\n\
         \n\
         // {words} may open a session,\n\
         @id(\"{name}:open\")\n\
         permit ({user}, action == Mcp::Action::\"session/open\", resource == Mcp::Server::{server}){after};\n\
         \n\
         // see the lists (of tools: those that a policy here could permit),\n\
         @id(\"{name}:lists\")\n\
         permit ({user}, action in Mcp::Action::\"list\", resource == Mcp::Server::{server}){after};\n\
         \n\
         // and have arguments completed and the log level set.\n\
         @id(\"{name}:comfort\")\n\
         permit (\n  {user},\n  action in [Mcp::Action::\"completion/complete\", Mcp::Action::\"logging/setLevel\"],\n  \
         resource == Mcp::Server::{server}\n){after};\n"
    );
    let (reading, other): (Vec<_>, Vec<_>) =
        of.tools.iter().partition(|tool| tool.annotations.read_only == Some(true));
    if !reading.is_empty() {
        out.push_str("\n// Tools that the server itself calls read-only. Nobody has verified that.\n");
        write_tools(&mut out, of.server, &whom, &reading, of.approved);
    }
    let (adding, other): (Vec<_>, Vec<_>) =
        other.into_iter().partition(|tool| tool.annotations.destructive == Some(false));
    if !adding.is_empty() {
        out.push_str(
            "\n// Tools that change something and, by the server's word, destroy nothing. Permit what you need, as narrowly\n\
             // as you can.\n",
        );
        write_tools(&mut out, of.server, &whom, &adding, false);
    }
    if !other.is_empty() {
        out.push_str(
            "\n// Tools that may destroy something. Permit what you need, as narrowly as you can.\n",
        );
        write_tools(&mut out, of.server, &whom, &other, false);
    }
    let _infallible = write!(
        out,
        "\n// Prompts and resources of the server.\n\
         // permit ({user}, action == Mcp::Action::\"prompts/get\", resource in Mcp::Server::{server}){off};\n\
         // permit ({user}, action == Mcp::Action::\"resources/read\", resource in Mcp::Server::{server}){off};\n\
         \n\
         // What the server may ask of the agent: its folders, a completion by its model, input of its user.\n\
         // permit (principal == Mcp::Server::{server}, action == Mcp::Action::\"roots/list\", resource);\n\
         // permit (principal == Mcp::Server::{server}, action == Mcp::Action::\"sampling/createMessage\", resource);\n\
         // permit (principal == Mcp::Server::{server}, action == Mcp::Action::\"elicitation/create\", resource);\n"
    );
    out
}

fn write_tools(out: &mut String, server: &ServerName, whom: &Whom, tools: &[&ToolDefinition], active: bool) {
    let mark = if active { "" } else { "// " };
    let Whom { scope, after } = whom;
    let after = after.replace('\n', &format!("\n{mark}"));
    for tool in tools {
        let id = quoted(&format!("{server}/{}", tool.name));
        let title =
            tool.title.as_deref().or(tool.annotations.title.as_deref()).or(tool.description.as_deref());
        let _infallible = match title.map(remark).filter(|title| !title.is_empty()) {
            Some(title) => writeln!(out, "\n// {title}"),
            None => writeln!(out),
        };
        let _infallible = writeln!(
            out,
            "{mark}@id({id})\n{mark}permit ({scope}, action == Mcp::Action::{id}, resource){after};"
        );
    }
}
