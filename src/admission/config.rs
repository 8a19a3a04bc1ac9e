//! What is demanded of a caller.

use std::path::PathBuf;
use std::time::Duration;

use super::mtls::MtlsConfig;
use super::oidc::OidcConfig;
use crate::domain::digest::Sha256Digest;

/// Which evidence is accepted. By default none: nobody is admitted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// Local processes, by the kernel's word (stdio and the Unix socket).
    pub peer: Option<PeerConfig>,
    /// Holders of the bootstrap secret (HTTP).
    pub bootstrap: Option<BootstrapConfig>,
    /// Workloads with an X.509-SVID (TLS).
    pub mtls: Option<MtlsConfig>,
    /// Whoever shows nothing on a loopback TCP listener.
    pub anonymous: bool,
    /// Holders of a token of these issuers (HTTP).
    pub oidc: Vec<OidcConfig>,
}

/// Which local processes are let in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerConfig {
    /// User ids; empty means only the user that chancery runs as.
    pub allow_uids: Vec<u32>,
    /// Executables; empty means any. With rules, a peer whose executable is unknown is refused.
    pub allow_executables: Vec<ExecutableRule>,
}

/// Names an executable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecutableRule {
    /// By its path when it started.
    Path(PathBuf),
    /// By the digest of the file that runs.
    Sha256(Sha256Digest),
}

/// Where the bootstrap secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapConfig {
    /// The secret's file: mode 0600, owned by the user that chancery runs as.
    pub file: PathBuf,
    /// The age at which it admits nobody any more, by the file's modification time.
    pub max_age: Option<Duration>,
}
