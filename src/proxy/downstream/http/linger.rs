//! Reads off what a refused request still brings, so that its sender gets to read the answer.
//!
//! A connection that is closed with bytes unread is reset (RFC 9112 §9.6), and a reset can take the answer away that
//! was sent before it. A client whose head and body come apart would then see a broken connection in place of a 401.

use std::time::Duration;

use http::HeaderMap;
use http::header::EXPECT;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as _, Incoming};

/// Most bytes that are read off, and how long they are waited for; who brings more is cut off.
const MOST: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(2);

/// Reads off what is left of a body, within bounds.
pub(super) async fn read_off(headers: &HeaderMap, body: Incoming) {
    let more = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX) > MOST;
    // Who waits for `100 Continue` sends nothing after another answer.
    if body.is_end_stream() || more || headers.contains_key(EXPECT) {
        return;
    }
    let mut rest = Limited::new(body, MOST);
    let read_off = async { while let Some(Ok(_unread)) = rest.frame().await {} };
    if tokio::time::timeout(PATIENCE, read_off).await.is_err() {
        tracing::debug!("the body of a request that was answered by its head did not come");
    }
}
