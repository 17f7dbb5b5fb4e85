//! One check of one endpoint: a connection, and for HTTP a GET that must be answered in full.
//!
//! The caller sets the deadline. Whatever the endpoint sends, the check reads at most one head and 64 KiB of body (R120);
//! it trusts nothing but the status.

use base::addr::Addr;
use base::limits::HttpLimits;
use config::model::HttpCheck;
use std::fmt;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use wire::h1::{BodyError, BodyReader, HeadError, Progress, ResponseReader, encode};
use wire::http::{BodyLength, Method, ResponseHead};

/// Why an endpoint did not pass.
#[derive(Debug)]
pub(super) enum CheckError {
    /// No connection, or it broke.
    Io(io::Error),
    /// The connection ended before the answer did.
    Ended,
    /// The answer is not valid HTTP.
    Head(HeadError),
    /// The body of the answer is not valid HTTP.
    Body(BodyError),
    /// The answer is valid but not one that is expected.
    Status(u16),
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckError::Io(error) => error.fmt(f),
            CheckError::Ended => f.write_str("the connection ended before the answer did"),
            CheckError::Head(error) => write!(f, "invalid answer: {}", error.reason()),
            CheckError::Body(error) => write!(f, "invalid body: {error:?}"),
            CheckError::Status(status) => write!(f, "answered {status}"),
        }
    }
}

impl From<io::Error> for CheckError {
    fn from(error: io::Error) -> Self {
        CheckError::Io(error)
    }
}

/// Passes when a connection stands.
pub(super) async fn tcp(addr: &Addr) -> Result<(), CheckError> {
    match addr {
        Addr::Ip(addr) => drop(TcpStream::connect(addr).await?),
        Addr::Unix(path) => drop(UnixStream::connect(path).await?),
    }
    Ok(())
}

/// Passes when a GET is answered in full with an expected status.
pub(super) async fn http(addr: &Addr, check: &HttpCheck) -> Result<(), CheckError> {
    let request = request(addr, check);
    match addr {
        Addr::Ip(addr) => {
            let stream = TcpStream::connect(addr).await?;
            stream.set_nodelay(true)?;
            exchange(stream, &request, check).await
        }
        Addr::Unix(path) => exchange(UnixStream::connect(path).await?, &request, check).await,
    }
}

fn request(addr: &Addr, check: &HttpCheck) -> Vec<u8> {
    let host = match (&check.host, addr) {
        (Some(host), _) => host.clone(),
        (None, Addr::Ip(addr)) => addr.to_string(),
        (None, Addr::Unix(_)) => "localhost".to_owned(),
    };
    let (path, query) = match check.path.split_once('?') {
        Some((path, query)) => (path, Some(query.as_bytes())),
        None => (check.path.as_str(), None),
    };
    let mut out = Vec::with_capacity(256);
    encode::request_line(&mut out, b"GET", path.as_bytes(), query);
    encode::field(&mut out, b"Host", host.as_bytes());
    encode::field(&mut out, b"User-Agent", b"ringway-health-check");
    encode::field(&mut out, b"Accept", b"*/*");
    encode::field(&mut out, b"Connection", b"close");
    encode::end(&mut out);
    out
}

async fn exchange<S>(mut stream: S, request: &[u8], check: &HttpCheck) -> Result<(), CheckError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(request).await?;
    let limits = HttpLimits::DEFAULT;
    let mut reader = ResponseReader::new(&limits, Method::Get);
    let mut head = ResponseHead::default();
    let mut received = Vec::with_capacity(4096);
    let mut informational = 0;
    loop {
        match reader.read(&received, &mut head).map_err(CheckError::Head)? {
            Progress::Partial => receive(&mut stream, &mut received).await?,
            Progress::Complete(bytes) if head.status < 200 => {
                informational += 1;
                // A switch of protocols was not asked for, and endless hints are no answer.
                if head.status == 101 || informational > limits.informational_max {
                    return Err(CheckError::Status(head.status));
                }
                received.drain(..bytes);
            }
            Progress::Complete(bytes) => {
                if !check.expect.contains(head.status) {
                    return Err(CheckError::Status(head.status));
                }
                received.drain(..bytes);
                return body(stream, received, head.body, &limits).await;
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
) -> Result<(), CheckError>
where
    S: AsyncRead + Unpin,
{
    let mut reader = BodyReader::for_response(length, limits);
    loop {
        let part = reader.read(&mut received).map_err(CheckError::Body)?;
        received.drain(..part.consumed);
        if reader.is_done() || reader.payload_bytes() >= BODY_BYTES_MAX {
            return Ok(());
        }
        match receive(&mut stream, &mut received).await {
            Ok(()) => {}
            Err(CheckError::Ended) => return reader.on_eof().map_err(CheckError::Body),
            Err(error) => return Err(error),
        }
    }
}

async fn receive<S: AsyncRead + Unpin>(stream: &mut S, received: &mut Vec<u8>) -> Result<(), CheckError> {
    if stream.read_buf(received).await? == 0 { Err(CheckError::Ended) } else { Ok(()) }
}

const BODY_BYTES_MAX: u64 = 64 << 10;
