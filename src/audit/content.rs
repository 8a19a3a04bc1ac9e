//! What each kind of record says, of a record that is believed and in its place.

use super::read::{self, Record};
use super::report::{Check, several};
use super::session::{self, Wrong};
use super::walk::Walk;
use crate::domain::clock::Timestamp;
use crate::domain::ids::SessionId;

impl Walk<'_> {
    pub(super) fn of_gateway(&mut self, record: &Record<'_>) -> Result<(), Wrong> {
        let unread = |why| (Check::Statement, why);
        let Some(run) = &mut self.run else { return Ok(()) };
        match &*record.kind {
            "key-change" => {
                let change: read::KeyChange = record.body().map_err(unread)?;
                return self.archived(&change.key);
            }
            "policy-change" => {
                let change: read::PolicyChange = record.body().map_err(unread)?;
                run.policies.announce(self.layout, &change).map_err(|why| (Check::Policy, why))?;
            }
            // What it says of tools, or of a principal's past, rests on nothing that could be checked here.
            "tool-change" | "state-change" => {}
            "refusal-summary" => {
                let summary: read::Refusals = record.body().map_err(unread)?;
                let counts = summary.refusals.iter().map(|refusal| refusal.count);
                self.report.counts.turned_away += counts.sum::<u64>();
            }
            "gap" => {
                let gap: read::Gap = record.body().map_err(unread)?;
                let (since, until) = (&gap.since, &gap.until);
                let why = match &*gap.cause {
                    "signer" => "there was no signing key",
                    "storage" => "the log could not be written",
                    "overload" => "more came than could be written",
                    other => other,
                };
                let were = if gap.refused == 1 { "was" } else { "were" };
                let refused = several(gap.refused, "record");
                let mut message = format!("from {since} to {until} {refused} {were} refused: {why}");
                if gap.lost > 0 {
                    message.push_str(&format!("; {} that had been promised were lost", gap.lost));
                }
                self.report.note("gap", message);
            }
            "gateway-stop" => {
                let stop: read::Stop = record.body().map_err(unread)?;
                run.stopped = true;
                if let Some(here) = run.records.filter(|here| *here != stop.records) {
                    let message = format!("the run wrote {} records, {here} are here", stop.records);
                    return Err((Check::Count, message));
                }
            }
            other => {
                return Err((
                    Check::Statement,
                    format!("the gateway's chain has no records of kind {other}"),
                ));
            }
        }
        Ok(())
    }

    pub(super) fn of_session(&mut self, session: SessionId, record: &Record<'_>) -> Result<(), Wrong> {
        let unread = |why| (Check::Statement, why);
        let (Some(run), Some(state)) = (&mut self.run, self.sessions.get_mut(&session)) else {
            return Ok(());
        };
        let announced = |set, schema| run.policies.check(set, schema).map_err(|why| (Check::Policy, why));
        // What the session itself holds; what its tool server was shown is no token of the session's.
        let mut own = true;
        let (token, key, claims) = match &*record.kind {
            "decision" => {
                let decision: read::Decision = record.body().map_err(unread)?;
                match decision.effect {
                    read::Effect::Allow => self.report.counts.allowed += 1,
                    read::Effect::Deny => self.report.counts.denied += 1,
                }
                if record.subject != decision.request.forwarded.unwrap_or(decision.request.received) {
                    return Err((Check::Statement, "its subject is not its request".to_owned()));
                }
                let from_client = decision.from == "client";
                let allowed = from_client && decision.effect == read::Effect::Allow;
                state.carried(decision.token.as_ref(), from_client, allowed.then_some(record.time))?;
                return announced(decision.policy_set, decision.schema);
            }
            "session-close" => {
                state.close();
                return Ok(());
            }
            "session-open" => {
                let open: read::Open = record.body().map_err(unread)?;
                if state.is_open() {
                    return Err((Check::Session, "its session was opened before".to_owned()));
                }
                announced(open.policy_set, open.schema)?;
                (open.token, open.key, open.claims)
            }
            "session-renew" => {
                let renew: read::Renew = record.body().map_err(unread)?;
                if !state.may_be_open() {
                    return Err((Check::Session, "its session was not opened".to_owned()));
                }
                (renew.token, renew.key, renew.claims)
            }
            "identity-token" => {
                let identity: read::Identity = record.body().map_err(unread)?;
                own = false;
                (identity.token, identity.key, identity.claims.into())
            }
            other => return Err((Check::Statement, format!("a session has no records of kind {other}"))),
        };
        let checked = session::claims(&claims, session, self.identity);
        let kid = token.kid.clone();
        let same = record.subject == token.sha256;
        if own {
            state.issued(token, Timestamp::from_secs(claims.exp));
        }
        checked?;
        if !same {
            return Err((Check::Statement, "its subject is not its token".to_owned()));
        }
        let issued = Timestamp::from_secs(claims.iat);
        let leaf =
            self.trust.key(&kid, issued).map_err(|why| (Check::Token, format!("the token's key: {why}")))?;
        if claims.exp > leaf.not_after.as_secs() {
            return Err((
                Check::Token,
                "the token outlives the certificate of the key that signed it".to_owned(),
            ));
        }
        if key.kid != kid {
            return Err((Check::Token, format!("it names the key {}, but its token's is {kid}", key.kid)));
        }
        self.archived(&key)
    }

    /// What a record says is archived of a believed key.
    pub(super) fn archived(&mut self, key: &read::Key) -> Result<(), Wrong> {
        self.trust.archived(key).map_err(|why| (Check::Archive, why))
    }
}
