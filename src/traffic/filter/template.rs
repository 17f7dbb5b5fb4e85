//! Text with placeholders that are filled from the request: where a redirect leads, what a path is rewritten to.
//!
//! | placeholder | becomes |
//! |---|---|
//! | `{host}` | the host of the request, without port |
//! | `{path}` | its canonical path |
//! | `{query}` | its query without `?`; when there is none, a `?` right before the placeholder is left out too |
//! | `{scheme}` | `http` or `https` |
//!
//! `{{` and `}}` stand for the braces themselves.

use std::fmt;
use wire::http::Request;

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Box<[Part]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<[u8]>),
    Host,
    Path,
    Query,
    Scheme,
}

/// Why a text is not a template. Places are bytes from its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// A placeholder that does not exist.
    UnknownPlaceholder { at: usize, name: Box<str> },
    /// A brace without its counterpart.
    UnbalancedBrace { at: usize },
    /// A byte that cannot stand in a header field.
    ControlByte { at: usize },
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TemplateError::UnknownPlaceholder { name, .. } => {
                write!(
                    f,
                    "no placeholder is called {{{name}}}; there are {{host}}, {{path}}, {{query}} and {{scheme}}"
                )
            }
            TemplateError::UnbalancedBrace { at } => {
                write!(f, "unbalanced brace at byte {at}; a brace that stands for itself is written twice")
            }
            TemplateError::ControlByte { at } => write!(f, "control character at byte {at}"),
        }
    }
}

impl std::error::Error for TemplateError {}

impl Template {
    /// Parses `text`.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        if let Some(at) = text.bytes().position(|byte| byte.is_ascii_control()) {
            return Err(TemplateError::ControlByte { at });
        }
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut at = 0;
        while let Some(&byte) = text.as_bytes().get(at) {
            let rest = &text[at..];
            if rest.starts_with("{{") || rest.starts_with("}}") {
                literal.push(byte);
                at += 2;
            } else if byte == b'{' {
                let end = rest.find('}').ok_or(TemplateError::UnbalancedBrace { at })?;
                let name = &rest[1..end];
                let part = Part::named(name)
                    .ok_or_else(|| TemplateError::UnknownPlaceholder { at, name: name.into() })?;
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal).into()));
                }
                parts.push(part);
                at += end + 1;
            } else if byte == b'}' {
                return Err(TemplateError::UnbalancedBrace { at });
            } else {
                // One whole character: `at` stays on a border for the slice above.
                let width = rest.chars().next().map_or(1, char::len_utf8);
                literal.extend_from_slice(&rest.as_bytes()[..width]);
                at += width;
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal.into()));
        }
        Ok(Template { parts: parts.into() })
    }

    /// Appends the text for `request` to `out`. The result can stand in a header field: whatever of the request could
    /// not is percent-encoded, as is `\`, which browsers read as `/`.
    pub fn render(&self, request: Request<'_>, scheme: &str, out: &mut Vec<u8>) {
        let start = out.len();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Host => append(request.host(), out),
                Part::Path => {
                    let path = request.path();
                    // At the very start, `//evil.example` would be an authority.
                    let more = path.iter().take_while(|&&byte| byte == b'/').count();
                    let skip = if out.len() == start && more > 1 { more - 1 } else { 0 };
                    append(&path[skip..], out);
                }
                Part::Query => match request.query() {
                    Some(query) => append(query, out),
                    None if out.len() > start && out.ends_with(b"?") => drop(out.pop()),
                    None => {}
                },
                Part::Scheme => out.extend_from_slice(scheme.as_bytes()),
            }
        }
    }
}

impl Part {
    fn named(name: &str) -> Option<Part> {
        Some(match name {
            "host" => Part::Host,
            "path" => Part::Path,
            "query" => Part::Query,
            "scheme" => Part::Scheme,
            _ => return None,
        })
    }
}

pub(super) fn append(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        match byte {
            b'!'..=b'~' if byte != b'\\' => out.push(byte),
            _ => {
                const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                out.extend_from_slice(&[
                    b'%',
                    DIGITS[usize::from(byte >> 4)],
                    DIGITS[usize::from(byte & 15)],
                ]);
            }
        }
    }
}
