//! Texts of which only some parts are known: what a URI template (RFC 6570) can expand to, against Cedar's `like`.

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// This character.
    Char(char),
    /// Anything, nothing too.
    Any,
}

/// A text of which some parts can be anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob(Vec<Part>);

/// Beyond so many steps two globs count as having a text in common, and none as within the other.
const MAX_STEPS: usize = 1_000_000;

impl Glob {
    /// What `template` can expand to, and perhaps more: an expression stands for anything, and so does what clients may
    /// write in two ways (characters that URIs have only encoded), and all from an expression on that is never closed.
    pub(super) fn of_template(template: &str) -> Self {
        let mut parts = Vec::with_capacity(template.len());
        let mut rest = template.chars();
        while let Some(c) = rest.next() {
            match c {
                '{' => {
                    parts.push(Part::Any);
                    if !rest.by_ref().any(|c| c == '}') {
                        break;
                    }
                }
                // RFC 3986 §2.2 and §2.3: these stand for themselves.
                c if c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=".contains(c) => {
                    parts.push(Part::Char(c));
                }
                _ => parts.push(Part::Any),
            }
        }
        Self(parts)
    }

    /// Of these parts.
    pub(super) fn of(parts: impl IntoIterator<Item = Part>) -> Self {
        Self(parts.into_iter().collect())
    }

    /// Exactly this text.
    pub(super) fn exactly(text: &str) -> Self {
        Self(text.chars().map(Part::Char).collect())
    }

    /// Whether some text is both; in doubt it is.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.walk(other, true).unwrap_or(true)
    }

    /// Whether every text of this one is one of `other`; in doubt it is not.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        self.walk(other, false).unwrap_or(false)
    }

    /// Steps through both at once, a row of `other` for each part of `self`. Where `both` is false only `other`'s
    /// wildcards take parts of `self`, its wildcards among them. `None` if that were too many steps.
    fn walk(&self, other: &Self, both: bool) -> Option<bool> {
        if self.0.len().saturating_mul(other.0.len()) > MAX_STEPS {
            return None;
        }
        // `reached[at]`: the parts of `self` so far can be used up by the first `at` parts of `other`.
        let mut reached = vec![false; other.0.len() + 1];
        *reached.first_mut()? = true;
        skip_wildcards(&mut reached, other);
        for part in &self.0 {
            let mut next = vec![false; reached.len()];
            for (at, of_other) in other.0.iter().enumerate() {
                let here = reached.get(at).copied().unwrap_or_default();
                match of_other {
                    Part::Any if here => *next.get_mut(at)? = true,
                    Part::Char(c) if here && *part == Part::Char(*c) => *next.get_mut(at + 1)? = true,
                    _ => {}
                }
            }
            if both && *part == Part::Any {
                // It may be nothing, or take what follows in `other`.
                let mut open = false;
                for (was, now) in reached.iter().zip(&mut next) {
                    open |= *was || *now;
                    *now |= open;
                }
            }
            skip_wildcards(&mut next, other);
            reached = next;
        }
        reached.last().copied()
    }
}

/// A wildcard of `other` may be nothing.
fn skip_wildcards(reached: &mut [bool], other: &Glob) {
    let mut before = reached.first().copied().unwrap_or_default();
    for (now, part) in reached.iter_mut().skip(1).zip(&other.0) {
        *now |= before && *part == Part::Any;
        before = *now;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn like(pattern: &str) -> Glob {
        Glob::of(pattern.chars().map(|c| if c == '*' { Part::Any } else { Part::Char(c) }))
    }

    #[test]
    fn a_template_meets_what_it_can_expand_to() {
        for (template, pattern, meets, within) in [
            ("file:///{path}", "file:///*", true, true),
            ("file:///{path}", "file:///public/*", true, false),
            ("file:///public/{name}", "file:///*", true, true),
            ("file:///public/{name}", "file:///secret/*", false, false),
            ("file:///{a}/x", "*y", false, false),
            ("{+all}", "https://x/*", true, false),
            ("{+all}", "*", true, true),
            ("note://{id", "note://1", true, false),
            ("note://ä/1", "note://%C3%A4/1", true, false),
            ("note://1", "note://1", true, true),
            ("note://1", "note://2", false, false),
            ("", "*", true, true),
            ("", "a", false, false),
        ] {
            let template_glob = Glob::of_template(template);
            assert_eq!(template_glob.meets(&like(pattern)), meets, "{template} {pattern}");
            assert_eq!(template_glob.is_within(&like(pattern)), within, "{template} {pattern}");
        }
    }

    proptest! {
        #[test]
        fn globs_agree_with_all_short_texts(one in "[ab*]{0,5}", two in "[ab*]{0,5}") {
            // A text of at most ten characters shows that two globs of five parts meet, if any does.
            let (left, right) = (like(&one), like(&two));
            let texts = (0..=10_u32).flat_map(|length| (0..1_u32 << length).map(move |bits| -> String {
                (0..length).map(|at| if bits >> at & 1 == 0 { 'a' } else { 'b' }).collect()
            }));
            let (mut met, mut outside) = (false, false);
            for text in texts {
                let text = Glob::exactly(&text);
                if text.meets(&left) {
                    met |= text.meets(&right);
                    outside |= !text.meets(&right);
                    prop_assert_eq!(text.meets(&right), text.is_within(&right));
                }
            }
            prop_assert_eq!(left.meets(&right), met);
            prop_assert!(!left.is_within(&right) || !outside);
        }
    }
}
