//! A check by datagram: one is sent, and one must come back.

use super::finding::Finding;
use config::model::UdpCheck;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::UdpSocket;

/// Sends the check's datagram and waits for the first answer; the caller bounds the time.
///
/// The socket is connected: answers of others do not count, and that nobody listens is told at once.
pub(super) async fn check(addr: SocketAddr, check: &UdpCheck) -> Result<(), Finding> {
    let any: SocketAddr = match addr {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(addr).await?;
    socket.send(&check.send.0).await?;
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    let bytes = socket.recv(&mut answer).await?;
    match &check.expect {
        Some(expected) if !contains(&answer[..bytes], &expected.0) => Err(Finding::Datagram),
        _ => Ok(()),
    }
}

fn contains(answer: &[u8], expected: &[u8]) -> bool {
    answer.windows(expected.len().max(1)).any(|part| part == expected)
}

/// The largest datagram.
const ANSWER_BYTES_MAX: usize = 64 << 10;
