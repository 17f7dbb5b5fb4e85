//! Bounded ring of byte records between one producer and one consumer: access-log records on their way from a worker
//! to the log writer.
//!
//! Not a channel: nobody waits. A full ring refuses the record and the caller counts it; the consumer looks when it
//! likes. After construction nothing allocates, and neither side ever takes a lock or a locked instruction.
//!
//! A record is stored as one word with its length, then its bytes in words of eight. The words are relaxed atomics, so
//! a record may wrap around the end and the file needs no `unsafe`; what makes them visible is the release store of the
//! position after them. Positions count words since the start and never wrap in practice (2^64 words).

use crate::cache_padded::CachePadded;
use std::fmt;
use std::sync::atomic::AtomicBool;

#[cfg(loom)]
use loom::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
#[cfg(not(loom))]
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A ring that holds at least `capacity_bytes` of records (rounded up to a power of two, 64 bytes at least).
///
/// Every record takes eight bytes more than its length, rounded up to eight.
pub fn channel(capacity_bytes: usize) -> (Producer, Consumer) {
    let words = capacity_bytes.div_ceil(WORD).max(WORDS_MIN).next_power_of_two();
    let ring = Arc::new(Ring {
        words: (0..words).map(|_| AtomicU64::new(0)).collect(),
        written: CachePadded(AtomicU64::new(0)),
        read: CachePadded(AtomicU64::new(0)),
        held: AtomicBool::new(true),
    });
    let producer = Producer { ring: Arc::clone(&ring), written: 0, read_seen: 0 };
    (producer, Consumer { ring, read: 0, scratch: vec![0; SCRATCH_BYTES], record_bytes: 0 })
}

/// The writing end; belongs to one worker.
pub struct Producer {
    ring: Arc<Ring>,
    written: u64,
    /// The consumer's position when we last looked. Looked up again only when the ring seems full.
    read_seen: u64,
}

impl Producer {
    /// Appends `record`. `false` when there is no room for it now: nothing is stored, the caller counts it.
    #[inline]
    pub fn push(&mut self, record: &[u8]) -> bool {
        let needed = 1 + record.len().div_ceil(WORD) as u64;
        let capacity = self.ring.words.len() as u64;
        if capacity - (self.written - self.read_seen) < needed {
            self.read_seen = self.ring.read.0.load(Ordering::Acquire);
            if capacity - (self.written - self.read_seen) < needed {
                return false;
            }
        }
        self.ring.word(self.written).store(record.len() as u64, Ordering::Relaxed);
        let (whole, rest) = record.as_chunks::<WORD>();
        let (before, after) = self.ring.words_from(self.written + 1, whole.len());
        for (word, chunk) in before.iter().chain(after).zip(whole) {
            word.store(u64::from_le_bytes(*chunk), Ordering::Relaxed);
        }
        if !rest.is_empty() {
            let mut last = [0; WORD];
            last[..rest.len()].copy_from_slice(rest);
            self.ring.word(self.written + needed - 1).store(u64::from_le_bytes(last), Ordering::Relaxed);
        }
        self.written += needed;
        self.ring.written.0.store(self.written, Ordering::Release);
        true
    }

    /// Size of the ring in bytes, lengths of records included.
    pub fn capacity_bytes(&self) -> usize {
        self.ring.words.len() * WORD
    }
}

impl Producer {
    /// Whoever goes on in its place once it has been dropped.
    pub fn heir(&self) -> Heir {
        Heir { ring: Arc::clone(&self.ring) }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.ring.held.store(false, Ordering::Release);
    }
}

/// The right to a producer's place when its worker has ended. A record that it had not finished was never there.
pub struct Heir {
    ring: Arc<Ring>,
}

impl Heir {
    /// A producer in place of the one before; `None` while that still exists.
    pub fn inherit(&self) -> Option<Producer> {
        if self.ring.held.swap(true, Ordering::AcqRel) {
            return None;
        }
        let written = self.ring.written.0.load(Ordering::Acquire);
        let read_seen = self.ring.read.0.load(Ordering::Acquire);
        Some(Producer { ring: Arc::clone(&self.ring), written, read_seen })
    }
}

impl fmt::Debug for Heir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heir").finish_non_exhaustive()
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("written_words", &self.written).finish_non_exhaustive()
    }
}

/// The reading end; belongs to the log writer.
pub struct Consumer {
    ring: Arc<Ring>,
    read: u64,
    /// The record being handed out, in one piece, at the front of this.
    scratch: Vec<u8>,
    record_bytes: usize,
}

impl Consumer {
    /// Hands out the records that were in the ring at the time of the call, oldest first. Their room is free again as
    /// each one is handed out. Returns how many there were.
    pub fn drain(&mut self, mut each: impl FnMut(&[u8])) -> usize {
        self.drain_while(|record| {
            each(record);
            true
        })
    }

    /// Like [`Consumer::drain`], but stops after the record for which `each` returns `false`.
    pub fn drain_while(&mut self, mut each: impl FnMut(&[u8]) -> bool) -> usize {
        let written = self.ring.written.0.load(Ordering::Acquire);
        let mut records = 0;
        while self.read < written {
            self.read = self.copy_out(self.read);
            // The release keeps the loads of the words before the moment at which the producer may overwrite them.
            self.ring.read.0.store(self.read, Ordering::Release);
            records += 1;
            if !each(&self.scratch[..self.record_bytes]) {
                break;
            }
        }
        records
    }

    /// Bytes in the ring now, lengths of records included.
    pub fn filled_bytes(&self) -> usize {
        let words = self.ring.written.0.load(Ordering::Relaxed).saturating_sub(self.read);
        usize::try_from(words).unwrap_or(usize::MAX).saturating_mul(WORD)
    }

    /// Size of the ring in bytes.
    pub fn capacity_bytes(&self) -> usize {
        self.ring.words.len() * WORD
    }

    /// Copies the record at `at` into `scratch` and returns where the next one begins.
    fn copy_out(&mut self, at: u64) -> u64 {
        let length = usize::try_from(self.ring.word(at).load(Ordering::Relaxed)).unwrap_or(0);
        let words = length.div_ceil(WORD);
        if self.scratch.len() < words * WORD {
            self.scratch.resize(words * WORD, 0);
        }
        let (before, after) = self.ring.words_from(at + 1, words);
        for (chunk, word) in self.scratch.as_chunks_mut::<WORD>().0.iter_mut().zip(before.iter().chain(after))
        {
            *chunk = word.load(Ordering::Relaxed).to_le_bytes();
        }
        self.record_bytes = length;
        at + 1 + words as u64
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("read_words", &self.read).finish_non_exhaustive()
    }
}

struct Ring {
    words: Box<[AtomicU64]>,
    /// Words written since the start. Only the producer stores it.
    written: CachePadded<AtomicU64>,
    /// Words read since the start. Only the consumer stores it; never above `written`.
    read: CachePadded<AtomicU64>,
    /// There is a producer.
    held: AtomicBool,
}

impl Ring {
    #[inline]
    fn word(&self, position: u64) -> &AtomicU64 {
        // The number of words is a power of two: the mask keeps the place within the ring.
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits count")]
        let place = position as usize & (self.words.len() - 1);
        &self.words[place]
    }

    /// `count` words from `position` on, in two pieces where they wrap around. `count` is at most the ring's size.
    #[inline]
    fn words_from(&self, position: u64, count: usize) -> (&[AtomicU64], &[AtomicU64]) {
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits count")]
        let place = position as usize & (self.words.len() - 1);
        let before = count.min(self.words.len() - place);
        (&self.words[place..place + before], &self.words[..count - before])
    }
}

const WORD: usize = size_of::<u64>();
const WORDS_MIN: usize = 8;
const SCRATCH_BYTES: usize = 4096;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_heir_goes_on_behind_what_was_written() {
        let (mut producer, mut consumer) = channel(64);
        let heir = producer.heir();
        assert!(producer.push(b"first") && heir.inherit().is_none());
        drop(producer);
        let mut producer = heir.inherit().expect("the place is free");
        assert!(heir.inherit().is_none());
        assert!(producer.push(b"second"));
        let mut seen = Vec::new();
        consumer.drain(|record| seen.push(record.to_vec()));
        assert_eq!(seen, [b"first".to_vec(), b"second".to_vec()]);
    }

    #[test]
    fn records_come_out_whole_and_in_order_while_the_ring_wraps() {
        let (mut producer, mut consumer) = channel(256);
        let mut expected = 0usize;
        for round in 0..1_000usize {
            let record: Vec<u8> = (0..round % 61).map(|n| u8::try_from((n + round) % 256).unwrap()).collect();
            assert!(producer.push(&record), "round {round}");
            assert!(producer.push(&[]), "an empty record is a record");
            let mut seen = Vec::new();
            expected += consumer.drain(|record| seen.push(record.to_vec()));
            assert_eq!(seen, [record, Vec::new()]);
        }
        assert_eq!(expected, 2_000);
    }

    #[test]
    fn a_full_ring_refuses_and_takes_again_after_a_drain() {
        let (mut producer, mut consumer) = channel(64);
        assert!(producer.push(&[1; 24]));
        assert!(producer.push(&[2; 24]));
        assert_eq!(consumer.filled_bytes(), consumer.capacity_bytes());
        assert!(!producer.push(&[]));
        assert_eq!(consumer.drain_while(|record| record[0] != 1), 1);
        assert!(producer.push(&[3; 20]));
        let mut first = Vec::new();
        consumer.drain(|record| first.push(record[0]));
        assert_eq!(first, [2, 3]);
    }

    #[test]
    fn a_record_larger_than_the_ring_is_refused() {
        let (mut producer, mut consumer) = channel(64);
        assert!(!producer.push(&[0; 57]));
        assert!(producer.push(&[0; 56]));
        assert_eq!(consumer.drain(|record| assert_eq!(record.len(), 56)), 1);
    }

    #[test]
    fn two_threads_lose_and_tear_nothing() {
        const RECORDS: u64 = 5_000;
        let (mut producer, mut consumer) = channel(1024);
        let writer = std::thread::spawn(move || {
            for n in 0..RECORDS {
                let length = usize::try_from(n % 40).unwrap();
                let mut record = n.to_le_bytes().to_vec();
                record.resize(8 + length, u8::try_from(n % 251).unwrap());
                while !producer.push(&record) {
                    std::thread::yield_now();
                }
            }
        });
        let mut next = 0u64;
        while next < RECORDS {
            consumer.drain(|record| {
                assert_eq!(record[..8], next.to_le_bytes());
                assert_eq!(record.len(), 8 + usize::try_from(next % 40).unwrap());
                assert!(record[8..].iter().all(|byte| u64::from(*byte) == next % 251));
                next += 1;
            });
        }
        writer.join().unwrap();
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;

    #[test]
    fn loom_records_arrive_whole_in_order_or_are_refused() {
        loom::model(|| {
            let (mut producer, mut consumer) = channel(64);
            let writer = loom::thread::spawn(move || {
                let mut taken = Vec::new();
                for n in 1..=3u8 {
                    if producer.push(&[n; 20]) {
                        taken.push(n);
                    }
                }
                taken
            });
            let mut seen = Vec::new();
            let mut check = |record: &[u8]| {
                assert_eq!(record.len(), 20);
                assert!(record.iter().all(|byte| *byte == record[0]), "torn: {record:?}");
                seen.push(record[0]);
            };
            consumer.drain(&mut check);
            let taken = writer.join().unwrap();
            consumer.drain(&mut check);
            assert_eq!(seen, taken);
        });
    }
}
