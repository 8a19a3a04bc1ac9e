//! Paths as policies see them: normalized by their text alone, or not at all.
//!
//! The gateway does not see the file system that a path is for, so this asks nobody: symbolic links stay, and `..` takes
//! the step before it away. Whatever another reader could take for another path has no value here, and a call is
//! refused where a policy that applies reads it: backslashes, drive letters and schemes, two slashes at the head,
//! encoded dots and slashes, characters that compatibility normalization turns into them, names that Windows trims,
//! quotes and blanks at the ends, control characters.

use std::collections::BTreeSet;

use cedar_policy::RestrictedExpression as Expr;
use unicode_normalization::UnicodeNormalization as _;

/// Longest path, in bytes (Linux' `PATH_MAX`).
const MAX_BYTES: usize = 4_096;

/// Deepest path of which the folders are told.
const MAX_FOLDERS: usize = 64;

/// A path, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path<'a> {
    pub(super) raw: &'a str,
    /// Without `.`, without `..` but at the head of a relative path, without repeated or trailing slashes.
    pub(super) normal: String,
    /// Whether it begins at the root or at a home directory (`~`).
    pub(super) is_absolute: bool,
    /// Whether a step of the raw path is `..`.
    pub(super) has_parent_steps: bool,
    /// The steps of the normal path.
    pub(super) components: Vec<&'a str>,
}

impl<'a> Path<'a> {
    /// Reads `raw`; `None` where it could be taken for several paths.
    pub(super) fn read(raw: &'a str) -> Option<Self> {
        if raw.len() > MAX_BYTES || !is_plain(raw) {
            return None;
        }
        let rooted = raw.starts_with('/');
        let home = raw.starts_with('~');
        let mut components: Vec<&'a str> = Vec::new();
        let mut has_parent_steps = false;
        for step in raw.split('/').filter(|step| !matches!(*step, "" | ".")) {
            if step != ".." {
                components.push(step);
                continue;
            }
            has_parent_steps = true;
            match components.as_slice() {
                // Above the root is the root.
                [] if rooted => {}
                // Above a home directory is what only its system knows.
                [_] if home => return None,
                [] | [.., ".."] => components.push(".."),
                _ => {
                    components.pop();
                }
            }
        }
        // A home directory or a drive, for who takes away the steps before it first.
        let first = components.first().copied().unwrap_or_default();
        let drive = match first.as_bytes() {
            [letter, b':', ..] => letter.is_ascii_alphabetic(),
            _ => !rooted && first.contains(':'),
        };
        if drive || !rooted && !home && first.starts_with('~') {
            return None;
        }
        let joined = components.join("/");
        let normal = match (rooted, joined.is_empty()) {
            (true, _) => format!("/{joined}"),
            (false, true) => ".".to_owned(),
            (false, false) => joined,
        };
        Some(Self { raw, normal, is_absolute: rooted || home, has_parent_steps, components })
    }

    /// The last step's text after its last dot, in lower case; a name that only begins with a dot has none.
    fn extension(&self) -> Option<String> {
        let name = self.components.last().filter(|name| **name != "..")?;
        let (stem, extension) = name.rsplit_once('.')?;
        (!stem.is_empty() && !extension.is_empty()).then(|| extension.to_lowercase())
    }

    /// How many values it makes.
    pub(super) fn values(&self) -> usize {
        self.components.len()
    }

    /// The Cedar record.
    pub(super) fn record(self) -> Option<Expr> {
        let text = |text: &str| Expr::new_string(text.to_owned());
        let steps: BTreeSet<&str> = self.components.iter().copied().collect();
        let mut pairs = vec![
            ("raw".to_owned(), text(self.raw)),
            ("is_absolute".to_owned(), Expr::new_bool(self.is_absolute)),
            ("has_parent_steps".to_owned(), Expr::new_bool(self.has_parent_steps)),
            ("name".to_owned(), text(self.components.last().copied().unwrap_or_default())),
            ("components".to_owned(), Expr::new_set(steps.into_iter().map(text))),
        ];
        pairs.extend(self.extension().map(|ext| ("extension".to_owned(), Expr::new_string(ext))));
        pairs.push(("normal".to_owned(), Expr::new_string(self.normal)));
        Expr::new_record(pairs).ok()
    }
}

/// The folders that hold every one of `paths`, each path itself included where it is the only one; none where one of
/// them can't be read, is relative, or has a `..` that a link could lead elsewhere.
pub(super) fn within(paths: &[&str]) -> BTreeSet<String> {
    let mut common: Option<Vec<String>> = None;
    for raw in paths {
        let Some(path) = Path::read(raw).filter(|path| path.is_absolute && !path.has_parent_steps) else {
            return BTreeSet::new();
        };
        if path.components.len() > MAX_FOLDERS {
            return BTreeSet::new();
        }
        let mut folders = if path.normal.starts_with('/') { vec!["/".to_owned()] } else { Vec::new() };
        let mut so_far = String::new();
        for step in &path.components {
            if !so_far.is_empty() || path.normal.starts_with('/') {
                so_far.push('/');
            }
            so_far.push_str(step);
            folders.push(so_far.clone());
        }
        common = Some(match common {
            None => folders,
            Some(before) => before.into_iter().zip(folders).filter(|(a, b)| a == b).map(|(a, _)| a).collect(),
        });
    }
    common.unwrap_or_default().into_iter().collect()
}

/// Whether every reader that we know of takes `raw` for the same steps.
fn is_plain(raw: &str) -> bool {
    let quoted = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`');
    if raw.starts_with("//") || raw.starts_with(quoted) || raw.ends_with(quoted) {
        return false;
    }
    if raw.chars().any(|c| c.is_control() || c == '\\' || is_disguised(c)) || is_encoded(raw) {
        return false;
    }
    // A drive, a scheme, or another device's name.
    if raw.split('/').next().is_some_and(|head| head.contains(':')) {
        return false;
    }
    // Windows trims dots and blanks at the end of a name: `.. ` is `..` there.
    let trimmed = |step: &str| step.ends_with(['.', ' ']) && !matches!(step, "." | "..");
    !raw.split('/').any(trimmed)
}

/// Whether a reader that decodes `%` finds a step in it, or a `%` to decode once more.
fn is_encoded(raw: &str) -> bool {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let code = |bytes: &[u8]| match bytes {
        [b'%', high, low] => digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low),
        _ => None,
    };
    let hides =
        |code: u32| code < 0x20 || [b'.', b'/', b'\\', b'%', b':', b'~'].map(u32::from).contains(&code);
    raw.as_bytes().windows(3).filter_map(code).any(hides)
}

/// Whether compatibility normalization turns `c` into a character that parts or means steps, or drops it.
fn is_disguised(c: char) -> bool {
    if c.is_ascii() {
        return false;
    }
    let invisible = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2044}' | '\u{2060}'..='\u{206f}' | '\u{2215}' | '\u{29f8}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}');
    invisible || std::iter::once(c).nfkc().any(|c| matches!(c, '.' | '/' | '\\' | ':' | '~' | '%'))
}
