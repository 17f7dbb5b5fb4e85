//! Changes to the fields of a head, collected while the filters run and applied when the head is written.
//!
//! The head itself is not touched: it still points into the received bytes. The writer copies the fields that
//! [`FieldEdits::keeps`] lets through and appends [`FieldEdits::additions`].

use wire::http::Span;

/// Changes to the fields of one head. Empty costs a comparison; memory is kept from exchange to exchange.
#[derive(Debug, Default)]
pub struct FieldEdits {
    /// Names (in lower case) whose received fields are dropped.
    dropped: Vec<Span>,
    /// Fields that are appended, in order.
    added: Vec<(Span, Span)>,
    /// What the spans point into.
    bytes: Vec<u8>,
    /// Bit `n % 64` is set when a dropped name has `n` bytes: most fields are kept without comparing names.
    dropped_lengths: u64,
}

/// Changes to the fields of a response.
pub type ResponseEdits = FieldEdits;

impl FieldEdits {
    /// Replaces every field called `name` by this one.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        self.remove(name);
        self.add(name, value);
    }

    /// Appends a field; others of the same name stay.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        let field = (self.store(name), self.store(value));
        self.added.push(field);
    }

    /// Drops every field called `name`, those that earlier edits added too.
    pub fn remove(&mut self, name: &[u8]) {
        let bytes = &self.bytes;
        self.added.retain(|(added, _)| !added.of(bytes).eq_ignore_ascii_case(name));
        self.drop_received(name);
    }

    /// Drops every received field called `name`; those that edits add stay.
    pub fn drop_received(&mut self, name: &[u8]) {
        if self.keeps(name) {
            let stored = self.store(name);
            self.dropped.push(stored);
            self.dropped_lengths |= 1 << (name.len() % 64);
        }
    }

    /// Whether the received fields called `name` are passed on.
    pub fn keeps(&self, name: &[u8]) -> bool {
        self.dropped_lengths >> (name.len() % 64) & 1 == 0
            || !self.dropped.iter().any(|dropped| dropped.of(&self.bytes).eq_ignore_ascii_case(name))
    }

    /// The fields to append, as name and value.
    pub fn additions(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.added.iter().map(|(name, value)| (name.of(&self.bytes), value.of(&self.bytes)))
    }

    /// Names of the received fields that are dropped.
    pub fn dropped(&self) -> impl Iterator<Item = &[u8]> {
        self.dropped.iter().map(|name| name.of(&self.bytes))
    }

    /// Whether the fields are passed on as they came.
    pub fn is_empty(&self) -> bool {
        self.dropped.is_empty() && self.added.is_empty()
    }

    /// Forgets the edits and keeps the memory.
    pub fn clear(&mut self) {
        self.dropped.clear();
        self.added.clear();
        self.bytes.clear();
        self.dropped_lengths = 0;
    }

    fn store(&mut self, text: &[u8]) -> Span {
        let start = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(text);
        Span { start, len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(edits: &FieldEdits) -> Vec<(&str, &str)> {
        let text = |bytes| std::str::from_utf8(bytes).unwrap();
        edits.additions().map(|(name, value)| (text(name), text(value))).collect()
    }

    #[test]
    fn the_last_word_on_a_name_counts() {
        let mut edits = FieldEdits::default();
        edits.add(b"X-A", b"1");
        edits.set(b"x-a", b"2");
        edits.add(b"X-A", b"3");
        assert_eq!(added(&edits), [("x-a", "2"), ("X-A", "3")]);
        assert!(!edits.keeps(b"X-a"));
        edits.remove(b"X-A");
        assert_eq!(added(&edits), []);
        assert!(!edits.keeps(b"x-A"));
    }

    #[test]
    fn names_of_the_same_length_are_told_apart() {
        let mut edits = FieldEdits::default();
        edits.remove(b"x-debug");
        assert!(!edits.keeps(b"X-Debug"));
        assert!(edits.keeps(b"x-other"));
        assert!(edits.keeps(b"x-deb"));
    }

    #[test]
    fn cleared_edits_are_empty_and_keep_everything() {
        let mut edits = FieldEdits::default();
        edits.set(b"a", b"b");
        edits.clear();
        assert!(edits.is_empty() && edits.keeps(b"a"));
        assert_eq!(added(&edits), []);
    }
}
