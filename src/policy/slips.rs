//! Slips of those who know other languages, and what Cedar has in their place: help where Cedar's own has none.

use super::names::nearest;
use super::schema::quoted;

/// Words of other languages, and what stands for them.
const OPERATORS: [(&str, &str); 3] = [("and", "&&"), ("or", "||"), ("not", "!")];
/// What is taken for a variable, and where it is.
const ROOTS: [(&str, &str); 12] = [
    ("args", "context.input"),
    ("arguments", "context.input"),
    ("input", "context.input"),
    ("params", "context.input"),
    ("tool", "resource"),
    ("session", "principal.session"),
    ("usage", "principal.usage"),
    ("user", "principal"),
    ("claims", "principal.claims"),
    ("time", "context.time"),
    ("local", "context.local"),
    ("source", "context.source"),
];
/// What stands beside an argument that is a path or a URI, and of which of them.
const BESIDE: [(&str, &str); 2] = [("__within", "path"), ("__hosts", "uri")];

/// Where a finding points.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pointed<'a> {
    /// What it points at.
    pub(super) at: &'a str,
    /// The policy before it.
    pub(super) before: &'a str,
    /// The policy after it.
    pub(super) after: &'a str,
}

impl<'a> Pointed<'a> {
    /// At `span` of a policy's text.
    pub(super) fn of(text: &'a str, span: Option<(usize, usize)>) -> Self {
        let cut = |(at, length): (usize, usize)| {
            let end = at.checked_add(length)?;
            Some(Self { at: text.get(at..end)?, before: text.get(..at)?, after: text.get(end..)? })
        };
        span.and_then(cut).unwrap_or_default()
    }
}

/// What to write, where `message` is Cedar's on a known slip.
pub(super) fn slip(message: &str, pointed: Pointed<'_>) -> Option<String> {
    unended(message, pointed)
        .or_else(|| operator(message))
        .or_else(|| root(message, pointed))
        .or_else(|| typed(message, pointed))
        .or_else(|| meant(message, pointed))
        .or_else(|| beside(message))
}

/// Whether a policy goes on where another should begin, or ends in the middle.
fn unended(message: &str, pointed: Pointed<'_>) -> Option<String> {
    if message.starts_with("unexpected end of input") {
        return Some("end every policy with `;`, after all that is open is closed".to_owned());
    }
    let token = message.strip_prefix("unexpected token `")?;
    let before = pointed.before.trim_end();
    let (rest, word) = before.rsplit_once(|c: char| c.is_whitespace()).unwrap_or(("", before));
    let begins = token.starts_with("(`") && matches!(word, "permit" | "forbid") && rest.contains(['}', ')'])
        || token.starts_with("@`") && before.ends_with(['}', ')'])
        || token.starts_with("permit`")
        || token.starts_with("forbid`");
    begins.then(|| "end the policy before this one with `;`".to_owned())
}

fn operator(message: &str) -> Option<String> {
    let word = match message.strip_prefix("unexpected token `") {
        Some(token) => token.split('`').next()?,
        None => message.strip_suffix("` is not a valid function")?.strip_prefix('`')?,
    };
    let (_, own) = OPERATORS.iter().find(|(other, _)| other.eq_ignore_ascii_case(word))?;
    Some(format!("write `{own}` for `{word}`"))
}

/// Something that is taken for a variable.
fn root(message: &str, pointed: Pointed<'_>) -> Option<String> {
    let access = message.strip_prefix("invalid member access `").and_then(|rest| rest.split('`').next());
    let name = match access {
        Some(access) => access.split('.').next()?,
        None => message.strip_prefix("invalid variable: ")?,
    };
    let (_, place) = ROOTS.iter().find(|(known, _)| *known == name)?;
    let rest = access.and_then(|access| access.strip_prefix(name)).unwrap_or_default();
    let written = if pointed.at.starts_with(name) || !rest.is_empty() { rest } else { "" };
    Some(format!("did you mean `{place}{written}`?"))
}

/// An operand of another type.
fn typed(message: &str, pointed: Pointed<'_>) -> Option<String> {
    let at = pointed.at;
    let (expected, saw) = message.strip_prefix("unexpected type: expected ")?.split_once(" but saw ")?;
    match (expected, saw) {
        ("Long", "decimal") => {
            let after = pointed.after.trim_start();
            let methods = [
                ("<=", "lessThanOrEqual"),
                (">=", "greaterThanOrEqual"),
                ("<", "lessThan"),
                (">", "greaterThan"),
            ];
            let (operator, method) = methods
                .iter()
                .find(|(operator, _)| after.starts_with(operator))
                .copied()
                .unwrap_or(("", "lessThan"));
            let number = after.strip_prefix(operator).unwrap_or_default().trim_start();
            let number: String = number.chars().take_while(|c| c.is_ascii_digit() || *c == '-').collect();
            let number = if number.is_empty() { "10".to_owned() } else { number };
            Some(format!("it is a decimal (JSON's `number`): write `{at}.{method}(decimal(\"{number}.0\"))`"))
        }
        ("datetime", "String") if at.starts_with('"') => Some(format!("write `datetime({at})`")),
        ("decimal", "Long") => Some(format!("write `decimal(\"{at}.0\")`")),
        ("decimal", "String") if at.starts_with('"') => Some(format!("write `decimal({at})`")),
        ("ipaddr", "String") if at.starts_with('"') => Some(format!("write `ip({at})`")),
        ("Bool", "String") => Some(format!("compare it: `{at} == \"…\"`")),
        ("Bool", "Long") => Some(format!("compare it: `{at} > 0`")),
        ("String", "a path" | "a URI" | "a host") => {
            let other = if saw == "a URI" { "`, or its `host` or `path`" } else { "`" };
            Some(format!("it is read as {saw}: write `{at}.normal{other}"))
        }
        _ => None,
    }
}

/// A path, URI or host that is compared with a text.
fn meant(message: &str, pointed: Pointed<'_>) -> Option<String> {
    let types = message.strip_prefix("the types ")?.strip_suffix(" are not compatible")?;
    let kind = ["a path", "a URI", "a host"].into_iter().find(|kind| types.contains(kind))?;
    let start = pointed.at.find("context.input.")?;
    let tail = pointed.at.get(start..)?;
    let end = tail.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.'))).unwrap_or(tail.len());
    Some(format!("it is read as {kind}: write `{}.normal`", tail.get(..end)?))
}

/// What stands beside arguments that are paths or URIs only.
fn beside(message: &str) -> Option<String> {
    let name = missing(message)?.rsplit('.').next()?;
    let (argument, meaning) = BESIDE
        .iter()
        .find_map(|(suffix, meaning)| name.strip_suffix(suffix).map(|argument| (argument, meaning)))?;
    Some(format!(
        "it is there where `{argument}` is said to be a {meaning}: with `servers.NAME.inputs: {{ {meaning}: [\"{argument}\"] }}` \
         in the configuration (-c FILE), or with --input {meaning}={argument}"
    ))
}

/// An argument that not all have that the policy is about.
pub(super) fn unasked(message: &str, pointed: Pointed<'_>) -> Option<String> {
    let name = missing(message)?;
    let one = pointed.before.split("when").next().is_some_and(|scope| scope.contains("action =="));
    if one || !(name == "input" || name.starts_with("input.")) {
        return None;
    }
    Some(format!(
        "this policy is about several actions, and not all have it: name those that do, or ask first: `context has {name} && …`"
    ))
}

/// Whether the name that `help` suggests for a missing attribute is near to it.
pub(super) fn suggests_near(message: &str, help: &str) -> bool {
    let asked = missing(message).and_then(|name| name.rsplit('.').next());
    asked.zip(help.split('`').nth(1)).is_some_and(|(asked, suggested)| nearest(asked, [suggested]).is_some())
}

/// The attribute of the context that Cedar does not find.
fn missing(message: &str) -> Option<&str> {
    let (name, rest) = message.strip_prefix("attribute `")?.split_once("` in context for ")?;
    rest.contains(" not found").then_some(name)
}

/// Cedar's record types for what configuration makes of a text, by one word; they are long.
pub(super) fn named_types(message: &str) -> String {
    let (mut out, mut rest) = (String::new(), message);
    while let Some((before, after)) = rest.split_once('{') {
        let Some((inner, behind)) = after.split_once('}') else { break };
        out.push_str(before);
        match inner {
            _ if inner.contains("has_parent_steps") => out.push_str("a path"),
            _ if inner.contains("has_userinfo") => out.push_str("a URI"),
            _ if inner.contains("normal: String") && inner.contains("raw: String") => out.push_str("a host"),
            _ => out.push_str(&format!("{{{inner}}}")),
        }
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// What a name without a server, or with a wildcard, was meant to be; `tools` are all that are known.
pub(super) fn tool_name<'a>(id: &str, tools: impl Iterator<Item = &'a String>) -> Option<String> {
    if let Some((server, name)) = id.split_once('/').filter(|(_, name)| name.contains('*') && *name != "*") {
        let group = quoted(&format!("{server}/*"));
        return Some(format!(
            "names have no wildcards, and `{name}` is read as one name: write each tool in `action in [Mcp::Action::\"…\", …]`, \
             or all of the server's as `action in Mcp::Action::{group}`"
        ));
    }
    if id.contains('/') {
        return None;
    }
    let tools: Vec<(&str, &str)> =
        tools.filter_map(|tool| Some((tool.as_str(), tool.split_once('/')?.1))).collect();
    let exact = tools.iter().find(|(_, name)| *name == id);
    let near = || {
        let near = nearest(id, tools.iter().map(|(_, name)| *name))?;
        tools.iter().find(|(_, name)| *name == near)
    };
    exact.or_else(near).map(|(whole, _)| (*whole).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_the_configuration_have_one_word() {
        let path =
            "expected String but saw {components: Set<String>, has_parent_steps: Bool, raw: String}, or so";
        assert_eq!(named_types(path), "expected String but saw a path, or so");
        let host = "{ip?: ipaddr, normal: String, port?: Long, raw: String} and {a: Long}";
        assert_eq!(named_types(host), "a host and {a: Long}");
        assert_eq!(named_types("an open { and no end"), "an open { and no end");
    }
}
