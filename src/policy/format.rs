//! Policy files in the layout of Cedar's own formatter, with nothing lost.

use cedar_policy::{PolicySet, SchemaFragment};
use cedar_policy_formatter::{Config, policies_str_to_pretty};

/// The longest line where nobody says another.
pub const LINE_WIDTH: usize = 100;

/// Why a text can't be laid out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// It is no valid Cedar.
    #[error("it is not valid Cedar: {0}")]
    Invalid(String),
    /// The formatter would lose something.
    #[error("{0} would be lost")]
    Lossy(&'static str),
}

/// The text of a policy file in Cedar's layout, with lines of at most `width` columns where it can be. What comes out is
/// held against what went in: every comment and every policy is in it.
///
/// # Errors
/// If it is not valid, or something would be lost.
pub fn laid_out(text: &str, width: usize) -> Result<String, FormatError> {
    if only_comments(text) {
        return Ok(text.to_owned());
    }
    let policies = |text: &str| {
        let set: PolicySet = text.parse().map_err(|error| FormatError::Invalid(format!("{error}")))?;
        let mut all: Vec<String> =
            set.policies().filter_map(|policy| policy.to_json().ok()).map(|json| json.to_string()).collect();
        all.sort();
        Ok(all)
    };
    let before = policies(text)?;
    let config = Config { line_width: width, indent_width: 2 };
    let mut out =
        policies_str_to_pretty(text, &config).map_err(|error| FormatError::Invalid(error.to_string()))?;
    if !out.ends_with('\n') {
        out.push('\n');
    }
    if policies(&out)? != before {
        return Err(FormatError::Lossy("a part of a policy"));
    }
    if comments(text) != comments(&out) {
        return Err(FormatError::Lossy("a comment"));
    }
    Ok(out)
}

/// A schema's text in Cedar's JSON form, ending in a newline.
///
/// # Errors
/// If it is no schema.
pub fn schema_json(text: &str) -> Result<String, FormatError> {
    let invalid = |error: &dyn std::fmt::Display| FormatError::Invalid(error.to_string());
    let (fragment, _warnings) =
        SchemaFragment::from_cedarschema_str(text).map_err(|error| invalid(&error))?;
    let value = fragment.to_json_value().map_err(|error| invalid(&error))?;
    Ok(format!("{value:#}\n"))
}

fn only_comments(text: &str) -> bool {
    text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with("//"))
}

/// All comments, sorted.
fn comments(text: &str) -> Vec<&str> {
    let mut found: Vec<&str> = text.lines().filter_map(comment).map(str::trim).collect();
    found.sort_unstable();
    found
}

/// The comment at the end of a line, outside of strings.
fn comment(line: &str) -> Option<&str> {
    let (mut quoted, mut escaped, mut slash) = (false, false, false);
    for (at, c) in line.char_indices() {
        match c {
            '/' if slash && !quoted => return line.get(at + 1..),
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        slash = c == '/' && !slash;
        escaped = c == '\\' && !escaped;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_told_from_slashes_in_strings() {
        assert_eq!(comment("permit // a // b"), Some(" a // b"));
        assert_eq!(comment(r#"x like "http://a\"//b""#), None);
        assert_eq!(comment(r#""a" / b //c"#), Some("c"));
    }

    #[test]
    fn layout_keeps_every_comment_and_policy_and_is_stable() {
        let text = "// a\n@id(\"x\")permit(principal,action,resource)// b\nwhen // c\n{ // d\ncontext has a // e\n};// f\n// g\n";
        let once = laid_out(text, 80).unwrap();
        assert_eq!(comments(&once), comments(text));
        assert_eq!(laid_out(&once, 80).unwrap(), once);
        assert_eq!(laid_out("// nothing\n\n", 80).unwrap(), "// nothing\n\n");
        assert!(matches!(laid_out("permit (", 80), Err(FormatError::Invalid(_))));
    }
}
