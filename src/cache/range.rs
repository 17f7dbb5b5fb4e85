//! Which part of a stored body is wanted (RFC 9110 §14).

/// What `Range` means for a body of some length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// The field is absent, malformed, of another unit or lists several ranges: the whole body is the answer.
    Whole,
    /// Bytes `from..to`.
    Part { from: u64, to: u64 },
    /// No byte of it exists: 416.
    Unsatisfiable,
}

/// What the value of `Range` selects of a body of `length` bytes. Several ranges are answered with the whole: nobody can
/// make a small request cost more than that.
pub fn select(value: Option<&[u8]>, length: u64) -> Range {
    let Some(value) = value.and_then(|value| std::str::from_utf8(value).ok()) else { return Range::Whole };
    let Some((unit, set)) = value.split_once('=') else { return Range::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return Range::Whole;
    }
    let Some((first, last)) = set.trim().split_once('-') else { return Range::Whole };
    let number = |text: &str| -> Option<u64> {
        (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (number(first), number(last)) {
        (None, Some(0)) if first.is_empty() => Range::Unsatisfiable,
        (None, Some(suffix)) if first.is_empty() => match length {
            0 => Range::Unsatisfiable,
            _ => Range::Part { from: length.saturating_sub(suffix), to: length },
        },
        (Some(from), None) if last.is_empty() => match from < length {
            true => Range::Part { from, to: length },
            false => Range::Unsatisfiable,
        },
        (Some(from), Some(last)) if from <= last => match from < length {
            true => Range::Part { from, to: last.saturating_add(1).min(length) },
            false => Range::Unsatisfiable,
        },
        _ => Range::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x12_r86_ranges_are_cut_to_what_exists_and_nothing_is_multiplied() {
        let part = |from, to| Range::Part { from, to };
        for (value, expected) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=2-", part(2, 10)),
            ("Bytes=2-3", part(2, 4)),
            ("bytes=8-99", part(8, 10)),
            ("bytes=-3", part(7, 10)),
            ("bytes=-99", part(0, 10)),
            ("bytes=0-99999999999999999999999", part(0, 10)),
            ("bytes=10-", Range::Unsatisfiable),
            ("bytes=-0", Range::Unsatisfiable),
            ("bytes=", Range::Whole),
            ("bytes=3-2", Range::Whole),
            ("bytes=a-b", Range::Whole),
            ("bytes=--1", Range::Whole),
            ("bytes=+1-2", Range::Whole),
            ("items=0-1", Range::Whole),
            ("bytes=0-1,0-1,0-1", Range::Whole),
        ] {
            assert_eq!(select(Some(value.as_bytes()), 10), expected, "{value}");
        }
        assert_eq!(select(None, 10), Range::Whole);
        assert_eq!(select(Some(b"bytes=0-"), 0), Range::Unsatisfiable);
        assert_eq!(select(Some(b"bytes=-5"), 0), Range::Unsatisfiable);
    }
}
