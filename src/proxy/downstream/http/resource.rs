//! What clients are told that have no token yet: where to get one (RFC 9728; MCP 2025-11-25, Authorization).

use std::sync::Arc;

use http::header::{HOST, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use serde_json::json;

use super::answer::{self, Body};
use crate::admission::Authorization;
use crate::domain::ids::ServerName;
use crate::domain::refusal::AdmissionRefusal;

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The gateway as a protected resource.
#[derive(Debug)]
pub(super) struct Resource {
    authorization: Authorization,
    /// The URL by which clients know the gateway; else it is what they call it.
    public_url: Option<Arc<str>>,
}

impl Resource {
    pub(super) fn new(authorization: Authorization, public_url: Option<Arc<str>>) -> Self {
        Self { authorization, public_url }
    }

    /// The metadata document for who called by `scheme`, if `path` is one of its places. Which servers there are is not told.
    pub(super) fn metadata(&self, path: &str, headers: &HeaderMap, scheme: &str) -> Option<Response<Body>> {
        let endpoint = path.strip_prefix(WELL_KNOWN)?;
        if !endpoint.is_empty() && !is_endpoint(endpoint) {
            return None;
        }
        let mut document = json!({
            "resource": format!("{}{endpoint}", self.base(headers, scheme)),
            "authorization_servers": self.authorization.issuers,
            "bearer_methods_supported": ["header"],
        });
        if let (false, Some(members)) = (self.authorization.scopes.is_empty(), document.as_object_mut()) {
            members.insert("scopes_supported".to_owned(), json!(self.authorization.scopes));
        }
        Some(answer::whole(StatusCode::OK, "application/json", document.to_string()))
    }

    /// The challenge to a request at `path` that was turned away (RFC 6750 §3, RFC 9728 §5.1).
    pub(super) fn challenge(
        &self,
        reason: AdmissionRefusal,
        path: &str,
        headers: &HeaderMap,
        scheme: &str,
    ) -> Option<HeaderValue> {
        let error = match reason {
            AdmissionRefusal::NoEvidence => "",
            AdmissionRefusal::InsufficientScope => ", error=\"insufficient_scope\"",
            // RFC 6750 §3.1: the token's holder can read as much in it.
            AdmissionRefusal::TokenExpired => {
                ", error=\"invalid_token\", error_description=\"The access token expired\""
            }
            _ => ", error=\"invalid_token\"",
        };
        let scope = match self.authorization.scopes.join(" ") {
            none if none.is_empty() => none,
            scopes => format!(", scope=\"{scopes}\""),
        };
        let base = self.base(headers, scheme);
        // What names no server is not repeated: a header is no place for a stranger's text.
        let path = if is_endpoint(path) { path } else { "" };
        let text = format!(
            "Bearer realm=\"chancery\", resource_metadata=\"{base}{WELL_KNOWN}{path}\"{scope}{error}"
        );
        HeaderValue::from_str(&text).ok()
    }

    /// `Host` is on the allow-list when this is asked, so it is an authority and nothing else.
    fn base(&self, headers: &HeaderMap, scheme: &str) -> String {
        match &self.public_url {
            Some(url) => url.to_string(),
            None => {
                let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
                format!("{scheme}://{host}")
            }
        }
    }
}

/// Whether a path is an MCP endpoint's: `/mcp`, or `/mcp/` and what can name a server.
fn is_endpoint(path: &str) -> bool {
    match path.strip_prefix("/mcp") {
        Some("") => true,
        Some(rest) => rest.strip_prefix('/').is_some_and(|name| name.parse::<ServerName>().is_ok()),
        None => false,
    }
}
