//! The decisions of a log, read offline: for authors who ask what other policies would have said. Signatures are not
//! looked at, `chancery verify` does that.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::plain::read_found;
use crate::attest::{Layout, PREDICATE_PREFIX, PREDICATE_SUFFIX, dsse, policy_file_name};
use crate::domain::clock::Timestamp;
use crate::domain::digest::Sha256Digest;
use crate::domain::evidence::{EvidenceKind, MtlsEvidence};
use crate::domain::ids::{ServerName, SessionId};
use crate::domain::principal::Principal;
use crate::domain::revision::Revision;
use crate::policy::{Calls, PolicySources, SessionFacts, SourceFile, State};

/// The name under which the schema is archived among the policy files.
const SCHEMA: &str = "schema.cedarschema";
/// Largest archived file, in bytes.
const MAX_FILE: u64 = 64 * 1024 * 1024;
/// Longest line of a log, in bytes; the gateway writes none that is.
const MAX_LINE: u64 = 1024 * 1024;

/// Why a log can't be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// A file can't be read.
    #[error("can't read {path}: {source}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A line is no record.
    #[error("{path}:{line} is no record: {why}")]
    Record {
        /// Where.
        path: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
}

/// What is read of a log.
#[derive(Debug)]
pub struct Records {
    /// All decisions, in order.
    pub decisions: Vec<LoggedDecision>,
    layout: Layout,
    sessions: HashMap<SessionId, Opened>,
    sets: HashMap<Sha256Digest, Vec<Filed>>,
}

/// A decision, as its record tells it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoggedDecision {
    /// Its id.
    pub decision_id: String,
    /// RFC 3339.
    pub time: String,
    /// `allow` or `deny`.
    pub effect: String,
    /// Why it was denied.
    pub deny_reason: Option<String>,
    /// The policies that determined it.
    #[serde(default)]
    pub policies: Vec<Named>,
    /// The policies that failed.
    #[serde(default)]
    pub failures: Vec<Failed>,
    /// Digest of the policy set.
    pub policy_set: Sha256Digest,
    /// Digest of the schema.
    pub schema: Sha256Digest,
    /// Who asked.
    pub principal: String,
    /// The Cedar action.
    pub action: String,
    /// The Cedar resource.
    pub resource: String,
    /// The tool server.
    pub server: String,
    /// The JSON-RPC method.
    pub method: Option<String>,
    /// `client` or `server`.
    pub from: String,
    /// Entries cut out of a list: then no policy was asked.
    pub removed: Option<u64>,
    session: Option<SessionId>,
    state: Option<Before>,
    #[serde(default)]
    utc_offset: i32,
}

/// A policy in a record.
#[derive(Debug, Clone, Deserialize)]
pub struct Named {
    /// Its id.
    pub id: String,
    /// Digest of its text.
    pub sha256: Sha256Digest,
}

/// A policy that failed.
#[derive(Debug, Clone, Deserialize)]
pub struct Failed {
    /// Which.
    pub policy: Named,
    /// What it said.
    pub message: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Before {
    session: SessionBefore,
    usage: Usage,
    #[serde(default)]
    labels: Vec<Arc<str>>,
}

#[derive(Debug, Clone, Deserialize)]
struct SessionBefore {
    age: u64,
    calls: u64,
    tool: u64,
    #[serde(default)]
    labels: Vec<Arc<str>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Usage {
    #[serde(flatten)]
    all: Counted,
    server: Counted,
    tool: Counted,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Counted {
    calls: u64,
    minute: u64,
    hour: u64,
    day: u64,
}

#[derive(Debug, Clone, Deserialize)]
struct Opened {
    time: String,
    session: Option<SessionId>,
    client: Option<Client>,
    protocol: String,
    transport: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Client {
    name: String,
    version: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Change {
    policy_set: Sha256Digest,
    files: Vec<Filed>,
}

#[derive(Debug, Clone, Deserialize)]
struct Filed {
    name: String,
    sha256: Sha256Digest,
}

#[derive(Deserialize)]
struct Statement<'a> {
    #[serde(rename = "predicateType")]
    kind: String,
    #[serde(borrow)]
    predicate: &'a serde_json::value::RawValue,
}

impl Records {
    /// Reads the log at `dir`. What a crash left half-written at the end of a file is passed over.
    ///
    /// # Errors
    /// A file can't be read, or holds something else than records.
    pub fn read(dir: &Path) -> Result<Self, RecordsError> {
        let layout = Layout::at(dir);
        let mut read = Self {
            decisions: Vec::new(),
            layout: layout.clone(),
            sessions: HashMap::new(),
            sets: HashMap::new(),
        };
        let segments = layout.segments().map_err(|error| RecordsError::Read {
            path: dir.display().to_string(),
            source: io::Error::other(error),
        })?;
        for (_, path) in segments {
            let name = path.display().to_string();
            let failed = |source| RecordsError::Read { path: name.clone(), source };
            // Before it is opened: a pipe would be waited for.
            if !std::fs::metadata(&path).map_err(failed)?.is_file() {
                return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file")));
            }
            let mut file = BufReader::new(File::open(&path).map_err(failed)?);
            let (mut line, mut number) = (Vec::new(), 0);
            loop {
                line.clear();
                let length = (&mut file).take(MAX_LINE).read_until(b'\n', &mut line).map_err(failed)?;
                let Some(record) = line.strip_suffix(b"\n") else {
                    // Room that was made for records to come is full of zeros.
                    if length as u64 == MAX_LINE && line.iter().any(|byte| *byte != 0) {
                        let why = "it is longer than any".to_owned();
                        return Err(RecordsError::Record { path: name, line: number + 1, why });
                    }
                    break;
                };
                number += 1;
                read.take(record).map_err(|why| RecordsError::Record {
                    path: name.clone(),
                    line: number,
                    why,
                })?;
            }
        }
        Ok(read)
    }

    fn take(&mut self, line: &[u8]) -> Result<(), String> {
        let envelope = dsse::read(line).map_err(|error| error.to_string())?;
        let wrong = |error: serde_json::Error| error.to_string();
        let statement: Statement<'_> = serde_json::from_slice(&envelope.payload).map_err(wrong)?;
        let kind = statement.kind.strip_prefix(PREDICATE_PREFIX);
        let body = statement.predicate.get();
        match kind.and_then(|kind| kind.strip_suffix(PREDICATE_SUFFIX)) {
            Some("decision") => self.decisions.push(serde_json::from_str(body).map_err(wrong)?),
            Some("session-open") => {
                let open: Opened = serde_json::from_str(body).map_err(wrong)?;
                if let Some(session) = open.session {
                    self.sessions.insert(session, open);
                }
            }
            Some("policy-change") => {
                let change: Change = serde_json::from_str(body).map_err(wrong)?;
                self.sets.insert(change.policy_set, change.files);
            }
            _ => {}
        }
        Ok(())
    }

    /// The policies of a set, as they are archived with the log; what was altered there is not believed.
    pub fn sources(&self, set: &Sha256Digest) -> Option<PolicySources> {
        let dir = self.layout.policies(set);
        let mut files = Vec::new();
        for file in self.sets.get(set)?.iter().filter(|file| file.name != SCHEMA) {
            let path = dir.join(policy_file_name(&file.name, &file.sha256));
            let text = read_found(&path, MAX_FILE).ok()?;
            if Sha256Digest::of(text.as_bytes()) != file.sha256 {
                return None;
            }
            files.push(SourceFile { name: file.name.as_str().into(), text: text.into() });
        }
        Some(PolicySources { files })
    }

    /// Who asked, as far as the log tells: not the executable's path, and of bearer tokens not the groups.
    pub fn facts(&self, decision: &LoggedDecision) -> Option<SessionFacts> {
        let opened = decision.session.and_then(|session| self.sessions.get(&session));
        let principal = Principal::named(&decision.principal)?;
        let groups = match principal.kind() {
            EvidenceKind::Mtls => {
                MtlsEvidence::new(principal.as_str().parse().ok()?, Sha256Digest::of(b"")).groups.to_vec()
            }
            _ => Vec::new(),
        };
        let transports = ["stdio", "unix", "tcp", "tls"];
        let transport = opened.map_or("", |opened| opened.transport.as_str());
        let client = opened.and_then(|opened| opened.client.clone());
        let at = opened.map_or(decision.time.as_str(), |opened| opened.time.as_str());
        let protocol =
            opened.and_then(|open| Revision::ALL.into_iter().find(|r| r.as_str() == open.protocol));
        Some(SessionFacts {
            uid: principal.uid(),
            evidence: principal.kind(),
            principal,
            server: decision.server.parse::<ServerName>().ok()?,
            session: decision.session?,
            protocol: protocol.unwrap_or(Revision::LATEST),
            // A session that was not opened has none; `stdio` is what is said most.
            transport: transports.into_iter().find(|known| *known == transport).unwrap_or("stdio"),
            opened: Timestamp::parse_rfc3339(at)?,
            client_name: client.as_ref().map(|client| client.name.clone()),
            client_version: client.map(|client| client.version),
            executable: None,
            groups,
            claims: Arc::default(),
        })
    }

    /// Whether the session of a decision was opened, so that its transport, protocol and client are known.
    pub fn was_opened(&self, decision: &LoggedDecision) -> bool {
        decision.session.is_some_and(|session| self.sessions.contains_key(&session))
    }
}

impl LoggedDecision {
    /// What the principal had done before, and whether that is recorded.
    pub fn state(&self) -> (State, bool) {
        let Some(before) = &self.state else {
            return (State { utc_offset: self.utc_offset, ..State::default() }, false);
        };
        let calls = |c: &Counted| Calls { calls: c.calls, minute: c.minute, hour: c.hour, day: c.day };
        let state = State {
            session_calls: before.session.calls,
            session_tool: before.session.tool,
            session_labels: before.session.labels.clone(),
            all: calls(&before.usage.all),
            server: calls(&before.usage.server),
            tool: calls(&before.usage.tool),
            labels: before.labels.clone(),
            utc_offset: self.utc_offset,
        };
        (state, true)
    }

    /// Seconds that the session was old, where that is recorded.
    pub fn age(&self) -> Option<u64> {
        self.state.as_ref().map(|before| before.session.age)
    }
}
