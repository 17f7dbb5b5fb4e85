//! Forwards requests without a body to one origin, and answers of known length back.
//!
//! Enough of HTTP to load it with wrk, and no more: no pipelining, no chunked coding, no header changes.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use crate::connection::{Connect, Connection};

/// Connections to the origin that no request uses. The origin never closes first.
pub(crate) struct Upstreams<C: Connect> {
    connect: C,
    idle: RefCell<Vec<C::Connection>>,
}

impl<C: Connect> Upstreams<C> {
    pub(crate) fn new(connect: C) -> Rc<Upstreams<C>> {
        Rc::new(Upstreams { connect, idle: RefCell::default() })
    }

    async fn lease(&self) -> io::Result<C::Connection> {
        let idle = self.idle.borrow_mut().pop();
        match idle {
            Some(connection) => Ok(connection),
            None => self.connect.connect().await,
        }
    }
}

/// Serves one client until it leaves.
pub(crate) async fn serve<C: Connect>(
    mut client: C::Connection,
    upstreams: Rc<Upstreams<C>>,
) -> io::Result<()> {
    while let Some((request, _)) = receive_head(&mut client, request_length).await? {
        let mut upstream = upstreams.lease().await?;
        upstream.send(request).await?;
        let response = receive_head(&mut upstream, response_length).await?;
        let (mut bytes, length) = response.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut rest = length.checked_sub(bytes.len()).ok_or_else(|| invalid("more bytes than announced"))?;
        loop {
            client.send(bytes).await?;
            if rest == 0 {
                break;
            }
            bytes = upstream.receive().await?;
            rest = match rest.checked_sub(bytes.len()) {
                Some(left) if !bytes.is_empty() => left,
                _ => return Err(invalid("the body has another length than announced")),
            };
        }
        upstreams.idle.borrow_mut().push(upstream);
    }
    Ok(())
}

/// The first bytes of a message, its head whole, and what `length` makes of it; None when the peer has left before it.
async fn receive_head<C: Connection>(
    connection: &mut C,
    length: impl Fn(&[u8]) -> io::Result<Option<usize>>,
) -> io::Result<Option<(C::Bytes, usize)>> {
    let first = connection.receive().await?;
    if first.is_empty() {
        return Ok(None);
    }
    if let Some(length) = length(&first)? {
        return Ok(Some((first, length)));
    }
    let mut collected = first.to_vec();
    loop {
        let more = connection.receive().await?;
        if more.is_empty() || collected.len() > HEAD_BYTES_MAX {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        collected.extend_from_slice(&more);
        if let Some(length) = length(&collected)? {
            return Ok(Some((C::bytes(collected), length)));
        }
    }
}

const HEAD_BYTES_MAX: usize = 32 << 10;
const FIELDS_MAX: usize = 64;

/// Bytes of a request, which is all head; None while it is incomplete.
fn request_length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    match httparse::Request::new(&mut fields).parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => Ok(Some(length)),
        Ok(httparse::Status::Complete(_)) => Err(invalid("bytes follow the request")),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(error) => Err(invalid(&error.to_string())),
    }
}

/// Bytes of a response, head and body; None while the head is incomplete.
fn response_length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => {
            let field = response.headers.iter().find(|f| f.name.eq_ignore_ascii_case("content-length"));
            let body = field.and_then(|f| std::str::from_utf8(f.value).ok()?.parse::<usize>().ok());
            Ok(Some(head + body.ok_or_else(|| invalid("no content length"))?))
        }
        Ok(httparse::Status::Partial) => Ok(None),
        Err(error) => Err(invalid(&error.to_string())),
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_complete_with_its_empty_line() {
        assert_eq!(request_length(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap(), None);
        assert_eq!(request_length(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap(), Some(27));
        assert!(request_length(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET").is_err());
    }

    #[test]
    fn a_response_is_as_long_as_its_head_and_what_it_announces() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 128\r\n\r\n";
        assert_eq!(response_length(head).unwrap(), Some(head.len() + 128));
        assert!(response_length(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
