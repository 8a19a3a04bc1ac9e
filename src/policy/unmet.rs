//! Comparisons of paths, URIs and hosts that don't do what they look like: with a spelling that what is read never has,
//! so that they never hold, and with patterns that hold for more than the folder or the domain that they name.
//!
//! Policies see paths and hosts in one spelling. `path.normal == "/a/"` is valid Cedar, and false for good: a `forbid`
//! with it protects nothing. `path.normal like "/srv/notes*"` also holds for `/srv/notes-secret`.

use cedar_policy::Effect;
use serde_json::Value;

use super::compile::find_in;
use super::diagnostic::Warning;
use super::engine::Engine;
use super::input::{HOSTS, WITHIN};
use super::lint::applies;
use super::rules::Meaning;
use super::schema::quoted;
use super::spelling::{Pattern, Place, too_wide, unreachable_pattern, unreachable_text};
use super::types::{Record, Type};

/// See [`Engine::lint`].
pub(super) fn unmet(engine: &Engine) -> Vec<Warning> {
    let mut found = Vec::new();
    for (statement, compiled) in engine.sources.statements().zip(&engine.policies) {
        let Ok(json) = compiled.policy.to_json() else { continue };
        let tools = engine.tools.values().flat_map(|tools| tools.values());
        let tools = tools.filter(|tool| applies(&compiled.policy, tool)).map(|tool| &tool.input);
        let mut look = Look { inputs: tools.collect(), found: Vec::new() };
        let forbid = compiled.policy.effect() == Effect::Forbid;
        for condition in json.get("conditions").and_then(Value::as_array).into_iter().flatten() {
            let unless = condition.get("kind").is_some_and(|kind| kind == "unless");
            look.visit(condition.get("body").unwrap_or(&Value::Null), Some(!unless));
        }
        for odd in look.found {
            // What the policy does where the test holds, if that is certain.
            let (permits, restricts) = match (odd.holds, forbid) {
                (Some(holds), false) => (holds, !holds),
                (Some(holds), true) => (!holds, holds),
                (None, _) => (false, false),
            };
            let nothing = match (forbid, permits || restricts) {
                (true, true) if restricts => ": this part of the forbid protects nothing",
                (false, true) if permits => ": this part of the permit permits nothing",
                _ => "",
            };
            let (message, help) = match odd.what {
                What::Never { message, help } if odd.negated => (message, help),
                What::Never { message, help } => (format!("{message}{nothing}"), help),
                What::Wide { message, help } if permits => (message, help),
                What::Wide { .. } => continue,
            };
            let span = find_in(statement.text, &odd.needle);
            let finding = statement.warning(&compiled.reference.id, span, message, Some(help));
            if !found.contains(&finding) {
                found.push(finding);
            }
        }
    }
    found
}

/// A comparison that is odd.
struct Odd {
    what: What,
    /// Whether the condition as a whole gets nearer to being met where the comparison holds; `None` if that can't be
    /// told.
    holds: Option<bool>,
    /// Whether it is `!=`.
    negated: bool,
    /// The literal, as it stands in the text.
    needle: String,
}

enum What {
    Never { message: String, help: String },
    Wide { message: String, help: String },
}

struct Look<'a> {
    /// What the tools take that the policy is about.
    inputs: Vec<&'a Record>,
    found: Vec<Odd>,
}

impl Look<'_> {
    fn visit(&mut self, node: &Value, holds: Option<bool>) {
        match node {
            Value::Object(members) => {
                for (key, value) in members {
                    let below = match key.as_str() {
                        "&&" | "||" | "left" | "right" | "arg" => holds,
                        "!" => holds.map(|holds| !holds),
                        _ => None,
                    };
                    self.compared(key, value, holds);
                    self.visit(value, below);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.visit(item, None)),
            _ => {}
        }
    }

    /// The comparison `operator` of `sides`, if it is one with literals.
    fn compared(&mut self, operator: &str, sides: &Value, holds: Option<bool>) {
        let (Some(left), right) = (sides.get("left"), sides.get("right").unwrap_or(&Value::Null)) else {
            return;
        };
        match operator {
            "==" | "!=" => {
                let pair = match (self.place(left), self.place(right)) {
                    (Some(place), _) => Some((place, right)),
                    (None, Some(place)) => Some((place, left)),
                    (None, None) => None,
                };
                if let Some(((place, dotted), literal)) = pair {
                    self.texts(&place, &dotted, literal, holds, operator == "!=");
                }
            }
            "like" => {
                let Some((place, dotted)) = self.place(left) else { return };
                let Some(pattern) = sides.get("pattern").and_then(Pattern::of) else { return };
                self.pattern(&place, &dotted, &pattern, holds);
            }
            "contains" if left.get("Set").is_some() => {
                if let Some((place, dotted)) = self.place(right) {
                    self.texts(&place, &dotted, left, holds, false);
                }
            }
            "contains" | "containsAny" | "containsAll" => {
                if let Some((place, dotted)) = self.set(left) {
                    self.texts(&place, &dotted, right, holds, false);
                }
            }
            _ => {}
        }
    }

    /// A literal text, or each of a set.
    fn texts(&mut self, place: &Place, dotted: &str, literal: &Value, holds: Option<bool>, negated: bool) {
        if let Some(Value::Array(items)) = literal.get("Set") {
            items.iter().for_each(|item| self.texts(place, dotted, item, holds, negated));
        }
        let Some(text) = literal.get("Value").and_then(Value::as_str) else { return };
        let Some(help) = unreachable_text(place, text) else { return };
        let what = match place.in_set() {
            true => format!("`{dotted}` never contains {}", quoted(text)),
            false => format!("`{dotted}` is never {}", quoted(text)),
        };
        self.found.push(Odd {
            what: What::Never { message: what, help },
            holds,
            negated,
            needle: quoted(text),
        });
    }

    fn pattern(&mut self, place: &Place, dotted: &str, pattern: &Pattern, holds: Option<bool>) {
        let shown = pattern.shown();
        let what = match unreachable_pattern(place, pattern) {
            Some(help) => What::Never { message: format!("`{dotted}` is never like {shown}"), help },
            None => match too_wide(place, pattern, dotted) {
                Some((example, help)) => What::Wide {
                    message: format!("`{dotted} like {shown}` also holds for {}", quoted(&example)),
                    help,
                },
                None => return,
            },
        };
        self.found.push(Odd { what, holds, negated: false, needle: shown });
    }

    /// What the expression reads of a path, URI or host, and its text.
    fn place(&self, node: &Value) -> Option<(Place, String)> {
        let names = names_of(node)?;
        let words: Vec<&str> = names.iter().map(String::as_str).collect();
        let place = match words.as_slice() {
            ["resource", "parts", attribute] => Place::of(Meaning::Uri, attribute)?,
            ["context", "input", within @ .., attribute] if !within.is_empty() => {
                Place::of(self.meaning(within)?, attribute)?
            }
            _ => return None,
        };
        Some((place, names.join(".")))
    }

    /// The set of texts that the expression reads, and its text.
    fn set(&self, node: &Value) -> Option<(Place, String)> {
        let names = names_of(node)?;
        let words: Vec<&str> = names.iter().map(String::as_str).collect();
        let ["context", "input", within @ ..] = words.as_slice() else { return None };
        let (last, outer) = within.split_last()?;
        let companion = |suffix: &str| {
            let field: Vec<&str> = outer.iter().copied().chain([last.strip_suffix(suffix)?]).collect();
            self.meaning(&field)
        };
        let place = match *last {
            "components" if self.meaning(outer)? == Meaning::Path => Place::Component,
            _ if companion(WITHIN) == Some(Meaning::Path) => Place::Folder,
            _ if companion(HOSTS).is_some_and(|meaning| meaning != Meaning::Path) => Place::HostOfSet,
            _ => return None,
        };
        Some((place, names.join(".")))
    }

    /// What the argument means, where it means the same to every tool that takes it.
    fn meaning(&self, names: &[&str]) -> Option<Meaning> {
        if names.is_empty() {
            return None;
        }
        let mut types = self.inputs.iter().filter_map(|input| input.at(names));
        let first = match types.next()? {
            Type::Meant(meaning) => *meaning,
            _ => return None,
        };
        types.all(|ty| matches!(ty, Type::Meant(meaning) if *meaning == first)).then_some(first)
    }
}

/// The names of an access: `context.input.path` has three.
fn names_of(node: &Value) -> Option<Vec<String>> {
    if let Some(variable) = node.get("Var") {
        return Some(vec![variable.as_str()?.to_owned()]);
    }
    let access = node.get(".")?;
    let mut names = names_of(access.get("left")?)?;
    names.push(access.get("attr")?.as_str()?.to_owned());
    Some(names)
}
