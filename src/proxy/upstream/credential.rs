//! A configured header whose value is a file's content: a token that an agent rotates, taken without a restart.
//!
//! The file must be a regular one, owned by the user that chancery runs as, and closed to all others. It is looked at
//! for every request and read again when it has changed; while it can't be used, nothing is sent to its server.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use http::header::{HeaderName, HeaderValue};
use parking_lot::Mutex;
use zeroize::Zeroizing;

/// Longest content in bytes; all headers of a request must fit into what servers take.
const LONGEST: usize = 16 * 1024;

/// Why a file gives no header's value. No variant holds any of its content.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialError {
    /// It can't be read.
    #[error("can't read {path}: {source}; name a file that the user who runs chancery can read", path = .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory, device or link stands in its place.
    #[error("{path} is not a regular file; name the file itself", path = .0.display())]
    NotAFile(PathBuf),
    /// It belongs to someone else.
    #[error("{path} belongs to user {owner}; chown {us} {path}", path = .path.display())]
    NotOurs {
        /// Which.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
        /// Our user id.
        us: u32,
    },
    /// Others may read or write it.
    #[error("{path} has mode {mode:04o}, others can use it; chmod 600 {path}, and replace what is in it", path = .path.display())]
    WideOpen {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// What is in it can't stand in a header.
    #[error("{path} does not hold one line of ASCII text of at most {LONGEST} bytes; write the credential alone into it", path = .0.display())]
    Content(PathBuf),
}

/// Tells one state of a file from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
    modified: (i64, i64),
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            changed: (meta.ctime(), meta.ctime_nsec()),
            modified: (meta.mtime(), meta.mtime_nsec()),
        }
    }
}

/// A header's value and the state of the file that it came from.
#[derive(Debug)]
struct Loaded {
    value: HeaderValue,
    stamp: Stamp,
}

/// One header and its file.
#[derive(Debug)]
pub(super) struct CredentialFile {
    header: HeaderName,
    path: PathBuf,
    prefix: String,
    loaded: Mutex<Option<Loaded>>,
}

impl CredentialFile {
    /// Reads the file. `prefix` stands before its content, such as `Bearer `.
    pub(super) fn open(header: HeaderName, path: PathBuf, prefix: String) -> Result<Self, CredentialError> {
        let loaded = Mutex::new(Some(load(&path, &prefix)?));
        Ok(Self { header, path, prefix, loaded })
    }

    /// The header.
    pub(super) fn header(&self) -> &HeaderName {
        &self.header
    }

    /// The value as the file holds it now.
    pub(super) fn value(&self) -> Result<HeaderValue, CredentialError> {
        let mut loaded = self.loaded.lock();
        let stamp = std::fs::symlink_metadata(&self.path).ok().map(|meta| Stamp::of(&meta));
        if let Some(known) = loaded.as_ref().filter(|known| Some(known.stamp) == stamp) {
            return Ok(known.value.clone());
        }
        let told = loaded.take().is_none();
        let fresh = load(&self.path, &self.prefix).inspect_err(|error| {
            if !told {
                tracing::error!(%error, header = %self.header, "a tool server's credential can't be used: it is not called");
            }
        })?;
        let value = fresh.value.clone();
        *loaded = Some(fresh);
        Ok(value)
    }
}

fn load(path: &Path, prefix: &str) -> Result<Loaded, CredentialError> {
    let io = |source| CredentialError::Io { path: path.to_owned(), source };
    let mut file = open(path)?;
    let meta = file.metadata().map_err(io)?;
    let us = rustix::process::geteuid().as_raw();
    if !meta.is_file() {
        return Err(CredentialError::NotAFile(path.to_owned()));
    }
    if meta.uid() != us {
        return Err(CredentialError::NotOurs { path: path.to_owned(), owner: meta.uid(), us });
    }
    if meta.mode() & 0o077 != 0 {
        return Err(CredentialError::WideOpen { path: path.to_owned(), mode: meta.mode() & 0o7777 });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST));
    let most = u64::try_from(LONGEST).unwrap_or(u64::MAX) + 3;
    (&mut file).take(most).read_to_end(&mut bytes).map_err(io)?;
    let content = credential(&bytes).ok_or_else(|| CredentialError::Content(path.to_owned()))?;
    let text = Zeroizing::new(format!("{prefix}{content}"));
    let Ok(mut value) = HeaderValue::from_str(&text) else {
        return Err(CredentialError::Content(path.to_owned()));
    };
    value.set_sensitive(true);
    Ok(Loaded { value, stamp: Stamp::of(&meta) })
}

/// No link is followed, and a pipe in the file's place holds nothing up.
fn open(path: &Path) -> Result<File, CredentialError> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|source| {
        match rustix::io::Errno::from_io_error(&source) {
            Some(rustix::io::Errno::LOOP) => CredentialError::NotAFile(path.to_owned()),
            _ => CredentialError::Io { path: path.to_owned(), source },
        }
    })
}

/// One line of visible ASCII and spaces, without its line's end.
fn credential(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    let fits = (1..=LONGEST).contains(&text.len()) && text.bytes().all(|b| matches!(b, b' '..=b'~'));
    (fits && !text.starts_with(' ') && !text.ends_with(' ')).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use http::header::AUTHORIZATION;

    use super::*;

    fn write(path: &Path, content: &[u8], mode: u32) {
        let fresh = path.with_extension("new");
        fs::write(&fresh, content).unwrap();
        fs::set_permissions(&fresh, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(&fresh, path).unwrap();
    }

    fn open_at(path: &Path) -> Result<CredentialFile, CredentialError> {
        CredentialFile::open(AUTHORIZATION, path.to_owned(), "Bearer ".to_owned())
    }

    #[test]
    fn a_rotated_credential_is_taken_and_one_that_was_opened_to_others_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        write(&path, b"first\n", 0o600);
        let file = open_at(&path).unwrap();
        assert_eq!(file.value().unwrap(), "Bearer first");
        assert!(file.value().unwrap().is_sensitive());
        write(&path, b"second\r\n", 0o400);
        assert_eq!(file.value().unwrap(), "Bearer second");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
        assert!(matches!(file.value(), Err(CredentialError::WideOpen { mode: 0o440, .. })));
        fs::remove_file(&path).unwrap();
        assert!(matches!(file.value(), Err(CredentialError::Io { .. })));
        write(&path, b"third", 0o600);
        assert_eq!(file.value().unwrap(), "Bearer third");
        assert!(!format!("{file:?}").contains("third"));
    }

    #[test]
    fn what_can_not_stand_in_a_header_is_refused_without_being_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let long = "x".repeat(LONGEST + 1);
        for content in [
            b"".as_slice(),
            b"\n",
            b"s3cret\r\nX-Other: 1",
            b"s3cret\n\n",
            b"s3\0cret",
            b"s3cret\x7f",
            "s3cr\u{e9}t".as_bytes(),
            b"s3cret\xff",
            b" s3cret",
            b"s3cret ",
            b"s3\tcret",
            long.as_bytes(),
        ] {
            write(&path, content, 0o600);
            let error = open_at(&path).unwrap_err();
            assert!(matches!(error, CredentialError::Content(_)), "{content:?}: {error}");
            assert!(!format!("{error} {error:?}").contains("s3"), "{error}");
        }
        write(&path, "x".repeat(LONGEST).as_bytes(), 0o600);
        open_at(&path).unwrap();
    }

    #[test]
    fn links_directories_and_pipes_are_no_credential() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("token"), b"x", 0o600);
        let link = dir.path().join("link");
        symlink(dir.path().join("token"), &link).unwrap();
        let pipe = dir.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        for path in [link.as_path(), dir.path(), &pipe] {
            let error = open_at(path).unwrap_err();
            assert!(matches!(error, CredentialError::NotAFile(_)), "{}: {error}", path.display());
        }
    }
}
