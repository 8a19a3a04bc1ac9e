//! The names that policies use for actions, tools and servers, against those that exist.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{ActionConstraint, Effect, EntityUid, ResourceConstraint};

use crate::domain::ids::{IdError, ServerName};

use super::compile::{Findings, Parsed, find};
use super::diagnostic::Severity;
use super::entities::TYPES;
use super::methods::{GROUPS, METHODS, OTHER, SESSION_OPEN, is_upkeep};
use super::schema::quoted;
use super::slips::tool_name;

/// All names that exist.
#[derive(Debug)]
pub(super) struct Names {
    servers: BTreeSet<String>,
    /// `<server>/<tool>`.
    tools: BTreeSet<String>,
    /// Servers that did not answer, and whether that was said: once for all policies.
    unanswered: BTreeMap<String, Cell<bool>>,
    /// Servers of whose tools only the approved ones are known.
    pinned: BTreeSet<String>,
    /// Actions of methods.
    methods: BTreeSet<&'static str>,
}

/// What was found of one policy's names.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Actions that no known tool has: `(id, server)`, without server for a server's group. They are declared for
    /// validation and apply to nothing.
    pub(super) stubs: BTreeMap<String, Option<String>>,
    /// Whether it can't apply before a server shows more tools; told with a warning.
    pub(super) dormant: bool,
    /// Whether one of its names was reported as an error.
    pub(super) refused: bool,
}

impl Names {
    /// Of the known servers and tools, and the servers that are configured and did not answer.
    pub(super) fn new<'a>(
        servers: impl Iterator<Item = &'a str>,
        tools: impl Iterator<Item = (&'a str, &'a str)>,
        unanswered: impl Iterator<Item = &'a str>,
    ) -> Self {
        Self {
            servers: servers.map(str::to_owned).collect(),
            tools: tools.map(|(server, tool)| format!("{server}/{tool}")).collect(),
            unanswered: unanswered.map(|server| (server.to_owned(), Cell::new(false))).collect(),
            pinned: BTreeSet::new(),
            methods: METHODS.iter().chain([&SESSION_OPEN, &OTHER]).map(|method| method.name).collect(),
        }
    }

    /// The same, where of these servers' tools only the approved ones are known.
    pub(super) fn approved<'a>(self, pinned: impl Iterator<Item = &'a str>) -> Self {
        Self { pinned: pinned.map(str::to_owned).collect(), ..self }
    }

    /// Checks every name that `policy` uses.
    pub(super) fn check(&self, policy: &Parsed<'_>, findings: &mut Findings) -> Verdict {
        let mut verdict = Verdict::default();
        let mut seen = BTreeSet::new();
        for literal in policy.policy.entity_literals() {
            let (ty, id) = (literal.type_name(), literal.id().unescaped());
            if !seen.insert(literal.clone()) {
                continue;
            }
            if *ty == TYPES.action {
                self.check_action(policy, id, &mut verdict, findings);
            } else if *ty == TYPES.tool && !self.tools.contains(id) {
                self.unknown(policy, "tool", id, self.tools.iter(), &mut verdict, findings);
            } else if *ty == TYPES.server && !self.servers.contains(id) {
                self.unknown(policy, "server", id, self.servers.iter(), &mut verdict, findings);
            }
        }
        self.check_scope(policy, &mut verdict, findings);
        verdict
    }

    fn check_action(&self, policy: &Parsed<'_>, id: &str, verdict: &mut Verdict, findings: &mut Findings) {
        let group = id.strip_suffix("/*").is_some_and(|server| self.servers.contains(server));
        if group || self.tools.contains(id) || self.methods.contains(id) || GROUPS.contains(&id) {
            return;
        }
        if is_upkeep(id) {
            let message = format!("`{id}` is no action: it passes with the session and is not decided");
            let help = Some("permit `Mcp::Action::\"session/open\"`".to_owned());
            findings.add(
                Severity::Error,
                &policy.statement,
                place(policy, id),
                Some(&policy.id),
                message,
                help,
            );
            verdict.refused = true;
            return;
        }
        let method = nearest(id, self.methods.iter().chain(&GROUPS).copied());
        let (server, tool) = id.split_once('/').unwrap_or((id, ""));
        let valid = server.parse::<ServerName>();
        let reserved = matches!(valid, Err(IdError::ReservedServerName(_)));
        let configured = self.servers.contains(server) || self.unanswered.contains_key(server);
        let misspelt = !configured && method.is_some_and(|m| m.contains('/'));
        if tool.is_empty() || valid.is_err() || misspelt {
            let message = match (reserved || misspelt || tool.is_empty(), valid) {
                (false, Err(error)) => error.to_string(),
                _ => format!("there is no action `{id}`"),
            };
            let near = || method.map(str::to_owned).or_else(|| self.near_tool(id));
            let near = tool_name(id, self.tools.iter()).filter(|_| tool.is_empty()).or_else(near);
            let help = near.map(|near| format!("did you mean `Mcp::Action::{}`?", quoted(&near)));
            let help = help.or_else(|| {
                Some(
                    "an action is an MCP method, `<server>/<tool>`, or a group such as `<server>/*`"
                        .to_owned(),
                )
            });
            findings.add(
                Severity::Error,
                &policy.statement,
                place(policy, id),
                Some(&policy.id),
                message,
                help,
            );
            verdict.refused = true;
            return;
        }
        if tool == "*" {
            verdict.stubs.insert(id.to_owned(), None);
        } else {
            verdict.stubs.insert(format!("{server}/*"), None);
            verdict.stubs.insert(id.to_owned(), Some(server.to_owned()));
        }
        if self.servers.contains(server) {
            // The server's group is declared with its tools.
            verdict.stubs.remove(&format!("{server}/*"));
        }
        let (what, id) = if tool == "*" { ("server", server) } else { ("tool", id) };
        let known = if tool == "*" { &self.servers } else { &self.tools };
        self.unknown(policy, what, id, known.iter(), verdict, findings);
    }

    fn near_tool(&self, id: &str) -> Option<String> {
        nearest(id, self.tools.iter().map(String::as_str)).map(str::to_owned)
    }

    fn unknown<'a>(
        &self,
        policy: &Parsed<'_>,
        what: &str,
        id: &str,
        known: impl Iterator<Item = &'a String>,
        verdict: &mut Verdict,
        findings: &mut Findings,
    ) {
        let server = id.split_once('/').map_or(id, |(server, _)| server);
        if let Some(told) = self.unanswered.get(server) {
            verdict.dormant = true;
            if !told.replace(true) {
                let message = format!(
                    "the server `{server}` is configured but did not answer, so its tools are not known"
                );
                let help = "what policies say of it takes effect when it lists its tools".to_owned();
                let at = place(policy, id);
                findings.add(Severity::Warning, &policy.statement, at, Some(&policy.id), message, Some(help));
                findings.of_unknown_name();
            }
            return;
        }
        let near = nearest(id, known.map(String::as_str));
        let slip = tool_name(id, self.tools.iter()).filter(|_| what == "tool");
        let help = match (near, id.split_once('/')) {
            _ if slip.is_some() && !id.contains('/') => {
                format!("a tool's id is `<server>/<tool>`: did you mean `{}`?", slip.unwrap_or_default())
            }
            _ if slip.is_some() => slip.unwrap_or_default(),
            (None, None) if what == "tool" => "a tool's id is `<server>/<tool>`".to_owned(),
            (near, Some((server, _))) if self.pinned.contains(server) => {
                let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
                format!(
                    "{near}it is none of the approved tools of `{server}`; if the server lists it, approve it: \
                     `chancery policy approve`, or `chancery policy lock --update` where the lock file counts"
                )
            }
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, Some((server, _))) if self.servers.contains(server) => {
                format!("`{server}` lists no such tool; it takes effect when the server lists one")
            }
            _ => "it takes effect when such a server is known".to_owned(),
        };
        let message =
            format!("no known server has the tool `{id}`, so what this policy says of it is dormant");
        let message = match what {
            "server" => format!("no server `{id}` is known"),
            _ if self.protects_nothing(policy, id) => {
                format!("its server has no tool `{id}`, so this forbid protects nothing")
            }
            _ => message,
        };
        let at = place(policy, id);
        findings.add(Severity::Warning, &policy.statement, at, Some(&policy.id), message, Some(help));
        findings.of_unknown_name();
        verdict.dormant = true;
    }

    /// Whether `policy` is a `forbid` whose scope names no tool but missing ones, the missing `id` of a server whose
    /// tools are known among them.
    fn protects_nothing(&self, policy: &Parsed<'_>, id: &str) -> bool {
        let policy = &policy.policy;
        let listed = id.split_once('/').is_some_and(|(server, _)| self.lists(server));
        if !listed || policy.effect() != Effect::Forbid {
            return false;
        }
        let missing = |action: &EntityUid| {
            let id = action.id().unescaped();
            let group = id.strip_suffix("/*").is_some_and(|server| self.lists(server));
            !(group || self.tools.contains(id) || self.methods.contains(id) || GROUPS.contains(&id))
        };
        let actions = match policy.action_constraint() {
            ActionConstraint::Any => false,
            ActionConstraint::Eq(action) => missing(&action),
            ActionConstraint::In(actions) => actions.iter().all(missing),
        };
        let resource = match policy.resource_constraint() {
            ResourceConstraint::Eq(entity) | ResourceConstraint::In(entity) => {
                *entity.type_name() == TYPES.tool && entity.id().unescaped() == id
            }
            _ => false,
        };
        actions || resource
    }

    /// Whether tools of `server` are known.
    fn lists(&self, server: &str) -> bool {
        let prefix = format!("{server}/");
        self.tools.range(prefix.clone()..).next().is_some_and(|tool| tool.starts_with(&prefix))
    }

    fn check_scope(&self, policy: &Parsed<'_>, verdict: &mut Verdict, findings: &mut Findings) {
        let id_of = |action: &EntityUid| action.id().unescaped().to_owned();
        match policy.policy.action_constraint() {
            ActionConstraint::Eq(action) if self.is_group(&id_of(&action)) => {
                let id = id_of(&action);
                let message = format!("`{id}` is a group of actions, and no message is the group itself");
                let help = format!("write `action in Mcp::Action::{}`", quoted(&id));
                let at = place(policy, &id);
                findings.add(Severity::Error, &policy.statement, at, Some(&policy.id), message, Some(help));
                verdict.refused = true;
            }
            // With no tools known, what is said of all tools can't apply yet.
            ActionConstraint::In(actions) if self.tools.is_empty() => {
                verdict.dormant |=
                    actions.iter().all(|action| self.is_group(&id_of(action)) && id_of(action) != "list");
            }
            ActionConstraint::In(actions) => {
                let empty = |group: &str| {
                    group
                        .strip_suffix('*')
                        .is_some_and(|prefix| !self.tools.iter().any(|t| t.starts_with(prefix)))
                };
                verdict.dormant |= actions.iter().all(|action| empty(&id_of(action)));
            }
            _ => {}
        }
    }

    fn is_group(&self, id: &str) -> bool {
        GROUPS.contains(&id) || id.ends_with("/*")
    }
}

/// Where the policy says `id`.
pub(super) fn place(policy: &Parsed<'_>, id: &str) -> Option<(usize, usize)> {
    let literal = quoted(id);
    let named = find(&policy.statement, &format!("::{literal}")).map(|(at, length)| (at + 2, length - 2));
    named.or_else(|| find(&policy.statement, &literal)).or_else(|| find(&policy.statement, id))
}

/// The closest of `known`, if it is close: at most a third of its letters differ.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = name.chars().count();
    let limit = (length / 3).clamp(1, 4);
    // A server chooses how long its tools' names are, and how many there are.
    let near = known.into_iter().filter(|candidate| candidate.chars().count().abs_diff(length) <= limit);
    let measured = near.map(|candidate| (distance(name, candidate), candidate));
    measured.filter(|(distance, _)| *distance <= limit).min().map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, in characters, where two that changed places are one mistake.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let cell = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX / 2);
    let mut above: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut least = (cell(&row, j) + usize::from(x != y)).min(cell(&row, j + 1) + 1);
            least = least.min(cell(&next, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                least = least.min(cell(&above, j - 1) + 1);
            }
            next.push(least);
        }
        above = std::mem::replace(&mut row, next);
    }
    cell(&row, b.len())
}
