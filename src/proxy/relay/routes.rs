//! Which of a client's streams a message belongs on (MCP 2025-11-25, Transports, "Multiple Connections": each
//! message on one stream only).

use std::collections::{HashMap, VecDeque};

use super::stream::{Parcel, Sender};
use crate::proxy::upstream::{EventMeta, StreamKey};
use crate::wire::RequestId;

/// Messages that wait for a stream of a client that has none open.
const WAITING: usize = 64;

/// A request of the client's that is under way.
#[derive(Debug)]
pub(super) struct Pending {
    stream: Option<Sender>,
    order: u64,
    /// Where the upstream's answer stream can be resumed.
    pub(super) last_event: Option<EventMeta>,
    /// How often it was resumed since its last event.
    pub(super) resumed: u32,
}

/// What a message belongs to.
#[derive(Debug, Default)]
pub(super) struct Address {
    /// The request that it answers.
    pub(super) in_reply_to: Option<RequestId>,
    /// The request that it is about.
    pub(super) related: Option<RequestId>,
}

/// The client's streams.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// On stdio, the one stream there is.
    pipe: Option<Sender>,
    pending: HashMap<RequestId, Pending>,
    gets: HashMap<StreamKey, Sender>,
    /// The GET stream that resumes nothing.
    standing: Option<StreamKey>,
    /// Streams on which a pipe's requests are resumed.
    resumed: HashMap<StreamKey, RequestId>,
    waiting: VecDeque<Parcel>,
    next: u64,
    /// Nothing is taken any more.
    ended: bool,
}

/// Why a request is not expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unexpected {
    /// Its id is under way already.
    Duplicate,
    /// The session is over.
    Ended,
}

impl Routes {
    /// No streams yet; with `pipe`, none but that one.
    pub(super) fn new(pipe: Option<Sender>) -> Self {
        Self { pipe, ..Self::default() }
    }

    /// A request is about to be sent; what answers it goes to `stream`.
    pub(super) fn expect(&mut self, id: RequestId, stream: Sender) -> Result<(), Unexpected> {
        if self.ended {
            return Err(Unexpected::Ended);
        }
        if self.pending.contains_key(&id) {
            return Err(Unexpected::Duplicate);
        }
        self.next += 1;
        if self.live_standing().is_none() {
            self.waiting.drain(..).for_each(|parcel| give(&stream, parcel));
        }
        let pending = Pending { stream: Some(stream), order: self.next, last_event: None, resumed: 0 };
        self.pending.insert(id, pending);
        Ok(())
    }

    /// Whether no request is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// A request under way.
    pub(super) fn pending(&mut self, id: &RequestId) -> Option<&mut Pending> {
        self.pending.get_mut(id)
    }

    /// Takes a request out without an answer.
    pub(super) fn forget(&mut self, id: &RequestId) {
        self.pending.remove(id);
    }

    /// Whether a GET stream is open that resumes nothing.
    pub(super) fn live_standing(&self) -> Option<&Sender> {
        self.gets.get(self.standing.as_ref()?).filter(|stream| !stream.is_closed())
    }

    /// How many GET streams are open.
    pub(super) fn gets(&self) -> usize {
        self.gets.values().filter(|stream| !stream.is_closed()).count()
    }

    /// A GET stream was opened.
    pub(super) fn open(&mut self, key: StreamKey, stream: Sender, standing: bool) {
        if self.ended {
            return;
        }
        if standing {
            self.waiting.drain(..).for_each(|parcel| give(&stream, parcel));
            self.standing = Some(key.clone());
        }
        self.gets.insert(key, stream);
    }

    /// A GET stream is over.
    pub(super) fn close(&mut self, key: &StreamKey) {
        if self.standing.as_ref() == Some(key) {
            self.standing = None;
        }
        self.resumed.remove(key);
        self.gets.remove(key);
    }

    /// As [`Routes::close`], unless another client's stream has taken its place.
    pub(super) fn close_if_closed(&mut self, key: &StreamKey) {
        if self.gets.get(key).is_some_and(Sender::is_closed) {
            self.close(key);
        }
    }

    /// The answer to `id` is resumed on the stream `key`.
    pub(super) fn resuming(&mut self, key: StreamKey, id: RequestId) {
        if self.gets.contains_key(&key) {
            self.resumed.insert(key, id);
        }
    }

    /// Cuts the GET streams, which their client does not read, and drops what waits, to make room.
    pub(super) fn shed(&mut self) {
        self.waiting.clear();
        self.standing = None;
        self.gets.drain().for_each(|(_, stream)| stream.cut());
    }

    /// Cuts the streams of the requests as well. Their answers have nowhere to go then.
    pub(super) fn shed_all(&mut self) {
        self.shed();
        self.pending.values_mut().filter_map(|pending| pending.stream.take()).for_each(|stream| stream.cut());
    }

    /// Ends every stream and takes nothing any more. What is under way is given back, with where its answer goes.
    pub(super) fn end(&mut self) -> Vec<(RequestId, Option<Sender>)> {
        let before = std::mem::replace(self, Self { ended: true, ..Self::default() });
        before.pending.into_iter().map(|(id, pending)| (id, pending.stream)).collect()
    }

    /// Remembers where an answer's stream can be resumed.
    pub(super) fn saw(&mut self, from: &StreamKey, event: &EventMeta) {
        let id = match from {
            StreamKey::Post(id) => Some(id),
            StreamKey::Get(_) => self.resumed.get(from),
            StreamKey::Pipe => None,
        };
        if event.id.is_some()
            && let Some(pending) = id.and_then(|id| self.pending.get_mut(id))
        {
            pending.last_event = Some(event.clone());
            pending.resumed = 0;
        }
    }

    /// The client closed a stream on which this request was to be answered; one whose stream is open has the id from
    /// another POST and goes on. Returns whether its answer can be resumed later, in which case it no longer counts as
    /// under way here.
    pub(super) fn left(&mut self, id: &RequestId) -> bool {
        let Some(pending) = self.pending.get_mut(id) else { return false };
        if pending.stream.as_ref().is_some_and(|stream| !stream.is_closed()) {
            return false;
        }
        pending.stream = None;
        let resumable = pending.last_event.is_some();
        if resumable {
            self.pending.remove(id);
        }
        resumable
    }

    /// Puts a message on its stream. False if it had none, or its client is gone.
    pub(super) fn route(&mut self, parcel: Parcel, from: &StreamKey, address: &Address) -> bool {
        let answered = address.in_reply_to.as_ref().and_then(|id| self.pending.remove(id));
        if let Some(pipe) = &self.pipe {
            return pipe.send(parcel);
        }
        // A resumed stream carries what belonged to its request.
        if let Some(stream) = self.gets.get(from).filter(|_| matches!(from, StreamKey::Get(_))) {
            return stream.send(parcel);
        }
        if address.in_reply_to.is_some() {
            let stream = answered.and_then(|pending| pending.stream);
            return stream.is_some_and(|stream| stream.send(parcel));
        }
        let own = match from {
            StreamKey::Post(id) => self.stream_of(id),
            StreamKey::Pipe | StreamKey::Get(_) => None,
        };
        if let Some(own) = own {
            return own.send(parcel);
        }
        if parcel.bytes.is_empty() {
            return false;
        }
        // On another stream than its own, its event's id would resume the wrong one.
        let parcel = Parcel { event: None, ..parcel };
        let related = address.related.as_ref().and_then(|id| self.stream_of(id));
        if let Some(stream) = related.or_else(|| self.live_standing()).or_else(|| self.latest()) {
            return stream.send(parcel);
        }
        self.waiting.push_back(parcel);
        if self.waiting.len() > WAITING {
            self.waiting.pop_front();
            return false;
        }
        true
    }

    fn stream_of(&self, id: &RequestId) -> Option<&Sender> {
        self.pending.get(id)?.stream.as_ref().filter(|stream| !stream.is_closed())
    }

    fn latest(&self) -> Option<&Sender> {
        let open =
            self.pending.values().filter_map(|pending| Some((pending.order, pending.stream.as_ref()?)));
        open.filter(|(_, stream)| !stream.is_closed())
            .max_by_key(|(order, _)| *order)
            .map(|(_, stream)| stream)
    }
}

/// A stream that closed in between has nobody who misses the message.
fn give(stream: &Sender, parcel: Parcel) {
    stream.send(parcel);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt as _;

    use super::*;
    use crate::proxy::relay::stream::{Reader, stream};

    fn parcel(text: &'static str) -> Parcel {
        Parcel { answer: false, ..Parcel::answer(Bytes::from_static(text.as_bytes())) }
    }

    fn texts(stream: &mut Reader) -> Vec<String> {
        std::iter::from_fn(|| stream.try_recv())
            .map(|parcel| String::from_utf8(parcel.bytes.to_vec()).unwrap())
            .collect()
    }

    fn ended(stream: &mut Reader) -> bool {
        matches!(stream.recv().now_or_never(), Some(None))
    }

    fn reply_to(id: i64) -> Address {
        Address { in_reply_to: Some(id.into()), related: None }
    }

    fn about(id: i64) -> Address {
        Address { in_reply_to: None, related: Some(id.into()) }
    }

    #[test]
    fn an_answer_goes_to_its_own_stream_once_and_ends_it() {
        let (mut routes, (one, mut first), (two, mut second)) = (Routes::default(), stream(), stream());
        assert_eq!(routes.expect(1.into(), one), Ok(()));
        assert_eq!(routes.expect(2.into(), two), Ok(()));
        assert!(routes.route(parcel("b"), &StreamKey::Pipe, &reply_to(2)));
        assert!(routes.route(parcel("progress"), &StreamKey::Pipe, &about(1)));
        assert!(!routes.route(parcel("again"), &StreamKey::Pipe, &reply_to(2)));
        assert_eq!(texts(&mut first), ["progress"]);
        assert_eq!(texts(&mut second), ["b"]);
        assert!(ended(&mut second));
    }

    #[test]
    fn what_belongs_to_no_request_prefers_the_get_stream_then_the_latest_request_then_waits() {
        let mut routes = Routes::default();
        assert!(routes.route(parcel("early"), &StreamKey::Pipe, &Address::default()));
        let ((one, mut first), (two, mut second), (get, mut got)) = (stream(), stream(), stream());
        routes.expect(1.into(), one).unwrap();
        routes.expect(2.into(), two).unwrap();
        routes.route(parcel("x"), &StreamKey::Pipe, &Address::default());
        routes.open(StreamKey::Pipe, get, true);
        routes.route(parcel("y"), &StreamKey::Pipe, &Address::default());
        assert_eq!(texts(&mut first), ["early"]);
        assert_eq!(texts(&mut second), ["x"]);
        assert_eq!(texts(&mut got), ["y"]);
        drop(got);
        routes.route(parcel("z"), &StreamKey::Pipe, &Address::default());
        assert_eq!(texts(&mut second), ["z"]);
    }

    #[test]
    fn waiting_messages_are_bounded_and_go_to_the_next_get_stream() {
        let mut routes = Routes::default();
        for _ in 0..WAITING {
            assert!(routes.route(parcel("m"), &StreamKey::Pipe, &Address::default()));
        }
        assert!(!routes.route(parcel("last"), &StreamKey::Pipe, &Address::default()));
        let (get, mut got) = stream();
        routes.open(StreamKey::Pipe, get, true);
        let got = texts(&mut got);
        assert_eq!((got.len(), got.last().map(String::as_str)), (WAITING, Some("last")));
    }

    #[test]
    fn after_the_end_nothing_is_expected_and_what_was_under_way_is_given_back() {
        let (mut routes, (one, mut first), (get, mut got)) = (Routes::default(), stream(), stream());
        routes.expect(1.into(), one).unwrap();
        assert_eq!(routes.expect(1.into(), get.clone()), Err(Unexpected::Duplicate));
        let given_back = routes.end();
        assert_eq!(given_back.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>(), [1.into()]);
        assert_eq!(routes.expect(2.into(), get.clone()), Err(Unexpected::Ended));
        routes.open(StreamKey::Pipe, get, true);
        assert!(ended(&mut got));
        drop(given_back);
        assert!(ended(&mut first));
    }

    #[test]
    fn another_post_with_the_same_id_does_not_take_the_answer_with_it_when_it_ends() {
        let (mut routes, (one, mut first)) = (Routes::default(), stream());
        routes.expect(1.into(), one).unwrap();
        assert!(!routes.left(&1.into()), "the first one's client is still there");
        assert!(routes.route(parcel("answer"), &StreamKey::Post(1.into()), &reply_to(1)));
        assert_eq!(texts(&mut first), ["answer"]);
    }

    #[test]
    fn a_resumed_stream_carries_the_answer_of_a_request_whose_stream_was_lost() {
        let (mut routes, (lost, gone), (get, mut got)) = (Routes::default(), stream(), stream());
        routes.expect(1.into(), lost).unwrap();
        let event = EventMeta { id: Some("e1".to_owned()), retry: None };
        routes.saw(&StreamKey::Post(1.into()), &event);
        drop(gone);
        assert!(routes.left(&1.into()));
        routes.open(StreamKey::Get(0), get, false);
        assert!(routes.route(parcel("answer"), &StreamKey::Get(0), &reply_to(1)));
        assert_eq!(texts(&mut got), ["answer"]);
        assert!(routes.live_standing().is_none(), "a resumed stream takes nothing else");
    }
}
