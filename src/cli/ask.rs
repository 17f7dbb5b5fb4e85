//! Asks and tells the admin API of a running Ringway: one request, one connection, the answer as JSON.

use crate::args::AdminAddr;
use base::limits::HttpLimits;
use serde_json::Value;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use wire::h1::{BodyReader, Progress, ResponseReader};
use wire::http::{Method, ResponseHead};

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum AskError {
    /// Nobody listens there, or it is out of reach.
    Connect(io::Error),
    /// The connection broke or took too long.
    Exchange(io::Error),
    /// What answered does not speak HTTP/1.1, or not to its end.
    NotHttp,
    /// More than [`ANSWER_BYTES_MAX`].
    TooLong,
    /// Some other status than 200, with the problem document that came with it and its detail.
    Status { status: u16, detail: String, problem: Box<Value> },
    /// The body is no JSON.
    NotJson,
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AskError::Connect(error) => write!(f, "{error}"),
            AskError::Exchange(error) => write!(f, "no answer: {error}"),
            AskError::NotHttp => f.write_str("what listens there does not speak HTTP"),
            AskError::TooLong => write!(f, "the answer is longer than {ANSWER_BYTES_MAX} bytes"),
            AskError::Status { status, detail, .. } if detail.is_empty() => {
                write!(f, "answered with status {status}")
            }
            AskError::Status { status, detail, .. } => write!(f, "answered with status {status}: {detail}"),
            AskError::NotJson => f.write_str("what listens there is not the admin API of Ringway"),
        }
    }
}

/// Whatever the size of the installation, its status is far below.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// For the whole answer, also one that drips in.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// The same for a configuration that is read, compiled and put into force.
pub(crate) const RELOAD_TIME_MAX: Duration = Duration::from_secs(60);
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);

/// The JSON at `path`.
pub(crate) fn ask(admin: &AdminAddr, path: &str) -> Result<Value, AskError> {
    exchange_with(admin, format!("GET {path} HTTP/1.1\r\n{FIELDS}\r\n"), ANSWER_TIME_MAX)
}

/// The answer to `body` at `path`.
pub(crate) fn tell(admin: &AdminAddr, path: &str, body: &Value) -> Result<Value, AskError> {
    tell_within(admin, path, body, ANSWER_TIME_MAX)
}

/// The same for what takes longer.
pub(crate) fn tell_within(
    admin: &AdminAddr,
    path: &str,
    body: &Value,
    time_max: Duration,
) -> Result<Value, AskError> {
    let body = body.to_string();
    let length = body.len();
    exchange_with(
        admin,
        format!(
            "POST {path} HTTP/1.1\r\n{FIELDS}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ),
        time_max,
    )
}

/// The answer to a configuration that is to be put into force; `kind` is the type of `text`.
pub(crate) fn put(admin: &AdminAddr, path: &str, kind: &str, text: &str) -> Result<Value, AskError> {
    let length = text.len();
    exchange_with(
        admin,
        format!(
            "PUT {path} HTTP/1.1\r\n{FIELDS}Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{text}"
        ),
        RELOAD_TIME_MAX,
    )
}

const FIELDS: &str = "Host: localhost\r\nAccept: application/json\r\nConnection: close\r\n";

fn exchange_with(admin: &AdminAddr, request: String, time_max: Duration) -> Result<Value, AskError> {
    let deadline = Instant::now() + time_max;
    match admin {
        AdminAddr::Ip(addr) => {
            let stream = TcpStream::connect_timeout(addr, CONNECT_TIME_MAX).map_err(AskError::Connect)?;
            exchange(stream, &request, |stream| stream.set_read_timeout(Some(left(deadline)?)))
        }
        AdminAddr::Unix(file) => {
            let stream = UnixStream::connect(file).map_err(AskError::Connect)?;
            exchange(stream, &request, |stream| stream.set_read_timeout(Some(left(deadline)?)))
        }
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

fn exchange<S: Read + Write>(
    mut stream: S,
    request: &str,
    arm: impl Fn(&S) -> io::Result<()>,
) -> Result<Value, AskError> {
    stream.write_all(request.as_bytes()).map_err(AskError::Exchange)?;
    let mut received = Vec::new();
    let mut part = [0; 16 << 10];
    loop {
        let read = arm(&stream).and_then(|()| stream.read(&mut part)).map_err(AskError::Exchange)?;
        received.extend_from_slice(&part[..read]);
        if received.len() > ANSWER_BYTES_MAX {
            return Err(AskError::TooLong);
        }
        // We asked for the connection to be closed: its end is the end of the answer.
        if read == 0 {
            return understand(&mut received);
        }
    }
}

fn understand(received: &mut [u8]) -> Result<Value, AskError> {
    let mut head = ResponseHead::default();
    let mut reader = ResponseReader::new(&HttpLimits::DEFAULT, Method::Get);
    let Ok(Progress::Complete(length)) = reader.read(received, &mut head) else {
        return Err(AskError::NotHttp);
    };
    let mut body = BodyReader::for_response(head.body, &HttpLimits::DEFAULT);
    let rest = &mut received[length..];
    let read = body.read(rest).map_err(|_| AskError::NotHttp)?;
    if !read.done && body.on_eof().is_err() {
        return Err(AskError::NotHttp);
    }
    let value: Result<Value, _> = serde_json::from_slice(&rest[read.payload]);
    if head.status != 200 {
        let problem = Box::new(value.unwrap_or_default());
        let detail = problem["detail"].as_str().unwrap_or_default().to_owned();
        return Err(AskError::Status { status: head.status, detail, problem });
    }
    value.map_err(|_| AskError::NotJson)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::net::TcpListener;

    /// Answers one connection with these bytes.
    fn answer(bytes: &'static [u8]) -> AdminAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("the test connects");
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(bytes);
        });
        AdminAddr::Ip(addr)
    }

    #[test]
    fn an_answer_may_have_a_length_or_chunks() {
        let plain = answer(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"a\":1}");
        assert_eq!(ask(&plain, "/").expect("it is JSON"), json!({ "a": 1 }));
        let chunked = answer(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n",
        );
        assert_eq!(ask(&chunked, "/").expect("it is JSON"), json!({ "a": 1 }));
    }

    #[test]
    fn what_is_not_an_answer_says_why() {
        let refused = answer(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 15\r\n\r\n{\"detail\":\"no\"}");
        assert_eq!(ask(&refused, "/").expect_err("403").to_string(), "answered with status 403: no");
        let cut = answer(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}");
        assert!(matches!(ask(&cut, "/"), Err(AskError::NotHttp)));
        let other = answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        assert!(matches!(ask(&other, "/"), Err(AskError::NotJson)));
        let ssh = answer(b"SSH-2.0-OpenSSH_9.2\r\n");
        assert!(matches!(ask(&ssh, "/"), Err(AskError::NotHttp)));
    }

    #[test]
    fn nobody_there_is_a_connect_error() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        drop(listener);
        assert!(matches!(ask(&AdminAddr::Ip(addr), "/"), Err(AskError::Connect(_))));
        assert!(matches!(ask(&AdminAddr::Unix("/nowhere/at/all".into()), "/"), Err(AskError::Connect(_))));
    }
}
