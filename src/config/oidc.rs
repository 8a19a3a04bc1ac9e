//! `admission.oidc`: the issuers whose bearer tokens are accepted.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::located::At;
use super::resolve::Resolver;
use super::texts::Texts;
use super::upstream::is_loopback;
use crate::admission::{Algorithm, GroupsConfig, OidcConfig};

/// An issuer whose bearer tokens (JWT access tokens, RFC 9068) are accepted on HTTP.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Oidc {
    /// The `iss` of its tokens, to the letter, such as `https://login.example.org/realms/main`.
    issuer: At<String>,
    /// This gateway's name at the issuer, or a list of names: a token's `aud` must have one of them.
    audience: Texts,
    /// Where its keys are. Default: where `<issuer>/.well-known/openid-configuration` says, else RFC 8414's metadata.
    jwks_url: Option<At<String>>,
    /// Signature algorithms that are accepted, of `ES256`, `RS256` and `EdDSA`; all three by default.
    #[serde(default)]
    algorithms: Vec<At<String>>,
    /// Claims that must have this value, or have it in their list.
    #[serde(default)]
    required_claims: BTreeMap<String, String>,
    /// Scopes that a token must have, all of them; one that lacks any is answered with 403 `insufficient_scope`.
    #[serde(default)]
    scopes: Vec<At<String>>,
    /// The claim whose list becomes groups in policies.
    groups: Option<Groups>,
    /// Claims that go on into the session's token and, as tags of the agent, to policies. None by default: they may be
    /// personal data, and whoever holds a session's token can read them.
    #[serde(default)]
    claims: Vec<At<String>>,
    /// Fetch its keys by plain HTTP too: for tests and labs. Off by default.
    #[serde(default)]
    allow_http: bool,
    /// Fetch its keys from private and loopback addresses too: for issuers of one's own network. Off by default.
    #[serde(default)]
    allow_private: bool,
}

/// The claim whose list becomes groups in policies.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Groups {
    /// The claim's name, such as `groups`: a list of names, or one name.
    claim: At<String>,
    /// What stands before each name in policies: `oidc:` by default, so that `staff` is `Mcp::Group::"oidc:staff"`.
    prefix: Option<At<String>>,
}

impl Groups {
    fn prefix(&self) -> &str {
        self.prefix.as_ref().map_or(DEFAULT_PREFIX, |prefix| &prefix.value)
    }

    /// Whether a group of the one may have the name of one of the other, and nobody has written that they are the same.
    fn meets(&self, other: &Self) -> bool {
        let (a, b) = (self.prefix(), other.prefix());
        let same = a == b && self.prefix.is_some() && other.prefix.is_some();
        !same && (a.starts_with(b) || b.starts_with(a))
    }
}

impl Resolver<'_> {
    pub(super) fn oidc(&mut self, raw: &[At<Oidc>]) -> Vec<OidcConfig> {
        self.groups_apart(raw);
        raw.iter().map(|entry| self.issuer(&entry.value, entry)).collect()
    }

    /// Two issuers name the same groups only where that is written out for both: else whoever names the groups of the one
    /// could put people into those of the other.
    fn groups_apart(&mut self, raw: &[At<Oidc>]) {
        for (at, entry) in raw.iter().enumerate() {
            let Some(groups) = &entry.value.groups else { continue };
            let before =
                raw.iter().take(at).filter(|other| other.value.issuer.value != entry.value.issuer.value);
            let meets =
                |other: &&At<Oidc>| other.value.groups.as_ref().is_some_and(|other| other.meets(groups));
            if let Some(other) = before.into_iter().find(meets) {
                let message = format!("`{}` could name these groups too", other.value.issuer.value);
                let help = "give each issuer's groups a `prefix` that no other begins with, such as `staff:` and \
                            `partners:`; where both are to name the same groups, write the same `prefix` for both";
                self.mistakes.add(&groups.claim.span, message, help);
            }
        }
    }

    fn issuer(&mut self, raw: &Oidc, at: &At<Oidc>) -> OidcConfig {
        let issuer = self.issuers_url(&raw.issuer, raw.allow_http);
        let own_url = issuer.clone();
        if issuer.is_some_and(|url| url.query().is_some() || url.fragment().is_some()) {
            self.mistakes.add(&raw.issuer.span, "an issuer has neither query nor fragment", ISSUER_HELP);
        }
        let audiences: Vec<_> = raw.audience.0.iter().map(|audience| audience.value.clone()).collect();
        if audiences.is_empty() || audiences.iter().any(String::is_empty) {
            let help = "write the name that the issuer puts into `aud` for this gateway; without one, tokens for any \
                        other service would be taken";
            self.mistakes.add(&at.span, "`audience` names nothing", help);
        }
        let jwks_url = raw.jwks_url.as_ref().and_then(|url| self.issuers_url(url, raw.allow_http));
        let asked = if raw.jwks_url.is_some() { jwks_url.clone() } else { own_url };
        let at_key = raw.jwks_url.as_ref().unwrap_or(&raw.issuer);
        if !raw.allow_private && asked.is_some_and(|url| is_loopback(&url)) {
            let message = format!("keys are not fetched from this machine's own `{}`", at_key.value);
            let help = "for an issuer on this machine write `allow_private: true` beside it, and for plain http \
                        `allow_http: true` too";
            self.mistakes.add(&at_key.span, message, help);
        }
        let mut algorithms: Vec<_> = raw.algorithms.iter().filter_map(|name| self.algorithm(name)).collect();
        if raw.algorithms.is_empty() {
            algorithms = Algorithm::ALL.to_vec();
        }
        for scope in &raw.scopes {
            // RFC 6749 §3.3: what can stand in a scope, and so in a quoted header.
            let token = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
            if scope.value.is_empty() || !scope.value.bytes().all(token) {
                let help = "write one scope an item, without spaces and quotes";
                self.mistakes.add(&scope.span, format!("`{}` is not a scope", scope.value), help);
            }
        }
        OidcConfig {
            issuer: raw.issuer.value.clone(),
            audiences,
            jwks_url,
            algorithms,
            required_claims: raw.required_claims.clone(),
            scopes: raw.scopes.iter().map(|scope| scope.value.clone()).collect(),
            groups: raw.groups.as_ref().map(|groups| self.groups(groups)),
            claims: self.claims(&raw.claims),
            allow_http: raw.allow_http,
            allow_private: raw.allow_private,
        }
    }

    fn issuers_url(&mut self, text: &At<String>, allow_http: bool) -> Option<Url> {
        // Addresses are told in errors, so no password may stand in one.
        let bare = |url: &Url| url.username().is_empty() && url.password().is_none();
        let url = Url::parse(&text.value).ok().filter(|url| url.has_host() && bare(url));
        match url {
            Some(url) if url.scheme() == "https" || (url.scheme() == "http" && allow_http) => Some(url),
            Some(url) if url.scheme() == "http" => {
                let help = "whoever is on the way could put keys of their own into it: use https (or, in a lab, \
                            `allow_http: true`, and for an address of this machine `allow_private: true` too)";
                self.mistakes.add(&text.span, format!("`{}` is not https", text.value), help);
                None
            }
            _ => {
                self.mistakes.add(&text.span, format!("`{}` is not an https URL", text.value), ISSUER_HELP);
                None
            }
        }
    }

    fn algorithm(&mut self, name: &At<String>) -> Option<Algorithm> {
        let known = Algorithm::named(&name.value);
        if known.is_none() {
            let help = "write any of ES256, RS256, EdDSA";
            self.mistakes.add(&name.span, format!("`{}` is not accepted", name.value), help);
        }
        known
    }

    fn claims(&mut self, raw: &[At<String>]) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for name in raw {
            let fit =
                !name.value.is_empty() && name.value.len() <= 64 && !name.value.chars().any(char::is_control);
            if !fit || names.contains(&name.value) || names.len() == MAX_CLAIMS {
                let help = "write up to 16 names of claims, each once, such as `department`";
                self.mistakes.add(
                    &name.span,
                    format!("`{}` can't be let through", name.value.escape_debug()),
                    help,
                );
                continue;
            }
            names.push(name.value.clone());
        }
        names
    }

    fn groups(&mut self, raw: &Groups) -> GroupsConfig {
        let prefix = raw.prefix();
        if let Some(written) = raw.prefix.as_ref().filter(|_| !GroupsConfig::is_fit(prefix)) {
            let help = "end it with `:` or `/`, such as `staff:`; `uid:` and `spiffe:` are the gateway's own";
            self.mistakes.add(&written.span, format!("`{prefix}` can't stand before groups"), help);
        }
        if raw.claim.value.is_empty() {
            self.mistakes.add(
                &raw.claim.span,
                "`claim` names nothing",
                "write the claim's name, such as `groups`",
            );
        }
        GroupsConfig { claim: raw.claim.value.clone(), prefix: prefix.to_owned() }
    }

    /// The URL by which clients know the gateway, without a slash at its end.
    pub(super) fn public_url(&mut self, text: &At<String>) -> Option<String> {
        let url = Url::parse(&text.value).ok();
        let origin = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let origin = origin.map(|url| url.origin().ascii_serialization());
        if origin.as_deref() != Some(text.value.trim_end_matches('/')) {
            let help = "write scheme, host and port only, such as `https://mcp.example.org`";
            self.mistakes.add(&text.span, format!("`{}` is not such a URL", text.value), help);
        }
        origin
    }
}

/// What stands before groups where nothing else is configured.
const DEFAULT_PREFIX: &str = "oidc:";

/// Claims of one issuer that go on.
const MAX_CLAIMS: usize = 16;

const ISSUER_HELP: &str = "write it as it stands in the tokens' `iss`, such as `https://login.example.org`";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Config, ConfigError, Environment, Purpose};

    fn mistakes(oidc: &str) -> String {
        let text = format!(
            "listen: {{ tcp: \"127.0.0.1:0\" }}\nservers: {{ a: {{ command: a }} }}\nadmission: {{ oidc: [{oidc}] }}\n"
        );
        let env = Environment::of([("HOME", "/home/u")]);
        match Config::parse("x.yaml", &text, Path::new("/etc"), Purpose::Serve, &env) {
            Ok(_) => String::new(),
            Err(ConfigError::Many(many)) => many.iter().map(ToString::to_string).collect(),
            Err(other) => other.to_string(),
        }
    }

    #[test]
    fn an_issuer_names_no_groups_of_another_unless_both_are_said_to() {
        let issuer = |name: &str, groups: &str| {
            format!("{{ issuer: \"https://{name}\", audience: us, groups: {{ claim: groups{groups} }} }}")
        };
        for (first, second, apart) in [
            (issuer("a.org", ""), issuer("b.org", ""), false),
            (issuer("a.org", ""), issuer("b.org", ", prefix: \"oidc:\""), false),
            (issuer("a.org", ""), issuer("b.org", ", prefix: \"oidc:b:\""), false),
            (issuer("a.org", ", prefix: \"a/b/\""), issuer("b.org", ", prefix: \"a/\""), false),
            (issuer("a.org", ""), issuer("b.org", ", prefix: \"b:\""), true),
            (issuer("a.org", ", prefix: \"x:\""), issuer("b.org", ", prefix: \"x:\""), true),
            (issuer("a.org", ""), issuer("a.org", ""), true),
            (issuer("a.org", ""), "{ issuer: \"https://b.org\", audience: us }".to_owned(), true),
        ] {
            let found = mistakes(&format!("{first}, {second}"));
            assert_eq!(
                found.contains("`https://a.org` could name these groups too"),
                !apart,
                "{second}: {found}"
            );
            assert_eq!(found.is_empty(), apart, "{second}: {found}");
        }
    }

    #[test]
    fn an_issuers_address_holds_no_credentials() {
        for url in ["https://u@a.org", "https://u:p4ss@a.org", "https://:p4ss@a.org"] {
            let found =
                mistakes(&format!("{{ issuer: \"https://a.org\", audience: us, jwks_url: \"{url}\" }}"));
            assert!(found.contains("is not an https URL"), "{url}: {found}");
        }
    }
}
