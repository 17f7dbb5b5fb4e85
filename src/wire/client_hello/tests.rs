use super::properties::in_records;
use super::*;
use proptest::prelude::*;
use std::path::Path;

fn long(bytes: &[u8]) -> Vec<u8> {
    [u16::try_from(bytes.len()).unwrap().to_be_bytes().as_slice(), bytes].concat()
}

fn short(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [kind.to_be_bytes().as_slice(), &long(content)].concat()
}

fn sni(name: &[u8]) -> Vec<u8> {
    extension(0, &long(&[&[0], long(name).as_slice()].concat()))
}

fn alpn(protocols: &[&[u8]]) -> Vec<u8> {
    let list: Vec<u8> = protocols.iter().flat_map(|protocol| short(protocol)).collect();
    extension(16, &long(&list))
}

/// The message around `extensions`, without a record.
fn message(extensions: &[u8]) -> Vec<u8> {
    let body = [
        [3, 3].as_slice(),
        &[7; 32],
        &short(&[8; 32]),
        &long(&[0x1a, 0x1a, 0x13, 0x01]),
        &short(&[0]),
        &long(extensions),
    ]
    .concat();
    with_head(&body)
}

fn with_head(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1], &length[1..], body].concat()
}

fn record(message: &[u8]) -> Vec<u8> {
    [[22, 3, 1].as_slice(), &long(message)].concat()
}

fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
    record(&message(&extensions.concat()))
}

fn verdict(bytes: &[u8]) -> Result<Progress, HelloError> {
    properties::client_hello(bytes);
    HelloReader::default().read(bytes)
}

fn complete(bytes: &[u8]) -> ClientHello {
    match verdict(bytes) {
        Ok(Progress::Complete(hello)) => hello,
        other => panic!("{other:?}"),
    }
}

fn name_of(name: &[u8]) -> ServerName {
    complete(&hello(&[sni(name)])).server_name
}

#[test]
fn r60_server_names_are_normalised() {
    let long_name = [vec![b'a'; 63], vec![b'b'; 63], vec![b'c'; 63], vec![b'd'; 61]].join(&b'.');
    let expected = String::from_utf8(long_name.clone()).unwrap();
    let names: [(&[u8], &str); 6] = [
        (b"db.example.com", "db.example.com"),
        (b"DB.Example.COM", "db.example.com"),
        (b"db.example.com.", "db.example.com"),
        (b"xn--bcher-kva.example", "xn--bcher-kva.example"),
        (b"_acme.a-b.example1", "_acme.a-b.example1"),
        (&long_name, &expected),
    ];
    for (name, normal) in names {
        assert_eq!(name_of(name), ServerName::Name(normal.into()));
    }
}

#[test]
fn r60_what_is_no_host_name_is_not_used_as_one() {
    let unusable: [&[u8]; 16] = [
        b"",
        b".",
        b"..",
        b"a..b",
        b".a",
        b"a.b..",
        b"db.example.com\0",
        b"db.example.com\0.evil.example",
        b"192.0.2.1",
        b"192.0.2.1.",
        b"2001:db8::1",
        b"[2001:db8::1]",
        b"db.example.com:443",
        b"*.example.com",
        b"b\xc3\xbccher.example",
        b"a b",
    ];
    for name in unusable {
        assert_eq!(name_of(name), ServerName::Unusable, "{}", name.escape_ascii());
    }
    assert_eq!(name_of(&[b'a'; 64]), ServerName::Unusable, "a label of 64 bytes");
    let many_labels = "a.".repeat(126) + "a";
    assert_eq!(name_of(many_labels.as_bytes()), ServerName::Name(many_labels.into()));
    assert_eq!(name_of("ab.".repeat(100).as_bytes()), ServerName::Unusable, "299 bytes");
}

#[test]
fn without_a_name_there_is_none() {
    assert_eq!(complete(&hello(&[])).server_name, ServerName::Absent);
    let other_kind = extension(0, &long(&[&[9], long(b"x").as_slice()].concat()));
    assert_eq!(complete(&hello(&[other_kind])).server_name, ServerName::Absent);
    // Before TLS 1.3 a hello could end behind the compressions.
    let ancient = [[3, 1].as_slice(), &[7; 32], &short(b""), &long(&[0, 5]), &short(&[0])].concat();
    let ancient = complete(&record(&with_head(&ancient)));
    assert_eq!((ancient.server_name, ancient.versions.newest()), (ServerName::Absent, Some(0)));
}

#[test]
fn protocols_and_versions_are_read_without_grease() {
    let versions = extension(43, &short(&[0x3a, 0x3a, 3, 4, 3, 3, 3, 4]));
    let read = complete(&hello(&[
        extension(0x2a2a, b""),
        versions,
        alpn(&[b"\x5a\x5a", b"h2", b"http/1.1", b"jj"]),
        extension(0xfafa, b"\0"),
    ]));
    assert_eq!(read.protocols.iter().collect::<Vec<_>>(), [b"h2".as_slice(), b"http/1.1"]);
    assert!(read.protocols.contains(b"h2") && !read.protocols.contains(b"\x5a\x5a"));
    assert_eq!(
        (read.versions.newest(), read.versions.contains(2), read.versions.contains(1)),
        (Some(3), true, false)
    );
    assert!(!read.encrypted);
    let plain = complete(&hello(&[]));
    assert_eq!((plain.versions.newest(), plain.versions.contains(0)), (Some(2), true));
    assert!(plain.protocols.is_empty());
}

#[test]
fn r159_the_outer_name_of_an_encrypted_hello_counts() {
    let read = complete(&hello(&[sni(b"public.example"), extension(0xfe0d, &[0; 300])]));
    assert_eq!((read.server_name.name(), read.encrypted), (Some("public.example"), true));
}

#[test]
fn r60_hellos_are_read_over_any_records() {
    // As long as one with post-quantum keys, and longer than one segment.
    let keys = extension(51, &[1; 1300]);
    let whole = hello(&[keys, sni(b"db.example.com"), alpn(&[b"h2"])]);
    let expected = complete(&whole);
    assert!(whole.len() > 1400);
    for length in [3, 4, 5, 100, 1000] {
        assert_eq!(complete(&in_records(&whole, length)), expected);
    }
    let with_early_data = [whole.as_slice(), &[23, 3, 3, 0, 1, 0]].concat();
    assert_eq!(complete(&with_early_data), expected);
    let with_garbage = [whole.as_slice(), b"garbage"].concat();
    assert_eq!(complete(&with_garbage), expected, "what follows is not ours to judge");
}

#[test]
fn r159_what_is_not_tls_is_known_from_its_first_bytes() {
    let first_wrong: [(&[u8], HelloError); 9] = [
        (b"G", HelloError::NotTls),
        (b"\0", HelloError::NotTls),
        (b"\x80", HelloError::NotTls),
        (b"\x15", HelloError::NotTls),
        (b"\x16\x02", HelloError::NotTls),
        (b"\x16\x03\x05", HelloError::NotTls),
        (b"\x16\x03\x01\0\0", HelloError::Malformed),
        (b"\x16\x03\x01\x40\x01", HelloError::Malformed),
        (b"\x16\x03\x01\0\x10\x02", HelloError::Malformed),
    ];
    for (bytes, error) in first_wrong {
        assert_eq!(verdict(bytes), Err(error), "{}", bytes.escape_ascii());
        assert_eq!(verdict(&bytes[..bytes.len() - 1]), Ok(Progress::Partial));
    }
}

#[test]
fn r60_a_hello_ends_within_16_kib() {
    let sized = |padding: usize| hello(&[sni(b"a.example"), extension(21, &vec![0; padding])]);
    let overhead = sized(0).len();
    let longest = sized(HELLO_BYTES_MAX - overhead);
    assert_eq!(longest.len(), HELLO_BYTES_MAX);
    assert_eq!(complete(&longest).server_name.name(), Some("a.example"));
    let too_long = sized(HELLO_BYTES_MAX - overhead + 1);
    assert_eq!(verdict(&too_long), Err(HelloError::TooLong));
    assert_eq!(verdict(&too_long[..9]), Err(HelloError::TooLong), "its length says so at once");
    assert_eq!(verdict(&[22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff]), Err(HelloError::TooLong));
    // One byte in each record: the heads count.
    let in_pieces = in_records(&sized(3000), 1);
    assert_eq!(verdict(&in_pieces), Err(HelloError::TooLong));
    assert_eq!(verdict(&in_pieces[..HELLO_BYTES_MAX]), Err(HelloError::TooLong));
    assert_eq!(verdict(&in_pieces[..HELLO_BYTES_MAX - 1]), Ok(Progress::Partial));
}

#[test]
fn r60_what_could_be_read_in_two_ways_is_refused() {
    let two_names = long(&[[0].as_slice(), &long(b"a"), &[0], &long(b"b")].concat());
    let body =
        |tail: &[u8]| [[3, 3].as_slice(), &[7; 32], &short(b""), &long(&[0, 5]), &short(&[0]), tail].concat();
    let malformed: [Vec<u8>; 16] = [
        hello(&[sni(b"a"), sni(b"a")]),
        hello(&[alpn(&[b"h2"]), alpn(&[b"h2"])]),
        hello(&[extension(0, &two_names)]),
        hello(&[extension(0, b"")]),
        hello(&[extension(0, &long(b""))]),
        hello(&[extension(0, b"\0\x05\0\0\x09abc")]),
        hello(&[extension(0, b"\0\x04\0\0\x01a\0")]),
        hello(&[extension(16, &long(b""))]),
        hello(&[alpn(&[b""])]),
        hello(&[extension(16, b"\0\x03\x09h2")]),
        hello(&[extension(43, b"\x03\x03\x04\x03")]),
        hello(&[extension(43, b"\0")]),
        record(&with_head(&body(b"\0"))),
        record(&with_head(&body(b"\0\0\0"))),
        record(&with_head(&body(b"\0\x09\0\0\0\0"))),
        record(&with_head(&[3, 3])),
    ];
    for bytes in malformed {
        assert_eq!(verdict(&bytes), Err(HelloError::Malformed), "{}", bytes.escape_ascii());
    }
    let other_record_between = [&record(&message(b"")[..20]), [23, 3, 3, 0, 1, 0].as_slice()].concat();
    assert_eq!(verdict(&other_record_between), Err(HelloError::Malformed));
}

#[test]
fn seeds_of_the_fuzz_target_hold_their_properties() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/client_hello");
    let entries = std::fs::read_dir(seeds).expect("the target has seeds");
    let mut with_name = 0;
    let mut count = 0;
    for entry in entries {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        properties::client_hello(&bytes);
        let read = HelloReader::default().read(&bytes);
        with_name +=
            usize::from(matches!(read, Ok(Progress::Complete(hello)) if hello.server_name.name().is_some()));
        count += 1;
    }
    assert!(count >= 15 && with_name >= 8, "{count} seeds, {with_name} with a name");
}

fn cases() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn r60_holds_for_random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        properties::client_hello(&bytes);
        properties::client_hello(&record(&bytes.iter().copied().chain([0]).collect::<Vec<_>>()));
        properties::client_hello(&record(&with_head(&bytes)));
        properties::client_hello(&hello(std::slice::from_ref(&bytes)));
        properties::client_hello(&hello(&[sni(&bytes), alpn(&[&bytes])]));
    }

    #[test]
    fn r60_holds_for_a_hello_with_one_wrong_byte(at in any::<prop::sample::Index>(), wrong in any::<u8>()) {
        let mut bytes = hello(&[sni(b"db.example.com"), alpn(&[b"h2", b"http/1.1"]), extension(43, &short(&[3, 4]))]);
        let at = at.index(bytes.len());
        bytes[at] = wrong;
        properties::client_hello(&bytes);
    }
}
