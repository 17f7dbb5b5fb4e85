//! Amounts with a unit: durations, sizes, rates, percentages, and "off" for no limit.

use super::{Literal, Misread, printed};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// Units of time in milliseconds, largest first.
const TIME_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Units of size in bytes, largest first.
const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Longest duration: a year, far below where sums of `Duration` could overflow a timer.
const DURATION_MS_MAX: u64 = 366 * 24 * 3_600_000;

/// Splits `250ms` into 250 and `ms`. Only digits count as a number: no sign, no fraction, no exponent.
fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = split(text)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

/// The value in the largest unit that divides it.
fn print(value: u64, units: &[(&str, u64)]) -> String {
    let smallest = units[units.len() - 1];
    let (unit, factor) =
        *units.iter().find(|(_, factor)| value != 0 && value.is_multiple_of(*factor)).unwrap_or(&smallest);
    format!("{}{unit}", value / factor)
}

fn whole_ms(duration: &Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A duration as it would be written.
pub(crate) fn print_duration(value: &Duration) -> String {
    print(whole_ms(value), &TIME_UNITS)
}

/// Serialises a duration as its literal.
pub(crate) fn duration<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&print(whole_ms(value), &TIME_UNITS))
}

/// As [`duration`], for a member that may be left out.
pub(crate) fn optional_duration<S: Serializer>(
    value: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => duration(value, serializer),
        None => serializer.serialize_none(),
    }
}

impl Literal for Duration {
    const EXPECTED: &'static str = "a duration such as \"250ms\", \"5s\", \"1m\" or \"1h\"";

    fn read(text: &str) -> Result<Self, Misread> {
        let ms = with_unit(text, &TIME_UNITS).ok_or(Misread::Form)?;
        if ms > DURATION_MS_MAX {
            return Err(Misread::Because("longer than a year".into()));
        }
        Ok(Duration::from_millis(ms))
    }
}

/// Schema of a duration.
pub(crate) struct DurationText;

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h)$", "examples": ["250ms", "5s", "1m", "1h"] })
    }
}

/// A size in bytes, written `16KiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print(self.0, &SIZE_UNITS))
    }
}

impl Literal for Bytes {
    const EXPECTED: &'static str = "a size such as \"512B\", \"16KiB\", \"1MiB\" or \"2GiB\"";

    fn read(text: &str) -> Result<Self, Misread> {
        with_unit(text, &SIZE_UNITS).map(Bytes).ok_or(Misread::Form)
    }
}

/// Bytes per second, written `1KiB/s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteRate(pub u64);

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", print(self.0, &SIZE_UNITS))
    }
}

impl Literal for ByteRate {
    const EXPECTED: &'static str = "a data rate such as \"500B/s\" or \"1KiB/s\"";

    fn read(text: &str) -> Result<Self, Misread> {
        let amount = text.strip_suffix("/s").ok_or(Misread::Form)?;
        with_unit(amount, &SIZE_UNITS).map(ByteRate).ok_or(Misread::Form)
    }
}

/// Events per unit of time, written `50/s`, `600/m` or `1000/h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    pub count: u32,
    /// A second, a minute or an hour.
    pub per: Duration,
}

impl Rate {
    /// So many per second.
    pub const fn per_second(count: u32) -> Rate {
        Rate { count, per: Duration::from_secs(1) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            1 => "s",
            60 => "m",
            _ => "h",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

impl Literal for Rate {
    const EXPECTED: &'static str = "a rate such as \"50/s\", \"600/m\" or \"1000/h\"";

    fn read(text: &str) -> Result<Self, Misread> {
        let (count, unit) = split(text).ok_or(Misread::Form)?;
        let seconds = match unit {
            "/s" => 1,
            "/m" => 60,
            "/h" => 3600,
            _ => return Err(Misread::Form),
        };
        let count = u32::try_from(count).map_err(|_| Misread::Because("more than 4294967295".into()))?;
        Ok(Rate { count, per: Duration::from_secs(seconds) })
    }
}

/// A part of a whole, written `20%` or `0.5%`; kept in hundredths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u16);

impl Percent {
    /// So many percent; above 100 counts as 100.
    pub const fn whole(percent: u16) -> Percent {
        Percent(if percent > 100 { 100 * 100 } else { percent * 100 })
    }

    /// 0 to 1000; what is less than a thousandth is cut off.
    pub fn permille(self) -> u32 {
        u32::from(self.0) / 10
    }

    /// 0.0 to 1.0.
    pub fn ratio(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 100, self.0 % 100);
        match rest {
            0 => write!(f, "{whole}%"),
            _ if rest % 10 == 0 => write!(f, "{whole}.{}%", rest / 10),
            _ => write!(f, "{whole}.{rest:02}%"),
        }
    }
}

impl Literal for Percent {
    const EXPECTED: &'static str = "a percentage such as \"5%\" or \"0.5%\"";

    fn read(text: &str) -> Result<Self, Misread> {
        let number = text.strip_suffix('%').ok_or(Misread::Form)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || fraction.len() > 2 {
            return Err(Misread::Form);
        }
        let scale = if fraction.len() == 1 { 10 } else { 1 };
        let whole: u32 = whole.parse().map_err(|_| Misread::Because("more than 100%".into()))?;
        let fraction: u32 = fraction.parse().map_err(|_| Misread::Form)?;
        let hundredths = whole.saturating_mul(100).saturating_add(fraction * scale);
        match u16::try_from(hundredths) {
            Ok(hundredths) if hundredths <= 10_000 => Ok(Percent(hundredths)),
            _ => Err(Misread::Because("more than 100%".into())),
        }
    }
}

/// A factor, written `1.9`; kept in hundredths, at most 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ratio(u16);

impl Ratio {
    pub const fn hundredths(hundredths: u16) -> Ratio {
        Ratio(hundredths)
    }

    pub fn value(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The same digits as those of a percentage.
        let text = Percent(self.0).to_string();
        f.write_str(text.trim_end_matches('%'))
    }
}

impl Literal for Ratio {
    const EXPECTED: &'static str = "a factor such as \"2\" or \"1.9\", at most \"100\"";

    fn read(text: &str) -> Result<Self, Misread> {
        Percent::read(&format!("{text}%")).map(|percent| Ratio(percent.0)).map_err(|_| Misread::Form)
    }
}

/// A limit that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound<T> {
    /// Written `off`: unlimited.
    Off,
    At(T),
}

impl<T> Bound<T> {
    /// The limit, if there is one.
    pub fn at(self) -> Option<T> {
        match self {
            Bound::Off => None,
            Bound::At(limit) => Some(limit),
        }
    }
}

macro_rules! bound_literal {
    ($($of:ty = $expected:literal, $schema:literal, $pattern:literal, |$value:ident| $print:expr;)+) => {$(
        impl Literal for Bound<$of> {
            const EXPECTED: &'static str = $expected;

            fn read(text: &str) -> Result<Self, Misread> {
                if text == "off" { Ok(Bound::Off) } else { <$of>::read(text).map(Bound::At) }
            }
        }

        impl Serialize for Bound<$of> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    Bound::Off => serializer.serialize_str("off"),
                    Bound::At($value) => serializer.serialize_str(&$print),
                }
            }
        }

        impl JsonSchema for Bound<$of> {
            fn schema_name() -> Cow<'static, str> {
                $schema.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    )+};
}

bound_literal! {
    Duration = "a duration such as \"250ms\", \"5s\", \"1m\" or \"1h\", or \"off\"", "DurationOrOff",
        "^([0-9]+(ms|s|m|h)|off)$", |value| print(whole_ms(value), &TIME_UNITS);
    Bytes = "a size such as \"16KiB\" or \"1MiB\", or \"off\"", "SizeOrOff",
        "^([0-9]+(B|KiB|MiB|GiB)|off)$", |value| value.to_string();
    Percent = "a percentage such as \"30%\", or \"off\"", "PercentOrOff",
        "^([0-9]+(\\.[0-9]{1,2})?%|off)$", |value| value.to_string();
    ByteRate = "a data rate such as \"1KiB/s\", or \"off\"", "DataRateOrOff",
        "^([0-9]+(B|KiB|MiB|GiB)/s|off)$", |value| value.to_string();
}

printed! {
    Bytes = "Size", { "pattern": "^[0-9]+(B|KiB|MiB|GiB)$" };
    ByteRate = "DataRate", { "pattern": "^[0-9]+(B|KiB|MiB|GiB)/s$" };
    Rate = "Rate", { "pattern": "^[0-9]+/(s|m|h)$" };
    Ratio = "Factor", { "pattern": "^[0-9]+(\\.[0-9]{1,2})?$" };
    Percent = "Percent", { "pattern": "^[0-9]+(\\.[0-9]{1,2})?%$" };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_in_every_unit_and_print_in_the_largest_that_divides_them() {
        for (text, ms, printed) in [
            ("250ms", 250, "250ms"),
            ("5s", 5000, "5s"),
            ("60s", 60_000, "1m"),
            ("90s", 90_000, "90s"),
            ("0s", 0, "0ms"),
        ] {
            assert_eq!(Duration::read(text), Ok(Duration::from_millis(ms)), "{text}");
            assert_eq!(print(ms, &TIME_UNITS), printed);
        }
        for text in ["", "5", "s", "-5s", "5 s", "1.5s", "5S", "+5s", "99999999999999999999s", "5s "] {
            assert!(Duration::read(text).is_err(), "{text}");
        }
        assert!(Duration::read("9000h").is_err(), "longer than a year");
    }

    #[test]
    fn sizes_and_rates_overflow_into_an_error() {
        assert_eq!(Bytes::read("16KiB"), Ok(Bytes(16 << 10)));
        assert_eq!(Bytes::read("99999999999GiB"), Err(Misread::Form));
        assert_eq!(ByteRate::read("1KiB/s").map(|rate| rate.to_string()), Ok("1KiB/s".to_owned()));
        assert_eq!(Rate::read("600/m").map(|rate| rate.to_string()), Ok("600/m".to_owned()));
        assert!(Rate::read("99999999999/s").is_err());
    }

    #[test]
    fn factors_are_decimals_without_a_unit() {
        for text in ["0.5", "1", "1.9", "2.25", "100"] {
            assert_eq!(Ratio::read(text).map(|ratio| ratio.to_string()), Ok(text.to_owned()));
        }
        for text in ["1.9%", "-1", "101", "1.234", "", "1e3"] {
            assert_eq!(Ratio::read(text), Err(Misread::Form), "{text}");
        }
    }

    #[test]
    fn percentages_keep_two_digits_and_end_at_a_hundred() {
        for text in ["0%", "5%", "0.5%", "12.25%", "0.05%", "100%"] {
            assert_eq!(Percent::read(text).map(|percent| percent.to_string()), Ok(text.to_owned()));
        }
        for text in ["101%", "100.01%", "5", ".5%", "5.%", "0.123%", "-1%", "99999999999%"] {
            assert!(Percent::read(text).is_err(), "{text}");
        }
    }
}
