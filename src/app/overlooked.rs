//! Files that look like policies and are not in force: in subdirectories, or with a name that is almost right. A forbid
//! in one of them protects nothing, and nothing else would say so.

use std::fs;
use std::path::{Path, PathBuf};

use crate::policy::{PolicyDiagnostic, Severity, nearest};

/// How deep subdirectories are looked into, and how many entries of each directory.
const DEPTH: usize = 4;
const ENTRIES: usize = 10_000;
/// Endings that are put behind a name to take a file out of force.
const ASIDE: [&str; 10] = ["bak", "old", "orig", "off", "disabled", "rej", "swp", "tmp", "save", "example"];

/// A warning for each of them in the directories among `paths`; a subdirectory that is itself one of `paths` or of
/// `others` is meant. What can't be read is left to [`super::policies::load`].
pub fn overlooked(paths: &[PathBuf], others: &[PathBuf]) -> Vec<PolicyDiagnostic> {
    let whole = |path: &PathBuf| fs::canonicalize(path).ok();
    let named: Vec<PathBuf> = paths.iter().chain(others).filter_map(whole).collect();
    let mut found = Vec::new();
    for directory in paths.iter().filter(|path| path.is_dir()) {
        for path in entries(directory) {
            let Ok(path_whole) = fs::canonicalize(&path) else { continue };
            if named.contains(&path_whole) {
                continue;
            }
            if is_log(&path_whole) {
                continue;
            }
            if path_whole.is_dir() {
                found
                    .extend(below(&path, &named, DEPTH).map(|file| in_subdirectory(directory, &path, &file)));
            } else if let Some(better) = meant(&path) {
                found.push(misnamed(&path, &better));
            }
        }
    }
    found
}

/// A directory's entries that are not hidden, by name.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let shown =
        |path: &PathBuf| path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."));
    let mut paths: Vec<PathBuf> =
        entries.take(ENTRIES).flatten().map(|entry| entry.path()).filter(shown).collect();
    paths.sort();
    paths
}

/// The first policy file in `directory` or below, apart from what is `named`.
fn below(directory: &Path, named: &[PathBuf], depth: usize) -> Option<PathBuf> {
    let is_named = |path: &Path| fs::canonicalize(path).is_ok_and(|whole| named.contains(&whole));
    entries(directory).into_iter().filter(|path| !is_named(path)).find_map(|path| {
        // A link to a directory may lead around in a circle.
        let is_dir = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
        match is_dir {
            true if is_log(&path) => None,
            true => below(&path, named, depth.checked_sub(1)?),
            false => path.extension().is_some_and(|extension| extension == "cedar").then_some(path),
        }
    })
}

/// Whether it is an attestation log: the policies in it are copies of those that decided.
fn is_log(directory: &Path) -> bool {
    directory.join("records").is_dir() && directory.join("policies").is_dir()
}

/// The name that a file was probably meant to have, if its own is not that of a policy file.
fn meant(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let (stem, extension) = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty())?;
    if extension == "cedar" || ASIDE.contains(&extension) || extension.ends_with('~') {
        return None;
    }
    if stem.ends_with(".cedar") {
        return Some(stem.to_owned());
    }
    nearest(&extension.to_lowercase(), ["cedar"]).map(|near| format!("{stem}.{near}"))
}

fn in_subdirectory(directory: &Path, sub: &Path, file: &Path) -> PolicyDiagnostic {
    warning(
        file,
        format!("{} is not in force: subdirectories of {} are not read", file.display(), directory.display()),
        format!("move it up, or name {} beside {}", sub.display(), directory.display()),
    )
}

fn misnamed(path: &Path, better: &str) -> PolicyDiagnostic {
    warning(
        path,
        format!("{} is not in force: policy files end with `.cedar`", path.display()),
        format!("name it `{better}`, or move it elsewhere"),
    )
}

fn warning(path: &Path, message: String, help: String) -> PolicyDiagnostic {
    PolicyDiagnostic {
        severity: Severity::Warning,
        file: path.display().to_string().into(),
        text: "".into(),
        span: None,
        message,
        help: Some(help),
        policy: None,
        unknown_name: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_policy_and_is_not_in_force_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let policies = dir.path().join("policies");
        let subs = [
            "sub/deeper",
            "next",
            "notes",
            ".git",
            "sub.cedar.d",
            "log/records",
            "log/policies/1",
            "kept/log/records",
            "kept/log/policies",
        ];
        for sub in subs {
            fs::create_dir_all(policies.join(sub)).unwrap();
        }
        for name in [
            "a.cedar",
            "b.cedr",
            "c.CEDAR",
            "d.cedar.txt",
            "e.cedar.bak",
            "f.cases.yaml",
            "tools.json",
            "notes.md",
            "mcp.cedarschema",
            ".x.cedr",
            "cedar",
            "sub/deeper/f.cedar",
            "next/g.cedar",
            "notes/g.md",
            ".git/h.cedar",
            "log/policies/1/a.cedar",
            "kept/log/policies/a.cedar",
        ] {
            fs::write(policies.join(name), "").unwrap();
        }
        let told = |paths: &[PathBuf], others: &[PathBuf]| -> Vec<String> {
            let line = |found: PolicyDiagnostic| {
                let text = format!("{} ({})", found.message, found.help.unwrap_or_default());
                text.replace(&dir.path().display().to_string(), "")
            };
            overlooked(paths, others).into_iter().map(line).collect()
        };
        assert_eq!(
            told(std::slice::from_ref(&policies), &[policies.join("next")]),
            [
                "/policies/b.cedr is not in force: policy files end with `.cedar` (name it `b.cedar`, or move it elsewhere)",
                "/policies/c.CEDAR is not in force: policy files end with `.cedar` (name it `c.cedar`, or move it elsewhere)",
                "/policies/d.cedar.txt is not in force: policy files end with `.cedar` (name it `d.cedar`, or move it elsewhere)",
                "/policies/sub/deeper/f.cedar is not in force: subdirectories of /policies are not read (move it up, or \
                 name /policies/sub beside /policies)",
            ]
        );
        let all = [policies.clone(), policies.join("b.cedr"), policies.join("sub/deeper")];
        let told = told(&all, &[]);
        assert!(
            told.iter().all(|line| !line.contains("b.cedr is") && !line.contains("f.cedar is")),
            "{told:?}"
        );
        assert_eq!(overlooked(&[policies.join("a.cedar"), dir.path().join("gone")], &[]), []);
    }
}
