//! The tool server's answer to `initialize`: the revision is known, the token is issued, the session's opening is
//! recorded, and only then the answer is delivered.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use crate::attest::predicate::{ClientRef, RequestRef, SessionOpen};
use crate::attest::{CloseReason, Predicate, Statement};
use crate::domain::digest::Sha256Digest;
use crate::domain::random;
use crate::domain::refusal::DenyReason;
use crate::domain::revision::Revision;
use crate::domain::secret::Secret;
use crate::token::IssuedToken;
use crate::wire::{Frame, Kind, RequestId, meta, replies};

use super::asked::Asked;
use super::changes::Declared;
use super::denial::{Denial, INVALID_REQUEST};
use super::renew;
use super::session::{Current, Handle, Phase, Shared, token_ref};
use super::verdict::ServerVerdict;

/// The gateway's entry in `InitializeResult._meta` on stdio, where no header can carry the token.
const META_KEY: &str = "chancery/session";

/// Why the handshake ends the session.
struct Failure {
    reason: &'static str,
    reply: bytes::Bytes,
}

impl Shared {
    pub(super) async fn complete_handshake(
        self: &Arc<Self>,
        id: RequestId,
        frame: Frame,
        asked: Asked,
    ) -> ServerVerdict {
        if frame.kind() == Kind::Error {
            asked.end(self, Some("jsonrpc_error"));
            return self.deliver_error(id, frame.bytes().clone(), true);
        }
        match self.open_session(&id, &frame).await {
            Ok(frame) => {
                asked.end(self, None);
                self.deliver_answer(id, frame.bytes().clone())
            }
            Err(failure) => {
                asked.end(self, Some(failure.reason));
                self.deliver_error(id, failure.reply, true)
            }
        }
    }

    async fn open_session(self: &Arc<Self>, id: &RequestId, frame: &Frame) -> Result<Frame, Failure> {
        let refuse = |reason: DenyReason| Failure {
            reason: reason.as_str(),
            reply: Denial::plain(Some(id), reason).reply(),
        };
        let revision = negotiated(id, frame)?;
        self.negotiate(revision);
        let issued = self.issue(&self.admitted).map_err(|error| {
            tracing::error!(target: "chancery::session", session = %self.id, %error, "no token could be issued");
            refuse(DenyReason::SignerUnavailable)
        })?;
        let answer = self.with_token(frame, &issued).map_err(|error| {
            tracing::warn!(target: "chancery::session", session = %self.id, %error, "the handshake's answer can't carry the session");
            let text = "The tool server's answer to `initialize` can't carry the session's entry.";
            Failure {
                reason: "handshake",
                reply: replies::error(Some(id), INVALID_REQUEST, text, None::<&()>),
            }
        })?;
        self.record_opening(&issued, revision, frame, &answer).await.map_err(refuse)?;
        let mut core = self.core.lock();
        if core.phase == Phase::Over {
            return Err(refuse(DenyReason::SessionOver));
        }
        core.phase = Phase::Open(revision);
        core.own.capable = has_tools(frame);
        if !core.own.capable {
            // Whatever was approved of it, it has no tools now.
            core.seen.finish();
        }
        core.shown.declare(Declared::by(frame));
        let kid = issued.key.id().clone();
        core.handle = Some(Handle { token: issued.token, sha256: issued.sha256, kid });
        // One live session for each bootstrap secret: this one takes the other's place, and only now that nothing can
        // fail any more. Under the lock, so that a session that ended meanwhile takes nobody's.
        let before = self.house.registry.claim_secret(self);
        drop(core);
        if let Some(before) = before {
            self.supersede(&before.shared);
        }
        tracing::info!(
            target: "chancery::session",
            session = %self.id,
            server = %self.route.server,
            principal = %self.admitted.principal(),
            protocol = revision.as_str(),
            transport = self.route.transport.as_str(),
            "session open"
        );
        Ok(answer)
    }

    /// Ends the session whose place this one takes.
    fn supersede(&self, before: &Self) {
        tracing::warn!(
            target: "chancery::session",
            session = %before.id,
            by = %self.id,
            "a session ends because another was opened with the same bootstrap secret: one secret holds one \
             session. Let the other client come over `listen.unix`, where each process may hold several, or give \
             it a gateway with a secret of its own: `chancery bootstrap new FILE`, and FILE as \
             `admission.bootstrap.file`"
        );
        let _written_later = before.end(CloseReason::Superseded);
    }

    /// From now on policies see the revision that was negotiated.
    fn negotiate(&self, revision: Revision) {
        let mut facts = self.core.lock().entities.facts().clone();
        facts.protocol = revision;
        let entities = Arc::new(self.house.parts.engines.current().session_principal(&facts));
        self.core.lock().entities = entities;
    }

    async fn record_opening(
        &self,
        issued: &IssuedToken,
        revision: Revision,
        came: &Frame,
        answer: &Frame,
    ) -> Result<(), DenyReason> {
        let salt = random::salt().map_err(|_no_random| DenyReason::AttestationFailed)?;
        let digest = |frame: &Frame| Sha256Digest::salted(&salt, frame.result().unwrap_or_default());
        let rewritten = came.bytes() != answer.bytes();
        let engine = self.house.parts.engines.current();
        let client = self.client.as_ref();
        let record = SessionOpen {
            token: token_ref(issued),
            key: Arc::clone(&issued.key),
            claims: renew::claims(&issued.claims),
            policy_set: engine.digest(),
            schema: engine.schema_digest(),
            client: client.map(|c| ClientRef { name: c.name.clone(), version: c.version.clone() }),
            protocol: revision.as_str().to_owned(),
            transport: self.route.transport.as_str().to_owned(),
            server: self.route.server.clone(),
            evidence: self.admitted.evidence().kind(),
            handshake: rewritten.then(|| RequestRef::unrecorded(digest(came), Some(digest(answer)))),
        };
        let appended = {
            let mut core = self.core.lock();
            if core.phase == Phase::Over {
                return Err(DenyReason::SessionOver);
            }
            let log = &self.house.parts.log;
            let appended =
                log.append(&self.chain, |link| Statement::new(Predicate::SessionOpen(record), link));
            // Every record after this one names the token, the refusal of what comes too early included.
            if appended.is_ok() {
                core.current = Some(Current::of(issued));
            }
            appended
        };
        let written = match appended {
            Ok(pending) => pending.await.map(drop),
            Err(error) => Err(error),
        };
        written.map_err(|error| {
            tracing::error!(target: "chancery::session", session = %self.id, %error, "the session's opening could not be recorded");
            error.deny_reason()
        })
    }

    /// On stdio the token stands in the result's `_meta`; over HTTP the proxy puts it into `Mcp-Session-Id`.
    fn with_token(&self, frame: &Frame, issued: &IssuedToken) -> Result<Frame, crate::wire::WireError> {
        if self.route.transport.has_handle() {
            return Ok(frame.clone());
        }
        let expires = issued.expires.to_rfc3339();
        let mut entry = json!({ "token": issued.token.expose(), "expiresAt": expires });
        if let (Some(jwks), Some(entry)) = (&self.route.jwks, entry.as_object_mut()) {
            entry.insert("jwks".to_owned(), (&**jwks).into());
        }
        let entry = Secret::new(entry.to_string());
        // The splice needs the text: the client is the token's rightful holder.
        meta::insert_result_meta(frame, META_KEY, entry.expose(), &self.house.parts.limits)
    }
}

fn negotiated(id: &RequestId, frame: &Frame) -> Result<Revision, Failure> {
    let said = frame.protocol_version().unwrap_or_default();
    said.parse().map_err(|unknown| {
        let said: String = said.chars().take(32).collect();
        let text = format!("The tool server wants to speak protocol version `{said}`: {unknown}");
        Failure {
            reason: "protocol_version",
            reply: replies::error(Some(id), INVALID_REQUEST, &text, None::<&()>),
        }
    })
}

/// Whether the server declares tools (MCP lifecycle: capability negotiation).
fn has_tools(frame: &Frame) -> bool {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        capabilities: Capabilities,
    }
    #[derive(Deserialize, Default)]
    struct Capabilities {
        tools: Option<IgnoredAny>,
    }
    let answer = frame.result().and_then(|raw| serde_json::from_slice::<Answer>(raw).ok());
    answer.is_some_and(|answer| answer.capabilities.tools.is_some())
}
