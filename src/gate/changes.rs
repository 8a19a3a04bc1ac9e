//! Tells a client that what its lists show has changed: policies were replaced, or the session's state is another.
//!
//! What a list showed last is kept, entry by entry, and looked at again when something could have changed it. The
//! notification goes out only if the tool server declared `listChanged` for that list in the handshake, and only once
//! the client has listed: to declare it in the server's place would change the handshake (I2), and a client that has not
//! listed holds nothing that could be stale.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::domain::clock::Timestamp;
use crate::domain::digest::Sha256Digest;
use crate::domain::refusal::DenyReason;
use crate::policy::{Action, Engine, Listed, SessionEntities, State};
use crate::wire::{Frame, methods, replies};

use super::asked::ListKind;
use super::matter::Matter;
use super::permit::{Outgoing, Permit, ToClient};
use super::session::{Core, Phase, Session, Shared};
use super::standing::Standing;
use super::state::Did;

/// Entries of one list that are looked at again. If there are more, a change of policies counts as one of the list.
const MAX_ENTRIES: usize = 1_024;
/// How long changes are gathered before the lists are looked at; so often at most a client is told.
const GATHER: Duration = Duration::from_millis(500);
/// How often lists are looked at that can change without a message of this session: by the age of the session, by what
/// the principal does in others, by labels and limits that run out.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What a list showed last.
#[derive(Debug, Default)]
struct Shown {
    /// The client has asked for it.
    asked: bool,
    /// Whether each entry was shown.
    entries: HashMap<Box<str>, bool>,
    /// There were more entries than are kept.
    more: bool,
}

/// What the lists of a session showed last.
#[derive(Debug, Default)]
pub(super) struct ShownLists {
    /// Which lists' changes the tool server declared to tell: tools, prompts, resources.
    declared: Declared,
    of: [Shown; ListKind::ALL.len()],
    /// The epoch of the policies by which the lists were last looked at.
    epoch: u64,
}

/// `listChanged` of each capability.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Declared {
    tools: bool,
    prompts: bool,
    resources: bool,
}

impl Declared {
    /// By a handshake's result (MCP, server capabilities).
    pub(super) fn by(frame: &Frame) -> Self {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            capabilities: Capabilities,
        }
        #[derive(Deserialize, Default)]
        struct Capabilities {
            tools: Option<Capability>,
            prompts: Option<Capability>,
            resources: Option<Capability>,
        }
        #[derive(Deserialize)]
        struct Capability {
            #[serde(default, rename = "listChanged")]
            list_changed: bool,
        }
        let declares = |capability: Option<Capability>| capability.is_some_and(|c| c.list_changed);
        let answer = frame.result().and_then(|raw| serde_json::from_slice::<Answer>(raw).ok());
        answer.map_or_else(Self::default, |Answer { capabilities: of }| Self {
            tools: declares(of.tools),
            prompts: declares(of.prompts),
            resources: declares(of.resources),
        })
    }

    const fn has(self, list: ListKind) -> bool {
        match list {
            ListKind::Tools => self.tools,
            ListKind::Prompts => self.prompts,
            ListKind::Resources | ListKind::Templates => self.resources,
        }
    }
}

impl ShownLists {
    pub(super) fn declare(&mut self, declared: Declared) {
        self.declared = declared;
    }

    /// Keeps what a page of `list` showed; the first page begins anew.
    pub(super) fn note(&mut self, list: ListKind, first: bool, entries: Vec<(Box<str>, bool)>) {
        let declared = self.declared.has(list);
        let Some(shown) = self.of.get_mut(list.at()).filter(|_| declared) else { return };
        if first {
            *shown = Shown::default();
        }
        shown.asked = true;
        for (name, visible) in entries {
            let known = shown.entries.contains_key(&name);
            if known || shown.entries.len() < MAX_ENTRIES {
                shown.entries.insert(name, visible);
            } else {
                shown.more = true;
            }
        }
    }

    /// A list was cut by the policies of `epoch`, which are in force no more.
    pub(super) const fn look_again(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    /// Whether anything is kept that could become stale.
    pub(super) fn any(&self) -> bool {
        self.of.iter().any(|shown| shown.asked)
    }
}

/// A list's entries to look at again.
struct Look {
    list: ListKind,
    more: bool,
    entries: Vec<(Box<str>, bool, Option<Sha256Digest>)>,
}

impl Shared {
    /// Whether an entry is shown now. `seen` is the digest of a tool's definition as the server has it.
    pub(super) fn shows(
        &self,
        engine: &Engine,
        (entities, did): (&SessionEntities, &Did),
        list: ListKind,
        name: &str,
        seen: Option<Sha256Digest>,
    ) -> bool {
        let entry = match list {
            ListKind::Tools => {
                let compiled = engine.tool(&self.route.server, name).map(|tool| tool.digest());
                if compiled.is_none() || seen != compiled {
                    return false;
                }
                Listed::Tool(name)
            }
            ListKind::Prompts => Listed::Prompt(name),
            ListKind::Resources => Listed::Resource(name),
            ListKind::Templates => Listed::Template(name),
        };
        let now = self.now();
        let tool = (list == ListKind::Tools).then_some(name);
        let state = self.state(did, None, tool, (now, engine.state_reads()));
        engine.could_be_permitted(entities, entry, now, &state)
    }

    /// A message changed the session's state; what its lists show may depend on it.
    pub(super) fn stir(&self, core: &Core, engine: &Engine) {
        if engine.state_reads().any() && core.shown.any() {
            self.stirred.notify_one();
        }
    }

    /// Looks at all that the lists showed, and says which show something else now.
    pub(super) fn changed_lists(&self) -> Vec<ListKind> {
        let (engine, epoch) = self.house.parts.engines.snapshot();
        let mut core = self.core.lock();
        if !matches!(core.phase, Phase::Open(_)) {
            return Vec::new();
        }
        let replaced = std::mem::replace(&mut core.shown.epoch, epoch) != epoch;
        let looks: Vec<Look> = ListKind::ALL
            .into_iter()
            .zip(&core.shown.of)
            .filter(|(_, shown)| shown.asked)
            .map(|(list, shown)| Look {
                list,
                more: shown.more,
                entries: shown.entries.iter().map(|(n, v)| (n.clone(), *v, core.seen.digest(n))).collect(),
            })
            .collect();
        let (entities, did) = (Arc::clone(&core.entities), core.did.clone());
        drop(core);
        let mut changed = Vec::new();
        for Look { list, more, entries } in looks {
            let now = |name: &str, seen| self.shows(&engine, (&entities, &did), list, name, seen);
            let different: Vec<Box<str>> =
                entries.into_iter().filter(|(n, was, seen)| now(n, *seen) != *was).map(|(n, ..)| n).collect();
            if different.is_empty() && !(more && replaced) {
                continue;
            }
            changed.push(list);
            // The client is told once; what it lists then is kept anew.
            let mut core = self.core.lock();
            if let Some(shown) = core.shown.of.get_mut(list.at()) {
                for name in different {
                    shown.entries.entry(name).and_modify(|visible| *visible = !*visible);
                }
            }
        }
        changed
    }

    fn list_changed(self: &Arc<Self>, method: &str) -> Permit<ToClient> {
        let now = self.now();
        self.core.lock().standing.take(Standing::OwnNotification, now);
        let outgoing = Outgoing::message(replies::notification(method, None::<&()>));
        Permit::standing(Standing::OwnNotification, Arc::clone(self), outgoing, None)
    }
}

impl Session {
    /// Waits until lists of this session show something else than they did, and gives what the client is told of it.
    /// To be called again and again while the session lasts, by one task, which keeps the future until it is ready.
    pub async fn list_changes(&self) -> Vec<Permit<ToClient>> {
        let shared = &self.shared;
        let engines = &shared.house.parts.engines;
        let mut replaced = engines.replacements();
        loop {
            let (anything, known) = {
                let core = shared.core.lock();
                (core.shown.any(), core.shown.epoch)
            };
            if !anything || known == *replaced.borrow_and_update() {
                let stateful = anything && engines.current().state_reads().any();
                tokio::select! {
                    // The store outlives the session, so this never fails.
                    _ = replaced.changed() => {}
                    () = shared.stirred.notified() => {}
                    () = tokio::time::sleep(LOOK_AGAIN), if stateful => {}
                }
            }
            tokio::time::sleep(GATHER).await;
            let changed = shared.changed_lists();
            let mut methods: Vec<&str> = changed.into_iter().map(ListKind::changed).collect();
            methods.dedup();
            if !methods.is_empty() {
                return methods.into_iter().map(|method| shared.list_changed(method)).collect();
            }
        }
    }
}

/// Why what a message would tell of is not told: no arguments of it could be permitted.
pub(super) fn tells_of_hidden(
    core: &Core,
    matter: &Matter<'_>,
    engine: &Engine,
    (now, state): (Timestamp, &State),
) -> Option<DenyReason> {
    let shown = engine.could_be_permitted(&core.entities, matter.tells_of?, now, state);
    (!shown).then_some(DenyReason::NotPermitted)
}

/// Whether a denied tool is one that the caller can't see at all.
pub(super) fn is_hidden(
    core: &Core,
    matter: &Matter<'_>,
    engine: &Engine,
    (now, state): (Timestamp, &State),
    deny: Option<DenyReason>,
) -> bool {
    match (matter.action, deny) {
        (Action::ToolCall { .. }, Some(DenyReason::UnknownTool)) => true,
        // Nobody has approved it yet, so no policy tells to whom.
        (Action::ToolCall { name, .. }, Some(DenyReason::ToolQuarantined))
            if engine.tool(&core.entities.facts().server, name).is_none() =>
        {
            false
        }
        (
            Action::ToolCall { name, .. },
            Some(
                DenyReason::Forbidden
                | DenyReason::NotPermitted
                | DenyReason::ForbidError
                | DenyReason::ToolQuarantined
                | DenyReason::InvalidInput,
            ),
        ) => !engine.could_be_permitted(&core.entities, Listed::Tool(name), now, state),
        _ => false,
    }
}

impl ListKind {
    /// All of them; those that share a notification stand together.
    pub(super) const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    const fn at(self) -> usize {
        match self {
            Self::Tools => 0,
            Self::Prompts => 1,
            Self::Resources => 2,
            Self::Templates => 3,
        }
    }

    /// The notification that says that it changed.
    const fn changed(self) -> &'static str {
        match self {
            Self::Tools => methods::NOTIFICATIONS_TOOLS_LIST_CHANGED,
            Self::Prompts => methods::NOTIFICATIONS_PROMPTS_LIST_CHANGED,
            Self::Resources | Self::Templates => methods::NOTIFICATIONS_RESOURCES_LIST_CHANGED,
        }
    }
}
