//! What the configuration says of a server's arguments: what they mean, and what happens to those that don't fit.

/// What becomes of a call whose arguments don't fit the tool's own schema.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Breaches {
    /// It is refused.
    #[default]
    Refuse,
    /// It goes on if the policies permit it, and its record says what did not fit.
    Record,
}

/// What a text stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meaning {
    /// A path of a file system.
    Path,
    /// A URI.
    Uri,
    /// A host, with or without a port.
    Host,
}

impl Meaning {
    /// The name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Uri => "uri",
            Self::Host => "host",
        }
    }

    /// The Cedar type.
    pub(super) const fn cedar(self) -> &'static str {
        match self {
            Self::Path => "Path",
            Self::Uri => "Uri",
            Self::Host => "Host",
        }
    }
}

/// Says what arguments of some names mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputRule {
    /// What they mean.
    pub meaning: Meaning,
    text: String,
}

/// A rule that can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an argument's name is missing")]
pub struct InputRuleError;

impl InputRule {
    /// Of `<argument>`, for every tool, or `<tool>:<argument>`; `*` stands for any text, and an argument within an
    /// object is named with it: `target.path`.
    ///
    /// # Errors
    /// If the tool's or the argument's name is empty.
    pub fn new(meaning: Meaning, text: &str) -> Result<Self, InputRuleError> {
        let whole = match text.split_once(':') {
            Some((tool, argument)) => !tool.is_empty() && !argument.is_empty(),
            None => !text.is_empty(),
        };
        if whole { Ok(Self { meaning, text: text.to_owned() }) } else { Err(InputRuleError) }
    }

    /// The rule as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is about `argument` of `tool`.
    pub(super) fn is_for(&self, tool: &str, argument: &str) -> bool {
        match self.text.split_once(':') {
            Some((tools, arguments)) => matches(tools, tool) && matches(arguments, argument),
            None => matches(&self.text, argument),
        }
    }
}

/// What is configured for one server's arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArgumentRules {
    /// What becomes of calls that don't fit.
    pub breaches: Breaches,
    /// What arguments mean; the first rule that is about an argument counts.
    pub inputs: Vec<InputRule>,
}

/// Whether `pattern`, in which `*` is any text, is `text`; linear in each part.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_arguments_of_every_tool_or_of_one() {
        for (rule, tool, argument, expected) in [
            ("path", "read", "path", true),
            ("path", "read", "paths", false),
            ("path", "read", "a.path", false),
            ("*path*", "read", "a.paths", true),
            ("*.path", "read", "a.path", true),
            ("read:path", "read", "path", true),
            ("read:path", "write", "path", false),
            ("read_*:*", "read_a", "x", true),
            ("a*b*c", "t", "abbc", true),
            ("a*b*c", "t", "acb", false),
            ("ab*ba", "t", "aba", false),
        ] {
            let rule = InputRule::new(Meaning::Path, rule).unwrap();
            assert_eq!(rule.is_for(tool, argument), expected, "{rule:?} {tool} {argument}");
        }
        for empty in ["", ":a", "a:"] {
            assert_eq!(InputRule::new(Meaning::Path, empty), Err(InputRuleError));
        }
    }
}
