//! Datagram sockets: every size, whom they come from and which address was asked, errors of the network, many at once.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv6Addr, UdpSocket as Plain};

use super::*;

/// One socket under test and what it has received.
struct Receiver {
    socket: UdpSocket,
    arrivals: Arrivals,
    batch: Batch,
}

impl Receiver {
    fn bind(rt: &Runtime, addr: &str) -> Receiver {
        let bound = bind_datagrams(addr.parse().expect("an address"), DatagramOptions::default());
        let arrivals = Arrivals::new();
        let socket = rt.datagrams(bound.expect("a free port"), &arrivals, 7).expect("taken over");
        Receiver { socket, arrivals, batch: Batch::new(rt.datagram_offload()) }
    }

    fn connect(rt: &Runtime, to: SocketAddr) -> Receiver {
        let arrivals = Arrivals::new();
        let socket = rt.connect_datagrams(to, ConnectOptions::default(), &arrivals, 8).expect("a free port");
        Receiver { socket, arrivals, batch: Batch::new(rt.datagram_offload()) }
    }

    fn addr(&self) -> SocketAddr {
        self.socket.local().expect("bound")
    }

    /// Waits until the socket is readable, and receives once.
    async fn recv(&mut self, max: usize) -> std::io::Result<usize> {
        poll_fn(|cx| self.arrivals.poll_next(cx)).await;
        self.socket.recv(&mut self.batch, max)
    }

    /// Waits until at least `count` slots are filled.
    async fn receive(&mut self, count: usize) {
        while self.batch.len() < count {
            let room = self.batch.room();
            self.recv(room).await.expect("received");
        }
    }

    /// Sends one datagram.
    fn send(&mut self, bytes: &[u8]) -> Sent {
        let at = self.batch.len();
        assert!(self.batch.push(bytes, None, None));
        self.socket.send(&mut self.batch, at..at + 1)
    }
}

#[test]
fn a_datagram_of_every_size_arrives_whole_and_goes_back_to_its_sender() {
    on_each_driver(|rt| async move {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let mut server = Receiver::bind(&rt, host);
            let mut client = Receiver::connect(&rt, server.addr());
            for size in [0, 1, 512, 1472, 9000, 65_507] {
                let bytes = pattern(size);
                assert!(client.send(&bytes).error.is_none());
                server.receive(1).await;
                let got = server.batch.get(0);
                assert!(got.bytes == bytes, "{} of {size} bytes", got.bytes.len());
                assert_eq!((got.peer, got.local, got.count), (client.socket.local(), None, 1));
                let sent = server.socket.send(&mut server.batch, 0..1);
                assert!(sent.slots == 1 && sent.error.is_none(), "{sent:?}");
                client.batch.clear();
                client.receive(1).await;
                assert!(client.batch.get(0).bytes == bytes && client.batch.get(0).peer.is_none());
                server.batch.clear();
                client.batch.clear();
            }
        }
    });
}

#[test]
fn an_answer_leaves_from_the_address_that_was_asked() {
    on_each_driver(|rt| async move {
        for (any, asked) in [("0.0.0.0:0", "127.0.0.77"), ("[::]:0", "::1")] {
            let mut server = Receiver::bind(&rt, any);
            let asked: IpAddr = asked.parse().expect("an address");
            // A connected socket takes nothing from another address.
            let mut client = Receiver::connect(&rt, SocketAddr::new(asked, server.addr().port()));
            client.send(b"who are you?");
            server.receive(1).await;
            assert_eq!(server.batch.get(0).local, Some(Local { ip: asked, interface: 0 }));
            server.socket.send(&mut server.batch, 0..1);
            client.batch.clear();
            client.receive(1).await;
            assert_eq!(client.batch.get(0).bytes, b"who are you?");
        }
    });
}

#[test]
fn many_datagrams_come_in_full_batches_and_none_is_missing() {
    on_each_driver(|rt| async move {
        let mut server = Receiver::bind(&rt, "127.0.0.1:0");
        let sender = Plain::bind("127.0.0.1:0").expect("a free port");
        for n in 0..500_u32 {
            sender.send_to(&n.to_le_bytes(), server.addr()).expect("sent");
        }
        let (mut next, mut calls) = (0_u32, 0);
        while next < 500 {
            server.batch.clear();
            server.recv(Batch::SLOTS).await.expect("received");
            calls += 1;
            for at in 0..server.batch.len() {
                assert_eq!(server.batch.get(at).bytes, next.to_le_bytes());
                next += 1;
            }
        }
        assert!(calls <= 20, "{calls} calls for 500 datagrams");
        server.batch.clear();
        assert_eq!(server.socket.recv(&mut server.batch, 1).expect("no error"), 0, "nothing is left");
    });
}

#[test]
fn a_socket_tells_that_nobody_listens_and_goes_on() {
    on_each_driver(|rt| async move {
        let gone = Plain::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
        let mut client = Receiver::connect(&rt, gone);
        client.send(b"is anybody there?");
        let error = client.recv(1).await.expect_err("nobody is");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        // Told to the send if that comes first.
        client.send(b"and now?");
        let told = client.send(b"still not?");
        assert_eq!((told.slots, told.error.map(|error| error.kind())), (0, Some(error.kind())));
        let late = Plain::bind(gone).expect("still free");
        client.batch.clear();
        while client.send(b"at last").error.is_some() {
            client.batch.clear();
        }
        let mut bytes = [0; 16];
        assert_eq!(late.recv(&mut bytes).expect("received"), 7);
    });
}

#[test]
fn a_send_goes_on_behind_one_that_cannot_be_sent() {
    on_each_driver(|rt| async move {
        let mut server = Receiver::bind(&rt, "127.0.0.1:0");
        let client = Plain::bind("127.0.0.1:0").expect("a free port");
        let to = client.local_addr().expect("bound");
        for (n, peer) in [to, SocketAddr::from((Ipv6Addr::LOCALHOST, 1)), to].into_iter().enumerate() {
            server.batch.push(&[n as u8], Some(peer), None);
        }
        let sent = server.socket.send(&mut server.batch, 0..3);
        assert!(sent.slots == 1 && sent.error.is_some(), "an IPv4 socket has no way there: {sent:?}");
        let sent = server.socket.send(&mut server.batch, 2..3);
        assert!(sent.slots == 1 && sent.error.is_none(), "{sent:?}");
        let mut byte = [9];
        for expected in [0, 2] {
            client.recv(&mut byte).expect("received");
            assert_eq!(byte, [expected]);
        }
    });
}

#[test]
fn what_the_kernel_puts_together_it_takes_apart_again() {
    on_each_driver(|rt| async move {
        if !rt.datagram_offload().joins {
            // Linux before 5.0; the driver then sends and receives one by one, as the other tests do.
            return;
        }
        let mut server = Receiver::bind(&rt, "127.0.0.1:0");
        let mut client = Receiver::connect(&rt, server.addr());
        let bytes = pattern(10_500);
        client.batch.push(&bytes, None, None);
        client.batch.split(0, 1000);
        assert_eq!(client.batch.get(0).count, 11);
        assert!(client.socket.send(&mut client.batch, 0..1).error.is_none());
        server.receive(1).await;
        let got = server.batch.get(0);
        assert!(got.count == 11 && got.bytes == bytes, "one call for {} datagrams", got.count);
        // To a receiver that does not ask for it they come one by one.
        let plain = Plain::bind("127.0.0.1:0").expect("a free port");
        server.batch.direct(0, plain.local_addr().expect("bound"), None);
        assert!(server.socket.send(&mut server.batch, 0..1).error.is_none());
        let mut one = [0; 2000];
        for n in 0..11 {
            let len = plain.recv(&mut one).expect("received");
            let part = n * 1000..(n * 1000 + 1000).min(10_500);
            assert_eq!(one[..len], bytes[part]);
        }
    });
}

#[test]
fn segments_that_the_way_cannot_carry_are_sent_one_by_one() {
    on_each_driver(|rt| async move {
        if !rt.datagram_offload().segments {
            return;
        }
        let plain = Plain::bind("127.0.0.1:0").expect("a free port");
        let mut client = Receiver::connect(&rt, plain.local_addr().expect("bound"));
        // More segments than the kernel cuts at once (64, 128 from 6.9 on).
        let bytes = pattern(20_000);
        client.batch.push(&bytes, None, None);
        client.batch.split(0, 100);
        let sent = client.socket.send(&mut client.batch, 0..1);
        assert!(sent.slots == 1 && sent.error.is_none(), "{sent:?}");
        let mut one = [0; 2000];
        for part in bytes.chunks(100) {
            let len = plain.recv(&mut one).expect("received");
            assert_eq!(one[..len], *part);
        }
    });
}

#[test]
fn sockets_come_up_in_the_order_in_which_they_became_readable() {
    on_each_driver(|rt| async move {
        let arrivals = Arrivals::new();
        let mut batch = Batch::new(rt.datagram_offload());
        let sender = Plain::bind("127.0.0.1:0").expect("a free port");
        let sockets: Vec<UdpSocket> = (0..3)
            .map(|tag| {
                let bound = bind_datagrams(loopback().ip().expect("an address"), DatagramOptions::default());
                rt.datagrams(bound.expect("a free port"), &arrivals, tag).expect("taken over")
            })
            .collect();
        // One of them has far more than others: they have their turn all the same.
        for _ in 0..100 {
            sender.send_to(b"many", sockets[0].local().expect("bound")).expect("sent");
        }
        for socket in &sockets[1..] {
            sender.send_to(b"one", socket.local().expect("bound")).expect("sent");
        }
        let mut seen = [0; 3];
        while seen[1] == 0 || seen[2] == 0 {
            let tag = poll_fn(|cx| arrivals.poll_next(cx)).await;
            batch.clear();
            seen[tag as usize] += sockets[tag as usize].recv(&mut batch, 4).expect("received");
        }
        assert!(seen[0] <= 40, "{seen:?}");
    });
}

#[test]
fn a_closed_socket_is_heard_of_no_more() {
    on_each_driver(|rt| async move {
        let mut server = Receiver::bind(&rt, "127.0.0.1:0");
        let clients: Vec<Receiver> = (0..50).map(|_| Receiver::connect(&rt, server.addr())).collect();
        for mut client in clients {
            client.send(b"hello");
            // Watched, closed, and its number given to the next one at once.
            drop(client);
        }
        server.receive(Batch::SLOTS).await;
        until(&rt, || rt.gauges().sockets == 1).await;
        let Receiver { socket, arrivals, .. } = server;
        drop(socket);
        until(&rt, || rt.gauges().sockets == 0).await;
        while arrivals.next().is_some() {}
    });
}
