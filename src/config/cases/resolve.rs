//! From the shapes of a case file to cases: what they share is filled in, every mistake noted.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::raw;
use super::{Case, CaseAction, Expect};
use crate::config::diagnostic::{Mistakes, Source};
use crate::config::located::At;
use crate::domain::clock::Timestamp;
use crate::domain::digest::Sha256Digest;
use crate::domain::evidence::{EvidenceKind, MtlsEvidence};
use crate::domain::ids::{ServerName, SessionId};
use crate::domain::principal::Principal;
use crate::domain::revision::Revision;
use crate::domain::zone::Zone;
use crate::policy::{Calls, Direction, SessionFacts, State, nearest};

/// 2026-01-05T12:00:00Z, a Monday.
const NOON: Timestamp = Timestamp::from_secs(1_767_614_400);
/// Why the policies deny.
const REASONS: [&str; 6] =
    ["not_permitted", "forbidden", "forbid_error", "invalid_input", "unknown_tool", "no_policy"];
const TRANSPORTS: [&str; 4] = ["stdio", "unix", "tcp", "tls"];

pub(super) fn cases(file: &raw::File, source: &Source, mistakes: &mut Mistakes) -> Vec<Case> {
    let zone = match &file.time_zone {
        None => Zone::default(),
        Some(name) => Zone::named(&name.value).unwrap_or_else(|| {
            mistakes.add(
                &name.span,
                format!("there is no time zone `{}`", name.value),
                "write one such as `Europe/Berlin`",
            );
            Zone::default()
        }),
    };
    let mut names = BTreeSet::new();
    let mut found = Vec::new();
    for case in &file.cases {
        if !names.insert(case.name.value.as_str()) {
            let message = format!("there is a case `{}` already", case.name.value);
            mistakes.add(&case.name.span, message, "give each case a name of its own");
        }
        found.extend(Resolver { file, case, zone: &zone, source, mistakes }.case());
    }
    found
}

struct Resolver<'a> {
    file: &'a raw::File,
    case: &'a raw::Case,
    zone: &'a Zone,
    source: &'a Source,
    mistakes: &'a mut Mistakes,
}

impl Resolver<'_> {
    fn case(&mut self) -> Option<Case> {
        let case = self.case;
        let now = self.now();
        let expect = self.expect();
        let asked = self.asked();
        self.deciding();
        let principal = self.principal();
        let session = case.session.clone().or_else(|| self.file.session.clone()).unwrap_or_default();
        let transport = self.transport(&session);
        let protocol = self.protocol(&session);
        let ((server, asked, server_at), expect, (principal, given)) = (asked?, expect?, principal?);
        let mut groups = given.groups.unwrap_or_default();
        if principal.kind() == EvidenceKind::Mtls {
            let id = principal.as_str().parse().ok()?;
            groups.extend(MtlsEvidence::new(id, Sha256Digest::of(b"")).groups.iter().cloned());
        }
        let opened = Timestamp::from_millis(now.as_millis() - i64::from(session.age.unwrap_or(0)) * 1000);
        let client = given.client;
        let facts = SessionFacts {
            uid: given.uid.or_else(|| principal.uid()),
            evidence: principal.kind(),
            principal,
            server,
            session: SessionId::from_uuid(uuid::Uuid::from_u128(1)),
            protocol: protocol?,
            transport: transport?,
            opened,
            client_name: client.as_ref().and_then(|client| client.name.clone()),
            client_version: client.and_then(|client| client.version),
            executable: given.executable,
            groups,
            claims: Arc::new(given.claims.unwrap_or_default()),
        };
        let sorted = |list: Option<Vec<String>>| -> Vec<Arc<str>> {
            let set: BTreeSet<String> = list.unwrap_or_default().into_iter().collect();
            set.into_iter().map(Arc::from).collect()
        };
        let usage = case.usage.clone().or_else(|| self.file.usage.clone()).unwrap_or_default();
        let state = State {
            session_calls: session.calls.unwrap_or(0),
            session_tool: session.tool_calls.unwrap_or(0),
            session_labels: sorted(session.labels),
            all: Calls {
                calls: usage.calls.unwrap_or(0),
                minute: usage.minute.unwrap_or(0),
                hour: usage.hour.unwrap_or(0),
                day: usage.day.unwrap_or(0),
            },
            server: calls(usage.server.unwrap_or_default()),
            tool: calls(usage.tool.unwrap_or_default()),
            labels: sorted(case.labels.clone().or_else(|| self.file.labels.clone())),
            utc_offset: self.zone.offset(now),
        };
        let by = case.by.as_ref().map(|by| {
            let mut ids = by.value.clone();
            ids.sort();
            ids
        });
        Some(Case {
            name: case.name.value.clone(),
            facts,
            state,
            now,
            asked,
            expect,
            by,
            source: self.source.clone(),
            expect_at: case.expect.span.clone(),
            by_at: case.by.as_ref().map(|by| by.span.clone()).unwrap_or_default(),
            asked_at: case.tool.as_ref().or(case.method.as_ref()).unwrap_or(&case.name).span.clone(),
            server_at,
        })
    }

    fn wrong<T>(
        &mut self,
        at: &At<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Option<T> {
        self.mistakes.add(&at.span, message, help);
        None
    }

    fn now(&mut self) -> Timestamp {
        let Some(at) = self.case.now.as_ref().or(self.file.now.as_ref()) else { return NOON };
        Timestamp::parse_rfc3339(&at.value).unwrap_or_else(|| {
            let message = format!("`{}` is no time", at.value);
            self.mistakes.add(&at.span, message, "write RFC 3339, such as 2026-01-05T12:00:00Z");
            NOON
        })
    }

    fn expect(&mut self) -> Option<Expect> {
        let at = &self.case.expect;
        Some(match at.value.as_str() {
            "allow" => Expect::Allow,
            "deny" => Expect::Deny(None),
            "listed" => Expect::Listed,
            "hidden" => Expect::Hidden,
            other => match REASONS.into_iter().find(|reason| *reason == other) {
                Some(reason) => Expect::Deny(Some(reason)),
                None => {
                    let known = REASONS.join("`, `");
                    let near =
                        nearest(other, REASONS.into_iter().chain(["allow", "deny", "listed", "hidden"]));
                    let help = match near {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => {
                            format!(
                                "write `allow`, `deny`, `listed`, `hidden`, or why it is denied: `{known}`"
                            )
                        }
                    };
                    return self.wrong(at, format!("`{other}` can't be expected"), help);
                }
            },
        })
    }

    /// Whether `by` says something.
    fn deciding(&mut self) {
        let expected = self.case.expect.value.as_str();
        if let Some(by) = self.case.by.as_ref().filter(|_| matches!(expected, "listed" | "hidden")) {
            let message =
                format!("no policies decide alone what is {expected}, so `by` would not be looked at");
            let help = "remove `by`, or expect `allow` or why a call is denied";
            self.mistakes.add(&by.span, message, help);
        }
    }

    /// The server and what is asked of it, and where the server is named.
    fn asked(&mut self) -> Option<(ServerName, CaseAction, Range<usize>)> {
        let case = self.case;
        let mut named = case.server.as_ref().or(self.file.server.as_ref()).map(|at| (at, at.value.as_str()));
        let asked = match (&case.tool, &case.method) {
            (Some(tool), None) => {
                let mut name = tool.value.as_str();
                if let Some((server, rest)) = name.split_once('/').filter(|_| case.server.is_none()) {
                    named = Some((tool, server));
                    name = rest;
                }
                let arguments = match &case.arguments {
                    None => "{}".to_owned(),
                    Some(serde_json::Value::String(json)) => json.clone(),
                    Some(value) => value.to_string(),
                };
                CaseAction::Call { tool: name.to_owned(), arguments }
            }
            (None, Some(method)) if method.value == "session/open" => CaseAction::Open,
            (None, Some(method)) => {
                let from = match case.from.as_ref().map(|from| (from, from.value.as_str())) {
                    None | Some((_, "client")) => Direction::Client,
                    Some((_, "server")) => Direction::Server,
                    Some((at, other)) => {
                        return self.wrong(
                            at,
                            format!("`{other}` sends nothing"),
                            "write `client` or `server`",
                        );
                    }
                };
                CaseAction::Method { method: method.value.clone(), target: case.target.clone(), from }
            }
            _ => {
                let message = "a case asks either for a tool or for a method";
                return self.wrong(
                    &case.name,
                    message,
                    "write `tool: <name>`, or `method: <name>` such as `session/open`",
                );
            }
        };
        let Some((at, server)) = named else {
            let help = "write `server: <name>` at the top of the file, or `tool: <server>/<tool>`";
            return self.wrong(&case.name, "the case names no server", help);
        };
        match server.parse() {
            Ok(server) => Some((server, asked, at.span.clone())),
            Err(error) => self.wrong(at, format!("{error}"), "write the server's name as policies have it"),
        }
    }

    fn principal(&mut self) -> Option<(Principal, raw::Principal)> {
        let given = self.case.principal.as_ref().or(self.file.principal.as_ref());
        let value = given.map(|at| at.value.clone()).unwrap_or_default();
        let id = value.id.clone().unwrap_or_else(|| format!("peer:{}:-", value.uid.unwrap_or(1000)));
        if let Some(principal) = Principal::named(&id) {
            return Some((principal, value));
        }
        let span = given.map(|at| at.span.clone()).unwrap_or_default();
        let help =
            "write `peer:1000:-`, `bootstrap:1000`, `oidc:<issuer>#<subject>`, a SPIFFE ID, or `anonymous`";
        self.mistakes.add(&span, format!("no admission gives the name `{id}`"), help);
        None
    }

    fn transport(&mut self, session: &raw::Session) -> Option<&'static str> {
        let Some(at) = &session.transport else { return Some("stdio") };
        let known = TRANSPORTS.into_iter().find(|known| *known == at.value);
        known.or_else(|| {
            self.wrong(at, format!("`{}` is no transport", at.value), "write `stdio`, `unix`, `tcp` or `tls`")
        })
    }

    fn protocol(&mut self, session: &raw::Session) -> Option<Revision> {
        let Some(at) = &session.protocol else { return Some(Revision::LATEST) };
        let known = Revision::ALL.into_iter().find(|known| known.as_str() == at.value);
        known.or_else(|| {
            self.wrong(at, format!("`{}` is no protocol revision", at.value), "write one such as 2025-11-25")
        })
    }
}

fn calls(raw: raw::Calls) -> Calls {
    Calls { calls: raw.calls, minute: raw.minute, hour: raw.hour, day: raw.day }
}
