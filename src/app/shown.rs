//! Tool definitions on disk: what each server has shown last, so that policies can be compiled before it runs.
//!
//! One file for each server, named by the server's name and a digest of how it is reached, so that another command
//! under the same name starts without the old one's tools. Written whole and renamed into place, mode 0600.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use super::lock::LockFileError;
use super::plain::read_text;
use crate::domain::digest::Sha256Digest;
use crate::domain::random;
use crate::policy::ToolDefinition;
use crate::proxy::config::{ServerConfig, ServerKind};

/// Largest file, in bytes.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// The directory of these files.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    dir: PathBuf,
}

impl Shown {
    /// In `state_dir`; nothing is made yet.
    pub(super) fn below(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("tools") }
    }

    /// What is kept of `server`. `None` when it was never seen.
    ///
    /// # Errors
    /// There is a file, and it can't be read: as if it were not there, whatever the server shows would be approved.
    pub(super) fn load(&self, server: &ServerConfig) -> Result<Option<Vec<ToolDefinition>>, LockFileError> {
        let path = self.path(server);
        let damaged = |why: String| LockFileError::Kept { path: path.clone(), why };
        let text = match read_text(&path, MAX_FILE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|error| damaged(error.to_string()))?,
        };
        let entries = serde_json::from_str::<Vec<Box<RawValue>>>(&text);
        let entries = entries.map_err(|error| damaged(error.to_string()))?;
        let read = |entry: Box<RawValue>| ToolDefinition::from_list_entry(entry.get().as_bytes());
        let read: Result<Vec<_>, _> = entries.into_iter().map(read).collect();
        read.map(Some).map_err(|error| damaged(error.to_string()))
    }

    /// Keeps what `server` shows now.
    ///
    /// # Errors
    /// When the directory can't be written, or they are too large to be read again.
    pub(super) fn save(&self, server: &ServerConfig, definitions: &[ToolDefinition]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let entries: Vec<&str> = definitions.iter().map(ToolDefinition::entry).collect();
        let text = format!("[{}]\n", entries.join(",\n"));
        if text.len() as u64 > MAX_FILE {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "they are larger than 64 MiB"));
        }
        replace(&self.path(server), text.as_bytes(), 0o600)
    }

    /// Its file.
    pub(super) fn path(&self, server: &ServerConfig) -> PathBuf {
        let digest = reached_by(server).to_string();
        self.dir.join(format!("{}-{}.json", server.name, digest.get(..16).unwrap_or(&digest)))
    }
}

/// Digest of the command and its arguments, or of the URL; no environment and no headers, which hold secrets.
fn reached_by(server: &ServerConfig) -> Sha256Digest {
    let mut parts: Vec<&[u8]> = Vec::new();
    let cwd = match &server.kind {
        ServerKind::Child(child) => {
            parts.extend([b"command\0".as_slice(), child.command.as_bytes()]);
            parts.extend(child.args.iter().flat_map(|arg| [b"\0".as_slice(), arg.as_bytes()]));
            child.cwd.as_ref().map(|cwd| cwd.as_os_str().as_encoded_bytes())
        }
        ServerKind::Http(http) => {
            parts.extend([b"url\0".as_slice(), http.url.as_str().as_bytes()]);
            None
        }
    };
    parts.extend(cwd.iter().flat_map(|cwd| [b"\0\0".as_slice(), cwd]));
    Sha256Digest::of_parts(&parts)
}

/// Writes a file whole beside its place and renames it into it.
///
/// # Errors
/// When it can't be written; what was there is then still there.
pub(super) fn replace(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    // A name that nobody can lay a link under beforehand.
    let salt = random::bytes::<8>().map_err(io::Error::other)?;
    let salt: String = salt.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{salt}.tmp"));
    let temporary = PathBuf::from(temporary);
    let written = write(&temporary, text, mode).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The write's error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::ArgumentRules;
    use crate::proxy::config::ChildConfig;

    fn server(args: &[&str]) -> ServerConfig {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let child = ChildConfig { command: "x".to_owned(), args, ..ChildConfig::default() };
        ServerConfig {
            name: "files".parse().unwrap(),
            kind: ServerKind::Child(child),
            arguments: ArgumentRules::default(),
        }
    }

    #[test]
    fn definitions_come_back_for_the_same_command_only() {
        let dir = tempfile::tempdir().unwrap();
        let shown = Shown::below(dir.path());
        assert_eq!(shown.load(&server(&["a", "b"])).unwrap(), None);
        let raw =
            br#"{"name":"read","inputSchema":{"type":"object","properties":{"path":{"type":"string"}}}}"#;
        let definitions = vec![ToolDefinition::from_list_entry(raw).unwrap()];
        shown.save(&server(&["a", "b"]), &definitions).unwrap();
        assert_eq!(shown.load(&server(&["a", "b"])).unwrap(), Some(definitions));
        assert_eq!(shown.load(&server(&["a b"])).unwrap(), None);
    }

    #[test]
    fn damaged_approvals_are_never_taken_for_none_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let shown = Shown::below(dir.path());
        let file = shown.path(&server(&["a"]));
        shown.save(&server(&["a"]), &[]).unwrap();
        for text in ["", "[{", "[{}]", "null"] {
            fs::write(&file, text).unwrap();
            let error = shown.load(&server(&["a"])).unwrap_err();
            assert!(!error.is_missing() && error.to_string().contains("remove it"), "{error}");
        }
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(shown.load(&server(&["a"])).is_err(), "what can't be read is not what is not there");
    }

    #[test]
    fn a_link_laid_beside_a_file_that_is_replaced_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let (file, other) = (dir.path().join("chancery.lock"), dir.path().join("other"));
        fs::write(&other, "mine").unwrap();
        let guessed = dir.path().join(format!("chancery.lock.{}.tmp", std::process::id()));
        std::os::unix::fs::symlink(&other, &guessed).unwrap();
        replace(&file, b"text", 0o644).unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "mine");
        assert!(!fs::symlink_metadata(&file).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "text");
    }
}
