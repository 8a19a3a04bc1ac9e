//! Durations and sizes as people write them.

use std::time::Duration;

/// `500ms`, `60s`, `15m`, `12h`, `7d`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let seconds = |n: u64| number.checked_mul(n).map(Duration::from_secs);
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(3600),
        "d" => seconds(86_400),
        _ => None,
    }
}

/// `65536` or `65536B`, `64KiB`, `4MiB`, `1GiB`, or decimal `64kB`, `4MB`, `1GB`; in bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    number.checked_mul(factor)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_need_a_known_unit() {
        assert_eq!(duration("15m"), Some(Duration::from_secs(900)));
        assert_eq!(duration("500 ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("7d"), Some(Duration::from_secs(604_800)));
        for bad in ["", "15", "m", "-1s", "1.5h", "1 year", "99999999999999999999s", "18446744073709551615h"]
        {
            assert_eq!(duration(bad), None, "{bad}");
        }
        assert_eq!(size("4MiB"), Some(4 << 20));
        assert_eq!(size("4MB"), Some(4_000_000));
        assert_eq!(size("512"), Some(512));
        for bad in ["", "4mb", "MiB", "-4MiB", "4 MiB x", "18446744073709551615GiB"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }
}
