//! Writes down what arrives, byte for byte, before the SDK reads it: the proof of what reached a server.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, ReadBuf};

/// A file that grows by what arrives.
#[derive(Debug, Clone)]
pub(super) struct Recording(Arc<Mutex<File>>);

impl Recording {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self(Arc::new(Mutex::new(file))))
    }

    /// Appends `bytes` as they are.
    pub(super) fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().write_all(bytes)
    }
}

/// A reader that records what passes through it.
#[derive(Debug)]
pub(super) struct Tee<R> {
    inner: R,
    recording: Option<Recording>,
}

impl<R> Tee<R> {
    pub(super) fn new(inner: R, recording: Option<Recording>) -> Self {
        Self { inner, recording }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Tee<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        if let (Some(recording), Some(new)) = (&self.recording, buffer.filled().get(before..)) {
            recording.append(new)?;
        }
        Poll::Ready(Ok(()))
    }
}
