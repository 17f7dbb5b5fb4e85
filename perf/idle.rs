//! Memory per idle keep-alive connection: how much larger a proxy is with many of them than without.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use crate::contender::Running;
use crate::failure::Failure;

/// What the connections cost one contender.
#[derive(Clone, Debug)]
pub(crate) struct IdleCost {
    pub(crate) name: &'static str,
    /// Connections held open.
    pub(crate) connections: usize,
    /// Proportional set size before the first of them, bytes.
    pub(crate) baseline_bytes: u64,
    /// Growth per connection, bytes; kernel memory is not in it.
    pub(crate) per_connection_bytes: f64,
}

/// Opens `connections`, sends one request on each, and weighs the proxy while they wait.
pub(crate) fn weigh(running: &Running, connections: usize) -> Result<IdleCost, Failure> {
    let name = running.contender.name();
    let failed = |source| Failure::Connection { name: name.into(), source };
    let baseline_bytes = settled(running)?;
    let mut held = Vec::with_capacity(connections);
    for _ in 0..connections {
        held.push(one_request(running.port).map_err(failed)?);
    }
    let full = settled(running)?;
    #[expect(clippy::cast_precision_loss, reason = "a process is smaller than 2^52 bytes")]
    let per_connection_bytes = full.saturating_sub(baseline_bytes) as f64 / connections.max(1) as f64;
    Ok(IdleCost { name, connections, baseline_bytes, per_connection_bytes })
}

fn one_request(port: u16) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /s HTTP/1.1\r\nHost: perf.example\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut chunk = [0; 1024];
    // The answer is a short head and 128 times `x`; the head ends with an empty line.
    loop {
        let head_end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        if head_end.is_some_and(|end| answer.len() >= end + 4 + 128) {
            return Ok(stream);
        }
        match stream.read(&mut chunk)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => answer.extend_from_slice(&chunk[..read]),
        }
    }
}

/// Size once it stops changing: allocators give memory back with a delay.
fn settled(running: &Running) -> Result<u64, Failure> {
    let mut last = running.process.pss_bytes()?;
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(300));
        let now = running.process.pss_bytes()?;
        if now == last {
            break;
        }
        last = now;
    }
    Ok(last)
}
