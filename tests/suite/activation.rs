//! Sockets that a service manager opens, and what it is told.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use crate::harness::{Client, Folder, Origin, PATIENCE, Ringway, wait_until};

/// Opens sockets as its arguments before `--` say (`NAME=KIND:ADDRESS`), and becomes what stands behind, with the sockets
/// as descriptors from 3 on.
const MANAGER: &str = r#"
import os, socket, sys
at = sys.argv.index("--")
opened = []
for word in sys.argv[1:at]:
    name, place = word.split("=", 1)
    kind, addr = place.split(":", 1)
    if kind == "unix":
        one = socket.socket(socket.AF_UNIX)
        one.bind(addr)
    else:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
        host, port = addr.rsplit(":", 1)
        one.bind((host, int(port)))
    if kind in ("tcp", "unix"):
        one.listen(64)
    opened.append((name, os.dup(one.fileno()), one))
high = [os.dup(fd) for _, fd, _ in opened for _ in range(16)][15::16]
for place, fd in enumerate(high):
    os.dup2(fd, 3 + place, inheritable=True)
    print("passed", opened[place][0], opened[place][2].getsockname(), file=sys.stderr, flush=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(opened)),
                  LISTEN_FDNAMES=":".join(name for name, _, _ in opened))
os.execvp(sys.argv[at + 1], sys.argv[at + 1:])
"#;

fn manager<'a>(sockets: &[&'a str]) -> Vec<&'a str> {
    [&["python3", "-c", MANAGER], sockets, &["--"]].concat()
}

fn text(listeners: &str, origin: &Origin) -> String {
    let endpoint = origin.address();
    format!(
        "{listeners}\nupstream \"origin\" {{ endpoint \"{endpoint}\" }}\nsite \"*\" {{ route \"/\" upstream=\"origin\" }}\n"
    )
}

/// A port that was free a moment ago.
fn free() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound")
}

#[track_caller]
fn get_over(path: &std::path::Path) -> String {
    let mut stream = UnixStream::connect(path).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a timeout");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an orderly end");
    answer
}

both! {
    fn passed_sockets_are_taken_by_name_and_by_address_and_shared_by_all_workers(io) {
        let origin = Origin::ok("x");
        let (folder, addr) = (Folder::new(), free());
        let path = folder.path().join("web.sock");
        let (by_addr, by_path) = (format!("b=tcp:{addr}"), format!("c=unix:{}", path.display()));
        let listeners = format!(
            "listener \"web\" {{ bind \"fd:a\" }}\nlistener \"second\" {{ bind \"{addr}\" \"unix:{}\" }}",
            path.display()
        );
        let sockets = ["a=tcp:127.0.0.1:0", &by_addr, &by_path, "spare=tcp:127.0.0.1:0"];
        let ringway = Ringway::start_through(&manager(&sockets), &text(&listeners, &origin), io);
        let mut clients: Vec<Client> = (0..40).map(|_| ringway.client()).collect();
        assert!(clients.iter_mut().all(|client| client.get("/").status == 200));
        assert_eq!(Client::connect(addr).get("/").status, 200);
        assert!(get_over(&path).starts_with("HTTP/1.1 200 "));
        // Both wait at the same queue, and a worker that is busy leaves connections to the other.
        wait_until("both workers have accepted some", || {
            clients.push(ringway.client());
            let status = ringway.status();
            let workers = status["workers"].as_array().cloned().unwrap_or_default();
            workers.len() == 2 && workers.iter().all(|worker| worker["connections"].as_u64() > Some(0))
        });
        ringway.says("the passed socket \"spare\" is used by no listener: 127.0.0.1:");
        ringway.stop_after((clients, origin));
        assert!(path.exists(), "the file belongs to whoever passed the socket");
    }

    fn a_socket_that_is_missing_or_of_the_wrong_kind_is_named(io) {
        let origin = Origin::ok("x");
        let web = text("listener \"web\" { bind \"fd:web\" }", &origin);
        let cases: [(&[&str], &str); 5] = [
            (&["a=tcp:127.0.0.1:0", "b=tcp:127.0.0.1:0"], "no socket of that name was passed, only a, b"),
            (&["web=udp:127.0.0.1:0"], "it is no stream socket"),
            (&["web=idle:127.0.0.1:0"], "it does not listen"),
            (&["web=tcp:127.0.0.1:0", "web=tcp:127.0.0.1:0"], "2 sockets of that name were passed"),
            (&[], "no socket was passed to this process"),
        ];
        for (sockets, why) in cases {
            let (mut process, _folder) = Ringway::spawn_through(&manager(sockets), &web, io);
            assert!(process.wait().is_some_and(|status| !status.success()), "{why}");
            let said = process.last_words();
            assert!(said.contains("listener \"web\" cannot listen on fd:web") && said.contains(why), "{said}");
            assert!(said.contains("FileDescriptorName="), "{said}");
        }
    }

    fn a_reload_goes_from_one_passed_socket_to_another_and_back(io) {
        let origin = Origin::ok("x");
        let (one, two) = (free(), free());
        let sockets = [format!("one=tcp:{one}"), format!("two=tcp:{two}")];
        let manager = manager(&sockets.each_ref().map(String::as_str));
        let with = |name: &str| text(&format!("listener \"web\" {{ bind \"fd:{name}\" }}"), &origin);
        let ringway = Ringway::start_through(&manager, &with("one"), io);
        assert_eq!(Client::connect(one).get("/").status, 200);
        for (name, addr) in [("two", two), ("one", one), ("two", two)] {
            ringway.reload(&with(name));
            assert_eq!(Client::connect(addr).get("/").status, 200, "{name}");
        }
        ringway.signal("TERM");
        ringway.expect_clean_exit();
    }

    fn the_manager_is_told_when_it_is_ready_and_when_it_stops(io) {
        let (folder, origin) = (Folder::new(), Origin::ok("x"));
        let path = folder.path().join("notify.sock");
        let socket = UnixDatagram::bind(&path).expect("a new path");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket has a timeout");
        let told = || {
            let mut bytes = [0; 64];
            let length = socket.recv(&mut bytes).expect("it is told in time");
            String::from_utf8_lossy(&bytes[..length]).into_owned()
        };
        let variable = format!("NOTIFY_SOCKET={}", path.display());
        let listener = "listener \"web\" { bind \"127.0.0.1:0\" }";
        let ringway = Ringway::start_through(&["env", &variable], &text(listener, &origin), io);
        assert_eq!(told(), "READY=1");
        ringway.signal("TERM");
        assert_eq!(told(), "STOPPING=1");
        ringway.expect_clean_exit();
    }
}
