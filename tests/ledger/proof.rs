//! Proof that the oracle is one: books that balance are good, and every lie in them is found.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};

use crate::book::{Attempt, Body, Book, Outcome, Pages, Place, Witness};
use crate::director;
use crate::names;
use crate::oracle::{self, Books, Record};
use crate::plan::{Mix, Plan};
use crate::talk::Flaw;

const PLAN: Plan = Plan { seed: 7, faults: 0, mix: Mix::Posts, status: None };
const REQUESTS: u32 = 4;

/// Pages and log of a run.
struct Story {
    pages: Pages,
    log: HashMap<u32, Vec<Record>>,
    losses: bool,
}

fn endpoint() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 1000))
}

impl Story {
    /// Every POST was seen once and answered.
    fn true_one() -> Story {
        let book = Book::new(REQUESTS);
        let mut log = HashMap::new();
        for id in 0..REQUESTS {
            let by = Place { endpoint: 0, connection: 0, request: id };
            let nth = book.seen(id, by);
            book.body(id, nth, Body::Whole);
            let answer = PLAN.answer(&PLAN.request(id), nth);
            let (status, body_bytes) = (answer.status, answer.body_bytes);
            book.settle(id, Outcome::Answered { status, by, nth, body_bytes });
            let endpoint = endpoint().to_string();
            let record = Record { status, cause: None, attempts: 1, endpoint, bytes_out: body_bytes };
            log.insert(id, vec![record]);
        }
        let pages = book.pages().clone();
        Story { pages, log, losses: false }
    }

    fn wrong(&self) -> Vec<String> {
        let Story { pages, log, losses } = self;
        oracle::judge(&Books {
            plan: PLAN,
            pages,
            log,
            endpoints: &[endpoint()],
            losses: *losses,
            sheds: false,
        })
        .wrong
    }

    /// The first request, as its client and as the log tell it.
    fn retell(&mut self, outcome: Outcome, status: u16, cause: Option<&str>) {
        self.pages.entries[0].outcome = Some(outcome);
        let record = &mut self.record()[0];
        record.status = status;
        record.cause = cause.map(str::to_string);
    }

    fn record(&mut self) -> &mut Vec<Record> {
        self.log.entry(0).or_default()
    }
}

/// A change of a true story that makes it a lie, and a part of what must be said about it.
type Lie = (&'static str, fn(&mut Story));

const LIES: [Lie; 15] = [
    ("no outcome", |story| story.pages.entries[0].outcome = None),
    ("was seen 2 times", |story| {
        let first = story.pages.entries[0].attempts[0].clone();
        story.pages.entries[0].attempts.push(Attempt { nth: 1, ..first });
        story.record()[0].attempts = 2;
    }),
    ("seen 1 times in 0 attempts", |story| story.record()[0].attempts = 0),
    ("2 attempts, of which endpoints saw 1", |story| story.record()[0].attempts = 2),
    ("0 records in the log", |story| story.record().clear()),
    ("2 records in the log", |story| {
        let again = story.record()[0].clone();
        story.record().push(again);
    }),
    ("nobody has asked it", |story| {
        let stranger = story.record().clone();
        story.log.insert(99, stranger);
    }),
    ("which did not see it", |story| story.pages.entries[0].attempts[0].place.connection = 9),
    ("has not got the whole body", |story| story.pages.entries[0].attempts[0].body = Body::Broken),
    ("the log tells another answer", |story| story.record()[0].endpoint = "127.0.0.1:1".into()),
    ("the log tells another answer", |story| story.record()[0].bytes_out = 1),
    ("the log tells another refusal", |story| {
        let cause = "upstream_malformed".to_string();
        story.retell(Outcome::Refused { status: 502, cause }, 502, Some("upstream_timeout"));
    }),
    ("nothing that was planned explains upstream_malformed", |story| {
        let cause = "upstream_malformed";
        story.retell(Outcome::Refused { status: 502, cause: cause.into() }, 502, Some(cause));
    }),
    ("the log calls it complete", |story| {
        story.retell(Outcome::Cut { status: 200, flaw: Flaw::Reset }, 200, None);
    }),
    ("no byte of an answer", |story| {
        story.retell(Outcome::Nothing { flaw: Flaw::Closed, after: None }, 200, None);
    }),
];

pub(crate) fn the_oracle_notices_every_kind_of_lie() -> Result<(), String> {
    let wrong = Story::true_one().wrong();
    if !wrong.is_empty() {
        return Err(format!("a true story is called wrong: {wrong:?}"));
    }
    for (expected, lie) in LIES {
        let mut story = Story::true_one();
        lie(&mut story);
        let wrong = story.wrong();
        if !wrong.iter().any(|what| what.contains(expected)) {
            return Err(format!("not noticed: {expected}; only {wrong:?}"));
        }
    }
    let book = Book::new(1);
    book.settle(0, Outcome::Left { sent_all: true });
    book.settle(0, Outcome::Left { sent_all: true });
    if !book.pages().wrong.iter().any(|what| what.contains("two outcomes")) {
        return Err("not noticed: two outcomes".into());
    }
    Ok(())
}

pub(crate) fn the_same_seed_is_the_same_run() -> Result<(), String> {
    let run = |seed| {
        let plan = Plan { seed, faults: 250, mix: Mix::All, status: None };
        let requests = (0..1000).map(|id| plan.request(id));
        let answers = requests.flat_map(|request| {
            (0..3).map(move |nth| format!("{request:?} {:?}", plan.answer(&request, nth)))
        });
        let windows = director::windows(plan, 10_000, 3);
        (answers.collect::<Vec<String>>(), windows, names::changes(plan, 10_000))
    };
    if run(7) != run(7) || run(7) == run(8) {
        return Err("a seed does not decide over its run".into());
    }
    Ok(())
}
