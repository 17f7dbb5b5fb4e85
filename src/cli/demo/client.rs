//! A client of `--load`: one connection, one request after the other, for as long as the demo runs.

use base::limits::HttpLimits;
use runtime::{ConnectOptions, Runtime, Stream, race};
use std::net::SocketAddr;
use std::time::Duration;
use wire::h1::{BodyReader, Progress, ResponseReader};
use wire::http::{Method, ResponseHead};

/// Between two attempts to connect, so that a Ringway that refuses is not flooded.
const PAUSE: Duration = Duration::from_millis(200);
/// For one response.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends requests until the task is dropped.
pub(super) async fn send(rt: Runtime, web: SocketAddr) {
    loop {
        if let Ok(stream) = rt.connect(&web.into(), ConnectOptions::default()).await {
            let timer = rt.timer();
            while exchange(&rt, &stream, web, &timer).await.is_some() {}
        }
        let pause = rt.timer();
        pause.set(rt.now() + PAUSE);
        pause.wait().await;
    }
}

/// One request and its response; `None` when the connection cannot go on.
async fn exchange(rt: &Runtime, stream: &Stream, web: SocketAddr, timer: &runtime::Timer) -> Option<()> {
    let limits = HttpLimits::DEFAULT;
    stream.write(|out| out.extend_from_slice(format!("GET / HTTP/1.1\r\nHost: {web}\r\n\r\n").as_bytes()));
    timer.set(rt.now() + PATIENCE);
    let (mut reader, mut head) = (ResponseReader::new(&limits, Method::Get), ResponseHead::default());
    let mut received = Vec::new();
    let length = loop {
        match reader.read(&received, &mut head).ok()? {
            Progress::Complete(length) => break length,
            Progress::Partial => receive(stream, &mut received, timer).await?,
        }
    };
    received.drain(..length);
    let mut body = BodyReader::for_response(head.body, &limits);
    loop {
        let part = body.read(&mut received).ok()?;
        received.drain(..part.consumed);
        if part.done || body.is_done() {
            return head.keep_alive.then_some(());
        }
        receive(stream, &mut received, timer).await?;
    }
}

async fn receive(stream: &Stream, received: &mut Vec<u8>, timer: &runtime::Timer) -> Option<()> {
    let bytes = race(stream.recv(), timer).await?.ok()?;
    received.extend_from_slice(&bytes);
    (!bytes.is_empty()).then_some(())
}
