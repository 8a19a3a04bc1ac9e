//! The one spelling that paths, URIs and hosts have for policies: which texts and patterns none of them can be like, and
//! which patterns hold for more than they seem to.

use serde_json::Value;

use super::host::Host;
use super::path::Path;
use super::rules::Meaning;
use super::schema::quoted;

/// What of a path, URI or host is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A path's `normal`.
    Path,
    /// A path's `name`.
    Name,
    /// A path's `extension`.
    Extension,
    /// One of a path's `components`.
    Component,
    /// One of the folders that hold all of a list of paths.
    Folder,
    /// A URI's `scheme`.
    Scheme,
    /// A URI's `host`, or a host's `normal`.
    Host,
    /// One of the hosts of a list.
    HostOfSet,
    /// A URI's `normal`.
    Uri,
}

impl Place {
    /// The attribute of what means this.
    pub(super) fn of(meaning: Meaning, attribute: &str) -> Option<Self> {
        Some(match (meaning, attribute) {
            (Meaning::Path, "normal") => Self::Path,
            (Meaning::Path, "name") => Self::Name,
            (Meaning::Path, "extension") => Self::Extension,
            (Meaning::Uri, "scheme") => Self::Scheme,
            (Meaning::Uri, "host") | (Meaning::Host, "normal") => Self::Host,
            (Meaning::Uri, "normal") => Self::Uri,
            _ => return None,
        })
    }

    /// Whether it is one of several.
    pub(super) fn in_set(self) -> bool {
        matches!(self, Self::Component | Self::Folder | Self::HostOfSet)
    }
}

/// What `like` compares with: the literal texts between its wildcards, of which there are as many as texts, less one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<String>);

impl Pattern {
    /// From Cedar's JSON.
    pub(super) fn of(json: &Value) -> Option<Self> {
        let mut texts = vec![String::new()];
        for part in json.as_array()? {
            match part.get("Literal").and_then(Value::as_str) {
                Some(literal) => texts.last_mut()?.push_str(literal),
                None => texts.push(String::new()),
            }
        }
        Some(Self(texts))
    }

    /// As it is written.
    pub(super) fn shown(&self) -> String {
        let texts: Vec<String> = self.0.iter().map(|text| quoted(text).replace('*', "\\*")).collect();
        let inner = texts.iter().map(|text| text.get(1..text.len() - 1).unwrap_or_default());
        format!("\"{}\"", inner.collect::<Vec<_>>().join("*"))
    }

    /// The text, if there is no wildcard.
    fn whole(&self) -> Option<&str> {
        match self.0.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    fn first(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    fn last(&self) -> &str {
        self.0.last().map_or("", String::as_str)
    }

    fn any(&self, test: impl Fn(&str) -> bool) -> bool {
        self.0.iter().any(|text| test(text))
    }

    /// The text before the wildcard, if there is one and it is the end.
    fn prefix(&self) -> Option<&str> {
        match self.0.as_slice() {
            [prefix, rest] if rest.is_empty() => Some(prefix),
            _ => None,
        }
    }

    /// The text after the wildcard, if there is one and it is the beginning.
    fn suffix(&self) -> Option<&str> {
        match self.0.as_slice() {
            [rest, suffix] if rest.is_empty() => Some(suffix),
            _ => None,
        }
    }
}

const LOWER: &str = "it is in lower case";

/// Why `text` is never found at `place`, with what to write; `None` where it may be.
pub(super) fn unreachable_text(place: &Place, text: &str) -> Option<String> {
    let write = |better: String| format!("write {}", quoted(&better));
    match place {
        Place::Path | Place::Folder => {
            let read = Path::read(text);
            let folder = *place == Place::Folder;
            match read {
                Some(path) if folder && !path.is_absolute => {
                    Some("it holds folders from the root on, such as \"/srv\"".to_owned())
                }
                Some(path) if path.normal == text => None,
                Some(path) => Some(write(path.normal)),
                None => Some("a path that can be read in two ways has no value here".to_owned()),
            }
        }
        Place::Name | Place::Component if text.contains('/') => Some(match place {
            Place::Name => "a name is the last step, without a slash".to_owned(),
            _ => "a component is one step, without a slash: compare `.normal` with `like`".to_owned(),
        }),
        Place::Extension => {
            let better = text.rsplit('.').next().unwrap_or_default().to_lowercase();
            (better != text || text.is_empty())
                .then(|| format!("an extension is in lower case and has no dot: {}", quoted(&better)))
        }
        Place::Scheme => {
            let better = text.trim_end_matches([':', '/']).to_ascii_lowercase();
            (better != text).then(|| write(better))
        }
        Place::Host | Place::HostOfSet if text.is_empty() => None,
        Place::Host | Place::HostOfSet => match Host::with_port(text) {
            Some((host, None)) if host.name == text => None,
            Some((host, _)) => Some(write(host.name)),
            None => {
                Some("a host has no scheme, no path and no user here, such as \"example.org\"".to_owned())
            }
        },
        Place::Name | Place::Component | Place::Uri => None,
    }
}

/// Why nothing at `place` is like `pattern`, with what to write; `None` where something may be.
pub(super) fn unreachable_pattern(place: &Place, pattern: &Pattern) -> Option<String> {
    if let Some(text) = pattern.whole() {
        return unreachable_text(place, text);
    }
    let upper = |text: &str| text.chars().any(|c| c.is_ascii_uppercase());
    match place {
        Place::Path => {
            if pattern.any(|text| text.contains("//")) {
                return Some("a normal path has no two slashes in a row".to_owned());
            }
            if pattern.any(|text| text.contains('\\')) {
                return Some("a normal path has no backslash".to_owned());
            }
            if pattern.last().ends_with('/') && pattern.any(|text| text.chars().any(|c| c != '/')) {
                return Some(
                    "a normal path has no slash at its end; for all below a folder write `/*`".to_owned(),
                );
            }
            // What stands before the first wildcard, up to its last slash, is a path of its own.
            let (head, _) = pattern.first().rsplit_once('/')?;
            if head.is_empty() {
                return None;
            }
            let better = Path::read(head).map(|path| path.normal);
            match better {
                Some(better) if better == head && head != "." => None,
                Some(better) => Some(format!(
                    "a normal path is without `.` and `..`: what stands before is {}",
                    quoted(&better)
                )),
                None => Some("a path that can be read in two ways has no value here".to_owned()),
            }
        }
        Place::Name => pattern
            .any(|text| text.contains('/'))
            .then(|| "a name is the last step, without a slash: compare `.normal`".to_owned()),
        Place::Extension => pattern
            .any(|text| text.contains('.') || text.to_lowercase() != text)
            .then(|| "an extension is in lower case and has no dot".to_owned()),
        Place::Scheme => pattern.any(upper).then(|| LOWER.to_owned()),
        Place::Host => {
            if pattern.any(upper) {
                return Some(LOWER.to_owned());
            }
            pattern
                .any(|text| text.contains(['/', '@']))
                .then(|| "a host has no scheme, no path and no user here".to_owned())
        }
        Place::Uri => {
            let (scheme, rest) = pattern.first().split_once("://")?;
            let host = rest.split(['/', '?']).next().unwrap_or_default();
            (upper(scheme) || upper(host)).then(|| "scheme and host are in lower case".to_owned())
        }
        Place::Component | Place::Folder | Place::HostOfSet => None,
    }
}

/// Something that `pattern` holds for and was hardly meant, with what to write.
pub(super) fn too_wide(place: &Place, pattern: &Pattern, dotted: &str) -> Option<(String, String)> {
    match place {
        Place::Path => {
            let prefix = pattern.prefix().filter(|prefix| prefix.ends_with(char::is_alphanumeric))?;
            // A name of which only the beginning is said may be meant: `report-2026*`.
            let (_, step) =
                prefix.rsplit_once('/').filter(|(_, step)| step.chars().all(char::is_alphabetic))?;
            let help = format!(
                "for all below the folder write `{dotted} like {}`; for names that begin so in one folder, \
                 `.name like {}` beside it",
                quoted(&format!("{prefix}/*")),
                quoted(&format!("{step}*"))
            );
            Some((format!("{prefix}-secret"), help))
        }
        Place::Host => {
            if let Some(suffix) = pattern.suffix().filter(|suffix| suffix.starts_with(char::is_alphanumeric))
            {
                let help = format!(
                    "write `{dotted} == {}` or `{dotted} like {}`",
                    quoted(suffix),
                    quoted(&format!("*.{suffix}"))
                );
                return Some((format!("evil{suffix}"), help));
            }
            let prefix = pattern.prefix().filter(|prefix| !prefix.is_empty())?;
            let help = "write the end of the name too; for addresses test `.ip` with `isInRange`".to_owned();
            Some((format!("{}.evil.example", prefix.trim_end_matches('.')), help))
        }
        Place::Uri => {
            let prefix = pattern.prefix()?;
            let (_, host) = prefix.split_once("://").filter(|(_, rest)| !rest.contains(['/', '?']))?;
            let help =
                format!("write `{dotted} like {}`, or compare its host", quoted(&format!("{prefix}/*")));
            (!host.is_empty()).then(|| (format!("{prefix}.evil.example/"), help))
        }
        _ => None,
    }
}
