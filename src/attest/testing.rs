//! A log under test: real keys, real files, a clock and a signer that the test holds, and a disk that can fail.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::Value;
use tempfile::TempDir;

use super::predicate::{
    ClientRef, Decision, RequestRef, SessionClose, SessionOpen, SessionRenew, TokenClaims, TokenRef,
};
use super::segment::{Medium, Open, open_file};
use super::{
    Chain, CloseReason, Config, Direction, Durability, GatewayInfo, Link, Log, LogError, PolicySource,
    Predicate, Statement, dsse,
};
use crate::domain::binding::Binding;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::decision::Effect;
use crate::domain::digest::Sha256Digest;
use crate::domain::evidence::EvidenceKind;
use crate::domain::ids::{DecisionId, GatewayRunId, SessionId, SpiffeId, TokenId};
use crate::domain::random;
use crate::domain::recorder::Silent;
use crate::domain::refusal::DenyReason;
use crate::keys::testing::Authority;
use crate::keys::{ActiveKey, PublicSvid, Signer, SignerError};

/// The moment at which tests happen.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_767_323_045);

pub(crate) fn later(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

/// A signer whose key the test changes or takes away.
#[derive(Debug)]
pub(crate) struct Held(Mutex<Result<Arc<ActiveKey>, SignerError>>);

impl Held {
    pub(crate) fn current_key(&self) -> Arc<ActiveKey> {
        self.current().unwrap()
    }

    pub(crate) fn hold(&self, key: Result<Arc<ActiveKey>, SignerError>) {
        *self.0.lock() = key;
    }
}

impl Signer for Held {
    fn current(&self) -> Result<Arc<ActiveKey>, SignerError> {
        self.0.lock().clone()
    }
}

/// What the disk does next.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk(Arc<AtomicU8>);

impl Disk {
    const WORKS: u8 = 0;
    const FULL: u8 = 1;
    const BROKEN: u8 = 2;
    const STUCK: u8 = 3;

    pub(crate) fn works(&self) {
        self.0.store(Self::WORKS, Ordering::SeqCst);
    }

    /// Writes half of what it is given, then says that there is no space.
    pub(crate) fn full(&self) {
        self.0.store(Self::FULL, Ordering::SeqCst);
    }

    /// Writes, but fails to sync.
    pub(crate) fn broken(&self) {
        self.0.store(Self::BROKEN, Ordering::SeqCst);
    }

    /// As full, and can't even be cut back.
    pub(crate) fn stuck(&self) {
        self.0.store(Self::STUCK, Ordering::SeqCst);
    }

    fn open(&self) -> Open {
        let disk = self.clone();
        Arc::new(move |path| {
            let file = File::options().write(true).create(true).truncate(false).open(path)?;
            Ok(Box::new(Flaky { file, disk: disk.clone() }))
        })
    }
}

struct Flaky {
    file: File,
    disk: Disk,
}

impl Medium for Flaky {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let state = self.disk.0.load(Ordering::SeqCst);
        if state == Disk::FULL || state == Disk::STUCK {
            Medium::write_at(&mut self.file, &bytes[..bytes.len() / 2], offset)?;
            return Err(rustix::io::Errno::NOSPC.into());
        }
        Medium::write_at(&mut self.file, bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.disk.0.load(Ordering::SeqCst) == Disk::BROKEN {
            return Err(rustix::io::Errno::IO.into());
        }
        Medium::sync(&mut self.file)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        if self.disk.0.load(Ordering::SeqCst) == Disk::STUCK {
            return Err(rustix::io::Errno::IO.into());
        }
        Medium::truncate(&mut self.file, length)
    }

    fn reserve(&mut self, _offset: u64, _length: u64) -> io::Result<()> {
        Ok(())
    }
}

/// See the module.
pub(crate) struct Bench {
    pub(crate) authority: Authority,
    pub(crate) signer: Arc<Held>,
    pub(crate) clock: Clock,
    pub(crate) disk: Disk,
    dir: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let authority = Authority::new("example.org");
        let key = authority.key("/gw", later(0), later(3600));
        Self::with(authority, key)
    }

    /// A log's place, whose gateway signs with `key`.
    pub(crate) fn with(authority: Authority, key: Arc<ActiveKey>) -> Self {
        let signer = Arc::new(Held(Mutex::new(Ok(key))));
        let dir = tempfile::tempdir().unwrap();
        Self { authority, signer, clock: Clock::fixed(NOW), disk: Disk::default(), dir }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    pub(crate) fn identity() -> SpiffeId {
        "spiffe://example.org/gw".parse().unwrap()
    }

    pub(crate) fn config(&self) -> Config {
        Config { durability: Durability::Written, ..Config::at(self.path()) }
    }

    pub(crate) fn gateway(id: SpiffeId) -> GatewayInfo {
        let run = GatewayRunId::from_uuid(random::uuid_v4().unwrap());
        GatewayInfo { spiffe_id: id, version: "0.1.0".to_owned(), run }
    }

    pub(crate) fn try_open(&self, config: Config, id: SpiffeId) -> Result<Log, LogError> {
        let (signer, clock) = (self.signer.clone(), self.clock.clone());
        Log::open_with(config, signer, clock, Arc::new(Silent), Self::gateway(id), open_file())
    }

    /// A log with the policy set that [`Script`] decides by.
    pub(crate) fn open(&self) -> Log {
        let log = self.try_open(self.config(), Self::identity()).unwrap();
        announce(&log);
        log
    }

    /// A log on the disk that can fail.
    pub(crate) fn open_flaky(&self, durability: Durability) -> Log {
        let config = Config { durability, ..self.config() };
        let (signer, clock) = (self.signer.clone(), self.clock.clone());
        let gateway = Self::gateway(Self::identity());
        let open = self.disk.open();
        let log = Log::open_with(config, signer, clock, Arc::new(Silent), gateway, open).unwrap();
        announce(&log);
        log
    }

    pub(crate) fn segment(&self) -> PathBuf {
        self.path().join("records/00000000.intoto.jsonl")
    }
}

pub(crate) const POLICY: &str = "permit(principal, action, resource);";

pub(crate) fn policy_set() -> Sha256Digest {
    Sha256Digest::of(b"set")
}

pub(crate) fn announce(log: &Log) {
    let source = PolicySource { name: "main.cedar".to_owned(), text: POLICY.into() };
    log.archive_policies(policy_set(), Sha256Digest::of(b"schema"), &[source]).unwrap().wait().unwrap();
}

/// Closes from a test that is not asynchronous.
pub(crate) fn close(log: &Log) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(log.close());
}

/// Waits until the log can be written again.
pub(crate) fn await_recovery(log: &Log) {
    let end = Instant::now() + Duration::from_secs(20);
    while log.failing().is_some() {
        assert!(Instant::now() < end, "the log did not recover: {:?}", log.failing());
        std::thread::yield_now();
    }
}

/// One session's records.
pub(crate) struct Script {
    pub(crate) chain: Chain,
    pub(crate) id: SessionId,
    pub(crate) token: TokenRef,
    pub(crate) key: Arc<PublicSvid>,
    issued: AtomicBool,
    issued_at: Timestamp,
}

impl Script {
    pub(crate) fn new(signer: &Held) -> Self {
        Self::at(signer, NOW)
    }

    /// A session whose token is issued at this moment.
    pub(crate) fn at(signer: &Held, issued_at: Timestamp) -> Self {
        let id = SessionId::from_uuid(random::uuid_v4().unwrap());
        let key = Arc::new(PublicSvid::from(&*signer.current_key()));
        let kid = key.id().as_str().into();
        let jti = TokenId::from_uuid(random::uuid_v4().unwrap());
        let token = TokenRef { jti, kid, sha256: Sha256Digest::of(id.to_string().as_bytes()) };
        Self { chain: Chain::for_session(id), id, token, key, issued: AtomicBool::new(false), issued_at }
    }

    pub(crate) fn decision(&self, link: &Link, effect: Effect, token: Option<TokenRef>) -> Statement {
        let digest = Sha256Digest::of(&random::bytes::<16>().unwrap());
        let forwarded = (effect == Effect::Allow).then_some(digest);
        let decision = Decision {
            decision_id: DecisionId::from_uuid(random::uuid_v7(NOW).unwrap()),
            effect,
            mode: "enforce",
            deny_reason: (effect == Effect::Deny).then_some(DenyReason::NotPermitted),
            policies: Vec::new(),
            failures: Vec::new(),
            shadow: Vec::new(),
            would_flip: None,
            candidate: None,
            policy_set: policy_set(),
            schema: Sha256Digest::of(b"schema"),
            input: Some(digest),
            replaces: None,
            state: None,
            utc_offset: None,
            added_labels: Vec::new(),
            principal: "peer:1000:-".to_owned(),
            action: "files/read".to_owned(),
            resource: "files/read".to_owned(),
            server: "files".parse().unwrap(),
            method: Some("tools/call".to_owned()),
            from: Direction::Client,
            tool_definition: None,
            token,
            evidence: EvidenceKind::Peer,
            request: RequestRef::unrecorded(digest, forwarded),
            removed: None,
            trace: None,
        };
        Statement::new(Predicate::Decision(decision), link)
    }

    pub(crate) fn claims(&self) -> TokenClaims {
        TokenClaims {
            iss: "spiffe://example.org/gw".to_owned(),
            sub: "peer:1000:-".to_owned(),
            sid: self.id,
            aud: vec!["spiffe://example.org/gw".to_owned()],
            iat: self.issued_at.as_secs(),
            nbf: self.issued_at.as_secs(),
            exp: self.issued_at.as_secs() + 900,
            cnf: Binding::Peer { uid: 1000, pid: 1, start_time: None, exe_sha256: None },
        }
    }

    pub(crate) fn opening(&self) -> SessionOpen {
        SessionOpen {
            token: self.token.clone(),
            key: self.key.clone(),
            claims: self.claims(),
            policy_set: policy_set(),
            schema: Sha256Digest::of(b"schema"),
            client: Some(ClientRef { name: "client".to_owned(), version: "1".to_owned() }),
            protocol: "2025-11-25".to_owned(),
            transport: "stdio".to_owned(),
            server: "files".parse().unwrap(),
            evidence: EvidenceKind::Peer,
            handshake: None,
        }
    }

    pub(crate) fn renewal(&self, token: TokenRef) -> SessionRenew {
        SessionRenew { token, key: self.key.clone(), claims: self.claims() }
    }

    pub(crate) fn closing(&self) -> SessionClose {
        SessionClose { reason: CloseReason::Client, allowed: 1, denied: 1, standing: 1 }
    }

    /// Appends and waits.
    pub(crate) fn say(&self, log: &Log, predicate: Predicate) {
        log.append(&self.chain, |link| Statement::new(predicate, link)).unwrap().wait().unwrap();
    }

    pub(crate) fn deny(&self, log: &Log) {
        let token = self.issued.load(Ordering::Relaxed).then(|| self.token.clone());
        let pending = log.append(&self.chain, |link| self.decision(link, Effect::Deny, token));
        pending.unwrap().wait().unwrap();
    }

    /// Another token, by `key`.
    pub(crate) fn renew(&mut self, log: &Log, key: &ActiveKey, at: Timestamp) {
        self.key = Arc::new(PublicSvid::from(key));
        let jti = TokenId::from_uuid(random::uuid_v4().unwrap());
        let sha256 = Sha256Digest::of(jti.to_string().as_bytes());
        self.token = TokenRef { jti, kid: key.id().as_str().into(), sha256 };
        self.issued_at = at;
        self.say(log, Predicate::SessionRenew(self.renewal(self.token.clone())));
    }

    pub(crate) fn allow(&self, log: &Log) {
        let token = Some(self.token.clone());
        let pending = log.append(&self.chain, |link| self.decision(link, Effect::Allow, token));
        pending.unwrap().wait().unwrap();
    }

    /// Record 0, then the token.
    pub(crate) fn open(&self, log: &Log) {
        let pending = log.append(&self.chain, |link| self.decision(link, Effect::Allow, None));
        pending.unwrap().wait().unwrap();
        self.say(log, Predicate::SessionOpen(self.opening()));
        self.issued.store(true, Ordering::Relaxed);
    }

    /// A whole session with `calls` decisions.
    pub(crate) fn play(&self, log: &Log, calls: usize) {
        self.open(log);
        for _ in 0..calls {
            self.allow(log);
        }
        self.say(log, Predicate::SessionClose(self.closing()));
    }
}

/// The statements of one segment.
pub(crate) fn statements(path: &Path) -> Vec<Value> {
    let text = std::fs::read(path).unwrap();
    assert!(text.is_empty() || text.ends_with(b"\n"), "a torn tail");
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(&dsse::read(line).unwrap().payload).unwrap()).collect()
}

/// The kind of a statement.
pub(crate) fn kind(statement: &Value) -> &str {
    let kind = statement["predicateType"].as_str().unwrap();
    kind.strip_prefix(super::PREDICATE_PREFIX).unwrap().strip_suffix(super::PREDICATE_SUFFIX).unwrap()
}

/// A line of the log as `key` would sign it, without its newline.
pub(crate) fn seal(payload: &str, keyid: &str, key: &ActiveKey) -> String {
    let mut line = Vec::new();
    let signature = key.sign(&dsse::pae(dsse::PAYLOAD_TYPE, payload.as_bytes())).unwrap();
    dsse::write(&mut line, payload.as_bytes(), keyid, signature.der());
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

/// The payload of a line.
pub(crate) fn payload(line: &str) -> String {
    String::from_utf8(dsse::read(line.as_bytes()).unwrap().payload).unwrap()
}
