//! Files below one directory.

use std::io;
use std::path::{Component, Path, PathBuf};

/// A directory that file tools can't leave: no absolute paths, no `..`, no symbolic link that points outside.
///
/// Between the check and the use another process could still swap a directory for a link; the demo server is
/// the only writer of its root.
#[derive(Debug, Clone)]
pub(super) struct Root(PathBuf);

impl Root {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let canonical = path.canonicalize()?;
        if canonical.is_dir() { Ok(Self(canonical)) } else { Err(io::ErrorKind::NotADirectory.into()) }
    }

    pub(super) fn read(&self, path: &str) -> io::Result<String> {
        std::fs::read_to_string(self.resolve(path)?)
    }

    pub(super) fn write(&self, path: &str, content: &str) -> io::Result<()> {
        std::fs::write(self.resolve(path)?, content)
    }

    /// Names below `path`, directories with a trailing `/`, sorted.
    pub(super) fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.resolve(path)?)? {
            let entry = entry?;
            let slash = if entry.file_type()?.is_dir() { "/" } else { "" };
            names.push(format!("{}{slash}", entry.file_name().to_string_lossy()));
        }
        names.sort();
        Ok(names)
    }

    /// Removes every file below the root, following no links; returns how many.
    pub(super) fn remove_all(&self) -> io::Result<usize> {
        fn remove_in(directory: &Path) -> io::Result<usize> {
            let mut removed = 0;
            for entry in std::fs::read_dir(directory)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    removed += remove_in(&entry.path())?;
                } else {
                    std::fs::remove_file(entry.path())?;
                    removed += 1;
                }
            }
            Ok(removed)
        }
        remove_in(&self.0)
    }

    /// The place that `path` names: its directory must exist and lie below the root, and so must the file if
    /// it exists (a link is followed first).
    fn resolve(&self, path: &str) -> io::Result<PathBuf> {
        let outside =
            || io::Error::new(io::ErrorKind::PermissionDenied, "the path leaves the root directory");
        let path = Path::new(path);
        if path.components().any(|c| !matches!(c, Component::Normal(_) | Component::CurDir)) {
            return Err(outside());
        }
        let full = self.0.join(path);
        let real = match full.canonicalize() {
            Ok(real) => real,
            // A link to nowhere does not resolve, but writing would go through it.
            Err(e) if e.kind() == io::ErrorKind::NotFound && full.symlink_metadata().is_err() => {
                let (Some(parent), Some(name)) = (full.parent(), full.file_name()) else {
                    return Err(outside());
                };
                parent.canonicalize()?.join(name)
            }
            Err(e) => return Err(e),
        };
        if real.starts_with(&self.0) { Ok(real) } else { Err(outside()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leaves_the_root() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("root");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(outer.path().join("secret"), "s").unwrap();
        std::os::unix::fs::symlink(outer.path(), inner.join("up")).unwrap();
        std::os::unix::fs::symlink(outer.path().join("new"), inner.join("dangling")).unwrap();
        let root = Root::open(&inner).unwrap();
        for path in ["../secret", "/etc/passwd", "up/secret", "a/../../secret", "./../secret"] {
            assert!(root.read(path).is_err(), "{path}");
            assert!(root.write(path, "x").is_err(), "{path}");
        }
        assert!(root.write("dangling", "x").is_err());
        assert!(!outer.path().join("new").exists());
        assert_eq!(std::fs::read_to_string(outer.path().join("secret")).unwrap(), "s");
    }

    #[test]
    fn files_are_written_read_listed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        root.write("sub/a.txt", "hello").unwrap();
        assert_eq!(root.read("./sub/a.txt").unwrap(), "hello");
        assert_eq!(root.list(".").unwrap(), ["sub/"]);
        assert_eq!(root.list("sub").unwrap(), ["a.txt"]);
        assert_eq!(root.remove_all().unwrap(), 1);
        assert!(root.read("sub/a.txt").is_err());
    }
}
