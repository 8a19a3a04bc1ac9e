//! Our own stdin and stdout, each on a thread of its own: a blocking read can't be cancelled, and must not keep the
//! process from ending.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::proxy::relay::{Sender, stream};
use crate::wire::framing::{LineBuffer, TooLong};

/// One line of stdin.
pub(super) type Line = Result<Vec<u8>, TooLong>;

/// Lines read ahead.
const AHEAD: usize = 4;
/// Bytes gathered before they are written.
const GATHER: usize = 64 * 1024;
/// How long a client may take to read the last messages.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Lines of stdin, each of at most `limit` bytes. The channel ends with stdin.
pub(super) fn read_stdin(limit: usize) -> mpsc::Receiver<Line> {
    let (lines, reader) = mpsc::channel(AHEAD);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = LineBuffer::new(limit);
        let mut chunk = vec![0; 64 * 1024];
        loop {
            match stdin.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => buffer.push(chunk.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_gone) => break,
            }
            for line in buffer.by_ref() {
                if lines.blocking_send(line).is_err() {
                    return;
                }
            }
        }
        buffer.finish();
        for line in buffer {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    reader
}

/// What becomes of the writing to stdout.
pub(super) struct Written<F> {
    /// Cancelled when the client no longer reads.
    pub(super) failed: CancellationToken,
    /// Ready when everything is written, or the client took too long to read it.
    pub(super) finished: F,
}

/// The one writer to stdout. Its stream ends when every sender is dropped.
pub(super) fn write_stdout() -> (Sender, Written<impl Future<Output = ()>>) {
    let (sender, mut parcels) = stream();
    let runtime = tokio::runtime::Handle::current();
    let (done, finished) = oneshot::channel();
    let failed = CancellationToken::new();
    let told = failed.clone();
    std::thread::spawn(move || {
        let mut stdout = std::io::stdout().lock();
        let mut gathered = Vec::new();
        while let Some(first) = runtime.block_on(parcels.recv()) {
            // Held until written: they are this client's share of what may wait.
            let mut held = vec![first];
            let mut size = held.iter().map(|parcel| parcel.bytes.len()).sum::<usize>();
            while size < GATHER
                && let Some(next) = parcels.try_recv()
            {
                size += next.bytes.len();
                held.push(next);
            }
            gathered.clear();
            for parcel in &held {
                gathered.extend_from_slice(&parcel.bytes);
                gathered.push(b'\n');
            }
            if stdout.write_all(&gathered).and_then(|()| stdout.flush()).is_err() {
                told.cancel();
                break;
            }
            gathered.shrink_to(GATHER);
        }
        // Nobody waits when the process is about to end anyway.
        done.send(()).ok();
    });
    let finished = async move {
        tokio::time::timeout(LAST_WORDS, finished).await.ok();
    };
    (sender, Written { failed, finished })
}
