//! A server of plain TCP: what it does with a connection is a function of the test's own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::PATIENCE;

/// A server on a free loopback port; dropped, it takes no more connections; those that it has end by themselves.
pub(crate) struct Peer {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    ends: AtomicBool,
    accepted: AtomicUsize,
}

impl Peer {
    /// Runs `serve` for each connection, on a thread of its own. Reads and writes end after [`PATIENCE`].
    pub(crate) fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Peer {
        Peer::start_at((Ipv4Addr::LOCALHOST, 0).into(), serve)
    }

    /// The same at an address of the test's choice.
    #[track_caller]
    pub(crate) fn start_at(address: SocketAddr, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Peer {
        let listener = TcpListener::bind(address).expect("the port is free");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared::default());
        let (of_thread, serve) = (Arc::clone(&shared), Arc::new(serve));
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if of_thread.ends.load(Ordering::Acquire) {
                    return;
                }
                of_thread.accepted.fetch_add(1, Ordering::AcqRel);
                let serve = Arc::clone(&serve);
                std::thread::spawn(move || {
                    prepare(&stream);
                    serve(stream);
                });
            }
        });
        Peer { address, shared, acceptor: Some(acceptor) }
    }

    /// Sends back what it gets; an end is sent back too.
    pub(crate) fn echo() -> Peer {
        Peer::start(|mut stream| {
            let mut bytes = vec![0; 64 << 10];
            while let Ok(n @ 1..) = stream.read(&mut bytes) {
                if stream.write_all(&bytes[..n]).is_err() {
                    return;
                }
            }
        })
    }

    /// Says `name` to everybody, and then sends back what it gets.
    pub(crate) fn named(name: &'static str) -> Peer {
        Peer::start(move |mut stream| {
            let mut bytes = vec![0; 4 << 10];
            if stream.write_all(name.as_bytes()).is_err() {
                return;
            }
            while let Ok(n @ 1..) = stream.read(&mut bytes) {
                if stream.write_all(&bytes[..n]).is_err() {
                    return;
                }
            }
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that were accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.accepted.load(Ordering::Acquire)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Release);
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor.join());
        }
    }
}

/// Pieces leave as they are written, and nobody waits for ever.
pub(crate) fn prepare(stream: &TcpStream) {
    stream.set_nodelay(true).expect("a connected socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a connected socket");
    stream.set_write_timeout(Some(PATIENCE)).expect("a connected socket");
}

/// Closes with RST.
pub(crate) fn reset(stream: TcpStream) {
    drop(socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)));
}
