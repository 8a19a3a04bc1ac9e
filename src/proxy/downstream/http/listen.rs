//! Binds the listeners before anything else is started, so that a port in use starts nothing halfway.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener};

use crate::proxy::config::ListenConfig;

/// Why a listener can't be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The TCP address is taken, not ours, or not allowed.
    #[error("can't listen on {addr}")]
    Tcp {
        /// The key of the configuration that names it.
        key: &'static str,
        /// Which.
        addr: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The socket's path is in use, or can't be made.
    #[error("can't listen on the Unix socket {path}", path = .path.display())]
    Unix {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// None was configured.
    #[error("no listener is configured: set `listen.tcp`, `listen.tls` or `listen.unix`")]
    None,
}

/// Bound listeners, not accepting yet.
#[derive(Debug)]
pub struct Listeners {
    pub(super) config: ListenConfig,
    pub(super) tcp: Option<(TcpListener, SocketAddr)>,
    pub(super) tls: Option<(TcpListener, SocketAddr)>,
    pub(super) unix: Option<(UnixListener, SocketFile)>,
}

impl Listeners {
    /// Binds what `config` names.
    ///
    /// # Errors
    /// When an address or a path can't be bound, or none is configured.
    pub async fn bind(config: &ListenConfig) -> Result<Self, BindError> {
        if config.tcp.is_none() && config.tls.is_none() && config.unix.is_none() {
            return Err(BindError::None);
        }
        let tcp = bind_tcp("listen.tcp", config.tcp).await?;
        let tls = bind_tcp("listen.tls", config.tls).await?;
        let unix = match &config.unix {
            None => None,
            Some(path) => {
                Some(bind_unix(path).await.map_err(|source| BindError::Unix { path: path.clone(), source })?)
            }
        };
        Ok(Self { config: config.clone(), tcp, tls, unix })
    }

    /// The TCP address, with the port that the system chose where 0 was asked for.
    pub fn tcp_addr(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().map(|(_, addr)| *addr)
    }

    /// The TLS address, likewise.
    pub fn tls_addr(&self) -> Option<SocketAddr> {
        self.tls.as_ref().map(|(_, addr)| *addr)
    }
}

async fn bind_tcp(
    key: &'static str,
    addr: Option<SocketAddr>,
) -> Result<Option<(TcpListener, SocketAddr)>, BindError> {
    let Some(addr) = addr else { return Ok(None) };
    let failed = |source| BindError::Tcp { key, addr, source };
    let listener = TcpListener::bind(addr).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok(Some((listener, bound)))
}

/// A socket's file, removed with the listener.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Already gone is as well.
        std::fs::remove_file(&self.0).ok();
    }
}

/// Listens on a path, mode 0600, where nobody listens yet.
///
/// # Errors
/// When somebody does, something else is in its place, or the path can't be made.
pub async fn bind_unix(path: &Path) -> std::io::Result<(UnixListener, SocketFile)> {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
    if let Ok(meta) = tokio::fs::symlink_metadata(path).await {
        if !meta.file_type().is_socket() {
            return Err(std::io::Error::other("a file that is no socket is in its place"));
        }
        // A socket that nobody listens on was left behind by a process that died.
        match tokio::net::UnixStream::connect(path).await {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                tokio::fs::remove_file(path).await?;
            }
            _ => return Err(std::io::ErrorKind::AddrInUse.into()),
        }
    }
    let listener = UnixListener::bind(path)?;
    let file = SocketFile(path.to_owned());
    // Who may speak is admission's to say; the mode only keeps other users from trying.
    tokio::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).await?;
    Ok((listener, file))
}
