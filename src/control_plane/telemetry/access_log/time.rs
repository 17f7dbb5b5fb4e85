//! Wall-clock time as text, for log lines. UTC only: a log is read by machines in several time zones.

use super::cursor::Cursor;

/// Formats times of one log; remembers the last second, because lines come in bursts.
#[derive(Debug)]
pub(super) struct Clock {
    second: u64,
    /// `2026-11-23T09:08:14`
    rfc3339: [u8; 19],
    /// `23/Nov/2026:09:08:14 +0000`
    combined: [u8; 26],
}

impl Default for Clock {
    fn default() -> Self {
        let mut clock = Clock { second: u64::MAX, rfc3339: [0; 19], combined: [0; 26] };
        clock.turn_to(0);
        clock
    }
}

impl Clock {
    /// RFC 3339 with microseconds: `2026-11-23T09:08:14.123456Z`.
    pub(super) fn rfc3339(&mut self, unix_ns: u64, out: &mut Cursor) {
        self.turn_to(unix_ns / NANOS);
        out.literal(&self.rfc3339);
        let mut fraction = *b".000000Z";
        digits(&mut fraction[1..7], unix_ns % NANOS / 1_000);
        out.literal(&fraction);
    }

    /// The form of the combined log format: `23/Nov/2026:09:08:14 +0000`.
    pub(super) fn combined(&mut self, unix_ns: u64, out: &mut Cursor) {
        self.turn_to(unix_ns / NANOS);
        out.literal(&self.combined);
    }

    fn turn_to(&mut self, second: u64) {
        if self.second == second {
            return;
        }
        self.second = second;
        let (year, month, day) = civil(second / 86_400);
        let of_day = second % 86_400;
        let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);

        self.rfc3339 = *b"0000-00-00T00:00:00";
        for (range, value) in
            [(0..4, year), (5..7, month), (8..10, day), (11..13, hour), (14..16, minute), (17..19, second)]
        {
            digits(&mut self.rfc3339[range], value);
        }
        self.combined = *b"00/---/0000:00:00:00 +0000";
        for (range, value) in [(0..2, day), (7..11, year), (12..14, hour), (15..17, minute), (18..20, second)]
        {
            digits(&mut self.combined[range], value);
        }
        let name = MONTHS[usize::try_from(month - 1).unwrap_or(0)];
        self.combined[3..6].copy_from_slice(name);
    }
}

/// Writes `value` in decimal, right-aligned with leading zeros; higher digits that do not fit are left out.
fn digits(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
}

/// Year, month and day of the proleptic Gregorian calendar, counted from 1970-01-01.
///
/// Years are counted from March, so that the leap day is the last one of its year; 400 years have 146,097 days.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

const NANOS: u64 = 1_000_000_000;
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

#[cfg(test)]
mod tests {
    use super::*;

    fn both(unix_ns: u64) -> (String, String) {
        let (mut clock, mut first, mut second) = (Clock::default(), Cursor::default(), Cursor::default());
        clock.rfc3339(unix_ns, &mut first);
        clock.combined(unix_ns, &mut second);
        let text = |cursor: &Cursor| String::from_utf8(cursor.as_slice().to_vec()).unwrap();
        (text(&first), text(&second))
    }

    #[test]
    fn known_moments_are_written_in_both_forms() {
        for (unix, rfc3339, combined) in [
            (0, "1970-01-01T00:00:00", "01/Jan/1970:00:00:00 +0000"),
            (951_782_399, "2000-02-28T23:59:59", "28/Feb/2000:23:59:59 +0000"),
            (951_827_696, "2000-02-29T12:34:56", "29/Feb/2000:12:34:56 +0000"),
            (1_709_251_199, "2024-02-29T23:59:59", "29/Feb/2024:23:59:59 +0000"),
            (1_735_689_599, "2024-12-31T23:59:59", "31/Dec/2024:23:59:59 +0000"),
            (4_107_542_400, "2100-03-01T00:00:00", "01/Mar/2100:00:00:00 +0000"),
        ] {
            let (first, second) = both(unix * NANOS + 7_000);
            assert_eq!(first, format!("{rfc3339}.000007Z"));
            assert_eq!(second, combined);
        }
    }

    #[test]
    fn days_count_up_through_every_month_of_400_years() {
        let mut expected = (1970, 1, 1);
        for day in 0..146_097 {
            assert_eq!(civil(day), expected);
            let (year, month, date) = expected;
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            expected = match (month, date == length) {
                (12, true) => (year + 1, 1, 1),
                (_, true) => (year, month + 1, 1),
                _ => (year, month, date + 1),
            };
        }
    }
}
