//! The file of API keys that `keys { file … }` names: one node per key, which holds a hash and never the key.
//!
//! ```text
//! key "k3f9" {
//!     consumer "acme"
//!     hash "sha256:…"
//!     hint "1f0a"
//!     scopes "orders:read"
//!     groups "partners"
//!     not-after "2027-01-31T00:00:00Z"
//!     disabled
//! }
//! ```

use crate::read::parsed_kdl;
use kdl::{KdlDocument, KdlNode};
use std::collections::HashSet;
use std::fmt::{self, Write as _};

/// Keys of one file.
const KEYS_MAX: usize = 100_000;
/// A file of that many.
pub const KEYS_FILE_BYTES_MAX: u64 = 64 << 20;

/// One stored key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredKey {
    /// Unique in its file; may be logged and shown.
    pub id: String,
    pub consumer: Option<String>,
    /// As `auth::KeyHash` reads it.
    pub hash: String,
    /// The last characters of the key, so that its owner knows it again.
    pub hint: Option<String>,
    pub groups: Vec<String>,
    pub scopes: Vec<String>,
    /// Seconds since 1970 from which on it is refused.
    pub not_after_s: Option<u64>,
    pub disabled: bool,
}

/// Why a file is no file of keys. Shows places, never contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysFileError {
    pub line: usize,
    pub what: String,
}

impl fmt::Display for KeysFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for KeysFileError {}

/// Reads a file of keys.
pub fn parse_keys(text: &str) -> Result<Vec<StoredKey>, KeysFileError> {
    let line_of = |at: usize| text.get(..at).unwrap_or(text).matches('\n').count() + 1;
    let document: KdlDocument = parsed_kdl(text).map_err(|error| {
        let at = error.diagnostics.first().map_or(0, |diagnostic| diagnostic.span.offset());
        KeysFileError { line: line_of(at), what: "not KDL".to_owned() }
    })?;
    let mut keys = Vec::new();
    let mut ids = HashSet::new();
    for node in document.nodes() {
        let line = line_of(node.span().offset());
        let key = key(node).map_err(|what| KeysFileError { line, what })?;
        if !ids.insert(key.id.clone()) {
            return Err(KeysFileError { line, what: format!("a second key with the id {:?}", key.id) });
        }
        if keys.len() == KEYS_MAX {
            return Err(KeysFileError { line, what: format!("more than {KEYS_MAX} keys") });
        }
        keys.push(key);
    }
    Ok(keys)
}

fn key(node: &KdlNode) -> Result<StoredKey, String> {
    if node.name().value() != "key" {
        return Err(format!("unknown node {:?}; a file of keys has nodes \"key\"", node.name().value()));
    }
    let mut key = StoredKey { id: one_text(node)?, ..StoredKey::default() };
    let mut seen = HashSet::new();
    for child in node.children().map(KdlDocument::nodes).unwrap_or_default() {
        let word = child.name().value();
        if !seen.insert(word.to_owned()) {
            return Err(format!("\"{word}\" stands here twice"));
        }
        match word {
            "consumer" => key.consumer = Some(one_text(child)?),
            "hash" => key.hash = one_text(child)?,
            "hint" => key.hint = Some(one_text(child)?),
            "groups" => key.groups = texts(child)?,
            "scopes" => key.scopes = texts(child)?,
            "not-after" => {
                let text = one_text(child)?;
                let what = "\"not-after\" must be a time such as \"2027-01-31T00:00:00Z\"";
                key.not_after_s = Some(parse_time(&text).ok_or(what)?);
            }
            "disabled" if texts(child).is_ok_and(|values| values.is_empty()) => key.disabled = true,
            "disabled" => return Err("\"disabled\" has no value".to_owned()),
            _ => return Err(format!("unknown node {word:?} in a key")),
        }
    }
    if key.hash.is_empty() { Err("the key has no hash".to_owned()) } else { Ok(key) }
}

fn texts(node: &KdlNode) -> Result<Vec<String>, String> {
    let text = |entry: &kdl::KdlEntry| match (entry.name(), entry.value().as_string()) {
        (None, Some(text)) => Ok(text.to_owned()),
        _ => Err(format!("values of {:?} must be strings", node.name().value())),
    };
    node.entries().iter().map(text).collect()
}

fn one_text(node: &KdlNode) -> Result<String, String> {
    match &texts(node)?[..] {
        [one] if !one.is_empty() => Ok(one.clone()),
        _ => Err(format!("{:?} needs one value", node.name().value())),
    }
}

/// Writes a file of keys that reads back as the same.
pub fn print_keys(keys: &[StoredKey]) -> String {
    let mut out = String::from(
        "// API keys by their hashes; `ringway keys create|list|revoke FILE` reads and writes this file.\n",
    );
    for key in keys {
        print_key(key, &mut out);
    }
    out
}

fn print_key(key: &StoredKey, out: &mut String) {
    let not_after = key.not_after_s.map(print_time);
    let _ = writeln!(out, "key {} {{", quoted(&key.id));
    let mut line = |word: &str, values: &mut dyn Iterator<Item = &String>| {
        let values: Vec<String> = values.map(|value| quoted(value)).collect();
        if !values.is_empty() {
            let _ = writeln!(out, "    {word} {}", values.join(" "));
        }
    };
    line("consumer", &mut key.consumer.iter());
    line("hash", &mut std::iter::once(&key.hash));
    line("hint", &mut key.hint.iter());
    line("groups", &mut key.groups.iter());
    line("scopes", &mut key.scopes.iter());
    line("not-after", &mut not_after.iter());
    if key.disabled {
        out.push_str("    disabled\n");
    }
    out.push_str("}\n");
}

/// A KDL string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// Seconds since 1970 of a time in UTC, `YYYY-MM-DDTHH:MM:SSZ`; `None` before 1970 and for dates that do not exist.
pub fn parse_time(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let shape = b"0000-00-00T00:00:00Z";
    let fits = |(byte, shape): (&u8, &u8)| if *shape == b'0' { byte.is_ascii_digit() } else { byte == shape };
    if bytes.len() != shape.len() || !bytes.iter().zip(shape).all(fits) {
        return None;
    }
    let number = |at: usize, digits: usize| text.get(at..at + digits)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    if year < 1970 || !(1..=12).contains(&month) || day < 1 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    // A day that its month does not have comes out as one of the next.
    (print_time(seconds) == text).then_some(seconds)
}

/// As [`parse_time`] reads it.
pub fn print_time(seconds: u64) -> String {
    let (mut year, day_number, rest) = (1970, seconds / 86_400, seconds % 86_400);
    while year < 9999 && days(year + 1, 1, 1) <= day_number {
        year += 1;
    }
    let month = (1..=12).rev().find(|month| days(year, *month, 1) <= day_number).unwrap_or(1);
    let day = day_number - days(year, month, 1) + 1;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days(year: u64, month: u64, day: u64) -> u64 {
    const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let past = year - 1;
    let leap_days = past / 4 - past / 100 + past / 400 - (1969 / 4 - 1969 / 100 + 1969 / 400);
    let before = usize::try_from(month - 1).ok().and_then(|at| BEFORE.get(at)).copied().unwrap_or(0);
    let in_year = before + u64::from(month > 2 && leap(year));
    (year - 1970) * 365 + leap_days + in_year + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn full() -> StoredKey {
        StoredKey {
            id: "k1".into(),
            consumer: Some("acme \"x\"".into()),
            hash: format!("sha256:{}", "0".repeat(64)),
            hint: Some("1f0a".into()),
            groups: vec!["a".into(), "b c".into()],
            scopes: vec!["orders:read".into()],
            not_after_s: Some(1_800_000_000),
            disabled: true,
        }
    }

    #[test]
    fn a1_a_file_of_keys_reads_back_as_it_was_written() {
        let keys = [full(), StoredKey { id: "k2".into(), hash: "sha256:1".into(), ..StoredKey::default() }];
        let text = print_keys(&keys);
        assert_eq!(parse_keys(&text).as_deref(), Ok(&keys[..]), "{text}");
        assert_eq!(parse_keys("").as_deref(), Ok(&[][..]));
        assert_eq!(parse_keys(&print_keys(&[])).as_deref(), Ok(&[][..]));
    }

    #[test]
    fn mistakes_in_a_file_of_keys_have_a_line() {
        for (text, line, part) in [
            ("key", 1, "one value"),
            ("\n\nkey \"a\"", 3, "no hash"),
            ("key \"a\" { hash \"x\" }\nkey \"a\" { hash \"y\" }", 2, "second key"),
            ("kye \"a\"", 1, "unknown node"),
            ("key \"a\" { hash \"x\"; hsah \"y\" }", 1, "unknown node"),
            ("key \"a\" { hash \"x\"; hash \"y\" }", 1, "twice"),
            ("key \"a\" { hash \"x\"; not-after \"tomorrow\" }", 1, "must be a time"),
            ("key \"a\" { hash \"x\"; scopes 7 }", 1, "must be strings"),
            ("key \"a\" { hash \"x\"; disabled #false }", 1, "strings"),
            ("key \"a\" {", 1, "not KDL"),
        ] {
            let error = parse_keys(text).unwrap_err();
            assert!(
                error.line == line && (error.what.contains(part) || part == "strings"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn times_are_read_to_the_second() {
        assert_eq!(parse_time("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(parse_time("2000-02-29T23:59:59Z"), Some(951_868_799));
        assert_eq!(parse_time("2026-11-25T12:00:00Z"), Some(1_795_608_000));
        for text in [
            "",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-25T24:00:00Z",
            "1969-01-01T00:00:00Z",
            "2026-11-25T12:00:00",
            "2026-11-25 12:00:00Z",
            "2026-11-25T12:00:00+01:00",
            "2026-11-31T00:00:00Z",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    proptest! {
        #![proptest_config(proptest::test_runner::Config { cases: 256, failure_persistence: None, ..Default::default() })]

        #[test]
        fn every_second_is_printed_as_it_reads(seconds in 0u64..253_402_300_799) {
            prop_assert_eq!(parse_time(&print_time(seconds)), Some(seconds));
        }
    }
}
