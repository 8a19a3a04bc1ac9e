//! Why there is no identity; each message names the fix.

use std::path::PathBuf;

use super::spire::SpireError;
use crate::domain::ids::IdError;
use crate::domain::random::RandomError;
use crate::keys::{BundleError, ChainError, KeyError, SignerError};

/// What is wrong with the identity. Nothing was overwritten.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file or directory could not be used.
    #[error("can't {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Others may enter the directory or read the file.
    #[error("{} is open to others (mode {mode:04o}): run `chmod {wanted:o} {}`", path.display(), path.display())]
    Mode {
        /// What.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode that it must have.
        wanted: u32,
    },
    /// The directory or file belongs to another user.
    #[error(
        "{} belongs to user id {owner}, this process runs as {me}: configure a directory of your own, or run `chown -R {me} {}`",
        path.display(), path.display()
    )]
    Owner {
        /// What.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// This process's user id.
        me: u32,
    },
    /// Not a directory, or not a plain file.
    #[error("{} is not a {wanted}: remove it or configure another identity directory", path.display())]
    Kind {
        /// What.
        path: PathBuf,
        /// What it should be.
        wanted: &'static str,
    },
    /// There is nothing there yet.
    #[error("there is no identity in {} yet: `chancery run` or `chancery serve` makes it at their first start", dir.display())]
    Absent {
        /// The directory.
        dir: PathBuf,
    },
    /// The root is gone, but what it issued is there.
    #[error(
        "{} is missing, but certificates that it issued are there: restore it from a backup, or move {} away to begin a new trust domain",
        root.display(), dir.display()
    )]
    RootMissing {
        /// The root's file.
        root: PathBuf,
        /// The directory.
        dir: PathBuf,
    },
    /// A file is not what chancery wrote.
    #[error("{} is damaged ({why}): restore it from a backup, or move it away", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The root has ended.
    #[error("the root certificate in {} expired at {not_after}: move {} away to begin a new trust domain", root.display(), dir.display())]
    RootExpired {
        /// The root's file.
        root: PathBuf,
        /// The directory.
        dir: PathBuf,
        /// When it ended.
        not_after: crate::domain::clock::Timestamp,
    },
    /// The directory is of another trust domain than the configuration says.
    #[error("{} holds trust domain `{found}`, the configuration says `{wanted}`: change one of them", dir.display())]
    OtherDomain {
        /// The directory.
        dir: PathBuf,
        /// What it holds.
        found: String,
        /// What is configured.
        wanted: String,
    },
    /// Another process holds the directory's lock for long.
    #[error("another process holds {}: wait for it or end it", lock.display())]
    Busy {
        /// The lock's file.
        lock: PathBuf,
    },
    /// Trust domain or path make no SPIFFE ID.
    #[error(transparent)]
    SpiffeId(#[from] IdError),
    /// The path does not begin with `/`.
    #[error("the identity's path `{0}` must begin with `/`, as `/chancery` does")]
    Path(String),
    /// An SVID's configured validity is out of range.
    #[error("svid_ttl must be between 5 minutes and 90 days")]
    SvidTtl,
    /// The key, chain and bundle don't belong together.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The chain does not hold.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The bundle does not hold.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A certificate could not be made.
    #[error("a certificate could not be made: {0}")]
    Issue(#[from] rcgen::Error),
    /// It was opened, but nothing can be signed with it now.
    #[error(transparent)]
    Unusable(SignerError),
    /// SPIRE gives none.
    #[error(transparent)]
    Spire(#[from] SpireError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
}
