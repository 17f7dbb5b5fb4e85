use super::*;
use proptest::prelude::*;
use std::path::Path;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2 around `body`.
fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, body].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], u16::try_from(value.len()).unwrap().to_be_bytes().as_slice(), value].concat()
}

/// 192.0.2.1:40000 to 198.51.100.2:443.
const V4: &[u8] = b"\xc0\0\x02\x01\xc6\x33\x64\x02\x9c\x40\x01\xbb";

fn v4_with(tlvs: &[u8]) -> Vec<u8> {
    v2(0x21, 0x11, &[V4, tlvs].concat())
}

fn ends(source: &str, destination: &str) -> Announced<'static> {
    Announced::Ip { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

fn verdict(bytes: &[u8]) -> Result<Progress<'_>, HeaderError> {
    properties::header(bytes);
    read(bytes, HEADER_BYTES_MAX)
}

fn complete(bytes: &[u8]) -> (Header<'_>, usize) {
    match verdict(bytes) {
        Ok(Progress::Complete { header, used }) => (header, used),
        other => panic!("{}: {other:?}", bytes.escape_ascii()),
    }
}

#[test]
fn version_1_names_client_and_destination() {
    let accepted: [(&str, Announced<'_>); 8] = [
        ("PROXY TCP4 192.0.2.1 198.51.100.2 40000 443\r\n", ends("192.0.2.1:40000", "198.51.100.2:443")),
        ("PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", ends("0.0.0.0:0", "255.255.255.255:65535")),
        ("PROXY TCP6 2001:db8::1 ::1 40000 443\r\n", ends("[2001:db8::1]:40000", "[::1]:443")),
        ("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", ends("[::ffff:192.0.2.1]:1", "[::1]:2")),
        (
            "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            ends(
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            ),
        ),
        ("PROXY UNKNOWN\r\n", Announced::Unknown),
        ("PROXY UNKNOWN what ever\r\n", Announced::Unknown),
        (
            "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            Announced::Unknown,
        ),
    ];
    for (line, announced) in accepted {
        let bytes = format!("{line}GET / HTTP/1.1\r\n");
        let (header, used) = complete(bytes.as_bytes());
        assert_eq!(
            (header.version, header.announced, used),
            (Version::V1, announced, line.len()),
            "{line:?}"
        );
    }
}

#[test]
fn r156_version_1_is_refused_unless_it_is_spelt_as_it_must_be() {
    use HeaderError::*;
    let refused: [(&[u8], HeaderError); 30] = [
        (b"GET / HTTP/1.1\r\n", NotAHeader),
        (b"PRI * HTTP/2.0\r\n", NotAHeader),
        (b"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n", NotAHeader),
        (b"PROXY\tTCP4 1.2.3.4 1.2.3.4 1 2\r\n", NotAHeader),
        (b"PROXY\r\n", NotAHeader),
        (b"PROXY \r\n", BadLine),
        (b"PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n", BadLine),
        (b"PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n", BadLine),
        (b"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n", BadLine),
        (b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", BadLine),
        (b"PROXY TCP4\r\n", BadLine),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", BadLine),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", BadLine),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n", BadLine),
        (b"PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n", BadLine),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", BadLine),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\rX", BadLine),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\0\r\n", BadLine),
        (b"PROXY UNKNOWN \xff\r\n", BadLine),
        (b"PROXY UNKNOWN a\tb\r\n", BadLine),
        (b"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n", BadAddress),
        (b"PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n", BadAddress),
        (b"PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n", BadAddress),
        (b"PROXY TCP4 ::1 1.2.3.4 1 2\r\n", BadAddress),
        (b"PROXY TCP6 1.2.3.4 ::1 1 2\r\n", BadAddress),
        (b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", BadAddress),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", BadPort),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", BadPort),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n", BadPort),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 -2\r\n", BadPort),
    ];
    for (bytes, error) in refused {
        assert_eq!(verdict(bytes), Err(error), "{}", bytes.escape_ascii());
    }
}

#[test]
fn r156_version_1_ends_within_107_bytes() {
    let line = |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16)).into_bytes();
    assert_eq!(complete(&line(107)).1, 107);
    let too_long = Err(HeaderError::TooLong { limit_bytes: 107 });
    assert_eq!(verdict(&line(108)), too_long);
    assert_eq!(verdict(&line(400)), too_long);
    assert_eq!(verdict(&line(108)[..107]), too_long, "no byte more is waited for");
    assert_eq!(verdict(&line(107)[..106]), Ok(Progress::Partial));
}

#[test]
fn what_cannot_become_a_header_is_refused_at_the_byte_that_shows_it() {
    let first_wrong: [(&[u8], HeaderError); 8] = [
        (b"G", HeaderError::NotAHeader),
        (b"\x16", HeaderError::NotAHeader),
        (b"PO", HeaderError::NotAHeader),
        (b"\r\n\r\n\0\r\nQUIT\r", HeaderError::NotAHeader),
        (b"\r\n\r\n\0\r\nQUIT\n\x11", HeaderError::BadVersion),
        (b"\r\n\r\n\0\r\nQUIT\n\x22", HeaderError::BadCommand),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x41", HeaderError::BadFamily),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0b", HeaderError::BadLength),
    ];
    for (bytes, error) in first_wrong {
        assert_eq!(verdict(bytes), Err(error), "{}", bytes.escape_ascii());
        assert_eq!(verdict(&bytes[..bytes.len() - 1]), Ok(Progress::Partial), "{}", bytes.escape_ascii());
    }
}

#[test]
fn version_2_names_client_and_destination() {
    let v4 = ends("192.0.2.1:40000", "198.51.100.2:443");
    let v6_ends =
        [&[0x20, 1, 0x0d, 0xb8], [0; 11].as_slice(), &[1], &[0; 15], &[1], b"\x9c\x40\x01\xbb"].concat();
    let v6 = ends("[2001:db8::1]:40000", "[::1]:443");
    let mut paths = [0_u8; 216];
    paths[..6].copy_from_slice(b"/run/a");
    paths[108..112].copy_from_slice(b"\0abs");
    let accepted: [(Vec<u8>, Announced<'_>); 10] = [
        (v2(0x21, 0x11, V4), v4),
        (v2(0x21, 0x12, V4), v4),
        (v2(0x21, 0x21, &v6_ends), v6),
        (v2(0x21, 0x22, &v6_ends), v6),
        (v2(0x21, 0x31, &paths), Announced::Unix { source: b"/run/a", destination: b"\0abs" }),
        (v2(0x21, 0x32, &[0; 216]), Announced::Unix { source: b"", destination: b"" }),
        (v2(0x21, 0x00, b""), Announced::Unknown),
        (v2(0x20, 0x00, b""), Announced::Local),
        (v2(0x20, 0x11, V4), Announced::Local),
        // Whatever a LOCAL header carries is skipped.
        (v2(0x20, 0xff, b"\x01\xff\xff"), Announced::Local),
    ];
    for (header_bytes, announced) in accepted {
        let bytes = [&header_bytes, b"PROXY payload".as_slice()].concat();
        let (header, used) = complete(&bytes);
        assert_eq!((header.version, header.announced, used), (Version::V2, announced, header_bytes.len()));
        assert_eq!(header.tlvs, Tlvs::NONE);
    }
}

#[test]
fn r156_version_2_is_refused_when_its_lengths_disagree() {
    use HeaderError::*;
    let ssl = |value: &[u8]| v4_with(&tlv(0x20, value));
    let refused: [(Vec<u8>, HeaderError); 24] = [
        (v2(0x11, 0x11, V4), BadVersion),
        (v2(0x22, 0x11, V4), BadCommand),
        (v2(0x2f, 0x11, V4), BadCommand),
        (v2(0x21, 0x13, V4), BadFamily),
        (v2(0x21, 0x01, V4), BadFamily),
        (v2(0x21, 0x10, V4), BadFamily),
        (v2(0x21, 0x41, V4), BadFamily),
        (v2(0x21, 0x11, &V4[..11]), BadLength),
        (v2(0x21, 0x21, V4), BadLength),
        (v2(0x21, 0x31, &[0; 215]), BadLength),
        (v4_with(b"\x04"), TlvPastEnd),
        (v4_with(b"\x04\0"), TlvPastEnd),
        (v4_with(b"\x04\0\x01"), TlvPastEnd),
        (v4_with(b"\x04\xff\xffabc"), TlvPastEnd),
        (v4_with(&[tlv(2, b"a.example"), vec![0]].concat()), TlvPastEnd),
        (v4_with(&tlv(3, b"abc")), TlvLength),
        (v4_with(&tlv(3, b"abcd")), BadChecksum),
        (v4_with(&tlv(5, &[1; 129])), TlvLength),
        (v4_with(&tlv(2, &[b'a'; 256])), TlvLength),
        (v4_with(&tlv(2, b"a.example\0.b.example")), TlvNul),
        (v4_with(&tlv(1, b"h2\0")), TlvNul),
        (v4_with(&[tlv(2, b"a"), tlv(2, b"b")].concat()), TlvDuplicate),
        (ssl(b"\x01\0\0\0"), TlvLength),
        (ssl(b"\x01\0\0\0\0\x21\0\x09TLSv1.3"), TlvPastEnd),
    ];
    for (bytes, error) in refused {
        assert_eq!(verdict(&bytes), Err(error), "{}", bytes.escape_ascii());
    }
    assert_eq!(read(&v2(0x21, 0x11, &[0; 200]), 128), Err(TooLong { limit_bytes: 128 }));
}

#[test]
fn facts_behind_the_addresses_are_read() {
    let ssl = [b"\x05\0\0\0\0".as_slice(), &tlv(0x21, b"TLSv1.3"), &tlv(0x22, b"client"), &tlv(0x99, b"\0")]
        .concat();
    let tlvs = [
        tlv(0x04, b""),
        tlv(0x04, b"\0\0"),
        tlv(0x02, b"Shop.Example"),
        tlv(0x01, b"h2"),
        tlv(0x05, b"\0id\xff"),
        tlv(0x20, &ssl),
        tlv(0xee, b"\0own"),
        tlv(0xee, b"twice"),
    ];
    let bytes = v4_with(&tlvs.concat());
    let tlvs = complete(&bytes).0.tlvs;
    assert_eq!((tlvs.authority(), tlvs.alpn()), (Some(b"Shop.Example".as_slice()), Some(b"h2".as_slice())));
    assert_eq!(
        (tlvs.unique_id(), tlvs.find(0xee)),
        (Some(b"\0id\xff".as_slice()), Some(b"\0own".as_slice()))
    );
    assert_eq!(tlvs.iter().count(), 8);
    let ssl = tlvs.ssl().expect("it is there");
    assert!(ssl.is_over_tls() && ssl.is_verified());
    assert_eq!(
        (ssl.tlvs.find(tlv::SSL_VERSION), ssl.tlvs.find(tlv::SSL_CN)),
        (Some(b"TLSv1.3".as_slice()), Some(b"client".as_slice()))
    );
    let unverified = v4_with(&super::tests::tlv(0x20, b"\x07\0\0\0\x01"));
    assert!(!complete(&unverified).0.tlvs.ssl().expect("it is there").is_verified());
}

#[test]
fn r156_any_changed_bit_of_a_protected_header_is_noticed() {
    let mut bytes = Vec::new();
    let announcement = Announcement {
        ends: Some(("192.0.2.1:40000".parse().unwrap(), "198.51.100.2:443".parse().unwrap())),
        authority: Some(b"shop.example"),
        checksum: true,
        ..Announcement::default()
    };
    announcement.write_v2(&mut bytes).unwrap();
    assert_eq!(complete(&bytes).0.tlvs.authority(), Some(b"shop.example".as_slice()));
    for bit in 0..bytes.len() * 8 {
        let mut wrong = bytes.clone();
        wrong[bit / 8] ^= 1 << (bit % 8);
        // Two changes take the checksum out of force: the command becomes LOCAL, or the TLV another one.
        let is_complete = matches!(verdict(&wrong), Ok(Progress::Complete { .. }));
        let unprotects = bit / 8 == 12 || bit / 8 == bytes.len() - 7;
        assert!(!is_complete || unprotects, "bit {bit} of {}", bytes.escape_ascii());
    }
}

#[test]
fn what_is_written_is_what_others_expect() {
    let ends = |source: &str, destination: &str| Announcement {
        ends: Some((source.parse().unwrap(), destination.parse().unwrap())),
        ..Announcement::default()
    };
    let local = Announcement { local: true, authority: Some(b"a"), ..ends("1.2.3.4:5", "6.7.8.9:10") };
    let lines = [
        (ends("192.0.2.1:1", "198.51.100.2:443"), "PROXY TCP4 192.0.2.1 198.51.100.2 1 443\r\n"),
        (ends("[::ffff:192.0.2.1]:1", "198.51.100.2:443"), "PROXY TCP4 192.0.2.1 198.51.100.2 1 443\r\n"),
        (ends("[2001:db8::1]:1", "[::1]:443"), "PROXY TCP6 2001:db8::1 ::1 1 443\r\n"),
        (ends("192.0.2.1:1", "[::1]:443"), "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 443\r\n"),
        (Announcement::default(), "PROXY UNKNOWN\r\n"),
        (local, "PROXY UNKNOWN\r\n"),
    ];
    for (announcement, line) in lines {
        let mut out = Vec::new();
        announcement.write_v1(&mut out);
        assert_eq!(out.escape_ascii().to_string(), line.as_bytes().escape_ascii().to_string());
    }
    let headers = [
        (ends("192.0.2.1:40000", "198.51.100.2:443"), v2(0x21, 0x11, V4)),
        (Announcement::default(), v2(0x21, 0, b"")),
        (local, v2(0x20, 0, b"")),
        (
            Announcement {
                authority: Some(b"a.example"),
                alpn: Some(b"h2"),
                ..ends("192.0.2.1:40000", "198.51.100.2:443")
            },
            v4_with(&[tlv(1, b"h2"), tlv(2, b"a.example")].concat()),
        ),
    ];
    for (announcement, header) in headers {
        let mut out = b"before".to_vec();
        announcement.write_v2(&mut out).unwrap();
        assert_eq!(out, [b"before".as_slice(), &header].concat());
    }
}

#[test]
fn seeds_of_the_fuzz_target_hold_their_properties() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/proxy_header");
    let entries = std::fs::read_dir(seeds).expect("the target has seeds");
    let seeds: Vec<Vec<u8>> = entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(seeds.len() >= 20, "{} seeds", seeds.len());
    seeds.iter().for_each(|bytes| properties::header(bytes));
    let complete =
        seeds.iter().filter(|seed| matches!(read(seed, HEADER_BYTES_MAX), Ok(Progress::Complete { .. })));
    assert!(complete.count() >= 10);
}

fn ip() -> impl Strategy<Value = SocketAddr> {
    let v4 = any::<([u8; 4], u16)>().prop_map(SocketAddr::from);
    let v6 = any::<([u8; 16], u16)>().prop_map(SocketAddr::from);
    prop_oneof![v4, v6]
}

/// Sizes from nothing to more than a header can hold.
fn value() -> impl Strategy<Value = Option<Vec<u8>>> {
    let long = (0..70_000_usize).prop_map(|length| vec![b'x'; length]);
    prop::option::of(prop_oneof![prop::collection::vec(1..=255_u8, 0..120), long])
}

/// No regression files, as with HTTP/1: what broke a property goes into the seeds.
fn cases() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn r157_the_length_that_is_written_is_the_length_of_what_is_written(
        ends in prop::option::of((ip(), ip())), alpn in value(), authority in value(), unique_id in value(),
        local in any::<bool>(), checksum in any::<bool>()
    ) {
        let announcement = Announcement {
            local, ends, checksum,
            alpn: alpn.as_deref(), authority: authority.as_deref(), unique_id: unique_id.as_deref(),
        };
        let mut out = b"before".to_vec();
        match announcement.write_v2(&mut out) {
            Ok(()) => {
                let header = &out[6..];
                let length = u16::from_be_bytes([header[14], header[15]]);
                prop_assert_eq!(usize::from(length) + 16, header.len());
                // Values that are longer than receivers must take are the caller's affair, but never unframe the header.
                if [&alpn, &authority].into_iter().flatten().all(|text| text.len() <= 255)
                    && unique_id.as_ref().is_none_or(|id| id.len() <= 128)
                {
                    let (read, used) = complete(header);
                    prop_assert_eq!(used, header.len());
                    prop_assert_eq!(read.announced == Announced::Local, local);
                    prop_assert_eq!(read.ends().is_some(), ends.is_some() && !local);
                    if !local {
                        prop_assert_eq!(read.tlvs.alpn(), alpn.as_deref());
                        prop_assert_eq!(read.tlvs.authority(), authority.as_deref());
                        prop_assert_eq!(read.tlvs.unique_id(), unique_id.as_deref());
                    }
                }
            }
            Err(TooLong { length_bytes }) => {
                prop_assert!(length_bytes > 65_535);
                prop_assert_eq!(out, b"before");
            }
        }
    }

    #[test]
    fn r156_hold_for_random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        properties::header(&bytes);
        properties::header(&[SIGNATURE, b"\x21", &bytes].concat());
        properties::header(&[b"PROXY ", bytes.as_slice()].concat());
        properties::header(&v4_with(&bytes));
        properties::header(&v4_with(&tlv(0x20, &bytes)));
    }

    #[test]
    fn r156_hold_for_lines_made_of_pieces(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "PROXY", " ", "TCP4", "TCP6", "UNKNOWN", "1.2.3.4", "::1", "ffff:", "65535", "0", "\r", "\n", "\r\n", "\0",
        ]), 0..16)
    ) {
        properties::header(pieces.concat().as_bytes());
    }
}
