//! The end of an existing log: what a crash left half-written is cut off, kept aside and told of.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use super::directory::{self, Layout};
use super::dsse;
use super::error::{LogError, StorageError};
use super::gateway::TornTail;
use crate::domain::digest::Sha256Digest;

/// How much of a segment's end is read at first; four times more as long as no whole record is found.
const WINDOW: u64 = 1024 * 1024;

/// Where the log goes on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tail {
    /// The last segment's number; 0 when there is none yet.
    pub(super) index: u32,
    /// Bytes of whole records in it.
    pub(super) good: u64,
    /// Payload digest of the last record of the log.
    pub(super) last: Option<Sha256Digest>,
    /// What was cut off.
    pub(super) torn: Option<TornTail>,
}

/// Finds the end, and cuts off and keeps aside what is after the last whole record.
pub(super) fn recover(layout: &Layout) -> Result<Tail, LogError> {
    let mut segments = layout.segments()?;
    let Some((index, path)) = segments.pop() else { return Ok(Tail::default()) };
    let found = scan(&path)?;
    let mut tail = Tail { index, good: found.good, last: found.last, torn: None };
    if !found.rest.is_empty() {
        tail.torn = Some(set_aside(layout, &path, found.good, &found.rest)?);
    }
    // The last segment may be new and empty; the record before it ends an earlier one.
    while tail.last.is_none() {
        let Some((_, path)) = segments.pop() else { break };
        tail.last = scan(&path)?.last;
    }
    Ok(tail)
}

struct Scan {
    good: u64,
    last: Option<Sha256Digest>,
    rest: Vec<u8>,
}

fn scan(path: &Path) -> Result<Scan, StorageError> {
    let mut file = File::open(path).map_err(StorageError::at("open", path))?;
    let length = file.metadata().map_err(StorageError::at("read", path))?.len();
    let mut window = WINDOW;
    loop {
        let start = length.saturating_sub(window);
        let mut bytes = Vec::new();
        let read = file.seek(SeekFrom::Start(start)).and_then(|_| file.read_to_end(&mut bytes));
        read.map_err(StorageError::at("read", path))?;
        match last_record(&bytes) {
            Some((end, last)) => {
                return Ok(Scan { good: start + end as u64, last: Some(last), rest: bytes.split_off(end) });
            }
            None if start == 0 => return Ok(Scan { good: 0, last: None, rest: bytes }),
            None => window = window.saturating_mul(4),
        }
    }
}

/// The end of the last line that is an envelope, and the digest of its payload. A line that begins before `bytes`
/// does is no envelope and thus never taken for one.
fn last_record(bytes: &[u8]) -> Option<(usize, Sha256Digest)> {
    let mut end = memchr::memrchr(b'\n', bytes)? + 1;
    loop {
        let line = bytes.get(..end - 1)?;
        let start = memchr::memrchr(b'\n', line).map_or(0, |at| at + 1);
        if let Ok(envelope) = dsse::read(line.get(start..)?) {
            return Some((end, Sha256Digest::of(&envelope.payload)));
        }
        if start == 0 {
            return None;
        }
        end = start;
    }
}

fn set_aside(layout: &Layout, path: &Path, good: u64, rest: &[u8]) -> Result<TornTail, StorageError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let sha256 = Sha256Digest::of(rest);
    let torn = layout.torn();
    directory::make_dir(&torn)?;
    let digest = sha256.to_string();
    let kept = format!("{name}.{good}.{}.bin", digest.get(..16).unwrap_or(&digest));
    directory::write_atomically(&torn.join(kept), rest)?;
    let file = OpenOptions::new().write(true).open(path).map_err(StorageError::at("open", path))?;
    let cut = file.set_len(good).and_then(|()| file.sync_all());
    cut.map_err(StorageError::at("cut the torn end of", path))?;
    Ok(TornTail { segment: name, offset: good, bytes: rest.len() as u64, sha256 })
}
