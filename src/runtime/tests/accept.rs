//! Accepting and connecting.

use super::*;

#[test]
fn a_refused_connection_is_an_error() {
    on_each_driver(|rt| async move {
        let listener = listen(&rt);
        let addr = listener.addr().clone();
        drop(listener);
        until(&rt, || rt.gauges().sockets == 0).await;
        // The ring submits the close at the end of the turn, and the kernel does it when the call returns.
        rt.yield_now().await;
        let result = rt.connect(&addr, ConnectOptions::default()).await;
        assert_eq!(result.err().and_then(|e| e.raw_os_error()), Some(libc::ECONNREFUSED));
    });
}

#[test]
fn a_connection_comes_from_the_source_address_that_was_asked_for() {
    on_each_driver(|rt| async move {
        let listener = listen(&rt);
        let source = Some(Ipv4Addr::new(127, 0, 0, 9).into());
        let client = rt
            .connect(listener.addr(), ConnectOptions { source, transparent: false })
            .await
            .expect("connected");
        let server = listener.accept().await.expect("accepted");
        assert_eq!(server.peer().map(|peer| peer.ip()), source);
        assert_eq!(client.local(), server.peer());
    });
}

#[test]
fn a_source_that_is_no_address_of_this_machine_is_told_from_one_without_ports() {
    // 192.0.2.0/24 is for documentation (RFC 5737).
    let foreign = Ipv4Addr::new(192, 0, 2, 1).into();
    assert_eq!(try_source(foreign, false).err().and_then(|e| e.raw_os_error()), Some(libc::EADDRNOTAVAIL));
    assert!(try_source(Ipv4Addr::LOCALHOST.into(), false).is_ok());
    on_each_driver(|rt| async move {
        let listener = listen(&rt);
        let options = ConnectOptions { source: Some(foreign), ..ConnectOptions::default() };
        let error = rt.connect(listener.addr(), options).await.err().expect("it cannot come from there");
        assert!(error.get_ref().is_some_and(|inner| inner.is::<NoSource>()), "{error:?}");
        until(&rt, || rt.gauges().sockets == 1).await;
    });
}

#[test]
fn connections_made_while_the_listener_goes_away_are_closed() {
    on_each_driver(|rt| async move {
        let listener = listen(&rt);
        let clients: Vec<Connect> =
            (0..20).map(|_| rt.connect(listener.addr(), ConnectOptions::default())).collect();
        let first = listener.accept().await.expect("accepted");
        drop(listener);
        drop(first);
        for client in clients {
            if let Ok(stream) = client.await {
                // End or reset, depending on whether the kernel or the worker closed it.
                let _ = stream.recv().await;
            }
        }
    });
}

#[test]
fn a_paused_listener_leaves_connections_to_the_kernel_until_it_resumes() {
    on_each_driver(|rt| async move {
        let listener = listen(&rt);
        let first = rt.connect(listener.addr(), ConnectOptions::default()).await.expect("connected");
        drop(listener.accept().await.expect("accepted"));
        listener.pause();
        rt.yield_now().await;
        let second = rt.connect(listener.addr(), ConnectOptions::default()).await.expect("connected");
        let timer = rt.timer();
        timer.set(rt.now() + Duration::from_millis(20));
        assert!(race(listener.accept(), &timer).await.is_none(), "paused");
        let (accepted, seen) = flag();
        let listener = Rc::new(listener);
        let accepting = Rc::clone(&listener);
        rt.spawn(async move {
            accepting.accept().await.expect("accepted");
            accepted.set(true);
        });
        rt.yield_now().await;
        listener.resume();
        until(&rt, || seen.get()).await;
        drop((first, second));
    });
}

#[test]
fn a_listener_that_ends_hands_out_every_connection_that_the_kernel_holds() {
    const CLIENTS: usize = 20;
    on_each_driver(|rt| async move {
        let listener = listen(&rt);
        let first = rt.connect(listener.addr(), ConnectOptions::default()).await.expect("connected");
        drop(listener.accept().await.expect("accepted"));
        drop(first);
        listener.pause();
        rt.yield_now().await;
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(rt.connect(listener.addr(), ConnectOptions::default()).await.expect("connected"));
        }
        let mut served = 0;
        while let Some(stream) = listener.last().await {
            stream.expect("a stream").write(|out| out.push(b'x'));
            served += 1;
        }
        assert_eq!(served, CLIENTS);
    });
}

#[test]
fn many_connections_are_accepted_each_once() {
    on_each_driver(|rt| async move {
        let listener = listen(&rt);
        let clients: Vec<Connect> =
            (0..300).map(|_| rt.connect(listener.addr(), ConnectOptions::default())).collect();
        let mut servers = Vec::new();
        for _ in 0..300 {
            servers.push(listener.accept().await.expect("accepted"));
        }
        let mut ports: Vec<_> = servers.iter().map(|server| server.peer().expect("connected")).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 300);
        assert_eq!(rt.gauges().sockets, 601);
        drop(clients);
    });
}

#[test]
fn a_clone_of_a_bound_socket_shares_its_queue() {
    on_each_driver(|rt| async move {
        let bound = bind(&loopback(), BindOptions::default()).expect("a free port");
        let clone = Bound::from_owned_fd(
            bound.try_clone().expect("a descriptor").into_owned_fd().expect("a socket of the kernel"),
        )
        .expect("listens");
        assert_eq!(bound.addr(), clone.addr());
        let first = rt.listen(bound).expect("listening");
        let addr = first.addr().clone();
        drop(first);
        let second = rt.listen(clone).expect("listening");
        let client = rt.connect(&addr, ConnectOptions::default());
        second.accept().await.expect("accepted");
        drop(client);
    });
}

#[test]
fn connections_accepted_for_a_listener_that_is_gone_are_closed_and_counted() {
    on_each_driver(|rt| async move {
        let listener = listen(&rt);
        let first = rt.connect(listener.addr(), ConnectOptions::default());
        // Accepting has begun and nobody asks any more.
        drop(listener.accept().await.expect("accepted"));
        let clients: Vec<Connect> =
            (0..5).map(|_| rt.connect(listener.addr(), ConnectOptions::default())).collect();
        let timer = rt.timer();
        timer.set(rt.now() + Duration::from_millis(20));
        timer.wait().await;
        assert_eq!(rt.gauges().late_accepts, 0);
        drop(listener);
        until(&rt, || rt.gauges().late_accepts == 5).await;
        for client in clients {
            let stream = client.await.expect("the kernel had accepted it");
            assert!(stream.recv().await.map_or(true, |buf| buf.is_empty()), "closed");
        }
        drop(first);
    });
}
