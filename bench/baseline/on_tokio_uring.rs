//! On tokio-uring: every pending read owns a buffer, every write is awaited.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use tokio_uring::net::{TcpListener, TcpStream};

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
        sent
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

pub(crate) fn serve(job: Job, port: u16) -> io::Result<()> {
    tokio_uring::builder().entries(RING_ENTRIES).start(accept(job, port))
}

async fn accept(job: Job, port: u16) -> io::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    let origin = match job {
        Job::Echo => 0,
        Job::Proxy { origin } => origin,
    };
    let upstreams = Upstreams::new(Origin(SocketAddr::from((Ipv4Addr::LOCALHOST, origin))));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        match job {
            Job::Echo => drop(tokio_uring::spawn(echo::serve(Socket(stream)))),
            Job::Proxy { .. } => {
                drop(tokio_uring::spawn(proxy::serve(Socket(stream), Rc::clone(&upstreams))));
            }
        }
    }
}
