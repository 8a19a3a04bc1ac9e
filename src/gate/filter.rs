//! Lists on their way to the client: what this caller could never be permitted is cut out, and the definitions
//! that pass are learned.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::attest::{AppendError, Predicate, Receipt, Statement};
use crate::domain::digest::Sha256Digest;
use crate::domain::ids::DecisionId;
use crate::domain::random;
use crate::domain::refusal::DenyReason;
use crate::policy::{SessionEntities, ToolDefinition};
use crate::wire::{Frame, Kind, RequestId, WireError, lists, methods, replies};

use super::asked::{Asked, AskedKind, ListKind};
use super::catalog::{Learned, OwnPage};
use super::claim::Claim;
use super::denial::Denial;
use super::permit::{Outgoing, Permit, ToServer};
use super::record::Cut;
use super::session::{Phase, Session, Shared};
use super::standing::Standing;
use super::verdict::ServerVerdict;

/// How long a call waits for the tool server's list of tools.
const LIST_PATIENCE: Duration = Duration::from_secs(15);

/// The key of the tools in a `tools/list` result.
const TOOLS: &str = "tools";

impl ListKind {
    const fn key(self) -> &'static str {
        match self {
            Self::Tools => TOOLS,
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    const fn method(self) -> &'static str {
        match self {
            Self::Tools => methods::TOOLS_LIST,
            Self::Prompts => methods::PROMPTS_LIST,
            Self::Resources => methods::RESOURCES_LIST,
            Self::Templates => methods::RESOURCES_TEMPLATES_LIST,
        }
    }
}

impl Session {
    /// A tool call is about to come, which waits for the tool server's list: it is asked for now where it was not, by
    /// [`Session::own_request`], and where the last one failed. `announced`: the client's `initialized`, after which it
    /// is asked for in any case, is on its way. Whether there is something to ask.
    pub fn want_tools(&self, announced: bool) -> bool {
        let mut core = self.shared.core.lock();
        matches!(core.phase, Phase::Open(_)) && core.own.want_again(announced)
    }

    /// What a tool call has to wait for before it is decided, if anything: see [`Session::from_client`], which waits as
    /// well. Meanwhile other messages may be needed for it to come.
    pub fn awaited_tools(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        let shared = Arc::clone(&self.shared);
        let waits = {
            let core = shared.core.lock();
            matches!(core.phase, Phase::Open(_))
                && core.own.capable
                && core.own.came(core.own.last_want()).is_none()
        };
        waits.then_some(async move {
            // What came of it is looked at when the call is decided.
            let _listed = shared.tools_listed().await;
        })
    }
}

impl Shared {
    /// Filters the answer to a list request by what was asked under its id, and records a list that was cut.
    pub(super) async fn filtered(
        self: &Arc<Self>,
        (list, first): (ListKind, bool),
        id: RequestId,
        frame: &Frame,
        asked: Asked,
    ) -> ServerVerdict {
        if list == ListKind::Tools
            && let Ok(definitions) = self.see(frame)
        {
            self.learn(definitions, false).await;
        }
        let (shown, removed) = match self.cut((list, first), frame, asked.by.as_ref()) {
            Ok(cut) => cut,
            Err(error) => {
                tracing::warn!(target: "chancery::decision", session = %self.id, %error, "the tool server's list can't be read");
                asked.end(self, Some(error.reason.as_str()));
                let text = format!("The tool server's list can't be read: {error}");
                let reply = replies::error(Some(&id), super::denial::INVALID_REQUEST, &text, None::<&()>);
                return self.deliver_error(id, reply, false);
            }
        };
        let cut = Cut { method: list.method(), came: frame, shown: &shown, removed };
        if removed > 0
            && let Err(reason) = self.record_cut(&cut).await
        {
            // A rewrite without its record must not be seen.
            asked.end(self, Some(reason.as_str()));
            let reply = Denial::plain(Some(&id), reason).reply();
            return self.deliver_error(id, reply, false);
        }
        asked.end(self, None);
        self.deliver_answer(id, shown.bytes().clone())
    }

    fn cut(
        &self,
        (list, first): (ListKind, bool),
        frame: &Frame,
        by: Option<&Arc<SessionEntities>>,
    ) -> Result<(Frame, usize), WireError> {
        let (engine, epoch) = self.house.parts.engines.snapshot();
        let core = self.core.lock();
        let (entities, did) = (Arc::clone(by.unwrap_or(&core.entities)), core.did.clone());
        drop(core);
        let mut shown = Vec::new();
        let cut = lists::filter(frame, list.key(), &self.house.parts.limits, |name, raw| {
            // The very entry must be the compiled one: a list may name a tool twice.
            let digest = || ToolDefinition::from_list_entry(raw).ok().map(|definition| definition.digest);
            let seen = if list == ListKind::Tools { digest() } else { None };
            let shows = self.shows(&engine, (&entities, &did), list, name, seen);
            shown.push((name.into(), shows));
            shows
        })?;
        let mut core = self.core.lock();
        core.shown.note(list, first, shown);
        if self.policy_epoch() != epoch {
            // Replaced meanwhile: the client is told that what it gets here is old.
            core.shown.look_again(epoch);
            self.stirred.notify_one();
        }
        self.stir(&core, &engine);
        Ok(cut)
    }

    /// Records that a list went on shorter than it came, with both digests (I2), and waits for the receipt.
    async fn record_cut(&self, cut: &Cut<'_>) -> Result<Receipt, DenyReason> {
        let no_random = |_no_random| DenyReason::AttestationFailed;
        let salt = random::salt().map_err(no_random)?;
        let decision = DecisionId::from_uuid(random::uuid_v7(self.now()).map_err(no_random)?);
        let engine = self.house.parts.engines.current();
        let failed = |error: AppendError| {
            tracing::error!(target: "chancery::decision", session = %self.id, %error, "a cut list could not be recorded; it was withheld");
            error.deny_reason()
        };
        // A block of its own: the guard must not live on to the await, or the future could not change threads.
        let pending = {
            let core = self.core.lock();
            if core.phase == Phase::Over {
                return Err(DenyReason::SessionOver);
            }
            let record = self.cut_record(&core, &engine, (decision, &salt), cut);
            let log = &self.house.parts.log;
            log.append(&self.chain, |link| Statement::new(Predicate::Decision(record), link))
        };
        let receipt = pending.map_err(failed)?.await.map_err(failed)?;
        tracing::debug!(
            target: "chancery::decision",
            session = %self.id,
            method = cut.method,
            removed = cut.removed,
            attestation = %receipt.digest(),
            "list filtered"
        );
        Ok(receipt)
    }

    /// Reads a page of tools and notes each one's digest; the readable definitions are returned.
    fn see(&self, frame: &Frame) -> Result<Vec<ToolDefinition>, WireError> {
        let entries = lists::entries(frame, TOOLS)?;
        let mut definitions = Vec::with_capacity(entries.len());
        let mut core = self.core.lock();
        for (name, raw) in entries {
            match ToolDefinition::from_list_entry(raw) {
                Ok(definition) => {
                    if core.seen.note(&definition.name, definition.digest) {
                        definitions.push(definition);
                    }
                }
                Err(error) => {
                    // Whatever was compiled under this name is not what the server has now.
                    core.seen.note(&name, Sha256Digest::of(raw));
                    tracing::warn!(target: "chancery::policy", server = %self.route.server, %error, "a tool's definition can't be used; the tool stays unknown");
                }
            }
        }
        Ok(definitions)
    }

    /// Hands over a whole list, or definitions that policies were not compiled for, and waits until that is done.
    async fn learn(&self, definitions: Vec<ToolDefinition>, complete: bool) {
        let engine = self.house.parts.engines.current();
        let server = &self.route.server;
        let known =
            |d: &ToolDefinition| engine.tool(server, &d.name).map(|tool| tool.digest()) == Some(d.digest);
        // A whole list tells of what is gone, and of what is back in order.
        if !complete && definitions.iter().all(known) {
            return;
        }
        drop(engine);
        let learned = Learned { server: server.clone(), definitions, complete };
        self.house.parts.catalogue.learned(learned).await;
    }

    /// The next page of the gateway's own `tools/list`.
    pub(super) fn own_request(self: &Arc<Self>) -> Option<Permit<ToServer>> {
        let now = self.now();
        let patience = self.house.parts.limits.handshake;
        let mut core = self.core.lock();
        if !matches!(core.phase, Phase::Open(_)) {
            return None;
        }
        if let Some(stale) = core.own.expire(now, patience) {
            core.asked.answer(&stale);
            self.listed.notify_waiters();
        }
        let OwnPage { id, cursor } = core.own.next(now)?;
        if cursor.is_none() {
            core.seen.begin();
        }
        let asked = Asked::new(AskedKind::OwnTools, methods::TOOLS_LIST);
        let Ok(serial) = core.asked.enter(id.clone(), None, asked) else {
            // No room at the moment: the list is asked for again later.
            core.own.forget();
            core.own.want();
            self.listed.notify_waiters();
            return None;
        };
        core.standing.take(Standing::OwnToolList, now);
        drop(core);
        let params = cursor.map(|cursor| json!({ "cursor": cursor }));
        let bytes = replies::request(&id, methods::TOOLS_LIST, params.as_ref());
        let outgoing =
            Outgoing { request: Some(id.clone()), headers: self.headers(), ..Outgoing::message(bytes) };
        let claim = Some(Claim::OfClient(id, serial));
        Some(Permit::standing(Standing::OwnToolList, Arc::clone(self), outgoing, claim))
    }

    /// Takes the answer to the gateway's own `tools/list`.
    pub(super) async fn own_tools_answer(&self, frame: &Frame) {
        let read = (frame.kind() == Kind::Response).then(|| self.see(frame));
        let Some(Ok(definitions)) = read else {
            tracing::warn!(target: "chancery::policy", server = %self.route.server, "the tool server did not answer the gateway's tools/list with a list");
            self.core.lock().own.forget();
            self.listed.notify_waiters();
            return;
        };
        let (whole, round) = {
            let mut core = self.core.lock();
            let round = core.own.round();
            let whole = core.own.page(definitions, lists::next_cursor(frame));
            if whole.as_ref().is_some_and(|(_, complete)| *complete) {
                core.seen.finish();
            }
            (whole, round)
        };
        if let Some((definitions, complete)) = whole {
            self.learn(definitions, complete).await;
            self.core.lock().own.settle(round);
            self.listed.notify_waiters();
        }
    }

    /// Waits until this session's tool server has said which tools it has, so that no call is decided on definitions
    /// that may have changed before the session began, or since the server said that they did. Why not, if it does not.
    pub(super) async fn tools_listed(&self) -> Option<DenyReason> {
        let want = {
            let core = self.core.lock();
            // What a server without tools has is known.
            if !core.own.capable || core.own.came(core.own.last_want()) == Some(true) {
                return None;
            }
            core.own.last_want()
        };
        let settled = async {
            loop {
                let notified = self.listed.notified();
                tokio::pin!(notified);
                notified.as_mut().enable();
                let came = self.core.lock().own.came(want);
                match came {
                    Some(came) => return came,
                    None => notified.await,
                }
            }
        };
        let ended = self.ended();
        let came = tokio::select! {
            came = tokio::time::timeout(LIST_PATIENCE, settled) => came.unwrap_or(false),
            () = ended.cancelled() => return Some(DenyReason::SessionOver),
        };
        (!came).then_some(DenyReason::UpstreamUnavailable)
    }
}
