//! Why SPIRE gives no identity; each message names the fix.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use spiffe::WorkloadApiError;
use spiffe::x509_source::X509SourceError;

use crate::domain::clock::Timestamp;
use crate::keys::{BundleError, KeyError};

/// What is wrong with the Workload API, or with what it says.
#[derive(Debug, thiserror::Error)]
pub enum SpireError {
    /// Nothing says where the Workload API is.
    #[error(
        "`identity: spire` needs the SPIRE agent's socket: set SPIFFE_ENDPOINT_SOCKET=unix:///path/of/agent.sock in the \
         environment, or `identity.spire.socket` in the configuration"
    )]
    NoSocket,
    /// Another gRPC service.
    #[error(
        "{socket} is a gRPC service, but not a Workload API (SPIRE's server has a socket of its own): point \
         `identity.spire.socket` or SPIFFE_ENDPOINT_SOCKET at the agent's `socket_path`"
    )]
    OtherService {
        /// Where.
        socket: String,
    },
    /// The address can't be read.
    #[error(
        "`{socket}` is no address of a SPIFFE Workload API ({why}): write `unix:///path/of/agent.sock` into \
         `identity.spire.socket` or SPIFFE_ENDPOINT_SOCKET"
    )]
    Address {
        /// What is configured.
        socket: String,
        /// What is wrong with it.
        why: String,
    },
    /// Private keys would cross a network in the clear.
    #[error(
        "the Workload API at {0} is not on this machine, and it hands out private keys in the clear: use the socket \
         of an agent on this machine"
    )]
    Remote(String),
    /// There is no such socket.
    #[error(
        "there is no socket {}: start the SPIRE agent, or point `identity.spire.socket` or SPIFFE_ENDPOINT_SOCKET at \
         its `socket_path`", .0.display()
    )]
    Missing(PathBuf),
    /// There is something else.
    #[error(
        "{} is not a socket: point `identity.spire.socket` or SPIFFE_ENDPOINT_SOCKET at the SPIRE agent's \
         `socket_path`", .0.display()
    )]
    NotASocket(PathBuf),
    /// It can't be connected to.
    #[error("the SPIFFE Workload API at {socket} can't be reached ({why}): is the SPIRE agent running?")]
    Unreachable {
        /// Where.
        socket: String,
        /// What the system said.
        why: String,
    },
    /// The socket is another user's.
    #[error(
        "this process (user id {uid}) may not open {socket}: let the SPIRE agent's socket and its directories be \
         entered by this user, or run the gateway as one that may"
    )]
    Forbidden {
        /// Where.
        socket: String,
        /// Who.
        uid: u32,
    },
    /// It accepts connections and says nothing.
    #[error(
        "{socket} accepts connections but sent no SVID within {} s: is it the SPIRE agent's Workload API, and is the \
         agent healthy (`spire-agent healthcheck`)?", waited.as_secs_f32()
    )]
    Silent {
        /// Where.
        socket: String,
        /// How long.
        waited: Duration,
    },
    /// The agent knows no entry for this process.
    #[error(
        "the SPIRE agent has no entry for this process ({why}): register it, for example with `spire-server entry \
         create -parentID <the agent's> -spiffeID spiffe://<trust domain>/chancery -selector unix:uid:{uid} -selector \
         unix:path:{path}`; without the path any process of this user, tool servers too, gets its key", path = executable()
    )]
    NotRegistered {
        /// What the agent said.
        why: String,
        /// This process's user.
        uid: u32,
    },
    /// Another answer than the Workload API's.
    #[error("the Workload API at {socket} answered with something that can't be used: {why}")]
    Answer {
        /// Where.
        socket: String,
        /// What.
        why: String,
    },
    /// The SVIDs offered are others than the one that is wanted.
    #[error(
        "the SPIRE agent offers no SVID {wanted}; it offers {offered}: change `identity.spire.spiffe_id` or `.hint`, \
         or register the gateway under it"
    )]
    NotOffered {
        /// What is configured.
        wanted: String,
        /// What there is.
        offered: String,
    },
    /// The agent is of another trust domain.
    #[error(
        "the configuration asks for trust domain `{wanted}`, the SPIRE agent is of `{found}`: change \
         `identity.spire.spiffe_id`, or point `identity.spire.socket` at an agent of `{wanted}`"
    )]
    TrustDomain {
        /// The configured one.
        wanted: String,
        /// The agent's.
        found: String,
    },
    /// The key is of a kind that does not sign tokens here.
    #[error(
        "the SVID's key is neither P-256 nor P-384 ({found}): set `workload_x509_svid_key_type = \"ec-p256\"` in the \
         SPIRE agent's configuration"
    )]
    KeyType {
        /// What it is.
        found: String,
    },
    /// The SVID is not valid at this machine's time.
    #[error(
        "the SVID is valid from {not_before} to {not_after}, but this machine's clock says {now}: set the clock here \
         or on the machine of SPIRE's server (is NTP running?)"
    )]
    Clock {
        /// The SVID's first moment.
        not_before: Timestamp,
        /// Its last.
        not_after: Timestamp,
        /// Ours.
        now: Timestamp,
    },
    /// There are no roots of the SVID's trust domain.
    #[error("the update holds no trust bundle of `{0}`")]
    NoBundle(String),
    /// The bundle does not hold.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Key, chain and bundle don't belong together.
    #[error(transparent)]
    Key(KeyError),
    /// The stream can't be begun.
    #[error("the stream of the SPIFFE Workload API can't be begun: {0}")]
    Source(#[from] X509SourceError),
}

impl From<KeyError> for SpireError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

impl SpireError {
    /// What an attempt at the Workload API said.
    pub(super) fn of(error: &WorkloadApiError, socket: &str) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let socket = socket.to_owned();
        match error {
            WorkloadApiError::NoIdentityIssued => {
                Self::NotRegistered { why: "no identity issued".to_owned(), uid }
            }
            WorkloadApiError::PermissionDenied(why) => {
                Self::NotRegistered { why: format!("permission denied: {}", why.escape_debug()), uid }
            }
            WorkloadApiError::Transport(spiffe::transport::TransportError::Connect(error)) => {
                match io_kind(error) {
                    Some(std::io::ErrorKind::PermissionDenied) => Self::Forbidden { socket, uid },
                    _ => Self::Unreachable { socket, why: innermost(error) },
                }
            }
            WorkloadApiError::Transport(spiffe::transport::TransportError::Status(status))
                if status.code() == spiffe::transport::GrpcStatusCode::Unavailable =>
            {
                Self::Unreachable { socket, why: status.message().escape_debug().to_string() }
            }
            WorkloadApiError::Transport(spiffe::transport::TransportError::Status(status))
                if status.code() == spiffe::transport::GrpcStatusCode::Unimplemented =>
            {
                Self::OtherService { socket }
            }
            other => Self::Answer { socket, why: other.to_string().escape_debug().to_string() },
        }
    }

    /// Whether waiting can't help: the agent has answered, and the answer can't be used.
    pub(super) const fn is_final(&self) -> bool {
        !matches!(
            self,
            Self::Missing(_)
                | Self::NotASocket(_)
                | Self::Unreachable { .. }
                | Self::Silent { .. }
                | Self::NotRegistered { .. }
                | Self::NotOffered { .. }
                | Self::Answer { .. }
        )
    }
}

/// The causes of an error, the outermost first.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

fn io_kind(error: &(dyn Error + 'static)) -> Option<std::io::ErrorKind> {
    causes(error).find_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind)
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map_or_else(String::new, ToString::to_string)
}

/// The file that runs, as a selector names it.
fn executable() -> String {
    let path = std::fs::read_link("/proc/self/exe");
    path.map_or_else(|_unreadable| "/path/of/chancery".to_owned(), |path| path.display().to_string())
}
