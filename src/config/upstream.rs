//! What a tool server at a URL is shown: its own headers, from the file or from files of their own, and who calls it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr as _;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use url::{Host, Url};

use super::located::At;
use super::raw;
use super::resolve::Resolver;
use crate::domain::ids::ServerName;
use crate::domain::secret::Secret;
use crate::proxy::config::{HeaderSource, ServerConfig, ServerKind};
use crate::token::IdentityConfig;

/// Longest audience in bytes.
const LONGEST_AUDIENCE: usize = 512;

/// A header's value: text, or a mapping that names a file.
#[derive(Debug)]
pub(super) enum Header {
    Text(String),
    File(HeaderFile),
}

/// A header's value that stands in a file, such as a token that an agent rotates. The file must be the gateway's user's
/// own, mode 0600 or 0400, and is read again when it changes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HeaderFile {
    /// The file; one line, whose end is left out.
    file: At<String>,
    /// What stands before its content, such as `"Bearer "`; nothing by default.
    prefix: Option<At<String>>,
}

/// Tells the server at the URL who calls it, by a short token in `Authorization`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ForwardIdentity {
    /// The server's name for itself, the token's `aud`, such as `https://tools.example.org`.
    audience: At<String>,
    /// How long a token is good, from 10s to 5m: `60s` by default. It is renewed in time.
    lifetime: Option<At<String>>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Header;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text or `file: PATH`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Header, E> {
                Ok(Header::Text(text.to_owned()))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Header, A::Error> {
                HeaderFile::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(Header::File)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Header {
    fn schema_name() -> Cow<'static, str> {
        "Header".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let file = generator.subschema_for::<HeaderFile>();
        json_schema!({ "anyOf": [{ "type": "string" }, file] })
    }
}

impl Resolver<'_> {
    pub(super) fn headers(
        &mut self,
        raw: &BTreeMap<At<String>, At<Header>>,
    ) -> BTreeMap<String, HeaderSource> {
        let mut headers = BTreeMap::new();
        for (name, value) in raw {
            if let Err(error) = http::HeaderName::from_str(&name.value) {
                self.mistakes.add(&name.span, format!("`{}`: {error}", name.value), "");
            }
            let source = match &value.value {
                Header::Text(text) => self.header_text(&At { value: text.clone(), span: value.span.clone() }),
                Header::File(file) => Some(self.header_file(file)),
            };
            if let Some(source) = source {
                headers.insert(name.value.clone(), source);
            }
        }
        headers
    }

    fn header_text(&mut self, value: &At<String>) -> Option<HeaderSource> {
        let text = self.interpolated(value)?;
        self.fits_header(value, &text);
        Some(HeaderSource::Text(Secret::new(text)))
    }

    fn header_file(&mut self, raw: &HeaderFile) -> HeaderSource {
        let prefix = raw.prefix.as_ref().map(|prefix| {
            self.fits_header(prefix, &prefix.value);
            prefix.value.clone()
        });
        HeaderSource::File { path: self.path(&raw.file), prefix: prefix.unwrap_or_default() }
    }

    fn fits_header(&mut self, at: &At<String>, text: &str) {
        if http::HeaderValue::from_str(text).is_err() {
            self.mistakes.add(&at.span, "this can't be the value of a header", "remove control characters");
        }
    }

    /// How the server at `url` is told who calls it.
    pub(super) fn forward_identity(
        &mut self,
        url: Option<&Url>,
        server: &raw::Server,
    ) -> Option<IdentityConfig> {
        let raw = server.forward_identity.as_ref()?;
        if let Some(url) = url.filter(|url| url.scheme() != "https" && !is_loopback(url)) {
            let help = "write an https URL: on the way of plain http anyone could take the token and use it";
            let message = format!("`forward_identity` has no place in plain http to `{}`", url.authority());
            self.mistakes.add(&raw.span, message, help);
        }
        for name in server.headers.keys().filter(|name| name.value.eq_ignore_ascii_case("authorization")) {
            let help = "remove one of them: `forward_identity` sends its token in `Authorization`";
            self.mistakes.add(&name.span, "`Authorization` has no place beside `forward_identity`", help);
        }
        let audience = &raw.value.audience;
        let printable = audience.value.bytes().all(|byte| byte.is_ascii_graphic());
        if audience.value.is_empty() || !printable || audience.value.len() > LONGEST_AUDIENCE {
            let help = "write the name by which the server knows itself, such as `https://tools.example.org`";
            self.mistakes.add(&audience.span, "this is not an audience", help);
        }
        let default = IdentityConfig::DEFAULT_LIFETIME.as_secs();
        let lifetime = self.duration(raw.value.lifetime.as_ref(), default, 10, 300);
        Some(IdentityConfig { audience: audience.value.clone(), lifetime })
    }

    /// An audience is one server's and not the gateway's own: whoever takes tokens of an audience can show them where else
    /// it counts.
    pub(super) fn audiences(
        &mut self,
        raw: &BTreeMap<At<String>, At<raw::Server>>,
        servers: &BTreeMap<ServerName, ServerConfig>,
        own: Option<&str>,
    ) {
        let mut known: BTreeMap<&str, (&ServerName, url::Origin)> = BTreeMap::new();
        for (name, server) in servers {
            let ServerKind::Http(http) = &server.kind else { continue };
            let Some(forward) = &http.forward_identity else { continue };
            let there = raw.iter().find(|(key, _)| key.value == name.as_str());
            let Some(at) = there.and_then(|(_, server)| server.value.forward_identity.as_ref()) else {
                continue;
            };
            let at = &at.value.audience;
            if own == Some(forward.audience.as_str()) {
                let help = "write the tool server's own name: the session tokens have `session.audience`";
                self.mistakes.add(&at.span, "this is the audience of session tokens", help);
            }
            let (first, origin) = known.entry(&forward.audience).or_insert_with(|| (name, http.url.origin()));
            if *origin != http.url.origin() {
                let message = format!("the server `{first}` elsewhere has this audience too");
                let help = "give each an audience of its own: either could show the other the tokens that it is sent";
                self.mistakes.add(&at.span, message, help);
            }
        }
    }
}

/// Whether a URL's host is this machine, by its address or the one name that is always its.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, ConfigError, Environment, Purpose};

    fn parse(servers: &str) -> Result<Config, Vec<String>> {
        let env = Environment::of([("HOME", "/home/u"), ("KEY", "k3y")]);
        let text = format!("session: {{ audience: own }}\nservers:\n{servers}");
        Config::parse("chancery.yaml", &text, Path::new("/base"), Purpose::Run, &env).map_err(|error| {
            match error {
                ConfigError::Many(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
                other => vec![other.to_string()],
            }
        })
    }

    fn http(config: &Config, name: &str) -> crate::proxy::config::HttpConfig {
        match &config.servers[&name.parse::<ServerName>().unwrap()].kind {
            ServerKind::Http(http) => http.clone(),
            ServerKind::Child(_) => panic!("a command"),
        }
    }

    #[test]
    fn a_server_is_told_who_calls_under_its_audience() {
        let config = parse(
            "  a: { url: 'https://a.example/mcp', forward_identity: { audience: 'https://a.example' } }\n  \
             b: { url: 'http://127.0.0.1:1/', forward_identity: { audience: b, lifetime: 5m } }\n  \
             c: { url: 'https://a.example/other', forward_identity: { audience: 'https://a.example' } }\n",
        )
        .unwrap();
        let told = |name| http(&config, name).forward_identity.map(|f| (f.audience, f.lifetime.as_secs()));
        assert_eq!(told("a"), Some(("https://a.example".to_owned(), 60)));
        assert_eq!(told("b"), Some(("b".to_owned(), 300)));
        assert_eq!(told("c"), told("a"), "of one origin");
    }

    #[test]
    fn an_identity_never_goes_where_others_could_take_it() {
        let x = "forward_identity: { audience: x }";
        for (servers, mistake) in [
            (format!("  a: {{ url: 'http://tools.example/', {x} }}"), "plain http"),
            (format!("  a: {{ url: 'http://10.0.0.1/', {x} }}"), "plain http"),
            (format!("  a: {{ url: 'http://localhost.evil.example/', {x} }}"), "plain http"),
            (format!("  a: {{ command: tool, {x} }}"), "no meaning beside `command`"),
            (
                format!("  a: {{ url: 'https://a/', headers: {{ authorization: k }}, {x} }}"),
                "no place beside",
            ),
            ("  a: { url: 'https://a/', forward_identity: { audience: '' } }".to_owned(), "not an audience"),
            (
                "  a: { url: 'https://a/', forward_identity: { audience: 'a b' } }".to_owned(),
                "not an audience",
            ),
            ("  a: { url: 'https://a/', forward_identity: { audience: own } }".to_owned(), "session tokens"),
            (
                "  a: { url: 'https://a/', forward_identity: { audience: x, lifetime: 1h } }".to_owned(),
                "out of bounds",
            ),
            (
                format!("  a: {{ url: 'https://a/', {x} }}\n  b: {{ url: 'https://b/', {x} }}"),
                "`a` elsewhere has this audience",
            ),
        ] {
            let mistakes = parse(&servers).unwrap_err();
            assert!(mistakes.iter().any(|m| m.contains(mistake)), "{servers}: {mistakes:?}");
            assert_eq!(mistakes.len(), 1, "{servers}: {mistakes:?}");
        }
    }

    #[test]
    fn a_header_comes_from_the_file_the_environment_or_a_file_of_its_own() {
        let config = parse(
            "  a: { url: 'http://tools.example/', headers: { Authorization: { file: ./token, prefix: 'Bearer ' }, \
             X-Key: '${KEY}' } }",
        )
        .unwrap();
        let headers = http(&config, "a").headers;
        assert!(matches!(&headers["Authorization"], HeaderSource::File { path, prefix }
            if path == Path::new("/base/token") && prefix == "Bearer "));
        assert!(matches!(&headers["X-Key"], HeaderSource::Text(text) if text.expose() == "k3y"));
        assert!(!format!("{config:?}").contains("k3y"));
        let unknown = parse("  a: { url: 'https://a/', headers: { X: { flie: t } } }").unwrap_err();
        assert_eq!(unknown, ["unknown key `flie`"]);
    }
}
