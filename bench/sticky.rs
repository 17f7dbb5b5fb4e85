//! What a session costs: reading the cookie of a request, and writing the one of a response.

use crate::balance::endpoint;
use crate::{Case, Operation, repeated};
use base::ids::EndpointId;
use base::limits::HttpLimits;
use std::hint::black_box;
use std::time::Duration;
use traffic::snapshot::Endpoint;
use traffic::sticky::{Attributes, Key, SameSite, Sticky};
use wire::h1::RequestReader;
use wire::http::{Request, RequestHead};

const NOW: Duration = Duration::from_secs(1_800_000_000);

pub(crate) fn sessions() -> Vec<Case> {
    vec![
        Case::new("sticky", "read-cookie", || read(10)),
        Case::new("sticky", "read-cookie-10000", || read(10_000)),
        Case::new("sticky", "write-set-cookie", write),
    ]
}

fn sticky(count: u32) -> Sticky {
    let attributes = Attributes {
        name: "ringway_route".into(),
        max_age: Some(Duration::from_secs(3600)),
        path: "/".into(),
        domain: None,
        secure: true,
        http_only: true,
        same_site: SameSite::Lax,
    };
    let endpoints: Vec<Endpoint> = (0..count).map(endpoint).collect();
    Sticky::build(Key::kept(b"thirty-two random bytes or more."), attributes, "bench", &endpoints)
}

fn read(count: u32) -> Operation {
    let sticky = sticky(count);
    let held = EndpointId(count / 2);
    let mut line = Vec::new();
    sticky.write_set_cookie(&mut line, held, NOW);
    let set = String::from_utf8(line).expect("a line of text");
    let value = set.trim_start_matches("Set-Cookie: ").split(';').next().expect("name and value");
    let text = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: theme=dark; {value}\r\n\r\n");
    let mut head = RequestHead::default();
    RequestReader::new(&HttpLimits::DEFAULT).read(text.as_bytes(), &mut head).expect("a request");
    repeated(move || {
        let session = sticky.session(Request::new(&head, text.as_bytes()), NOW);
        assert_eq!(black_box(session).endpoint(), Some(held));
    })
}

fn write() -> Operation {
    let sticky = sticky(10);
    let mut line = Vec::new();
    repeated(move || {
        line.clear();
        sticky.write_set_cookie(&mut line, EndpointId(3), NOW);
        black_box(&line);
    })
}
