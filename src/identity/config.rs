//! Where the identity comes from, resolved by `config`.

use std::path::PathBuf;
use std::time::Duration;

use super::spire::SpireError;
use crate::domain::ids::SpiffeId;

/// A signing identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the keys come from.
    pub kind: Kind,
    /// How long a new key is published before it signs. The JWKS's `max-age` is no longer than this.
    pub lead: Duration,
}

/// Where keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A trust domain persisted in a directory.
    Local(Local),
    /// SVIDs that SPIRE issues.
    Spire(Spire),
}

/// SPIRE's SVIDs by the SPIFFE Workload API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spire {
    /// The Workload API's address: `unix:///path` or the path alone, or `tcp://` with a loopback address and a port
    /// (SPIFFE Workload Endpoint §4). Without one nothing can be signed; what is kept can be looked at.
    pub socket: Option<String>,
    /// Which SVID, when the agent offers several; without it and a hint the first.
    pub spiffe_id: Option<SpiffeId>,
    /// Which SVID, by the hint that its entry has.
    pub hint: Option<String>,
    /// How long to wait for the first SVID at start.
    pub initial_sync_timeout: Duration,
    /// The directory that public chains are kept in, mode 0700. It is made at the first start.
    pub dir: PathBuf,
}

impl Spire {
    /// How long to wait for the first SVID when nothing is configured.
    pub const DEFAULT_INITIAL_SYNC_TIMEOUT: Duration = Duration::from_secs(15);

    /// Whether `socket` can be the address of a Workload API that may be asked.
    ///
    /// # Errors
    /// It is no address, or one on another machine.
    pub fn check_socket(socket: &str) -> Result<(), SpireError> {
        super::spire::check_socket(socket)
    }
}

/// The embedded trust domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// The directory, mode 0700. It is made at the first start.
    pub dir: PathBuf,
    /// The trust domain's name. Without one, a random name under `chancery.local` is made with the root; with one,
    /// the directory's must be the same.
    pub trust_domain: Option<String>,
    /// The workload's path, with its leading `/`.
    pub path: String,
    /// How long an SVID is valid; it is replaced at half of that. At least [`Local::MIN_SVID_TTL`].
    pub svid_ttl: Duration,
}

impl Local {
    /// The path when none is configured.
    pub const DEFAULT_PATH: &'static str = "/chancery";
    /// The SVIDs' validity when none is configured.
    pub const DEFAULT_SVID_TTL: Duration = Duration::from_secs(24 * 3600);
    /// The shortest validity: the archive of old certificates is bounded by it.
    pub const MIN_SVID_TTL: Duration = Duration::from_secs(300);
    /// The longest validity.
    pub const MAX_SVID_TTL: Duration = Duration::from_secs(90 * 24 * 3600);

    /// The defaults, in `dir`.
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            trust_domain: None,
            path: Self::DEFAULT_PATH.to_owned(),
            svid_ttl: Self::DEFAULT_SVID_TTL,
        }
    }
}

impl Config {
    /// How long a key is published before it signs when nothing is configured.
    pub const DEFAULT_LEAD: Duration = Duration::from_secs(30);

    /// The shortest time that a key is published before it signs.
    pub const MIN_LEAD: Duration = Duration::from_secs(1);
    /// The longest.
    pub const MAX_LEAD: Duration = Duration::from_secs(600);

    /// The embedded trust domain in `dir` with the defaults.
    pub fn local(dir: impl Into<PathBuf>) -> Self {
        Self { kind: Kind::Local(Local::in_dir(dir)), lead: Self::DEFAULT_LEAD }
    }
}
