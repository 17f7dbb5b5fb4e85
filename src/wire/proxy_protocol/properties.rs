//! What holds for every input, whatever it is: the functions behind the fuzz target, and behind the tests that replay its
//! corpus. Each panics when its property does not hold. Not part of the product.

use super::{Announced, Announcement, HEADER_BYTES_MAX, Header, HeaderError, Progress, Tlvs, Version, read};
use std::net::SocketAddr;

/// A header is read alike whole, byte by byte and cut anywhere; nothing behind it matters; what is understood of it and
/// written again reads back as the same.
pub fn header(bytes: &[u8]) {
    let whole = read(bytes, HEADER_BYTES_MAX);
    assert_eq!(whole, dripped(bytes), "the verdict depends on how the bytes arrive");
    let Ok(Progress::Complete { header, used }) = whole else { return };
    assert!(used <= bytes.len());
    assert_eq!(read(&bytes[..used], HEADER_BYTES_MAX), whole, "what follows the header counts");
    for known in [header.tlvs.alpn(), header.tlvs.authority(), header.tlvs.unique_id()].into_iter().flatten()
    {
        assert!(bytes.as_ptr_range().contains(&known.as_ptr()) || known.is_empty());
    }
    if let Some(ssl) = header.tlvs.ssl() {
        assert!(ssl.tlvs.iter().count() < used);
    }
    round_trip(&header);
}

/// The verdict when every byte arrives alone: that of the first prefix that has one.
fn dripped(bytes: &[u8]) -> Result<Progress<'_>, HeaderError> {
    for end in 0..=bytes.len() {
        match read(&bytes[..end], HEADER_BYTES_MAX) {
            Ok(Progress::Partial) => {}
            verdict => return verdict,
        }
    }
    Ok(Progress::Partial)
}

fn round_trip(first: &Header<'_>) {
    let announcement = Announcement {
        local: first.announced == Announced::Local,
        ends: first.ends(),
        alpn: first.tlvs.alpn(),
        authority: first.tlvs.authority(),
        unique_id: first.tlvs.unique_id(),
        checksum: true,
    };
    let mut written = Vec::new();
    announcement
        .write_v2(&mut written)
        .expect("shorter than what it was read from, or than three short texts");
    let again = complete(&written, Version::V2);
    assert_eq!((again.tlvs.alpn(), again.tlvs.authority()), (first.tlvs.alpn(), first.tlvs.authority()));
    assert_eq!(again.tlvs.unique_id(), first.tlvs.unique_id());
    assert_eq!(canonical(again.ends()), canonical(first.ends()));
    let is_local = |header: &Header<'_>| header.announced == Announced::Local;
    assert_eq!(is_local(&again), is_local(first));

    written.clear();
    announcement.write_v1(&mut written);
    let again = complete(&written, Version::V1);
    assert_eq!((again.tlvs, canonical(again.ends())), (Tlvs::NONE, canonical(first.ends())));
}

fn complete(written: &[u8], version: Version) -> Header<'_> {
    match read(written, HEADER_BYTES_MAX) {
        Ok(Progress::Complete { header, used }) if used == written.len() && header.version == version => {
            header
        }
        other => panic!("{} reads as {other:?}", written.escape_ascii()),
    }
}

/// Addresses as they are compared: IPv4 and IPv4-mapped are one.
fn canonical(ends: Option<(SocketAddr, SocketAddr)>) -> Option<[SocketAddr; 2]> {
    let ends = ends.map(|(source, destination)| [source, destination]);
    ends.map(|ends| ends.map(|end| SocketAddr::new(end.ip().to_canonical(), end.port())))
}
