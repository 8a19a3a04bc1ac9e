//! How a caller learns that something was not let through: JSON-RPC errors, always in answer to the request.
//!
//! Codes outside the ranges that JSON-RPC and MCP reserve say what kind of refusal it is (403, 404, 429, 503); the
//! sentence for a person stands in `message`, because some clients show nothing else.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use crate::domain::decision::PolicyRef;
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::DecisionId;
use crate::domain::refusal::DenyReason;
use crate::wire::{RequestId, replies};

/// JSON-RPC 2.0 §5.1: the JSON is not a request that may be served.
pub(super) const INVALID_REQUEST: i64 = -32600;
/// JSON-RPC 2.0 §5.1: there is no such method.
pub(super) const METHOD_NOT_FOUND: i64 = -32601;
/// JSON-RPC 2.0 §5.1: the params are wrong; the reference servers say it of unknown tools.
pub(super) const INVALID_PARAMS: i64 = -32602;

/// The error code that a caller is told.
pub(super) const fn code(reason: DenyReason) -> i64 {
    match reason {
        DenyReason::Forbidden
        | DenyReason::NotPermitted
        | DenyReason::ForbidError
        | DenyReason::NoPolicy
        | DenyReason::ToolQuarantined => 403,
        DenyReason::UnknownTool | DenyReason::InvalidInput => INVALID_PARAMS,
        DenyReason::Malformed | DenyReason::DuplicateId => INVALID_REQUEST,
        DenyReason::SessionOver | DenyReason::EvidenceMismatch => 404,
        DenyReason::Limited => 429,
        DenyReason::AttestationFailed | DenyReason::SignerUnavailable | DenyReason::UpstreamUnavailable => {
            503
        }
    }
}

/// The sentence that a caller is told where no policy gives one.
pub(super) fn sentence(reason: DenyReason) -> &'static str {
    match reason {
        DenyReason::Forbidden => "A policy forbids this.",
        DenyReason::NotPermitted => "No policy permits this.",
        DenyReason::ForbidError => {
            "A policy that forbids could not be evaluated for this request, so it is refused."
        }
        DenyReason::UnknownTool => "Unknown tool",
        DenyReason::ToolQuarantined => {
            "This tool is held back: its definition is not one that was approved. Whoever runs the gateway can \
             approve it (chancery policy approve)."
        }
        DenyReason::InvalidInput => {
            "The arguments do not fit the tool's schema, or can't be represented exactly."
        }
        DenyReason::NoPolicy => "No policies are loaded, so everything is refused.",
        DenyReason::Malformed => "The message can't be accepted in this form.",
        DenyReason::DuplicateId => "A request with this id is already under way.",
        DenyReason::AttestationFailed => {
            "The decision could not be recorded, so nothing was forwarded. Try again later."
        }
        DenyReason::SignerUnavailable => {
            "The gateway has no signing identity at the moment, so nothing was forwarded. Try again later."
        }
        DenyReason::SessionOver | DenyReason::EvidenceMismatch => {
            "The session is over. Initialize a new one."
        }
        DenyReason::Limited => "Too much at once, or the policies changed in between. Try again later.",
        DenyReason::UpstreamUnavailable => "The tool server is gone or did not answer.",
    }
}

/// Everything that is told of one denial.
#[derive(Debug)]
pub(super) struct Denial<'a> {
    pub id: Option<&'a RequestId>,
    pub reason: DenyReason,
    /// The refusal's own sentence, where there is a better one than the reason's.
    pub detail: Option<&'a str>,
    /// The tool that is to look unknown.
    pub unknown_tool: Option<&'a str>,
    pub decision: Option<DecisionId>,
    pub policies: &'a [PolicyRef],
    pub attestation: Option<Sha256Digest>,
    /// When to ask again, where that is known.
    pub retry_after: Option<Duration>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision_id: Option<DecisionId>,
    reasons: Vec<Reason<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attestation: Option<Sha256Digest>,
    /// Milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reason<'a> {
    policy_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a Arc<str>>,
}

impl<'a> Denial<'a> {
    /// A denial without a decision of its own.
    pub(super) fn plain(id: Option<&'a RequestId>, reason: DenyReason) -> Self {
        Self {
            id,
            reason,
            detail: None,
            unknown_tool: None,
            decision: None,
            policies: &[],
            attestation: None,
            retry_after: None,
        }
    }

    /// The complete JSON-RPC error. A tool that is to look unknown gets the same answer as one that is: the
    /// same code and sentence, no reasons.
    pub(super) fn reply(&self) -> Bytes {
        if let Some(tool) = self.unknown_tool {
            let data = Data {
                reason: None,
                decision_id: self.decision,
                reasons: Vec::new(),
                attestation: self.attestation,
                retry_after_ms: None,
            };
            let message = format!("Unknown tool: {tool}");
            return replies::error(self.id, INVALID_PARAMS, &message, Some(&data));
        }
        let reasons = self.policies.iter();
        let reasons = reasons.map(|p| Reason { policy_id: &p.id, reason: p.reason.as_ref() }).collect();
        let data = Data {
            reason: Some(self.reason.as_str()),
            decision_id: self.decision,
            reasons,
            attestation: self.attestation,
            retry_after_ms: self.retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        };
        let from_policy = self.policies.iter().find_map(|policy| policy.reason.as_deref());
        let message = from_policy.or(self.detail).unwrap_or_else(|| sentence(self.reason));
        replies::error(self.id, code(self.reason), message, Some(&data))
    }
}

/// The answer to `server/discover`, the probe of revision 2026-07-28, so that today's clients fall back to the
/// handshake. It goes out at HTTP 200, with or without a session.
pub fn discover_reply(id: Option<&RequestId>) -> Bytes {
    replies::error(id, METHOD_NOT_FOUND, "Method not found: server/discover", None::<&()>)
}

/// The answer to a request without a session where one is needed.
pub fn no_session_reply(id: Option<&RequestId>) -> Bytes {
    replies::error(id, INVALID_REQUEST, "No session: send `initialize` first.", None::<&()>)
}

/// The answer to a request whose tool server is gone or never answered.
pub fn upstream_unavailable_reply(id: Option<&RequestId>) -> Bytes {
    Denial::plain(id, DenyReason::UpstreamUnavailable).reply()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_denial_says_the_policys_reason_and_names_every_policy() {
        let id = RequestId::Integer(7);
        let policy = |id: &str, reason: Option<&str>| PolicyRef {
            id: id.into(),
            digest: Sha256Digest::of(b"p"),
            reason: reason.map(Into::into),
        };
        let policies = [policy("a.cedar:1", None), policy("no-writes", Some("Nobody writes here."))];
        let denial = Denial { policies: &policies, ..Denial::plain(Some(&id), DenyReason::Forbidden) };
        let expected = concat!(
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":403,"message":"Nobody writes here.","#,
            r#""data":{"reason":"forbidden","reasons":[{"policyId":"a.cedar:1"},"#,
            r#"{"policyId":"no-writes","reason":"Nobody writes here."}]}}}"#
        );
        assert_eq!(text(&denial.reply()), expected);
    }

    #[test]
    fn a_hidden_tool_answers_exactly_like_an_unknown_one() {
        let id = RequestId::Integer(7);
        let hidden = Denial { unknown_tool: Some("x"), ..Denial::plain(Some(&id), DenyReason::NotPermitted) };
        let unknown = Denial { unknown_tool: Some("x"), ..Denial::plain(Some(&id), DenyReason::UnknownTool) };
        assert_eq!(hidden.reply(), unknown.reply());
        assert!(text(&hidden.reply()).contains(r#""code":-32602,"message":"Unknown tool: x""#));
    }

    #[test]
    fn no_reason_is_told_by_a_code_that_others_reserve_for_something_else() {
        for reason in DenyReason::ALL {
            let code = code(*reason);
            assert!(matches!(code, 403 | 404 | 429 | 503 | -32600 | -32602), "{reason}: {code}");
            assert!(!sentence(*reason).is_empty());
        }
    }
}
