//! The entities of a decision: the session's principal, built when it opens, and what it asks for.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use cedar_policy::{Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression as Expr};

use crate::domain::admitted::Admitted;
use crate::domain::clock::Timestamp;
use crate::domain::evidence::{Evidence, EvidenceKind, PassedClaims};
use crate::domain::ids::{ServerName, SessionId};
use crate::domain::principal::Principal;
use crate::domain::revision::Revision;

use super::catalogue::ToolDefinition;
use super::json::write_string;
use super::observed::Observed;
use super::state::State;

/// The entity types of the schema.
pub(super) struct Types {
    pub(super) action: EntityTypeName,
    pub(super) agent: EntityTypeName,
    pub(super) group: EntityTypeName,
    pub(super) server: EntityTypeName,
    pub(super) tool: EntityTypeName,
    pub(super) prompt: EntityTypeName,
    pub(super) resource: EntityTypeName,
}

/// The entity types of the schema, parsed once.
pub(super) static TYPES: LazyLock<Types> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "constants; every test would fail")]
    let of = |name: &str| EntityTypeName::from_str(&format!("Mcp::{name}")).expect("a type name");
    Types {
        action: of("Action"),
        agent: of("Agent"),
        group: of("Group"),
        server: of("Server"),
        tool: of("Tool"),
        prompt: of("Prompt"),
        resource: of("Resource"),
    }
});

/// The entity `id` of type `ty`.
pub(super) fn uid(ty: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(ty.clone(), EntityId::new(id))
}

/// What policies may know of a session.
#[derive(Debug, Clone)]
pub struct SessionFacts {
    /// Who asks.
    pub principal: Principal,
    /// The server that the session is with.
    pub server: ServerName,
    /// The session's id.
    pub session: SessionId,
    /// What the principal rests on.
    pub evidence: EvidenceKind,
    /// The protocol revision; before the server answered, the one that the client asked for.
    pub protocol: Revision,
    /// `stdio`, `unix` or `tcp`.
    pub transport: &'static str,
    /// When the session opened.
    pub opened: Timestamp,
    /// What the client calls itself.
    pub client_name: Option<String>,
    /// The version that the client claims.
    pub client_version: Option<String>,
    /// The user id, where the evidence tells it.
    pub uid: Option<u32>,
    /// The executable's path, where the evidence tells it.
    pub executable: Option<String>,
    /// The groups that the evidence proves.
    pub groups: Vec<String>,
    /// The claims of a bearer token that configuration lets through.
    pub claims: Arc<PassedClaims>,
}

impl SessionFacts {
    /// Of an admission's evidence; the client's name and version are still to be filled in.
    pub fn of(
        admitted: &Admitted,
        server: ServerName,
        session: SessionId,
        protocol: Revision,
        transport: &'static str,
        opened: Timestamp,
    ) -> Self {
        let (uid, executable) = match admitted.evidence() {
            Evidence::Peer(peer) => {
                let path = peer.executable.as_ref().map(|exe| exe.path.to_string_lossy().into_owned());
                (Some(peer.uid), path)
            }
            Evidence::Bootstrap(bootstrap) => (Some(bootstrap.file_uid), None),
            Evidence::Oidc(_) | Evidence::Mtls(_) | Evidence::Anonymous => (None, None),
        };
        Self {
            principal: admitted.principal().clone(),
            server,
            session,
            evidence: admitted.evidence().kind(),
            protocol,
            transport,
            opened,
            client_name: None,
            client_version: None,
            uid,
            executable,
            groups: admitted.evidence().groups().to_vec(),
            claims: admitted.evidence().claims().cloned().unwrap_or_default(),
        }
    }
}

/// A session's principal as Cedar sees it. It belongs to no engine: it stays valid when the policies are replaced.
#[derive(Debug, Clone)]
pub struct SessionEntities {
    facts: SessionFacts,
    pub(super) agent: EntityUid,
    groups: HashSet<EntityUid>,
    /// The same, to go through.
    pub(super) group_list: Vec<EntityUid>,
    pub(super) server: EntityUid,
    attributes: Vec<(&'static str, Expr)>,
    tags: Vec<(String, Expr)>,
    session: Vec<(String, Expr)>,
    /// The unchanging facts as JSON members, for the digest of a decision's input.
    pub(super) canonical: String,
}

impl SessionEntities {
    pub(super) fn new(facts: &SessionFacts) -> Self {
        let text = |text: &str| Expr::new_string(text.to_owned());
        let mut canonical = Canonical::default();
        let mut attributes = Vec::with_capacity(4);
        let mut groups = HashSet::from([uid(&TYPES.group, facts.evidence.as_str())]);
        attributes.push(("evidence", text(facts.evidence.as_str())));
        canonical.member("principal", facts.principal.as_str());
        canonical.member("evidence", facts.evidence.as_str());
        for group in &facts.groups {
            groups.insert(uid(&TYPES.group, group));
            canonical.member("group", group);
        }
        if let Some(user) = facts.uid {
            groups.insert(uid(&TYPES.group, &format!("uid:{user}")));
            attributes.push(("uid", Expr::new_long(i64::from(user))));
            canonical.member("uid", &user.to_string());
        }
        if let Some(path) = &facts.executable {
            attributes.push(("executable", text(path)));
            canonical.member("executable", path);
        }
        let (name, version) =
            (facts.client_name.as_deref().unwrap_or(""), facts.client_version.as_deref().unwrap_or(""));
        if let Ok(client) =
            Expr::new_record([("name".to_owned(), text(name)), ("version".to_owned(), text(version))])
        {
            attributes.push(("client", client));
        }
        canonical.member("clientName", name);
        canonical.member("clientVersion", version);
        let mut tags = Vec::with_capacity(facts.claims.len());
        for (name, values) in facts.claims.iter() {
            tags.push((name.clone(), Expr::new_set(values.iter().map(|value| text(value)))));
            for value in values {
                canonical.member(&format!("claim.{name}"), value);
            }
        }
        let mut session = Vec::with_capacity(6);
        let id = facts.session.to_string();
        for (key, value) in [
            ("id", id.as_str()),
            ("protocol", facts.protocol.as_str()),
            ("transport", facts.transport),
            ("evidence", facts.evidence.as_str()),
        ] {
            session.push((key.to_owned(), text(value)));
            canonical.member(&format!("session.{key}"), value);
        }
        canonical.member("server", facts.server.as_str());
        Self {
            agent: uid(&TYPES.agent, facts.principal.as_str()),
            group_list: groups.iter().cloned().collect(),
            groups,
            server: uid(&TYPES.server, facts.server.as_str()),
            facts: facts.clone(),
            attributes,
            tags,
            session,
            canonical: canonical.0,
        }
    }

    /// The facts that it was built from.
    pub fn facts(&self) -> &SessionFacts {
        &self.facts
    }

    /// Seconds since the session opened.
    pub(super) fn age(&self, now: Timestamp) -> i64 {
        i64::try_from(now.since(self.facts.opened).as_secs()).unwrap_or(i64::MAX)
    }

    /// The agent, made anew for each decision, with what of it can be observed. `None` can't happen with the constants
    /// above.
    pub(super) fn agent_entity(&self, now: Timestamp, state: &State, observed: Observed) -> Option<Entity> {
        let own = self.attributes.iter().filter(|(name, _)| observed.has(name));
        let mut attributes: HashMap<String, Expr> =
            own.map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        if observed.has("session") {
            let session = self.session.iter().cloned().chain(state.session(self.age(now))?);
            attributes.insert("session".to_owned(), Expr::new_record(session).ok()?);
        }
        if observed.has("usage") {
            attributes.insert("usage".to_owned(), state.usage()?);
        }
        if observed.has("labels") {
            attributes.insert("labels".to_owned(), state.labels());
        }
        let tags = self.tags.iter().filter(|_| observed.tags()).cloned();
        Entity::new_with_tags(self.agent.clone(), attributes, self.groups.clone(), tags).ok()
    }

    /// The server that the session is with.
    pub(super) fn server_entity(&self) -> Option<Entity> {
        server_entity(self.facts.server.as_str())
    }
}

/// JSON members, each with its comma.
#[derive(Default)]
struct Canonical(String);

impl Canonical {
    fn member(&mut self, key: &str, value: &str) {
        write_string(key, &mut self.0);
        self.0.push(':');
        write_string(value, &mut self.0);
        self.0.push(',');
    }
}

/// A server.
pub(super) fn server_entity(name: &str) -> Option<Entity> {
    named(&TYPES.server, name, "name", name, [])
}

/// A prompt or a resource of a server: its id is `<server>/<name>`.
pub(super) fn member_entity(ty: &EntityTypeName, server: &str, key: &str, name: &str) -> Option<Entity> {
    let parts = if *ty == TYPES.resource { super::uri::record(name) } else { None };
    let attributes = [(key, Some(Expr::new_string(name.to_owned()))), ("parts", parts)];
    let attributes = attributes.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    let parents = HashSet::from([uid(&TYPES.server, server)]);
    Entity::new(uid(ty, &format!("{server}/{name}")), attributes.collect(), parents).ok()
}

fn named<const N: usize>(
    ty: &EntityTypeName,
    id: &str,
    key: &str,
    name: &str,
    parents: [EntityUid; N],
) -> Option<Entity> {
    let attributes = HashMap::from([(key.to_owned(), Expr::new_string(name.to_owned()))]);
    Entity::new(uid(ty, id), attributes, HashSet::from(parents)).ok()
}

/// A tool.
pub(super) fn tool_entity(server: &str, tool: &ToolDefinition, pinned: bool) -> Option<Entity> {
    let text = |text: &str| Expr::new_string(text.to_owned());
    let claims = &tool.annotations;
    let mut annotations = Vec::new();
    for (key, claim) in [
        ("readOnlyHint", claims.read_only),
        ("destructiveHint", claims.destructive),
        ("idempotentHint", claims.idempotent),
        ("openWorldHint", claims.open_world),
    ] {
        annotations.extend(claim.map(|claim| (key.to_owned(), Expr::new_bool(claim))));
    }
    annotations.extend(claims.title.as_deref().map(|title| ("title".to_owned(), text(title))));
    let mut attributes = HashMap::from([
        ("name".to_owned(), text(&tool.name)),
        ("annotations".to_owned(), Expr::new_record(annotations).ok()?),
        ("definition".to_owned(), text(&tool.digest.to_string())),
        ("pinned".to_owned(), Expr::new_bool(pinned)),
    ]);
    attributes.extend(tool.title.as_deref().map(|title| ("title".to_owned(), text(title))));
    let parents = HashSet::from([uid(&TYPES.server, server)]);
    Entity::new(uid(&TYPES.tool, &format!("{server}/{}", tool.name)), attributes, parents).ok()
}
