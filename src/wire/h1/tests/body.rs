//! R7, R8, R8b, R9, R22 and R47b: the chunked coding, and bodies in general.

use base::limits::HttpLimits;

use super::*;
use crate::h1::{BodyError, BodyReader, encode};
use crate::http::BodyLength;

/// What comes of a chunked body: payload, or the reason of the refusal.
fn chunked(bytes: impl AsRef<[u8]>) -> Result<String, &'static str> {
    let mut bytes = bytes.as_ref().to_vec();
    for step in [1, 2, 3, 7, 255] {
        properties::chunked_body(&[&[step], bytes.as_slice()].concat());
    }
    let mut reader = BodyReader::new(BodyLength::Chunked, &HttpLimits::DEFAULT);
    let part = reader.read(&mut bytes).map_err(BodyError::reason)?;
    if part.done { Ok(String::from_utf8_lossy(&bytes[part.payload]).into_owned()) } else { Err("partial") }
}

#[test]
fn r7_chunk_sizes_have_one_spelling() {
    for size in [
        "",
        " ",
        "+5",
        "-5",
        "0x5",
        "0X5",
        "5_0",
        " 5",
        "5 ",
        "\t5",
        "5\t",
        "5 5",
        "g",
        "5g",
        "5h",
        "\u{ff15}",
        "5.",
        "5,",
        "\"5\"",
        "'5'",
        "00000000000000005",
        "10000000000000000",
        "fffffffffffffffff",
        "8000000000000000",
        "FFFFFFFFFFFFFFFF",
        "\x005",
        "5\0",
        "5\x0b",
    ] {
        assert_eq!(chunked(format!("{size}\r\nhello\r\n0\r\n\r\n")), Err("bad_chunk_size"), "{size:?}");
    }
    for size in ["5", "05", "0005", "0000000000000005"] {
        assert_eq!(chunked(format!("{size}\r\nhello\r\n0\r\n\r\n")), Ok("hello".to_owned()), "{size:?}");
    }
    assert_eq!(chunked("A\r\n0123456789\r\n000\r\n\r\n"), Ok("0123456789".to_owned()));
    assert_eq!(chunked("7fffffffffffffff\r\nx"), Err("partial"));
}

#[test]
fn r7_data_must_be_as_long_as_its_size_says() {
    for (bytes, reason) in [
        ("5\r\nhellox\r\n0\r\n\r\n", "missing_chunk_end"),
        ("5\r\nhello0\r\n\r\n", "missing_chunk_end"),
        ("4\r\nhello\r\n0\r\n\r\n", "missing_chunk_end"),
        ("5\r\nhello\n0\r\n\r\n", "bare_lf"),
        ("5\r\nhello\rx0\r\n\r\n", "bare_cr"),
        ("5\r\nhello\r\r\n0\r\n\r\n", "bare_cr"),
        ("5\r\nhello\r\n\r\n0\r\n\r\n", "bad_chunk_size"),
        ("\r\n5\r\nhello\r\n0\r\n\r\n", "bad_chunk_size"),
        ("6\r\nhello\r\n0\r\n\r\n", "bare_lf"),
        ("5\r\nhel", "partial"),
        ("5\r\nhello", "partial"),
        ("5\r\nhello\r\n0\r\n", "partial"),
        ("5\r\nhello\r\n0\r\n\r", "partial"),
        ("5\r", "partial"),
    ] {
        assert_eq!(chunked(bytes), Err(reason), "{bytes:?}");
    }
}

#[test]
fn r8_chunk_extensions_are_checked_and_dropped() {
    for extension in [
        ";a",
        ";a=b",
        ";a=b;c",
        ";a;b;c=d",
        ";a=\"b\"",
        ";a=\"\"",
        ";a=\"x;y=z\"",
        ";a=\"\\\"\"",
        ";a=\"\\\\\"",
        ";a=\"\t \";b",
        ";!#$%&'*+-.^_`|~=1",
        ";a=\"\u{e9}\"",
    ] {
        let body = format!("5{extension}\r\nhello\r\n0{extension}\r\n\r\n");
        assert_eq!(chunked(body), Ok("hello".to_owned()), "{extension:?}");
    }
    for (extension, reason) in [
        (";", "bad_chunk_extension"),
        (";;", "bad_chunk_extension"),
        (";=", "bad_chunk_extension"),
        (";=b", "bad_chunk_extension"),
        (";a=", "bad_chunk_extension"),
        (";a==b", "bad_chunk_extension"),
        (";a;", "bad_chunk_extension"),
        (";a=;b", "bad_chunk_extension"),
        (";a b", "bad_chunk_extension"),
        ("; a", "bad_chunk_extension"),
        (" ;a", "bad_chunk_size"),
        (";a =b", "bad_chunk_extension"),
        (";a= b", "bad_chunk_extension"),
        (";a=b ", "bad_chunk_extension"),
        (";a=\"b", "bad_chunk_extension"),
        (";a=\"b\\", "bad_chunk_extension"),
        (";a=\"b\"c", "bad_chunk_extension"),
        (";a=b\"c\"", "bad_chunk_extension"),
        (";a\0", "bad_chunk_extension"),
        (";a=\0", "bad_chunk_extension"),
        (";a=\"\0\"", "bad_chunk_extension"),
        (";a=\"\x7f\"", "bad_chunk_extension"),
        (";a=\x08", "bad_chunk_extension"),
        (";a,b", "bad_chunk_extension"),
        (";\u{e9}", "bad_chunk_extension"),
        (";a\n", "bare_lf"),
        (";\n", "bare_lf"),
        (";a=b\nx", "bare_lf"),
        (";a=\"\n\"", "bare_lf"),
        (";a\rb", "bare_cr"),
        (";a=b\r\r", "bare_cr"),
        ("\n", "bare_lf"),
        ("\rx", "bare_cr"),
    ] {
        assert_eq!(chunked(format!("5{extension}\r\nhello\r\n0\r\n\r\n")), Err(reason), "{extension:?}");
        assert_eq!(
            chunked(format!("1\r\nx\r\n0{extension}\r\n\r\n")),
            Err(reason),
            "{extension:?} on the last chunk"
        );
    }
}

#[test]
fn r8_chunk_extensions_are_bounded_per_chunk_and_per_body() {
    let with = |bytes: usize| format!("1;{}\r\nx\r\n", "a".repeat(bytes - 1));
    assert_eq!(chunked(with(256) + "0\r\n\r\n"), Ok("x".to_owned()));
    assert_eq!(chunked(with(257) + "0\r\n\r\n"), Err("chunk_extension_too_long"));
    assert_eq!(chunked(with(256).repeat(16) + "0\r\n\r\n"), Ok("x".repeat(16)));
    assert_eq!(chunked(with(256).repeat(16) + "0;a\r\n\r\n"), Err("chunk_extension_too_long"));
}

#[test]
fn r8b_an_incomplete_line_is_consumed_and_nothing_is_left_to_look_at_again() {
    let mut reader = BodyReader::new(BodyLength::Chunked, &HttpLimits::DEFAULT);
    for byte in b"5;a=\"b" {
        let part = reader.read(&mut [*byte]).unwrap();
        assert_eq!((part.consumed, part.payload.len(), part.done), (1, 0, false));
    }
    let nothing = reader.read(&mut []).unwrap();
    assert_eq!((nothing.consumed, nothing.done), (0, false));
}

#[test]
fn r22_trailers_are_checked_and_bounded() {
    for trailers in [
        "",
        "A: b\r\n",
        "A:\r\n",
        "Host: evil\r\nContent-Length: 5\r\nX-Forwarded-For: 1\r\n",
        "A: \u{e9}\t\r\n",
    ] {
        assert_eq!(chunked(format!("1\r\nx\r\n0\r\n{trailers}\r\n")), Ok("x".to_owned()), "{trailers:?}");
    }
    for (trailers, reason) in [
        (" A: b\r\n", "bad_trailer"),
        ("A: b\r\n c\r\n", "bad_trailer"),
        ("A : b\r\n", "bad_trailer"),
        (": b\r\n", "bad_trailer"),
        ("A\r\n", "bad_trailer"),
        ("A(: b\r\n", "bad_trailer"),
        ("A: \0\r\n", "bad_trailer"),
        ("A: \x7f\r\n", "bad_trailer"),
        ("A: b\n", "bare_lf"),
        ("\n", "bare_lf"),
        ("A\n: b\r\n", "bare_lf"),
        ("A: b\rc\r\n", "bare_cr"),
        ("\rx", "bare_cr"),
    ] {
        assert_eq!(chunked(format!("1\r\nx\r\n0\r\n{trailers}\r\n")), Err(reason), "{trailers:?}");
    }
    let fields = |count: usize| format!("0\r\n{}\r\n", "A: b\r\n".repeat(count));
    assert_eq!(chunked(fields(100)), Ok(String::new()));
    assert_eq!(chunked(fields(101)), Err("trailers_too_large"));
    let bytes = |count: usize| format!("0\r\nA: {}\r\n\r\n", "b".repeat(count - "A: \r\n\r\n".len()));
    assert_eq!(chunked(bytes(32 << 10)), Ok(String::new()));
    assert_eq!(chunked(bytes((32 << 10) + 1)), Err("trailers_too_large"));
}

#[test]
fn r22_trailers_are_kept_as_far_as_they_travel_on_whatever_the_pieces() {
    let body =
        b"1\r\nx\r\n0\r\nX-A:1\r\nHost: evil\r\nX-B: \t 2 3 \r\nTransfer-Encoding: chunked\r\nX-C:\r\n\r\n";
    for size in 1..=body.len() {
        let mut reader = BodyReader::new(BodyLength::Chunked, &HttpLimits::DEFAULT);
        for piece in body.chunks(size) {
            reader.read(&mut piece.to_vec()).unwrap();
        }
        assert!(reader.is_done());
        assert_eq!(reader.take_trailers(), b"X-A: 1\r\nX-B: 2 3\r\nX-C: \r\n", "pieces of {size}");
        assert_eq!(reader.take_trailers(), b"", "once");
    }
}

#[test]
fn r22_trailers_share_the_budget_of_the_head() {
    let read = |head_bytes: u32, fields: usize| {
        let mut reader =
            BodyReader::new(BodyLength::Chunked, &HttpLimits::DEFAULT).after_head(head_bytes, fields);
        reader.read(&mut b"0\r\nA: b\r\n\r\n".to_vec()).map(|part| part.done)
    };
    let limit = HttpLimits::DEFAULT.header_bytes_max;
    assert_eq!(read(limit - 8, 99), Ok(true));
    assert_eq!(read(limit - 7, 0), Err(BodyError::TrailersTooLarge));
    assert_eq!(read(0, 100), Err(BodyError::TrailersTooLarge));
    assert_eq!(read(u32::MAX, 70_000), Err(BodyError::TrailersTooLarge));
}

#[test]
fn bodies_of_known_length_end_at_their_length() {
    let mut reader = BodyReader::new(BodyLength::Length(5), &HttpLimits::DEFAULT);
    assert_eq!(reader.remaining(), Some(5));
    let part = reader.read(&mut b"abc".to_vec()).unwrap();
    assert_eq!((part.consumed, part.payload, part.done), (3, 0..3, false));
    assert_eq!((reader.remaining(), reader.on_eof()), (Some(2), Err(BodyError::Truncated)));
    let part = reader.read(&mut b"deGET".to_vec()).unwrap();
    assert_eq!((part.consumed, part.payload, part.done), (2, 0..2, true));
    assert_eq!((reader.remaining(), reader.payload_bytes(), reader.on_eof()), (Some(0), 5, Ok(())));
    let part = reader.read(&mut b"GET".to_vec()).unwrap();
    assert_eq!((part.consumed, part.done), (0, true));
}

#[test]
fn bodies_until_close_end_with_the_connection() {
    let mut reader = BodyReader::for_response(BodyLength::UntilClose, &HttpLimits::DEFAULT);
    let part = reader.read(&mut b"abc".to_vec()).unwrap();
    assert_eq!((part.consumed, part.payload, part.done), (3, 0..3, false));
    assert_eq!((reader.remaining(), reader.is_done()), (None, false));
    assert_eq!(reader.on_eof(), Ok(()));
    assert!(reader.is_done());
}

#[test]
fn r104_a_body_that_is_cut_is_never_complete() {
    let body = b"5\r\nhello\r\n3;a=b\r\nxyz\r\n0\r\nA: b\r\n\r\n";
    for cut in 0..body.len() {
        let mut reader = BodyReader::for_response(BodyLength::Chunked, &HttpLimits::DEFAULT);
        assert!(!reader.read(&mut body[..cut].to_vec()).unwrap().done, "cut at {cut}");
        assert_eq!(reader.on_eof(), Err(BodyError::Truncated), "cut at {cut}");
    }
}

#[test]
fn request_bodies_have_a_limit_and_response_bodies_have_none() {
    let limits = HttpLimits { body_bytes_max: 8, ..HttpLimits::DEFAULT };
    let read = |mut reader: BodyReader, bytes: &[u8]| reader.read(&mut bytes.to_vec()).map(|part| part.done);
    let too_large = Err(BodyError::TooLarge { limit_bytes: 8 });
    assert_eq!(read(BodyReader::new(BodyLength::Length(8), &limits), b"12345678"), Ok(true));
    assert_eq!(read(BodyReader::new(BodyLength::Length(9), &limits), b""), too_large);
    assert_eq!(
        read(BodyReader::new(BodyLength::Chunked, &limits), b"4\r\n1234\r\n4\r\n5678\r\n0\r\n\r\n"),
        Ok(true)
    );
    assert_eq!(read(BodyReader::new(BodyLength::Chunked, &limits), b"4\r\n1234\r\n5\r\n"), too_large);
    assert_eq!(read(BodyReader::for_response(BodyLength::Length(9), &limits), b"123456789"), Ok(true));
    let mut split = BodyReader::new(BodyLength::Chunked, &limits);
    assert!(split.read(&mut b"8\r\n1234".to_vec()).is_ok());
    assert!(split.read(&mut b"5678\r\n".to_vec()).is_ok());
    assert_eq!(split.read(&mut b"1\r\n".to_vec()), Err(BodyError::TooLarge { limit_bytes: 8 }));
    assert_eq!(BodyError::TooLarge { limit_bytes: 8 }.status(), 413);
}

#[test]
fn the_rest_of_a_chunk_is_known_while_it_comes() {
    let mut reader = BodyReader::new(BodyLength::Chunked, &HttpLimits::DEFAULT);
    assert_eq!(reader.remaining(), None);
    reader.read(&mut b"5\r\nhe".to_vec()).unwrap();
    assert_eq!(reader.remaining(), Some(3));
    reader.read(&mut b"llo".to_vec()).unwrap();
    assert_eq!(reader.remaining(), None);
}

#[test]
fn r47b_what_we_frame_decodes_to_what_was_in_hand() {
    for bytes in [1, 9, 15, 16, 255, 256, 4_095, 4_096, 65_536] {
        let payload = vec![b'x'; bytes];
        let mut framed = encode::chunk_header(bytes).as_slice().to_vec();
        framed.extend_from_slice(&payload);
        framed.extend_from_slice(encode::CHUNK_END);
        framed.extend_from_slice(encode::LAST_CHUNK);
        assert_eq!(chunked(framed), Ok("x".repeat(bytes)));
    }
}

#[test]
fn a_body_without_a_framing_of_its_own_may_pass_unread() {
    let mut body = BodyReader::new(BodyLength::Length(10), &HttpLimits::DEFAULT);
    let mut bytes = *b"0123";
    assert_eq!(body.read(&mut bytes).map(|part| part.consumed), Ok(4));
    assert_eq!(body.unframed(), Some(6));
    assert!(!body.pass(5));
    assert_eq!((body.unframed(), body.on_eof()), (Some(1), Err(BodyError::Truncated)));
    assert!(body.pass(1) && body.is_done());
    assert_eq!((body.unframed(), body.payload_bytes(), body.on_eof()), (None, 10, Ok(())));

    let mut body = BodyReader::new(BodyLength::UntilClose, &HttpLimits::DEFAULT);
    assert_eq!(body.unframed(), Some(u64::MAX));
    assert!(!body.pass(1 << 40));
    assert_eq!((body.on_eof(), body.payload_bytes()), (Ok(()), 1 << 40));

    assert_eq!(BodyReader::new(BodyLength::Chunked, &HttpLimits::DEFAULT).unframed(), None);
    assert_eq!(BodyReader::new(BodyLength::None, &HttpLimits::DEFAULT).unframed(), None);
}
