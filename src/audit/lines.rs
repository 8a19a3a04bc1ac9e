//! What lies on disk, read in bounded portions: a segment's lines never larger than a record can be.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// Longest line: a record's largest payload (256 KiB) in base64, its signature, and room to spare.
const MAX_LINE: u64 = 512 * 1024;

/// A small file, of which more than `max` bytes are never read.
pub(super) fn read_file(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open_plain(path)?.take(max).read_to_end(&mut content)?;
    Ok(content)
}

/// A plain file to read. Whoever made the directory may have put a pipe there, on which opening would wait for ever.
fn open_plain(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no plain file")) }
}

/// One line of a segment.
pub(super) enum Line<'a> {
    /// A whole line, without its newline.
    Whole(&'a [u8]),
    /// Longer than any record.
    TooLong,
    /// What is after the last newline.
    Torn(&'a [u8]),
}

/// Reads one segment.
pub(super) struct Lines {
    file: BufReader<File>,
    buffer: Vec<u8>,
}

impl Lines {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: BufReader::with_capacity(256 * 1024, open_plain(path)?), buffer: Vec::new() })
    }

    /// The next line and how many bytes it took; none at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<(Line<'_>, u64)>> {
        self.buffer.clear();
        let read = (&mut self.file).take(MAX_LINE).read_until(b'\n', &mut self.buffer)? as u64;
        if read == 0 {
            return Ok(None);
        }
        if self.buffer.last() == Some(&b'\n') {
            self.buffer.pop();
            return Ok(Some((Line::Whole(&self.buffer), read)));
        }
        if read < MAX_LINE {
            return Ok(Some((Line::Torn(&self.buffer), read)));
        }
        Ok(Some((Line::TooLong, read + self.skip()?)))
    }

    /// Passes over the rest of the line.
    fn skip(&mut self) -> io::Result<u64> {
        let mut skipped = 0;
        loop {
            let available = self.file.fill_buf()?;
            let (used, done) = match memchr::memchr(b'\n', available) {
                Some(at) => (at + 1, true),
                None => (available.len(), available.is_empty()),
            };
            self.file.consume(used);
            skipped += used as u64;
            if done {
                return Ok(skipped);
            }
        }
    }
}
