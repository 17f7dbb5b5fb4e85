//! On tokio's current-thread runtime, over epoll. A buffer is taken when a socket is polled and given back when nothing
//! was there, so an idle connection holds none.

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::LocalSet;

use crate::connection::{Connect, Connection};
use crate::proxy::Upstreams;
use crate::{Job, buffers, echo, proxy};

struct Socket(TcpStream);

/// A buffer that stays initialised as a whole, and how much of it counts.
struct Filled {
    buffer: Vec<u8>,
    length: usize,
}

impl Deref for Filled {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Connection for Socket {
    type Bytes = Filled;

    async fn receive(&mut self) -> io::Result<Filled> {
        poll_fn(|cx| {
            let mut buffer = buffers::take_whole();
            let mut read = ReadBuf::new(&mut buffer);
            // Unlike `try_read`, this notices a short read and does not ask again before the next event.
            let polled = Pin::new(&mut self.0).poll_read(cx, &mut read);
            let length = read.filled().len();
            match polled {
                Poll::Ready(Ok(())) => Poll::Ready(Ok(Filled { buffer, length })),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => {
                    buffers::give_whole(buffer);
                    Poll::Pending
                }
            }
        })
        .await
    }

    async fn send(&mut self, bytes: Filled) -> io::Result<()> {
        let sent = self.0.write_all(&bytes).await;
        buffers::give_whole(bytes.buffer);
        sent
    }

    fn bytes(collected: Vec<u8>) -> Filled {
        let length = collected.len();
        Filled { buffer: collected, length }
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, accept(job, port))
}

async fn accept(job: Job, port: u16) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    let listener = socket.listen(4096)?;
    let origin = match job {
        Job::Echo => 0,
        Job::Proxy { origin } => origin,
    };
    let upstreams = Upstreams::new(Origin(SocketAddr::from((Ipv4Addr::LOCALHOST, origin))));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        match job {
            Job::Echo => drop(tokio::task::spawn_local(echo::serve(Socket(stream)))),
            Job::Proxy { .. } => {
                drop(tokio::task::spawn_local(proxy::serve(Socket(stream), Rc::clone(&upstreams))));
            }
        }
    }
}
