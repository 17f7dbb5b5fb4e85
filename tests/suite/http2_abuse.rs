//! HTTP/2 as a weapon: what costs more than it brings ends with a named cause, memory stays bounded, and other clients
//! are served meanwhile.

use crate::harness::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, Http2Client, Line, PING,
    PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, request, request_with,
};
use crate::harness::{Gate, Io, Load, Origin, Reply, Ringway, Setup, wait_until};
use crate::http2_rules::{caused, ended};
use std::time::Duration;

fn start(origin: &Origin, io: Io) -> Ringway {
    Setup { listener: "http2 \"cleartext\"", ..Setup::to(origin.address()) }.start(io)
}

fn client(ringway: &Ringway) -> Http2Client {
    Http2Client::connect(ringway.address("web"))
}

/// Sends `bytes` over and over until the connection has ended, and returns how often that went well. It is a failure
/// when it goes well `most` times.
fn flood(client: &mut Http2Client, most: usize, mut bytes: impl FnMut(usize) -> Vec<u8>) -> usize {
    for turn in 0..most {
        if !client.try_send(&bytes(turn)) {
            return turn;
        }
        // Read now and then, so that answers do not hold up the flood.
        if turn % 64 == 63 && matches!(client.read_for(Duration::from_millis(1)), Line::Closed | Line::Reset)
        {
            return turn;
        }
    }
    panic!("nobody stopped it");
}

both! {
    fn r28_rapid_reset_ends_the_connection_and_nobody_elses(io) {
        let origin = Origin::start(|request| match request.target() {
            "/victim" => Reply::ok("x"),
            _ => Reply::silence(),
        });
        let ringway = start(&origin, io);
        let mut attacker = client(&ringway);
        let block = block(&request("GET", "/victim"));
        let sent = flood(&mut attacker, 20_000, |turn| {
            let stream = u32::try_from(turn).expect("few") * 2 + 1;
            let mut both = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block);
            both.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
            both
        });
        assert_eq!(attacker.ending().unwrap_or(ENHANCE_YOUR_CALM), ENHANCE_YOUR_CALM);
        wait_until("the cause", || ended(&ringway, "http2_resets") == 1);
        // What is taken back in the same breath never gets to the origin.
        assert!(origin.requests().len() < sent.min(200), "{} of {sent} requests", origin.requests().len());
        assert_eq!(client(&ringway).get("/victim").text(), "x");
        ringway.stop_after(origin);
    }

    fn r29_resets_that_a_client_provokes_count_as_its_own(io) {
        let origin = Origin::ok("x");
        let ringway = start(&origin, io);
        let ordinary = block(&request("GET", "/"));
        let malformed = block(&request_with("GET", "/", &[("connection", "close")]));
        let open = |stream: u32| frame(HEADERS, END_HEADERS, stream, &ordinary);
        type Trigger<'a> = (&'a str, Box<dyn Fn(u32) -> Vec<u8> + 'a>);
        let triggers: Vec<Trigger<'_>> = vec![
            ("a malformed request", Box::new(|stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &malformed))),
            ("a window of zero", Box::new(|stream| [open(stream), frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat())),
            ("a window that overflows", Box::new(|stream| {
                [open(stream), frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff])].concat()
            })),
            ("a priority of itself", Box::new(|stream| {
                [open(stream), frame(PRIORITY, 0, stream, &[&stream.to_be_bytes()[..], &[16]].concat())].concat()
            })),
            ("a head after the end", Box::new(|stream| {
                let head = frame(HEADERS, END_HEADERS | END_STREAM, stream, &ordinary);
                [head.clone(), head].concat()
            })),
        ];
        for (before, (what, trigger)) in (0..).zip(&triggers) {
            let mut attacker = client(&ringway);
            flood(&mut attacker, 20_000, |turn| trigger(u32::try_from(turn).expect("few") * 2 + 1));
            wait_until(what, || {
                let causes = ["http2_resets", "http2_frames", "http2_protocol"];
                causes.iter().map(|cause| ended(&ringway, cause)).sum::<u64>() > before
            });
        }
        assert!(ended(&ringway, "http2_resets") >= 3, "{}", ringway.admin("/metrics").text());
        assert!(caused(&ringway, "http2_stream") > 100);
        assert_eq!(client(&ringway).get("/").text(), "x");
        ringway.stop_after(origin);
    }

    fn r30_continuations_without_end_are_cut_off(io) {
        let origin = Origin::ok("x");
        let ringway = start(&origin, io);
        for (what, piece) in [("empty ones", &b""[..]), ("small ones", b"\x00\x01x\x01y")] {
            let mut attacker = client(&ringway);
            attacker.send(frame(HEADERS, END_STREAM, 1, &block(&request("GET", "/"))));
            let sent = flood(&mut attacker, 100_000, |_| frame(CONTINUATION, 0, 1, piece));
            assert!(sent < 100_000, "{what}");
        }
        let mut large = client(&ringway);
        let long = block(&request_with("GET", "/", &[("x-long", &"v".repeat(200 << 10))]));
        for (place, piece) in long.chunks(16 << 10).enumerate() {
            large.send(frame(if place == 0 { HEADERS } else { CONTINUATION }, 0, 1, piece));
        }
        assert_eq!(large.ending().unwrap_or(ENHANCE_YOUR_CALM), ENHANCE_YOUR_CALM);
        wait_until("three causes", || ended(&ringway, "http2_head") == 3);
        assert!(origin.requests().is_empty());
        ringway.stop_after(origin);
    }

    fn r31_bombs_of_fields_are_defused(io) {
        let origin = Origin::ok("x");
        let ringway = Setup { top: "workers 1\n", listener: "http2 \"cleartext\"", ..Setup::to(origin.address()) }.start(io);
        let before = ringway.resident_bytes();
        // One field goes into the table, then thousands of single bytes refer to it.
        for references in [100usize, 1000, 10_000, 15_000] {
            let mut attacker = client(&ringway);
            attacker.gives_windows = false;
            let mut wire_bytes = 0;
            for turn in 0..100 {
                let mut bytes = block(&request("GET", "/"));
                if turn == 0 {
                    bytes.extend([0x40, 1, b'a', 1, b'b']);
                }
                bytes.extend(std::iter::repeat_n(0xbe, references));
                wire_bytes += bytes.len();
                if !attacker.try_send(&frame(HEADERS, END_HEADERS, turn * 2 + 1, &bytes)) {
                    break;
                }
            }
            attacker.read_for(Duration::from_millis(300));
            let grown = ringway.resident_bytes().saturating_sub(before);
            assert!(
                grown < (4 << 20) + 4 * wire_bytes as u64,
                "{grown} bytes for {references} references in {wire_bytes} bytes"
            );
        }
        assert!(origin.requests().is_empty());
        assert_eq!(client(&ringway).get("/").text(), "x");
        ringway.stop_after(origin);
    }

    fn r31_cookies_in_crumbs_have_a_bound_and_are_not_fields(io) {
        let origin = Origin::ok("x");
        let ringway = start(&origin, io);
        let mut client = client(&ringway);
        let mut with = |crumbs: usize| {
            let stream = client.ask(&request_with("GET", "/", &vec![("cookie", "a=b"); crumbs]));
            client.answer(stream).status()
        };
        assert_eq!((with(150), with(256), with(257)), (200, 200, 431));
        ringway.stop_after((client, origin));
    }

    fn r31_heads_of_all_requests_together_have_a_bound(io) {
        let gate = Gate::default();
        let held = gate.clone();
        let origin = Origin::start(move |_| Reply::default().then_wait(&held).then("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"));
        let ringway = start(&origin, io);
        let mut client = client(&ringway);
        let long = "v".repeat(14 << 10);
        let fields = request_with("GET", "/", &[("x-long", &long)]);
        let streams: Vec<_> = (0..30).map(|_| client.ask(&fields)).collect();
        client.ping();
        wait_until("the rest is refused", || caused(&ringway, "http2_heads") > 0);
        gate.open();
        let statuses: Vec<_> = streams.into_iter().map(|stream| client.answer(stream).status()).collect();
        let served = statuses.iter().filter(|status| **status == 200).count();
        assert!((17..=19).contains(&served), "{statuses:?}");
        assert_eq!(client.get("/").status(), 200);
        ringway.stop_after((client, origin));
    }

    fn r33_floods_of_frames_that_move_nothing_end_the_connection(io) {
        let origin = Origin::ok("x");
        let ringway = start(&origin, io);
        let load = Load::start(ringway.address("web"), 1);
        let floods: [(&str, Vec<u8>); 6] = [
            ("PING", frame(PING, 0, 0, &[0; 8])),
            ("SETTINGS", frame(SETTINGS, 0, 0, &[])),
            ("PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
            ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
            ("empty DATA", frame(DATA, 0, 1, b"")),
            ("unknown frames", frame(0x42, 0, 0, b"unknown")),
        ];
        for (place, (what, bytes)) in floods.into_iter().enumerate() {
            let mut attacker = client(&ringway);
            attacker.is_polite = false;
            if what == "empty DATA" {
                attacker.open(&request("POST", "/"), 0);
            }
            let sent = flood(&mut attacker, 200_000, |_| bytes.clone());
            let code = attacker.ending();
            assert!(code.is_none_or(|code| code == ENHANCE_YOUR_CALM || code == 0), "{what}: {code:?} after {sent}");
            wait_until(what, || ended(&ringway, "http2_frames") == place as u64 + 1);
        }
        let (answered, bad) = load.stop();
        assert!(answered > 0 && bad.is_empty(), "{bad:?}");
        ringway.stop_after(origin);
    }

    fn r33_an_attacker_that_does_not_read_gets_no_more_answers(io) {
        let origin = Origin::ok("x");
        let ringway = Setup { top: "workers 1\n", listener: "http2 \"cleartext\"", ..Setup::to(origin.address()) }.start(io);
        let before = ringway.resident_bytes();
        let mut attacker = client(&ringway);
        attacker.is_polite = false;
        let ping = frame(PING, 0, 0, &[0; 8]).repeat(100);
        for _ in 0..2_000 {
            if !attacker.try_send(&ping) {
                break;
            }
        }
        let grown = ringway.resident_bytes().saturating_sub(before);
        assert!(grown < 2 << 20, "{grown} bytes of acknowledgements");
        ringway.stop_after((attacker, origin));
    }

    fn r41_frames_on_a_stream_that_was_reset_do_nothing(io) {
        let origin = Origin::ok("x");
        let ringway = start(&origin, io);
        let mut client = client(&ringway);
        for _ in 0..20 {
            let stream = client.take_stream();
            let bytes = [
                frame(HEADERS, END_HEADERS, stream, &block(&request("POST", "/evil"))),
                frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]),
                frame(DATA, END_STREAM, stream, b"after the end"),
            ];
            client.send(bytes.concat());
        }
        assert!(matches!(client.read_for(Duration::from_millis(200)), Line::Silent | Line::Closed | Line::Reset));
        assert!(origin.requests().is_empty(), "{:?}", origin.requests());
        assert_eq!(self::client(&ringway).get("/").text(), "x");
        ringway.stop_after((client, origin));
    }
}
