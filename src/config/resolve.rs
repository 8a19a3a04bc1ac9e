//! From the file's shapes to every module's settings; each mistake is noted and the look goes on.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::diagnostic::Mistakes;
use super::environment::Environment;
use super::located::At;
use super::texts::Texts;
use super::{Config, Purpose, SessionConfig, raw, values};
use crate::domain::limits::Limits;
use crate::domain::zone::Zone;
use crate::proxy::config::ListenConfig;
use crate::{admission, attest, identity, telemetry};

/// Turns the file into settings, where nothing is missing.
pub(super) struct Resolver<'a> {
    /// Where relative paths begin: the file's directory.
    pub(super) base: &'a Path,
    /// The environment.
    pub(super) env: &'a Environment,
    /// Where state is by default.
    pub(super) state: PathBuf,
    /// What the configuration is for.
    pub(super) purpose: Purpose,
    /// What is wrong.
    pub(super) mistakes: &'a mut Mistakes,
}

impl Resolver<'_> {
    pub(super) fn config(&mut self, raw: &raw::Raw) -> Config {
        let state_dir = self.path_or(raw.state_dir.as_ref(), |r| r.state.clone());
        self.state.clone_from(&state_dir);
        if self.purpose == Purpose::Serve {
            self.demand(raw);
        }
        let identity = self.identity(&raw.identity.0);
        self.identity_for_servers(raw, &identity);
        let admission = self.admission(raw, &identity);
        let limits = self.limits(&raw.limits);
        let log = self.log(&raw.log, &limits);
        Config {
            listen: self.listen(raw),
            address_file: self.optional_path(raw.listen.as_ref().and_then(|l| l.value.address_file.as_ref())),
            servers: self.servers(&raw.servers, raw.session.audience.as_deref()),
            policies: self.paths(&raw.policies.active),
            shadow_policies: self.paths(&raw.policies.shadow),
            pins: self.pins(raw),
            file: None,
            named_admin_socket: self.admin_socket(raw.admin.socket.as_ref()),
            log,
            named_log: raw.log.dir.is_some(),
            identity,
            admission,
            session: self.session(&raw.session),
            limits,
            telemetry: self.telemetry(&raw.telemetry),
            refusal_summary: self.duration(raw.refusal_summary.as_ref(), 60, 1, 86_400),
            time_zone: raw.time_zone.as_ref().map(|zone| self.zone(zone)).unwrap_or_default(),
            state_dir,
        }
    }

    /// What `serve` can't do without.
    fn demand(&mut self, raw: &raw::Raw) {
        let top = 0..0;
        match &raw.listen {
            Some(listen)
                if listen.value.tcp.is_none()
                    && listen.value.tls.is_none()
                    && listen.value.unix.is_none() =>
            {
                self.mistakes.add(&listen.span, "`listen` names no address", LISTEN_HELP);
            }
            Some(_) => {}
            None => self.mistakes.add(&top, "nothing to listen on", LISTEN_HELP),
        }
        if raw.servers.is_empty() {
            let help = "write, for example:\nservers:\n  files:\n    command: npx\n    args: [-y, \
                        \"@modelcontextprotocol/server-filesystem\", ./data]";
            self.mistakes.add(&top, "no tool server is configured", help);
        }
        let Some(listen) = &raw.listen else { return };
        self.evidence_of_listeners(&listen.value, &raw.admission);
        if raw.admission.peer.is_some() && listen.value.unix.is_none() {
            let help = "the kernel's word is asked for on the Unix socket alone: write `unix: ./chancery.sock` here, or \
                        remove `admission.peer`";
            self.mistakes.add(&listen.span, "`admission.peer` has no meaning without `listen.unix`", help);
        }
        let anonymous = raw.admission.anonymous.as_ref().is_some_and(|anonymous| anonymous.value);
        let bearer = raw.admission.bootstrap.is_some() || !raw.admission.oidc.is_empty();
        if let (Some(tcp), false, false) = (&listen.value.tcp, bearer, anonymous) {
            let help = "a TCP connection alone proves nothing; write:\nadmission:\n  bootstrap:\n    file: \
                        ./bootstrap.secret";
            self.mistakes.add(&tcp.span, "this listener has no evidence configured", help);
        }
        if let (Some(unix), false, None) = (&listen.value.unix, bearer, &raw.admission.peer) {
            let help = "say whom to let in; for your own processes write:\nadmission:\n  peer: {}";
            self.mistakes.add(&unix.span, "this listener has no evidence configured", help);
        }
    }

    fn listen(&mut self, raw: &raw::Raw) -> ListenConfig {
        let Some(listen) = raw.listen.as_ref().map(|listen| &listen.value) else {
            return ListenConfig::default();
        };
        for host in &listen.allowed_hosts {
            if host.value.is_empty() || host.value.contains(['/', ' ', '*', '@']) {
                let help = "write a name or address as it stands in `Host`, such as `mcp.internal` or `mcp.internal:8080`";
                self.mistakes.add(&host.span, format!("`{}` is not a host", host.value), help);
            }
        }
        for origin in &listen.allowed_origins {
            let parsed = url::Url::parse(&origin.value).ok();
            if parsed.is_none_or(|url| url.origin().ascii_serialization() != origin.value) {
                let help = "write scheme, host and port only, such as `http://localhost:6274`";
                self.mistakes.add(&origin.span, format!("`{}` is not an origin", origin.value), help);
            }
        }
        let texts = |list: &[At<String>]| list.iter().map(|item| item.value.clone()).collect();
        ListenConfig {
            tcp: listen.tcp.as_ref().and_then(|tcp| self.loopback(tcp)),
            tls: listen.tls.as_ref().and_then(|tls| self.address(tls.value.0.address.as_ref()?)),
            certificate: listen.tls.as_ref().and_then(|tls| self.certificate(tls, &listen.allowed_hosts)),
            unix: self.optional_path(listen.unix.as_ref()),
            allowed_hosts: texts(&listen.allowed_hosts),
            allowed_origins: texts(&listen.allowed_origins),
            public_url: listen.public_url.as_ref().and_then(|url| self.public_url(url)),
        }
    }

    fn address(&mut self, raw: &At<String>) -> Option<SocketAddr> {
        let address = raw.value.parse::<SocketAddr>().ok();
        if address.is_none() {
            let help = "write an IP address and a port, such as `127.0.0.1:8080` or `[::1]:0`";
            self.mistakes.add(&raw.span, format!("`{}` is not an address", raw.value), help);
        }
        address
    }

    fn loopback(&mut self, tcp: &At<String>) -> Option<SocketAddr> {
        let address = self.address(tcp)?;
        let loopback = match address.ip() {
            IpAddr::V4(ip) => ip.is_loopback(),
            IpAddr::V6(ip) => ip.is_loopback(),
        };
        if !loopback {
            let help = "plain HTTP would show the bootstrap secret to the network: listen on 127.0.0.1 and put what \
                        ends TLS in front of it, or use `listen.tls`";
            self.mistakes.add(&tcp.span, format!("{} is not a loopback address", address.ip()), help);
        }
        Some(address)
    }

    fn log(&mut self, raw: &raw::Log, limits: &Limits) -> attest::Config {
        let durability = match raw.durability {
            Some(raw::Durability::Fsync) | None => attest::Durability::Fsync,
            Some(raw::Durability::Written) => attest::Durability::Written,
            Some(raw::Durability::Queued) => attest::Durability::Queued,
        };
        let dir = self.path_or(raw.dir.as_ref(), |r| r.state.join("logs/serve"));
        let segment_bytes = self.size(raw.segment.as_ref(), 64 << 20, 64 << 10, 16 << 30);
        attest::Config { durability, segment_bytes, queue: limits.queued_records, ..attest::Config::at(dir) }
    }

    fn admission(&mut self, raw: &raw::Raw, identity: &identity::Config) -> admission::Config {
        let peer = raw.admission.peer.as_ref().map(|peer| admission::PeerConfig {
            allow_uids: peer.allow_uids.clone(),
            allow_executables: peer
                .allow_executables
                .iter()
                .filter_map(|rule| self.executable(rule))
                .collect(),
        });
        let bootstrap = raw.admission.bootstrap.as_ref();
        let bootstrap = bootstrap.map(|raw| admission::BootstrapConfig {
            file: self.path(&raw.file),
            max_age: raw.max_age.as_ref().map(|age| self.duration(Some(age), 0, 10, 3650 * 86_400)),
        });
        let mtls = raw.admission.mtls.as_ref().map(|mtls| self.mtls(mtls, identity));
        let anonymous = raw.admission.anonymous.as_ref().is_some_and(|anonymous| anonymous.value);
        let oidc = self.oidc(&raw.admission.oidc);
        admission::Config { peer, bootstrap, mtls, anonymous, oidc }
    }

    fn executable(&mut self, rule: &At<String>) -> Option<admission::ExecutableRule> {
        if let Some(digest) = rule.value.strip_prefix("sha256:") {
            match digest.parse() {
                Ok(digest) => return Some(admission::ExecutableRule::Sha256(digest)),
                Err(_) => self.mistakes.add(
                    &rule.span,
                    "this is not a digest",
                    "write `sha256:` and 64 lower-case hex digits",
                ),
            }
            return None;
        }
        let path = self.env.expand_home(&rule.value);
        if !path.is_absolute() {
            self.mistakes.add(
                &rule.span,
                "an executable needs an absolute path",
                "or write `sha256:<64 hex digits>`",
            );
            return None;
        }
        Some(admission::ExecutableRule::Path(path))
    }

    fn session(&mut self, raw: &raw::Session) -> SessionConfig {
        SessionConfig {
            token_ttl: self.duration(raw.token_ttl.as_ref(), 900, 5, 86_400),
            max_lifetime: self.duration(raw.max_lifetime.as_ref(), 12 * 3600, 10, 30 * 86_400),
            idle_timeout: self.duration(raw.idle_timeout.as_ref(), 3600, 1, 30 * 86_400),
            audience: raw.audience.clone(),
        }
    }

    fn limits(&mut self, raw: &raw::Limits) -> Limits {
        let default = Limits::default();
        let bytes = self.size(raw.message_bytes.as_ref(), 4 << 20, 1 << 10, 256 << 20);
        let seconds = |d: Duration| d.as_secs();
        Limits {
            message_bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            depth: default.depth,
            in_flight: self.count(raw.in_flight.as_ref(), default.in_flight),
            queued_messages: self.count(raw.queued_messages.as_ref(), default.queued_messages),
            sessions: self.count(raw.sessions.as_ref(), default.sessions),
            sessions_per_principal: self
                .count(raw.sessions_per_principal.as_ref(), default.sessions_per_principal),
            calls_per_second: raw
                .calls_per_second
                .as_ref()
                .map(|calls| u32::try_from(self.count(Some(calls), 1)).unwrap_or(u32::MAX)),
            counters: self.count(raw.counters.as_ref(), default.counters),
            queued_records: self.count(raw.queued_records.as_ref(), default.queued_records),
            handshake: self.duration(raw.handshake.as_ref(), seconds(default.handshake), 1, 3600),
            request_read: self.duration(raw.request_read.as_ref(), seconds(default.request_read), 1, 3600),
            grace: self.duration(raw.grace.as_ref(), seconds(default.grace), 0, 600),
        }
    }

    fn zone(&mut self, raw: &At<String>) -> Zone {
        let zone = Zone::named(&raw.value);
        if zone.is_none() {
            let help =
                "write the name that the IANA time zone database has, such as `UTC` or `Europe/Berlin`";
            self.mistakes.add(&raw.span, format!("`{}` is no time zone", raw.value), help);
        }
        zone.unwrap_or_default()
    }

    fn telemetry(&mut self, raw: &raw::Telemetry) -> telemetry::Config {
        let mut log = telemetry::LogConfig::default();
        if let Some(format) = raw.log_format {
            log.format = match format {
                raw::LogFormat::Human => telemetry::LogFormat::Human,
                raw::LogFormat::Json => telemetry::LogFormat::Json,
            };
        }
        if let Some(filter) = &raw.log_filter {
            if let Err(error) = telemetry::subscriber::filter(&filter.value) {
                self.mistakes.add(&filter.span, error.to_string(), "");
            }
            log.filter.clone_from(&filter.value);
        }
        if let Some(filter) = self.env.var("CHANCERY_LOG") {
            log.filter = filter;
        }
        if let Some(endpoint) = &raw.otlp_endpoint {
            self.endpoint_of_receiver(endpoint);
        }
        let configured = raw.otlp_endpoint.as_ref().map(|endpoint| endpoint.value.as_str());
        let otlp = telemetry::OtlpConfig::resolve(configured, |name| self.env.var(name));
        telemetry::Config { log, otlp }
    }

    fn endpoint_of_receiver(&mut self, endpoint: &At<String>) {
        let url = url::Url::parse(&endpoint.value).ok();
        if !url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            let help = "write the base URL of an OTLP/HTTP receiver, such as `http://127.0.0.1:4318`";
            self.mistakes.add(&endpoint.span, format!("`{}` is not a URL", endpoint.value), help);
        }
    }

    fn admin_socket(&mut self, path: Option<&At<String>>) -> Option<PathBuf> {
        if let Some(path) = path.filter(|path| path.value.is_empty()) {
            let help = "write a path, such as `./admin/chancery.sock`, or remove the key for the default";
            self.mistakes.add(&path.span, "`admin.socket` names no file", help);
        }
        self.optional_path(path)
    }

    pub(super) fn path(&self, path: &At<String>) -> PathBuf {
        let path = self.env.expand_home(&path.value);
        self.base.join(path.strip_prefix("./").unwrap_or(&path))
    }

    fn paths(&self, paths: &Texts) -> Vec<PathBuf> {
        paths.0.iter().map(|path| self.path(path)).collect()
    }

    pub(super) fn optional_path(&self, path: Option<&At<String>>) -> Option<PathBuf> {
        path.map(|path| self.path(path))
    }

    pub(super) fn path_or(
        &self,
        path: Option<&At<String>>,
        default: impl FnOnce(&Self) -> PathBuf,
    ) -> PathBuf {
        self.optional_path(path).unwrap_or_else(|| default(self))
    }

    /// A duration in seconds, within bounds.
    pub(super) fn duration(
        &mut self,
        raw: Option<&At<String>>,
        default: u64,
        least: u64,
        most: u64,
    ) -> Duration {
        let Some(raw) = raw else { return Duration::from_secs(default) };
        match values::duration(&raw.value) {
            Some(duration)
                if duration >= Duration::from_secs(least) && duration <= Duration::from_secs(most) =>
            {
                duration
            }
            Some(_) => {
                self.out_of_bounds(&raw.span, &format!("{least}s"), &format!("{most}s"), Duration::ZERO)
            }
            None => {
                let message = format!("`{}` is not a duration", raw.value);
                self.mistakes.add(
                    &raw.span,
                    message,
                    "write a number and a unit: `500ms`, `60s`, `15m`, `12h`, `7d`",
                );
                Duration::ZERO
            }
        }
    }

    /// A size in bytes, within bounds.
    fn size(&mut self, raw: Option<&At<String>>, default: u64, least: u64, most: u64) -> u64 {
        let Some(raw) = raw else { return default };
        match values::size(&raw.value) {
            Some(size) if (least..=most).contains(&size) => size,
            Some(_) => self.out_of_bounds(&raw.span, &least.to_string(), &most.to_string(), 0),
            None => {
                let message = format!("`{}` is not a size", raw.value);
                self.mistakes.add(&raw.span, message, "write a number and a unit: `512KiB`, `4MiB`, `1GiB`");
                0
            }
        }
    }

    fn count(&mut self, raw: Option<&At<usize>>, default: usize) -> usize {
        match raw {
            Some(raw) if (1..=10_000_000).contains(&raw.value) => raw.value,
            Some(raw) => self.out_of_bounds(&raw.span, "1", "10000000", default),
            None => default,
        }
    }

    fn out_of_bounds<T>(&mut self, span: &Range<usize>, least: &str, most: &str, instead: T) -> T {
        self.mistakes.add(span, "this is out of bounds", format!("from {least} to {most}"));
        instead
    }
}

const LISTEN_HELP: &str = "write, for example:\nlisten:\n  tcp: \"127.0.0.1:8080\"";
