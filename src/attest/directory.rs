//! The log's directory: where everything lies, whose it is, and that only one process writes to it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::error::{LogError, StorageError};
use crate::domain::clock::Timestamp;
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::SpiffeId;

/// The version of the directory's layout and of the records' form.
pub const FORMAT: u32 = 1;

/// How a segment's name ends.
const SEGMENT_SUFFIX: &str = ".intoto.jsonl";

/// What is in a log's directory besides `log.json`.
const PARTS: [&str; 5] = ["records", "trust", "policies", "torn", "lock"];

/// `log.json`: whose log it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogFile {
    /// See [`FORMAT`].
    pub format: u32,
    /// The gateway's SPIFFE ID.
    pub gateway: String,
    /// When it was begun, RFC 3339.
    pub created: String,
}

/// Paths in a log's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// Of the log at `dir`; touches nothing.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The directory itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `log.json`.
    pub fn log_file(&self) -> PathBuf {
        self.dir.join("log.json")
    }

    /// Where the segments are.
    pub fn records(&self) -> PathBuf {
        self.dir.join("records")
    }

    /// One segment.
    pub fn segment(&self, index: u32) -> PathBuf {
        self.records().join(format!("{index:08}{SEGMENT_SUFFIX}"))
    }

    /// The archived chain whose leaf has this thumbprint.
    pub fn chain(&self, leaf: &Sha256Digest) -> PathBuf {
        self.chains().join(format!("{leaf}.pem"))
    }

    /// Where the chains are.
    pub fn chains(&self) -> PathBuf {
        self.dir.join("trust").join("chains")
    }

    /// The archived bundle with this thumbprint.
    pub fn bundle(&self, thumbprint: &Sha256Digest) -> PathBuf {
        self.bundles().join(format!("{thumbprint}.pem"))
    }

    /// Where the bundles are.
    pub fn bundles(&self) -> PathBuf {
        self.dir.join("trust").join("bundles")
    }

    /// Where the sources of one policy set are.
    pub fn policies(&self, set: &Sha256Digest) -> PathBuf {
        self.dir.join("policies").join(set.to_string())
    }

    /// Where what a crash left half-written is kept.
    pub fn torn(&self) -> PathBuf {
        self.dir.join("torn")
    }

    /// The segments there are, in order, with their numbers.
    ///
    /// # Errors
    /// The directory can't be read.
    pub fn segments(&self) -> Result<Vec<(u32, PathBuf)>, StorageError> {
        let records = self.records();
        let mut found = Vec::new();
        for entry in fs::read_dir(&records).map_err(StorageError::at("list", &records))? {
            let entry = entry.map_err(StorageError::at("list", &records))?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(SEGMENT_SUFFIX));
            let number = number.filter(|text| text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit()));
            if let Some(index) = number.and_then(|text| text.parse().ok()) {
                found.push((index, entry.path()));
            }
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// The right to write to a log: held until dropped, or until the process ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Makes the directories, takes the lock and checks (or writes) whose log it is.
pub(super) fn prepare(layout: &Layout, gateway: &SpiffeId, now: Timestamp) -> Result<Lock, LogError> {
    look_at(layout)?;
    for dir in [
        layout.dir().to_owned(),
        layout.records(),
        layout.chains(),
        layout.bundles(),
        layout.dir().join("policies"),
    ] {
        make_dir(&dir)?;
    }
    let lock = lock(layout)?;
    let path = layout.log_file();
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let file = LogFile { format: FORMAT, gateway: gateway.to_string(), created: now.to_rfc3339() };
            let bad = |why: serde_json::Error| LogError::Format { file: path.clone(), why: why.to_string() };
            let mut text = serde_json::to_vec_pretty(&file).map_err(bad)?;
            text.push(b'\n');
            write_atomically(&path, &text)?;
            text
        }
        Err(error) => return Err(StorageError::at("read", &path)(error).into()),
    };
    let bad = |why: String| LogError::Format { file: path.clone(), why };
    let file: LogFile = serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
    if file.format != FORMAT {
        return Err(bad(format!("its format is {}, this version writes {FORMAT}", file.format)));
    }
    if file.gateway != gateway.as_str() {
        return Err(LogError::OtherGateway {
            dir: layout.dir().to_owned(),
            theirs: file.gateway,
            ours: gateway.clone(),
        });
    }
    Ok(lock)
}

/// What is there already must be a log, one whose beginning was cut short, or nothing, and no one else's to write to.
fn look_at(layout: &Layout) -> Result<(), LogError> {
    let dir = layout.dir();
    let meta = match fs::metadata(dir) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StorageError::at("look at", dir)(error).into()),
    };
    if meta.mode() & 0o022 != 0 {
        return Err(LogError::Writable { dir: dir.to_owned(), mode: meta.mode() & 0o7777 });
    }
    if layout.log_file().exists() {
        return Ok(());
    }
    // `records` is made first, so a beginning that a crash cut short has it. `lost+found` is the file system's.
    let begun = layout.records().is_dir();
    for entry in fs::read_dir(dir).map_err(StorageError::at("list", dir))? {
        let name = entry.map_err(StorageError::at("list", dir))?.file_name();
        let name = name.to_string_lossy();
        let ours = name.starts_with(".log.json.") || PARTS.contains(&&*name);
        if name != "lost+found" && !(begun && ours) {
            return Err(LogError::NotEmpty(dir.to_owned()));
        }
    }
    Ok(())
}

/// Whether another process writes to the log at `dir`; changes nothing there.
///
/// # Errors
/// [`LogError::InUse`] if one does.
pub fn in_use(dir: &Path) -> Result<(), LogError> {
    let Ok(mut file) = File::open(dir.join("lock")) else { return Ok(()) };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(rustix::io::Errno::WOULDBLOCK) => Err(held(dir, &mut file)),
        _ => Ok(()),
    }
}

fn held(dir: &Path, lock: &mut File) -> LogError {
    let mut pid = String::new();
    let _unreadable = lock.take(32).read_to_string(&mut pid);
    let pid = if pid.trim().is_empty() { "unknown".to_owned() } else { pid.trim().to_owned() };
    LogError::InUse { dir: dir.to_owned(), pid }
}

fn lock(layout: &Layout) -> Result<Lock, LogError> {
    let path = layout.dir().join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(StorageError::at("open", &path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(held(layout.dir(), &mut file)),
        Err(error) => return Err(StorageError::at("lock", &path)(error.into()).into()),
    }
    let noted = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    noted.map_err(StorageError::at("write", &path))?;
    Ok(Lock { _file: file })
}

/// Makes a directory for this user only, and those above it; one that exists is left as it is.
pub(super) fn make_dir(dir: &Path) -> Result<(), StorageError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(StorageError::at("make", dir))
}

/// Writes a whole file so that after a crash it is there whole or not at all.
pub(super) fn write_atomically(path: &Path, content: &[u8]) -> Result<(), StorageError> {
    let dir = path.parent().unwrap_or(path);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("file");
    let temporary = dir.join(format!(".{name}.{}.new", std::process::id()));
    let written = (|| {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if let Err(error) = written {
        let _nothing_more_to_do = fs::remove_file(&temporary);
        return Err(StorageError::at("write", path)(error));
    }
    sync_dir(dir)
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), StorageError> {
    File::open(dir).and_then(|file| file.sync_all()).map_err(StorageError::at("sync", dir))
}
