//! GET streams: those that an HTTP client opens, and those that are kept open on a pipe's behalf.

use std::sync::Arc;
use std::time::Duration;

use super::{Reader, Relay, stream};
use crate::domain::admitted::Admitted;
use crate::gate::{Permit, ToServer};
use crate::proxy::upstream::{EventMeta, LinkError, StreamKey};
use crate::wire::RequestId;

/// GET streams that one client may have open: one for what belongs to no request, the others resume answers.
const STREAMS: usize = 16;

/// Before a broken stream is opened again, where the server names no time of its own.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause that a server may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often a stream is resumed without anything new on it.
const ATTEMPTS: u32 = 5;

/// Why a GET stream was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum ListenError {
    /// One is open already.
    Conflict,
    /// The gate does not let it pass now.
    Refused,
    /// The tool server offers none.
    Unsupported,
    /// The tool server is gone or can't be reached.
    Gone,
}

/// A client's open GET stream; dropping it closes the upstream's.
#[derive(Debug)]
pub(in crate::proxy) struct Listening {
    relay: Arc<Relay>,
    key: StreamKey,
    /// What comes on it.
    pub(in crate::proxy) parcels: Reader,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.parcels.close();
        self.relay.routes.lock().close_if_closed(&self.key);
        self.relay.link.abandon(&self.key);
    }
}

impl Relay {
    /// Opens the client's stream for what belongs to no request, or resumes the one that `last_event_id` names.
    pub(in crate::proxy) async fn listen(
        self: &Arc<Self>,
        admitted: &Admitted,
        last_event_id: Option<&str>,
    ) -> Result<Listening, ListenError> {
        // A child's messages carry no ids: there is nothing to resume, and one stream is all there is.
        let resumes = last_event_id.is_some() && self.link.has_streams();
        {
            let routes = self.routes.lock();
            if (!resumes && routes.live_standing().is_some()) || routes.gets() >= STREAMS {
                return Err(ListenError::Conflict);
            }
        }
        let permit = self.stream_permit(admitted, last_event_id).ok_or(ListenError::Refused)?;
        let (sender, parcels) = stream();
        let mut key = StreamKey::Pipe;
        let opened = self.link.listen(permit, |opened| {
            key = opened.clone();
            self.routes.lock().open(opened.clone(), sender, !resumes);
        });
        opened.await.map_err(|error| match error {
            LinkError::Status(405) => ListenError::Unsupported,
            LinkError::Gone
            | LinkError::Status(_)
            | LinkError::Refused
            | LinkError::Unreachable
            | LinkError::Credentials => ListenError::Gone,
        })?;
        Ok(Listening { relay: Arc::clone(self), key, parcels })
    }

    fn stream_permit(&self, admitted: &Admitted, last_event_id: Option<&str>) -> Option<Permit<ToServer>> {
        let permit = self.session.stream(admitted, last_event_id.map(str::to_owned));
        permit
            .inspect_err(|reason| tracing::debug!(reason = reason.as_str(), "a GET stream was refused"))
            .ok()
    }

    /// On a pipe the client can't open a GET stream: once it is initialized, one is kept open for it.
    pub(in crate::proxy) fn keep_listening(self: &Arc<Self>) {
        let Some(admitted) = self.pipe.clone().filter(|_| self.link.has_streams()) else { return };
        let relay = Arc::clone(self);
        tokio::spawn(async move {
            let over = relay.over.clone();
            tokio::select! {
                () = over.cancelled() => {}
                () = relay.listen_on_behalf(&admitted) => {}
            }
        });
    }

    async fn listen_on_behalf(self: &Arc<Self>, admitted: &Admitted) {
        let mut attempts = 0;
        while attempts < ATTEMPTS {
            match self.listen(admitted, None).await {
                // What comes on it goes to the pipe; the stream's end is all that this waits for.
                Ok(mut listening) => {
                    attempts = 0;
                    while listening.parcels.recv().await.is_some() {}
                }
                Err(ListenError::Unsupported) => return,
                Err(_) => attempts += 1,
            }
            tokio::time::sleep(PAUSE).await;
        }
        tracing::debug!("the tool server's stream for messages of its own can't be opened");
    }

    /// Resumes a request's answer for a client on a pipe; after some attempts the request fails.
    pub(super) fn resume(self: &Arc<Self>, id: RequestId, event: EventMeta) {
        let Some(attempt) = self.routes.lock().pending(&id).map(|pending| {
            pending.resumed += 1;
            pending.resumed
        }) else {
            return;
        };
        let relay = Arc::clone(self);
        let Some(admitted) = relay.pipe.clone() else { return };
        tokio::spawn(async move {
            let pause = event.retry.map_or(PAUSE, Duration::from_millis).min(LONGEST_PAUSE);
            tokio::time::sleep(pause).await;
            if let Ok(mut listening) = relay.listen(&admitted, event.id.as_deref()).await {
                relay.routes.lock().resuming(listening.key.clone(), id.clone());
                while listening.parcels.recv().await.is_some() {}
            }
            // Answered in the meantime, or the stream broke off once more.
            let left = relay.routes.lock().pending(&id).map(|pending| pending.last_event.clone());
            match left {
                None => {}
                Some(Some(event)) if attempt < ATTEMPTS => relay.resume(id, event),
                Some(_) => relay.fail(&id, "the tool server's answer broke off and could not be resumed"),
            }
        });
    }
}
