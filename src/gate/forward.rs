//! The session's tool server is told on whose behalf it is called, where configuration says so: by a short identity token
//! that the log has before the server gets it.
//!
//! One token serves all messages of a session until most of its period is over; the message that comes then renews it,
//! one at a time. A key that was withdrawn ends it at once, evidence that has ended when it was to end anyway.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::attest::predicate::{IdentityToken, IdentityTokenClaims, TokenRef};
use crate::attest::{AppendError, Predicate, Statement};
use crate::domain::admitted::Admitted;
use crate::domain::clock::Timestamp;
use crate::domain::ids::KeyId;
use crate::domain::secret::Secret;
use crate::token::{IdentityConfig, OnBehalfOf, TokenError};

use super::session::{Phase, Session, Shared};

/// Why a tool server can't be told who calls it; nothing is sent to it then.
#[derive(Debug, thiserror::Error)]
pub enum NoIdentity {
    /// No token could be issued.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Its record could not be written.
    #[error(transparent)]
    Unrecorded(#[from] AppendError),
    /// The session is over, and so is its last token.
    #[error("the session is over")]
    SessionOver,
}

/// What one session's tool server is told.
#[derive(Debug)]
pub(super) struct Forwarding {
    to: IdentityConfig,
    /// Held while a token is issued.
    issuing: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the evidence ends that was shown last.
    until: Option<Timestamp>,
    held: Option<Held>,
}

#[derive(Debug, Clone)]
struct Held {
    authorization: Arc<Secret>,
    kid: KeyId,
    issued: Timestamp,
    expires: Timestamp,
}

impl Held {
    /// Whether a fifth of its period is left, so that it is still good when it arrives.
    fn is_fresh(&self, now: Timestamp) -> bool {
        now.plus(self.expires.since(self.issued) / 5) < self.expires
    }
}

impl Forwarding {
    pub(super) fn new(to: &IdentityConfig, admitted: &Admitted) -> Self {
        let state = State { until: admitted.expires(), held: None };
        Self { to: to.clone(), issuing: tokio::sync::Mutex::new(()), state: Mutex::new(state) }
    }
}

impl Session {
    /// What is sent to the session's tool server in `Authorization`; none where it is not told who calls. Ask for every
    /// message: mostly it is at hand, and now and then it is issued and recorded first.
    ///
    /// # Errors
    /// Nothing can be signed or recorded, the evidence has ended, or the session is over: send nothing.
    pub async fn identity_for_server(&self) -> Result<Option<Arc<Secret>>, NoIdentity> {
        let shared = &self.shared;
        let Some(forwarding) = &shared.forwarding else { return Ok(None) };
        let held = shared.held(forwarding)?;
        let fresh = |held: &Held| held.is_fresh(shared.now());
        if let Some(held) = held.as_ref().filter(|held| fresh(held)) {
            return Ok(Some(Arc::clone(&held.authorization)));
        }
        let _single = match (&held, forwarding.issuing.try_lock()) {
            (_, Ok(guard)) => guard,
            // Someone else is at it: the token still holds meanwhile.
            (Some(held), Err(_busy)) => return Ok(Some(Arc::clone(&held.authorization))),
            (None, Err(_busy)) => forwarding.issuing.lock().await,
        };
        let held = shared.held(forwarding)?;
        if let Some(held) = held.as_ref().filter(|held| fresh(held)) {
            return Ok(Some(Arc::clone(&held.authorization)));
        }
        match (shared.introduce(forwarding).await, held) {
            (Ok(authorization), _) => Ok(Some(authorization)),
            // Tried again at the next message.
            (Err(_), Some(held)) => Ok(Some(held.authorization)),
            (Err(error), None) => {
                tracing::warn!(
                    target: "chancery::session", session = %shared.id, server = %shared.route.server, %error,
                    "the tool server can't be told who calls it, and is not called"
                );
                Err(error)
            }
        }
    }
}

impl Shared {
    /// Notes until when the evidence of this request counts.
    pub(super) fn note_evidence(&self, admitted: &Admitted) {
        if let Some(forwarding) = &self.forwarding {
            forwarding.state.lock().until = admitted.expires();
        }
    }

    /// The token at hand, if it is in force and its key is still believed.
    fn held(&self, forwarding: &Forwarding) -> Result<Option<Held>, TokenError> {
        // A signing identity that was withdrawn vouches for nobody any more, whatever it signed before.
        self.house.parts.issuer.ready()?;
        let now = self.now();
        let mut state = forwarding.state.lock();
        let believed =
            state.held.take().filter(|h| h.expires > now && self.house.parts.verifier.believes(&h.kid));
        state.held = believed.clone();
        Ok(believed)
    }

    /// Issues a token, has it recorded, and only then keeps it for use.
    async fn introduce(&self, forwarding: &Forwarding) -> Result<Arc<Secret>, NoIdentity> {
        let until = forwarding.state.lock().until;
        let whom = OnBehalfOf::Caller { principal: self.admitted.principal(), session: self.id, until };
        let issued = self.house.parts.issuer.issue_identity(whom, &forwarding.to)?;
        let (claims, kid) = (&issued.claims, issued.key.id().clone());
        let record = IdentityToken {
            token: TokenRef { jti: claims.jti, kid: kid.as_str().into(), sha256: issued.sha256 },
            key: Arc::clone(&issued.key),
            server: self.route.server.clone(),
            claims: IdentityTokenClaims {
                iss: claims.iss.clone(),
                sub: claims.sub.clone(),
                sid: self.id,
                aud: claims.aud.clone(),
                iat: claims.iat,
                nbf: claims.nbf,
                exp: claims.exp,
            },
        };
        let appended = {
            let core = self.core.lock();
            if core.phase == Phase::Over {
                return Err(NoIdentity::SessionOver);
            }
            let log = &self.house.parts.log;
            log.append(&self.chain, |link| Statement::new(Predicate::IdentityToken(record), link))
        };
        let _receipt = appended?.await?;
        let authorization = Arc::new(issued.authorization);
        forwarding.state.lock().held = Some(Held {
            authorization: Arc::clone(&authorization),
            kid,
            issued: Timestamp::from_secs(claims.iat),
            expires: Timestamp::from_secs(claims.exp),
        });
        Ok(authorization)
    }
}
