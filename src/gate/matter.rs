//! One message that is to be decided: what the decision rests on, and what it reserves.

use crate::domain::admitted::Admitted;
use crate::domain::refusal::DenyReason;
use crate::policy::{Action, Direction, Listed};
use crate::wire::RequestId;

use super::again::Replaced;
use super::asked::AskedKind;
use super::observe::TraceContext;

/// One message that is to be decided.
#[derive(Debug)]
pub(super) struct Matter<'a> {
    pub(super) action: Action<'a>,
    /// The JSON-RPC method; `None` if the message could not be read.
    pub(super) method: Option<&'a str>,
    /// Refused for this reason whatever the policies say.
    pub(super) refuse: Option<DenyReason>,
    /// Its params as they came, and as they would go on.
    pub(super) received: &'a [u8],
    pub(super) forwarded: &'a [u8],
    pub(super) trace: Option<TraceContext>,
    /// The admission of the message's own request; of the session's first one where absent.
    pub(super) by: Option<&'a Admitted>,
    /// What it would tell of; it is refused where that is hidden.
    pub(super) tells_of: Option<Listed<'a>>,
    /// The decision on this very message that this one replaces: what that one counted is given back.
    pub(super) replaces: Option<&'a Replaced>,
    pub(super) enter: Enter<'a>,
}

impl<'a> Matter<'a> {
    /// Something that is refused before any policy is asked, and whose method is not known.
    pub(super) fn refused(reason: DenyReason, received: &'a [u8]) -> Self {
        Self {
            action: Action::Method { method: "other", target: None, from: Direction::Client },
            method: None,
            refuse: Some(reason),
            received,
            forwarded: &[],
            trace: None,
            by: None,
            tells_of: None,
            replaces: None,
            enter: Enter::Nothing,
        }
    }
}

/// The entry in the table of requests under way that an allowed message takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Enter<'a> {
    Nothing,
    OfClient { id: &'a RequestId, progress: Option<&'a [u8]>, kind: AskedKind },
    OfServer { id: &'a RequestId, progress: Option<&'a [u8]> },
}
