//! Time zones, for policies that speak of working hours. Their rules come with the program, not from the system.

use std::fmt;

use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::clock::Timestamp;

/// A time zone of the IANA database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

impl Default for Zone {
    /// UTC.
    fn default() -> Self {
        Self { name: "UTC".to_owned(), zone: TimeZone::UTC }
    }
}

impl Zone {
    /// The zone of this name, such as `Europe/Berlin`; `None` if there is none.
    pub fn named(name: &str) -> Option<Self> {
        let zone = TimeZoneDatabase::bundled().get(name).ok()?;
        Some(Self { name: name.to_owned(), zone })
    }

    /// Seconds that its clocks are ahead of UTC at that moment.
    pub fn offset(&self, at: Timestamp) -> i32 {
        jiff::Timestamp::from_millisecond(at.as_millis()).map_or(0, |at| self.zone.to_offset(at).seconds())
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What clocks and calendars on the wall say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    /// 1 is Monday, 7 is Sunday (ISO 8601).
    pub weekday: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
}

impl LocalTime {
    /// At that moment, where clocks are so many seconds ahead of UTC.
    pub fn at(now: Timestamp, offset: i32) -> Self {
        let secs = now.as_secs().saturating_add(i64::from(offset));
        let of = |value: i64| u8::try_from(value).unwrap_or(0);
        Self {
            // 1970-01-01 was a Thursday.
            weekday: of((secs.div_euclid(86_400) + 3).rem_euclid(7) + 1),
            hour: of(secs.rem_euclid(86_400) / 3600),
            minute: of(secs.rem_euclid(3600) / 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_follows_the_zone_through_summer_and_winter() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        let local = |zone: &Zone, text: &str| {
            let at = Timestamp::parse_rfc3339(text).unwrap();
            let LocalTime { weekday, hour, minute } = LocalTime::at(at, zone.offset(at));
            (weekday, hour, minute)
        };
        assert_eq!(local(&Zone::default(), "2026-01-02T03:04:05Z"), (5, 3, 4));
        assert_eq!(local(&berlin, "2026-01-02T23:30:00Z"), (6, 0, 30));
        assert_eq!(local(&berlin, "2026-07-05T22:30:00Z"), (1, 0, 30));
        assert_eq!(local(&berlin, "2026-03-29T00:59:59Z"), (7, 1, 59));
        assert_eq!(local(&berlin, "2026-03-29T01:00:00Z"), (7, 3, 0));
        let kolkata = Zone::named("Asia/Kolkata").unwrap();
        assert_eq!(local(&kolkata, "2026-01-04T18:29:00Z"), (7, 23, 59));
        assert_eq!(local(&Zone::named("America/New_York").unwrap(), "2026-01-05T04:59:00Z"), (7, 23, 59));
        assert_eq!(Zone::named("Europe/Berlim"), None);
        assert_eq!(Zone::named("/etc/passwd"), None);
    }
}
