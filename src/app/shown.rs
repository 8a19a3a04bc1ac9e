//! Tool definitions on disk: what each server has shown last, so that policies can be compiled before it runs.
//!
//! One file for each server, named by the server's name and a digest of how it is reached, so that another command
//! under the same name starts without the old one's tools. Written whole and renamed into place, mode 0600.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use crate::domain::digest::Sha256Digest;
use crate::policy::ToolDefinition;
use crate::proxy::config::{ServerConfig, ServerKind};

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

    /// What `server` has shown last. `None` when it was never seen, or its file is damaged.
    pub(super) fn load(&self, server: &ServerConfig) -> Option<Vec<ToolDefinition>> {
        let path = self.path(server);
        let text = fs::read_to_string(&path).ok()?;
        let definitions = serde_json::from_str::<Vec<Box<RawValue>>>(&text).ok().and_then(|entries| {
            let read = |entry: Box<RawValue>| ToolDefinition::from_list_entry(entry.get().as_bytes()).ok();
            entries.into_iter().map(read).collect::<Option<Vec<_>>>()
        });
        if definitions.is_none() {
            tracing::warn!(file = %path.display(), "a damaged file of tool definitions is left aside");
        }
        definitions
    }

    /// Keeps what `server` shows now.
    ///
    /// # Errors
    /// When the directory can't be written.
    pub(super) fn save(&self, server: &ServerConfig, definitions: &[ToolDefinition]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let entries: Vec<&str> = definitions.iter().map(ToolDefinition::entry).collect();
        let text = format!("[{}]\n", entries.join(",\n"));
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
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = write(&temporary, text, mode).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The write's error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
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
        assert!(shown.load(&server(&["a", "b"])).is_none());
        let raw =
            br#"{"name":"read","inputSchema":{"type":"object","properties":{"path":{"type":"string"}}}}"#;
        let definitions = vec![ToolDefinition::from_list_entry(raw).unwrap()];
        shown.save(&server(&["a", "b"]), &definitions).unwrap();
        assert_eq!(shown.load(&server(&["a", "b"])), Some(definitions));
        assert!(shown.load(&server(&["a b"])).is_none());
        fs::write(shown.path(&server(&["a", "b"])), "[{").unwrap();
        assert!(shown.load(&server(&["a", "b"])).is_none());
    }
}
