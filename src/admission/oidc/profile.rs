//! What one issuer's tokens must say, and what is believed of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::error::BearerError;
use super::jwk::Algorithm;
use super::jwt::{Jwt, is_name};
use crate::domain::clock::Timestamp;
use crate::domain::evidence::{OidcEvidence, PassedClaims};

/// How far in the future `iat` and `nbf` may lie: the issuer has a clock of its own.
const LEEWAY: Duration = Duration::from_secs(30);

/// Groups of one token.
const MAX_GROUPS: usize = 512;

/// Bytes of all names and values of the claims that are let through: they go into a header with the session's token.
const MAX_PASSED: usize = 1024;

/// An issuer whose tokens are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OidcConfig {
    /// The `iss` of its tokens, to the letter.
    pub issuer: String,
    /// A token must be for one of these.
    pub audiences: Vec<String>,
    /// Where its keys are; found by discovery when absent.
    pub jwks_url: Option<Url>,
    /// The signature algorithms that are accepted.
    pub algorithms: Vec<Algorithm>,
    /// Claims that must have this value, or hold it in their list.
    pub required_claims: BTreeMap<String, String>,
    /// Scopes that a token must have, all of them.
    pub scopes: Vec<String>,
    /// Where the groups are.
    pub groups: Option<GroupsConfig>,
    /// Claims that go on into the session's token, and to policies.
    pub claims: Vec<String>,
    /// Whether its keys may be fetched by plain HTTP.
    pub allow_http: bool,
    /// Whether its keys may be fetched from private and loopback addresses.
    pub allow_private: bool,
}

/// Where a token's groups are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupsConfig {
    /// The claim that lists them.
    pub claim: String,
    /// What stands before each of their names in policies.
    pub prefix: String,
}

impl GroupsConfig {
    /// Whether a prefix keeps an issuer's groups apart from those that the gateway itself makes (`peer`, `uid:0`,
    /// `spiffe://…`), whatever names the issuer gives.
    pub fn is_fit(prefix: &str) -> bool {
        prefix.ends_with([':', '/'])
            && prefix.len() > 1
            && prefix.len() <= 64
            && !prefix.chars().any(char::is_control)
            && !prefix.starts_with("uid:")
            && !prefix.starts_with("spiffe:")
    }
}

impl OidcConfig {
    /// Judges all that needs no key.
    pub(super) fn judge(&self, jwt: &Jwt<'_>, now: Timestamp) -> Result<(), BearerError> {
        if !self.algorithms.contains(&jwt.algorithm()) {
            return Err(BearerError::Algorithm);
        }
        let for_us = |audience: &str| self.audiences.iter().any(|ours| ours == audience);
        match jwt.claim("aud") {
            Some(Value::String(audience)) if for_us(audience) => {}
            Some(Value::Array(audiences)) => {
                let texts: Option<Vec<_>> = audiences.iter().map(Value::as_str).collect();
                if !texts.ok_or(BearerError::Claims)?.into_iter().any(for_us) {
                    return Err(BearerError::Audience);
                }
            }
            Some(Value::String(_)) => return Err(BearerError::Audience),
            _ => return Err(BearerError::Claims),
        }
        // RFC 7519 §4.1.4: on or after `exp` it must not be accepted; no leeway.
        if now.as_millis() >= jwt.expires().as_millis() {
            return Err(BearerError::Expired);
        }
        let latest = now.plus(LEEWAY).as_secs();
        for claim in ["nbf", "iat"] {
            if jwt.time(claim)?.is_some_and(|at| at > latest) {
                return Err(BearerError::NotYetValid);
            }
        }
        if jwt.name("sub")?.is_none() {
            return Err(BearerError::Claims);
        }
        if jwt.claim("cnf").is_some() {
            return Err(BearerError::SenderConstrained);
        }
        let demanded = |(name, wanted): (&String, &String)| match jwt.claim(name) {
            Some(Value::Array(list)) => list.iter().any(|item| says(item, wanted)),
            Some(value) => says(value, wanted),
            None => false,
        };
        if !self.required_claims.iter().all(demanded) {
            return Err(BearerError::RequiredClaim);
        }
        Ok(())
    }

    /// What a verified token proves.
    pub(super) fn evidence(&self, jwt: &Jwt<'_>) -> Result<OidcEvidence, BearerError> {
        let subject = jwt.name("sub")?.ok_or(BearerError::Claims)?;
        let client = match jwt.name("azp")? {
            Some(client) => Some(client),
            None => jwt.name("client_id")?,
        };
        let scopes = scopes(jwt)?;
        if !self.scopes.iter().all(|scope| scopes.contains(scope)) {
            return Err(BearerError::Scope);
        }
        let groups = match &self.groups {
            Some(groups) => read_groups(jwt, groups)?,
            None => Vec::new(),
        };
        Ok(OidcEvidence {
            issuer: self.issuer.as_str().into(),
            subject: subject.into(),
            client: client.map(Arc::from),
            groups: groups.into(),
            scopes: scopes.into(),
            claims: Arc::new(passed(jwt, &self.claims)?),
            token_sha256: jwt.sha256(),
        })
    }
}

/// Whether a claim's value is the one that the configuration spells: a text, a truth value or a whole number.
fn says(value: &Value, wanted: &str) -> bool {
    match value {
        Value::String(text) => text == wanted,
        Value::Bool(true) => wanted == "true",
        Value::Bool(false) => wanted == "false",
        Value::Number(number) => number.as_i64().is_some_and(|number| wanted.parse() == Ok(number)),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// `scope` (RFC 9068 §2.2.3), or `scp` as some issuers call it, there also as a list.
fn scopes(jwt: &Jwt<'_>) -> Result<Vec<String>, BearerError> {
    match jwt.claim("scope").or_else(|| jwt.claim("scp")) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(text.split_ascii_whitespace().map(str::to_owned).collect()),
        Some(Value::Array(list)) => {
            let texts: Option<_> = list.iter().map(|item| item.as_str().map(str::to_owned)).collect();
            texts.ok_or(BearerError::Claims)
        }
        Some(_) => Err(BearerError::Claims),
    }
}

/// The claims that are let through. What can't be read whole admits nobody: a policy may forbid by claim.
fn passed(jwt: &Jwt<'_>, names: &[String]) -> Result<PassedClaims, BearerError> {
    let text = |value: &Value| match value {
        Value::String(text) if !text.chars().any(char::is_control) => Some(text.clone()),
        Value::Bool(_) => Some(value.to_string()),
        Value::Number(number) if !number.is_f64() => Some(value.to_string()),
        _ => None,
    };
    let mut passed = PassedClaims::new();
    let mut bytes = 0;
    for name in names {
        if jwt.claim("_claim_names").is_some_and(|elsewhere| elsewhere.get(name).is_some()) {
            return Err(BearerError::PassedClaims);
        }
        let list = match jwt.claim(name) {
            None => continue,
            Some(Value::Array(list)) => list.as_slice(),
            Some(one) => std::slice::from_ref(one),
        };
        let texts: Option<BTreeSet<_>> = list.iter().map(text).collect();
        let texts = texts.ok_or(BearerError::PassedClaims)?;
        bytes += name.len() + texts.iter().map(|text| text.len() + 1).sum::<usize>();
        if bytes > MAX_PASSED {
            return Err(BearerError::PassedClaims);
        }
        passed.insert(name.clone(), texts.into_iter().collect());
    }
    Ok(passed)
}

/// Each once, in order. A list that can't be read whole admits nobody: a policy may forbid by group.
fn read_groups(jwt: &Jwt<'_>, config: &GroupsConfig) -> Result<Vec<String>, BearerError> {
    // OpenID Connect Core §5.6.2: the groups are elsewhere, and would look as if there were none.
    let elsewhere = jwt.claim("_claim_names").and_then(|names| names.get(&config.claim));
    let list = match (jwt.claim(&config.claim), elsewhere) {
        (Some(Value::Array(list)), None) if list.len() <= MAX_GROUPS => list.as_slice(),
        (Some(one @ Value::String(_)), None) => std::slice::from_ref(one),
        (None, None) => return Ok(Vec::new()),
        _ => return Err(BearerError::Groups),
    };
    let name = |item: &Value| {
        let name = item.as_str().filter(|name| is_name(name))?;
        Some(format!("{}{name}", config.prefix))
    };
    let names: Option<BTreeSet<_>> = list.iter().map(name).collect();
    Ok(names.ok_or(BearerError::Groups)?.into_iter().collect())
}
