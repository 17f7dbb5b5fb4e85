//! On our own `runtime`, with either driver: the kernel picks the receive buffer, output leaves at the end of the turn.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use base::addr::Addr;
use runtime::{BindOptions, Buf, ConnectOptions, IoChoice, Options, Runtime, Stream};

use crate::connection::{Connect, Connection, RECEIVE_BYTES};
use crate::proxy::Upstreams;
use crate::{Job, RING_ENTRIES, echo, proxy};

/// Output that may wait before a sender waits for it.
const PENDING_MAX: usize = 64 << 10;

impl Connection for Stream {
    type Bytes = Buf;

    async fn receive(&mut self) -> io::Result<Buf> {
        self.recv().await
    }

    async fn send(&mut self, bytes: Buf) -> io::Result<()> {
        self.write_buf(bytes);
        self.flushed(PENDING_MAX).await
    }

    fn bytes(collected: Vec<u8>) -> Buf {
        Buf::from_vec(collected)
    }
}

struct Origin {
    runtime: Runtime,
    addr: Addr,
}

impl Connect for Origin {
    type Connection = Stream;

    async fn connect(&self) -> io::Result<Stream> {
        self.runtime.connect(&self.addr, ConnectOptions::default()).await
    }
}

pub(crate) fn serve(choice: IoChoice, job: Job, port: u16) -> io::Result<()> {
    let selection = runtime::probe(choice).map_err(io::Error::other)?;
    let lease_bytes = u32::try_from(RECEIVE_BYTES).map_err(io::Error::other)?;
    let options = Options { ring_entries: RING_ENTRIES, lease_bytes, ..Options::default() };
    let runtime = Runtime::new(&selection, options)?;
    let listener = runtime.listen(runtime::bind(&loopback(port), BindOptions::default())?)?;
    let origin = match job {
        Job::Echo => 0,
        Job::Proxy { origin } => origin,
    };
    let upstreams = Upstreams::new(Origin { runtime: runtime.clone(), addr: loopback(origin) });
    runtime.block_on(async {
        loop {
            let stream = listener.accept().await?;
            // What a client does wrong ends its connection and nothing else; so with all contenders.
            match job {
                Job::Echo => runtime.spawn(async move { drop(echo::serve(stream).await) }),
                Job::Proxy { .. } => {
                    let upstreams = Rc::clone(&upstreams);
                    runtime.spawn(async move { drop(proxy::serve(stream, upstreams).await) });
                }
            }
        }
    })?
}

fn loopback(port: u16) -> Addr {
    Addr::from(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}
