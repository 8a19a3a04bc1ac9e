//! A token bucket: how much of something may happen, at once and in the long run (I10).

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;

use crate::domain::clock::Timestamp;

/// How far a clock may go back before time counts from there.
const STEP_BACK: Duration = Duration::from_secs(60);

/// How much may happen: a burst, and what refills it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// At once.
    pub burst: u32,
    /// Per second in the long run.
    pub per_second: u32,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { burst: 10_000, per_second: 1_000 }
    }
}

/// What is left of an [`Allowance`].
#[derive(Debug)]
pub(super) struct Bucket {
    allowance: Allowance,
    /// Thousandths that are left.
    level: u64,
    refilled: Timestamp,
}

impl Bucket {
    pub(super) fn full(allowance: Allowance, now: Timestamp) -> Self {
        Self { allowance, level: u64::from(allowance.burst).saturating_mul(1000), refilled: now }
    }

    /// Takes one, if there is one left at `now`. A clock that goes back gives nothing away.
    pub(super) fn take(&mut self, now: Timestamp) -> bool {
        self.refill(now);
        match self.level.checked_sub(1000) {
            Some(left) => {
                self.level = left;
                true
            }
            None => false,
        }
    }

    /// How long until one is left again; nothing if one is.
    fn wait(&self) -> Duration {
        let lacking = 1000_u64.saturating_sub(self.level);
        Duration::from_millis(lacking.div_ceil(u64::from(self.allowance.per_second).max(1)))
    }

    fn refill(&mut self, now: Timestamp) {
        let millis = u64::try_from(now.since(self.refilled).as_millis()).unwrap_or(u64::MAX);
        let refill = millis.saturating_mul(u64::from(self.allowance.per_second));
        self.level = self.level.saturating_add(refill).min(self.capacity());
        // A clock that once was far ahead must not stop the refilling until it is that late again.
        let back = self.refilled.since(now);
        self.refilled = if back > STEP_BACK { now } else { self.refilled.max(now) };
    }

    fn capacity(&self) -> u64 {
        u64::from(self.allowance.burst).saturating_mul(1000)
    }
}

/// A bucket per party (a principal, a tool server), for a bounded number of them.
#[derive(Debug)]
pub(super) struct Quota<P> {
    allowance: Allowance,
    limit: usize,
    buckets: Mutex<HashMap<P, Bucket>>,
}

impl<P: Clone + Eq + Hash> Quota<P> {
    pub(super) fn new(allowance: Allowance, limit: usize) -> Self {
        Self { allowance, limit: limit.max(1), buckets: Mutex::new(HashMap::new()) }
    }

    /// Takes one from `party`'s bucket.
    pub(super) fn take(&self, party: &P, now: Timestamp) -> bool {
        self.try_take(party, now).is_ok()
    }

    /// As [`Quota::take`]; tells how long to wait when there is none left.
    pub(super) fn try_take(&self, party: &P, now: Timestamp) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock();
        if !buckets.contains_key(party) && buckets.len() >= self.limit {
            // Full buckets say nothing; without them there is room, or every party here has lately been refused.
            buckets.retain(|_, bucket| {
                bucket.refill(now);
                bucket.level < bucket.capacity()
            });
            if buckets.len() >= self.limit {
                return Err(Duration::from_secs(1));
            }
        }
        let bucket = buckets.entry(party.clone()).or_insert_with(|| Bucket::full(self.allowance, now));
        if bucket.take(now) { Ok(()) } else { Err(bucket.wait()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::digest::Sha256Digest;
    use crate::domain::evidence::{BootstrapEvidence, Evidence};
    use crate::domain::principal::Principal;

    fn principal(uid: u32) -> Principal {
        let secret_sha256 = Sha256Digest::of(b"");
        Principal::of(&Evidence::Bootstrap(BootstrapEvidence { secret_sha256, file_uid: uid }))
    }

    #[test]
    fn a_bucket_empties_refills_and_never_overflows() {
        let mut bucket = Bucket::full(Allowance { burst: 2, per_second: 1 }, Timestamp::from_secs(100));
        let mut takes = |secs| bucket.take(Timestamp::from_secs(secs));
        assert_eq!([takes(100), takes(100), takes(100)], [true, true, false]);
        assert_eq!([takes(101), takes(101)], [true, false]);
        assert_eq!([takes(50), takes(101)], [false, false], "the clock went back");
        assert_eq!([takes(1000), takes(1000), takes(1000)], [true, true, false]);
    }

    #[test]
    fn whoever_is_refused_learns_when_it_would_not_be() {
        let quota = Quota::new(Allowance { burst: 1, per_second: 4 }, 2);
        let at = Timestamp::from_millis;
        assert_eq!(quota.try_take(&principal(1), at(1000)), Ok(()));
        assert_eq!(quota.try_take(&principal(1), at(1000)), Err(Duration::from_millis(250)));
        assert_eq!(quota.try_take(&principal(1), at(1100)), Err(Duration::from_millis(150)));
        assert_eq!(quota.try_take(&principal(1), at(1250)), Ok(()));
    }

    #[test]
    fn one_principals_refusals_cost_no_other_and_their_number_is_bounded() {
        let quota = Quota::new(Allowance { burst: 1, per_second: 1 }, 2);
        let now = Timestamp::from_secs(1);
        assert!(quota.take(&principal(1), now) && !quota.take(&principal(1), now));
        assert!(quota.take(&principal(2), now));
        assert!(!quota.take(&principal(3), now), "no room for a third");
        assert!(
            quota.take(&principal(3), Timestamp::from_secs(9)),
            "the others are full again and forgotten"
        );
    }

    #[test]
    fn a_clock_that_was_far_ahead_stops_no_refilling_when_it_is_right_again() {
        let at = |secs: i64| Timestamp::from_secs(1_000_000 + secs);
        let mut bucket = Bucket::full(Allowance { burst: 1, per_second: 1 }, at(0));
        assert!(bucket.take(at(900_000)));
        assert!(!bucket.take(at(10)), "going back gives nothing away");
        assert!(bucket.take(at(11)));
    }
}
