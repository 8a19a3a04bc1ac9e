//! Files that are read whole, up to a size: what has no end is not waited for, and fills no memory.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

/// The text of the file at `path`.
///
/// # Errors
/// It can't be read, is no UTF-8, or is larger than `most` bytes.
pub(super) fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(most.saturating_add(1)).read_to_string(&mut text)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > most {
        let what = format!("is larger than {} MiB", most / (1024 * 1024));
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(text)
}

/// As [`read_text`], of a file that nobody named: a pipe among others would be waited for.
///
/// # Errors
/// As there, and for what is no plain file.
pub(super) fn read_found(path: &Path, most: u64) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is no plain file"));
    }
    read_text(path, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_an_end_and_a_pipe_that_nobody_writes_to_hold_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("a.cedar");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        assert_eq!(read_found(&pipe, 1024).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let endless = read_text(Path::new("/dev/zero"), 1024 * 1024).unwrap_err();
        assert!(endless.to_string().contains("larger than 1 MiB"), "{endless}");
        let file = dir.path().join("b.cedar");
        fs::write(&file, "text").unwrap();
        assert_eq!(read_found(&file, 4).unwrap(), "text");
        assert!(read_found(&file, 3).is_err());
    }
}
