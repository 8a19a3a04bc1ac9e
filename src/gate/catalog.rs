//! What a session's tool server says of its tools: learned from its lists, compared with what policies were
//! compiled for.
//!
//! A tool whose definition is not the compiled one is quarantined: it is unknown, and so denied, until policies
//! were compiled for the new definition. Who does that is the [`CatalogueSink`]; the gate only tells it.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::domain::clock::Timestamp;
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::ServerName;
use crate::policy::ToolDefinition;
use crate::wire::RequestId;

/// Tools of one server that a session keeps in mind; more are unknown.
pub(super) const MAX_TOOLS: usize = 4096;

/// Pages of one list that the gateway asks for on its own account.
pub(super) const MAX_PAGES: u32 = 64;

/// What the ids of the gateway's own requests begin with; clients may not use it.
pub(super) const OWN_ID_PREFIX: &str = "chancery:";

/// Definitions that a tool server has shown.
#[derive(Debug, Clone)]
pub struct Learned {
    /// The tool server.
    pub server: ServerName,
    /// Its definitions, readable ones only.
    pub definitions: Vec<ToolDefinition>,
    /// Whether these are all it has; otherwise they are one page of more.
    pub complete: bool,
}

/// Is told what a tool server shows: each whole list, and any definition that policies were not compiled for.
pub trait CatalogueSink: Send + Sync + fmt::Debug {
    /// Takes the definitions over. The message that brought them waits until this is done, so that a client's
    /// first list is filtered by policies that know its tools; whatever still differs then stays quarantined.
    fn learned(&self, learned: Learned) -> BoxFuture<'_, ()>;
}

/// A sink that keeps the catalogue as it is: every change stays quarantined.
#[derive(Debug, Clone, Copy, Default)]
pub struct FixedCatalogue;

impl CatalogueSink for FixedCatalogue {
    fn learned(&self, _learned: Learned) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// The digests of the definitions that this session's server has shown last.
#[derive(Debug, Default)]
pub(super) struct SeenTools {
    /// Each with the list in which it was seen last.
    tools: HashMap<Box<str>, (Sha256Digest, u64)>,
    /// Lists of the gateway's own so far.
    lists: u64,
    /// Whether the last of them was seen to its end: what was not in it is gone.
    whole: bool,
    /// Whether a tool was shown for which there was no room: any that is not here may be it.
    crowded: bool,
}

impl SeenTools {
    /// Takes over one tool's digest; false if there is no room for another tool.
    pub(super) fn note(&mut self, name: &str, digest: Sha256Digest) -> bool {
        if let Some(seen) = self.tools.get_mut(name) {
            *seen = (digest, self.lists);
            return true;
        }
        if self.tools.len() >= MAX_TOOLS {
            self.crowded = true;
            return false;
        }
        self.tools.insert(name.into(), (digest, self.lists));
        true
    }

    /// The digest of the tool's definition as it was last seen.
    pub(super) fn digest(&self, name: &str) -> Option<Sha256Digest> {
        self.tools.get(name).map(|(digest, _)| *digest)
    }

    /// The gateway asks for the list anew.
    pub(super) fn begin(&mut self) {
        self.lists += 1;
    }

    /// The list was seen to its end: what it did not have, the server has no more.
    pub(super) fn finish(&mut self) {
        let current = self.lists;
        self.tools.retain(|_, (_, list)| *list == current);
        self.whole = true;
    }

    /// Whether the tool was last seen with another definition than the `compiled` one, or is gone.
    pub(super) fn is_quarantined(&self, name: &str, compiled: Option<Sha256Digest>) -> bool {
        match self.tools.get(name) {
            Some((seen, _)) => Some(*seen) != compiled,
            None => (self.whole || self.crowded) && compiled.is_some(),
        }
    }
}

/// The gateway's own `tools/list`: one at a time, page by page.
#[derive(Debug, Default)]
pub(super) struct OwnLists {
    /// The server said that it has tools.
    pub(super) capable: bool,
    /// A list is to be asked for.
    wanted: bool,
    in_flight: Option<(RequestId, Timestamp)>,
    cursor: Option<String>,
    pages: u32,
    collected: Vec<ToolDefinition>,
    asked: u64,
    /// How often the list was wanted.
    wants: u64,
    /// The want that the list under way answers.
    begun: u64,
    /// The last want of which something came.
    settled: u64,
    /// Whether that was no list.
    failed: bool,
}

/// A page to ask for.
#[derive(Debug)]
pub(super) struct OwnPage {
    pub(super) id: RequestId,
    pub(super) cursor: Option<String>,
}

impl OwnLists {
    /// Asks for the list anew; a list that is under way is asked for again after it.
    pub(super) fn want(&mut self) {
        self.wanted = true;
        self.wants += 1;
    }

    /// Asks for the list where there is none and none is awaited: the last one failed or, unless it is `announced`,
    /// none was ever wanted. Returns whether it did.
    pub(super) fn want_again(&mut self, announced: bool) -> bool {
        let missing = if self.wants == 0 { !announced } else { self.failed && self.settled == self.wants };
        if self.capable && missing {
            self.want();
        }
        self.capable && missing
    }

    /// The want that a call is to wait for: definitions of before it may be others by now.
    pub(super) fn last_want(&self) -> u64 {
        self.wants.max(1)
    }

    /// What came of that want: the list, or none; nothing yet.
    pub(super) fn came(&self, want: u64) -> Option<bool> {
        (self.settled >= want).then_some(!self.failed)
    }

    /// The want that the page at hand answers.
    pub(super) fn round(&self) -> u64 {
        self.begun
    }

    /// The list of this round was seen and dealt with.
    pub(super) fn settle(&mut self, round: u64) {
        if round >= self.settled {
            (self.settled, self.failed) = (round, false);
        }
    }

    /// Gives up an answer that did not come within `patience`; returns the id it would have had.
    pub(super) fn expire(&mut self, now: Timestamp, patience: Duration) -> Option<RequestId> {
        let (_, since) = self.in_flight.as_ref()?;
        if now.since(*since) < patience {
            return None;
        }
        let (id, _) = self.in_flight.take()?;
        self.forget();
        Some(id)
    }

    /// The next page to ask for, if one is due and none is under way.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<OwnPage> {
        if !self.capable || self.in_flight.is_some() {
            return None;
        }
        if self.cursor.is_none() {
            if !self.wanted {
                return None;
            }
            self.wanted = false;
            self.begun = self.wants;
            self.pages = 0;
            self.collected = Vec::new();
        }
        self.asked += 1;
        let id = RequestId::String(format!("{OWN_ID_PREFIX}{}", self.asked).into());
        self.in_flight = Some((id.clone(), now));
        Some(OwnPage { id, cursor: self.cursor.take() })
    }

    /// Takes a page over; the whole list once it is complete. A list that is too long ends incomplete.
    pub(super) fn page(
        &mut self,
        definitions: Vec<ToolDefinition>,
        next: Option<String>,
    ) -> Option<(Vec<ToolDefinition>, bool)> {
        self.in_flight = None;
        self.pages += 1;
        let room = MAX_TOOLS.saturating_sub(self.collected.len());
        let fits = definitions.len() <= room;
        self.collected.extend(definitions.into_iter().take(room));
        match next {
            Some(cursor) if fits && self.pages < MAX_PAGES => {
                self.cursor = Some(cursor);
                None
            }
            rest => Some((std::mem::take(&mut self.collected), fits && rest.is_none())),
        }
    }

    /// The list under way failed; the next change asks anew, or the next call.
    pub(super) fn forget(&mut self) {
        (self.settled, self.failed) = (self.begun, true);
        self.in_flight = None;
        self.cursor = None;
        self.collected = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn a_tool_with_another_definition_than_the_compiled_one_is_quarantined() {
        let (old, new) = (Sha256Digest::of(b"old"), Sha256Digest::of(b"new"));
        let mut seen = SeenTools::default();
        assert!(!seen.is_quarantined("t", Some(old)), "nothing was seen yet");
        assert!(seen.note("t", new));
        assert!(seen.is_quarantined("t", Some(old)));
        assert!(seen.is_quarantined("t", None));
        assert!(!seen.is_quarantined("t", Some(new)));
    }

    #[test]
    fn a_tool_that_a_whole_list_does_not_have_any_more_is_quarantined_until_it_is_back() {
        let digest = Sha256Digest::of(b"t");
        let mut seen = SeenTools::default();
        for (listed, gone) in [(&["t", "u"][..], false), (&["u"], true), (&["t"], false)] {
            seen.begin();
            assert!(listed.iter().all(|name| seen.note(name, digest)));
            seen.finish();
            assert_eq!(seen.is_quarantined("t", Some(digest)), gone, "{listed:?}");
        }
        assert!(!seen.is_quarantined("v", None), "what nobody knows is unknown");
    }

    #[test]
    fn a_server_with_endless_tools_fills_no_memory() {
        let mut seen = SeenTools::default();
        let digest = Sha256Digest::of(b"");
        assert!((0..MAX_TOOLS).all(|n| seen.note(&n.to_string(), digest)));
        assert!(!seen.note("one more", digest));
        assert!(seen.note("0", digest));
    }

    #[test]
    fn a_changed_tool_behind_more_tools_than_are_kept_in_mind_is_quarantined_all_the_same() {
        let mut seen = SeenTools::default();
        let (old, new) = (Sha256Digest::of(b"old"), Sha256Digest::of(b"new"));
        assert!((0..MAX_TOOLS).all(|n| seen.note(&n.to_string(), new)));
        assert!(!seen.is_quarantined("read", Some(old)), "nothing else was seen yet");
        assert!(!seen.note("read", new));
        assert!(seen.is_quarantined("read", Some(old)));
    }

    #[test]
    fn the_gateways_own_lists_run_one_at_a_time_and_end_even_if_the_server_does_not() {
        let mut own = OwnLists { capable: true, ..OwnLists::default() };
        let now = Timestamp::from_secs(1);
        assert!(own.next(now).is_none(), "nothing is wanted");
        own.want();
        let mut pages = 0;
        while let Some(page) = own.next(now) {
            pages += 1;
            assert!(own.next(now).is_none(), "one at a time");
            assert_eq!(page.id, RequestId::String(format!("chancery:{pages}").into()));
            own.want();
            if let Some((_, complete)) = own.page(Vec::new(), Some("again".to_owned())) {
                assert!(!complete);
                break;
            }
        }
        assert_eq!(pages, MAX_PAGES);
        assert!(own.next(now).is_some_and(|page| page.cursor.is_none()), "what was wanted meanwhile");
        assert_eq!(own.expire(Timestamp::from_secs(60), PATIENCE), None);
        assert!(
            own.expire(Timestamp::from_secs(61), PATIENCE).is_some(),
            "an answer that never came is given up"
        );
        own.want();
        assert!(own.next(Timestamp::from_secs(61)).is_some());
    }
}
