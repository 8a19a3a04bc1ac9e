//! The directory: who may enter it, and files that are written whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use zeroize::Zeroizing;

use super::error::IdentityError;
use crate::domain::random;

/// Largest file that is read, in bytes: above the largest chain and bundle that are taken over.
const MAX_BYTES: u64 = 2 * 1024 * 1024;

/// How long another process may hold the lock: making a certificate takes milliseconds.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// A directory that belongs to this user and that nobody else can enter.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    subs: &'static [&'static str],
}

/// The directory's lock, held until dropped. Nothing is written or removed without it.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held for its lock")] File);

impl Store {
    /// Opens the directory and its subdirectories, making them where `make` says so.
    pub(super) fn open(dir: &Path, subs: &'static [&'static str], make: bool) -> Result<Self, IdentityError> {
        let store = Self { dir: dir.to_owned(), subs };
        for name in store.folders() {
            let path = store.path(name);
            if make {
                // The mode counts for what is made; what exists is checked below and never changed.
                let made = DirBuilder::new().recursive(name.is_empty()).mode(0o700).create(&path);
                made.or_else(|e| if e.kind() == ErrorKind::AlreadyExists { Ok(()) } else { Err(e) })
                    .map_err(|e| io("make the directory", &path, e))?;
            }
            match fs::metadata(&path) {
                Ok(found) => check(&path, &found, true)?,
                Err(e) if e.kind() == ErrorKind::NotFound && !make => {
                    return Err(IdentityError::Absent { dir: dir.to_owned() });
                }
                Err(e) => return Err(io("look at", &path, e)),
            }
        }
        Ok(store)
    }

    /// The directory itself, as "", and its subdirectories.
    fn folders(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once("").chain(self.subs.iter().copied())
    }

    /// The path of a file in it; of the directory itself for "".
    pub(super) fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.dir.clone() } else { self.dir.join(name) }
    }

    /// A file's text; `None` where it does not exist. Links are not followed, wide permissions are refused.
    pub(super) fn read(&self, name: &str) -> Result<Option<Zeroizing<String>>, IdentityError> {
        let path = self.path(name);
        let found = match fs::symlink_metadata(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            found => found.map_err(|e| io("look at", &path, e))?,
        };
        check(&path, &found, false)?;
        let opened = OpenOptions::new().read(true).custom_flags(no_follow()).open(&path);
        let mut file = match opened {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|e| io("open", &path, e))?,
        };
        // Of the file that is open, which is the one that is read.
        let found = file.metadata().map_err(|e| io("look at", &path, e))?;
        check(&path, &found, false)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
        std::io::Read::take(&mut file, MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| io("read", &path, e))?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_BYTES {
            return Err(IdentityError::Damaged { path, why: format!("it is larger than {MAX_BYTES} bytes") });
        }
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Some(Zeroizing::new(text.to_owned()))),
            Err(error) => Err(IdentityError::Damaged { path, why: error.to_string() }),
        }
    }

    /// The `.pem` files of a subdirectory, as names that [`Store::read`] takes.
    pub(super) fn list(&self, sub: &str) -> Result<Vec<String>, IdentityError> {
        let path = self.path(sub);
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).map_err(|e| io("list", &path, e))? {
            let name = entry.map_err(|e| io("list", &path, e))?.file_name();
            if let Some(name) = name.to_str()
                && name.ends_with(".pem")
                && !name.starts_with('.')
            {
                names.push(format!("{sub}/{name}"));
            }
        }
        Ok(names)
    }

    /// Takes the lock, waiting for another process to be done.
    pub(super) fn lock(&self) -> Result<Lock, IdentityError> {
        self.lock_within(LOCK_PATIENCE)
    }

    /// Takes the lock, or gives up after `patience`.
    pub(super) fn lock_within(&self, patience: Duration) -> Result<Lock, IdentityError> {
        let path = self.path("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags(no_follow())
            .open(&path)
            .map_err(|e| io("open", &path, e))?;
        let started = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock(file)),
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io("lock", &path, error.into())),
            }
            if started.elapsed() > patience {
                return Err(IdentityError::Busy { lock: path });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Writes a file whole or not at all, mode 0600: a temporary one beside it, synced, then renamed over it.
    pub(super) fn write(&self, _lock: &Lock, name: &str, bytes: &[u8]) -> Result<(), IdentityError> {
        let path = self.path(name);
        let parent = path.parent().unwrap_or(&self.dir);
        let temporary = parent.join(format!(".{}.tmp", random::uuid_v4()?));
        let written = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&temporary, &path))
            .and_then(|()| File::open(parent)?.sync_all());
        written.map_err(|e| {
            // Best effort: the next sweep removes it otherwise.
            drop(fs::remove_file(&temporary));
            io("write", &path, e)
        })
    }

    /// Removes a file; one that is gone already is no error.
    pub(super) fn remove(&self, _lock: &Lock, name: &str) -> Result<(), IdentityError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(io("remove", &path, e)),
            _ => Ok(()),
        }
    }

    /// Removes temporary files that a killed process left behind: whoever writes holds the lock.
    pub(super) fn sweep(&self, lock: &Lock) -> Result<(), IdentityError> {
        for sub in self.folders() {
            let path = self.path(sub);
            for entry in fs::read_dir(&path).map_err(|e| io("list", &path, e))? {
                let name = entry.map_err(|e| io("list", &path, e))?.file_name();
                if let Some(name) = name.to_str()
                    && name.starts_with('.')
                    && name.ends_with(".tmp")
                {
                    self.remove(
                        lock,
                        &if sub.is_empty() { name.to_owned() } else { format!("{sub}/{name}") },
                    )?;
                }
            }
        }
        Ok(())
    }
}

fn no_follow() -> i32 {
    OFlags::NOFOLLOW.bits().cast_signed()
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> IdentityError {
    IdentityError::Io { action, path: path.to_owned(), source }
}

/// Whether this user, and only this user, has it.
fn check(path: &Path, found: &fs::Metadata, directory: bool) -> Result<(), IdentityError> {
    let path = path.to_owned();
    if directory && !found.is_dir() {
        return Err(IdentityError::Kind { path, wanted: "directory" });
    }
    if !directory && !found.is_file() {
        return Err(IdentityError::Kind { path, wanted: "plain file" });
    }
    let me = rustix::process::geteuid().as_raw();
    if found.uid() != me {
        return Err(IdentityError::Owner { path, owner: found.uid(), me });
    }
    let (mode, wanted) = (found.mode() & 0o7777, if directory { 0o700 } else { 0o600 });
    // Nothing for others; for us at least what we need (a file that we only read may be 0400).
    let needed = if directory { 0o700 } else { 0o400 };
    if mode & 0o077 != 0 || mode & needed != needed {
        return Err(IdentityError::Mode { path, mode, wanted });
    }
    Ok(())
}
