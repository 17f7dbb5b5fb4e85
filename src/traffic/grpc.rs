//! gRPC, as far as a gateway has to know it: which requests are calls, how long a caller waits, and what a failure is called.
//!
//! Sources: "gRPC over HTTP2", "Status codes and their use in gRPC", "HTTP to gRPC Status Code Mapping" and "gRPC Web" of
//! the gRPC project.

use crate::Cause;
use std::time::Duration;

/// How the messages of a call are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Status in trailers; HTTP/2 only.
    Grpc,
    /// For browsers: the trailers are the last message of the body.
    Web,
    /// The same in base64.
    WebText,
}

impl Encoding {
    /// What a request or response with that `Content-Type` carries; `None` when it is no gRPC.
    pub fn of(content_type: &[u8]) -> Option<Encoding> {
        let (name, _) = split(content_type);
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("application/grpc") {
            Some(Encoding::Grpc)
        } else if is("application/grpc-web") {
            Some(Encoding::Web)
        } else if is("application/grpc-web-text") {
            Some(Encoding::WebText)
        } else {
            None
        }
    }

    /// The content type without what tells the messages apart.
    pub const fn name(self) -> &'static str {
        match self {
            Encoding::Grpc => "application/grpc",
            Encoding::Web => "application/grpc-web",
            Encoding::WebText => "application/grpc-web-text",
        }
    }
}

/// A content type and what follows it: `+proto`, `;charset=…`.
pub fn split(content_type: &[u8]) -> (&[u8], &[u8]) {
    let end = content_type.iter().position(|byte| matches!(byte, b'+' | b';' | b' ' | b'\t'));
    content_type.split_at(end.unwrap_or(content_type.len()))
}

/// What `grpc-timeout` says: at most eight digits and a unit. `None` when it is malformed.
pub fn timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |number: u64, digit| number * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Appends a `grpc-timeout` of `left`, rounded up to the finest unit that eight digits hold; never zero, which some take
/// for no limit at all.
pub fn write_timeout(out: &mut Vec<u8>, left: Duration) {
    const MOST: u128 = 99_999_999;
    let nanos = left.as_nanos().max(1);
    let units: [(u128, u8); 4] =
        [(1_000, b'u'), (1_000_000, b'm'), (1_000_000_000, b'S'), (3_600_000_000_000, b'H')];
    let fits = units.iter().find(|(size, _)| nanos.div_ceil(*size) <= MOST);
    let (size, unit) = *fits.unwrap_or(&units[3]);
    out.extend_from_slice(nanos.div_ceil(size).min(MOST).to_string().as_bytes());
    out.push(unit);
}

/// How a call ended: one of the seventeen codes, or a number that is none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(u8);

/// Names by number.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl Status {
    pub const OK: Status = Status(0);
    pub const DEADLINE_EXCEEDED: Status = Status(4);
    pub const PERMISSION_DENIED: Status = Status(7);
    pub const RESOURCE_EXHAUSTED: Status = Status(8);
    pub const UNIMPLEMENTED: Status = Status(12);
    pub const INTERNAL: Status = Status(13);
    pub const UNAVAILABLE: Status = Status(14);
    pub const UNAUTHENTICATED: Status = Status(16);
    /// A number that the protocol does not know, or no number.
    pub const OTHER: Status = Status(17);

    /// How many there are, [`Status::OTHER`] among them: the bound of everything that is kept by status.
    pub const COUNT: usize = NAMES.len() + 1;

    /// Every status in the order of their places.
    pub fn all() -> impl Iterator<Item = Status> {
        (0..=Status::OTHER.0).map(Status)
    }

    /// The status at a place.
    pub fn at(place: u8) -> Option<Status> {
        (usize::from(place) < Status::COUNT).then_some(Status(place))
    }

    /// What `grpc-status` says.
    pub fn parse(value: &[u8]) -> Status {
        let number = std::str::from_utf8(value).ok().and_then(|text| text.trim_ascii().parse::<u8>().ok());
        number.filter(|number| usize::from(*number) < NAMES.len()).map_or(Status::OTHER, Status)
    }

    /// From 0; the number in `grpc-status`, but for [`Status::OTHER`].
    pub const fn place(self) -> u8 {
        self.0
    }

    /// As in the documents of gRPC; `OTHER` for what is none of them.
    pub fn name(self) -> &'static str {
        NAMES.get(usize::from(self.0)).copied().unwrap_or("OTHER")
    }

    /// What a caller is told when we answer for `cause`.
    ///
    /// Unlike a client that sees nothing but a status of HTTP, we know why: what may be tried again is `UNAVAILABLE`, what
    /// took too long is `DEADLINE_EXCEEDED`, and what is too large `RESOURCE_EXHAUSTED`.
    pub fn of(cause: Cause) -> Status {
        match cause {
            // The endpoint was not reached: whoever calls again may get another one.
            Cause::ConnectTimeout | Cause::UpstreamTlsTimeout => return Status::UNAVAILABLE,
            Cause::UpstreamMalformed | Cause::UpstreamInformational => return Status::INTERNAL,
            Cause::UpstreamHeadTooLarge => return Status::RESOURCE_EXHAUSTED,
            _ => {}
        }
        match cause.status() {
            401 => Status::UNAUTHENTICATED,
            403 => Status::PERMISSION_DENIED,
            408 | 504 => Status::DEADLINE_EXCEEDED,
            413 | 414 | 429 | 431 => Status::RESOURCE_EXHAUSTED,
            404 | 405 | 501 | 505 => Status::UNIMPLEMENTED,
            421 | 502 | 503 => Status::UNAVAILABLE,
            _ => Status::INTERNAL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn calls_are_told_by_their_content_type() {
        for (text, encoding) in [
            ("application/grpc", Some(Encoding::Grpc)),
            ("application/grpc+proto", Some(Encoding::Grpc)),
            ("Application/gRPC;charset=utf-8", Some(Encoding::Grpc)),
            ("application/grpc-web+proto", Some(Encoding::Web)),
            ("application/grpc-web-text", Some(Encoding::WebText)),
            ("application/grpc-webx", None),
            ("application/grpcx", None),
            ("application/json", None),
            ("", None),
        ] {
            assert_eq!(Encoding::of(text.as_bytes()), encoding, "{text}");
        }
        assert_eq!(
            split(b"application/grpc-web-text+proto"),
            (&b"application/grpc-web-text"[..], &b"+proto"[..])
        );
    }

    #[test]
    fn timeouts_are_eight_digits_and_a_unit() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("0S", Some(Duration::ZERO)),
            ("250m", Some(Duration::from_millis(250))),
            ("7u", Some(Duration::from_micros(7))),
            ("9n", Some(Duration::from_nanos(9))),
            ("", None),
            ("S", None),
            ("5", None),
            ("5s", None),
            ("-5S", None),
            ("+5S", None),
            ("5 S", None),
            ("123456789m", None),
            ("1\u{ff}", None),
        ] {
            assert_eq!(timeout(text.as_bytes()), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_hardly_longer(nanos in 0u64..) {
            let mut text = Vec::new();
            let left = Duration::from_nanos(nanos);
            write_timeout(&mut text, left);
            let read = timeout(&text).expect("it is well-formed");
            prop_assert!(read >= left && read > Duration::ZERO);
            // Eight digits: a unit of the last one.
            prop_assert!(read - left <= Duration::from_micros(1) + left / 1_000, "{:?} for {:?}", read, left);
        }

        #[test]
        fn no_bytes_are_a_reason_to_panic(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
            let _ = (timeout(&bytes), Encoding::of(&bytes), Status::parse(&bytes));
        }
    }

    #[test]
    fn statuses_are_numbers_from_0_to_16() {
        assert_eq!(Status::parse(b"0"), Status::OK);
        assert_eq!(Status::parse(b"16"), Status::UNAUTHENTICATED);
        for none in [&b"17"[..], b"-1", b"", b"x", b"256", b"\xff"] {
            assert_eq!(Status::parse(none), Status::OTHER);
        }
        assert_eq!(Status::all().count(), Status::COUNT);
        assert!(Status::all().enumerate().all(|(place, status)| usize::from(status.place()) == place));
        assert_eq!((Status::at(17), Status::at(18)), (Some(Status::OTHER), None));
    }

    #[test]
    fn z5_our_own_errors_have_a_status_of_grpc() {
        for (cause, name) in [
            (Cause::CredentialsMissing, "UNAUTHENTICATED"),
            (Cause::Forbidden, "PERMISSION_DENIED"),
            (Cause::NoRoute, "UNIMPLEMENTED"),
            (Cause::ConnectRefused, "UNAVAILABLE"),
            (Cause::ConnectTimeout, "UNAVAILABLE"),
            (Cause::NoHealthyEndpoint, "UNAVAILABLE"),
            (Cause::UpstreamTimeout, "DEADLINE_EXCEEDED"),
            (Cause::TotalTimeout, "DEADLINE_EXCEEDED"),
            (Cause::BodyTooLarge, "RESOURCE_EXHAUSTED"),
            (Cause::UpstreamMalformed, "INTERNAL"),
            (Cause::BadUri, "INTERNAL"),
            (Cause::Internal, "INTERNAL"),
        ] {
            assert_eq!(Status::of(cause).name(), name, "{cause:?}");
        }
        // Whatever we answer is a failure.
        assert!(Cause::ALL.iter().all(|cause| Status::of(*cause) != Status::OK));
    }
}
