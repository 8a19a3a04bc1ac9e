//! Maintenance traffic that needs no decision of its own: each kind is named, bounded and counted (I1).
//!
//! A session's `session/open` decision carries a standing permit for exactly these kinds. What is not named
//! here is decided by policy.

use crate::domain::clock::Timestamp;

use super::meter::{Allowance, Bucket};

/// A named kind of maintenance traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Standing {
    /// `notifications/initialized` of the client.
    Initialized,
    /// `notifications/cancelled` for a request that is under way.
    Cancelled,
    /// `notifications/progress` for a request that is under way.
    Progress,
    /// `ping`, in either direction.
    Ping,
    /// The client's answer to a server request that was let through.
    ClientAnswer,
    /// The server's answer to a client request that was let through.
    ServerAnswer,
    /// The server's notifications: log messages, `list_changed`, `resources/updated`.
    ServerNotification,
    /// The gateway's own `tools/list`, principal `Gateway`.
    OwnToolList,
    /// The gateway's own notification that a list shows something else now.
    OwnNotification,
    /// The gateway's error in answer to a request that it did not let through.
    GatewayAnswer,
    /// The stream for server messages (GET).
    Stream,
    /// The end of the session (DELETE).
    Delete,
}

impl Standing {
    /// How many kinds there are.
    pub const COUNT: usize = 12;

    /// All kinds.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Initialized,
        Self::Cancelled,
        Self::Progress,
        Self::Ping,
        Self::ClientAnswer,
        Self::ServerAnswer,
        Self::ServerNotification,
        Self::OwnToolList,
        Self::OwnNotification,
        Self::GatewayAnswer,
        Self::Stream,
        Self::Delete,
    ];

    /// The stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initialized => "initialized",
            Self::Cancelled => "cancelled",
            Self::Progress => "progress",
            Self::Ping => "ping",
            Self::ClientAnswer => "client_answer",
            Self::ServerAnswer => "server_answer",
            Self::ServerNotification => "server_notification",
            Self::OwnToolList => "own_tool_list",
            Self::OwnNotification => "own_notification",
            Self::GatewayAnswer => "gateway_answer",
            Self::Stream => "stream",
            Self::Delete => "delete",
        }
    }

    /// Whether the kind draws on the session's allowance. Answers are bounded by the requests they answer, the
    /// gateway's own lists run one at a time, and its notifications are paced.
    const fn is_metered(self) -> bool {
        !matches!(
            self,
            Self::ClientAnswer
                | Self::ServerAnswer
                | Self::GatewayAnswer
                | Self::OwnToolList
                | Self::OwnNotification
                | Self::Delete
        )
    }
}

/// Counts a session's maintenance traffic and holds it to its [`Allowance`].
#[derive(Debug)]
pub(super) struct StandingMeter {
    bucket: Bucket,
    counts: [u64; Standing::COUNT],
}

impl StandingMeter {
    pub(super) fn new(allowance: Allowance, now: Timestamp) -> Self {
        Self { bucket: Bucket::full(allowance, now), counts: [0; Standing::COUNT] }
    }

    /// Whether one more message of `kind` may pass at `now`; it is counted if so.
    pub(super) fn take(&mut self, kind: Standing, now: Timestamp) -> bool {
        if kind.is_metered() && !self.bucket.take(now) {
            return false;
        }
        if let Some((_, count)) = Standing::ALL.iter().zip(&mut self.counts).find(|(k, _)| **k == kind) {
            *count = count.saturating_add(1);
        }
        true
    }

    /// How many messages passed, of all kinds.
    pub(super) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many messages of each kind passed.
    pub(super) fn counts(&self) -> impl Iterator<Item = (Standing, u64)> + '_ {
        Standing::ALL.into_iter().zip(self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maintenance_traffic_is_counted_and_held_to_its_allowance() {
        let start = Timestamp::from_secs(100);
        let mut meter = StandingMeter::new(Allowance { burst: 2, per_second: 1 }, start);
        assert!(meter.take(Standing::Ping, start));
        assert!(meter.take(Standing::Progress, start));
        assert!(!meter.take(Standing::Ping, start));
        assert!(meter.take(Standing::ServerAnswer, start), "an answer is bounded by its request");
        assert!(meter.take(Standing::Ping, Timestamp::from_secs(101)));
        assert!(!meter.take(Standing::Ping, Timestamp::from_secs(101)));
        assert_eq!(meter.total(), 4);
        let pings = meter.counts().find(|(kind, _)| *kind == Standing::Ping);
        assert_eq!(pings, Some((Standing::Ping, 2)));
    }
}
