//! Checks by gRPC: `grpc.health.v1.Health/Check` over HTTP/2 in clear text. The only file of this crate that names h2.
//!
//! The two messages have one field each, so that they are written and read here:
//!
//! ```text
//! HealthCheckRequest  { string service = 1; }        HealthCheckResponse { ServingStatus status = 1; }
//! ```
//!
//! Whatever the server sends, the check holds at most 16 KiB of fields and [`ANSWER_BYTES_MAX`] of the answer.

use super::finding::Finding;
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{Builder, SendRequest};
use http::{HeaderMap, Request};
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// Passes when `service` is serving.
pub(super) async fn check<S>(
    stream: S,
    authority: &str,
    service: &str,
    timeout: Duration,
) -> Result<(), Finding>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (client, connection) = Builder::new()
        .enable_push(false)
        .initial_window_size(64 << 10)
        .max_header_list_size(16 << 10)
        .max_concurrent_reset_streams(4)
        .handshake(stream)
        .await
        .map_err(http2)?;
    let mut call = pin!(call(client, authority, service, timeout));
    tokio::select! {
        biased;
        result = &mut call => result,
        ended = connection => match ended {
            // What was received before the end still counts.
            Ok(()) => call.await,
            Err(error) => Err(http2(error)),
        },
    }
}

async fn call(
    client: SendRequest<Bytes>,
    authority: &str,
    service: &str,
    timeout: Duration,
) -> Result<(), Finding> {
    let request = Request::post(format!("http://{authority}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "ringway-health-check")
        // At most eight digits are allowed.
        .header("grpc-timeout", format!("{}m", timeout.as_millis().min(99_999_999)))
        .body(())
        .map_err(|error| Finding::Unprepared(error.to_string()))?;
    let (answer, mut upload) =
        client.ready().await.map_err(http2)?.send_request(request, false).map_err(http2)?;
    upload.send_data(message(service), true).map_err(http2)?;
    let (head, mut body) = answer.await.map_err(http2)?.into_parts();
    if head.status != 200 {
        return Err(Finding::Status(head.status.as_u16()));
    }
    // A failure may be said in the head, and then there is nothing else.
    if head.headers.contains_key(STATUS) {
        code(&head.headers)?;
    }
    let mut received = Vec::new();
    while let Some(part) = body.data().await {
        let part = part.map_err(http2)?;
        if received.len() + part.len() > ANSWER_BYTES_MAX {
            return Err(Finding::Message);
        }
        received.extend_from_slice(&part);
        // What does not fit was refused above: the window can be given back at once.
        let _ = body.flow_control().release_capacity(part.len());
    }
    let trailers = body.trailers().await.map_err(http2)?;
    code(trailers.as_ref().unwrap_or(&head.headers))?;
    judge(serving_status(&received).ok_or(Finding::Message)?)
}

/// The code that the server gave; an error unless it is 0.
fn code(fields: &HeaderMap) -> Result<(), Finding> {
    let text = |name| fields.get(name).and_then(|value| value.to_str().ok());
    match text(STATUS).map(str::parse) {
        Some(Ok(0)) => Ok(()),
        Some(Ok(code)) => {
            let message = text("grpc-message").unwrap_or_default();
            let message = message.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS_MAX).collect();
            Err(Finding::Call { code, message })
        }
        Some(Err(_)) | None => Err(Finding::Message),
    }
}

/// Statuses of `HealthCheckResponse`.
fn judge(status: u64) -> Result<(), Finding> {
    match status {
        1 => Ok(()),
        0 => Err(Finding::NotServing("UNKNOWN")),
        2 => Err(Finding::NotServing("NOT_SERVING")),
        3 => Err(Finding::NotServing("SERVICE_UNKNOWN")),
        _ => Err(Finding::Message),
    }
}

/// The request as it goes over the wire: not compressed, its length, the message.
fn message(service: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(service.len() + 8);
    let mut field = BytesMut::with_capacity(service.len() + 3);
    if !service.is_empty() {
        field.put_u8(1 << 3 | LENGTH);
        varint(&mut field, service.len() as u64);
        field.put_slice(service.as_bytes());
    }
    out.put_u8(0);
    out.put_u32(u32::try_from(field.len()).unwrap_or(u32::MAX));
    out.put(field);
    out.freeze()
}

/// The value of field 1 in the one message that `received` must be; 0 when it is left out. Fields that a later version
/// may add are skipped.
fn serving_status(received: &[u8]) -> Option<u64> {
    let (frame, mut rest) = received.split_at_checked(5)?;
    let length = u32::from_be_bytes(frame[1..].try_into().ok()?);
    if frame[0] != 0 || usize::try_from(length) != Ok(rest.len()) {
        return None;
    }
    let mut status = 0;
    while !rest.is_empty() {
        let key = read_varint(&mut rest)?;
        match ((key >> 3), u8::try_from(key & 7).ok()?) {
            (1, VARINT) => status = read_varint(&mut rest)?,
            (_, VARINT) => drop(read_varint(&mut rest)?),
            (_, EIGHT_BYTES) => rest = rest.get(8..)?,
            (_, FOUR_BYTES) => rest = rest.get(4..)?,
            (_, LENGTH) => {
                let bytes = usize::try_from(read_varint(&mut rest)?).ok()?;
                rest = rest.get(bytes..)?;
            }
            _ => return None,
        }
    }
    Some(status)
}

fn varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.put_u8(value.to_le_bytes()[0]);
}

fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn http2(error: h2::Error) -> Finding {
    match error.get_io() {
        Some(io) => Finding::Io(std::io::Error::new(io.kind(), io.to_string())),
        None => Finding::Http2(error.to_string()),
    }
}

const STATUS: &str = "grpc-status";
/// Wire types of protocol buffers.
const VARINT: u8 = 0;
const EIGHT_BYTES: u8 = 1;
const LENGTH: u8 = 2;
const FOUR_BYTES: u8 = 5;

const ANSWER_BYTES_MAX: usize = 1024;
const MESSAGE_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_a_frame_with_one_field() {
        assert_eq!(&message("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&message("a.B")[..], [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        let long = message(&"x".repeat(200));
        assert_eq!(&long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 0x01]);
    }

    #[test]
    fn the_answer_is_read_whatever_else_stands_in_it() {
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(serving_status(&[0, 0, 0, 0, 0]), Some(0), "the default is left out");
        let more = [0x12, 1, b'x', 0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8, 0x28, 0x80, 1, 8, 2];
        let mut frame = vec![0, 0, 0, 0, 22];
        frame.extend(more);
        assert_eq!(serving_status(&frame), Some(2));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for bad in [
            &[][..],
            &[0, 0, 0, 0],
            &[1, 0, 0, 0, 2, 8, 1],
            &[0, 0, 0, 0, 3, 8, 1],
            &[0, 0, 0, 0, 1, 8, 1],
            &[0, 0, 0, 0, 2, 8, 0x80],
            &[0, 0, 0, 0, 2, 0x0b, 1],
            &[0, 0, 0, 0, 2, 0x12, 9],
            &[0, 0xff, 0xff, 0xff, 0xff],
            &[0, 0, 0, 0, 12, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        ] {
            assert_eq!(serving_status(bad), None, "{bad:?}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn no_bytes_at_all_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)) {
            let mut frame = vec![0, 0, 0, 0, u8::try_from(bytes.len()).unwrap_or(0)];
            frame.extend(&bytes);
            serving_status(&frame);
            serving_status(&bytes);
        }
    }
}
