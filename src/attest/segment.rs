//! The segment that is being written: whole batches or nothing.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FallocateFlags;

use super::directory::{self, Layout};
use super::error::StorageError;
use super::read::Place;

/// Room that is reserved ahead of the end, so that a full disk shows before a record is half-written.
const RESERVE: u64 = 256 * 1024;

/// What a segment needs of a file; a second implementation fails on purpose, in tests.
pub(super) trait Medium: Send {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
    fn truncate(&mut self, length: u64) -> io::Result<()>;
    fn reserve(&mut self, offset: u64, length: u64) -> io::Result<()>;
}

impl Medium for File {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn reserve(&mut self, offset: u64, length: u64) -> io::Result<()> {
        use rustix::io::Errno;
        match rustix::fs::fallocate(&*self, FallocateFlags::KEEP_SIZE, offset, length) {
            // Not every file system can; then a full disk shows at the write.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Opens a segment's file for writing.
pub(super) type Open = Arc<dyn Fn(&Path) -> io::Result<Box<dyn Medium>> + Send + Sync>;

/// Opens real files, mode 0600.
pub(super) fn open_file() -> Open {
    Arc::new(|path| {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        Ok(Box::new(file))
    })
}

/// The end of the log.
pub(super) struct Segments {
    layout: Layout,
    open: Open,
    limit: u64,
    index: u32,
    path: PathBuf,
    file: Box<dyn Medium>,
    /// Everything before this is whole records whose receipts were given.
    good: u64,
    reserved: u64,
}

impl Segments {
    /// Goes on after `good` bytes of segment `index`.
    pub(super) fn open(
        layout: &Layout,
        index: u32,
        good: u64,
        limit: u64,
        open: Open,
    ) -> Result<Self, StorageError> {
        let path = layout.segment(index);
        let file = open(&path).map_err(StorageError::at("open", &path))?;
        directory::sync_dir(&layout.records())?;
        Ok(Self { layout: layout.clone(), open, limit, index, path, file, good, reserved: good })
    }

    /// Appends a batch, all or nothing.
    pub(super) fn append(&mut self, batch: &[u8], sync: bool) -> Result<(), StorageError> {
        if self.good >= self.limit {
            self.rotate()?;
        }
        let outcome = self.write(batch, sync);
        if outcome.is_err() {
            let _tried_again_before_the_next_write = self.restore();
        }
        outcome
    }

    fn write(&mut self, batch: &[u8], sync: bool) -> Result<(), StorageError> {
        let end = self.good + batch.len() as u64;
        if end > self.reserved {
            let room = end + RESERVE;
            let reserved = self.file.reserve(self.good, room - self.good);
            reserved.map_err(StorageError::at("reserve room in", &self.path))?;
            self.reserved = room;
        }
        self.file.write_at(batch, self.good).map_err(StorageError::at("write", &self.path))?;
        if sync {
            self.file.sync().map_err(StorageError::at("sync", &self.path))?;
        }
        self.good = end;
        Ok(())
    }

    /// Cuts off whatever a failed batch left.
    ///
    /// # Errors
    /// The file can't even be cut; nothing may be appended before it can.
    pub(super) fn restore(&mut self) -> Result<(), StorageError> {
        self.reserved = self.good;
        self.file.truncate(self.good).map_err(StorageError::at("cut", &self.path))
    }

    /// The end of what was written.
    pub(super) const fn place(&self) -> Place {
        Place { segment: self.index, offset: self.good }
    }

    /// Closes the segment: what was reserved is given back, everything is on disk.
    pub(super) fn finish(&mut self) -> Result<(), StorageError> {
        self.restore()?;
        self.file.sync().map_err(StorageError::at("sync", &self.path))
    }

    fn rotate(&mut self) -> Result<(), StorageError> {
        self.finish()?;
        let next = Self::open(&self.layout, self.index + 1, 0, self.limit, self.open.clone())?;
        *self = next;
        Ok(())
    }
}
