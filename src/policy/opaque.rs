//! Arguments that have no exact value for policies, and what callers are told of them.

use super::rules::Meaning;

/// Most places that are told of.
const MAX_TOLD: usize = 8;

/// Where there are more values than are converted.
pub(super) const FEWER: &str = "an array or object with fewer values";
/// Where a value is of another type than policies see.
pub(super) const OF_ITS_TYPE: &str = "of the type that the tool's schema says";

/// A value that has no exact Cedar value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Opaque {
    /// The tool's property that it is in; the whole property is left out.
    pub(super) property: String,
    /// Where it is: a JSON pointer into `arguments`.
    pub(super) pointer: String,
    /// What has a value there; nothing of the argument itself (I7).
    pub(super) wanted: &'static str,
}

/// What has a value as a path, a URI or a host.
pub(super) const fn plainly(meaning: Meaning) -> &'static str {
    match meaning {
        Meaning::Path => {
            "a path that can be read in one way only (no backslash, drive letter or scheme, encoded dot or slash, \
             blank or quote at its ends)"
        }
        Meaning::Uri => {
            "an absolute URI that can be read in one way only (no backslash or blank, one plain host, no encoded dot \
             segments)"
        }
        Meaning::Host => "a plain host name in ASCII or an IP address, with a port or without",
    }
}

/// What is said where a policy depends on them: each place once, and what to send instead.
pub(super) fn told(opaque: &[Opaque]) -> String {
    let mut wanted: Vec<(&str, Vec<&str>)> = Vec::new();
    for opaque in opaque.iter().take(MAX_TOLD) {
        match wanted.iter_mut().find(|(what, _)| *what == opaque.wanted) {
            Some((_, places)) if places.contains(&opaque.pointer.as_str()) => {}
            Some((_, places)) => places.push(&opaque.pointer),
            None => wanted.push((opaque.wanted, vec![&opaque.pointer])),
        }
    }
    let each = |(what, places): &(&str, Vec<&str>)| format!("`{}` must be {what}", places.join("`, `"));
    let all: Vec<_> = wanted.iter().map(each).collect();
    format!("a policy depends on an argument that has no exact value for it: {}", all.join("; "))
}
