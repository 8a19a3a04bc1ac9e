//! How a session opens: `initialize` is decided and recorded, then it may go to the tool server.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::attest::CloseReason;
use crate::domain::admitted::Admitted;
use crate::domain::ids::{ServerName, SessionId};
use crate::domain::random;
use crate::domain::refusal::DenyReason;
use crate::domain::revision::Revision;
use crate::policy::{Action, Direction, Engine, SessionFacts};
use crate::token::Client;
use crate::wire::methods::{self, Class};
use crate::wire::{Frame, Kind};

use super::Gate;
use super::asked::AskedKind;
use super::decide::Outcome;
use super::denial::{Denial, no_session_reply};
use super::matter::{Enter, Matter};
use super::onward::Onward;
use super::permit::{Permit, ToServer};
use super::pipeline;
use super::registry::Full;
use super::route::Route;
use super::session::{Core, Session, Shared};
use super::verdict::{Arrival, Refused, ResumeError};

/// What whoever finds no room is told to wait: sessions end by their own clients, nobody knows when.
const RETRY_AFTER: Duration = Duration::from_secs(30);

const fn no_room(full: Full) -> &'static str {
    match full {
        Full::Gateway => "The gateway holds as many sessions as it may. Try again later.",
        Full::Principal => "You hold as many sessions as one principal may. End one, or try again later.",
    }
}

impl Gate {
    /// Takes `initialize`: decides `session/open`, records it (record 0 of the session's chain) and gives the
    /// permit for the unchanged message. The token comes with the server's answer, see [`Session::from_server`].
    ///
    /// # Errors
    /// The message is no `initialize` request, the policies deny, the record can't be written, or as many
    /// sessions as allowed are open.
    pub async fn open(
        &self,
        admitted: &Admitted,
        route: &Route,
        frame: Frame,
        at: &Arrival,
    ) -> Result<(Arc<Session>, Permit<ToServer>), Refused> {
        let id = frame.id().cloned();
        let refuse = |reason, reply: Option<Bytes>| {
            let reply = reply.unwrap_or_else(|| Denial::plain(id.as_ref(), reason).reply());
            Refused { reason, reply, retry_after: None }
        };
        let class = frame.method().map(methods::classify);
        let (Some(request), Kind::Request, Some(Class::Initialize)) = (frame.id(), frame.kind(), class)
        else {
            return Err(refuse(DenyReason::Malformed, Some(no_session_reply(frame.id()))));
        };
        if pipeline::is_own_id(request) {
            return Err(refuse(DenyReason::Malformed, None));
        }
        let Ok(uuid) = random::uuid_v4() else { return Err(refuse(DenyReason::AttestationFailed, None)) };
        let shared = self.new_session(admitted, route, SessionId::from_uuid(uuid), &frame);
        let session = Arc::new(Session { shared: Arc::clone(&shared) });
        let entered = self.house.registry.insert(Arc::clone(&session));
        // Where there is no room, that is recorded like any refusal, on the chain that ends with it.
        let full = match entered {
            Ok(open) => {
                self.house.parts.recorder.sessions(open);
                None
            }
            Err(full) => Some(full),
        };
        let detail = full.map(no_room);
        let retry_after = full.map(|_| RETRY_AFTER);

        let mut onward = Onward::begin(&shared, &frame, at, Direction::Client);
        let matter = Matter {
            action: Action::SessionOpen,
            method: frame.method(),
            refuse: full.map(|_| DenyReason::Limited),
            received: frame.params().unwrap_or_default(),
            forwarded: onward.frame.params().unwrap_or_default(),
            trace: onward.trace,
            by: None,
            tells_of: None,
            replaces: None,
            enter: Enter::OfClient { id: request, progress: None, kind: AskedKind::Initialize },
        };
        let outcome = shared.decide(&matter, &mut onward.span).await;
        match outcome {
            Outcome::Allowed { allowed, receipt, claim } => {
                let outgoing = onward.outgoing(&shared, Some(request));
                onward.hand_over(&shared, claim.as_ref());
                match Permit::decided(&allowed, receipt, Arc::clone(&shared), outgoing, claim) {
                    Some(permit) => Ok((session, permit)),
                    None => {
                        shared.discard();
                        Err(refuse(DenyReason::AttestationFailed, None))
                    }
                }
            }
            Outcome::Denied { decision, reason, policies, attestation, .. } => {
                onward.end(Some(reason.as_str()));
                // The chain ends in order; nothing rests on the record of that.
                let _written_later = shared.end(CloseReason::Handshake);
                let denial = Denial {
                    detail,
                    decision: Some(decision),
                    policies: &policies,
                    attestation: Some(attestation),
                    retry_after,
                    ..Denial::plain(Some(request), reason)
                };
                Err(Refused { retry_after, ..refuse(reason, Some(denial.reply())) })
            }
            outcome @ (Outcome::Unrecorded(_) | Outcome::Answered) => {
                let reason = match outcome {
                    Outcome::Unrecorded(reason) => reason,
                    _ => DenyReason::UpstreamUnavailable,
                };
                onward.end(Some(reason.as_str()));
                shared.discard();
                let denial = Denial { detail, retry_after, ..Denial::plain(Some(request), reason) };
                Err(Refused { retry_after, ..refuse(reason, Some(denial.reply())) })
            }
        }
    }

    fn new_session(&self, admitted: &Admitted, route: &Route, id: SessionId, frame: &Frame) -> Arc<Shared> {
        let client = frame.client_info().map(|info| Client { name: info.name, version: info.version });
        // What is negotiated is known with the server's answer; until then, what was asked for.
        let asked = frame.protocol_version().and_then(|text| text.parse().ok()).unwrap_or(Revision::LATEST);
        let now = self.house.parts.clock.now();
        let mut facts =
            SessionFacts::of(admitted, route.server.clone(), id, asked, route.transport.as_str(), now);
        facts.client_name = client.as_ref().map(|client| client.name.clone());
        facts.client_version = client.as_ref().map(|client| client.version.clone());
        let entities = self.house.parts.engines.current().session_principal(&facts);
        let house = Arc::clone(&self.house);
        Arc::new(Shared::new(house, id, route.clone(), admitted.clone(), client, entities))
    }

    /// Finds the session of a handle (`Mcp-Session-Id`) for a request with this admission. The handle alone opens
    /// nothing: the evidence of the very request must be that of the session.
    ///
    /// # Errors
    /// See [`ResumeError`]; all are HTTP 404 to the caller, before anything ran.
    pub fn resume(
        &self,
        token: &str,
        admitted: &Admitted,
        server: &ServerName,
    ) -> Result<Arc<Session>, ResumeError> {
        let verified = self.house.parts.verifier.verify_handle(token).map_err(|error| {
            tracing::debug!(target: "chancery::session", %error, "a session handle was refused");
            ResumeError::Invalid
        })?;
        let claims = verified.claims();
        let gone = || match claims.cnf == *admitted.binding()
            && self.house.registry.is_claimed_by_another(admitted.binding(), claims.sid)
        {
            true => ResumeError::Superseded,
            false => ResumeError::NotFound,
        };
        let session = self.house.registry.get(&claims.sid).ok_or_else(gone)?;
        let shared = &session.shared;
        let is_handle =
            shared.core.lock().handle.as_ref().is_some_and(|handle| handle.sha256 == verified.sha256());
        if !is_handle || shared.is_over() || shared.route.server != *server {
            return Err(gone());
        }
        if claims.cnf != *admitted.binding() || !shared.is_bound_to(admitted) {
            shared.binding_mismatch(admitted);
            return Err(ResumeError::Binding);
        }
        let max_lifetime = self.house.parts.config.max_lifetime;
        if self.house.parts.clock.now().since(shared.opened) >= max_lifetime {
            let _written_later = shared.end(CloseReason::Lifetime);
            return Err(ResumeError::NotFound);
        }
        Ok(session)
    }
}

impl Shared {
    /// Whether `admitted` is of the same process, secret or subject as the session.
    pub(super) fn is_bound_to(&self, admitted: &Admitted) -> bool {
        self.admitted.binding() == admitted.binding() && self.admitted.principal() == admitted.principal()
    }

    /// From now on policies see the groups and claims that this request's bearer proves, and none that only an earlier one did.
    pub(super) fn hear(&self, core: &mut Core, engine: &Engine, admitted: &Admitted) {
        let bearer = admitted.evidence().bearer();
        if bearer == core.bearer || !self.is_bound_to(admitted) {
            return;
        }
        core.bearer = bearer;
        let mut facts = core.entities.facts().clone();
        facts.groups = admitted.evidence().groups().to_vec();
        facts.claims = admitted.evidence().claims().cloned().unwrap_or_default();
        core.entities = Arc::new(engine.session_principal(&facts));
    }
}
