//! The line that is being written: a buffer large enough for any, so that no write has to ask for memory.
//!
//! Lines are made of many short pieces. Appending each to a `Vec` costs a call and a check of the capacity; here a piece
//! of known length is one bounds check and a few stores.

use traffic::record::RECORD_BYTES_MAX;

/// A line and the place where the next piece goes.
#[derive(Debug)]
pub(super) struct Cursor {
    bytes: Box<[u8]>,
    at: usize,
}

/// An escaped byte takes six at most (`\u001f`), and the names of the fields and the numbers fit into the rest.
const LINE_BYTES_MAX: usize = 6 * RECORD_BYTES_MAX + 4096;

impl Default for Cursor {
    fn default() -> Self {
        Cursor { bytes: vec![0; LINE_BYTES_MAX].into(), at: 0 }
    }
}

impl Cursor {
    /// Begins the next line.
    pub(super) fn clear(&mut self) {
        self.at = 0;
    }

    /// The line so far.
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.at]
    }

    #[inline(always)]
    pub(super) fn literal<const N: usize>(&mut self, piece: &[u8; N]) {
        self.bytes[self.at..self.at + N].copy_from_slice(piece);
        self.at += N;
    }

    #[inline(always)]
    pub(super) fn byte(&mut self, byte: u8) {
        self.bytes[self.at] = byte;
        self.at += 1;
    }

    pub(super) fn slice(&mut self, piece: &[u8]) {
        self.bytes[self.at..self.at + piece.len()].copy_from_slice(piece);
        self.at += piece.len();
    }

    /// Copies `piece` and tells of each eight bytes of it, and of each byte of the rest, what `check` finds; the pieces
    /// are taken back if that is not zero in the end. Returns whether they stay.
    #[inline(always)]
    pub(super) fn slice_if(&mut self, piece: &[u8], words: impl Fn(u64) -> u64, plain: &[bool; 256]) -> bool {
        let room = &mut self.bytes[self.at..self.at + piece.len()];
        let (to_words, to_rest) = room.as_chunks_mut::<8>();
        let (from_words, from_rest) = piece.as_chunks::<8>();
        let mut found = 0;
        for (to, from) in to_words.iter_mut().zip(from_words) {
            *to = *from;
            found |= words(u64::from_le_bytes(*from));
        }
        let mut all_plain = true;
        for (to, from) in to_rest.iter_mut().zip(from_rest) {
            *to = *from;
            all_plain &= plain[usize::from(*from)];
        }
        let stays = found == 0 && all_plain;
        if stays {
            self.at += piece.len();
        }
        stays
    }

    /// `number` in decimal. Most numbers of a line have few digits.
    #[inline]
    pub(super) fn decimal(&mut self, number: u64) {
        let digit = |divisor: u64| b'0' + (number / divisor % 10) as u8;
        match number {
            0..=9 => self.byte(digit(1)),
            10..=99 => self.literal(&[digit(10), digit(1)]),
            100..=999 => self.literal(&[digit(100), digit(10), digit(1)]),
            1_000..=9_999 => self.literal(&[digit(1_000), digit(100), digit(10), digit(1)]),
            _ => self.slice(itoa::Buffer::new().format(number).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length_are_written_as_they_are_printed() {
        let mut cursor = Cursor::default();
        let edges = (0..20).flat_map(|power| [10u64.pow(power) - 1, 10u64.pow(power), 10u64.pow(power) + 1]);
        for number in edges.chain([u64::MAX]) {
            cursor.clear();
            cursor.decimal(number);
            assert_eq!(cursor.as_slice(), number.to_string().as_bytes());
        }
    }
}
