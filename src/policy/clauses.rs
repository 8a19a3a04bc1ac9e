//! The conditions of a policy as they stand in its text: where each `when` and `unless` is, and the parts of it that `&&`
//! joins, so that an author can be shown the very words that did not hold.

use std::ops::Range;

/// One `when` or `unless`; ranges are bytes of the policy's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClauseText {
    /// `when`, and not `unless`.
    pub(super) when: bool,
    /// What stands between its braces.
    pub(super) body: Range<usize>,
    /// What `&&` joins in it; the whole body where something else does.
    pub(super) parts: Vec<Range<usize>>,
}

/// The clauses of one policy that Cedar has parsed already.
pub(super) fn clauses(text: &str) -> Vec<ClauseText> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        let word = text.get(token.at.clone()).unwrap_or_default();
        let begins = token.depth == 0 && matches!(word, "when" | "unless");
        if !begins || tokens.get(at).is_none_or(|next| next.kind != Kind::Open(b'{')) {
            continue;
        }
        let first = at + 1;
        let length = tokens.iter().skip(first).take_while(|token| token.depth > 0).count();
        // The closing brace has the depth of what it closes.
        let inside = tokens.get(first..first + length).unwrap_or_default();
        at = first + length;
        if let Some(parts) = parts(inside) {
            let body = parts.first().map_or(0, |part| part.start)..parts.last().map_or(0, |part| part.end);
            found.push(ClauseText { when: word == "when", body, parts });
        }
    }
    found
}

/// The parts of a body, `None` if there is nothing in it.
fn parts(tokens: &[Token]) -> Option<Vec<Range<usize>>> {
    let whole = tokens.first()?.at.start..tokens.last()?.at.end;
    let outer = || tokens.iter().filter(|token| token.depth == 1);
    if outer().any(|token| matches!(token.kind, Kind::Or | Kind::If)) {
        return Some(vec![whole]);
    }
    let mut parts = Vec::new();
    for part in tokens.split(|token| token.depth == 1 && token.kind == Kind::And) {
        parts.push(part.first()?.at.start..part.last()?.at.end);
    }
    Some(parts)
}

/// What `text` reads of the request: `context.input.path`, `principal.session.calls`; each once.
pub(super) fn reads(text: &str) -> Vec<&str> {
    let tokens = tokens(text);
    let mut found: Vec<&str> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let root = matches!(text.get(token.at.clone()), Some("context" | "principal" | "resource"));
        let accessed = at.checked_sub(1).and_then(|at| tokens.get(at)).is_some_and(|t| t.kind == Kind::Dot);
        if !root || accessed || token.kind != Kind::Word {
            continue;
        }
        let (mut next, mut end, mut before) = (at + 1, token.at.end, token.at.end);
        loop {
            let kind = |at: usize| tokens.get(at).map(|token| token.kind);
            let last = match (kind(next), kind(next + 1), kind(next + 2)) {
                (Some(Kind::Dot), Some(Kind::Word | Kind::If), _) => next + 1,
                (Some(Kind::Open(b'[')), Some(Kind::Text), Some(Kind::Close)) => next + 2,
                // The last name was that of a method.
                (Some(Kind::Open(b'(')), ..) => {
                    end = before;
                    break;
                }
                _ => break,
            };
            before = end;
            end = tokens.get(last).map_or(end, |token| token.at.end);
            next = last + 1;
        }
        let read = text.get(token.at.start..end).unwrap_or_default();
        if end > token.at.end && !found.contains(&read) {
            found.push(read);
        }
    }
    found
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    If,
    Text,
    Open(u8),
    Close,
    And,
    Or,
    Dot,
    Other,
}

#[derive(Debug)]
struct Token {
    kind: Kind,
    at: Range<usize>,
    /// How many brackets are open around it.
    depth: usize,
}

fn tokens(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let (mut found, mut at, mut depth) = (Vec::new(), 0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        let start = at;
        let ahead = bytes.get(at + 1);
        at += 1;
        let kind = match byte {
            b'/' if ahead == Some(&b'/') => {
                while bytes.get(at).is_some_and(|b| !matches!(b, b'\n' | b'\r')) {
                    at += 1;
                }
                continue;
            }
            b if b.is_ascii_whitespace() => continue,
            b'"' => {
                while bytes.get(at).is_some_and(|b| *b != b'"') {
                    at += if bytes.get(at) == Some(&b'\\') { 2 } else { 1 };
                }
                at = (at + 1).min(bytes.len());
                Kind::Text
            }
            b'(' | b'[' | b'{' => {
                found.push(Token { kind: Kind::Open(*byte), at: start..at, depth });
                depth += 1;
                continue;
            }
            b')' | b']' | b'}' => {
                depth = depth.saturating_sub(1);
                Kind::Close
            }
            b'&' if ahead == Some(&b'&') => {
                at += 1;
                Kind::And
            }
            b'|' if ahead == Some(&b'|') => {
                at += 1;
                Kind::Or
            }
            b'.' => Kind::Dot,
            b if b.is_ascii_alphanumeric() || *b == b'_' => {
                while bytes.get(at).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_') {
                    at += 1;
                }
                if text.get(start..at) == Some("if") { Kind::If } else { Kind::Word }
            }
            _ => Kind::Other,
        };
        found.push(Token { kind, at: start..at, depth });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<(bool, Vec<&str>)> {
        let of =
            |clause: ClauseText| (clause.when, clause.parts.iter().map(|part| &text[part.clone()]).collect());
        clauses(text).into_iter().map(of).collect()
    }

    #[test]
    fn conditions_are_split_where_and_joins_them_and_nowhere_else() {
        let policy = r#"@when("x && y") @reason("unless { a && b }")
            permit (principal, action, resource) // when { false && true }
            when { context.a == "&& }" && (b && c) && [1, 2].contains(3) // && d
              && !e.has }
            unless { a || b && c }
            when { if a then b && c else d && e } when { {x: a && b}.x };"#;
        assert_eq!(
            split(policy),
            [
                (true, vec!["context.a == \"&& }\"", "(b && c)", "[1, 2].contains(3)", "!e.has"]),
                (false, vec!["a || b && c"]),
                (true, vec!["if a then b && c else d && e"]),
                (true, vec!["{x: a && b}.x"]),
            ]
        );
        assert!(split("permit (principal, action, resource);").is_empty());
        // Not valid Cedar, and still no panic.
        for text in
            ["when {", "when { }", "when { &&", "}} when { a && }", "\"", "when { a && && b }", "\"\\"]
        {
            drop(split(text));
        }
    }

    #[test]
    fn what_a_condition_reads_is_found_without_its_methods() {
        let text = r#"context.input["a b"].c like "context.x" && principal.labels.contains("x") && e.context.y
            && resource.annotations has title && context.input.if > 3 && context.input["a b"].c == "" && principal in x"#;
        let found =
            [r#"context.input["a b"].c"#, "principal.labels", "resource.annotations", "context.input.if"];
        assert_eq!(reads(text), found);
    }
}
