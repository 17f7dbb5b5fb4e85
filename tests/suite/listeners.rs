//! Listeners that come, go, move and change their names while connections are open (R124, R127).

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::nginx::free_port;
use crate::harness::{Client, Ending, Folder, Gate, Load, Origin, Reply, Ringway, wait_until};

/// Listeners by name, address and what else they say; everything goes to `origin`, and `/name` to whoever wrote it.
fn text(origin: &Origin, listeners: &[(&str, &str, &str)]) -> String {
    let nodes: String = listeners
        .iter()
        .map(|(name, address, more)| format!("listener \"{name}\" {{ bind \"{address}\"; {more} }}\n"))
        .collect();
    // Sites that only one listener has, so that a removed listener takes them along.
    let sites: String = listeners
        .iter()
        .map(|(name, ..)| {
            format!("site \"{name}.test\" {{ listeners \"{name}\"; route \"/\" {{ respond 200 body=\"{name}\"; }}; }}\n")
        })
        .collect();
    format!(
        "{nodes}upstream \"origin\" {{ endpoint \"{}\"; }}\n{sites}site \"*\" {{ route \"/\" upstream=\"origin\"; }}\n",
        origin.address()
    )
}

const WEB: (&str, &str, &str) = ("web", "127.0.0.1:0", "");

/// The kernel's numbers of the listening sockets on this address.
fn sockets(address: SocketAddr) -> BTreeSet<u64> {
    let port = format!(":{:04X}", address.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let listening = rows.filter(|row| row.len() > 9 && row[1].ends_with(&port) && row[3] == "0A");
    listening.filter_map(|row| row[9].parse().ok()).collect()
}

/// The body of `/` for the host that only one listener serves.
fn name_of(client: &mut Client, name: &str) -> (u16, String, bool) {
    client.send(format!("GET / HTTP/1.1\r\nHost: {name}.test\r\n\r\n"));
    let response = client.response("GET");
    (response.status, response.text(), response.closes())
}

#[track_caller]
fn alone(ringway: &Ringway) {
    wait_until("one generation is left", || ringway.status()["generations"]["alive"] == 1);
}

fn refuses(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err()
}

both! {
    fn r124_a_listener_that_is_added_serves_and_the_others_keep_their_sockets(io) {
        let origin = Origin::ok("x");
        let ringway = Ringway::start(&text(&origin, &[WEB]), io);
        let mut client = ringway.client();
        assert_eq!(client.get("/").status, 200);
        let before = sockets(ringway.address("web"));
        assert_eq!(before.len(), 2, "one for each worker");
        let answer = ringway.reload(&text(&origin, &[("other", "127.0.0.1:0", ""), WEB]));
        assert_eq!(answer["changes"][0]["name"], "listener \"other\"", "{answer}");
        let other = ringway.address("other");
        for _ in 0..20 {
            let mut fresh = Client::connect(other);
            assert_eq!(name_of(&mut fresh, "other"), (200, "other".to_owned(), false));
        }
        assert_eq!(sockets(ringway.address("web")), before, "the very same sockets");
        assert_eq!(name_of(&mut client, "web"), (200, "web".to_owned(), false), "on the old connection");
        let listeners = ringway.status()["listeners"].to_string();
        assert!(listeners.contains(&other.to_string()), "{listeners}");
        ringway.reload(&text(&origin, &[WEB]));
        wait_until("the added one is gone", || refuses(other));
        assert_eq!(sockets(ringway.address("web")), before);
        assert_eq!(client.get("/").status, 200);
        ringway.stop_after((client, origin));
    }

    fn r124_connections_of_a_listener_that_is_removed_finish_in_order(io) {
        let opener = Gate::default();
        let gate = opener.clone();
        let origin = Origin::start(move |asked| match asked.target() {
            "/slow" => Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").then_wait(&gate).then("slow"),
            _ => Reply::ok("x"),
        });
        let ringway = Ringway::start(&text(&origin, &[WEB]), io);
        ringway.reload(&text(&origin, &[WEB, ("old", "127.0.0.1:0", "")]));
        let old = ringway.address("old");
        let mut idle = Client::connect(old);
        assert!(!idle.get("/").closes());
        let mut busy = Client::connect(old);
        busy.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
        origin.wait_for("the slow request", |all, _| all.iter().any(|asked| asked.target() == "/slow"));
        let mut quick = Client::connect(old);
        assert!(!quick.get("/").closes());
        // Sent before the reload can have happened: the answer may come before or after.
        quick.send("GET / HTTP/1.1\r\nHost: old.test\r\n\r\n");
        ringway.reload(&text(&origin, &[WEB]));
        let response = quick.response("GET");
        assert_eq!((response.status, response.text().as_str()), (200, "old"), "it has the routes that it had");
        if response.closes() {
            assert_eq!(quick.expect_end(), Ending::Closed);
        } else {
            // The next request comes within the half second that idle connections have.
            assert_eq!(name_of(&mut quick, "old"), (200, "old".to_owned(), true));
        }
        assert_eq!(idle.expect_end(), Ending::Closed, "an idle one is closed in order");
        wait_until("nobody listens any more", || refuses(old));
        opener.open();
        let response = busy.response("GET");
        assert_eq!((response.status, response.text().as_str()), (200, "slow"));
        wait_until("the listener is gone from the status", || !ringway.status()["listeners"].to_string().contains("old"));
        let metrics = ringway.admin("/metrics").text();
        assert!(metrics.contains("cause=\"listener_closed\""), "{metrics}");
        drop((idle, busy, quick));
        alone(&ringway);
        ringway.stop_after(origin);
    }

    fn r124_clients_in_the_queue_of_a_removed_listener_are_served(io) {
        let origin = Origin::ok("x");
        let ringway = Ringway::start(&text(&origin, &[WEB]), io);
        let full = [WEB, ("full", "127.0.0.1:0", "limits { connections 2; }")];
        ringway.reload(&text(&origin, &full));
        let full = ringway.address("full");
        // Two workers with one place each: the kernel spreads connections, so some of these wait in a queue.
        let mut clients: Vec<Client> = (0..12).map(|_| Client::connect(full)).collect();
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: full.test\r\n\r\n");
        }
        ringway.reload(&text(&origin, &[WEB]));
        for client in &mut clients {
            let response = client.response("GET");
            assert_eq!((response.status, response.text().as_str()), (200, "full"));
        }
        drop(clients);
        alone(&ringway);
        ringway.stop_after(origin);
    }

    fn r124_a_listener_that_gets_another_name_keeps_its_socket(io) {
        let origin = Origin::ok("x");
        let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
        let fixed = address.to_string();
        let ringway = Ringway::start(&text(&origin, &[WEB, ("before", &fixed, "")]), io);
        let held = sockets(address);
        let mut client = Client::connect(address);
        assert_eq!(name_of(&mut client, "before"), (200, "before".to_owned(), false));
        ringway.reload(&text(&origin, &[("after", &fixed, ""), WEB]));
        assert_eq!(sockets(address), held);
        let mut fresh = Client::connect(address);
        wait_until("new connections are those of the new name", || {
            let (status, body, closes) = name_of(&mut fresh, "after");
            if closes {
                fresh = Client::connect(address);
            }
            (status, body.as_str(), closes) == (200, "after", false)
        });
        assert_eq!(client.expect_end(), Ending::Closed, "those of the old name end");
        ringway.reload(&text(&origin, &[WEB, ("before", &fixed, "")]));
        assert_eq!(sockets(address), held);
        drop((client, fresh));
        alone(&ringway);
        ringway.stop_after(origin);
    }

    fn r124_a_listener_that_moves_keeps_its_connections(io) {
        let origin = Origin::ok("x");
        let ports = [free_port(), free_port()].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let at = |address: SocketAddr| text(&origin, &[WEB, ("moved", &address.to_string(), "")]);
        let ringway = Ringway::start(&at(ports[0]), io);
        let mut client = Client::connect(ports[0]);
        for round in 1..=6 {
            ringway.reload(&at(ports[round % 2]));
            wait_until("it listens at the new place", || !refuses(ports[round % 2]));
            wait_until("it does not at the old one", || refuses(ports[(round + 1) % 2]));
            assert_eq!(name_of(&mut client, "moved"), (200, "moved".to_owned(), false));
        }
        assert_eq!(client.get("/").status, 200, "the connection of the beginning");
        drop(client);
        alone(&ringway);
        ringway.stop_after(origin);
    }

    fn r127_an_address_that_cannot_be_bound_refuses_the_reload(io) {
        let origin = Origin::ok("x");
        let ringway = Ringway::start(&text(&origin, &[WEB]), io);
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let taken = taken.local_addr().map(|address| (taken, address)).expect("it is bound");
        let free: SocketAddr = ([127, 0, 0, 1], free_port()).into();
        let more = [WEB, ("good", &free.to_string(), ""), ("bad", &taken.1.to_string(), "")];
        ringway.rewrite(&text(&origin, &more));
        let (code, _, complained) = ringway.command(&["reload"]);
        assert_eq!(code, Some(1), "{complained}");
        let expected = format!("listener \"bad\" cannot listen on {}", taken.1);
        assert!(complained.contains(&expected) && complained.contains("ringway.kdl:"), "{complained}");
        assert!(complained.contains("take another port"), "{complained}");
        assert!(refuses(free), "nothing of it is left behind");
        let status = ringway.status();
        assert_eq!((&status["generation"], &status["config"]["reloads"]["failed"]), (&1.into(), &1.into()));
        let mut client = ringway.client();
        assert_eq!(client.get("/").status, 200);
        drop(taken);
        ringway.reload(&text(&origin, &more));
        wait_until("both listen now", || !refuses(free));
        ringway.reload(&text(&origin, &[WEB]));
        drop(client);
        alone(&ringway);
        ringway.stop_after(origin);
    }

    fn r124_unix_sockets_come_with_their_file_and_go_with_it(io) {
        let origin = Origin::ok("x");
        let ringway = Ringway::start(&text(&origin, &[WEB]), io);
        let file = ringway.file().with_extension("sock");
        let name = format!("unix:{}", file.display());
        for _ in 0..5 {
            ringway.reload(&text(&origin, &[WEB, ("local", &name, "")]));
            let mut stream = UnixStream::connect(&file).expect("it listens");
            stream.write_all(b"GET / HTTP/1.1\r\nHost: local.test\r\nConnection: close\r\n\r\n").expect("it is open");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("local"), "{answer}");
            ringway.reload(&text(&origin, &[WEB]));
            assert!(!file.exists());
        }
        alone(&ringway);
        ringway.stop_after(origin);
    }

    fn a_unix_socket_has_the_permissions_that_are_written_and_one_without_a_file_needs_none(io) {
        let name = |of: &str| format!("ringway-{}-{io:?}-{of}", std::process::id());
        let nameless = |of: &str| std::os::unix::net::SocketAddr::from_abstract_name(name(of)).expect("it is short");
        let listener = UnixListener::bind_addr(&nameless("endpoint")).expect("the name is free");
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("Ringway connects");
            let mut head = [0; 1024];
            assert!(stream.read(&mut head).expect("a request") > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi").expect("sent");
        });
        let folder = Folder::new();
        let ours = std::fs::metadata(folder.path()).expect("it is ours");
        let file = folder.path().join("web.sock");
        let text = format!(
            "listener \"web\" {{ bind \"unix:{}\" \"unix:@{}\"; socket-file mode=\"0620\" owner=\"{}\" group=\"{}\"; }}\n\
             upstream \"app\" {{ endpoint \"unix:@{}\"; }}\nsite \"*\" {{ route \"/\" upstream=\"app\"; route \"/fixed\" {{ respond 204; }}; }}\n",
            file.display(), name("front"), ours.uid(), ours.gid(), name("endpoint"));
        let ringway = Ringway::start(&text, io);
        let found = std::fs::metadata(&file).expect("it is bound");
        assert_eq!((found.mode() & 0o777, found.gid()), (0o620, ours.gid()));
        for (path, expected) in [("/", "200 "), ("/fixed", "204 ")] {
            let mut stream = UnixStream::connect_addr(&nameless("front")).expect("it listens");
            let request = format!("GET {path} HTTP/1.1\r\nHost: local.test\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).expect("it is open");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("an answer");
            assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{answer}");
        }
        server.join().expect("the endpoint has seen what it should");
        ringway.stop();
        assert!(!file.exists());

        let wrong = text.replace(&format!("owner=\"{}\"", ours.uid()), "owner=\"nobody-of-that-name\"");
        let (mut process, _folder) = Ringway::spawn(&wrong, io);
        assert_eq!(process.wait().and_then(|status| status.code()), Some(1));
        assert!(process.last_words().contains("/etc/passwd has no user \"nobody-of-that-name\""));
    }

    fn r124_listeners_that_come_and_go_under_load_cost_no_request(io) {
        let origin = Origin::ok("x");
        let ringway = Ringway::start(&text(&origin, &[WEB]), io);
        let load = Load::start(ringway.address("web"), 3);
        let over = AtomicBool::new(false);
        let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
        let fixed = address.to_string();
        std::thread::scope(|scope| {
            // Where a listener comes and goes: a connection that is accepted is answered.
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    if let Ok(mut stream) = TcpStream::connect(address) {
                        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
                        let _ = stream.read_to_end(&mut Vec::new());
                    }
                }
            });
            for round in 0..60 {
                let name = format!("guest-{round}");
                match round % 3 {
                    0 => ringway.reload(&text(&origin, &[(&name, &fixed, ""), WEB])),
                    1 => ringway.reload(&text(&origin, &[WEB, ("more", "127.0.0.1:0", ""), ("guest", &fixed, "")])),
                    _ => ringway.reload(&text(&origin, &[WEB])),
                };
            }
            over.store(true, Ordering::Relaxed);
        });
        let (answered, wrong) = load.stop();
        assert!(answered > 100 && wrong.is_empty(), "{answered} answered; {wrong:?}");
        alone(&ringway);
        let status = ringway.status();
        assert_eq!(status["listeners"].as_array().map(Vec::len), Some(1), "{status}");
        let metrics = ringway.admin("/metrics").text();
        let failures: Vec<&str> =
            metrics.lines().filter(|line| line.starts_with("ringway_listen_failures_total")).collect();
        assert!(!failures.is_empty() && failures.iter().all(|line| line.ends_with(" 0")), "{failures:?}");
        ringway.stop_after(origin);
    }

    fn r124_a_flow_goes_on_when_its_listener_is_removed_or_speaks_http_now(io) {
        let echo = Origin::start(|_| Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"));
        let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
        let tcp = format!("{}tcp \"raw\" {{ bind \"{address}\"; upstream \"origin\"; }}\n", text(&echo, &[WEB]));
        let ringway = Ringway::start(&tcp, io);
        let held = sockets(address);
        let mut flow = Client::connect(address);
        assert_eq!(flow.get("/").text(), "x");
        ringway.reload(&text(&echo, &[WEB, ("raw", &address.to_string(), "")]));
        assert_eq!(sockets(address), held, "the socket stays");
        wait_until("new connections are HTTP", || {
            Client::try_connect(address).is_some_and(|mut client| name_of(&mut client, "raw").1 == "raw")
        });
        assert_eq!(flow.get("/").text(), "x", "the flow goes on");
        ringway.reload(&text(&echo, &[WEB]));
        wait_until("nobody listens any more", || refuses(address));
        assert_eq!(flow.get("/").text(), "x", "the flow goes on");
        ringway.reload(&tcp);
        drop(flow);
        alone(&ringway);
        ringway.stop_after(echo);
    }
}
