//! HTTP/2 towards endpoints: requests of many clients share a connection, and everything else is as with HTTP/1.1.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::harness::http2::{
    CANCEL, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Http2Client, PREFACE, REFUSED_STREAM, RST_STREAM,
    SETTINGS, block, frame, request, request_with,
};
use crate::harness::nginx::Nginx;
use crate::harness::{Gate, Io, Origin, PATIENCE, Reply, Ringway, Setup, wait_until};

/// What the raw endpoint does about the request on a stream; requests are counted from 1 over all connections.
type Script = dyn Fn(&mut TcpStream, u32, usize) + Send + Sync;

/// `h2up`: an endpoint that sends exactly the frames that the test tells it. It does not decode heads.
struct RawEndpoint {
    address: SocketAddr,
    seen: Arc<Seen>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: AtomicUsize,
    ending: std::sync::atomic::AtomicBool,
    /// Codes of RST_STREAM that have come.
    resets: Mutex<Vec<u32>>,
    /// All connections, to end them with the endpoint.
    streams: Mutex<Vec<TcpStream>>,
}

impl RawEndpoint {
    fn start(
        settings: &'static [u8],
        script: impl Fn(&mut TcpStream, u32, usize) + Send + Sync + 'static,
    ) -> RawEndpoint {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (seen, script): (Arc<Seen>, Arc<Script>) = (Arc::default(), Arc::new(script));
        let shared = Arc::clone(&seen);
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.ending.load(Ordering::SeqCst) {
                    return;
                }
                shared.connections.fetch_add(1, Ordering::SeqCst);
                shared.streams.lock().expect("whole").extend(stream.try_clone());
                let (seen, script) = (Arc::clone(&shared), Arc::clone(&script));
                std::thread::spawn(move || drop(talk(stream, settings, &seen, &*script)));
            }
        });
        RawEndpoint { address, seen, acceptor: Some(acceptor) }
    }

    fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::SeqCst)
    }
}

impl Drop for RawEndpoint {
    fn drop(&mut self) {
        self.seen.ending.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for stream in self.seen.streams.lock().expect("whole").drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn talk(mut stream: TcpStream, settings: &[u8], seen: &Seen, script: &Script) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut preface = [0; 24];
    stream.read_exact(&mut preface)?;
    assert_eq!(preface, PREFACE);
    stream.write_all(&frame(SETTINGS, 0, 0, settings))?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload)?;
        let (kind, flags) = (head[3], head[4]);
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        match kind {
            SETTINGS if flags == 0 => stream.write_all(&frame(SETTINGS, 1, 0, &[]))?,
            RST_STREAM => {
                let code = u32::from_be_bytes(payload[..4].try_into().expect("four bytes"));
                seen.resets.lock().expect("whole").push(code);
            }
            _ => {}
        }
        if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
            let number = 1 + seen.requests.fetch_add(1, Ordering::SeqCst);
            script(&mut stream, id, number);
        }
    }
}

fn send(stream: &mut TcpStream, frames: &[Vec<u8>]) {
    // Whoever has gone hears nothing.
    let _ = stream.write_all(&frames.concat());
}

fn answer(id: u32, body: &[u8]) -> [Vec<u8>; 2] {
    [frame(HEADERS, END_HEADERS, id, &block(&[(":status", "200")])), frame(DATA, END_STREAM, id, body)]
}

fn to(endpoint: SocketAddr, io: Io) -> Ringway {
    Setup {
        upstream: "protocol \"h2c\"",
        listener: "http2 \"cleartext\"",
        top: "workers 1\n",
        ..Setup::to(endpoint)
    }
    .start(io)
}

const SIZES: [usize; 4] = [0, 1, 16 << 10, 1 << 20];

fn body_of(size: usize) -> Vec<u8> {
    (0..size).map(|at| b"abcdefghij"[at % 10]).collect()
}

both! {
    fn bodies_and_trailers_pass_whatever_both_sides_speak(io) {
        let origin = Origin::start(|request| {
            let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Te: ".to_vec();
            bytes.extend(request.head.get("te").unwrap_or("none").bytes());
            bytes.extend(b"\r\n\r\n");
            let size: usize = request.target().trim_start_matches('/').parse().unwrap_or(0);
            if size > 0 {
                bytes.extend(format!("{size:x}\r\n").bytes());
                bytes.extend(body_of(size));
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\nX-Sum: 7\r\n\r\n");
            Reply::bytes(bytes)
        });
        // The endpoint that speaks HTTP/2 is another Ringway, in front of an origin of HTTP/1.1.
        let inner = Setup { listener: "http2 \"cleartext\"", ..Setup::to(origin.address()) }.start(io);
        // Both stay: the connection between them ends when it has been idle for long enough.
        let upstream = "protocol \"h2c\"\ntimeouts { keep-alive \"1s\" }";
        let setup = Setup { upstream, listener: "http2 \"cleartext\"", ..Setup::to(inner.address("web")) };
        let ringway = setup.start(io);
        let (mut one, mut two) = (ringway.client(), Http2Client::connect(ringway.address("web")));
        for size in SIZES {
            let body = body_of(size);
            let arrived = |sum: Option<&str>| {
                let received = origin.requests().pop().expect("a request");
                let trailers = sum.map(|sum| ("x-sum".to_owned(), sum.to_owned()));
                assert_eq!((received.body == body, received.trailers), (true, Vec::from_iter(trailers)), "{size}");
            };
            let fields = "Host: x\r\nTE: trailers\r\nTransfer-Encoding: chunked";
            let mut sent = format!("POST /{size} HTTP/1.1\r\n{fields}\r\n\r\n").into_bytes();
            if size > 0 {
                sent.extend(format!("{size:x}\r\n").bytes());
                sent.extend(&body);
                sent.extend(b"\r\n");
            }
            sent.extend(b"0\r\nX-Sum: 42\r\n\r\n");
            one.send(sent);
            let response = one.response("POST");
            assert_eq!((response.status, response.body == body), (200, true), "{size}");
            assert_eq!(response.trailers, [("x-sum".to_owned(), "7".to_owned())], "{size}");
            assert_eq!(response.head.get("x-te"), Some("trailers"));
            arrived(Some("42"));

            let stream = two.open(&request_with("POST", &format!("/{size}"), &[]), 0);
            // More than a frame would need more than this client knows of windows.
            let up = &body[..size.min(16 << 10)];
            two.data(stream, up, false);
            two.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&[("x-sum", "43")])));
            let answer = two.answer(stream);
            assert_eq!((answer.status(), answer.body == body, answer.reset), (200, true, None), "{size}");
            assert_eq!(answer.heads.last(), Some(&vec![("x-sum".to_owned(), "7".to_owned())]), "{size}");
            let received = origin.requests().pop().expect("a request");
            assert_eq!((received.body == up, received.trailers.len()), (true, 1), "{size}");

            let put = format!("PUT /{size} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n");
            one.send([put.as_bytes(), &body].concat());
            let response = one.response("PUT");
            assert_eq!((response.body == body, response.trailers.len()), (true, 0), "{size} of known length");
            arrived(None);
        }
        one.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(one.response("HEAD").status, 200);
        ringway.stop_after((one, two));
        inner.stop_after(origin);
    }

    fn requests_of_many_clients_share_one_connection(io) {
        let gate = Gate::default();
        let held = gate.clone();
        let endpoint = RawEndpoint::start(&[], move |stream, id, _| {
            // The first request is answered when all have come.
            if id == 41 {
                for id in (1..=41).step_by(2) {
                    send(stream, &answer(id, id.to_string().as_bytes()));
                }
                held.open();
            }
        });
        let ringway = to(endpoint.address, io);
        let mut clients: Vec<_> = (0..21).map(|_| ringway.client()).collect();
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        gate.wait();
        let mut bodies: Vec<u32> =
            clients.iter_mut().map(|client| client.response("GET").text().parse().expect("a number")).collect();
        bodies.sort_unstable();
        assert_eq!(bodies, Vec::from_iter((1..=41).step_by(2)));
        assert_eq!(endpoint.connections(), 1);
        ringway.stop_after((clients, endpoint));
    }

    fn what_the_endpoint_has_not_processed_is_repeated_even_if_it_is_a_post(io) {
        for goaway in [false, true] {
            let endpoint = RawEndpoint::start(&[], move |stream, id, number| {
                let frames = match (number, goaway) {
                    (1, false) => vec![frame(RST_STREAM, 0, id, &REFUSED_STREAM.to_be_bytes())],
                    // No stream at all was processed.
                    (1, true) => vec![frame(GOAWAY, 0, 0, &[0; 8])],
                    _ => answer(id, b"done").to_vec(),
                };
                send(stream, &frames);
            });
            let ringway = to(endpoint.address, io);
            let mut client = ringway.client();
            client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
            let response = client.response("POST");
            assert_eq!((response.status, response.text().as_str()), (200, "done"), "GOAWAY: {goaway}");
            assert_eq!((endpoint.requests(), endpoint.connections()), (2, 1 + usize::from(goaway)));
            let record = ringway.records(1).remove(0);
            assert_eq!(record["attempts"], 2);
            ringway.stop_after((client, endpoint));
        }
    }

    fn a_reset_of_the_endpoint_is_an_answer_with_its_cause_and_a_post_is_not_repeated(io) {
        let endpoint = RawEndpoint::start(&[], |stream, id, _| {
            send(stream, &[frame(RST_STREAM, 0, id, &2u32.to_be_bytes())]);
        });
        let ringway = to(endpoint.address, io);
        let mut client = ringway.client();
        client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(client.response("POST").status, 502);
        assert_eq!(endpoint.requests(), 1);
        assert_eq!(ringway.records(1).remove(0)["cause"], "upstream_reset_headers");
        ringway.stop_after((client, endpoint));
    }

    fn nonsense_of_the_endpoint_is_told_from_a_reset(io) {
        let endpoint = RawEndpoint::start(&[], |stream, id, _| {
            send(stream, &[frame(HEADERS, END_HEADERS | END_STREAM, id, &block(&[("x-no", "status")]))]);
        });
        let ringway = to(endpoint.address, io);
        let mut client = ringway.client();
        client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.response("POST").status, 502);
        ringway.stop_after((client, endpoint));
    }

    fn a_client_that_leaves_cancels_its_stream_and_nobody_elses(io) {
        let endpoint = RawEndpoint::start(&[], |stream, id, number| {
            if number > 1 {
                send(stream, &answer(id, b"here"));
            }
        });
        let ringway = to(endpoint.address, io);
        let mut staying = ringway.client();
        let mut leaving = Http2Client::connect(ringway.address("web"));
        let stream = leaving.ask(&request("GET", "/"));
        wait_until("the request has come", || endpoint.requests() == 1);
        leaving.send(frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
        wait_until("it is cancelled", || endpoint.seen.resets.lock().expect("whole").as_slice() == [CANCEL]);
        assert_eq!(staying.get("/").text(), "here");
        assert_eq!(endpoint.connections(), 1);
        ringway.stop_after((leaving, staying, endpoint));
    }

    fn no_more_streams_are_opened_on_a_connection_than_the_endpoint_allows(io) {
        // SETTINGS_MAX_CONCURRENT_STREAMS of 1: the second request needs another connection or waits.
        let gate = Gate::default();
        let held = gate.clone();
        let endpoint = RawEndpoint::start(&[0, 3, 0, 0, 0, 1], move |stream, id, number| {
            if number == 1 {
                held.open();
                return;
            }
            send(stream, &answer(id, b"x"));
        });
        let ringway = to(endpoint.address, io);
        let mut first = ringway.client();
        first.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        gate.wait();
        let mut second = ringway.client();
        assert_eq!(second.get("/").text(), "x");
        assert_eq!(endpoint.connections(), 2);
        ringway.stop_after((first, second, endpoint));
    }

    fn nginx_serves_files_over_http2(io) {
        let nginx = Nginx::start_with(" http2", |root| {
            format!("location / {{ root {root}; }} location /ok {{ return 200 'nginx $server_protocol'; }}")
        });
        let ringway = to(nginx.address(), io);
        let (mut one, mut two) = (ringway.client(), Http2Client::connect(ringway.address("web")));
        assert_eq!(one.get("/ok").text(), "nginx HTTP/2.0");
        for (name, size) in [("128b", 128), ("16k", 16 << 10), ("1m", 1 << 20)] {
            assert_eq!(one.get(&format!("/{name}")).body.len(), size, "{name}");
            let stream = two.ask(&request("GET", &format!("/{name}")));
            assert_eq!(two.answer(stream).body.len(), size, "{name}");
        }
        ringway.stop_after((one, two, nginx));
    }
}
