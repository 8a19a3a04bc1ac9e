//! One request: who asks, for what, in which session.

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::Server;
use super::answer::{self, Body, SESSION_ID};
use super::checks::{self, AllowList, Version};
use super::events;
use super::linger;
use super::resource::Resource;
use crate::admission::{Listener, Origin};
use crate::domain::admitted::Admitted;
use crate::domain::ids::ServerName;
use crate::domain::refusal::AdmissionRefusal;
use crate::gate::observe::TraceContext;
use crate::gate::{Arrival, ResumeError, Route, Transport};
use crate::proxy::relay::{ListenError, Listening, Reader, Relay};
use crate::proxy::upstream::Connector;
use crate::wire::Traceparent;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Longest event id that a client may resume from, in bytes.
const LONGEST_EVENT_ID: usize = 2048;

/// A body that takes longer is heard only if its sender can still show what admits it.
const LATE: Duration = Duration::from_secs(1);

/// Methods of an MCP endpoint.
const METHODS: &str = "GET, POST, DELETE";

/// An admitted request for one tool server.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) server: &'a Arc<Server>,
    pub(super) listener: Listener,
    origin: &'a Origin,
    path: &'a str,
    pub(super) admitted: Admitted,
    pub(super) connector: &'a Connector,
    pub(super) route: Route,
    pub(super) headers: &'a HeaderMap,
    pub(super) arrival: Arrival,
}

impl Server {
    /// Answers one request of a connection from `origin`.
    pub(super) async fn handle(
        self: &Arc<Self>,
        origin: &Origin,
        allow: &AllowList,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let (head, mut body) = request.into_parts();
        let response = self.answer(origin, allow, &head, &mut body).await;
        linger::read_off(&head.headers, body).await;
        response
    }

    async fn answer(
        self: &Arc<Self>,
        origin: &Origin,
        allow: &AllowList,
        head: &Parts,
        body: &mut Incoming,
    ) -> Response<Body> {
        let listener = origin.listener();
        let path = head.uri.path();
        if let Some(public) = self.public(path, &head.method) {
            // Nothing of a session is here, and probes call a listener by its address.
            return if allow.admits_origin(&head.headers) { public } else { self.not_from_here(listener) };
        }
        if !allow.admits(&head.headers, head.uri.authority()) {
            return self.not_from_here(listener);
        }
        let page = self.told(origin).and_then(|(told, scheme)| told.metadata(path, &head.headers, scheme));
        if let Some(page) = page {
            let readable = matches!(head.method, Method::GET | Method::HEAD);
            return if readable { page } else { answer::method_not_allowed("GET, HEAD") };
        }
        let Some(named) = mcp_path(path) else {
            return answer::refused(StatusCode::NOT_FOUND, "nothing is here");
        };
        let admitted = match self.admission.admit_request(origin, authorization(&head.headers)).await {
            Ok(admitted) => admitted,
            // Admission counted it.
            Err(reason) => return self.turned_away(reason, origin, path, &head.headers),
        };
        let Some((name, connector)) = self.find(named) else {
            return answer::refused(StatusCode::NOT_FOUND, "no tool server has this name");
        };
        let transport = match origin {
            Origin::Unix(_) => Transport::Unix,
            Origin::Tls(_) | Origin::Web(_) => Transport::Tls,
            Origin::Tcp(_) | Origin::Parent => Transport::Tcp,
        };
        let jwks = if transport == Transport::Tls { &self.jwks_url_tls } else { &self.jwks_url };
        let route = Route { server: name.clone(), transport, jwks: jwks.clone() };
        let arrival = Arrival { trace: trace(&head.headers) };
        let headers = &head.headers;
        let call =
            Call { server: self, listener, origin, path, admitted, connector, route, headers, arrival };
        match head.method {
            Method::POST => call.post(body).await,
            Method::GET => call.get().await,
            Method::DELETE => call.delete().await,
            _ => answer::method_not_allowed(METHODS),
        }
    }

    /// The answer to whom admission turned away, with a challenge where a bearer could have helped.
    fn turned_away(
        &self,
        reason: AdmissionRefusal,
        origin: &Origin,
        path: &str,
        headers: &HeaderMap,
    ) -> Response<Body> {
        let tcp = matches!(origin, Origin::Tcp(_));
        let mut response = answer::not_admitted(reason, self.bearer && tcp);
        let asks =
            response.status() == StatusCode::UNAUTHORIZED || reason == AdmissionRefusal::InsufficientScope;
        let told = self.told(origin).filter(|_| asks && !matches!(origin, Origin::Unix(_)));
        let challenge = told.and_then(|(told, scheme)| told.challenge(reason, path, headers, scheme));
        if let Some(challenge) = challenge {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }

    /// Where tokens come from, and the scheme by which the gateway is called, where a token could help.
    fn told(&self, origin: &Origin) -> Option<(&Resource, &'static str)> {
        let scheme = match origin {
            Origin::Tls(_) | Origin::Parent => return None,
            Origin::Web(_) => "https",
            Origin::Tcp(_) | Origin::Unix(_) => "http",
        };
        self.resource.as_ref().map(|resource| (resource, scheme))
    }

    fn not_from_here(&self, listener: Listener) -> Response<Body> {
        self.admission.refusals().count(listener, AdmissionRefusal::Origin);
        answer::not_admitted(AdmissionRefusal::Origin, false)
    }

    /// The pages for anyone.
    fn public(&self, path: &str, method: &Method) -> Option<Response<Body>> {
        let page = match path {
            "/healthz" => answer::whole(StatusCode::OK, "text/plain", "ok\n"),
            "/readyz" => match self.published.ready() {
                Ok(()) => answer::whole(StatusCode::OK, "text/plain", "ready\n"),
                Err(why) => answer::whole(StatusCode::SERVICE_UNAVAILABLE, "text/plain", format!("{why}\n")),
            },
            "/.well-known/jwks.json" => {
                let jwks = self.published.jwks();
                let mut page = answer::whole(StatusCode::OK, "application/jwk-set+json", jwks);
                let max_age = format!("public, max-age={}", self.published.jwks_max_age().as_secs());
                if let Ok(value) = HeaderValue::from_str(&max_age) {
                    page.headers_mut().insert(CACHE_CONTROL, value);
                }
                page
            }
            _ => return None,
        };
        let readable = matches!(*method, Method::GET | Method::HEAD);
        Some(if readable { page } else { answer::method_not_allowed("GET, HEAD") })
    }

    /// The tool server of a path; `/mcp` alone is the only one's.
    fn find(&self, named: Option<&str>) -> Option<(&ServerName, &Connector)> {
        match named {
            Some(name) => self.connectors.get_key_value(&name.parse::<ServerName>().ok()?),
            None => self.connectors.iter().next().filter(|_| self.connectors.len() == 1),
        }
    }
}

impl Call<'_> {
    /// When a stream must end that is opened by this request.
    pub(super) fn ends(&self) -> Option<Instant> {
        let left = self.admitted.expires()?.since(self.server.admission.now());
        Instant::now().checked_add(left)
    }

    /// Admits the request anew where its body, for which `waited`, may have come after what was shown before it has
    /// ended: whoever sends slowly must not be heard for longer.
    pub(super) async fn admit_late(&mut self, waited: Duration) -> Result<(), Box<Response<Body>>> {
        let now = self.server.admission.now();
        if waited < LATE && self.admitted.expires().is_none_or(|end| now < end) {
            return Ok(());
        }
        match self.server.admission.admit_request(self.origin, authorization(self.headers)).await {
            Ok(admitted) => {
                self.admitted = admitted;
                Ok(())
            }
            // Admission counted it.
            Err(reason) => {
                Err(Box::new(self.server.turned_away(reason, self.origin, self.path, self.headers)))
            }
        }
    }

    /// The live session that the request names, if it names one.
    pub(super) fn session(&self) -> Result<Option<Arc<Relay>>, Box<Response<Body>>> {
        let mut values = self.headers.get_all(SESSION_ID).iter();
        let handle = match (values.next(), values.next()) {
            (None, _) => return Ok(None),
            (Some(value), None) => value.to_str().unwrap_or_default(),
            (Some(_), Some(_)) => {
                self.turn_away(AdmissionRefusal::InvalidSession);
                return Err(Box::new(answer::refused(
                    StatusCode::BAD_REQUEST,
                    "more than one session is named",
                )));
            }
        };
        let session = self.server.gate.resume(handle, &self.admitted, &self.route.server);
        let session = session.map_err(|error| {
            tracing::debug!(%error, "a session was not found");
            let (reason, response) = match error {
                ResumeError::Superseded => (AdmissionRefusal::NoSession, answer::superseded()),
                ResumeError::NotFound => (AdmissionRefusal::NoSession, answer::no_such_session()),
                ResumeError::Invalid => (AdmissionRefusal::InvalidSession, answer::no_such_session()),
                ResumeError::Binding => (AdmissionRefusal::ForeignSession, answer::no_such_session()),
            };
            self.turn_away(reason);
            Box::new(response)
        })?;
        let relay = self.server.relays.get(&session.id()).map(|entry| Arc::clone(entry.value()));
        relay.map(Some).ok_or_else(|| Box::new(answer::no_such_session()))
    }

    /// Counts a request that reached no session; the interval's summary tells of it.
    pub(super) fn turn_away(&self, reason: AdmissionRefusal) {
        self.server.admission.refusals().count(self.listener, reason);
    }

    /// The session of a request that can't do without.
    fn required_session(&self) -> Result<Arc<Relay>, Box<Response<Body>>> {
        let bad = |message| Box::new(answer::refused(StatusCode::BAD_REQUEST, message));
        let relay = self.session()?.ok_or_else(|| {
            self.turn_away(AdmissionRefusal::NoSession);
            bad("`Mcp-Session-Id` is missing")
        })?;
        match checks::version(self.headers) {
            Version::Unknown => Err(bad("unsupported `MCP-Protocol-Version`")),
            Version::Absent | Version::Known => Ok(relay),
        }
    }

    async fn get(&self) -> Response<Body> {
        if !checks::accepts(self.headers, "text/event-stream") {
            return answer::refused(StatusCode::NOT_ACCEPTABLE, "a GET must accept text/event-stream");
        }
        let relay = match self.required_session() {
            Ok(relay) => relay,
            Err(response) => return *response,
        };
        let last = match self.headers.get(LAST_EVENT_ID).map(HeaderValue::to_str) {
            None => None,
            Some(Ok(id)) if id.len() <= LONGEST_EVENT_ID => Some(id),
            Some(_) => return answer::refused(StatusCode::BAD_REQUEST, "`Last-Event-ID` is not usable"),
        };
        match relay.listen(&self.admitted, last).await {
            Ok(listening) => events::response(Vec::new(), listening, self.ends()),
            Err(ListenError::Conflict) => {
                answer::refused(StatusCode::CONFLICT, "this session has a stream open already")
            }
            Err(ListenError::Refused) => answer::refused(StatusCode::TOO_MANY_REQUESTS, "not now"),
            Err(ListenError::Unsupported) => answer::method_not_allowed("POST, DELETE"),
            Err(ListenError::Gone) => {
                answer::refused(StatusCode::BAD_GATEWAY, "the tool server can't be reached")
            }
        }
    }

    async fn delete(&self) -> Response<Body> {
        let relay = match self.required_session() {
            Ok(relay) => relay,
            Err(response) => return *response,
        };
        match relay.delete(&self.admitted).await {
            true => answer::empty(StatusCode::NO_CONTENT),
            false => answer::no_such_session(),
        }
    }
}

impl events::Source for Listening {
    fn parcels(&mut self) -> &mut Reader {
        &mut self.parcels
    }
}

/// The server that an MCP endpoint's path names: `/mcp/<server>`, or none for `/mcp`.
fn mcp_path(path: &str) -> Option<Option<&str>> {
    let rest = path.strip_prefix("/mcp")?;
    match rest.strip_prefix('/') {
        Some(name) if !name.is_empty() && !name.contains('/') => Some(Some(name)),
        Some(_) => None,
        None => rest.is_empty().then_some(None),
    }
}

/// What the request shows. Two headers are one that admits nobody, which is not the same as none.
fn authorization(headers: &HeaderMap) -> Option<&[u8]> {
    let shown = headers.contains_key(AUTHORIZATION);
    single(headers, &AUTHORIZATION).map(HeaderValue::as_bytes).or(shown.then_some(b"".as_slice()))
}

/// A header that may stand once only.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

fn trace(headers: &HeaderMap) -> Option<TraceContext> {
    let text = single(headers, &TRACEPARENT)?.to_str().ok()?;
    text.parse::<Traceparent>().ok().map(TraceContext::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mcp_paths_name_a_server() {
        for (path, named) in [
            ("/mcp", Some(None)),
            ("/mcp/files", Some(Some("files"))),
            ("/mcp/", None),
            ("/mcp/files/x", None),
            ("/mcpx", None),
            ("/", None),
            ("//mcp", None),
        ] {
            assert_eq!(mcp_path(path), named, "{path}");
        }
    }
}
