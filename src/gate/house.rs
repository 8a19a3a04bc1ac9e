//! What all sessions of a gate share: the parts it was built from, the table of sessions, quotas and counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::attest::Log;
use crate::domain::clock::Clock;
use crate::domain::ids::ServerName;
use crate::domain::limits::Limits;
use crate::domain::principal::Principal;
use crate::domain::recorder::SharedRecorder;
use crate::policy::EngineStore;
use crate::token::{Issuer, Verifier};

use super::catalog::CatalogueSink;
use super::config::Config;
use super::ledger::Ledger;
use super::meter::{Allowance, Quota};
use super::observe::Observer;
use super::registry::Registry;
use super::verdict::DropReason;

/// What a [`super::Gate`] is built from.
#[derive(Debug)]
pub struct Parts {
    /// The policies in force.
    pub engines: Arc<EngineStore>,
    /// Where decisions are recorded.
    pub log: Log,
    /// Issues session tokens.
    pub issuer: Issuer,
    /// Verifies them.
    pub verifier: Verifier,
    /// The time.
    pub clock: Clock,
    /// Where measurements go.
    pub recorder: SharedRecorder,
    /// Where spans come from.
    pub observer: Arc<dyn Observer>,
    /// Who is told of changed tool definitions.
    pub catalogue: Arc<dyn CatalogueSink>,
    /// Bounds.
    pub limits: Limits,
    /// Settings.
    pub config: Config,
}

#[derive(Debug)]
pub(super) struct House {
    pub(super) parts: Parts,
    pub(super) registry: Registry,
    /// What clients are refused.
    pub(super) refusals: Quota<Principal>,
    /// What tool servers are refused: theirs must not use up what a client's refusals are recorded by.
    pub(super) server_refusals: Quota<ServerName>,
    /// Tool calls of each principal, where they are limited.
    pub(super) calls: Option<Quota<Principal>>,
    pub(super) ledger: Ledger,
    pub(super) counters: Counters,
}

impl House {
    pub(super) fn new(parts: Parts, ledger: Ledger) -> Self {
        let registry = Registry::new(parts.limits.sessions, parts.limits.sessions_per_principal);
        let refusals = Quota::new(parts.config.refusals, parts.limits.sessions);
        let server_refusals = Quota::new(parts.config.refusals, parts.limits.sessions);
        let calls = parts.limits.calls_per_second.map(|per_second| {
            Quota::new(Allowance { burst: per_second.saturating_mul(2), per_second }, parts.limits.sessions)
        });
        Self { parts, registry, refusals, server_refusals, calls, ledger, counters: Counters::default() }
    }
}

/// What is only counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    unmatched: AtomicU64,
    dropped: AtomicU64,
    binding: AtomicU64,
    unrecorded: AtomicU64,
    withdrawn: AtomicU64,
}

impl Counters {
    pub(super) fn dropped(&self, reason: DropReason) {
        let counter = match reason {
            DropReason::Unmatched => &self.unmatched,
            DropReason::Binding => return,
            _ => &self.dropped,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Someone with other evidence came with a session's handle.
    pub(super) fn binding(&self) {
        self.binding.fetch_add(1, Ordering::Relaxed);
    }

    /// A refusal beyond its principal's quota.
    pub(super) fn unrecorded(&self) {
        self.unrecorded.fetch_add(1, Ordering::Relaxed);
    }

    /// A permit was no longer good.
    pub(super) fn withdrawn(&self) {
        self.withdrawn.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            unmatched: read(&self.unmatched),
            dropped: read(&self.dropped),
            binding: read(&self.binding),
            unrecorded: read(&self.unrecorded),
            withdrawn: read(&self.withdrawn),
        }
    }
}

/// How often something happened that is counted and not recorded one by one, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that answer nothing that is under way.
    pub unmatched: u64,
    /// Other messages that went nowhere.
    pub dropped: u64,
    /// Requests with a session's handle and another's evidence.
    pub binding: u64,
    /// Refusals beyond their principal's quota.
    pub unrecorded: u64,
    /// Permits that were no longer good when they were to be redeemed.
    pub withdrawn: u64,
}
