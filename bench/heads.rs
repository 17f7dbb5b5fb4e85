//! Reading and writing the heads of messages.

use crate::{Case, Operation, repeated};
use base::limits::HttpLimits;
use std::hint::black_box;
use wire::h1::{Progress, RequestReader, ResponseReader, encode};
use wire::http::{Known, Method, Request, RequestHead, Response, ResponseHead};

/// What wrk sends.
pub(crate) const WRK: &str = "GET /s HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";

/// A navigation of a browser: twenty fields.
pub(crate) const BROWSER: &str = "GET /catalogue/shoes/running?colour=blue&size=42&sort=price HTTP/1.1\r\n\
    Host: shop.example.com\r\n\
    Connection: keep-alive\r\n\
    Cache-Control: max-age=0\r\n\
    Sec-CH-UA: \"Chromium\";v=\"142\", \"Not_A Brand\";v=\"99\"\r\n\
    Sec-CH-UA-Mobile: ?0\r\n\
    Sec-CH-UA-Platform: \"Linux\"\r\n\
    DNT: 1\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-User: ?1\r\n\
    Sec-Fetch-Dest: document\r\n\
    Referer: https://shop.example.com/catalogue/shoes?colour=blue\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9,de;q=0.7\r\n\
    Cookie: session=7f9c2ba4e88f827d616045507605853e; theme=dark; consent=all\r\n\
    If-None-Match: \"5f3c-18a2b3c4d5e\"\r\n\
    Priority: u=0, i\r\n\r\n";

/// What nginx answers for a small resource.
const RESPONSE: &str = "HTTP/1.1 200 OK\r\n\
    Server: nginx/1.22.1\r\n\
    Date: Mon, 23 Nov 2026 10:00:00 GMT\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 128\r\n\
    Last-Modified: Sun, 22 Nov 2026 08:00:00 GMT\r\n\
    ETag: \"656f1a2b-80\"\r\n\
    Cache-Control: public, max-age=60\r\n\
    Connection: keep-alive\r\n\r\n";

pub(crate) fn parsing() -> Vec<Case> {
    vec![
        Case::new("decode", "wrk-request", || read_request(WRK)),
        Case::new("decode", "browser-request", || read_request(BROWSER)),
        Case::new("decode", "response", read_response),
    ]
}

pub(crate) fn serialising() -> Vec<Case> {
    vec![
        Case::new("relay", "write-wrk-request", || write_request(WRK)),
        Case::new("relay", "write-browser-request", || write_request(BROWSER)),
        Case::new("relay", "write-response", write_response),
    ]
}

/// The head of `text`, which must be complete.
pub(crate) fn request(text: &str) -> RequestHead {
    let mut head = RequestHead::default();
    let progress = RequestReader::new(&HttpLimits::DEFAULT).read(text.as_bytes(), &mut head);
    assert_eq!(progress, Ok(Progress::Complete(text.len())), "{text}");
    head
}

fn read_request(text: &'static str) -> Operation {
    let mut reader = RequestReader::new(&HttpLimits::DEFAULT);
    let mut head = RequestHead::default();
    repeated(move || {
        reader.reset();
        head.clear();
        let progress = reader.read(black_box(text.as_bytes()), &mut head);
        assert_eq!(progress, Ok(Progress::Complete(text.len())));
        black_box(&head);
    })
}

fn read_response() -> Operation {
    let mut reader = ResponseReader::new(&HttpLimits::DEFAULT, Method::Get);
    let mut head = ResponseHead::default();
    repeated(move || {
        reader.reset(Method::Get);
        head.clear();
        let progress = reader.read(black_box(RESPONSE.as_bytes()), &mut head);
        assert_eq!(progress, Ok(Progress::Complete(RESPONSE.len())));
        black_box(&head);
    })
}

/// The request as it goes to an endpoint, with the fields that tell about the client.
fn write_request(text: &'static str) -> Operation {
    let head = request(text);
    let mut out = Vec::with_capacity(4096);
    repeated(move || {
        out.clear();
        let request = Request::new(black_box(&head), text.as_bytes());
        encode::request_line(&mut out, request.method(), request.path(), request.query());
        encode::field(&mut out, b"Host", request.authority());
        encode::kept_fields(&mut out, request.bytes, &head.fields, |field| {
            !matches!(field.known, Known::Host | Known::Expect | Known::XForwardedFor | Known::Forwarded)
        });
        encode::field(&mut out, b"X-Forwarded-For", b"192.0.2.7");
        encode::field(&mut out, b"X-Forwarded-Proto", b"http");
        encode::field(&mut out, b"X-Forwarded-Host", request.authority());
        encode::field(&mut out, b"Via", b"1.1 ringway");
        encode::request_framing(&mut out, head.method, head.body);
        encode::end(&mut out);
        black_box(&out);
    })
}

fn write_response() -> Operation {
    let mut head = ResponseHead::default();
    let progress =
        ResponseReader::new(&HttpLimits::DEFAULT, Method::Get).read(RESPONSE.as_bytes(), &mut head);
    assert_eq!(progress, Ok(Progress::Complete(RESPONSE.len())));
    let mut out = Vec::with_capacity(4096);
    repeated(move || {
        out.clear();
        let response = Response::new(black_box(&head), RESPONSE.as_bytes());
        encode::status_line(&mut out, head.status, response.reason());
        encode::kept_fields(&mut out, response.bytes, &head.fields, |_| true);
        encode::response_framing(&mut out, head.status, false, head.body, head.content_length);
        encode::end(&mut out);
        black_box(&out);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_browser_sends_twenty_fields() {
        assert_eq!(request(BROWSER).fields.len(), 20);
    }
}
