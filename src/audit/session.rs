//! One chain's state, and what a session's records must agree on.

use std::time::Duration;

use super::read::{Claims, Token};
use super::report::Check;
use crate::domain::clock::Timestamp;
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::{SessionId, SpiffeId};

/// What is wrong with a record: what was checked, and the words.
pub(super) type Wrong = (Check, String);

/// Where a chain stands.
#[derive(Debug, Clone, Default)]
pub(super) struct ChainState {
    next: u64,
    /// Where it stands is not known: the next record is taken as it comes.
    anywhere: bool,
    /// Digest of the last record; unknown after one that could not be believed.
    last: Last,
    latest: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Last {
    #[default]
    None,
    Known(Sha256Digest),
    Unknown,
}

impl ChainState {
    /// A chain whose beginning could not be read or believed.
    pub(super) fn unknown() -> Self {
        Self { anywhere: true, ..Self::default() }
    }

    /// A chain whose first record that is here has this number.
    pub(super) fn at(next: u64) -> Self {
        Self { next, ..Self::default() }
    }

    /// Checks that a believed record is the chain's next one, and goes on from it. A record that is ahead is taken
    /// as the new position, so that one missing record is one finding; one that is behind changes nothing.
    pub(super) fn follow(
        &mut self,
        seq: u64,
        previous: Option<Sha256Digest>,
        digest: Sha256Digest,
        time: Timestamp,
    ) -> Result<(), Wrong> {
        let anywhere = std::mem::take(&mut self.anywhere);
        let (expected, last) = if anywhere { (seq, Last::Unknown) } else { (self.next, self.last) };
        if seq < expected {
            let message = format!("record {seq} comes again or too late: {expected} was to follow");
            return Err((Check::Sequence, message));
        }
        self.next = seq + 1;
        self.last = Last::Known(digest);
        self.latest = self.latest.max(Some(time));
        if seq > expected {
            let missing = if seq - expected == 1 {
                format!("record {expected} is missing before this one")
            } else {
                format!("records {expected} to {} are missing before this one", seq - 1)
            };
            return Err((Check::Sequence, missing));
        }
        let linked = match last {
            Last::None => previous.is_none(),
            Last::Known(last) => previous == Some(last),
            Last::Unknown => true,
        };
        if linked {
            Ok(())
        } else {
            let message = "it does not link back to the record before it: one of the two was altered";
            Err((Check::BackLink, message.to_owned()))
        }
    }

    /// A record that says it is this chain's could not be believed. If it stands where the next one would, the one
    /// after it is not blamed.
    pub(super) fn doubt(&mut self, seq: u64) {
        if seq == self.next {
            self.next += 1;
        }
        self.last = Last::Unknown;
    }

    /// How far behind the chain's latest record this time is, in milliseconds.
    pub(super) fn behind(&self, time: Timestamp) -> u128 {
        self.latest.map_or(0, |latest| latest.since(time).as_millis())
    }
}

/// A session's records so far. Memory is constant, however many they are.
#[derive(Debug)]
pub(super) struct SessionState {
    pub(super) chain: ChainState,
    /// In which run of the gateway, counted from 1; unknown while none of its records could be believed.
    pub(super) run: Option<u64>,
    pub(super) closed: bool,
    /// A record of it could not be believed: it may have issued a token.
    doubt: bool,
    /// The current token and the one before it: a decision may have been under way while the token was renewed.
    tokens: [Option<Box<Issued>>; 2],
}

#[derive(Debug)]
struct Issued {
    token: Token,
    expires: Timestamp,
}

/// How long after its token's end a message may still be allowed: it was checked before it was recorded.
const GRACE: Duration = Duration::from_secs(5);

impl SessionState {
    pub(super) fn new() -> Self {
        Self { chain: ChainState::default(), run: None, closed: false, doubt: false, tokens: [None, None] }
    }

    /// A record that says it is of this session could not be believed.
    pub(super) fn doubt(&mut self, seq: u64) {
        if self.run.is_none() && !self.doubt {
            self.chain = ChainState::at(seq);
        }
        self.doubt = true;
        self.chain.doubt(seq);
    }

    /// Whether a token was issued.
    pub(super) fn is_open(&self) -> bool {
        self.tokens.iter().any(Option::is_some)
    }

    /// Whether a token may have been issued.
    pub(super) fn may_be_open(&self) -> bool {
        self.doubt || self.is_open()
    }

    /// A token was issued or renewed.
    pub(super) fn issued(&mut self, token: Token, expires: Timestamp) {
        let [current, before] = &mut self.tokens;
        *before = current.replace(Box::new(Issued { token, expires }));
    }

    /// Whether a decision may carry this token, or none. `allowed_at` is the time of a client's message that was
    /// allowed.
    pub(super) fn carried(
        &self,
        token: Option<&Token>,
        from_client: bool,
        allowed_at: Option<Timestamp>,
    ) -> Result<(), Wrong> {
        let message = match token {
            Some(_) if !self.may_be_open() => "it carries a token before any was issued",
            Some(token) => match self.tokens.iter().flatten().find(|known| known.token == *token) {
                None if self.doubt => return Ok(()),
                None => "it carries another token than the one that this session was given",
                Some(known) if allowed_at.is_some_and(|at| at > known.expires.plus(GRACE)) => {
                    "it was allowed although its token had expired"
                }
                Some(_) => return Ok(()),
            },
            None if self.is_open() && from_client => "it carries no token although the session has one",
            None => return Ok(()),
        };
        Err((Check::Token, message.to_owned()))
    }

    /// Forgets what only an open session needs.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.tokens = [None, None];
    }
}

/// Whether an issued token's claims are this gateway's and this session's.
pub(super) fn claims(claims: &Claims, session: SessionId, identity: &SpiffeId) -> Result<(), Wrong> {
    let wrong = |message: String| Err((Check::Token, message));
    if claims.iss != identity.as_str() {
        return wrong(format!("the token's issuer is {}, not {identity}", claims.iss));
    }
    if claims.sid != session {
        return wrong(format!("the token is of session {}", claims.sid));
    }
    if claims.sub.is_empty() || claims.aud.is_empty() {
        return wrong("the token names no principal or no audience".to_owned());
    }
    if claims.exp <= claims.iat || claims.nbf > claims.exp {
        return wrong(format!("the token's times make no sense: iat {}, exp {}", claims.iat, claims.exp));
    }
    Ok(())
}
