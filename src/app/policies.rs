//! Policy files from where the configuration says: each file as named, each directory's `*.cedar` in order.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::plain::{read_found, read_text};
use crate::admission;
use crate::attest::PolicySource;
use crate::config::CASE_FILES;
use crate::policy::{Engine, PolicySources, Provable, SourceFile};

/// Largest policy file, in bytes.
const MAX_FILE: u64 = 4 * 1024 * 1024;
/// Most policy files.
const MAX_FILES: usize = 10_000;
/// All of them, in bytes.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// Why policies can't be read.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFilesError {
    /// A path can't be read.
    #[error("can't read the policies at {path}: {source}", path = .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file, or a directory among others, lost all that it held.
    #[error(
        "{path} is empty and was not; if that is meant, remove it (a directory: from the configuration too) or leave a \
         comment in it", path = .path.display()
    )]
    Emptied {
        /// Which.
        path: PathBuf,
    },
    /// Too much to hold.
    #[error("{path}: {what}", path = .path.display())]
    TooMuch {
        /// Where.
        path: PathBuf,
        /// What.
        what: &'static str,
    },
}

/// Reads all files. A directory counts with its `*.cedar` files by name, not with its subdirectories; one without
/// any counts as no policy.
///
/// # Errors
/// The first path that can't be read whole.
pub fn load(paths: &[PathBuf]) -> Result<PolicySources, PolicyFilesError> {
    let (mut files, mut bytes) = (Vec::new(), 0);
    let mut take = |path: &Path, read: fn(&Path, u64) -> io::Result<String>| {
        let file = read_file(path, read)?;
        bytes += file.text.len();
        files.push(file);
        let what = match (files.len() > MAX_FILES, bytes > MAX_BYTES) {
            (true, _) => "this is more than 10,000 policy files",
            (_, true) => "with it the policies are larger than 256 MiB",
            _ => return Ok(()),
        };
        Err(PolicyFilesError::TooMuch { path: path.to_owned(), what })
    };
    for path in paths {
        let failed = |source| PolicyFilesError::Read { path: path.clone(), source };
        if !fs::metadata(path).map_err(failed)?.is_dir() {
            take(path, read_text)?;
            continue;
        }
        for file in policy_files(path).map_err(failed)? {
            take(&file, read_found)?;
        }
    }
    Ok(PolicySources { files })
}

/// The files of a directory that count, by name.
///
/// # Errors
/// If the directory can't be read.
pub fn policy_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    files(directory, ".cedar")
}

/// The case files of a directory, by name.
///
/// # Errors
/// If the directory can't be read.
pub fn case_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    files(directory, CASE_FILES)
}

fn files(directory: &Path, suffix: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let file = entry?.path();
        let name = file.file_name().map(std::ffi::OsStr::as_encoded_bytes).unwrap_or_default();
        if !name.starts_with(b".") && name.ends_with(suffix.as_bytes()) {
            found.push(file);
        }
    }
    found.sort();
    Ok(found)
}

fn read_file(
    path: &Path,
    read: fn(&Path, u64) -> io::Result<String>,
) -> Result<SourceFile, PolicyFilesError> {
    let failed = |source| PolicyFilesError::Read { path: path.to_owned(), source };
    let text = read(path, MAX_FILE).map_err(failed)?;
    Ok(SourceFile { name: path.display().to_string().into(), text: text.into() })
}

/// Reads all files anew, as [`load`] does. A file that had something in it and is empty now is more likely a save that
/// failed than a wish: whoever wants it empty removes it, or leaves a comment in it.
///
/// # Errors
/// As [`load`], and for such a file.
pub(super) fn reload(paths: &[PathBuf], before: &PolicySources) -> Result<PolicySources, PolicyFilesError> {
    let now = load(paths)?;
    let blank = |file: &&SourceFile| file.text.trim().is_empty();
    for file in now.files.iter().filter(blank) {
        let held = before.files.iter().any(|old| old.name == file.name && !old.text.trim().is_empty());
        if held {
            return Err(PolicyFilesError::Emptied { path: PathBuf::from(&*file.name) });
        }
    }
    // A file system that is gone leaves an empty directory. What is left of the set then may permit more than the whole.
    let within = |sources: &PolicySources, dir: &Path| {
        sources.files.iter().any(|file| Path::new(&*file.name).parent() == Some(dir))
    };
    let lost = |dir: &&PathBuf| within(before, dir) && !within(&now, dir);
    match paths.iter().find(lost).filter(|_| !now.files.is_empty()) {
        Some(path) => Err(PolicyFilesError::Emptied { path: path.clone() }),
        None => Ok(now),
    }
}

/// What bearer tokens can prove to policies under this configuration.
pub fn provable(admission: &admission::Config) -> Provable {
    let mut provable = Provable::default();
    for oidc in &admission.oidc {
        provable.issuers.insert(oidc.issuer.clone());
        provable.claims.extend(oidc.claims.iter().cloned());
        provable.group_prefixes.extend(oidc.groups.iter().map(|groups| groups.prefix.clone()));
    }
    provable
}

/// What is archived with the log of a policy set: its files, and the schema that it was validated against.
pub(super) fn archived(engine: &Engine) -> Vec<PolicySource> {
    let file = |file: &SourceFile| PolicySource { name: file.name.to_string(), text: file.text.clone() };
    let schema = PolicySource { name: "schema.cedarschema".to_owned(), text: engine.schema_text().into() };
    engine.sources().files.iter().map(file).chain([schema]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment, Purpose};
    use crate::policy::{Catalogue, ToolDefinition};

    #[test]
    fn files_come_in_order_and_nothing_but_cedar_files_of_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let policies = dir.path().join("policies");
        fs::create_dir_all(policies.join("sub.cedar.d")).unwrap();
        for name in ["b.cedar", "a.cedar", "notes.md", ".hidden.cedar", "mcp.cedarschema"] {
            fs::write(policies.join(name), name).unwrap();
        }
        let extra = dir.path().join("extra.txt");
        fs::write(&extra, "extra").unwrap();
        let sources = load(&[extra, policies]).unwrap();
        let texts: Vec<&str> = sources.files.iter().map(|file| &*file.text).collect();
        assert_eq!(texts, ["extra", "a.cedar", "b.cedar"]);
    }

    #[test]
    fn a_file_that_lost_its_content_is_refused_and_an_emptied_directory_is_an_empty_set() {
        let dir = tempfile::tempdir().unwrap();
        let policies = [dir.path().to_owned()];
        let file = dir.path().join("a.cedar");
        fs::write(&file, "forbid (principal, action, resource);").unwrap();
        let before = load(&policies).unwrap();
        fs::write(&file, " \n").unwrap();
        assert!(matches!(reload(&policies, &before), Err(PolicyFilesError::Emptied { .. })));
        assert!(reload(&policies, &load(&policies).unwrap()).is_ok(), "it was empty before");
        fs::write(&file, "// closed for now").unwrap();
        assert!(reload(&policies, &before).is_ok());
        fs::remove_file(&file).unwrap();
        assert!(reload(&policies, &before).unwrap().files.is_empty());
        assert!(reload(&[dir.path().join("gone")], &before).is_err());
    }

    #[test]
    fn a_directory_of_forbids_that_is_gone_does_not_leave_the_permits_alone() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["permits", "forbids"].map(|name| dir.path().join(name));
        for path in &paths {
            fs::create_dir(path).unwrap();
            fs::write(path.join("a.cedar"), "// some").unwrap();
        }
        let before = load(&paths).unwrap();
        fs::remove_file(paths[1].join("a.cedar")).unwrap();
        assert!(matches!(reload(&paths, &before), Err(PolicyFilesError::Emptied { .. })));
        assert!(reload(&paths[..1], &before).is_ok(), "it is configured no more");
        fs::write(paths[1].join("why.cedar"), "// none for now").unwrap();
        assert!(reload(&paths, &before).is_ok());
        fs::remove_file(paths[0].join("a.cedar")).unwrap();
        fs::remove_file(paths[1].join("why.cedar")).unwrap();
        assert!(reload(&paths, &before).unwrap().files.is_empty(), "no policy at all permits nothing");
    }

    #[test]
    fn what_is_no_plain_file_in_a_directory_is_an_error_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        assert!(
            std::process::Command::new("mkfifo").arg(dir.path().join("a.cedar")).status().unwrap().success()
        );
        let error = load(&[dir.path().to_owned()]).unwrap_err();
        assert!(error.to_string().contains("no plain file"), "{error}");
        fs::remove_file(dir.path().join("a.cedar")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", dir.path().join("a.cedar")).unwrap();
        assert!(load(&[dir.path().to_owned()]).is_err());
        assert!(load(&["/dev/zero".into()]).is_err());
    }

    #[test]
    fn the_examples_on_tokens_rest_on_what_the_example_configurations_let_through() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let list = fs::read_to_string(root.join("tests/vectors/tools/server-filesystem.json")).unwrap();
        let list: Vec<Box<serde_json::value::RawValue>> = serde_json::from_str(&list).unwrap();
        let tool = |entry: &serde_json::value::RawValue| {
            ToolDefinition::from_list_entry(entry.get().as_bytes()).unwrap()
        };
        let tools =
            Catalogue::of("filesystem".parse().unwrap(), list.iter().map(|entry| tool(entry)).collect());
        let sources = load(&[root.join("policies/examples/per-group-tools")]).unwrap();
        let (engine, _) = Engine::compile(&sources, &tools).unwrap();
        for file in ["oidc.yaml", "full.yaml"] {
            let file = root.join("examples").join(file);
            let config = Config::load(&file, Purpose::Serve, &Environment::process()).unwrap();
            assert_eq!(engine.unprovable(&provable(&config.admission)), [], "{}", file.display());
        }
        assert!(!engine.unprovable(&Provable::default()).is_empty());
    }

    #[test]
    fn a_missing_path_is_an_error_and_never_an_empty_set() {
        let error = load(&["/nonexistent/policies".into()]).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/policies"), "{error}");
    }
}
