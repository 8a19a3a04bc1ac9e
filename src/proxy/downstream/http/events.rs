//! Answers that are streams of server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::time::Instant;

use super::answer::Body;
use crate::proxy::relay::{Parcel, Reader};
use crate::wire::sse;

/// Between comments on a silent stream, so that neither side takes the connection for dead.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a stream sends, and what is freed when it ends or its client goes away.
pub(super) trait Source: Send + 'static {
    /// Where messages come from; its end is the stream's.
    fn parcels(&mut self) -> &mut Reader;
}

/// A stream that begins with `first` and goes on with what comes from `source`, but not beyond `until`: it ends with
/// what admitted it.
pub(super) fn response(first: Vec<Parcel>, source: impl Source, until: Option<Instant>) -> Response<Body> {
    let state = (VecDeque::from(first), source);
    let frames = stream::unfold(state, move |(mut first, mut source)| async move {
        if until.is_some_and(|until| Instant::now() >= until) {
            return None;
        }
        let silence = Instant::now() + KEEP_ALIVE;
        let wait = until.map_or(silence, |until| until.min(silence));
        let next = match first.pop_front() {
            Some(parcel) => Ok(Some(parcel)),
            None => tokio::time::timeout_at(wait, source.parcels().recv()).await,
        };
        let bytes = match next {
            Ok(Some(parcel)) => encode(parcel),
            Ok(None) => return None,
            Err(_silent) => Bytes::from_static(b":\n\n"),
        };
        Some((Ok::<_, Infallible>(Frame::data(bytes)), (first, source)))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    response
}

fn encode(parcel: Parcel) -> Bytes {
    let meta = parcel.event.unwrap_or_default();
    let event = sse::Event { id: meta.id, event: None, data: parcel.bytes.to_vec(), retry: meta.retry };
    event.encode()
}
