//! What holds for every input, whatever it is: the function behind the fuzz target, and behind the tests that replay its
//! corpus. It panics when its property does not hold. Not part of the product.

use super::{HELLO_BYTES_MAX, HelloError, HelloReader, Progress};

/// A hello is read alike whole, byte by byte, and cut into records anew; a name is a host name in lower case.
pub fn client_hello(bytes: &[u8]) {
    let whole = HelloReader::default().read(bytes);
    let mut reader = HelloReader::default();
    let mut dripped = Ok(Progress::Partial);
    let mut needed = 0;
    for end in 0..=bytes.len() {
        dripped = reader.read(&bytes[..end]);
        needed = end;
        if dripped != Ok(Progress::Partial) {
            break;
        }
    }
    assert_eq!(whole, dripped, "the verdict depends on how the bytes arrive");
    let Ok(Progress::Complete(hello)) = whole else { return };
    assert!(needed <= HELLO_BYTES_MAX);
    if let Some(name) = hello.server_name.name() {
        assert!((1..=253).contains(&name.len()));
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte))
        );
        assert!(!name.starts_with('.') && !name.ends_with('.') && !name.contains(".."));
    }
    assert!(hello.protocols.iter().all(|protocol| !protocol.is_empty()));
    for record_bytes in [1, 3, 7, 100, 1000] {
        let again = in_records(&bytes[..needed], record_bytes);
        match HelloReader::default().read(&again) {
            Ok(Progress::Complete(other)) => assert_eq!(hello, other, "records of {record_bytes} bytes"),
            Err(HelloError::TooLong) => assert!(again.len() > HELLO_BYTES_MAX),
            other => panic!("in records of {record_bytes} bytes: {other:?}"),
        }
    }
}

/// The records of a complete hello, cut anew into records of `length` bytes.
pub fn in_records(bytes: &[u8], length: usize) -> Vec<u8> {
    let (mut message, mut rest) = (Vec::new(), bytes);
    while let Some((&[_, _, _, high, low], body)) = rest.split_first_chunk::<5>() {
        let (record, after) = body.split_at(usize::from(u16::from_be_bytes([high, low])).min(body.len()));
        message.extend_from_slice(record);
        rest = after;
    }
    let mut cut = Vec::new();
    for chunk in message.chunks(length) {
        cut.extend_from_slice(&[22, 3, 1]);
        cut.extend_from_slice(&u16::try_from(chunk.len()).expect("cut short").to_be_bytes());
        cut.extend_from_slice(chunk);
    }
    cut
}
