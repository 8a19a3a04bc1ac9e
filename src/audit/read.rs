//! How records are read back. Fields that verification does not need are not looked at; a field given twice, or
//! a statement with fields of its own, is refused.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::attest::{PREDICATE_PREFIX, PREDICATE_SUFFIX, STATEMENT_TYPE};
use crate::domain::clock::Timestamp;
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::{GatewayRunId, SessionId, TokenId};

/// Longest name of a kind, in bytes; ours are far below it.
const MAX_KIND: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement<'a> {
    #[serde(rename = "_type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    subject: Vec<Subject<'a>>,
    #[serde(rename = "predicateType", borrow)]
    predicate_type: Cow<'a, str>,
    #[serde(borrow)]
    predicate: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject<'a> {
    #[serde(rename = "name", borrow)]
    _name: Cow<'a, str>,
    digest: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Digest {
    sha256: Sha256Digest,
}

/// What every record says, whatever its kind.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    pub(super) session: Option<SessionId>,
    pub(super) seq: u64,
    pub(super) previous: Option<Sha256Digest>,
    time: String,
    pub(super) gateway: Gateway,
}

#[derive(Debug, Deserialize)]
pub(super) struct Gateway {
    pub(super) id: String,
    pub(super) run: GatewayRunId,
}

/// A statement as read; `body` is its predicate's text.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) kind: String,
    pub(super) subject: Sha256Digest,
    pub(super) header: Header,
    pub(super) time: Timestamp,
    pub(super) time_text: String,
    body: &'a str,
}

impl<'a> Record<'a> {
    /// Reads a payload.
    ///
    /// # Errors
    /// In words: what it is not.
    pub(super) fn read(payload: &'a [u8]) -> Result<Self, String> {
        let statement: Statement<'a> =
            serde_json::from_slice(payload).map_err(|error| format!("not an in-toto Statement: {error}"))?;
        if statement.kind != STATEMENT_TYPE {
            return Err(format!("its `_type` is not {STATEMENT_TYPE}"));
        }
        let kind = statement.predicate_type.strip_prefix(PREDICATE_PREFIX);
        let Some(kind) = kind.and_then(|rest| rest.strip_suffix(PREDICATE_SUFFIX)) else {
            return Err(format!("its predicateType is not {PREDICATE_PREFIX}<kind>{PREDICATE_SUFFIX}"));
        };
        if kind.len() > MAX_KIND {
            return Err(format!("its kind is longer than {MAX_KIND} bytes"));
        }
        let [subject] = statement.subject.as_slice() else {
            return Err(format!("{} subjects where there must be one", statement.subject.len()));
        };
        let body = statement.predicate.get();
        let mut header: Header =
            serde_json::from_str(body).map_err(|error| format!("its predicate can't be read: {error}"))?;
        let time_text = std::mem::take(&mut header.time);
        let time = Timestamp::parse_rfc3339(&time_text).ok_or("its time is not RFC 3339")?;
        Ok(Self { kind: kind.to_owned(), subject: subject.digest.sha256, header, time, time_text, body })
    }

    /// What this kind of record says.
    ///
    /// # Errors
    /// In words: what is missing.
    pub(super) fn body<T: Deserialize<'a>>(&self) -> Result<T, String> {
        serde_json::from_str(self.body).map_err(|error| format!("its predicate can't be read: {error}"))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Token {
    pub(super) jti: TokenId,
    pub(super) kid: String,
    pub(super) sha256: Sha256Digest,
}

#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) sub: String,
    pub(super) sid: SessionId,
    pub(super) aud: Vec<String>,
    pub(super) iat: i64,
    pub(super) nbf: i64,
    pub(super) exp: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Open {
    pub(super) token: Token,
    pub(super) key: Key,
    pub(super) claims: Claims,
    pub(super) policy_set: Sha256Digest,
    pub(super) schema: Sha256Digest,
}

#[derive(Debug, Deserialize)]
pub(super) struct Renew {
    pub(super) token: Token,
    pub(super) key: Key,
    pub(super) claims: Claims,
}

#[derive(Debug, Deserialize)]
pub(super) struct Identity {
    pub(super) token: Token,
    pub(super) key: Key,
    pub(super) claims: IdentityClaims,
}

#[derive(Debug, Deserialize)]
pub(super) struct IdentityClaims {
    pub(super) iss: String,
    pub(super) sub: String,
    pub(super) sid: SessionId,
    pub(super) aud: String,
    pub(super) iat: i64,
    pub(super) nbf: i64,
    pub(super) exp: i64,
}

impl From<IdentityClaims> for Claims {
    fn from(claims: IdentityClaims) -> Self {
        let IdentityClaims { iss, sub, sid, aud, iat, nbf, exp } = claims;
        let aud = if aud.is_empty() { Vec::new() } else { vec![aud] };
        Self { iss, sub, sid, aud, iat, nbf, exp }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Effect {
    Allow,
    Deny,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Decision {
    pub(super) effect: Effect,
    pub(super) from: String,
    pub(super) token: Option<Token>,
    pub(super) policy_set: Sha256Digest,
    pub(super) schema: Sha256Digest,
    pub(super) request: Request,
}

#[derive(Debug, Deserialize)]
pub(super) struct Request {
    pub(super) received: Sha256Digest,
    pub(super) forwarded: Option<Sha256Digest>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Key {
    pub(super) kid: String,
    pub(super) chain: Sha256Digest,
    pub(super) bundle: Sha256Digest,
    pub(super) not_before: String,
    pub(super) not_after: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Start {
    pub(super) key: Key,
    pub(super) durability: String,
    pub(super) after: Option<Sha256Digest>,
    pub(super) torn_tail: Option<Torn>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Torn {
    pub(super) bytes: u64,
    pub(super) segment: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Stop {
    pub(super) records: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyChange {
    pub(super) previous_key: String,
    pub(super) key: Key,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PolicyChange {
    pub(super) policy_set: Sha256Digest,
    pub(super) schema: Sha256Digest,
    pub(super) files: Vec<PolicyFile>,
    /// The set that decided before, by what it says.
    pub(super) replaces: Option<Sha256Digest>,
    pub(super) shadow: Option<ShadowSet>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShadowSet {
    pub(super) policy_set: Sha256Digest,
    pub(super) files: Vec<PolicyFile>,
}

#[derive(Debug, Deserialize)]
pub(super) struct PolicyFile {
    pub(super) name: String,
    pub(super) sha256: Sha256Digest,
}

#[derive(Debug, Deserialize)]
pub(super) struct Refusals {
    pub(super) refusals: Vec<Refusal>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
    pub(super) count: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Gap {
    pub(super) since: String,
    pub(super) until: String,
    pub(super) refused: u64,
    pub(super) lost: u64,
    pub(super) cause: String,
}
