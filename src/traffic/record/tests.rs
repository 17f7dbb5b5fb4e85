use super::*;
use proptest::prelude::*;

fn full() -> Record<'static> {
    Record {
        time_unix_ns: 1_790_000_000_123_456_789,
        request_id: (1, u64::MAX),
        client: "2001:db8::1".parse().unwrap(),
        listener: "web",
        method: b"GET",
        host: b"shop.example",
        path: b"/api/\xff\0x",
        query: Some(b""),
        status: 502,
        cause: Some(Cause::Internal),
        grpc_status: Some(crate::grpc::Status::UNAVAILABLE),
        route: "shop.example /api/",
        upstream: "api",
        endpoint: "10.0.0.1:3001",
        consumer: "acme",
        auth: "jwt:corp",
        attempts: 2,
        bytes_in: 78,
        bytes_out: 1 << 40,
        user_agent: b"curl/8",
        referer: b"https://a.example/",
        tls: Some(TlsRecord {
            is_13: true,
            resumed: true,
            cipher: "TLS13_AES_128_GCM_SHA256",
            server_name: "shop.example",
            client: "spiffe://example/billing",
            fingerprint: Some([7; 32]),
        }),
        phases_us: std::array::from_fn(|n| u32::try_from(n).unwrap()),
        total_us: u32::MAX,
        ..Record::EMPTY
    }
}

fn encoded(record: &Record<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    record.encode(&mut out);
    out
}

#[test]
fn a_record_is_read_as_it_was_written() {
    for record in [full(), Record::EMPTY] {
        assert_eq!(Record::decode(&encoded(&record)), Ok(record));
    }
}

#[test]
fn every_cause_and_version_survives() {
    for &cause in Cause::ALL {
        let record = Record { cause: Some(cause), ..full() };
        assert_eq!(Record::decode(&encoded(&record)).unwrap().cause, Some(cause));
    }
    for version in [Version::Http10, Version::Http11, Version::Http2, Version::Http3] {
        let record = Record { version, ..full() };
        assert_eq!(Record::decode(&encoded(&record)).unwrap().version, version);
    }
    assert!(Cause::ALL.len() < 255, "a cause and its absence must fit into a byte");
}

#[test]
fn long_texts_are_cut_at_their_bounds_and_the_record_stays_within_its_own() {
    let long = vec![b'x'; 100_000];
    let name = "é".repeat(200);
    let record = Record {
        method: &long,
        host: &long,
        path: &long,
        query: Some(&long),
        user_agent: &long,
        referer: &long,
        listener: &name,
        route: &name,
        upstream: &name,
        endpoint: &name,
        tls: full().tls.map(|tls| TlsRecord { cipher: &name, server_name: &name, client: &name, ..tls }),
        ..full()
    };
    let bytes = encoded(&record);
    assert!(bytes.len() <= RECORD_BYTES_MAX, "{}", bytes.len());
    let read = Record::decode(&bytes).unwrap();
    assert_eq!((read.path.len(), read.query.unwrap().len()), (PATH_BYTES_MAX, QUERY_BYTES_MAX));
    assert_eq!((read.user_agent.len(), read.referer.len()), (USER_AGENT_BYTES_MAX, REFERER_BYTES_MAX));
    assert_eq!(read.listener, "é".repeat(127), "cut between characters");
}

#[test]
fn a_shortened_or_lengthened_record_is_refused() {
    let bytes = encoded(&full());
    for len in 0..bytes.len() {
        assert_eq!(Record::decode(&bytes[..len]), Err(RecordError::Truncated), "{len}");
    }
    assert_eq!(Record::decode(&[bytes, vec![0]].concat()), Err(RecordError::Excess));
}

#[test]
fn the_encoding_does_not_allocate_when_the_buffer_is_reused() {
    let mut out = encoded(&full());
    let before = out.capacity();
    out.clear();
    full().encode(&mut out);
    assert_eq!(out.capacity(), before);
}

proptest! {
    #![proptest_config(crate::testing::cases(256))]

    #[test]
    fn no_bytes_make_the_reader_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Record::decode(&bytes);
        // The same behind a valid start, where more of the reader is reached.
        let mut valid = encoded(&full());
        let at = usize::from(*bytes.first().unwrap_or(&0)) % valid.len();
        bytes.truncate(valid.len() - at);
        let end = at + bytes.len();
        valid[at..end].copy_from_slice(&bytes);
        let _ = Record::decode(&valid);
    }

    #[test]
    fn texts_of_any_bytes_survive(
        path in prop::collection::vec(any::<u8>(), 0..300),
        query in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
        user_agent in prop::collection::vec(any::<u8>(), 0..300),
        route in "\\PC{0,60}",
        status in any::<u16>(),
    ) {
        let record =
            Record { path: &path, query: query.as_deref(), user_agent: &user_agent, route: &route, status, ..full() };
        let bytes = encoded(&record);
        prop_assert_eq!(Record::decode(&bytes), Ok(record));
    }
}
