//! The way in: what is asked, by whom, and the files in their order.

use std::path::{Path, PathBuf};

use super::lines::{Line, Lines, read_file};
use super::report::{Check, Report};
use super::walk::Walk;
use crate::attest::{FORMAT, Layout, LogFile};
use crate::domain::ids::SpiffeId;
use crate::keys::TrustBundle;

/// Most that is read of `log.json`, in bytes.
const MAX_LOG_FILE: u64 = 64 * 1024;

/// Who wants to know how far verification is.
pub trait Progress {
    /// There are this many bytes to read.
    fn begin(&mut self, _bytes: u64) {}
    /// So many more are read.
    fn advance(&mut self, _bytes: u64) {}
}

/// Nobody.
impl Progress for () {}

/// Why nothing could be verified.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// There is no such directory.
    #[error("there is no directory {}", dir.display())]
    Missing {
        /// What was named.
        dir: PathBuf,
    },
    /// Not a log's directory.
    #[error("{} is not a log directory: it has no `{missing}`", dir.display())]
    NotALog {
        /// The directory.
        dir: PathBuf,
        /// What it lacks.
        missing: &'static str,
    },
    /// The caller's bundle can't vouch for the caller's identity.
    #[error("the trust bundle is of trust domain `{bundle}`, the identity of `{identity}`")]
    TrustDomain {
        /// The bundle's.
        bundle: String,
        /// The identity's.
        identity: String,
    },
    /// A file could not be read.
    #[error("can't read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Verifies the log at `dir`: every record was signed by `identity`, with a key that `bundle` vouches for at the
/// record's time, and stands where the gateway put it.
///
/// # Errors
/// There is no log to verify, or a file can't be read. What is wrong *in* the log is in the report.
pub fn verify(
    dir: &Path,
    bundle: &TrustBundle,
    identity: &SpiffeId,
    progress: &mut dyn Progress,
) -> Result<Report, AuditError> {
    if bundle.trust_domain() != identity.trust_domain() {
        let (bundle, identity) = (bundle.trust_domain().to_owned(), identity.trust_domain().to_owned());
        return Err(AuditError::TrustDomain { bundle, identity });
    }
    if !dir.try_exists().unwrap_or(true) {
        return Err(AuditError::Missing { dir: dir.to_owned() });
    }
    let layout = Layout::at(dir);
    let text = match read_file(&layout.log_file(), MAX_LOG_FILE) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(AuditError::NotALog { dir: dir.to_owned(), missing: "log.json" });
        }
        Err(source) => return Err(AuditError::Read { path: layout.log_file(), source }),
    };
    if !layout.records().is_dir() {
        return Err(AuditError::NotALog { dir: dir.to_owned(), missing: "records" });
    }
    let mut walk = Walk::new(&layout, bundle, identity);
    log_file(&mut walk, &text, identity);
    segments(&mut walk, &layout, progress)?;
    Ok(walk.finish())
}

fn log_file(walk: &mut Walk<'_>, text: &[u8], identity: &SpiffeId) {
    let wrong = match serde_json::from_slice::<LogFile>(text) {
        Err(error) => format!("not the description of a log: {error}"),
        Ok(file) if file.format != FORMAT => format!("format {} is not known here", file.format),
        Ok(file) if file.gateway != identity.as_str() => {
            let wrong = format!("the log is of {}, not of {identity}", file.gateway);
            walk.of_another(file.gateway);
            wrong
        }
        Ok(_) => return,
    };
    walk.find(Check::LogFile, wrong, None);
}

fn segments(walk: &mut Walk<'_>, layout: &Layout, progress: &mut dyn Progress) -> Result<(), AuditError> {
    let read = |path: &Path| {
        let path = path.to_owned();
        move |source| AuditError::Read { path, source }
    };
    let listed = layout.segments().map_err(|error| read(&layout.records())(error.source))?;
    let size = |(_, path): &(u32, PathBuf)| std::fs::metadata(path).map_or(0, |meta| meta.len());
    progress.begin(listed.iter().map(size).sum());
    let last = listed.last().map(|(index, _)| *index);
    let mut expected = 0;
    for (index, path) in listed {
        walk.segment(format!("records/{}", path.file_name().unwrap_or_default().to_string_lossy()));
        if index != expected {
            walk.unreadable(Check::Segments, format!("segment {expected:08} before it is missing"));
        }
        expected = index.saturating_add(1);
        let mut lines = Lines::open(&path).map_err(read(&path))?;
        while let Some((line, bytes)) = lines.next().map_err(read(&path))? {
            match line {
                Line::Whole(line) => walk.line(line),
                Line::TooLong => walk.broken("the line is longer than any record"),
                Line::Torn(rest) if Some(index) == last => walk.torn(rest.len()),
                Line::Torn(_) => walk.broken("the segment ends within a record"),
            }
            walk.read(bytes);
            progress.advance(bytes);
        }
    }
    Ok(())
}
