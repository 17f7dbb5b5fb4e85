//! The verdict: what clients got, what endpoints saw and what Ringway logged must be one story.
//!
//! A pure function of the books. It knows the plan, so it can also tell whether a failure had a reason.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::Value;

use crate::book::{Body, Entry, Outcome, Pages, Place};
use crate::plan::{self, Fault, INFORMATIONAL_MAX, Plan, Request};
use crate::talk::Flaw;

/// What the access log says about one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) status: u16,
    pub(crate) cause: Option<String>,
    pub(crate) attempts: usize,
    pub(crate) endpoint: String,
    pub(crate) bytes_out: usize,
}

impl Record {
    /// A line of the access log: the id and what is said about it.
    pub(crate) fn read(line: &str) -> Option<(u32, Record)> {
        let value: Value = serde_json::from_str(line).ok()?;
        let number = |name: &str| value[name].as_u64().and_then(|number| usize::try_from(number).ok());
        let record = Record {
            status: u16::try_from(number("status")?).ok()?,
            cause: value["cause"].as_str().map(str::to_string),
            attempts: number("attempts")?,
            endpoint: value["endpoint"].as_str()?.to_string(),
            bytes_out: number("bytes_out")?,
        };
        Some((plan::id_of(value["path"].as_str()?)?, record))
    }
}

/// Everything that is to be reconciled.
pub(crate) struct Books<'a> {
    pub(crate) plan: Plan,
    pub(crate) pages: &'a Pages,
    /// Records by id; more than one is a mistake.
    pub(crate) log: &'a HashMap<u32, Vec<Record>>,
    pub(crate) endpoints: &'a [SocketAddr],
    /// Whether attempts can be lost on their way to an endpoint: refused, reset when accepted, sent on a connection
    /// that was just being closed, or to a process that was killed.
    pub(crate) losses: bool,
    /// Whether Ringway may refuse what is more than its limits allow.
    pub(crate) sheds: bool,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) wrong: Vec<String>,
    /// Outcomes by their kind.
    pub(crate) outcomes: BTreeMap<String, u64>,
    /// Attempts that Ringway counted.
    pub(crate) attempts: u64,
    /// Those of them that no endpoint saw.
    pub(crate) unseen: u64,
    /// Requests that took more than one attempt.
    pub(crate) repeated: u64,
    /// Timeouts of attempts that were not planned to stall; a stopped process or a busy machine makes them.
    pub(crate) unplanned_timeouts: u64,
}

pub(crate) fn judge(books: &Books<'_>) -> Verdict {
    let mut verdict = Verdict { wrong: books.pages.wrong.clone(), ..Verdict::default() };
    let asked = u32::try_from(books.pages.entries.len()).unwrap_or(u32::MAX);
    for id in 0..asked {
        let case = books.case(id);
        let before = verdict.wrong.len();
        case.judge(&mut verdict);
        for what in &mut verdict.wrong[before..] {
            *what = format!("{id:08x}: {what}\n{}", case.views());
        }
    }
    for id in books.log.keys().filter(|id| **id >= asked) {
        verdict.wrong.push(format!("{id:08x}: in the log, and nobody has asked it"));
    }
    verdict
}

impl Books<'_> {
    fn case(&self, id: u32) -> Case<'_> {
        let records = self.log.get(&id).map(Vec::as_slice).unwrap_or_default();
        Case { books: self, request: self.plan.request(id), entry: &self.pages.entries[id as usize], records }
    }
}

/// One request with everything that is known about it.
struct Case<'a> {
    books: &'a Books<'a>,
    request: Request,
    entry: &'a Entry,
    records: &'a [Record],
}

impl Case<'_> {
    fn judge(&self, verdict: &mut Verdict) {
        self.count_attempts(verdict);
        let Some(outcome) = &self.entry.outcome else {
            verdict.outcomes.entry("none".into()).and_modify(|n| *n += 1).or_insert(1);
            return verdict.wrong.push("no outcome".into());
        };
        let left = matches!(outcome, Outcome::Left { .. });
        match self.records {
            [_] => {}
            [] if left => {}
            _ => verdict.wrong.push(format!("{} records in the log", self.records.len())),
        }
        let record = self.records.first();
        let kind = match outcome {
            Outcome::Answered { status, .. } => format!("answered {status}"),
            Outcome::Refused { status, cause } => format!("refused {status} {cause}"),
            Outcome::Cut { .. } => {
                let cause = record.and_then(|record| record.cause.as_deref()).unwrap_or("no cause");
                format!("cut {cause}")
            }
            Outcome::Nothing { .. } => "nothing".into(),
            Outcome::Left { .. } => "client left".into(),
            Outcome::Strayed { .. } => "met a stray response".into(),
        };
        *verdict.outcomes.entry(kind).or_default() += 1;
        match outcome {
            Outcome::Answered { status, by, nth, body_bytes } => {
                self.answered(verdict, *status, *by, *nth, *body_bytes);
            }
            Outcome::Refused { status, cause } => self.refused(verdict, *status, cause),
            Outcome::Cut { status, flaw } => self.cut(verdict, *status, flaw),
            Outcome::Nothing { flaw, after } => {
                let before = after.map(|id| self.books.case(id).views()).unwrap_or_default();
                verdict.wrong.push(format!(
                    "no byte of an answer: {flaw:?}; on a connection after {after:?}\n{before}"
                ));
            }
            Outcome::Strayed { by } => {
                if self.planned_at(*by) != Some(Fault::Late) {
                    verdict.wrong.push(format!("got bytes that came behind a response at {by:?}"));
                }
            }
            Outcome::Left { .. } => {}
        }
    }

    /// Nothing is done twice that must not be, and Ringway's count is that of the endpoints.
    fn count_attempts(&self, verdict: &mut Verdict) {
        let seen = self.entry.attempts.len();
        if seen > 1 && !self.request.is_repeatable() {
            verdict.wrong.push(format!("{} was seen {seen} times", self.request.method));
        }
        let Some(record) = self.records.first() else { return };
        verdict.attempts += record.attempts as u64;
        verdict.repeated += u64::from(record.attempts > 1);
        if seen > record.attempts {
            verdict.wrong.push(format!("seen {seen} times in {} attempts", record.attempts));
        }
        let unseen = record.attempts.saturating_sub(seen);
        verdict.unseen += unseen as u64;
        let left = matches!(self.entry.outcome, Some(Outcome::Left { .. }));
        if unseen > 0 && !self.books.losses && !left {
            verdict.wrong.push(format!("{} attempts, of which endpoints saw {seen}", record.attempts));
        }
    }

    fn answered(&self, verdict: &mut Verdict, status: u16, by: Place, nth: u32, body_bytes: usize) {
        let attempt = self.entry.attempts.iter().find(|attempt| attempt.place == by && attempt.nth == nth);
        let Some(attempt) = attempt else {
            return verdict.wrong.push(format!("answered by {by:?}, which did not see it"));
        };
        let reads = !matches!(self.fault(nth), Fault::Early { .. });
        if reads && attempt.body != Body::Whole {
            verdict.wrong.push(format!("answered by {by:?}, which has not got the whole body"));
        }
        let Some(record) = self.records.first() else { return };
        let endpoint = self.books.endpoints.get(by.endpoint).map(SocketAddr::to_string);
        let same = record.status == status
            && record.cause.is_none()
            && Some(&record.endpoint) == endpoint.as_ref()
            && record.bytes_out == body_bytes;
        if !same {
            verdict.wrong.push("the log tells another answer".into());
        }
    }

    fn refused(&self, verdict: &mut Verdict, status: u16, cause: &str) {
        if let Some(record) = self.records.first()
            && (record.status != status || record.cause.as_deref() != Some(cause))
        {
            verdict.wrong.push("the log tells another refusal".into());
        }
        self.explain(verdict, cause);
    }

    fn cut(&self, verdict: &mut Verdict, status: u16, flaw: &Flaw) {
        if status == 0 {
            verdict.wrong.push("a part of a head reached the client".into());
        }
        if *flaw == Flaw::Silent {
            verdict.wrong.push("the answer stopped, and the connection did not end".into());
        }
        let Some(record) = self.records.first() else { return };
        let Some(cause) = &record.cause else {
            return verdict.wrong.push("the answer broke off, and the log calls it complete".into());
        };
        if record.status != status {
            verdict.wrong.push("the log tells another status".into());
        }
        self.explain(verdict, cause);
    }

    /// A failure must be one that the plan made. Which endpoint is asked is not in the plan, so any attempt will do.
    fn explain(&self, verdict: &mut Verdict, cause: &str) {
        let seen = self.entry.attempts.len();
        let unseen = self.records.first().is_some_and(|record| record.attempts > seen);
        let any = |explains: fn(Fault) -> bool| {
            self.entry.attempts.iter().any(|attempt| explains(self.fault(attempt.nth)))
        };
        let lost = self.books.losses && unseen;
        let explained = match cause {
            "upstream_malformed" => any(|fault| matches!(fault, Fault::Garbage { .. })),
            "upstream_head_too_large" => any(|fault| fault == Fault::HugeHead),
            "upstream_informational" => {
                any(|fault| matches!(fault, Fault::Informational { count } if count > INFORMATIONAL_MAX))
            }
            "upstream_truncated" => any(|fault| matches!(fault, Fault::EndsInBody { .. })),
            "upstream_reset_headers" => {
                lost || any(|fault| matches!(fault, Fault::EndsInRequest { .. } | Fault::EndsInHead { .. }))
            }
            "connect_refused" => lost,
            "queue_full" | "queue_timeout" | "queue_deadline" | "concurrency_limit" | "overloaded" => {
                self.books.sheds && seen == 0
            }
            "upstream_timeout" | "upstream_body_timeout" | "connect_timeout" => {
                let planned = any(|fault| {
                    matches!(
                        fault,
                        Fault::StallsBeforeHead | Fault::StallsInHead { .. } | Fault::StallsInBody { .. }
                    )
                });
                verdict.unplanned_timeouts += u64::from(!planned);
                true
            }
            _ => false,
        };
        if !explained {
            verdict.wrong.push(format!("nothing that was planned explains {cause}"));
        }
    }

    fn fault(&self, nth: u32) -> Fault {
        self.books.plan.answer(&self.request, nth).fault
    }

    /// What was planned for the attempt at that place, whichever request it belonged to.
    fn planned_at(&self, place: Place) -> Option<Fault> {
        let plan = self.books.plan;
        (0..).zip(&self.books.pages.entries).find_map(|(id, entry)| {
            let attempt = entry.attempts.iter().find(|attempt| attempt.place == place)?;
            Some(plan.answer(&plan.request(id), attempt.nth).fault)
        })
    }

    /// What each side knows about the request.
    fn views(&self) -> String {
        let mut text = format!("    request: {:?}\n    client:  {:?}\n", self.request, self.entry.outcome);
        let mut attempts: Vec<_> = self.entry.attempts.iter().collect();
        attempts.sort_by_key(|attempt| attempt.at_us);
        for attempt in attempts {
            let answer = self.books.plan.answer(&self.request, attempt.nth);
            let _ = writeln!(text, "    seen:    {attempt:?}\n             answered by {answer:?}");
        }
        for record in self.records {
            let _ = writeln!(text, "    log:     {record:?}");
        }
        text
    }
}
