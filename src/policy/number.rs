//! Exact reading of JSON numbers: what Cedar can hold exactly, and what it can't.

use std::borrow::Cow;

/// A JSON number's exact value, `±digits × 10^exponent`, without leading or trailing zeros (zero has no digits).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Exact {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Exact {
    /// `None` where the exponent is beyond any use (more than 18 digits).
    fn of(text: &str) -> Option<Self> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        if !mantissa.bytes().any(|byte| matches!(byte, b'1'..=b'9')) {
            return Some(Self { negative: false, digits: String::new(), exponent: 0 });
        }
        let (minus, exponent) = exponent.strip_prefix('-').map_or((false, exponent), |rest| (true, rest));
        let exponent = exponent.trim_start_matches('+').trim_start_matches('0');
        if exponent.len() > 18 {
            return None;
        }
        let exponent: i64 = if exponent.is_empty() { 0 } else { exponent.parse().ok()? };
        let mut exponent = if minus { -exponent } else { exponent };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
        let digits = format!("{whole}{fraction}");
        let kept = digits.trim_end_matches('0');
        exponent = exponent.checked_add(i64::try_from(digits.len() - kept.len()).ok()?)?;
        let kept = kept.trim_start_matches('0');
        Some(Self { negative, digits: kept.to_owned(), exponent })
    }

    /// The value times `10^shift`, if that is an integer within `i64`.
    fn scaled(&self, shift: i64) -> Option<i64> {
        if self.digits.is_empty() {
            return Some(0);
        }
        let exponent = self.exponent.checked_add(shift)?;
        let exponent = u32::try_from(exponent).ok()?;
        if self.digits.len() > 19 || exponent > 19 {
            return None;
        }
        let magnitude = self.digits.parse::<i128>().ok()?.checked_mul(10_i128.checked_pow(exponent)?)?;
        i64::try_from(if self.negative { -magnitude } else { magnitude }).ok()
    }
}

/// What a JSON number is to an `integer` of a tool's schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Integer {
    /// Cedar's `Long` holds it.
    Exact(i64),
    /// An integer that no `Long` holds.
    TooLarge,
    /// Not an integer.
    Fraction,
}

/// Reads `text`, a valid JSON number, as an integer. `1.0` and `1e2` are integers (JSON Schema 2020-12 §6.1.1).
pub(super) fn integer(text: &str) -> Integer {
    match Exact::of(text) {
        None if text.contains("e-") || text.contains("E-") => Integer::Fraction,
        None => Integer::TooLarge,
        Some(exact) if exact.exponent < 0 => Integer::Fraction,
        Some(exact) => exact.scaled(0).map_or(Integer::TooLarge, Integer::Exact),
    }
}

/// The text of a Cedar `decimal` of exactly this value, where there is one (four places, 64 bits).
pub(super) fn decimal(text: &str) -> Option<String> {
    let scaled = Exact::of(text)?.scaled(4)?;
    let magnitude = scaled.unsigned_abs();
    let sign = if scaled < 0 { "-" } else { "" };
    Some(format!("{sign}{}.{:04}", magnitude / 10_000, magnitude % 10_000))
}

/// One spelling for each value: an integer or a fraction written out up to 40 digits, else `<digits>e<exponent>`.
pub(super) fn canonical(text: &str) -> Cow<'_, str> {
    let Some(exact) = Exact::of(text) else { return Cow::Borrowed(text) };
    if exact.digits.is_empty() {
        return Cow::Borrowed("0");
    }
    let sign = if exact.negative { "-" } else { "" };
    let length = i64::try_from(exact.digits.len()).unwrap_or(i64::MAX);
    let point = length.saturating_add(exact.exponent);
    let out = match usize::try_from(exact.exponent) {
        Ok(zeros) if point <= 40 => format!("{sign}{}{}", exact.digits, "0".repeat(zeros)),
        Err(_) if (1..=40).contains(&point) => {
            let (whole, fraction) = exact.digits.split_at(usize::try_from(point).unwrap_or(0));
            format!("{sign}{whole}.{fraction}")
        }
        Err(_) if (-40..=0).contains(&point) => {
            format!("{sign}0.{}{}", "0".repeat(usize::try_from(-point).unwrap_or(0)), exact.digits)
        }
        _ => format!("{sign}{}e{}", exact.digits, exact.exponent),
    };
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_are_exact_or_said_to_be_none() {
        for (text, expected) in [
            ("0", Integer::Exact(0)),
            ("-0", Integer::Exact(0)),
            ("9007199254740993", Integer::Exact(9_007_199_254_740_993)),
            ("9223372036854775807", Integer::Exact(i64::MAX)),
            ("-9223372036854775808", Integer::Exact(i64::MIN)),
            ("9223372036854775808", Integer::TooLarge),
            ("1e400", Integer::TooLarge),
            ("1e99999999999999999999", Integer::TooLarge),
            ("1e-99999999999999999999", Integer::Fraction),
            ("0e99999999999999999999", Integer::Exact(0)),
            ("1e00000000000000000000002", Integer::Exact(100)),
            ("100e-00000000000000000000002", Integer::Exact(1)),
            ("1.0", Integer::Exact(1)),
            ("12.5e1", Integer::Exact(125)),
            ("1.5", Integer::Fraction),
            ("1e-1", Integer::Fraction),
        ] {
            assert_eq!(integer(text), expected, "{text}");
        }
    }

    #[test]
    fn decimals_are_exact_or_none() {
        for (text, expected) in [
            ("0", Some("0.0000")),
            ("-0.5", Some("-0.5000")),
            ("1.2345", Some("1.2345")),
            ("1.23450", Some("1.2345")),
            ("12345e-4", Some("1.2345")),
            ("922337203685477.5807", Some("922337203685477.5807")),
            ("-922337203685477.5808", Some("-922337203685477.5808")),
            ("922337203685477.5808", None),
            ("1.23456", None),
            ("1e400", None),
        ] {
            assert_eq!(decimal(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn one_value_has_one_canonical_spelling() {
        for (text, expected) in [
            ("1.0", "1"),
            ("1e2", "100"),
            ("-1.50", "-1.5"),
            ("0.0", "0"),
            ("5e-3", "0.005"),
            ("1e400", "1e400"),
            ("10e399", "1e400"),
        ] {
            assert_eq!(canonical(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_decimal_of_four_places_survives(scaled in any::<i64>()) {
            let text = format!("{scaled}e-4");
            let cedar = decimal(&text).unwrap();
            prop_assert_eq!(decimal(&cedar), Some(cedar.clone()));
            prop_assert_eq!(canonical(&text), canonical(&cedar));
        }
    }
}
