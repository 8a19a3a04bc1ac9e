//! Requests under way, so that an answer goes only to a question that was let through.
//!
//! Ids are compared with their JSON type (`1` is not `"1"`), a second request with an id that is under way is
//! refused, and the number of entries is bounded. A cancelled request keeps its entry, because its answer may
//! still come; cancelled entries are the first to go when room is needed, save those whose answers are treated in
//! another way than most: under a reused id theirs would pass for a plain one (a list would be shown unfiltered).

use std::collections::{HashMap, VecDeque};

use crate::domain::refusal::DenyReason;
use crate::wire::RequestId;

/// Why a request can't be entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A request with this id is under way.
    Duplicate,
    /// As many requests as allowed are under way.
    Full,
}

impl From<Refusal> for DenyReason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Duplicate => Self::DuplicateId,
            Refusal::Full => Self::Limited,
        }
    }
}

/// Requests of one direction that wait for their answers.
#[derive(Debug)]
pub(super) struct Pending<A> {
    limit: usize,
    /// Whether an entry may go once it is cancelled.
    may_go: fn(&A) -> bool,
    entries: HashMap<RequestId, Entry<A>>,
    /// Ids of cancelled entries, oldest first.
    cancelled: VecDeque<RequestId>,
    /// How many were ever entered.
    entered: u64,
}

/// Which entry of a table it is: an id may be used again once it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Serial(u64);

#[derive(Debug)]
struct Entry<A> {
    asked: A,
    progress: Option<Box<[u8]>>,
    cancelled: bool,
    serial: Serial,
}

impl<A> Pending<A> {
    pub(super) fn new(limit: usize, may_go: fn(&A) -> bool) -> Self {
        Self { limit, may_go, entries: HashMap::new(), cancelled: VecDeque::new(), entered: 0 }
    }

    /// Whether a request with `id` could be entered now.
    pub(super) fn check(&self, id: &RequestId) -> Result<(), Refusal> {
        if self.entries.contains_key(id) {
            return Err(Refusal::Duplicate);
        }
        if self.entries.len() >= self.limit && self.first_to_go().is_none() {
            return Err(Refusal::Full);
        }
        Ok(())
    }

    /// Enters a request; `progress` is its progress token as raw JSON.
    pub(super) fn enter(
        &mut self,
        id: RequestId,
        progress: Option<&[u8]>,
        asked: A,
    ) -> Result<Serial, Refusal> {
        self.check(&id)?;
        if self.entries.len() >= self.limit {
            self.evict();
        }
        self.entered += 1;
        let serial = Serial(self.entered);
        self.entries
            .insert(id, Entry { asked, progress: progress.map(Into::into), cancelled: false, serial });
        Ok(serial)
    }

    /// Takes the request that an answer with `id` belongs to.
    pub(super) fn answer(&mut self, id: &RequestId) -> Option<A> {
        let entry = self.entries.remove(id)?;
        if entry.cancelled {
            self.cancelled.retain(|gone| gone != id);
        }
        Some(entry.asked)
    }

    /// Takes this very entry out, if it is still there.
    pub(super) fn release(&mut self, id: &RequestId, serial: Serial) -> Option<A> {
        if self.entries.get(id)?.serial == serial { self.answer(id) } else { None }
    }

    /// Whether this very entry waits for its answer: `false` where it is cancelled, none where it is gone.
    pub(super) fn waits(&self, id: &RequestId, serial: Serial) -> Option<bool> {
        self.entries.get(id).filter(|entry| entry.serial == serial).map(|entry| !entry.cancelled)
    }

    /// This very request.
    pub(super) fn find(&mut self, id: &RequestId, serial: Serial) -> Option<&mut A> {
        self.entries.get_mut(id).filter(|entry| entry.serial == serial).map(|entry| &mut entry.asked)
    }

    /// Marks a request as cancelled; false if none such is under way, or if it is marked already.
    pub(super) fn cancel(&mut self, id: &RequestId) -> bool {
        match self.entries.get_mut(id) {
            Some(entry) if !entry.cancelled => {
                entry.cancelled = true;
                self.cancelled.push_back(id.clone());
                true
            }
            _ => false,
        }
    }

    /// The request that sent this progress token (raw JSON, so `1` is not `"1"`).
    pub(super) fn by_progress(&self, token: &[u8]) -> Option<&RequestId> {
        let found = self.entries.iter().find(|(_, entry)| entry.progress.as_deref() == Some(token));
        found.map(|(id, _)| id)
    }

    /// The one request under way, if there is exactly one.
    pub(super) fn only(&self) -> Option<&RequestId> {
        let mut waiting = self.entries.iter().filter(|(_, entry)| !entry.cancelled);
        match (waiting.next(), waiting.next()) {
            (Some((id, _)), None) => Some(id),
            _ => None,
        }
    }

    /// Takes every request out.
    pub(super) fn drain(&mut self) -> Vec<(RequestId, A)> {
        self.cancelled.clear();
        self.entries.drain().map(|(id, entry)| (id, entry.asked)).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Where in the cancelled ones the oldest is that may go.
    fn first_to_go(&self) -> Option<usize> {
        let goes = |id: &RequestId| self.entries.get(id).is_some_and(|entry| (self.may_go)(&entry.asked));
        self.cancelled.iter().position(goes)
    }

    fn evict(&mut self) {
        if let Some(id) = self.first_to_go().and_then(|at| self.cancelled.remove(at)) {
            self.entries.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(id: i64) -> RequestId {
        RequestId::Integer(id)
    }

    #[test]
    fn ids_are_compared_with_their_json_type() {
        let mut pending = Pending::new(8, |_| true);
        pending.enter(number(1), None, 'n').unwrap();
        pending.enter(RequestId::String("1".into()), None, 's').unwrap();
        assert_eq!(pending.enter(number(1), None, 'x').unwrap_err(), Refusal::Duplicate);
        assert_eq!(pending.answer(&RequestId::String("1".into())), Some('s'));
        assert_eq!(pending.answer(&RequestId::String("1".into())), None);
        assert_eq!(pending.answer(&number(1)), Some('n'));
    }

    #[test]
    fn an_entry_that_is_gone_is_not_taken_for_another_one_with_its_id() {
        let mut pending = Pending::new(8, |_| true);
        let first = pending.enter(number(1), None, 'a').unwrap();
        assert_eq!(pending.waits(&number(1), first), Some(true));
        assert_eq!(pending.answer(&number(1)), Some('a'));
        let second = pending.enter(number(1), None, 'b').unwrap();
        assert_eq!((pending.waits(&number(1), first), pending.release(&number(1), first)), (None, None));
        assert!(pending.cancel(&number(1)));
        assert_eq!(pending.waits(&number(1), second), Some(false));
        assert_eq!(pending.release(&number(1), second), Some('b'));
    }

    #[test]
    fn a_full_table_makes_room_only_of_cancelled_requests() {
        let mut pending = Pending::new(2, |_| true);
        pending.enter(number(1), None, ()).unwrap();
        pending.enter(number(2), None, ()).unwrap();
        assert_eq!(pending.enter(number(3), None, ()).unwrap_err(), Refusal::Full);
        assert!(pending.cancel(&number(2)));
        assert!(!pending.cancel(&number(2)));
        pending.enter(number(3), None, ()).unwrap();
        assert_eq!(pending.answer(&number(2)), None);
        assert_eq!(pending.len(), 2);
    }

    #[test]
    fn a_cancelled_list_keeps_its_id_however_full_the_table_is() {
        let mut pending = Pending::new(3, |kind| *kind != "list");
        pending.enter(number(1), None, "list").unwrap();
        pending.enter(number(2), None, "call").unwrap();
        pending.enter(number(3), None, "call").unwrap();
        assert!(pending.cancel(&number(1)) && pending.cancel(&number(2)));
        pending.enter(number(4), None, "call").unwrap();
        assert_eq!(pending.enter(number(5), None, "call").unwrap_err(), Refusal::Full);
        assert_eq!(pending.enter(number(1), None, "ping").unwrap_err(), Refusal::Duplicate);
        assert_eq!(pending.answer(&number(1)), Some("list"), "its answer is still a list's");
    }

    #[test]
    fn a_cancelled_request_may_still_be_answered_once() {
        let mut pending = Pending::new(2, |_| true);
        pending.enter(number(1), Some(b"\"t\""), ()).unwrap();
        assert!(pending.cancel(&number(1)));
        assert_eq!(pending.by_progress(b"\"t\""), Some(&number(1)));
        assert_eq!(pending.answer(&number(1)), Some(()));
        assert_eq!(pending.by_progress(b"\"t\""), None);
        assert!(!pending.cancel(&number(1)));
    }
}
