//! One run of the gateway: its own chain, its keys, its policy sets, its count of records.

use super::policies::Announced;
use super::read::{Key, Start};
use super::report::Check;
use super::session::{ChainState, Wrong};
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::GatewayRunId;

/// See the module.
#[derive(Debug)]
pub(super) struct RunState {
    pub(super) id: GatewayRunId,
    /// Which run it is, counted from 1.
    pub(super) number: u64,
    pub(super) chain: ChainState,
    pub(super) policies: Announced,
    /// Unknown where its beginning is.
    pub(super) records: Option<u64>,
    pub(super) stopped: bool,
    kid: String,
    /// A record that announced another key may be among those that could not be believed.
    doubt: bool,
    /// A gap's record may be the first under a new key, whose own record then follows at once.
    expected: Option<String>,
}

impl RunState {
    /// Begins with the record of the start. `last` is the digest of the record before it, if there is one; `doubt`
    /// says that the record before could not be read or believed.
    pub(super) fn begin(
        id: GatewayRunId,
        number: u64,
        start: &Start,
        last: Option<Sha256Digest>,
        doubt: bool,
    ) -> (Self, Result<(), Wrong>) {
        let run = Self {
            id,
            number,
            chain: ChainState::default(),
            policies: Announced::default(),
            records: Some(1),
            stopped: false,
            kid: start.key.kid.clone(),
            doubt: false,
            expected: None,
        };
        let linked = match (start.after, last) {
            _ if doubt => Ok(()),
            (after, last) if after == last => Ok(()),
            (Some(_), None) => Err("the log begins with a later run: what came before is missing"),
            (None, _) => Err("this run began an empty log: it was not written after the records before it"),
            (Some(_), Some(_)) => {
                Err("the record before this run is not the one that was there at its start")
            }
        };
        (run, linked.map_err(|message| (Check::BackLink, message.to_owned())))
    }

    /// A run whose beginning could not be read or believed, which was found: what its later records rest on is not
    /// known, and not held against them.
    pub(super) fn without_start(id: GatewayRunId, number: u64) -> Self {
        Self {
            id,
            number,
            chain: ChainState::unknown(),
            policies: Announced::in_doubt(),
            records: None,
            stopped: false,
            kid: String::new(),
            doubt: true,
            expected: None,
        }
    }

    /// A record that says it is the gateway's own could not be believed.
    pub(super) fn doubt(&mut self, seq: u64) {
        self.chain.doubt(seq);
        self.policies.doubt = true;
        self.doubt = true;
        self.expected = None;
    }

    /// Whether `kid` may sign a record of this kind here.
    pub(super) fn signed_by(
        &mut self,
        kid: &str,
        kind: &str,
        change: Option<(&str, &Key)>,
    ) -> Result<(), Wrong> {
        let wrong = |message: String| Err((Check::KeyChange, message));
        let expected = self.expected.take();
        // Which key signs now is unknown after a record that could not be believed; a gap's record may be the first
        // of the next key, so only the one after it settles the matter.
        let doubt = if kind == "gap" { self.doubt } else { std::mem::take(&mut self.doubt) };
        if doubt && change.is_none_or(|(_, key)| key.kid == kid) {
            kid.clone_into(&mut self.kid);
            return Ok(());
        }
        if let Some((previous, key)) = change {
            let was = std::mem::replace(&mut self.kid, key.kid.clone());
            return if key.kid != kid {
                wrong(format!("it announces {} but is signed by {kid}", key.kid))
            } else if previous != was {
                wrong(format!("it says that {previous} signed before, but that was {was}"))
            } else if expected.as_deref().is_some_and(|expected| expected != kid) {
                wrong("it announces another key than the one that has just signed".to_owned())
            } else {
                Ok(())
            };
        }
        if expected.is_some() {
            return wrong("the record before it was signed by a key that was not announced".to_owned());
        }
        if kid == self.kid {
            return Ok(());
        }
        if kind == "gap" {
            self.expected = Some(kid.to_owned());
            return Ok(());
        }
        wrong(format!("it is signed by {kid}, which was not announced in this run"))
    }
}
