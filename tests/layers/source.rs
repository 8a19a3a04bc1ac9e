//! Rust source as the rules see it: comments, strings and test code blanked out, line numbers kept.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// One file of the repository.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Path from the repository's root, with `/`.
    pub(crate) path: String,
    /// As it is on disk.
    pub(crate) text: String,
    /// Rust only: without comments and without what stands in strings.
    pub(crate) code: String,
    /// Rust only: `code` without what is compiled for tests alone.
    pub(crate) shipped: String,
}

impl Source {
    /// A file as it would be at `path`.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") { mask(text) } else { String::new() };
        let shipped = if is_test_path(path) { blank(&code) } else { without_tests(&code) };
        Self { path: path.to_owned(), text: text.to_owned(), code, shipped }
    }

    /// The top-level module under `src/` that this file belongs to.
    pub(crate) fn module(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("src/")?;
        let module =
            rest.split_once('/').map_or_else(|| rest.strip_suffix(".rs"), |(module, _)| Some(module))?;
        (!matches!(module, "lib" | "main")).then_some(module)
    }
}

/// All text files under the given folders and files of the repository.
pub(crate) fn read(root: &Path, entries: &[&str]) -> Vec<Source> {
    let mut files = Vec::new();
    for entry in entries {
        collect(&root.join(entry), &mut files);
    }
    let mut sources: Vec<_> = files
        .iter()
        .filter_map(|file| {
            let path = file.strip_prefix(root).ok()?.to_str()?.replace('\\', "/");
            Some(Source::new(&path, &String::from_utf8(fs::read(file).ok()?).ok()?))
        })
        .collect();
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    blank_test_modules(&mut sources);
    sources
}

fn collect(path: &Path, files: &mut Vec<std::path::PathBuf>) {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    if path.is_file() {
        files.push(path.to_owned());
    } else if !matches!(name, "target" | "node_modules" | ".cache" | ".venv" | "corpus" | "artifacts") {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            collect(&entry.path(), files);
        }
    }
}

fn is_test_path(path: &str) -> bool {
    let in_tests = |part: &str| part == "tests" || part == "tests.rs";
    !path.starts_with("src/") || path.split('/').any(in_tests)
}

/// A file that its parent declares by `#[cfg(test)] mod x;` is test code as a whole.
pub(crate) fn blank_test_modules(sources: &mut [Source]) {
    let mut tests = BTreeSet::new();
    for source in &*sources {
        let folder = match source.path.strip_suffix("/mod.rs").or(source.path.strip_suffix("/lib.rs")) {
            Some(folder) => folder,
            None => source.path.trim_end_matches(".rs"),
        };
        for (at, _) in source.code.match_indices("#[cfg(test)]") {
            let declared = source.code[at + 12..].split_once(';').map_or("", |(item, _)| item);
            let declared = declared.trim().rsplit_once("mod ").map_or("", |(_, name)| name);
            if !declared.is_empty() && declared.chars().all(|c| c.is_alphanumeric() || c == '_') {
                tests.insert(format!("{folder}/{declared}.rs"));
                tests.insert(format!("{folder}/{declared}/"));
            }
        }
    }
    for source in sources {
        if tests.iter().any(|t| source.path == *t || t.ends_with('/') && source.path.starts_with(t)) {
            source.shipped = blank(&source.code);
        }
    }
}

fn blank(code: &str) -> String {
    code.chars().filter(|c| *c == '\n').collect()
}

/// Blanks comments and the insides of strings and character literals.
fn mask(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text.as_bytes()[at..];
        let word_before = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        let end = if rest.starts_with(b"//") {
            at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            at + block_comment(rest)
        } else if let Some(length) = raw_string(rest).filter(|_| !word_before) {
            at + length
        } else if rest[0] == b'"' {
            at + string(rest)
        } else if let Some(length) = character(rest) {
            at + length
        } else {
            at += 1;
            continue;
        };
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn raw_string(rest: &[u8]) -> Option<usize> {
    let prefix = if rest.starts_with(b"br") { 2 } else { 1 };
    if !rest.starts_with(b"r") && prefix == 1 {
        return None;
    }
    let hashes = rest[prefix..].iter().take_while(|b| **b == b'#').count();
    let open = prefix + hashes;
    if rest.get(open) != Some(&b'"') {
        return None;
    }
    let close = [&b"\""[..], &b"#".repeat(hashes)].concat();
    let length = rest[open + 1..].windows(close.len()).position(|w| w == close);
    Some(length.map_or(rest.len(), |l| open + 1 + l + close.len()))
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// A character literal, told from a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    if rest[0] != b'\'' {
        return None;
    }
    if rest.get(1) == Some(&b'\\') {
        return rest.get(3..)?.iter().position(|b| *b == b'\'').map(|p| p + 4);
    }
    let next = std::str::from_utf8(&rest[1..rest.len().min(5)]);
    let valid = next.map_or_else(|e| e.valid_up_to(), str::len);
    let width = std::str::from_utf8(&rest[1..=valid]).ok()?.chars().next()?.len_utf8();
    (rest.get(1 + width) == Some(&b'\'')).then_some(width + 2)
}

/// Blanks each item under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(test)]") {
        let start = from + found;
        let (mut depth, mut end) = (0usize, code.len());
        for (at, byte) in code.bytes().enumerate().skip(start + 12) {
            match byte {
                b'{' | b'(' | b'[' => depth += 1,
                b'}' | b')' | b']' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 && byte == b'}' {
                        end = at + 1;
                        break;
                    }
                }
                b';' if depth == 0 => {
                    end = at + 1;
                    break;
                }
                _ => {}
            }
        }
        out[start..end].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
        from = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}
