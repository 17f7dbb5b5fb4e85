//! The texts that a configuration is made of, and places in them.

use crate::model::Origin;
use crate::problem::Place;
use std::sync::Arc;

/// Bytes `start` to `end` of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) source: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(crate) fn new(source: u32, start: usize, length: usize) -> Span {
        Span { source, start: count(start), end: count(start.saturating_add(length)) }
    }
}

/// All texts read so far, in reading order.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    all: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    name: Arc<str>,
    text: String,
    /// Byte offset of the first character of each line.
    lines: Vec<usize>,
}

impl Sources {
    /// Takes a text in; the number is what spans refer to.
    pub(crate) fn add(&mut self, name: &str, text: String) -> u32 {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        self.all.push(Source { name: name.into(), text, lines });
        u32::try_from(self.all.len() - 1).unwrap_or(u32::MAX)
    }

    pub(crate) fn text(&self, source: u32) -> &str {
        self.get(source).map_or("", |source| &source.text)
    }

    fn get(&self, source: u32) -> Option<&Source> {
        self.all.get(source as usize)
    }

    /// The place of a span with the line that it stands in.
    pub(crate) fn place(&self, span: Span) -> Option<Place> {
        let source = self.get(span.source)?;
        let start = source.border(span.start as usize);
        let line = source.lines.partition_point(|&begin| begin <= start).saturating_sub(1);
        let begin = *source.lines.get(line)?;
        let text = source.text[begin..].lines().next().unwrap_or("");
        let in_line = |at: usize| source.text[begin..at.max(begin)].chars().count();
        let end = source.border(span.end as usize).min(begin + text.len()).max(start);
        let column = in_line(start);
        Some(Place {
            file: Arc::clone(&source.name),
            line: count(line + 1),
            column: count(column + 1),
            length: count((in_line(end) - column).max(1)),
            text: text.into(),
            order: (span.source, span.start),
        })
    }

    /// The origin of an object that begins at the span.
    pub(crate) fn origin(&self, span: Span, pointer: &str) -> Origin {
        match self.place(span) {
            Some(place) => {
                Origin { file: place.file, line: place.line, column: place.column, pointer: pointer.into() }
            }
            None => Origin { pointer: pointer.into(), ..Origin::command_line() },
        }
    }
}

impl Source {
    /// The nearest character border at or before `at`.
    fn border(&self, at: usize) -> usize {
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
