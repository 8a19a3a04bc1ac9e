//! SIGTERM and SIGINT: the first asks for an orderly end, the second ends at once. SIGHUP has the files read anew: under
//! `run` too, where a terminal that goes takes the client with it, and with the client goes the pipe.

use std::io;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How long after the first signal another one is the same: wrappers signal their child, and its group besides.
const ECHO: Duration = Duration::from_millis(500);

/// What a signal asks for.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    End,
    Echo,
    EndAtOnce,
}

/// Of a signal at `now`; `first` is when the first one came.
fn weigh(first: &mut Option<Instant>, now: Instant) -> Meaning {
    match *first {
        None => {
            *first = Some(now);
            Meaning::End
        }
        Some(first) if now.duration_since(first) < ECHO => Meaning::Echo,
        Some(_) => Meaning::EndAtOnce,
    }
}

/// Begins to listen; each SIGHUP is a message to `hangup`. The token is cancelled by the first signal. The second, unless
/// it follows at once, exits with 128 and its number, as a shell reports it, without waiting for anything.
///
/// # Errors
/// When the handlers can't be installed.
pub(super) fn listen(hangup: mpsc::Sender<()>) -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut gone = signal(SignalKind::hangup())?;
    let stop = CancellationToken::new();
    let asked = stop.clone();
    tokio::spawn(async move {
        let mut first = None;
        loop {
            let number = tokio::select! {
                _ = terminate.recv() => 15,
                _ = interrupt.recv() => 2,
                _ = gone.recv() => {
                    // Full means that a look is asked for already.
                    let _ = hangup.try_send(());
                    continue;
                }
            };
            match weigh(&mut first, Instant::now()) {
                Meaning::End => {
                    tracing::info!("shutting down; another signal ends at once");
                    asked.cancel();
                }
                Meaning::Echo => {}
                Meaning::EndAtOnce => {
                    tracing::error!("a second signal: ending at once");
                    std::process::exit(128 + number);
                }
            }
        }
    });
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_comes_twice_at_once_is_one_and_a_later_one_ends_at_once() {
        let begin = Instant::now();
        let mut first = None;
        assert_eq!(weigh(&mut first, begin), Meaning::End);
        assert_eq!(weigh(&mut first, begin), Meaning::Echo);
        assert_eq!(weigh(&mut first, begin + Duration::from_millis(499)), Meaning::Echo);
        assert_eq!(weigh(&mut first, begin + ECHO), Meaning::EndAtOnce);
    }
}
