//! Counts of permitted calls: all of them, and those of the last minute, hour and day.
//!
//! A window is a ring of steps. A call falls into the step of its time and leaves with it, so that it counts for at
//! least the window's length and for less than one step more.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::clock::Timestamp;
use crate::policy::Calls;

/// A counter that nothing was counted in for this long begins anew.
pub(super) const KEPT: Duration = Duration::from_secs(90 * 86_400);

/// Lengths of the windows' steps, in milliseconds.
const MINUTE_STEP: i64 = 5_000;
const HOUR_STEP: i64 = 300_000;
const DAY_STEP: i64 = 3_600_000;

/// Counts of the last steps, the current one first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Window {
    /// The current step: the time divided by its length.
    head: i64,
    counts: Vec<u32>,
}

impl Window {
    fn new(steps: usize, head: i64) -> Self {
        // One more than the window has: the current one has only begun.
        Self { head, counts: vec![0; steps + 1] }
    }

    /// The sum, were `step` the current one. A clock that went back takes nothing out.
    fn sum(&self, step: i64) -> u64 {
        let left = usize::try_from(step.saturating_sub(self.head)).unwrap_or(0);
        self.counts.iter().take(self.counts.len().saturating_sub(left)).map(|count| u64::from(*count)).sum()
    }

    /// Makes `step` the current one. If the clock went back, all that is in the window stays for its whole length
    /// from here on: nothing is forgotten early, and a clock that once was far ahead keeps nothing for ever. One step
    /// is no going back: of two calls at once, the later may be counted first.
    fn advance(&mut self, step: i64) {
        if step.saturating_add(1) == self.head {
            return;
        }
        if step < self.head {
            let all = u32::try_from(self.sum(step)).unwrap_or(u32::MAX);
            self.counts.fill(0);
            if let Some(current) = self.counts.first_mut() {
                *current = all;
            }
        } else {
            let by = usize::try_from(step - self.head).unwrap_or(usize::MAX).min(self.counts.len());
            self.counts.rotate_right(by);
            self.counts.iter_mut().take(by).for_each(|count| *count = 0);
        }
        self.head = step;
    }

    fn add(&mut self, step: i64) {
        self.advance(step);
        if let Some(current) = self.counts.first_mut() {
            *current = current.saturating_add(1);
        }
    }

    /// Adds what another one of the same steps has.
    fn absorb(&mut self, other: &Self) {
        let head = self.head.max(other.head);
        let mut other = other.clone();
        self.advance(head);
        other.advance(head);
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_add(more);
        }
    }

    fn undo(&mut self, step: i64) {
        let at = usize::try_from(self.head.saturating_sub(step)).unwrap_or(0);
        if let Some(count) = self.counts.get_mut(at) {
            *count = count.saturating_sub(1);
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Windows {
    minute: Window,
    hour: Window,
    day: Window,
}

impl Windows {
    fn at(now: i64) -> Self {
        Self {
            minute: Window::new(12, now.div_euclid(MINUTE_STEP)),
            hour: Window::new(12, now.div_euclid(HOUR_STEP)),
            day: Window::new(24, now.div_euclid(DAY_STEP)),
        }
    }

    fn each(&mut self) -> [(&mut Window, i64); 3] {
        [(&mut self.minute, MINUTE_STEP), (&mut self.hour, HOUR_STEP), (&mut self.day, DAY_STEP)]
    }
}

/// The calls of one principal, of one of its servers, or of one of its tools.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counter {
    calls: u64,
    /// When the last one was counted, in milliseconds since the epoch.
    last: i64,
    /// None when a day has passed since the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    windows: Option<Box<Windows>>,
}

impl Counter {
    /// Counts a call.
    pub(super) fn add(&mut self, at: Timestamp) {
        if self.is_forgotten(at) {
            *self = Self::default();
        }
        let now = at.as_millis();
        self.calls += 1;
        self.last = now;
        let windows = self.windows.get_or_insert_with(|| Box::new(Windows::at(now)));
        for (window, step) in windows.each() {
            window.add(now.div_euclid(step));
        }
    }

    /// Takes back a call that was counted at `at`.
    pub(super) fn undo(&mut self, at: Timestamp) {
        self.calls = self.calls.saturating_sub(1);
        for (window, step) in self.windows.iter_mut().flat_map(|windows| windows.each()) {
            window.undo(at.as_millis().div_euclid(step));
        }
    }

    /// Counts what another one counted as well.
    pub(super) fn absorb(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.last = self.last.max(other.last);
        match (&mut self.windows, other.windows) {
            (Some(windows), Some(mut more)) => {
                for ((window, _), (more, _)) in windows.each().into_iter().zip(more.each()) {
                    window.absorb(more);
                }
            }
            (windows @ None, more) => *windows = more,
            (Some(_), None) => {}
        }
    }

    /// What it says at `now`.
    pub(super) fn read(&self, now: Timestamp) -> Calls {
        if self.is_forgotten(now) {
            return Calls::default();
        }
        let now = now.as_millis();
        let of = |window: fn(&Windows) -> &Window, step: i64| {
            self.windows.as_ref().map_or(0, |windows| window(windows).sum(now.div_euclid(step)))
        };
        Calls {
            calls: self.calls,
            minute: of(|windows| &windows.minute, MINUTE_STEP),
            hour: of(|windows| &windows.hour, HOUR_STEP),
            day: of(|windows| &windows.day, DAY_STEP),
        }
    }

    /// Whether nothing was counted for as long as counts are kept.
    pub(super) fn is_forgotten(&self, now: Timestamp) -> bool {
        now.since(Timestamp::from_millis(self.last)) > KEPT
    }

    /// Gives back the room of windows that are empty.
    pub(super) fn prune(&mut self, now: Timestamp) {
        if self.read(now).day == 0 {
            self.windows = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_767_323_040 + secs)
    }

    fn read(counter: &Counter, secs: i64) -> [u64; 4] {
        counter.read(at(secs)).each().map(|(_, count)| count)
    }

    #[test]
    fn a_call_leaves_each_window_one_step_after_its_length_at_the_latest() {
        let mut counter = Counter::default();
        counter.add(at(2));
        assert_eq!(read(&counter, 2), [1, 1, 1, 1]);
        assert_eq!(read(&counter, 62), [1, 1, 1, 1]);
        assert_eq!(read(&counter, 67), [1, 0, 1, 1]);
        assert_eq!(read(&counter, 3602), [1, 0, 1, 1]);
        assert_eq!(read(&counter, 3902), [1, 0, 0, 1]);
        assert_eq!(read(&counter, 86_402), [1, 0, 0, 1]);
        assert_eq!(read(&counter, 90_002), [1, 0, 0, 0]);
        assert_eq!(read(&counter, 91 * 86_400), [0, 0, 0, 0]);
        counter.add(at(91 * 86_400));
        assert_eq!(read(&counter, 91 * 86_400), [1, 1, 1, 1]);
    }

    #[test]
    fn a_clock_that_goes_back_forgets_nothing_early_and_keeps_nothing_for_ever() {
        let mut counter = Counter::default();
        for _ in 0..3 {
            counter.add(at(1_000_000_000));
        }
        assert_eq!(read(&counter, 0), [3, 3, 3, 3]);
        counter.add(at(0));
        assert_eq!(read(&counter, 30), [4, 4, 4, 4]);
        assert_eq!(read(&counter, 66), [4, 0, 4, 4]);
    }

    #[test]
    fn two_calls_counted_in_the_wrong_order_keep_no_old_ones_for_longer() {
        let mut counter = Counter::default();
        counter.add(at(0));
        counter.add(at(60));
        counter.add(at(59));
        assert_eq!(read(&counter, 61), [3, 3, 3, 3]);
        assert_eq!(read(&counter, 66), [3, 2, 3, 3], "the first has left as if the others had come in order");
        assert_eq!(read(&counter, 130), [3, 0, 3, 3]);
    }

    #[test]
    fn a_call_that_was_taken_back_is_as_if_it_had_never_been() {
        let mut counter = Counter::default();
        counter.add(at(0));
        let before = counter.clone();
        counter.add(at(40));
        counter.undo(at(40));
        assert_eq!(read(&counter, 50), read(&before, 50));
        assert_eq!(read(&counter, 70), read(&before, 70));
    }

    proptest! {
        #[test]
        fn the_windows_count_what_a_list_of_all_times_would(mut times in prop::collection::vec(0_i64..200_000, 1..60)) {
            times.sort_unstable();
            let mut counter = Counter::default();
            for (index, time) in times.iter().enumerate() {
                counter.add(at(*time));
                let within = |age: i64| times.iter().take(index + 1).filter(|t| time - **t <= age).count() as u64;
                let calls = counter.read(at(*time));
                prop_assert_eq!(calls.calls, index as u64 + 1);
                prop_assert!(calls.minute >= within(59) && calls.minute <= within(65));
                prop_assert!(calls.hour >= within(3_599) && calls.hour <= within(3_900));
                prop_assert!(calls.day >= within(86_399) && calls.day <= within(90_000));
            }
        }
    }
}
