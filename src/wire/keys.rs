//! Keys of one object: no two equal once decoded, and where it matters none that could be taken for another.
//!
//! What could be taken for another (invariant I2): keys that differ, but are equal after NUL and default-ignorable
//! code points are dropped and Unicode's compatibility caseless mapping is applied (Unicode 15.0 §3.13, D146: case
//! folding and NFKC are both part of it). Go's `encoding/json` matches keys by simple folding, C libraries stop at NUL, and
//! culture-aware comparison skips ignorables.
//!
//! The common case (few keys, ASCII, nothing escaped) compares in place and allocates nothing. Many keys are sorted
//! when the object closes, so 100,000 of them cost n·log n and no hash can be attacked.

use std::borrow::Cow;

use caseless::Caseless as _;
use unicode_normalization::UnicodeNormalization as _;

use super::error::Malformed;
use super::place::{Place, Span};
use super::text;

/// Up to how many keys are compared one by one.
const FEW: usize = 16;

/// A key of an open object: its bytes between the quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    span: Span,
    escaped: bool,
}

impl Key {
    pub(super) fn new(span: Span, escaped: bool) -> Self {
        Self { span, escaped }
    }

    fn raw(self, bytes: &[u8]) -> &[u8] {
        self.span.of(bytes).unwrap_or_default()
    }

    /// The key's text; `None` if it holds a lone surrogate.
    pub(super) fn decode(self, bytes: &[u8]) -> Option<Cow<'_, str>> {
        if self.escaped {
            let quoted =
                Span { start: self.span.start.saturating_sub(1), end: self.span.end.saturating_add(1) };
            return text::decode(quoted.of(bytes)?);
        }
        std::str::from_utf8(self.raw(bytes)).ok().map(Cow::Borrowed)
    }
}

/// The keys of all objects that are open, innermost last, and how the innermost is to be checked.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<Key>);

/// A fault in the keys: what, and at which byte.
pub(super) type KeyFault = (Malformed, u32);

impl Keys {
    pub(super) fn with_capacity(keys: usize) -> Self {
        Self(Vec::with_capacity(keys))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes the next key of the innermost object, whose keys begin at `from`. Sets `later` when the check has to
    /// wait for [`Keys::close`].
    pub(super) fn push(
        &mut self,
        from: usize,
        key: Key,
        place: Place,
        later: &mut bool,
        bytes: &[u8],
    ) -> Option<KeyFault> {
        let siblings = self.0.get(from..).unwrap_or_default();
        let raw = key.raw(bytes);
        *later = *later || key.escaped || siblings.len() >= FEW || (place.refuses_twins() && !raw.is_ascii());
        let fault = if *later { None } else { among_few(siblings, raw, place, bytes) };
        self.0.push(key);
        fault.map(|what| (what, key.span.start))
    }

    /// The innermost object ends: checks its keys if that was put off, and forgets them.
    pub(super) fn close(&mut self, from: usize, place: Place, later: bool, bytes: &[u8]) -> Option<KeyFault> {
        let fault =
            if later { among_many(self.0.get_mut(from..).unwrap_or_default(), place, bytes) } else { None };
        self.0.truncate(from);
        fault
    }
}

/// Checks an ASCII key without escapes against few others of its sort.
fn among_few(siblings: &[Key], raw: &[u8], place: Place, bytes: &[u8]) -> Option<Malformed> {
    let twins = place.refuses_twins();
    for sibling in siblings {
        let other = sibling.raw(bytes);
        if other.len() == raw.len() && other.eq_ignore_ascii_case(raw) {
            if other == raw {
                return Some(Malformed::DuplicateKey);
            }
            if twins {
                return Some(Malformed::KeyTwin);
            }
        }
    }
    let known = place.known().iter().map(|k| k.as_bytes());
    let mut alike = known.filter(|k| k.len() == raw.len() && k.eq_ignore_ascii_case(raw));
    alike.next().filter(|k| *k != raw).map(|_| Malformed::KeyTwin)
}

/// Checks all keys of an object at once.
fn among_many(keys: &mut [Key], place: Place, bytes: &[u8]) -> Option<KeyFault> {
    if !place.refuses_twins() && !keys.iter().any(|k| k.escaped) {
        keys.sort_unstable_by(|a, b| a.raw(bytes).cmp(b.raw(bytes)));
        return keys.windows(2).find_map(|pair| match pair {
            [a, b] if a.raw(bytes) == b.raw(bytes) => Some((Malformed::DuplicateKey, b.span.start)),
            _ => None,
        });
    }
    let mut texts: Vec<_> = keys.iter().filter_map(|k| Some((k.decode(bytes)?, k.span.start))).collect();
    texts.sort_unstable();
    if let Some(at) = first_repeated(&texts) {
        return Some((Malformed::DuplicateKey, at));
    }
    if !place.refuses_twins() {
        return None;
    }
    let mut changed = false;
    for (text, at) in &mut texts {
        let folded = fold(text);
        changed |= folded != *text;
        let known = place.known();
        if !known.contains(&&**text) && known.iter().any(|k| k.eq_ignore_ascii_case(&folded)) {
            return Some((Malformed::KeyTwin, *at));
        }
        *text = folded;
    }
    if !changed {
        return None;
    }
    texts.sort_unstable();
    first_repeated(&texts).map(|at| (Malformed::KeyTwin, at))
}

fn first_repeated(sorted: &[(Cow<'_, str>, u32)]) -> Option<u32> {
    sorted.windows(2).find_map(|pair| match pair {
        [(a, _), (b, at)] if a == b => Some(*at),
        _ => None,
    })
}

/// What a key looks like to the most lenient parser.
fn fold<'a>(key: &Cow<'a, str>) -> Cow<'a, str> {
    if key.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase()) {
        return key.clone();
    }
    if key.is_ascii() && !key.contains('\0') {
        return Cow::Owned(key.to_ascii_lowercase());
    }
    let visible = key.chars().filter(|c| !is_ignorable(*c));
    let caseless = visible.nfd().default_case_fold().nfkd().default_case_fold().nfkd();
    Cow::Owned(caseless.filter(|c| !is_ignorable(*c)).collect())
}

/// What a key looks like to the most lenient parser: two keys that are equal in this form could be taken for one
/// another (invariant I2).
pub fn folded(key: &str) -> String {
    fold(&Cow::Borrowed(key)).to_ascii_lowercase()
}

/// Whether `key` is not `known`, but could be taken for it.
pub(super) fn is_twin(key: &str, known: &str) -> bool {
    key != known && fold(&Cow::Borrowed(key)).eq_ignore_ascii_case(known)
}

/// NUL, and Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt).
fn is_ignorable(c: char) -> bool {
    matches!(c,
        '\0' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_lenient_parser_takes_for_a_key_is_its_twin() {
        for (key, known) in [
            ("Name", "name"),
            ("argument\u{17f}", "arguments"),
            ("name\0", "name"),
            ("\0n\0ame", "name"),
            ("ＮＡＭＥ", "name"),
            ("progressToKen".replace('K', "\u{212a}").as_str(), "progressToken"),
            ("na\u{200d}me", "name"),
            ("u\u{ad}ri", "uri"),
            ("\u{feff}uri", "uri"),
            ("𝐮𝐫𝐢", "uri"),
        ] {
            assert!(is_twin(key, known), "{key:?}");
        }
        for (key, known) in
            [("name", "name"), ("names", "name"), ("n-ame", "name"), ("ürl", "url"), (" name", "name")]
        {
            assert!(!is_twin(key, known), "{key:?}");
        }
    }
}
