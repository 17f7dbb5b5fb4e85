//! What the parsers must not be given: texts that make them recurse without bound.
//!
//! Both parsers recurse into brackets. That of KDL also recurses into nested comments, for every `*` and `/` inside a
//! block comment, for quotes without anything between them and for chains like `a=a=a=`. None of it occurs in a real configuration in numbers
//! that matter, so that such a text is refused before it can exhaust the stack.

use super::Format;

/// Brackets within brackets, or comments within comments.
const NESTING_MAX: usize = 64;
/// `*` and `/` in one block comment.
const COMMENT_MARKS_MAX: usize = 2000;
/// Quotes in a row.
const QUOTES_MAX: usize = 100;
/// `=` in one word.
const EQUALS_MAX: usize = 20;

/// Why a text is not parsed.
pub(super) struct Refusal {
    /// Byte of the text.
    pub(super) at: usize,
    pub(super) what: String,
}

/// The first reason not to parse the text, if there is one.
pub(super) fn refuses(text: &str, format: Format) -> Option<Refusal> {
    let mut scan = Scan::new(text);
    if format == Format::Kdl
        && let Some(at) =
            scan.bytes.windows(QUOTES_MAX).position(|window| window.iter().all(|byte| *byte == b'"'))
    {
        return Some(Refusal { at, what: format!("more than {QUOTES_MAX} quotes in a row") });
    }
    while scan.at < scan.bytes.len() {
        if let Err(what) = scan.token(format) {
            return Some(Refusal { at: scan.at, what });
        }
    }
    None
}

/// Walks over a text, token by token; every step moves on.
pub(crate) struct Scan<'a> {
    bytes: &'a [u8],
    pub(crate) at: usize,
    /// Brackets open at `at`.
    pub(crate) depth: usize,
    /// `=` since the last white space outside strings.
    equals: usize,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Scan { bytes: text.as_bytes(), at: 0, depth: 0, equals: 0 }
    }

    /// Moves behind a bracket, a string, a comment, or any other single byte.
    pub(crate) fn token(&mut self, format: Format) -> Result<(), String> {
        let Some(&byte) = self.bytes.get(self.at) else { return Ok(()) };
        match (byte, format) {
            (b'{' | b'[', _) => self.open(),
            (b'}' | b']', _) => self.close(),
            (b'"', Format::Json) => self.quoted(),
            (b'"' | b'#', Format::Kdl) => self.kdl_string(),
            (b'/', Format::Kdl) if self.starts_with(b"//") => self.line(),
            (b'/', Format::Kdl) if self.starts_with(b"/*") => self.comment(),
            (b'=', Format::Kdl) => self.equals(),
            (b' ' | b'\t' | b'\r' | b'\n', _) => self.space(),
            _ => self.skip(1),
        }
    }

    fn starts_with(&self, text: &[u8]) -> bool {
        self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(text))
    }

    fn skip(&mut self, bytes: usize) -> Result<(), String> {
        self.at += bytes;
        Ok(())
    }

    fn open(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return Err(format!("nested deeper than {NESTING_MAX} levels"));
        }
        self.skip(1)
    }

    fn close(&mut self) -> Result<(), String> {
        self.depth = self.depth.saturating_sub(1);
        self.skip(1)
    }

    fn equals(&mut self) -> Result<(), String> {
        self.equals += 1;
        if self.equals > EQUALS_MAX {
            return Err(format!("more than {EQUALS_MAX} \"=\" in one word"));
        }
        self.skip(1)
    }

    fn space(&mut self) -> Result<(), String> {
        self.equals = 0;
        self.skip(1)
    }

    fn line(&mut self) -> Result<(), String> {
        let rest = &self.bytes[self.at..];
        self.skip(rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()))
    }

    fn comment(&mut self) -> Result<(), String> {
        let (mut depth, mut marks) = (0usize, 0usize);
        while let Some(&byte) = self.bytes.get(self.at) {
            marks += usize::from(matches!(byte, b'*' | b'/'));
            if marks > COMMENT_MARKS_MAX || depth > NESTING_MAX {
                return Err("a block comment as long as this must be written with //".to_owned());
            }
            if self.starts_with(b"/*") {
                depth += 1;
                self.at += 2;
            } else if self.starts_with(b"*/") {
                depth -= 1;
                self.at += 2;
                if depth == 0 {
                    break;
                }
            } else {
                self.at += 1;
            }
        }
        Ok(())
    }

    /// A string of one line; a line feed ends it, so that a quote too many does not hide the rest of the text.
    fn quoted(&mut self) -> Result<(), String> {
        self.at += 1;
        while let Some(&byte) = self.bytes.get(self.at) {
            self.at += if byte == b'\\' { 2 } else { 1 };
            if matches!(byte, b'"' | b'\n') {
                break;
            }
        }
        Ok(())
    }

    /// `"…"`, `"""` to `"""`, and both between hashes.
    fn kdl_string(&mut self) -> Result<(), String> {
        let hashes = self.bytes[self.at..].iter().take_while(|byte| **byte == b'#').count();
        let begin = self.at + hashes;
        let quotes =
            self.bytes[begin.min(self.bytes.len())..].iter().take_while(|byte| **byte == b'"').count();
        match (hashes, quotes) {
            (_, 0) => return self.skip(hashes.max(1)),
            (0, 1 | 2) => return self.quoted(),
            _ => {}
        }
        let mut end = vec![b'"'; if quotes >= 3 { 3 } else { 1 }];
        self.at = begin + end.len();
        end.extend(std::iter::repeat_n(b'#', hashes));
        while self.at < self.bytes.len() && !self.starts_with(&end) {
            // Only without hashes does a backslash escape the quote behind it.
            let escape = hashes == 0 && self.bytes[self.at] == b'\\';
            self.at += if escape { 2 } else { 1 };
        }
        self.skip(end.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_in_strings_do_not_count() {
        let globs = "route \"/*\" \"{\" #\"\"/*{\"# \"\\\"{\"\n".repeat(500);
        assert!(refuses(&globs, Format::Kdl).is_none());
        let blocks = "a \"\"\"\n  { /* \\\"\"\" {\n  \"\"\"\n// {{{ /*\n/* { \" */\n".repeat(200);
        assert!(refuses(&blocks, Format::Kdl).is_none());
        assert!(refuses(&"[\"{\\\"[\"],".repeat(500), Format::Json).is_none());
    }

    #[test]
    fn depth_counts_wherever_it_stands() {
        for text in [
            "{".repeat(65),
            "a \"x\" {".repeat(65),
            "/*".repeat(70),
            format!("/*{}", "*".repeat(2001)),
            "\"".repeat(101),
        ] {
            assert!(refuses(&text, Format::Kdl).is_some(), "{text}");
        }
        assert!(refuses(&"{ }".repeat(1000), Format::Kdl).is_none());
        assert!(refuses(&"[".repeat(65), Format::Json).is_some());
    }
}
