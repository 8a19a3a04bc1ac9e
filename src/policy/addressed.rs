//! The servers that policies speak of, against the one that there is: a server started under another name than policies
//! call it makes every one of their names unknown.

use std::collections::BTreeSet;

use super::diagnostic::{PolicyDiagnostic, Severity, Warning};
use super::engine::Engine;
use super::entities::TYPES;
use super::methods::{GROUPS, METHODS, OTHER, SESSION_OPEN};
use super::names::nearest;

/// See [`Engine::readdressed`].
pub(super) fn readdressed(engine: &Engine, warnings: Vec<Warning>) -> Vec<Warning> {
    let unknown = warnings.iter().filter(|warning| warning.unknown_name).count();
    let Some(told) = misnamed(engine).filter(|_| unknown > 1) else { return warnings };
    let others = warnings.into_iter().filter(|warning| !warning.unknown_name);
    std::iter::once(told).chain(others).collect()
}

/// A warning if there is one server, and policies name others only.
fn misnamed(engine: &Engine) -> Option<Warning> {
    let mut known = engine.catalogue.servers.keys();
    let (Some(server), None) = (known.next(), known.next()) else { return None };
    if !engine.catalogue.unanswered.is_empty() {
        return None;
    }
    let named = named(engine);
    // A slip of the pen is told where it stands.
    let near = nearest(server.as_str(), named.iter().map(String::as_str)).is_some();
    if named.is_empty() || near || named.contains(server.as_str()) {
        return None;
    }
    let list: Vec<String> = named.iter().map(|name| format!("`{name}`")).collect();
    let help = match named.first().filter(|_| named.len() == 1) {
        Some(only) => format!(
            "if it is that one, call it so: `--server {only}`, or under `servers` in the configuration"
        ),
        None => {
            "say which of them it is: `--server NAME`, or under `servers` in the configuration".to_owned()
        }
    };
    Some(PolicyDiagnostic {
        severity: Severity::Warning,
        file: "policies".into(),
        text: "".into(),
        span: None,
        message: format!(
            "this server is called `{server}`, and the policies speak of {} only",
            list.join(", ")
        ),
        help: Some(help),
        policy: None,
        unknown_name: true,
    })
}

/// The servers in the names that policies use.
fn named(engine: &Engine) -> BTreeSet<String> {
    let methods: Vec<&str> =
        METHODS.iter().chain([&SESSION_OPEN, &OTHER]).map(|method| method.name).collect();
    let literals = engine.policies.iter().flat_map(|compiled| compiled.policy.entity_literals());
    let server = |literal: cedar_policy::EntityUid| {
        let (ty, id) = (literal.type_name(), literal.id().unescaped());
        if *ty == TYPES.server {
            return Some(id.to_owned());
        }
        let of_tool =
            *ty == TYPES.tool || *ty == TYPES.action && !methods.contains(&id) && !GROUPS.contains(&id);
        of_tool.then(|| id.split_once('/').map(|(server, _)| server.to_owned())).flatten()
    };
    literals.filter_map(server).collect()
}
