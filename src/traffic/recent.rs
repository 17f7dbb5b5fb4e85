//! What was decided lately: failed requests and some of the others, kept in memory for whoever asks why.
//!
//! One per worker, in two rings: failures, and a sample of what went well, so that the many cannot push out the few. A
//! ring has a fixed size in bytes and forgets the oldest. The worker writes, and never waits: while the control plane
//! copies a ring, a decision that wants to be kept there is counted as missed instead.
//!
//! Query strings are not kept: they hold credentials more often than what explains a decision.

use crate::record::{Reader, Record, RecordError, text};
use crate::{Cause, Phase, Phases};
use base::ids::EndpointId;
use base::stat::Counter;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How much is kept; part of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecentRules {
    /// Of both rings of one worker. Default 256 KiB; 0 keeps nothing.
    pub bytes_max: u32,
    /// One in so many requests that went well is kept. Default 100; 0 is none.
    pub sample_every: u32,
}

impl RecentRules {
    pub const DEFAULT: RecentRules = RecentRules { bytes_max: 256 << 10, sample_every: 100 };
}

/// An attempt that did not become the response, as the exchange remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    pub endpoint: EndpointId,
    pub end: TriedEnd,
    /// Getting a connection took so long.
    pub connect: Duration,
    /// Sending the request and waiting for the head took so long.
    pub wait: Duration,
}

impl Tried {
    /// An attempt whose times are those that `phases` show for the last one.
    pub fn last(endpoint: EndpointId, end: TriedEnd, phases: &Phases) -> Tried {
        let spent = phases.durations();
        let of = |phase: Phase| spent[phase as usize];
        Tried { endpoint, end, connect: of(Phase::Connect), wait: of(Phase::Send) + of(Phase::Wait) }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TriedEnd {
    /// With a response of this status.
    Answered(u16),
    Failed(Cause),
    /// Another one, begun beside it, was faster.
    Overtaken,
}

/// One attempt as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt<'a> {
    pub endpoint: &'a str,
    pub end: TriedEnd,
    pub connect_us: u32,
    pub wait_us: u32,
}

/// What is kept of one exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    pub generation: u64,
    /// `FILE:LINE:COLUMN` of the route; empty when none was found.
    pub route_origin: &'a str,
    /// The same of the upstream.
    pub upstream_origin: &'a str,
    /// At most [`ATTEMPTS_MAX`], in the order in which they ended.
    pub attempts: Vec<Attempt<'a>>,
    pub record: Record<'a>,
}

/// Attempts beyond it are not kept one by one.
pub const ATTEMPTS_MAX: usize = 16;

impl<'a> Decision<'a> {
    /// Begins the encoding of a decision in `out`; the attempts follow, then the record by `Record::encode`.
    pub fn begin(generation: u64, origins: [&str; 2], attempts: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&generation.to_le_bytes());
        for origin in origins {
            text(out, origin.as_bytes(), origin.floor_char_boundary(ORIGIN_BYTES_MAX));
        }
        out.push(u8::try_from(attempts.min(ATTEMPTS_MAX)).unwrap_or(u8::MAX));
    }

    /// Appends one of the attempts that [`Decision::begin`] has announced.
    pub fn attempt(endpoint: &str, tried: &Tried, out: &mut Vec<u8>) {
        text(out, endpoint.as_bytes(), endpoint.floor_char_boundary(ORIGIN_BYTES_MAX));
        let (kind, value) = match tried.end {
            TriedEnd::Answered(status) => (0, status),
            TriedEnd::Failed(cause) => (1, cause as u16),
            TriedEnd::Overtaken => (2, 0),
        };
        out.push(kind);
        out.extend_from_slice(&value.to_le_bytes());
        for spent in [tried.connect, tried.wait] {
            out.extend_from_slice(&u32::try_from(spent.as_micros()).unwrap_or(u32::MAX).to_le_bytes());
        }
    }

    /// Appends the rest: `record` without what is not kept, and with its longest texts cut.
    pub fn finish(record: &Record<'_>, out: &mut Vec<u8>) {
        let path = &record.path[..record.path.len().min(PATH_BYTES_MAX)];
        Record { path, query: None, user_agent: b"", referer: b"", ..*record }.encode(out);
    }

    /// Reads one encoding.
    pub fn decode(bytes: &'a [u8]) -> Result<Decision<'a>, RecordError> {
        let mut reader = Reader(bytes);
        let generation = u64::from_le_bytes(reader.array()?);
        let (route_origin, upstream_origin) = (reader.name()?, reader.name()?);
        let [count] = reader.array()?;
        let mut attempts = Vec::with_capacity(usize::from(count).min(ATTEMPTS_MAX));
        for _ in 0..count {
            let endpoint = reader.name()?;
            let [kind] = reader.array()?;
            let value = u16::from_le_bytes(reader.array()?);
            let end = match kind {
                0 => TriedEnd::Answered(value),
                1 => {
                    let cause = Cause::ALL.get(usize::from(value)).ok_or(RecordError::Invalid)?;
                    TriedEnd::Failed(*cause)
                }
                2 => TriedEnd::Overtaken,
                _ => return Err(RecordError::Invalid),
            };
            let [connect_us, wait_us] = reader.numbers(u32::from_le_bytes)?;
            attempts.push(Attempt { endpoint, end, connect_us, wait_us });
        }
        let record = Record::decode(reader.0)?;
        Ok(Decision { generation, route_origin, upstream_origin, attempts, record })
    }
}

/// Of a place in a file, in bytes; longer ones are cut.
const ORIGIN_BYTES_MAX: usize = 255;
/// Of a path; what decides is at its beginning.
const PATH_BYTES_MAX: usize = 1024;

/// Which ring a decision goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It failed.
    Failure,
    /// It went well, and was drawn.
    Sample,
}

/// The decisions of one worker.
#[derive(Debug, Default)]
pub struct Recent {
    failures: Mutex<Ring>,
    samples: Mutex<Ring>,
    /// Decisions that were kept.
    pub kept: Counter,
    /// Decisions that were not, because somebody was reading.
    pub missed: Counter,
}

impl Recent {
    /// Keeps an encoded decision. Only its worker calls this.
    pub fn keep(&self, kind: Kept, rules: &RecentRules, decision: &[u8]) {
        // Three quarters for failures.
        let samples_max = rules.bytes_max as usize / 4;
        let (ring, bytes_max) = match kind {
            Kept::Failure => (&self.failures, rules.bytes_max as usize - samples_max),
            Kept::Sample => (&self.samples, samples_max),
        };
        match ring.try_lock() {
            Ok(mut ring) => {
                ring.push(decision, bytes_max);
                self.kept.add(1);
            }
            Err(_) => self.missed.add(1),
        }
    }

    /// Copies of both rings, each from the oldest decision to the newest.
    pub fn copy(&self) -> [Copied; 2] {
        [&self.failures, &self.samples].map(|ring| {
            let ring = ring.lock().unwrap_or_else(PoisonError::into_inner);
            let (front, back) = ring.bytes.as_slices();
            Copied([front, back].concat())
        })
    }
}

/// What a ring held when it was copied.
#[derive(Debug)]
pub struct Copied(Vec<u8>);

impl Copied {
    /// All decisions, the oldest first.
    pub fn decisions(&self) -> impl Iterator<Item = Decision<'_>> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let (length, behind) = rest.split_first_chunk::<LENGTH_BYTES>()?;
            let (decision, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            rest = behind;
            Some(Decision::decode(decision))
        })
        .flatten()
    }
}

/// Each decision stands behind its length.
#[derive(Debug, Default)]
struct Ring {
    bytes: VecDeque<u8>,
}

const LENGTH_BYTES: usize = 4;

impl Ring {
    fn push(&mut self, decision: &[u8], bytes_max: usize) {
        let Ok(length) = u32::try_from(decision.len()) else { return };
        let needed = decision.len() + LENGTH_BYTES;
        while !self.bytes.is_empty() && self.bytes.len() + needed > bytes_max {
            self.forget_oldest();
        }
        if needed > bytes_max {
            return;
        }
        if self.bytes.capacity() < bytes_max {
            // Once, and again when the configuration allows more: the pages are touched as they are filled.
            self.bytes.reserve_exact(bytes_max - self.bytes.len());
        }
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(decision);
    }

    fn forget_oldest(&mut self) {
        let mut length = [0; LENGTH_BYTES];
        for (byte, stored) in length.iter_mut().zip(&self.bytes) {
            *byte = *stored;
        }
        let whole = LENGTH_BYTES + u32::from_le_bytes(length) as usize;
        self.bytes.drain(..whole.min(self.bytes.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(number: u64, path: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let tried = Tried {
            endpoint: EndpointId(1),
            end: TriedEnd::Failed(Cause::ConnectRefused),
            connect: Duration::from_micros(7),
            wait: Duration::ZERO,
        };
        Decision::begin(number, ["a.kdl:1:2", "a.kdl:3:4"], 2, &mut out);
        Decision::attempt("10.0.0.1:80", &tried, &mut out);
        Decision::attempt("10.0.0.2:80", &Tried { end: TriedEnd::Answered(503), ..tried }, &mut out);
        let record = Record { request_id: (1, number), path, query: Some(b"token=x"), ..Record::EMPTY };
        Decision::finish(&record, &mut out);
        out
    }

    #[test]
    fn a_decision_reads_back_without_its_query() {
        let bytes = encoded(3, b"/a");
        let decision = Decision::decode(&bytes).unwrap();
        assert_eq!((decision.generation, decision.route_origin), (3, "a.kdl:1:2"));
        assert_eq!(decision.attempts[0].end, TriedEnd::Failed(Cause::ConnectRefused));
        assert_eq!((decision.attempts[1].endpoint, decision.attempts[1].connect_us), ("10.0.0.2:80", 7));
        assert_eq!((decision.record.path, decision.record.query), (&b"/a"[..], None));
    }

    #[test]
    fn the_many_that_went_well_do_not_push_out_the_few_that_failed() {
        let (recent, rules) = (Recent::default(), RecentRules { bytes_max: 16 << 10, sample_every: 1 });
        recent.keep(Kept::Failure, &rules, &encoded(7, b"/failed"));
        for number in 0..10_000 {
            recent.keep(Kept::Sample, &rules, &encoded(number, b"/fine"));
        }
        let [failures, samples] = recent.copy();
        assert_eq!(failures.decisions().map(|one| one.generation).collect::<Vec<_>>(), [7]);
        let kept: Vec<_> = samples.decisions().map(|one| one.generation).collect();
        assert_eq!(kept.last(), Some(&9_999), "the newest is there");
        assert!(kept.is_sorted() && kept.len() > 10 && samples.0.len() <= 4 << 10, "{}", kept.len());
    }

    #[test]
    fn whoever_reads_is_not_waited_for() {
        let (recent, rules) = (Recent::default(), RecentRules::DEFAULT);
        let reading = recent.failures.lock().unwrap();
        recent.keep(Kept::Failure, &rules, &encoded(1, b"/"));
        drop(reading);
        assert_eq!((recent.kept.get(), recent.missed.get()), (0, 1));
    }

    proptest! {
        #[test]
        fn properties_a_ring_stays_within_its_size_and_keeps_the_newest(
            lengths in proptest::collection::vec(0usize..3000, 1..60),
            bytes_max in 0usize..9000,
        ) {
            let mut ring = Ring::default();
            for (number, length) in lengths.iter().enumerate() {
                let decision = encoded(number as u64, &vec![b'x'; *length]);
                ring.push(&decision, bytes_max);
                prop_assert!(ring.bytes.len() <= bytes_max);
                let copied = Copied(ring.bytes.iter().copied().collect());
                let newest = copied.decisions().last().map(|one| one.generation);
                let fits = decision.len() + LENGTH_BYTES <= bytes_max;
                prop_assert_eq!(newest == Some(number as u64), fits);
            }
        }

        #[test]
        fn properties_any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Decision::decode(&bytes);
            prop_assert!(Copied(bytes).decisions().count() < 400);
        }
    }
}
