//! The shapes of the YAML file. Their comments become the descriptions in `schemas/config.schema.json`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use super::forms::{self, Forms};
use super::inputs::{Breaches, Inputs};
use super::listener::Tls;
use super::located::At;
use super::oidc::Oidc;
use super::pins::PinWord;
use super::policies::Policies;
use super::texts::Texts;
use super::upstream::{ForwardIdentity, Header};

/// Configuration of chancery, an authorization gateway for the Model Context Protocol.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "chancery configuration")]
pub(super) struct Raw {
    /// Where clients connect (`chancery serve`).
    pub(super) listen: Option<At<Listen>>,
    /// The tool servers, by name: 1 to 64 of a-z, 0-9 and `-`. Each is served at `/mcp/<name>`.
    #[serde(default)]
    pub(super) servers: BTreeMap<At<String>, At<Server>>,
    /// Cedar policy files, or directories whose `*.cedar` files are all taken; or `active` with those, and `shadow` with
    /// a candidate set that is evaluated beside them and never enforced. Without any everything is refused.
    #[serde(default)]
    pub(super) policies: Policies,
    /// What becomes of a tool whose definition is not the approved one: `first-use` by default.
    pub(super) pin: Option<At<PinWord>>,
    /// The lock file of `pin: lock` and `chancery policy lock`: `chancery.lock` beside this file by default.
    pub(super) lock_file: Option<At<String>>,
    /// The attestation log.
    #[serde(default)]
    pub(super) log: Log,
    /// The signing identity.
    #[serde(default)]
    pub(super) identity: Identity,
    /// Who may hold a session, by what evidence. A listener without evidence refuses to start.
    #[serde(default)]
    pub(super) admission: Admission,
    /// Sessions and their tokens.
    #[serde(default)]
    pub(super) session: Session,
    /// Bounds on what others can make the gateway hold.
    #[serde(default)]
    pub(super) limits: Limits,
    /// The socket for `chancery session`.
    #[serde(default)]
    pub(super) admin: Admin,
    /// OpenTelemetry; off unless an endpoint is set here or in `OTEL_EXPORTER_OTLP_ENDPOINT`.
    #[serde(default)]
    pub(super) telemetry: Telemetry,
    /// How often requests that were refused before admission are summed up in the log: `60s` by default.
    pub(super) refusal_summary: Option<At<String>>,
    /// The time zone of `context.local` in policies, such as `Europe/Berlin`: `UTC` by default.
    pub(super) time_zone: Option<At<String>>,
    /// Where state is kept (the tools that servers have shown). Default: `$XDG_STATE_HOME/chancery`.
    pub(super) state_dir: Option<At<String>>,
}

/// Where clients connect.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Listen {
    /// Loopback address and port for HTTP, such as `127.0.0.1:8080`; port 0 takes any free one.
    pub(super) tcp: Option<At<String>>,
    /// HTTP on TLS: an address and port such as `0.0.0.0:8443`, for clients with an SVID (`admission.mtls`), or a mapping
    /// with a certificate, for clients with a bearer token (`admission.oidc`).
    pub(super) tls: Option<At<Tls>>,
    /// Path of a Unix socket for HTTP.
    pub(super) unix: Option<At<String>>,
    /// Names that the `Host` header may have besides the loopback names, on `tcp` and `tls` alike.
    #[serde(default)]
    pub(super) allowed_hosts: Vec<At<String>>,
    /// Origins that a browser may call from, such as `http://localhost:6274`; none by default.
    #[serde(default)]
    pub(super) allowed_origins: Vec<At<String>>,
    /// The URL by which clients know the gateway, such as `https://mcp.example.org`, where something in front of it
    /// ends TLS. Clients without a token are told it; by default it is the `Host` that they called.
    pub(super) public_url: Option<At<String>>,
    /// A file that the bound addresses are written to, one URL a line, once the gateway is ready.
    pub(super) address_file: Option<At<String>>,
}

/// A tool server: a command that is started for each session, or a URL.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Server {
    /// The program, a path or a name to be found in `PATH`.
    pub(super) command: Option<At<String>>,
    /// Its arguments.
    #[serde(default)]
    pub(super) args: Vec<String>,
    /// Environment variables set for it; `${NAME}` takes a variable of the gateway's own environment.
    #[serde(default)]
    pub(super) env: BTreeMap<At<String>, At<String>>,
    /// Its working directory.
    pub(super) cwd: Option<At<String>>,
    /// A streamable HTTP endpoint, instead of a command.
    pub(super) url: Option<At<String>>,
    /// Headers sent with every request to the URL: text, where `${NAME}` takes an environment variable, or `file: PATH`.
    #[serde(default)]
    pub(super) headers: BTreeMap<At<String>, At<Header>>,
    /// As the top level's `pin`, for this server.
    pub(super) pin: Option<At<PinWord>>,
    /// The SPIFFE ID, or a list of them, that the server at the URL must prove by its SVID. The gateway shows it its own,
    /// so this needs `identity: spire`; the web's authorities are then not asked.
    #[serde(default)]
    pub(super) spiffe_id: Texts,
    /// What becomes of a tool call whose arguments don't fit the tool's own JSON Schema.
    pub(super) arguments: Option<Breaches>,
    /// What arguments of its tools mean, so that policies see what they say and not only their text.
    #[serde(default)]
    pub(super) inputs: Inputs,
    /// Tells the server at the URL who calls it. Off by default.
    pub(super) forward_identity: Option<At<ForwardIdentity>>,
}

/// The attestation log.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    /// Its directory. Default: below `$XDG_STATE_HOME/chancery/logs`.
    pub(super) dir: Option<At<String>>,
    /// What a record must have reached before its message is forwarded.
    pub(super) durability: Option<Durability>,
    /// Size at which a new segment begins: `64MiB` by default.
    pub(super) segment: Option<At<String>>,
}

/// How durable a record is before its message goes on.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Durability {
    /// On the disk (the default).
    Fsync,
    /// Handed to the operating system: survives the gateway's death, not the machine's.
    Written,
    /// Queued in memory: a crash can lose it.
    Queued,
}

/// The signing identity: a word, or a mapping.
#[derive(Debug, Default)]
pub(super) struct Identity(pub(super) IdentityMapping);

/// The signing identity.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct IdentityMapping {
    /// Where keys come from. Without it: `spire` when there is a `spire` section, else `auto`.
    pub(super) kind: Option<At<IdentityKind>>,
    /// How long a new key is published before it signs: `30s` by default. The JWKS may be cached no longer than this.
    pub(super) publish_ahead: Option<At<String>>,
    /// The identity that a SPIRE agent gives.
    pub(super) spire: Option<At<SpireIdentity>>,
    /// The embedded identity: a trust domain of our own, kept in a directory.
    pub(super) local: Option<At<LocalIdentity>>,
}

/// Where keys come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum IdentityKind {
    /// From SPIRE when a socket is configured or `SPIFFE_ENDPOINT_SOCKET` is set, else local. Decided once, at start.
    Auto,
    /// From a SPIRE agent, by the SPIFFE Workload API.
    Spire,
    /// From a trust domain of our own, kept in a directory.
    Local,
}

/// The identity that a SPIRE agent gives.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SpireIdentity {
    /// The Workload API's address, such as `unix:///run/spire/agent.sock`. Default: `SPIFFE_ENDPOINT_SOCKET`.
    pub(super) socket: Option<At<String>>,
    /// The gateway's SPIFFE ID, when the agent offers several; the first by default.
    pub(super) spiffe_id: Option<At<String>>,
    /// The hint of the gateway's entry, instead of its SPIFFE ID.
    pub(super) hint: Option<At<String>>,
    /// How long to wait for the first SVID at start: `15s` by default.
    pub(super) initial_sync_timeout: Option<At<String>>,
    /// Where public chains are kept, so that old tokens can be verified after a restart; mode 0700. Default:
    /// `$XDG_STATE_HOME/chancery/spire`.
    pub(super) dir: Option<At<String>>,
}

/// The embedded identity.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LocalIdentity {
    /// Its directory, mode 0700. Default: `$XDG_STATE_HOME/chancery/identity`.
    pub(super) dir: Option<At<String>>,
    /// The trust domain's name; made up once and kept when absent.
    pub(super) trust_domain: Option<At<String>>,
    /// The path of the gateway's SPIFFE ID: `/chancery` by default.
    pub(super) path: Option<At<String>>,
    /// How long a signing certificate lives: `24h` by default.
    pub(super) svid_ttl: Option<At<String>>,
}

/// Which evidence is accepted.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Admission {
    /// Local processes by the kernel's word: the peer of the Unix socket, on stdio the parent.
    pub(super) peer: Option<Peer>,
    /// A secret from a file that only the gateway's user can read, sent as `Authorization: Bearer`.
    pub(super) bootstrap: Option<Bootstrap>,
    /// Clients on `listen.tls`, by the X.509-SVID that they prove to hold.
    pub(super) mtls: Option<At<Mtls>>,
    /// Whoever shows nothing on `listen.tcp`: every process of this machine. False by default, warned about.
    pub(super) anonymous: Option<At<bool>>,
    /// Bearer tokens of issuers, on HTTP.
    #[serde(default)]
    pub(super) oidc: Vec<At<Oidc>>,
}

/// Which workloads are let in; one of the lists at least. Where both stand, both must fit.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Mtls {
    /// Trust domains, such as `example.org`. A foreign one needs its bundle from the SPIRE agent (federation).
    #[serde(default)]
    pub(super) trust_domains: Vec<At<String>>,
    /// SPIFFE IDs, each whole or ending in `/*`, which stands for everything below: `spiffe://example.org/agents/*`.
    #[serde(default)]
    pub(super) spiffe_ids: Vec<At<String>>,
    /// Whether a workload is, in policies, in the groups of its SPIFFE ID's folders: `spiffe://example.org/agents/alice` in
    /// `Mcp::Group::"spiffe://example.org/agents"` and `Mcp::Group::"spiffe://example.org"`. True by default.
    pub(super) path_groups: Option<bool>,
}

/// Which local processes are let in.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Peer {
    /// User ids; only the gateway's own when empty.
    #[serde(default)]
    pub(super) allow_uids: Vec<u32>,
    /// Executables, each an absolute path or `sha256:<64 hex digits>`; any when empty. The path says where it
    /// was, only the digest says what it is.
    #[serde(default)]
    pub(super) allow_executables: Vec<At<String>>,
}

/// The bootstrap secret.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Bootstrap {
    /// Its file, mode 0600; made at start when missing.
    pub(super) file: At<String>,
    /// Age at which a secret admits nobody any more, such as `30d`, by the time its file was written. Any age by default.
    pub(super) max_age: Option<At<String>>,
}

/// Sessions and their tokens.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Session {
    /// How long a token is valid before the gateway renews it: `15m` by default.
    pub(super) token_ttl: Option<At<String>>,
    /// How long a session may last: `12h` by default.
    pub(super) max_lifetime: Option<At<String>>,
    /// After how long without a message a session ends: `1h` by default.
    pub(super) idle_timeout: Option<At<String>>,
    /// The tokens' audience; the gateway's SPIFFE ID and route by default.
    pub(super) audience: Option<String>,
}

/// Bounds.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    /// Largest message: `4MiB` by default.
    pub(super) message_bytes: Option<At<String>>,
    /// Requests of one session under way at once: 256 by default.
    pub(super) in_flight: Option<At<usize>>,
    /// Messages that wait for one session's client: 1024 by default.
    pub(super) queued_messages: Option<At<usize>>,
    /// Sessions at once: 4096 by default.
    pub(super) sessions: Option<At<usize>>,
    /// Sessions of one principal at once: 64 by default.
    pub(super) sessions_per_principal: Option<At<usize>>,
    /// Tool calls of one principal per second, over all its sessions; twice as many at once. Any number by default.
    pub(super) calls_per_second: Option<At<usize>>,
    /// Counters and labels that are kept of principals, their tool servers and their tools: 131072 by default.
    pub(super) counters: Option<At<usize>>,
    /// Records that wait for the log's writer: 8192 by default.
    pub(super) queued_records: Option<At<usize>>,
    /// How long a tool server may take to answer its handshake: `60s` by default.
    pub(super) handshake: Option<At<String>>,
    /// How long a request may take to arrive: `30s` by default.
    pub(super) request_read: Option<At<String>>,
    /// How long a stopped tool server may take before it is killed: `5s` by default.
    pub(super) grace: Option<At<String>>,
}

/// The socket for `chancery session`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Admin {
    /// Its path, in a directory of mode 0700. Default: below `admin` in the state directory, named after the log's.
    pub(super) socket: Option<At<String>>,
}

/// OpenTelemetry.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Telemetry {
    /// Base URL of an OTLP/HTTP receiver, such as `http://127.0.0.1:4318`.
    pub(super) otlp_endpoint: Option<At<String>>,
    /// What is logged to stderr: a level or directives such as `warn,chancery=debug`; `CHANCERY_LOG` wins.
    pub(super) log_filter: Option<At<String>>,
    /// How it is written.
    pub(super) log_format: Option<LogFormat>,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum LogFormat {
    /// For people (the default).
    Human,
    /// One JSON object a line.
    Json,
}

impl<'de> Forms<'de> for Identity {
    type Word = IdentityKind;
    type Mapping = IdentityMapping;
    const EXPECTED: &'static str = "`auto`, `spire`, `local` or a mapping";

    fn word(kind: At<IdentityKind>) -> Self {
        Self(IdentityMapping { kind: Some(kind), ..IdentityMapping::default() })
    }

    fn mapping(mapping: IdentityMapping) -> Option<Self> {
        Some(Self(mapping))
    }
}

impl<'de> Deserialize<'de> for Identity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        forms::read(deserializer)
    }
}

impl JsonSchema for Identity {
    fn schema_name() -> Cow<'static, str> {
        "Identity".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (word, mapping) =
            (generator.subschema_for::<IdentityKind>(), generator.subschema_for::<IdentityMapping>());
        json_schema!({ "anyOf": [word, mapping] })
    }
}
