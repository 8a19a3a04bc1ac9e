//! Evidence from a bootstrap secret: a 256-bit text in a file that only one user can read.
//!
//! The file must be a regular one, owned by the user that chancery runs as, mode 0600. It is looked at again
//! when its inode or change time says that it was rotated, so a new secret counts without a restart and a file
//! that was opened to others admits nobody. Where configuration gives secrets an age, one that is older admits nobody
//! either, and what was opened with it ends.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::{Mutex, MutexGuard};

use super::config::BootstrapConfig;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::digest::Sha256Digest;
use crate::domain::evidence::BootstrapEvidence;
use crate::domain::random;
use crate::domain::secret::Secret;

/// Why a secret's file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// There is none.
    #[error("there is no bootstrap secret at {path}", path = .0.display())]
    Missing(PathBuf),
    /// It can't be read or written.
    #[error("can't use the bootstrap secret's file {path}: {source}", path = .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory, device or link stands in its place.
    #[error("the bootstrap secret {path} is not a regular file", path = .0.display())]
    NotAFile(PathBuf),
    /// It belongs to someone else.
    #[error("the bootstrap secret {path} belongs to user {owner}, not to {us}", path = .path.display())]
    NotOurs {
        /// Which.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
        /// Our user id.
        us: u32,
    },
    /// Others may read or write it.
    #[error("the bootstrap secret {path} has mode {mode:04o}: others can use it", path = .path.display())]
    WideOpen {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// What is in it is no 256-bit secret.
    #[error("{path} does not hold a 256-bit secret", path = .0.display())]
    NotASecret(PathBuf),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] random::RandomError),
}

impl SecretFileError {
    /// What to do about it, for an operator.
    pub fn help(&self) -> String {
        match self {
            Self::Missing(path) => format!("make one: chancery bootstrap new {}", path.display()),
            Self::Io { path, .. } => {
                format!("make {} readable for the user that runs chancery, and only for it", path.display())
            }
            Self::NotAFile(path) => {
                format!("name a plain file; make one: chancery bootstrap new {}", path.display())
            }
            Self::NotOurs { path, us, .. } => {
                format!("chown {us} {path}, or run chancery as the file's owner", path = path.display())
            }
            Self::WideOpen { path, .. } => format!(
                "chmod 600 {path}; if someone may have read it, rotate it: chancery bootstrap new {path}",
                path = path.display()
            ),
            Self::NotASecret(path) => format!(
                "expected 43 base64url characters or 64 hex digits; make a new one under another name: \
                 chancery bootstrap new {}.new",
                path.display()
            ),
            Self::Random(_) => "check the system's random number generator".to_owned(),
        }
    }
}

/// Tells one state of a file from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    changed: (i64, i64),
    mode: u32,
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            changed: (meta.ctime(), meta.ctime_nsec()),
            mode: meta.mode(),
        }
    }
}

/// A live secret and the state of the file it came from.
#[derive(Debug)]
struct Loaded {
    secret: Secret,
    evidence: BootstrapEvidence,
    stamp: Stamp,
    /// When the file was last written.
    written: Timestamp,
    /// Whether it was told that it is too old.
    told: bool,
}

/// What a presented secret is worth.
#[derive(Debug)]
pub(super) enum Checked {
    /// It is the one.
    Right(BootstrapEvidence),
    /// It is the one, and too old.
    TooOld,
    /// It is another, or there is none.
    Wrong,
}

/// The secret that callers must present.
#[derive(Debug)]
pub(super) struct BootstrapSecret {
    path: PathBuf,
    max_age: Option<Duration>,
    clock: Clock,
    loaded: Mutex<Option<Loaded>>,
}

impl BootstrapSecret {
    /// Reads the file.
    pub(super) fn open(config: BootstrapConfig, clock: Clock) -> Result<Self, SecretFileError> {
        let BootstrapConfig { file: path, max_age } = config;
        let loaded = Mutex::new(Some(load(&path)?));
        let secret = Self { path, max_age, clock, loaded };
        secret.watch();
        Ok(secret)
    }

    /// Whether `presented` is the secret as the file holds it now. Compared in constant time.
    pub(super) fn check(&self, presented: &[u8]) -> Checked {
        let loaded = self.current();
        match loaded.as_ref().filter(|loaded| loaded.secret.equals(presented)) {
            Some(loaded) if self.is_too_old(loaded) => Checked::TooOld,
            Some(loaded) => Checked::Right(loaded.evidence.clone()),
            None => Checked::Wrong,
        }
    }

    /// Whether the secret of this digest admits nobody any more: the file holds another one now, or it is too old. A
    /// file that can't be read says nothing.
    pub(super) fn has_outlived(&self, secret_sha256: Sha256Digest) -> bool {
        self.current()
            .as_ref()
            .is_some_and(|loaded| loaded.evidence.secret_sha256 != secret_sha256 || self.is_too_old(loaded))
    }

    /// Tells the operator, once for each secret, that it is too old.
    pub(super) fn watch(&self) {
        let mut loaded = self.current();
        if let Some(loaded) = loaded.as_mut()
            && !loaded.told
            && self.is_too_old(loaded)
        {
            loaded.told = true;
            let file = self.path.display();
            tracing::error!(
                help = format!("chancery bootstrap new {file}"),
                "the bootstrap secret {file} is older than `admission.bootstrap.max_age`: it admits nobody any more"
            );
        }
    }

    fn is_too_old(&self, loaded: &Loaded) -> bool {
        self.max_age.is_some_and(|most| self.clock.now().since(loaded.written) >= most)
    }

    /// The secret, read again if its file has changed.
    fn current(&self) -> MutexGuard<'_, Option<Loaded>> {
        let mut loaded = self.loaded.lock();
        let stamp = std::fs::symlink_metadata(&self.path).ok().map(|meta| Stamp::of(&meta));
        let known = loaded.as_ref().map(|l| l.stamp);
        if stamp.is_none() || stamp != known {
            *loaded = match load(&self.path) {
                Ok(fresh) => Some(fresh),
                Err(error) => {
                    if loaded.is_some() {
                        tracing::error!(%error, help = error.help(), "nobody is admitted by the bootstrap secret");
                    }
                    None
                }
            };
        }
        loaded
    }
}

/// Whether the file of a secret is usable as it is.
///
/// # Errors
/// When it is missing, not ours, open to others or no secret.
pub fn check(path: &Path) -> Result<(), SecretFileError> {
    load(path).map(drop)
}

fn load(path: &Path) -> Result<Loaded, SecretFileError> {
    let io = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => SecretFileError::Missing(path.to_owned()),
        _ => SecretFileError::Io { path: path.to_owned(), source },
    };
    if std::fs::symlink_metadata(path).map_err(io)?.file_type().is_dir() {
        return Err(SecretFileError::NotAFile(path.to_owned()));
    }
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|source| {
        match rustix::io::Errno::from_io_error(&source) {
            Some(rustix::io::Errno::LOOP) => SecretFileError::NotAFile(path.to_owned()),
            _ => io(source),
        }
    })?;
    let meta = file.metadata().map_err(io)?;
    let us = rustix::process::geteuid().as_raw();
    if !meta.is_file() {
        return Err(SecretFileError::NotAFile(path.to_owned()));
    }
    if meta.uid() != us {
        return Err(SecretFileError::NotOurs { path: path.to_owned(), owner: meta.uid(), us });
    }
    if meta.mode() & 0o077 != 0 {
        return Err(SecretFileError::WideOpen { path: path.to_owned(), mode: meta.mode() & 0o7777 });
    }
    let mut text = zeroize::Zeroizing::new(String::with_capacity(256));
    (&mut file).take(200).read_to_string(&mut text).map_err(io)?;
    let text = text.trim();
    if !is_secret(text) {
        return Err(SecretFileError::NotASecret(path.to_owned()));
    }
    let evidence =
        BootstrapEvidence { secret_sha256: Sha256Digest::of(text.as_bytes()), file_uid: meta.uid() };
    let written = Timestamp::from_secs(meta.mtime());
    let secret = Secret::new(text.to_owned());
    Ok(Loaded { secret, evidence, stamp: Stamp::of(&meta), written, told: false })
}

/// 32 bytes as 43 characters of base64url (RFC 4648 §5, no padding) or as 64 hex digits.
fn is_secret(text: &str) -> bool {
    let hex = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    hex || (text.len() == 43 && URL_SAFE_NO_PAD.decode(text).is_ok_and(|raw| raw.len() == 32))
}

/// What [`create`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// There was no secret before.
    Made,
    /// The one that was there admits nobody any more.
    Replaced,
}

/// Writes a new random secret to `path`, mode 0600, atomically. What stood there is replaced only if it was a
/// bootstrap secret itself.
///
/// # Errors
/// When the directory can't be written, or another file is in the way.
pub fn create(path: &Path) -> Result<Created, SecretFileError> {
    let io = |source: io::Error| SecretFileError::Io { path: path.to_owned(), source };
    let created = match load(path) {
        Err(SecretFileError::Missing(_)) => Created::Made,
        Ok(_) | Err(SecretFileError::WideOpen { .. }) => Created::Replaced,
        Err(other) => return Err(other),
    };
    if path.exists() && !std::fs::read_to_string(path).is_ok_and(|text| is_secret(text.trim())) {
        return Err(SecretFileError::NotASecret(path.to_owned()));
    }
    let directory = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(io)?;
    let text = zeroize::Zeroizing::new(URL_SAFE_NO_PAD.encode(random::bytes::<32>()?));
    let name = path.file_name().ok_or_else(|| SecretFileError::NotAFile(path.to_owned()))?;
    let mut temporary = name.to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = directory.join(temporary);
    let written = write_new(&temporary, text.as_bytes())
        .and_then(|()| std::fs::rename(&temporary, path))
        .and_then(|()| File::open(directory)?.sync_all());
    if written.is_err() {
        // The error below is the one to report; a leftover that can't be removed changes nothing about it.
        let _ = std::fs::remove_file(&temporary);
    }
    written.map_err(io)?;
    Ok(created)
}

fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.write_all(b"\n")?;
    file.sync_all()
}

/// The credentials of an `Authorization: Bearer …` header (RFC 6750 §2.1; the scheme's case does not matter).
pub(super) fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = authorization.split_at_checked(6)?;
    let rest = rest.strip_prefix(b" ")?.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer") && !rest.is_empty()).then_some(rest)
}
