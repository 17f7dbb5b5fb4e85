//! From a finished exchange to a line of the access log: encoded by a worker, decoded and written out by the log's thread.

use crate::{Case, Operation, repeated};
use control_plane::Formatter;
use std::hint::black_box;
use traffic::record::Record;

pub(crate) fn logging() -> Vec<Case> {
    vec![
        Case::new("finish", "encode-record", encode),
        Case::new("finish", "json-line", || line(Formatter::json())),
        Case::new("finish", "combined-line", || line(Formatter::combined())),
    ]
}

/// The exchange of a browser.
fn record() -> Record<'static> {
    Record {
        time_unix_ns: 1_790_000_000_123_456_789,
        request_id: (0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210),
        client: [192, 0, 2, 7].into(),
        listener: "web",
        method: b"GET",
        host: b"shop.example.com",
        path: b"/catalogue/shoes/running",
        query: Some(b"colour=blue&size=42&sort=price"),
        status: 200,
        route: "shop.example.com /catalogue",
        upstream: "catalogue",
        endpoint: "10.0.0.1:8080",
        attempts: 1,
        bytes_in: 1024,
        bytes_out: 16_500,
        user_agent: b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
        referer: b"https://shop.example.com/catalogue/shoes?colour=blue",
        phases_us: [0, 12, 3, 1, 0, 0, 150, 9, 2_300, 410, 35],
        total_us: 2_920,
        ..Record::EMPTY
    }
}

fn encode() -> Operation {
    let record = record();
    let mut out = Vec::with_capacity(4096);
    repeated(move || {
        out.clear();
        black_box(&record).encode(&mut out);
        black_box(&out);
    })
}

fn line(mut formatter: Formatter) -> Operation {
    let mut encoded = Vec::new();
    record().encode(&mut encoded);
    let mut out = Vec::with_capacity(4096);
    repeated(move || {
        out.clear();
        let record = Record::decode(black_box(&encoded)).expect("encoded just now");
        formatter.line(&record, &mut out);
        black_box(&out);
    })
}
