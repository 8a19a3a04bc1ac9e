//! Which signing identity is meant: decided here, once, and never at run time.

use std::str::FromStr as _;

use super::located::At;
use super::raw::{self, IdentityKind};
use super::resolve::Resolver;
use crate::domain::ids::SpiffeId;
use crate::identity;

/// The variable that names the Workload API (SPIFFE Workload Endpoint §4).
const ENDPOINT: &str = "SPIFFE_ENDPOINT_SOCKET";

impl Resolver<'_> {
    pub(super) fn identity(&mut self, raw: &raw::IdentityMapping) -> identity::Config {
        let nothing = raw::LocalIdentity::default();
        let local = raw.local.as_ref().map_or(&nothing, |local| &local.value);
        let spire = raw.spire.as_ref().map(|spire| &spire.value);
        let configured = spire.and_then(|spire| spire.socket.as_ref()).map(|socket| socket.value.clone());
        let socket = configured.or_else(|| self.env.var(ENDPOINT));
        let kind = match raw.kind.as_ref().map(|kind| kind.value) {
            Some(IdentityKind::Local) => None,
            Some(IdentityKind::Spire) => Some(socket),
            Some(IdentityKind::Auto) => socket.map(Some),
            None if raw.spire.is_some() => {
                self.one_section(raw);
                Some(socket)
            }
            // A section of its own says what is meant, whatever the environment holds.
            None if raw.local.is_some() => None,
            None => socket.map(Some),
        };
        let kind = match kind {
            Some(socket) => identity::Kind::Spire(self.spire(spire, socket)),
            None => identity::Kind::Local(self.local(local)),
        };
        let lead = self.duration(
            raw.publish_ahead.as_ref(),
            identity::Config::DEFAULT_LEAD.as_secs(),
            identity::Config::MIN_LEAD.as_secs(),
            identity::Config::MAX_LEAD.as_secs(),
        );
        identity::Config { kind, lead }
    }

    /// A server that must prove a SPIFFE ID is shown the gateway's own SVID.
    pub(super) fn identity_for_servers(&mut self, raw: &raw::Raw, identity: &identity::Config) {
        if matches!(identity.kind, identity::Kind::Spire(_)) {
            return;
        }
        for server in raw.servers.values() {
            if let Some(id) = server.value.spiffe_id.0.first() {
                let help = "the gateway shows such a server its own SVID: write `identity: spire`";
                self.mistakes.add(&id.span, "`spiffe_id` needs an identity from SPIRE", help);
            }
        }
    }

    /// Both sections, and nothing that says which of them counts.
    fn one_section(&mut self, raw: &raw::IdentityMapping) {
        if let Some(local) = &raw.local {
            let help = "write `kind: spire`, `kind: local`, or `kind: auto`, which takes SPIRE when a socket is known";
            self.mistakes.add(&local.span, "`identity` has a section `spire` and a section `local`", help);
        }
    }

    fn spire(&mut self, raw: Option<&raw::SpireIdentity>, socket: Option<String>) -> identity::Spire {
        let nothing = raw::SpireIdentity::default();
        let raw = raw.unwrap_or(&nothing);
        // Where it is missing, only a start needs it.
        if let Some(at) = &raw.socket
            && let Err(error) = identity::Spire::check_socket(&at.value)
        {
            let help = "write it as `unix:///path/of/agent.sock`";
            self.mistakes.add(&at.span, error.to_string(), help);
        }
        let timeout = identity::Spire::DEFAULT_INITIAL_SYNC_TIMEOUT.as_secs();
        identity::Spire {
            socket,
            spiffe_id: raw.spiffe_id.as_ref().and_then(|id| self.spiffe_id(id)),
            hint: raw.hint.as_ref().map(|hint| hint.value.clone()),
            initial_sync_timeout: self.duration(raw.initial_sync_timeout.as_ref(), timeout, 1, 3600),
            dir: self.path_or(raw.dir.as_ref(), |r| r.state.join("spire")),
        }
    }

    pub(super) fn spiffe_id(&mut self, raw: &At<String>) -> Option<SpiffeId> {
        match SpiffeId::from_str(&raw.value) {
            Ok(id) => Some(id),
            Err(error) => {
                let help = "write it as `spiffe://example.org/chancery`";
                self.mistakes.add(&raw.span, error.to_string(), help);
                None
            }
        }
    }

    fn local(&mut self, raw: &raw::LocalIdentity) -> identity::Local {
        let dir = self.path_or(raw.dir.as_ref(), |r| r.state.join("identity"));
        let path = raw.path.as_ref().map_or(identity::Local::DEFAULT_PATH, |path| path.value.as_str());
        let domain = raw.trust_domain.as_ref().map_or("example.org", |domain| domain.value.as_str());
        if let Err(error) = SpiffeId::from_str(&format!("spiffe://{domain}{path}")) {
            let at = raw.path.as_ref().or(raw.trust_domain.as_ref()).map_or(0..0, |at| at.span.clone());
            self.mistakes.add(&at, error.to_string(), "a path begins with `/`");
        }
        let bounds =
            [identity::Local::DEFAULT_SVID_TTL, identity::Local::MIN_SVID_TTL, identity::Local::MAX_SVID_TTL];
        let [ttl, least, most] = bounds.map(|bound| bound.as_secs());
        identity::Local {
            dir,
            svid_ttl: self.duration(raw.svid_ttl.as_ref(), ttl, least, most),
            trust_domain: raw.trust_domain.as_ref().map(|domain| domain.value.clone()),
            path: path.to_owned(),
        }
    }
}
