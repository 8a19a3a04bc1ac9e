//! What a request must show before anyone looks at its body: `Host`, `Origin`, content types (DNS rebinding:
//! MCP 2025-11-25, Transports, "Security Warning").

use std::net::SocketAddr;

use http::header::{
    ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN,
};
use http::uri::Authority;

use crate::domain::revision::Revision;
use crate::proxy::config::ListenConfig;

/// `MCP-Protocol-Version`.
pub(super) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// The names by which a listener may be called.
#[derive(Debug, Clone)]
pub(super) struct AllowList {
    /// Name, and port if only one will do. `None`: any, as on a Unix socket, which no browser reaches.
    hosts: Option<Vec<(String, Option<u16>)>>,
    origins: Vec<String>,
}

impl AllowList {
    /// For a TCP listener bound to `bound`: its own address, the loopback names if it is a loopback address, and
    /// what the configuration adds.
    pub(super) fn tcp(config: &ListenConfig, bound: SocketAddr) -> Self {
        let mut hosts: Vec<_> = config.allowed_hosts.iter().map(|host| split(host)).collect();
        let ip = bound.ip();
        if !ip.is_unspecified() {
            let literal = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
            hosts.push((literal, None));
        }
        if ip.is_loopback() {
            hosts.extend(["localhost", "127.0.0.1", "[::1]"].map(|name| (name.to_owned(), None)));
        }
        Self { hosts: Some(hosts), origins: origins(config) }
    }

    /// For a Unix socket.
    pub(super) fn unix(config: &ListenConfig) -> Self {
        Self { hosts: None, origins: origins(config) }
    }

    /// Whether a request with these headers may be looked at further.
    pub(super) fn admits(&self, headers: &HeaderMap, authority: Option<&Authority>) -> bool {
        self.host_allowed(headers, authority) && self.admits_origin(headers)
    }

    fn host_allowed(&self, headers: &HeaderMap, authority: Option<&Authority>) -> bool {
        let Some(allowed) = &self.hosts else { return true };
        let one = |authority: &Authority| {
            let host = authority.host().to_ascii_lowercase();
            let port = authority.port_u16();
            allowed.iter().any(|(name, wanted)| *name == host && (wanted.is_none() || *wanted == port))
        };
        let mut values = headers.get_all(HOST).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let Ok(named) = Authority::try_from(value.as_bytes()) else { return false };
        !named.as_str().contains('@') && one(&named) && authority.is_none_or(one)
    }

    /// Whether the `Origin` is allowed, or absent.
    pub(super) fn admits_origin(&self, headers: &HeaderMap) -> bool {
        let known = |value: &HeaderValue| {
            let text = value.to_str().map(str::to_ascii_lowercase);
            text.is_ok_and(|text| self.origins.contains(&text))
        };
        headers.get_all(ORIGIN).iter().all(known)
    }
}

fn origins(config: &ListenConfig) -> Vec<String> {
    config.allowed_origins.iter().map(|o| o.trim_end_matches('/').to_ascii_lowercase()).collect()
}

fn split(host: &str) -> (String, Option<u16>) {
    let lower = host.to_ascii_lowercase();
    match Authority::try_from(lower.as_str()) {
        Ok(authority) => (authority.host().to_owned(), authority.port_u16()),
        Err(_not_an_authority) => (lower, None),
    }
}

/// Whether the body is what a POST must bring: JSON, not encoded.
pub(super) fn brings_json(headers: &HeaderMap) -> bool {
    let plain = headers.get_all(CONTENT_ENCODING).iter().all(|coding| coding.as_bytes() == b"identity");
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (types.next(), types.next()) else { return false };
    plain && value.to_str().is_ok_and(|text| is_type(text, "application/json"))
}

/// Whether the client takes answers of `wanted` type. No `Accept` at all takes anything (RFC 9110 §12.5.1).
pub(super) fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let mut values = headers.get_all(ACCEPT).iter().peekable();
    if values.peek().is_none() {
        return true;
    }
    let family = wanted.split_once('/').map_or("", |(family, _)| family);
    let fits = |text: &str| {
        text.split(',').any(|range| {
            is_type(range, wanted) || is_type(range, "*/*") || is_type(range, &format!("{family}/*"))
        })
    };
    values.any(|value| value.to_str().is_ok_and(fits))
}

fn is_type(text: &str, wanted: &str) -> bool {
    text.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(wanted))
}

/// What `MCP-Protocol-Version` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// Nothing.
    Absent,
    /// A revision that is served.
    Known,
    /// Anything else.
    Unknown,
}

/// Reads `MCP-Protocol-Version`.
pub(super) fn version(headers: &HeaderMap) -> Version {
    let mut values = headers.get_all(PROTOCOL_VERSION).iter();
    match (values.next(), values.next()) {
        (None, _) => Version::Absent,
        (Some(value), None) if value.to_str().is_ok_and(|text| text.parse::<Revision>().is_ok()) => {
            Version::Known
        }
        _ => Version::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_loopback_listener_answers_to_its_loopback_names_only() {
        let list = AllowList::tcp(&ListenConfig::default(), "127.0.0.1:8080".parse().unwrap());
        for good in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:8080"] {
            assert!(list.admits(&headers(&[(HOST, good)]), None), "{good}");
        }
        for bad in
            ["evil.example", "localhost.evil.example", "127.0.0.2", "user@localhost", "", "10.0.0.1:8080"]
        {
            assert!(!list.admits(&headers(&[(HOST, bad)]), None), "{bad}");
        }
        assert!(!list.admits(&HeaderMap::new(), None));
        let mut two = headers(&[(HOST, "localhost")]);
        two.append(HOST, "evil.example".parse().unwrap());
        assert!(!list.admits(&two, None));
        let absolute: Authority = "evil.example".parse().unwrap();
        assert!(!list.admits(&headers(&[(HOST, "localhost")]), Some(&absolute)));
    }

    #[test]
    fn a_configured_host_may_name_its_port() {
        let config = ListenConfig {
            allowed_hosts: vec!["mcp.corp:443".into(), "Gate".into()],
            ..ListenConfig::default()
        };
        let list = AllowList::tcp(&config, "0.0.0.0:8080".parse().unwrap());
        for (host, admitted) in
            [("mcp.corp:443", true), ("mcp.corp:80", false), ("gate:9", true), ("localhost", false)]
        {
            assert_eq!(list.admits(&headers(&[(HOST, host)]), None), admitted, "{host}");
        }
    }

    #[test]
    fn an_origin_must_be_listed_when_there_is_one() {
        let config =
            ListenConfig { allowed_origins: vec!["http://localhost:6274".into()], ..Default::default() };
        let list = AllowList::unix(&config);
        assert!(list.admits(&HeaderMap::new(), None));
        assert!(list.admits(&headers(&[(ORIGIN, "http://localhost:6274")]), None));
        for bad in
            ["http://localhost:6275", "null", "https://localhost:6274", "http://localhost:6274.evil.example"]
        {
            assert!(!list.admits(&headers(&[(ORIGIN, bad)]), None), "{bad}");
        }
    }

    #[test]
    fn only_plain_json_bodies_pass() {
        for (value, good) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/plain", false),
            ("application/jsonp", false),
            ("text/plain, application/json", false),
        ] {
            assert_eq!(brings_json(&headers(&[(CONTENT_TYPE, value)])), good, "{value}");
        }
        assert!(!brings_json(&headers(&[(CONTENT_TYPE, "application/json"), (CONTENT_ENCODING, "gzip")])));
        assert!(!brings_json(&HeaderMap::new()));
    }

    #[test]
    fn accept_is_read_leniently() {
        assert!(accepts(&HeaderMap::new(), "text/event-stream"));
        let both = headers(&[(ACCEPT, "application/json, text/event-stream;q=0.9")]);
        assert!(accepts(&both, "text/event-stream") && accepts(&both, "application/json"));
        assert!(accepts(&headers(&[(ACCEPT, "*/*")]), "application/json"));
        assert!(!accepts(&headers(&[(ACCEPT, "text/html")]), "application/json"));
    }
}
