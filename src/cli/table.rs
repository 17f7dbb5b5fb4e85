//! Columns of text for people.

use std::fmt::Write;

/// Rows under a heading, each column as wide as its widest cell; numbers stand to the right.
pub(crate) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = heading.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let numeric: Vec<bool> = (0..heading.len())
        .map(|column| rows.iter().all(|row| row.get(column).is_none_or(|cell| is_number(cell))))
        .collect();
    let mut text = String::new();
    let heading: Vec<String> = heading.iter().map(|&cell| cell.to_owned()).collect();
    for row in std::iter::once(&heading).chain(rows) {
        let mut line = String::new();
        for ((cell, width), &numeric) in row.iter().zip(&widths).zip(&numeric) {
            let padding = " ".repeat(width - cell.chars().count());
            let (before, after) = if numeric { (&*padding, "") } else { ("", &*padding) };
            // Writing to a String cannot fail.
            let _ = write!(line, "  {before}{cell}{after}");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// As text without what could move the cursor of a terminal: hosts and paths are what clients send.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn is_number(cell: &str) -> bool {
    cell.starts_with(|first: char| first.is_ascii_digit()) && !cell.contains(':') || cell == "-"
}

/// A duration as people say it: `3d 4h`, `2h 5m`, `4m 7s`, `9s`.
pub(crate) fn ago(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (1.., ..) => format!("{days}d {hours}h"),
        (0, 1.., _) => format!("{hours}h {minutes}m"),
        (0, 0, 1..) => format!("{minutes}m {}s", seconds % 60),
        _ => format!("{seconds}s"),
    }
}

/// Microseconds with the unit that leaves one to three digits before the point: `840us`, `1.2ms`, `3.4s`.
pub(crate) fn micros(micros: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", micros / unit, micros % unit * 10 / unit);
    match micros {
        0..1_000 => format!("{micros}us"),
        1_000..1_000_000 => format!("{}ms", tenths(1_000)),
        _ => format!("{}s", tenths(1_000_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_and_words_left() {
        let rows = vec![vec!["a".to_owned(), "5".to_owned()], vec!["long".to_owned(), "1234".to_owned()]];
        assert_eq!(table(&["name", "count"], &rows), "  name  count\n  a         5\n  long   1234\n");
    }

    #[test]
    fn durations_are_short() {
        assert_eq!([9, 247, 7_500, 273_600].map(ago), ["9s", "4m 7s", "2h 5m", "3d 4h"]);
        assert_eq!([840, 1_290, 3_400_000].map(micros), ["840us", "1.2ms", "3.4s"]);
    }
}
