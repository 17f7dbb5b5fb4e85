//! The books: what clients got and what endpoints saw, one entry per request.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::talk::Flaw;

/// The one outcome of a request, as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A complete response of an endpoint, checked byte by byte.
    Answered { status: u16, by: Place, nth: u32, body_bytes: usize },
    /// A problem document of Ringway.
    Refused { status: u16, cause: String },
    /// A response that visibly broke off.
    Cut { status: u16, flaw: Flaw },
    /// The connection ended without a byte of an answer. It had carried `after` before, if anything.
    Nothing { flaw: Flaw, after: Option<u32> },
    /// The client went away, as planned.
    Left { sent_all: bool },
    /// A response that an endpoint sent to nobody and that met this request on its way: no proxy can tell.
    Strayed { by: Place },
}

/// Where an attempt was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) endpoint: usize,
    /// Counts the connections of the endpoint.
    pub(crate) connection: u32,
    /// Counts the requests of the connection.
    pub(crate) request: u32,
}

/// What an endpoint read of the body of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Not yet, or the plan was not to read it.
    Unread,
    /// Complete by its framing, and what the plan says.
    Whole,
    /// It broke off before its end.
    Broken,
}

/// One request that reached an endpoint, at least in part.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) place: Place,
    /// Counts what endpoints in this process saw of the request; those elsewhere count from [`ELSEWHERE`].
    pub(crate) nth: u32,
    pub(crate) body: Body,
    /// Microseconds since the epoch, when its head had been read.
    pub(crate) at_us: u64,
}

/// Endpoints in other processes do not know what the others saw.
pub(crate) const ELSEWHERE: u32 = 100;

/// Everything about one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    pub(crate) outcome: Option<Outcome>,
    pub(crate) attempts: Vec<Attempt>,
}

/// Who writes down what endpoints see.
pub(crate) trait Witness: Send + Sync {
    /// The head of an attempt has been read; returns which attempt at the request it is.
    fn seen(&self, id: u32, place: Place) -> u32;
    /// Its body has ended.
    fn body(&self, id: u32, nth: u32, body: Body);
    /// Something that must not happen; stands in the oracle's verdict as it is.
    fn wrong(&self, what: String);
    /// Something that happens and is counted.
    fn count(&self, what: &str);
}

#[derive(Default)]
pub(crate) struct Book {
    pages: Mutex<Pages>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Pages {
    pub(crate) entries: Vec<Entry>,
    pub(crate) wrong: Vec<String>,
    pub(crate) counts: BTreeMap<String, u64>,
}

impl Book {
    pub(crate) fn new(requests: u32) -> Book {
        let entries = vec![Entry::default(); requests as usize];
        Book { pages: Mutex::new(Pages { entries, ..Pages::default() }) }
    }

    pub(crate) fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request is over for its client.
    pub(crate) fn settle(&self, id: u32, outcome: Outcome) {
        let mut pages = self.pages();
        let known = pages.entries[id as usize].outcome.replace(outcome.clone());
        if let Some(known) = known {
            pages.wrong.push(format!("{id:08x} has two outcomes: {known:?} and {outcome:?}"));
        }
    }

    /// Takes in what an endpoint in another process wrote down.
    pub(crate) fn copy(&self, lines: &str) {
        for line in lines.lines() {
            if let Some(note) = Note::read(line) {
                self.take(note);
            }
        }
    }

    fn take(&self, note: Note) {
        match note {
            Note::Seen { id, nth, place, at_us } => {
                let mut pages = self.pages();
                if let Some(entry) = pages.entries.get_mut(id as usize) {
                    entry.attempts.push(Attempt { place, nth, body: Body::Unread, at_us });
                }
            }
            Note::Body { id, nth, body } => self.body(id, nth, body),
            Note::Wrong(what) => self.wrong(what),
            Note::Count(what) => self.count(&what),
        }
    }
}

impl Witness for Book {
    fn seen(&self, id: u32, place: Place) -> u32 {
        let mut pages = self.pages();
        let Some(entry) = pages.entries.get_mut(id as usize) else {
            pages.wrong.push(format!("{place:?} saw {id:08x}, which nobody has asked"));
            return 0;
        };
        let here = entry.attempts.iter().filter(|attempt| attempt.nth < ELSEWHERE).count();
        let nth = u32::try_from(here).expect("a few attempts");
        entry.attempts.push(Attempt { place, nth, body: Body::Unread, at_us: now_us() });
        nth
    }

    fn body(&self, id: u32, nth: u32, body: Body) {
        let mut pages = self.pages();
        let entry = pages.entries.get_mut(id as usize);
        let attempt = entry.and_then(|e| e.attempts.iter_mut().rev().find(|attempt| attempt.nth == nth));
        if let Some(attempt) = attempt {
            attempt.body = body;
        }
    }

    fn wrong(&self, what: String) {
        self.pages().wrong.push(what);
    }

    fn count(&self, what: &str) {
        *self.pages().counts.entry(what.to_string()).or_default() += 1;
    }
}

/// One line of an endpoint in another process.
pub(crate) enum Note {
    Seen { id: u32, nth: u32, place: Place, at_us: u64 },
    Body { id: u32, nth: u32, body: Body },
    Wrong(String),
    Count(String),
}

impl Note {
    pub(crate) fn write(&self) -> String {
        match self {
            Note::Seen { id, nth, place: Place { endpoint, connection, request }, at_us } => {
                format!("seen {id} {nth} {endpoint} {connection} {request} {at_us}")
            }
            Note::Body { id, nth, body } => {
                let whole = u8::from(*body == Body::Whole);
                format!("body {id} {nth} {whole}")
            }
            Note::Wrong(what) => format!("wrong {}", what.escape_debug()),
            Note::Count(what) => format!("count {what}"),
        }
    }

    /// None for a line that is none of ours, or that a killed process left unfinished.
    pub(crate) fn read(line: &str) -> Option<Note> {
        let (kind, rest) = line.split_once(' ')?;
        let mut numbers = rest.split(' ').map(str::parse::<u64>);
        let mut next = || numbers.next()?.ok();
        let small = |number: u64| u32::try_from(number).ok();
        Some(match kind {
            "seen" => {
                let (id, nth) = (small(next()?)?, small(next()?)?);
                let endpoint = usize::try_from(next()?).ok()?;
                let place = Place { endpoint, connection: small(next()?)?, request: small(next()?)? };
                Note::Seen { id, nth, place, at_us: next()? }
            }
            "body" => {
                let (id, nth, whole) = (small(next()?)?, small(next()?)?, next()?);
                Note::Body { id, nth, body: if whole == 1 { Body::Whole } else { Body::Broken } }
            }
            "wrong" => Note::Wrong(rest.to_string()),
            "count" => Note::Count(rest.to_string()),
            _ => return None,
        })
    }
}

/// Wall-clock time, which processes share.
pub(crate) fn now_us() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}
