//! Evidence from the kernel about a local process.

/// The peer of one Unix connection, as the kernel named it when the connection was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionPeer {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) pid: Option<u32>,
    pub(super) start_time: Option<u64>,
}

impl ConnectionPeer {
    /// Asks the kernel (`SO_PEERCRED`) who connected; call it right after `accept`.
    ///
    /// # Errors
    /// The kernel's, when the socket has no credentials.
    pub fn of(stream: &tokio::net::UnixStream) -> std::io::Result<Self> {
        let cred = stream.peer_cred()?;
        let pid = cred.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0);
        Ok(Self { uid: cred.uid(), gid: cred.gid(), pid, start_time: None })
    }
}
