//! Cedar's findings in the words of those who write policies for MCP: what was probably meant, and no names of
//! Cedar's own insides.

use super::names::nearest;
use super::schema::quoted;
use super::slips::{Pointed, named_types, slip, suggests_near, unasked};

/// The variables of a policy.
const VARIABLES: [&str; 4] = ["principal", "action", "resource", "context"];
/// The attributes of what only configuration makes a record.
const MEANT: [&str; 14] = [
    "raw",
    "normal",
    "is_absolute",
    "has_parent_steps",
    "name",
    "extension",
    "components",
    "scheme",
    "host",
    "ip",
    "port",
    "path",
    "has_userinfo",
    "hosts",
];
/// Cedar's methods.
const METHODS: [&str; 33] = [
    "contains",
    "containsAll",
    "containsAny",
    "isEmpty",
    "hasTag",
    "getTag",
    "lessThan",
    "lessThanOrEqual",
    "greaterThan",
    "greaterThanOrEqual",
    "isIpv4",
    "isIpv6",
    "isLoopback",
    "isMulticast",
    "isInRange",
    "offset",
    "durationSince",
    "toDate",
    "toTime",
    "toMilliseconds",
    "toSeconds",
    "toMinutes",
    "toHours",
    "toDays",
    // What texts have elsewhere.
    "startsWith",
    "starts_with",
    "startswith",
    "endsWith",
    "ends_with",
    "endswith",
    "matches",
    "includes",
    "toLowerCase",
];
/// How many of [`METHODS`] Cedar has.
const OWN_METHODS: usize = 24;
const FUNCTIONS: [&str; 4] = ["ip", "decimal", "datetime", "duration"];

/// A finding's message and help, better told.
pub(super) fn advised(message: &str, help: Option<String>, pointed: Pointed<'_>) -> (String, Option<String>) {
    let message = named_types(message);
    if let Some(found) = untyped(&message, pointed) {
        return found;
    }
    let help = slip(&message, pointed).or_else(|| meant(&message)).or(help);
    let help = match (unasked(&message, pointed), help) {
        // Cedar names the least different of all attributes, however different it is.
        (Some(ask), Some(help)) if suggests_near(&message, &help) => Some(format!("{help} If not: {ask}")),
        (Some(ask), _) => Some(ask),
        (None, help) => help,
    };
    // Cedar's help begins with the policy's position, which says nothing to an author.
    let unnumbered =
        |help: &str| match help.strip_prefix("for policy `").and_then(|rest| rest.split_once("`, ")) {
            Some((_, rest)) => rest.to_owned(),
            None => help.to_owned(),
        };
    (plain(&message), help.map(|help| plain(&unnumbered(&help))))
}

/// An attribute of what has none: Cedar names its own types there.
fn untyped(message: &str, pointed: Pointed<'_>) -> Option<(String, Option<String>)> {
    let saw = message.strip_prefix("unexpected type: expected __cedar::internal::AnyEntity")?;
    let ty = saw.rsplit_once(" but saw ")?.1;
    // Of `base has attribute` it points at the base.
    let has = pointed.after.trim_start().strip_prefix("has ").map(str::trim_start);
    let (base, attribute) = match has {
        Some(has) => {
            let end = has.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(has.len());
            (pointed.at, has.get(..end)?)
        }
        None => pointed.at.rsplit_once('.')?,
    };
    let (base, attribute) = (base.trim(), attribute.trim());
    let identifier = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_');
    if !identifier(attribute) {
        return None;
    }
    let kind = if ty == "String" { "text here" } else { ty };
    let message = format!("`{base}` is a {kind} and has no attribute `{attribute}`");
    let argument =
        base.strip_prefix("context.input.").filter(|_| ty == "String" && MEANT.contains(&attribute));
    let help = argument.map(|argument| {
        format!(
            "say that it is a path (or a `uri`, a `host`): with `servers.NAME.inputs: {{ path: [\"{argument}\"] }}` in the \
             configuration (-c FILE), or with --input path={argument}"
        )
    });
    Some((message, help))
}

/// What was probably meant.
fn meant(message: &str) -> Option<String> {
    let between = |start: &str, end: &str| message.split_once(start)?.1.split_once(end).map(|(name, _)| name);
    if message.contains("has no fields or methods") {
        let name = message.split_once("`, `")?.1.split('`').next()?;
        return nearest(name, VARIABLES).map(|near| format!("did you mean `{near}`?"));
    }
    if let Some(name) = message.strip_prefix("invalid variable: ") {
        return nearest(name, VARIABLES).map(|near| format!("did you mean `{near}`?"));
    }
    if message.contains("is not a valid method") {
        let near = nearest(between("`", "`")?, METHODS)?;
        return Some(match METHODS.iter().position(|method| *method == near) {
            Some(at) if at < OWN_METHODS => format!("did you mean `.{near}(…)`?"),
            _ => {
                "a text is compared with `==`, or with `like` and `*`: `context.input.name like \"prefix*\"`"
                    .to_owned()
            }
        });
    }
    if message.contains("is not a valid function") {
        return nearest(between("`", "`")?.trim_end_matches("(...)"), FUNCTIONS)
            .map(|near| format!("did you mean `{near}(…)`?"));
    }
    let action = between("expected an entity uid with type `Action` but got `", "`")
        .or_else(|| between("unrecognized action `Action::", "`"));
    let id = action?.split_once('"')?.1.trim_end_matches('"');
    Some(format!("did you mean `Mcp::Action::{}`?", quoted(id)))
}

/// Without Cedar's names for types that no policy can write.
fn plain(message: &str) -> String {
    let named = [
        ("__cedar::internal::AnyEntity", "an entity"),
        ("__cedar::internal::OpenRecord{}", "a record"),
        ("__cedar::internal::", ""),
        ("__cedar::", ""),
    ];
    named.iter().fold(message.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_told_where_cedar_does_not() {
        let help = |message: &str| advised(message, None, Pointed::default()).1.unwrap_or_default();
        for (message, part) in [
            ("invalid member access `contxt.input`, `contxt` has no fields or methods", "`context`"),
            ("invalid variable: contxt", "`context`"),
            ("`containsAl` is not a valid method", "`.containsAll(…)`"),
            ("`startsWith` is not a valid method", "like \"prefix*\""),
            ("`datetme` is not a valid function", "`datetime(…)`"),
            (
                "expected an entity uid with type `Action` but got `Mcp::Acton::\"tools/list\"`",
                "`Mcp::Action::\"tools/list\"`",
            ),
            ("unrecognized action `Action::\"files/read\"`", "`Mcp::Action::\"files/read\"`"),
        ] {
            assert!(help(message).contains(part), "{message}: {}", help(message));
        }
        assert_eq!(help("something else"), "");
    }

    #[test]
    fn a_text_that_is_read_as_a_path_names_the_fix() {
        let message = "unexpected type: expected __cedar::internal::AnyEntity, or __cedar::internal::OpenRecord{} but saw String";
        let advised = |at: &str| {
            let (at, after) = at.split_once(" ").unwrap_or((at, ""));
            advised(message, None, Pointed { at, after, ..Pointed::default() })
        };
        for at in ["context.input.path.normal", "context.input.path has normal"] {
            let (told, help) = advised(at);
            assert_eq!(told, "`context.input.path` is a text here and has no attribute `normal`");
            assert!(help.unwrap().contains("--input path=path"));
        }
        assert_eq!(advised("context.input.n.length").1, None);
        assert!(!advised("").0.contains("__cedar"));
    }
}
