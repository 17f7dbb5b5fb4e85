//! What every request is and what every attempt at it meets: a pure function of the seed and the request's number.
//!
//! Client, endpoints and oracle each work a plan out for themselves, so nothing about it travels with the request
//! and each can tell what the others should have done.

use std::sync::LazyLock;

use base::rng::Rng;

/// Everything that a run is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// How often attempts go wrong, in thousandths of first attempts.
    pub(crate) faults: u32,
    pub(crate) mix: Mix,
    /// Every answer has this status instead of its own.
    pub(crate) status: Option<u16>,
}

/// Which requests clients make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mix {
    /// Everything.
    All,
    /// GET on kept connections, answered with a few bytes.
    Gets,
    /// POST with a few bytes on kept connections, answered with a few bytes.
    Posts,
}

impl Mix {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mix::All => "all",
            Mix::Gets => "gets",
            Mix::Posts => "posts",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Mix> {
        [Mix::All, Mix::Gets, Mix::Posts].into_iter().find(|mix| mix.name() == name)
    }
}

/// One request of a client.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) id: u32,
    pub(crate) method: &'static str,
    pub(crate) rules: Rules,
    pub(crate) has_key: bool,
    pub(crate) framing: Framing,
    pub(crate) body_bytes: usize,
    pub(crate) expects_continue: bool,
    pub(crate) manner: Manner,
}

/// The route, by what it allows to be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// As a route without `retry` has them.
    Default,
    /// `on="connect,reset,timeout,503"`, two more attempts.
    Generous,
    /// As `Generous`, and requests with `Idempotency-Key` count as idempotent.
    Key,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length,
    Chunked,
    /// Responses only: the end of the connection is the end of the body.
    UntilClose,
}

/// How the client behaves around its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Keeps the connection for the next request.
    Keep,
    /// Says `Connection: close`.
    OneShot,
    /// HTTP/1.0 without keep-alive.
    Http10,
    /// Ends its sending side after the request and still wants the answer.
    HalfClose,
    /// Goes away when this share of the request has been sent, in thousandths; 1000 is all of it.
    LeavesSending { permille: u32, reset: bool },
    /// Goes away when so many bytes of the answer have arrived.
    LeavesReading { bytes: usize, reset: bool },
}

/// What an endpoint does about one attempt.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) framing: Framing,
    pub(crate) body_bytes: usize,
    /// The endpoint says `Connection: close` and means it.
    pub(crate) closes: bool,
    pub(crate) fault: Fault,
}

/// What goes wrong. Places are in thousandths of the part that they lie in, and always before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    EndsInRequest {
        permille: u32,
        reset: bool,
    },
    EndsInHead {
        permille: u32,
        reset: bool,
    },
    EndsInBody {
        permille: u32,
        reset: bool,
    },
    StallsBeforeHead,
    StallsInHead {
        permille: u32,
    },
    StallsInBody {
        permille: u32,
    },
    /// Not a response; which of [`GARBAGE`].
    Garbage {
        kind: usize,
    },
    HugeHead,
    /// More bytes right behind a complete response.
    Excess {
        whole_response: bool,
    },
    /// A response to nothing, some time after the real one.
    Late,
    Informational {
        count: u32,
    },
    /// Answers before it has read the body.
    Early {
        reads_on: bool,
    },
    Trickles {
        pieces: usize,
    },
}

impl Fault {
    /// For tables of counts: the kind without its places.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Fault::None => "none",
            Fault::EndsInRequest { reset: true, .. } => "reset in the request",
            Fault::EndsInRequest { .. } => "end in the request",
            Fault::EndsInHead { permille: 0, reset: true } => "reset before the head",
            Fault::EndsInHead { permille: 0, .. } => "end before the head",
            Fault::EndsInHead { reset: true, .. } => "reset in the head",
            Fault::EndsInHead { .. } => "end in the head",
            Fault::EndsInBody { reset: true, .. } => "reset in the body",
            Fault::EndsInBody { .. } => "end in the body",
            Fault::StallsBeforeHead => "stall before the head",
            Fault::StallsInHead { .. } => "stall in the head",
            Fault::StallsInBody { .. } => "stall in the body",
            Fault::Garbage { .. } => "garbage",
            Fault::HugeHead => "huge head",
            Fault::Excess { .. } => "excess bytes",
            Fault::Late => "late bytes",
            Fault::Informational { count } if count > INFORMATIONAL_MAX => "storm of 1xx",
            Fault::Informational { .. } => "some 1xx",
            Fault::Early { .. } => "early answer",
            Fault::Trickles { .. } => "trickle",
        }
    }
}

/// Most informational responses that Ringway swallows before one response.
pub(crate) const INFORMATIONAL_MAX: u32 = 16;

/// Beginnings of answers that no strict reader accepts.
pub(crate) const GARBAGE: [&[u8]; 10] = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is TLS\r\n\r\n",
    b"<html>HTTP/0.9</html>\r\n\r\n",
    b"ICY 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 1000 High\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    b"HTTP/1.1 200 OK\r\nX-Nul: a\0b\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: nonsense\r\n\r\n",
];

impl Plan {
    /// Independent numbers for each purpose, so that a change of one plan does not shuffle the others.
    pub(crate) fn dice(&self, purpose: Purpose, number: u64) -> Rng {
        let mixed = Rng::new(self.seed ^ (purpose as u64) << 56).next_u64();
        Rng::new(mixed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// The request with that number.
    pub(crate) fn request(&self, id: u32) -> Request {
        let small = |method, framing, body_bytes| Request {
            id,
            method,
            rules: Rules::Default,
            has_key: false,
            framing,
            body_bytes,
            expects_continue: false,
            manner: Manner::Keep,
        };
        match self.mix {
            Mix::All => self.any_request(id),
            Mix::Gets => small("GET", Framing::None, 0),
            Mix::Posts => small("POST", Framing::Length, 100),
        }
    }

    fn any_request(&self, id: u32) -> Request {
        let mut dice = self.dice(Purpose::Request, u64::from(id));
        let method = pick(
            &mut dice,
            &[("GET", 35), ("POST", 25), ("PUT", 15), ("HEAD", 8), ("DELETE", 7), ("PATCH", 10)],
        );
        let rules = pick(&mut dice, &[(Rules::Default, 50), (Rules::Generous, 30), (Rules::Key, 20)]);
        let uploads = matches!(method, "POST" | "PUT" | "PATCH") || (method == "DELETE" && dice.one_in(5));
        let framing = match uploads {
            false => Framing::None,
            true => pick(&mut dice, &[(Framing::Length, 60), (Framing::Chunked, 40)]),
        };
        let body_bytes = if uploads { size(&mut dice) } else { 0 };
        let expects_continue = uploads && dice.one_in(20);
        let mut manner = self.manner(&mut dice);
        if manner == Manner::Http10 && uploads {
            // Most bodies are refused on HTTP/1.0; that is not what this is about.
            manner = Manner::OneShot;
        }
        let has_key = dice.one_in(3);
        Request { id, method, rules, has_key, framing, body_bytes, expects_continue, manner }
    }

    fn manner(&self, dice: &mut Rng) -> Manner {
        let reset = dice.one_in(2);
        let permille = number(dice, 1001);
        let bytes = number(dice, 600) as usize;
        let leaves = if self.faults > 0 { 2 } else { 0 };
        let choices = [
            (Manner::Keep, 80),
            (Manner::OneShot, 10),
            (Manner::Http10, 4),
            (Manner::HalfClose, 2),
            (Manner::LeavesSending { permille, reset }, leaves),
            (Manner::LeavesReading { bytes, reset }, leaves),
        ];
        pick(dice, &choices)
    }

    /// What happens to the attempt at `request` that is the `nth` (from 0) of those that endpoints have seen.
    pub(crate) fn answer(&self, request: &Request, nth: u32) -> Answer {
        if self.mix != Mix::All {
            let (framing, fault) = (Framing::Length, Fault::None);
            let status = self.status.unwrap_or(200);
            return Answer { status, framing, body_bytes: 100, closes: false, fault };
        }
        let mut dice = self.dice(Purpose::Answer, u64::from(request.id) << 16 | u64::from(nth));
        let status = pick(&mut dice, &[(200, 90), (404, 3), (204, 2), (304, 1), (500, 2), (503, 2)]);
        let status = self.status.unwrap_or(status);
        let framing =
            pick(&mut dice, &[(Framing::Length, 60), (Framing::Chunked, 35), (Framing::UntilClose, 5)]);
        let bodiless = matches!(status, 204 | 304);
        let body_bytes = if bodiless { 0 } else { size(&mut dice) };
        let framing = if bodiless { Framing::None } else { framing };
        let closes = framing == Framing::UntilClose || dice.one_in(40);
        // Repeated attempts mostly succeed, or nothing would be learnt about them.
        let share = if nth == 0 { self.faults } else { self.faults / 3 };
        let goes_wrong = number(&mut dice, 1000) < share;
        let fault = if goes_wrong { draw_fault(&mut dice) } else { Fault::None };
        let mut answer = Answer { status, framing, body_bytes, closes, fault };
        answer.settle(request);
        answer
    }

    /// How old (in milliseconds) an idle connection of an endpoint may become before the endpoint closes it.
    pub(crate) fn idle_ms(&self, endpoint: usize, connection: u32) -> Option<u64> {
        let mut dice = self.dice(Purpose::Idle, (endpoint as u64) << 32 | u64::from(connection));
        (self.faults > 0 && dice.one_in(3)).then(|| 35 + dice.below(11))
    }

    /// Whether an endpoint resets a connection as soon as it has accepted it.
    pub(crate) fn resets_at_once(&self, endpoint: usize, connection: u32) -> bool {
        let mut dice = self.dice(Purpose::Accept, (endpoint as u64) << 32 | u64::from(connection));
        self.faults > 0 && dice.one_in(50)
    }
}

/// What numbers are drawn for.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Request = 1,
    Answer = 2,
    Idle = 3,
    Accept = 4,
    Windows = 5,
    Pieces = 6,
    Names = 7,
}

impl Answer {
    /// Replaces what cannot happen to this answer by something that can.
    fn settle(&mut self, request: &Request) {
        let bodiless = self.body_bytes == 0 || request.method == "HEAD" || self.framing == Framing::None;
        let in_body = matches!(self.fault, Fault::EndsInBody { .. } | Fault::StallsInBody { .. });
        if bodiless && in_body && self.framing != Framing::Chunked || request.method == "HEAD" && in_body {
            self.fault = Fault::None;
        }
        if let (Framing::UntilClose, Fault::EndsInBody { reset, .. }) = (self.framing, &mut self.fault) {
            // An orderly end is the end of such a body; nobody could tell that it comes too early.
            *reset = true;
        }
        if matches!(self.fault, Fault::Excess { .. } | Fault::Late) {
            // Bytes that come in a later piece than the response may meet the next request on its way, and no proxy
            // can tell them from its answer. So the response is one that leaves in one piece.
            self.body_bytes = self.body_bytes.min(2000);
            self.closes = false;
            if self.framing == Framing::UntilClose {
                self.framing = Framing::Length;
            }
        }
        if matches!(self.fault, Fault::Early { .. } | Fault::EndsInRequest { .. }) && request.body_bytes == 0
        {
            self.fault = Fault::None;
        }
        if let Fault::Early { reads_on } = self.fault {
            self.status = if reads_on { 200 } else { 413 };
            self.framing = Framing::Length;
            self.closes = !reads_on;
        }
    }
}

fn draw_fault(dice: &mut Rng) -> Fault {
    let permille = number(dice, 1000);
    let reset = dice.one_in(2);
    let kind = dice.index(GARBAGE.len());
    let few = 1 + number(dice, INFORMATIONAL_MAX);
    let many = INFORMATIONAL_MAX + 1 + number(dice, 30);
    let choices = [
        (Fault::EndsInRequest { permille, reset }, 10),
        (Fault::EndsInHead { permille: 0, reset }, 10),
        (Fault::EndsInHead { permille, reset }, 10),
        (Fault::EndsInBody { permille, reset }, 14),
        (Fault::StallsBeforeHead, 2),
        (Fault::StallsInHead { permille }, 2),
        (Fault::StallsInBody { permille }, 2),
        (Fault::Garbage { kind }, 8),
        (Fault::HugeHead, 2),
        (Fault::Excess { whole_response: reset }, 10),
        (Fault::Late, 2),
        (Fault::Informational { count: few }, 6),
        (Fault::Informational { count: many }, 4),
        (Fault::Early { reads_on: reset }, 10),
        (Fault::Trickles { pieces: 2 + permille as usize % 8 }, 8),
    ];
    pick(dice, &choices)
}

/// Body sizes: mostly small, some that need several buffers, some that are worth a pipe, up to 1 MiB.
fn size(dice: &mut Rng) -> usize {
    let below =
        pick(dice, &[(1, 15), (256, 45), (8 << 10, 21), (64 << 10, 13), (256 << 10, 5), (BODY_MAX + 1, 1)]);
    dice.index(below)
}

pub(crate) fn number(dice: &mut Rng, below: u32) -> u32 {
    u32::try_from(dice.below(u64::from(below))).expect("below a u32")
}

/// One of several by weight.
pub(crate) fn pick<T: Copy>(dice: &mut Rng, choices: &[(T, u32)]) -> T {
    let total = choices.iter().map(|(_, weight)| weight).sum();
    let mut left = number(dice, total);
    for (choice, weight) in choices {
        if left < *weight {
            return *choice;
        }
        left -= weight;
    }
    choices[0].0
}

impl Request {
    /// The path, which says the route and the id.
    pub(crate) fn path(&self) -> String {
        let route = match self.rules {
            Rules::Default => "default",
            Rules::Generous => "generous",
            Rules::Key => "key",
        };
        format!("/{route}/{:08x}", self.id)
    }

    /// Whether Ringway may repeat it after an endpoint may have seen it.
    pub(crate) fn is_repeatable(&self) -> bool {
        !matches!(self.method, "POST" | "PATCH") || (self.rules == Rules::Key && self.has_key)
    }

    /// Its body.
    pub(crate) fn body(&self) -> Vec<u8> {
        body(self.id, Side::Request, self.body_bytes)
    }
}

/// The id that a path carries.
pub(crate) fn id_of(path: &str) -> Option<u32> {
    let digits = path.rsplit('/').next()?;
    (digits.len() == 8).then(|| u32::from_str_radix(digits, 16).ok())?
}

/// Whose body it is.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Request,
    Response,
}

/// A body that belongs to one id: it names it, and every further byte depends on it.
pub(crate) fn body(id: u32, side: Side, bytes: usize) -> Vec<u8> {
    let mark = match side {
        Side::Request => format!("<request  {id:08x}>"),
        Side::Response => format!("<response {id:08x}>"),
    };
    let mut dice = Rng::new(u64::from(id) << 1 | side as u64);
    let start = dice.index(POOL_BYTES - bytes);
    let mut body = POOL[start..start + bytes].to_vec();
    let named = mark.len().min(bytes);
    body[..named].copy_from_slice(&mark.as_bytes()[..named]);
    body
}

const BODY_MAX: usize = 1 << 20;
const POOL_BYTES: usize = 2 * BODY_MAX;
static POOL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut dice = Rng::new(1);
    (0..POOL_BYTES / 8).flat_map(|_| dice.next_u64().to_le_bytes()).collect()
});
