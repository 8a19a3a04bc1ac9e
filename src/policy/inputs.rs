//! The tools that policies are compiled for, each with the type of its input.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cedar_policy::{Entities, Entity};

use crate::domain::ids::ServerName;

use super::catalogue::{Catalogue, ToolDefinition};
use super::compile::{Findings, Parsed};
use super::engine::ToolEntry;
use super::entities::{TYPES, server_entity, tool_entity, uid};
use super::names::nearest;
use super::reads::Reads;
use super::rules::Breaches;
use super::types::{Record, RuleUse};

/// Most tools of all servers together.
const MAX_TOOLS: usize = 4_096;
/// Most properties of all tools' inputs together: each is a line of the schema that policies are compiled against.
const MAX_PROPERTIES: usize = 100_000;

/// The tools of each server, by name, each with the type of its input.
pub(super) type Inputs<'a> = BTreeMap<&'a ServerName, BTreeMap<&'a str, (&'a ToolDefinition, Record)>>;

/// The tools and the types of their inputs. What can't be told apart stays unknown, and so denied.
pub(super) fn typed<'a>(catalogue: &'a Catalogue, findings: &mut Findings) -> Inputs<'a> {
    let mut inputs = Inputs::new();
    let (mut count, mut size) = (0_usize, 0_usize);
    for (server, tools) in by_size(catalogue) {
        let own = inputs.entry(server).or_default();
        let mut twice = BTreeSet::new();
        let rules = catalogue.rules.get(server).map(|rules| rules.inputs.as_slice()).unwrap_or_default();
        let mut rules: Vec<RuleUse<'_>> =
            rules.iter().map(|rule| RuleUse { rule, matched: false, misfits: Vec::new() }).collect();
        for tool in tools {
            if own.get(tool.name.as_str()).is_some_and(|(known, _)| known.digest != tool.digest) {
                twice.insert(tool.name.as_str());
            } else if count < MAX_TOOLS && size + tool.size() <= MAX_PROPERTIES {
                let typed = (tool, tool.input().meaning(&tool.name, &mut rules));
                if own.insert(&tool.name, typed).is_none() {
                    count += 1;
                    size += tool.size();
                }
            } else {
                findings.warn(format!(
                    "the tool `{server}/{}` is denied: there are more than {MAX_TOOLS} tools, or {MAX_PROPERTIES} arguments of tools",
                    tool.name
                ));
            }
        }
        for name in twice {
            own.remove(name);
            findings.warn(format!("the tool `{server}/{name}` is denied: its server defines it in two ways"));
        }
        for used in rules.iter().filter(|_| !tools.is_empty()) {
            let (meaning, text) = (used.rule.meaning.as_str(), used.rule.text());
            if !used.matched {
                findings
                    .warn(format!("`servers.{server}.inputs.{meaning}`: no tool has the argument `{text}`"));
                let asked = text.split_once(':').map_or(text, |(_, argument)| argument);
                let known =
                    own.values().flat_map(|(_, input)| &input.fields).map(|field| field.name.as_str());
                findings.helped(nearest(asked, known).map(|near| format!("did you mean `{near}`?")));
            }
            for argument in &used.misfits {
                findings.warn(format!(
                    "`servers.{server}.inputs.{meaning}`: the argument `{argument}` is neither a text nor a list of texts"
                ));
            }
        }
    }
    inputs
}

/// The servers with their tools, the ones with few first: who has too many is left out, and nobody else.
fn by_size(catalogue: &Catalogue) -> Vec<(&ServerName, &Vec<ToolDefinition>)> {
    let mut servers: Vec<_> = catalogue.servers.iter().collect();
    servers.sort_by_cached_key(|(_, tools)| {
        let size: usize = tools.iter().map(ToolDefinition::size).sum();
        (tools.len() * (MAX_PROPERTIES / MAX_TOOLS)).max(size)
    });
    servers
}

/// Says what of an argument's schema is not checked, where a policy reads the argument.
pub(super) fn unchecked(inputs: &Inputs<'_>, parsed: &[Parsed<'_>], findings: &mut Findings) {
    for (server, tools) in inputs {
        for (tool, (definition, _)) in tools {
            for part in &definition.checker().unchecked {
                // `/properties/<name>/…`; anything else may be for any of them.
                let mut steps = part.pointer.split('/').skip(1);
                let property = steps.next().filter(|step| *step == "properties").and(steps.next());
                let read = |reads: &Reads| property.map_or(reads.any(), |name| reads.observes(name));
                if parsed.iter().any(|policy| read(&policy.reads)) {
                    findings.warn(format!(
                        "arguments of `{server}/{tool}` are not checked against `{}` of its schema: {}",
                        part.pointer, part.why
                    ));
                }
            }
        }
    }
}

/// The tools as decisions know them.
pub(super) fn entries(
    inputs: Inputs<'_>,
    catalogue: &Catalogue,
) -> HashMap<ServerName, HashMap<String, ToolEntry>> {
    let of = |server: &ServerName, definition: &ToolDefinition, input| {
        let action = uid(&TYPES.action, &format!("{server}/{}", definition.name));
        let action_groups = [uid(&TYPES.action, &format!("{server}/*")), uid(&TYPES.action, "tools/call")];
        let tool = tool_entity(server.as_str(), definition, catalogue.pinned.contains(server))?;
        let resource = tool.uid();
        let action_entity = Entity::new_no_attrs(action.clone(), action_groups.iter().cloned().collect());
        let entities =
            Entities::from_entities([action_entity, tool, server_entity(server.as_str())?], None).ok()?;
        let definition = definition.clone();
        let breaches = catalogue.rules.get(server).map_or(Breaches::Refuse, |rules| rules.breaches);
        Some((
            definition.name.clone(),
            ToolEntry { definition, input, breaches, action, action_groups, resource, entities },
        ))
    };
    inputs
        .into_iter()
        .map(|(server, tools)| {
            let tools = tools.into_values().filter_map(|(definition, input)| of(server, definition, input));
            (server.clone(), tools.collect())
        })
        .collect()
}
