//! Responses that are compressed: what curl makes of them, how soon they come, and what stays as it is.

use crate::harness::client::{Client, Response};
use crate::harness::tls;
use crate::harness::{Gate, Origin, Received, Reply, Ringway, Setup};
use std::io::Read;

const COMPRESS: &str = "compress \"zstd\" \"br\" \"gzip\"";

/// Neither all alike nor without any order: 300 KB, of which a quarter cannot be made smaller.
fn page() -> String {
    let mut state = 7_u32;
    let mut text = String::with_capacity(300_000);
    while text.len() < 300_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text +=
            &format!("<li class=\"item\"><a href=\"/products/{state:08x}\">Item {}</a></li>\n", state % 100);
    }
    text
}

fn chunked(body: &str, piece: usize) -> String {
    let mut text = String::new();
    for piece in body.as_bytes().chunks(piece) {
        text += &format!("{:x}\r\n{}\r\n", piece.len(), String::from_utf8_lossy(piece));
    }
    text + "0\r\n\r\n"
}

fn answer(request: &Received) -> Reply {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nETag: \"v1\"\r\nAccept-Ranges: bytes\r\n";
    let body = page();
    match request.target() {
        "/length" => Reply::bytes(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())),
        "/chunked" => {
            Reply::bytes(format!("{head}Transfer-Encoding: chunked\r\n\r\n{}", chunked(&body, 5000)))
        }
        "/close" => Reply::bytes(format!("{head}Connection: close\r\n\r\n{body}")).then_close(),
        "/pieces" => {
            Reply::bytes(format!("{head}Content-Length: {}\r\n\r\n", body.len())).then_in_pieces(body, 20_000)
        }
        "/cut" => {
            Reply::bytes(format!("{head}Content-Length: {}\r\n\r\n{}", body.len() + 1, body)).then_close()
        }
        "/part" => Reply::bytes(
            "HTTP/1.1 206 Partial Content\r\nContent-Type: text/html\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\nab",
        ),
        "/head" => Reply::bytes(format!("{head}Content-Length: {}\r\n\r\n", body.len())),
        other => panic!("nobody asks for {other}"),
    }
}

fn get(ringway: &Ringway, method: &str, path: &str, fields: &str) -> Response {
    ringway.client().send(format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n")).response(method)
}

/// What has been read of a chunked body, chunk by chunk.
fn next_chunk(client: &mut Client) -> Vec<u8> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.extend(client.exactly(1));
    }
    let size = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).expect("the size of a chunk");
    let mut chunk = client.exactly(size + 2);
    chunk.truncate(size);
    chunk
}

/// What a decoder can read of a body that has not ended.
fn so_far(coded: &[u8]) -> String {
    let mut text = Vec::new();
    // The end is missing, and the decoder says so after what it could read.
    let _ = flate2::read::GzDecoder::new(coded).read_to_end(&mut text);
    String::from_utf8(text).expect("it is text")
}

both! {
    /// X3: what curl decodes is what the endpoint has sent, over both versions of HTTP, with every coding, however the
    /// endpoint frames it; and it is a fraction of the bytes.
    fn x3_curl_gets_the_same_page_in_fewer_bytes(io) {
        let origin = Origin::start(answer);
        let setup = Setup { listener: "http2 \"cleartext\"", route: COMPRESS, ..Setup::to(origin.address()) };
        let ringway = setup.start(io);
        let body = page();
        let mut requests = 0;
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            for coding in ["zstd", "br", "gzip"] {
                for path in ["/length", "/chunked", "/close", "/pieces"] {
                    let accepts = format!("Accept-Encoding: {coding}");
                    let url = format!("http://{}{path}", ringway.address("web"));
                    let args = ["--silent", "--show-error", "--max-time", "20", version, "--compressed", "--header", &accepts, &url];
                    let said = tls::run("curl", &args, b"");
                    assert!(said.text == body, "{version} {coding} {path}: {} bytes", said.text.len());
                    requests += 1;
                }
            }
        }
        for record in ringway.records(requests) {
            let (before, after) = (record["bytes_uncoded"].as_u64(), record["bytes_out"].as_u64());
            assert_eq!(before, Some(body.len() as u64), "{record}");
            assert!(after.is_some_and(|after| after > 0 && after < body.len() as u64 / 3), "{record}");
        }
        assert_eq!(ringway.counted("ringway_compressed_responses"), requests as u64);
        assert_eq!(ringway.counted("ringway_compress_received_bytes"), (requests * body.len()) as u64);
        assert!(ringway.counted("ringway_compress_sent_bytes") < (requests * body.len()) as u64 / 3);
        ringway.stop_after(origin);
    }

    /// X3: the head tells what was done, and what is not to be touched is as it was without `compress`.
    fn x3_heads_tell_what_was_done(io) {
        let origin = Origin::start(answer);
        let routes = "route \"/part\" upstream=\"origin\"\nroute \"/off/\" upstream=\"origin\" { compress \"off\"; rewrite { strip-prefix \"/off\"; }; }";
        let ringway = Setup { route: COMPRESS, routes, ..Setup::to(origin.address()) }.start(io);
        let coded = get(&ringway, "GET", "/length", "Accept-Encoding: gzip;q=0.5, br;q=0.9\r\n");
        let field = |name| coded.head.get(name);
        assert_eq!((field("content-encoding"), field("vary")), (Some("br"), Some("Accept-Encoding")));
        assert_eq!((field("etag"), field("accept-ranges"), field("content-length")), (Some("W/\"v1\""), None, None));
        assert_eq!(field("transfer-encoding"), Some("chunked"));
        assert!(!coded.closes());
        let head = get(&ringway, "HEAD", "/head", "Accept-Encoding: gzip\r\n");
        assert_eq!((head.head.get("content-encoding"), head.head.get("content-length")), (Some("gzip"), None));
        for (fields, version) in [("", "1.1"), ("Accept-Encoding: gzip;q=0\r\n", "1.1"), ("Accept-Encoding: gzip\r\nHost: x\r\n", "1.0")] {
            let host = if version == "1.1" { "Host: x\r\n" } else { "" };
            let plain = ringway.client().send(format!("GET /length HTTP/{version}\r\n{host}{fields}\r\n")).response("GET");
            assert!(plain.text() == page(), "{fields}");
            assert_eq!((plain.head.get("content-encoding"), plain.head.get("etag")), (None, Some("\"v1\"")));
            assert_eq!((plain.head.get("vary"), plain.head.get("accept-ranges")), (Some("Accept-Encoding"), Some("bytes")));
        }
        let part = get(&ringway, "GET", "/part", "Accept-Encoding: gzip\r\nRange: bytes=0-1\r\n");
        assert_eq!((part.status, part.text().as_str(), part.head.get("content-encoding")), (206, "ab", None));
        let off = get(&ringway, "GET", "/off/length", "Accept-Encoding: gzip\r\n");
        assert_eq!((off.head.get("content-encoding"), off.head.get("vary")), (None, None));
        assert!(off.text() == page());
        let (_, told, _) = ringway.command(&["explain", "GET", "http://x/length", "-H", "Accept-Encoding: gzip"]);
        assert!(told.contains("compressed with gzip"), "{told}");
        let (_, told, _) = ringway.command(&["explain", "GET", "http://x/length"]);
        assert!(told.contains("no response is compressed"), "{told}");
        ringway.stop_after(origin);
    }

    /// X3: nothing that has arrived is held back while the endpoint is silent, whether it says that it sends events or not.
    fn x3_events_come_when_they_happen(io) {
        for content_type in ["text/event-stream", "text/html"] {
            let (first, second) = (Gate::default(), Gate::default());
            let (one, two) = (first.clone(), second.clone());
            let origin = Origin::start(move |_| {
                let event = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
                Reply::bytes(format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"))
                    .then(event("data: 1\n\n"))
                    .then_wait(&one)
                    .then(event("data: 2\n\n"))
                    .then_wait(&two)
                    .then("0\r\n\r\n")
            });
            let ringway = Setup { route: "compress \"gzip\"", ..Setup::to(origin.address()) }.start(io);
            let mut client = ringway.client();
            client.send("GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n");
            let head = client.head().unwrap_or_else(|broken| panic!("{}", broken.describe()));
            assert_eq!(head.get("content-encoding"), Some("gzip"));
            let mut coded = Vec::new();
            for (gate, all) in [(&first, "data: 1\n\n"), (&second, "data: 1\n\ndata: 2\n\n")] {
                while so_far(&coded) != all {
                    coded.extend(next_chunk(&mut client));
                }
                gate.open();
            }
            loop {
                let chunk = next_chunk(&mut client);
                if chunk.is_empty() {
                    break;
                }
                coded.extend(chunk);
            }
            let mut whole = String::new();
            flate2::read::GzDecoder::new(&coded[..]).read_to_string(&mut whole).expect("it has its end");
            assert_eq!(whole, "data: 1\n\ndata: 2\n\n");
            // The connection carries another request.
            assert_eq!(origin.connections(), 1);
            drop(client);
            ringway.stop_after(origin);
        }
    }

    /// X3: a body that is cut does not look complete, and a client that leaves gives the compressor back.
    fn x3_cut_bodies_and_clients_that_leave(io) {
        let origin = Origin::start(|request| match request.target() {
            "/endless" => Reply::bytes("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000000\r\n\r\nx").then_echo(),
            _ => answer(request),
        });
        let ringway = Setup { route: COMPRESS, ..Setup::to(origin.address()) }.start(io);
        let mut client = ringway.client();
        let cut = client.send("GET /cut HTTP/1.1\r\nHost: x\r\nAccept-Encoding: zstd\r\n\r\n").try_response("GET");
        assert!(cut.is_err(), "a cut body looks complete");
        for coding in ["zstd", "br", "gzip"] {
            let mut client = ringway.client();
            client.send(format!("GET /endless HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {coding}\r\n\r\n"));
            let head = client.head().unwrap_or_else(|broken| panic!("{}", broken.describe()));
            assert_eq!(head.get("content-encoding"), Some(coding));
            client.reset();
        }
        ringway.records(4);
        crate::harness::wait_until("all compressors are back", || {
            ringway.admin("/metrics").text().lines().any(|line| line == "ringway_compressors_bytes 0")
        });
        ringway.stop_after(origin);
    }

    /// X3: where the memory for compressors is used up, the response goes as it is, until one comes back.
    fn x3_without_memory_for_a_compressor_the_response_goes_as_it_is(io) {
        let origin = Origin::start(|_| Reply::bytes("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000000\r\n\r\nx").then_echo());
        let ringway = Setup { top: "workers 1", route: "compress \"br\"", ..Setup::to(origin.address()) }.start(io);
        let ask = || {
            let mut client = ringway.client();
            client.send("GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: br\r\n\r\n");
            let head = client.head().unwrap_or_else(|broken| panic!("{}", broken.describe()));
            assert_eq!(head.get("vary"), Some("Accept-Encoding"));
            (client, head.get("content-encoding").is_some())
        };
        // 64 MiB by 3 MiB.
        let mut busy: Vec<Client> = Vec::new();
        for _ in 0..21 {
            let (client, is_coded) = ask();
            assert!(is_coded, "{} are under way", busy.len());
            busy.push(client);
        }
        let (mut plain, is_coded) = ask();
        assert!(!is_coded);
        assert_eq!(plain.exactly(1), b"x");
        assert!(ringway.admin("/metrics").text().contains("ringway_compress_kept_total{reason=\"memory\"} 1"));
        plain.reset();
        busy.into_iter().for_each(Client::reset);
        crate::harness::wait_until("all compressors are back", || {
            ringway.admin("/metrics").text().lines().any(|line| line == "ringway_compressors_bytes 0")
        });
        let (client, is_coded) = ask();
        assert!(is_coded);
        client.reset();
        ringway.stop_after(origin);
    }
}
