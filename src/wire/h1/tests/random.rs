//! Properties over random input, and over the seeds of the fuzz targets.

use std::path::Path;

use proptest::prelude::*;

use super::properties;

/// Pieces of which heads are made, well-formed ones and others.
const PIECES: &[&str] = &[
    "GET",
    "POST",
    "OPTIONS",
    "CONNECT",
    " ",
    "/",
    "/a",
    "/../",
    "/./",
    "//",
    "?",
    "*",
    "http://a",
    "%2e",
    "%2f",
    "%",
    ".",
    ";",
    "\t",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 204 x\r\n",
    "HTTP/1.0 200\r\n",
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    "Host: a\r\n",
    "Host: [::1]:80\r\n",
    "Host:",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close, x\r\n",
    "Connection: upgrade\r\n",
    "Upgrade: websocket\r\n",
    "Upgrade: h2c\r\n",
    "Expect: 100-continue\r\n",
    "X: y\r\n",
    "X_Y: z\r\n",
    "x:",
    ":",
    ",",
    "\0",
    "\u{e9}",
    "My-Field:  v  \r\n",
];

const CHUNK_PIECES: &[&str] = &[
    "0",
    "1",
    "5",
    "a",
    "F",
    "10",
    "\r\n",
    "\n",
    "\r",
    ";",
    "=",
    "\"",
    "\\",
    "a=b",
    ";x=\"y\"",
    "hello",
    "x",
    ": ",
    "A: b\r\n",
    " ",
    "\t",
    "0\r\n\r\n",
    "1\r\nx\r\n",
    "5\r\nhello\r\n",
    "ffffffffffffffff",
    "\0",
];

fn assembled(pieces: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(pieces), 0..most)
        .prop_map(|pieces| pieces.concat().into_bytes())
}

/// A request that is well-formed by construction.
fn well_formed() -> impl Strategy<Value = Vec<u8>> {
    let method = prop::sample::select(vec!["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "PURGE"]);
    let path = "(/[a-zA-Z0-9._~-]{0,6}|/%4[1-9a]|/%e4%bd){1,6}(\\?[ -~&&[^ #\\\\\"<>%]]{0,12})?";
    let host = "[a-z]{1,8}(\\.[a-z]{1,8}){0,2}(:[1-9][0-9]{0,3})?";
    let fields = prop::collection::vec(("[a-zA-Z][a-zA-Z0-9-]{0,12}x", "[!-~]([ -~]{0,20}[!-~])?"), 0..27);
    let framing = prop::sample::select(vec!["", "Content-Length: 7\r\n", "Transfer-Encoding: chunked\r\n"]);
    (method, path, host, fields, framing).prop_map(|(method, path, host, fields, framing)| {
        let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}{framing}\r\n").into_bytes()
    })
}

/// No regression files: proptest would put their directory beside this crate, where Cargo takes it for another member
/// of the workspace. An input that broke a property goes into the seeds of the fuzz targets.
fn cases() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn r26_r27_hold_for_random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        properties::request_head(&bytes);
        properties::response_head(&bytes);
        properties::round_trip(&bytes);
        properties::chunked_body(&bytes);
    }

    #[test]
    fn r26_r27_hold_for_heads_made_of_pieces(bytes in assembled(PIECES, 24)) {
        properties::request_head(&bytes);
        properties::request_head_split_anywhere(&bytes);
        properties::round_trip(&bytes);
        properties::response_head(&[b"\0", bytes.as_slice()].concat());
    }

    #[test]
    fn the_chunk_decoder_agrees_with_the_model(bytes in assembled(CHUNK_PIECES, 24), step in 1..9_u8) {
        properties::chunked_body(&[&[step], bytes.as_slice()].concat());
    }

    #[test]
    fn r26_r27_hold_for_well_formed_requests_and_for_one_wrong_byte(
        bytes in well_formed(), at in any::<prop::sample::Index>(), wrong in any::<u8>()
    ) {
        properties::request_head(&bytes);
        properties::round_trip(&bytes);
        let mut bytes = bytes;
        let at = at.index(bytes.len());
        bytes[at] = wrong;
        properties::request_head(&bytes);
        properties::round_trip(&bytes);
    }

    #[test]
    fn well_formed_requests_are_accepted(bytes in well_formed()) {
        let read = super::request(&bytes);
        // `/..` segments may rise above the root; nothing else can be wrong.
        let rises = bytes.windows(3).any(|three| three == b"/..");
        prop_assert!(read.is_ok() || rises, "{:?}: {}", read.err(), bytes.escape_ascii());
    }
}

#[test]
fn seeds_of_the_fuzz_targets_hold_their_properties() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    let seeds_of = |target: &str| {
        let entries = std::fs::read_dir(seeds.join(target)).expect("every target has seeds");
        let seeds =
            entries.map(|entry| std::fs::read(entry.expect("seeds are readable").path()).expect("a file"));
        let seeds: Vec<Vec<u8>> = seeds.collect();
        assert!(seeds.len() >= 10, "{target} has {} seeds", seeds.len());
        seeds
    };
    seeds_of("request_head").iter().for_each(|bytes| properties::request_head(bytes));
    seeds_of("response_head").iter().for_each(|bytes| properties::response_head(bytes));
    seeds_of("chunked_body").iter().for_each(|bytes| properties::chunked_body(bytes));
    seeds_of("round_trip").iter().for_each(|bytes| properties::round_trip(bytes));
}
