//! HTTP answers: status, headers and the bodies that are not streams. Headers stay far under 8 KiB: the longest is
//! the session's token.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};

use crate::domain::refusal::AdmissionRefusal;
use crate::domain::secret::Secret;
use crate::wire::{RequestId, replies};

/// Any body that we send.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// `Mcp-Session-Id`.
pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

const NOSNIFF: HeaderName = HeaderName::from_static("x-content-type-options");

/// A body in one piece.
pub(super) fn whole(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let body: Bytes = body.into();
    let mut response = Response::new(Full::new(body).boxed_unsync());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(NOSNIFF, HeaderValue::from_static("nosniff"));
    response
}

/// A JSON-RPC message.
pub(super) fn json(status: StatusCode, message: Bytes) -> Response<Body> {
    whole(status, "application/json", message)
}

/// No body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::new()).boxed_unsync());
    *response.status_mut() = status;
    response
}

/// A JSON-RPC error that answers no request, at an HTTP error status.
pub(super) fn refused(status: StatusCode, message: &str) -> Response<Body> {
    let error = replies::error(None, i64::from(status.as_u16()), message, None::<&()>);
    json(status, error)
}

/// A JSON-RPC error in answer to a request: always at HTTP 200, where every client reads it.
pub(super) fn denied(id: &RequestId, code: i64, message: &str) -> Response<Body> {
    json(StatusCode::OK, replies::error(Some(id), code, message, None::<&()>))
}

/// No session opens now; after `wait` one might (RFC 6585 §4).
pub(super) fn later(reply: Bytes, wait: Duration) -> Response<Body> {
    let mut response = json(StatusCode::TOO_MANY_REQUESTS, reply);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
    response
}

/// The method is not served here.
pub(super) fn method_not_allowed(allow: &'static str) -> Response<Body> {
    let mut response = refused(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// No session is there under this handle (any more); the client may initialize anew.
pub(super) fn no_such_session() -> Response<Body> {
    refused(StatusCode::NOT_FOUND, "no such session")
}

/// As [`no_such_session`], for the rightful holder of the secret.
pub(super) fn superseded() -> Response<Body> {
    let message = "no such session: another was opened with the same bootstrap secret, and one secret holds one \
                   session";
    refused(StatusCode::NOT_FOUND, message)
}

/// The caller has not shown what admits it. With `bearer`, a bearer could.
pub(super) fn not_admitted(reason: AdmissionRefusal, bearer: bool) -> Response<Body> {
    let (status, message) = match reason {
        AdmissionRefusal::NoEvidence => (StatusCode::UNAUTHORIZED, "no evidence of who is asking"),
        AdmissionRefusal::WrongSecret => (StatusCode::UNAUTHORIZED, "this bearer admits nobody"),
        AdmissionRefusal::SecretTooOld => {
            (StatusCode::UNAUTHORIZED, "this bearer is too old: the gateway's operator has to make a new one")
        }
        AdmissionRefusal::PeerNotAllowed => (StatusCode::FORBIDDEN, "this process is not admitted"),
        AdmissionRefusal::PeerUnknown => (StatusCode::FORBIDDEN, "this process is not known"),
        AdmissionRefusal::TlsHandshake | AdmissionRefusal::SvidNotAllowed => {
            (StatusCode::FORBIDDEN, "this SPIFFE ID is not admitted")
        }
        AdmissionRefusal::SvidExpired | AdmissionRefusal::SvidNotBelieved => (
            StatusCode::UNAUTHORIZED,
            "the client certificate is not valid now: connect anew with a valid one",
        ),
        AdmissionRefusal::Origin => (
            StatusCode::FORBIDDEN,
            "this Host or Origin is not allowed: see `listen.allowed_hosts` and `listen.allowed_origins`",
        ),
        AdmissionRefusal::InvalidToken | AdmissionRefusal::TokenAudience => {
            (StatusCode::UNAUTHORIZED, "this token admits nobody")
        }
        AdmissionRefusal::TokenExpired => (StatusCode::UNAUTHORIZED, "this token has expired"),
        AdmissionRefusal::UnknownKey => (StatusCode::UNAUTHORIZED, "no issuer has the key of this token"),
        AdmissionRefusal::InsufficientScope => (StatusCode::FORBIDDEN, "this token lacks a scope"),
        AdmissionRefusal::IssuerUnavailable => {
            (StatusCode::SERVICE_UNAVAILABLE, "the keys of this token's issuer can't be had at the moment")
        }
        AdmissionRefusal::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "too many attempts"),
        AdmissionRefusal::Unreadable => (StatusCode::BAD_REQUEST, "this is no request"),
        AdmissionRefusal::InvalidSession | AdmissionRefusal::NoSession | AdmissionRefusal::ForeignSession => {
            (StatusCode::NOT_FOUND, "no such session")
        }
    };
    let mut response = refused(status, message);
    if matches!(reason, AdmissionRefusal::SvidExpired | AdmissionRefusal::SvidNotBelieved) {
        // Nothing on this connection can be admitted any more.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    // Seconds: until an issuer is asked again, and the longest that a minute's rate is spent.
    let retry_after = match reason {
        AdmissionRefusal::IssuerUnavailable => Some("30"),
        AdmissionRefusal::RateLimited => Some("60"),
        _ => None,
    };
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(seconds));
    }
    if bearer && status == StatusCode::UNAUTHORIZED {
        let challenge = match reason {
            AdmissionRefusal::WrongSecret | AdmissionRefusal::SecretTooOld => {
                "Bearer realm=\"chancery\", error=\"invalid_token\""
            }
            _ => "Bearer realm=\"chancery\"",
        };
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}

/// Puts the session's handle on the one answer that carries it.
pub(super) fn with_handle(mut response: Response<Body>, handle: Option<&Secret>) -> Response<Body> {
    // Exposed to its owner, in the header that is made for it (MCP, Transports, "Session Management").
    if let Some(Ok(mut value)) = handle.map(|handle| HeaderValue::from_str(handle.expose())) {
        value.set_sensitive(true);
        response.headers_mut().insert(SESSION_ID, value);
    }
    response
}
