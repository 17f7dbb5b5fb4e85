//! A check by HTTP: a request that must be answered in full.
//!
//! The caller connects and sets the deadline. Whatever the endpoint sends, the check reads at most one head and 64 KiB of
//! body (R120); it trusts nothing but the status, and the text if one is expected.

use super::finding::Finding;
use base::limits::HttpLimits;
use config::model::{CheckMethod, HttpCheck};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use wire::h1::{BodyReader, Progress, ResponseReader, encode};
use wire::http::{BodyLength, Method, ResponseHead};

/// The request, for an endpoint whose name is `authority` unless the check says otherwise.
pub(super) fn request(authority: &str, check: &HttpCheck) -> Vec<u8> {
    let (path, query) = match check.path.split_once('?') {
        Some((path, query)) => (path, Some(query.as_bytes())),
        None => (check.path.as_str(), None),
    };
    let mut out = Vec::with_capacity(256);
    encode::request_line(&mut out, check.method.to_string().as_bytes(), path.as_bytes(), query);
    encode::field(&mut out, b"Host", check.host.as_deref().unwrap_or(authority).as_bytes());
    for (name, value) in [("User-Agent", "ringway-health-check"), ("Accept", "*/*")] {
        if !check.headers.iter().any(|written| written.name.eq_ignore_ascii_case(name)) {
            encode::field(&mut out, name.as_bytes(), value.as_bytes());
        }
    }
    for written in &check.headers {
        encode::field(&mut out, written.name.as_bytes(), written.value.as_bytes());
    }
    if check.method == CheckMethod::Post {
        encode::field(&mut out, b"Content-Length", b"0");
    }
    encode::field(&mut out, b"Connection", b"close");
    encode::end(&mut out);
    out
}

/// Passes when the answer is complete and as expected.
pub(super) async fn exchange<S>(mut stream: S, request: &[u8], check: &HttpCheck) -> Result<(), Finding>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(request).await?;
    let limits = HttpLimits::DEFAULT;
    let method = if check.method == CheckMethod::Head { Method::Head } else { Method::Get };
    let mut reader = ResponseReader::new(&limits, method);
    let mut head = ResponseHead::default();
    let mut received = Vec::with_capacity(4096);
    let mut informational = 0;
    loop {
        match reader.read(&received, &mut head).map_err(Finding::Head)? {
            Progress::Partial => receive(&mut stream, &mut received).await?,
            Progress::Complete(bytes) if head.status < 200 => {
                informational += 1;
                // A switch of protocols was not asked for, and endless hints are no answer.
                if head.status == 101 || informational > limits.informational_max {
                    return Err(Finding::Status(head.status));
                }
                received.drain(..bytes);
            }
            Progress::Complete(bytes) => {
                if !check.expect.contains(head.status) {
                    return Err(Finding::Status(head.status));
                }
                received.drain(..bytes);
                return body(stream, received, head.body, &limits, check.body.as_deref()).await;
            }
        }
    }
}

/// Reads the body to its end, or as far as we care.
async fn body<S>(
    mut stream: S,
    mut received: Vec<u8>,
    length: BodyLength,
    limits: &HttpLimits,
    expected: Option<&str>,
) -> Result<(), Finding>
where
    S: AsyncRead + Unpin,
{
    let mut reader = BodyReader::for_response(length, limits);
    let mut text = Vec::new();
    loop {
        let part = reader.read(&mut received).map_err(Finding::Body)?;
        if expected.is_some() {
            text.extend_from_slice(&received[part.payload]);
        }
        received.drain(..part.consumed);
        if reader.is_done() || reader.payload_bytes() >= BODY_BYTES_MAX {
            break;
        }
        match receive(&mut stream, &mut received).await {
            Ok(()) => {}
            Err(Finding::Ended) => {
                reader.on_eof().map_err(Finding::Body)?;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    let is_there = |expected: &str| {
        // An empty text is part of everything.
        expected.is_empty() || text.windows(expected.len()).any(|part| part == expected.as_bytes())
    };
    if expected.is_none_or(is_there) { Ok(()) } else { Err(Finding::Text) }
}

async fn receive<S: AsyncRead + Unpin>(stream: &mut S, received: &mut Vec<u8>) -> Result<(), Finding> {
    if stream.read_buf(received).await? == 0 { Err(Finding::Ended) } else { Ok(()) }
}

const BODY_BYTES_MAX: u64 = 64 << 10;
