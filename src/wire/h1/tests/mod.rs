//! The readers, the body decoder and the serialiser, seen from outside: one file per group of requirements.

mod body;
mod connection;
mod framing;
mod host;
mod lines;
mod random;
mod response;
mod target;
mod usual;

use base::limits::HttpLimits;

use super::{HeadError, Progress, RequestReader, ResponseReader, properties};
use crate::http::{Method, Request, RequestHead, Response, ResponseHead};

/// A complete request head and its bytes.
#[derive(Debug)]
struct Parsed {
    head: RequestHead,
    bytes: Vec<u8>,
}

impl Parsed {
    fn request(&self) -> Request<'_> {
        Request::new(&self.head, &self.bytes)
    }

    fn path(&self) -> &str {
        std::str::from_utf8(self.request().path()).expect("targets are ASCII")
    }
}

/// Reads `bytes` as one request head; it must be complete, or refused.
fn request(bytes: impl AsRef<[u8]>) -> Result<Parsed, HeadError> {
    request_within(&HttpLimits::DEFAULT, bytes)
}

fn request_within(limits: &HttpLimits, bytes: impl AsRef<[u8]>) -> Result<Parsed, HeadError> {
    let bytes = bytes.as_ref();
    // R26 and R27 hold for every vector of every table.
    properties::request_head(bytes);
    properties::request_head_split_anywhere(bytes);
    properties::round_trip(bytes);
    let mut head = RequestHead::default();
    match RequestReader::new(limits).read(bytes, &mut head)? {
        Progress::Complete(used) => Ok(Parsed { head, bytes: bytes[..used].to_vec() }),
        Progress::Partial => panic!("not a complete head: {:?}", bytes.escape_ascii().to_string()),
    }
}

/// The reason for which `bytes` are refused; "accepted" when they are not.
fn refusal(bytes: impl AsRef<[u8]>) -> &'static str {
    request(bytes).map_or_else(HeadError::reason, |_| "accepted")
}

/// A complete response head and its bytes.
#[derive(Debug)]
struct ParsedResponse {
    head: ResponseHead,
    bytes: Vec<u8>,
}

impl ParsedResponse {
    fn response(&self) -> Response<'_> {
        Response::new(&self.head, &self.bytes)
    }
}

/// Reads `bytes` as the head of a response to `method`.
fn response_to(method: Method, bytes: impl AsRef<[u8]>) -> Result<ParsedResponse, HeadError> {
    let bytes = bytes.as_ref();
    properties::response_head(&[&[u8::from(method == Method::Head)], bytes].concat());
    let mut head = ResponseHead::default();
    match ResponseReader::new(&HttpLimits::DEFAULT, method).read(bytes, &mut head)? {
        Progress::Complete(used) => Ok(ParsedResponse { head, bytes: bytes[..used].to_vec() }),
        Progress::Partial => panic!("not a complete head: {:?}", bytes.escape_ascii().to_string()),
    }
}

fn response(bytes: impl AsRef<[u8]>) -> Result<ParsedResponse, HeadError> {
    response_to(Method::Get, bytes)
}
