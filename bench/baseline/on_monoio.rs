//! On monoio: every pending read owns a buffer, every write is awaited.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use io_uring_06::IoUring;
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{ListenerOpts, TcpListener, TcpStream};
use monoio::{IoUringDriver, RuntimeBuilder};

use crate::connection::{Connect, Connection};
use crate::proxy::Upstreams;
use crate::{Job, RING_ENTRIES, buffers, echo, proxy};

struct Socket(TcpStream);

impl Connection for Socket {
    type Bytes = Vec<u8>;

    async fn receive(&mut self) -> io::Result<Vec<u8>> {
        let (received, bytes) = self.0.read(buffers::take()).await;
        received.map(|_| bytes)
    }

    async fn send(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        let (sent, bytes) = self.0.write_all(bytes).await;
        buffers::give(bytes);
        sent.map(|_| ())
    }

    fn bytes(collected: Vec<u8>) -> Vec<u8> {
        collected
    }
}

struct Origin(SocketAddr);

impl Connect for Origin {
    type Connection = Socket;

    async fn connect(&self) -> io::Result<Socket> {
        let stream = TcpStream::connect(self.0).await?;
        stream.set_nodelay(true)?;
        Ok(Socket(stream))
    }
}

/// `defer`: with `SINGLE_ISSUER | DEFER_TASKRUN`, which monoio does not set by itself.
pub(crate) fn serve(defer: bool, job: Job, port: u16) -> io::Result<()> {
    let mut ring = IoUring::builder();
    if defer {
        ring.setup_single_issuer().setup_defer_taskrun();
    }
    let builder = RuntimeBuilder::<IoUringDriver>::new().with_entries(RING_ENTRIES).uring_builder(ring);
    builder.build()?.block_on(accept(job, port))
}

async fn accept(job: Job, port: u16) -> io::Result<()> {
    let options = ListenerOpts::new().backlog(4096);
    let listener = TcpListener::bind_with_config((Ipv4Addr::LOCALHOST, port), &options)?;
    let origin = match job {
        Job::Echo => 0,
        Job::Proxy { origin } => origin,
    };
    let upstreams = Upstreams::new(Origin(SocketAddr::from((Ipv4Addr::LOCALHOST, origin))));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        match job {
            Job::Echo => drop(monoio::spawn(echo::serve(Socket(stream)))),
            Job::Proxy { .. } => drop(monoio::spawn(proxy::serve(Socket(stream), Rc::clone(&upstreams)))),
        }
    }
}
