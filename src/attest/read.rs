//! The log's own records, read again while it is open: for what is summed up from them.

use std::fmt;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};

use serde::{Deserialize, Serialize};

use super::directory::{self, Layout};
use super::dsse;
use super::error::StorageError;
use super::log::Log;

/// Longest line: a record's largest payload in base64, its signature, and room to spare.
const MAX_LINE: u64 = 512 * 1024;

/// A place between two records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The segment's number.
    pub segment: u32,
    /// Bytes of it before the place.
    pub offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {} of segment {:08}", self.offset, self.segment)
    }
}

/// Why the log's records can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file can't be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// There is no such place in the log.
    #[error("there is no {0}")]
    Place(Place),
    /// A line is no record.
    #[error("{0} is no record: {1}")]
    Record(Place, String),
    /// A record says what it can't.
    #[error("the record at {0} can't be read: {1}")]
    Statement(Place, String),
}

/// A record.
#[derive(Debug)]
pub struct StoredRecord {
    /// Where it begins.
    pub at: Place,
    /// Where the next one begins.
    pub after: Place,
    /// The statement that was signed.
    pub payload: Vec<u8>,
}

/// The records between two places, one by one. Signatures are not looked at: who can write to this directory could
/// write as well what is made of it.
#[derive(Debug)]
pub struct StoredRecords {
    layout: Layout,
    file: BufReader<File>,
    at: Place,
    end: Place,
    line: Vec<u8>,
    failed: bool,
}

impl Log {
    /// Where the log begins: the first segment that there is.
    ///
    /// # Errors
    /// The directory can't be read.
    pub fn begin(&self) -> Result<Place, StorageError> {
        let first = self.layout().segments()?.first().map_or(0, |(index, _)| *index);
        Ok(Place { segment: first, offset: 0 })
    }

    /// The records from one place to another; `to` is no further than [`Log::end`] was.
    ///
    /// # Errors
    /// There is no such place, or a file can't be read.
    pub fn read(&self, from: Place, to: Place) -> Result<StoredRecords, ReadError> {
        if (from.segment, from.offset) > (to.segment, to.offset) {
            return Err(ReadError::Place(from));
        }
        let layout = self.layout().clone();
        let file = open(&layout, from)?;
        Ok(StoredRecords { layout, file, at: from, end: to, line: Vec::new(), failed: false })
    }

    /// A file of another part in the log's directory, if there is one.
    ///
    /// # Errors
    /// It can't be read.
    pub fn read_beside(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        let path = self.dir().join(name);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StorageError::at("read", &path)(error)),
        }
    }

    /// Writes a file of another part into the log's directory, whole or not at all, and not before the records up
    /// to `upto` are on disk.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write_beside(&self, name: &str, content: &[u8], upto: Place) -> Result<(), StorageError> {
        // Segments are synced when the next one begins.
        let segment = self.layout().segment(upto.segment);
        File::open(&segment).and_then(|file| file.sync_data()).map_err(StorageError::at("sync", &segment))?;
        directory::write_atomically(&self.dir().join(name), content)
    }
}

fn open(layout: &Layout, at: Place) -> Result<BufReader<File>, ReadError> {
    let path = layout.segment(at.segment);
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(ReadError::Place(at)),
        opened => opened.map_err(StorageError::at("open", &path))?,
    };
    file.seek(SeekFrom::Start(at.offset)).map_err(StorageError::at("read", &path))?;
    Ok(BufReader::with_capacity(256 * 1024, file))
}

impl StoredRecords {
    fn read(&mut self) -> Result<Option<StoredRecord>, ReadError> {
        loop {
            if self.at == self.end {
                return Ok(None);
            }
            self.line.clear();
            let path = self.layout.segment(self.at.segment);
            let read = (&mut self.file).take(MAX_LINE).read_until(b'\n', &mut self.line);
            let read = read.map_err(StorageError::at("read", &path))? as u64;
            if read == 0 && self.at.segment < self.end.segment {
                self.at = Place { segment: self.at.segment + 1, offset: 0 };
                self.file = open(&self.layout, self.at)?;
                continue;
            }
            let at = self.at;
            let line = self.line.strip_suffix(b"\n");
            let line = line.ok_or_else(|| ReadError::Record(at, "its line has no end".to_owned()))?;
            let envelope = dsse::read(line).map_err(|error| ReadError::Record(at, error.to_string()))?;
            self.at.offset += read;
            return Ok(Some(StoredRecord { at, after: self.at, payload: envelope.payload }));
        }
    }
}

impl Iterator for StoredRecords {
    type Item = Result<StoredRecord, ReadError>;

    /// Nothing comes after an error.
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let read = self.read();
        self.failed = read.is_err();
        read.transpose()
    }
}
