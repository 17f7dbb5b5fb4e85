//! A real upstream: nginx on a free loopback port, with small answers and files up to 64 MiB.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};

use super::process::Process;
use super::{Folder, wait_until};

/// Files that it serves: name and bytes. They have no blocks on disk and read as zeros.
pub(crate) const FILES: [(&str, u64); 4] =
    [("128b", 128), ("16k", 16 << 10), ("1m", 1 << 20), ("64m", 64 << 20)];

/// A running nginx, one process, ended when dropped.
pub(crate) struct Nginx {
    address: SocketAddr,
    process: Process,
    _folder: Folder,
}

impl Nginx {
    /// Starts it and waits until it accepts connections. `/ok` answers `NAME`.
    #[track_caller]
    pub(crate) fn start(name: &str) -> Nginx {
        Nginx::start_with("", |root| usual(root, name))
    }

    /// The same with TLS.
    #[track_caller]
    pub(crate) fn start_secured(name: &str, cert: &str, key: &str) -> Nginx {
        Nginx::start_with(" ssl", |root| {
            format!("ssl_certificate {cert}; ssl_certificate_key {key};\n{}", usual(root, name))
        })
    }

    /// The same for clients with a certificate of the authority `ca`; others get 400.
    #[track_caller]
    pub(crate) fn start_mutual(name: &str, cert: &str, key: &str, ca: &str) -> Nginx {
        Nginx::start_with(" ssl", |root| {
            format!(
                "ssl_certificate {cert}; ssl_certificate_key {key}; ssl_client_certificate {ca}; \
                 ssl_verify_client on;\n{}",
                usual(root, name)
            )
        })
    }

    /// Starts it with `options` of its `listen` and the content that `server` gives for the folder of its files.
    #[track_caller]
    pub(crate) fn start_with(options: &str, server: impl Fn(&str) -> String) -> Nginx {
        Nginx::start_within("", options, server)
    }

    /// The same with `http` beside the server.
    #[track_caller]
    pub(crate) fn start_within(http: &str, options: &str, server: impl Fn(&str) -> String) -> Nginx {
        // The port is free when chosen and may be taken when nginx comes to it: then another is tried.
        for _ in 0..5 {
            if let Some(nginx) = Nginx::try_start(http, options, &server) {
                return nginx;
            }
        }
        panic!("nginx did not start five times in a row; is it installed (tests/run does that)?");
    }

    fn try_start(http: &str, options: &str, server: &impl Fn(&str) -> String) -> Option<Nginx> {
        let folder = Folder::new();
        for (file, bytes) in FILES {
            let made = File::create(folder.path().join(file)).and_then(|file| file.set_len(bytes));
            made.expect("the temporary directory takes files");
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let path = folder.path().display().to_string();
        let conf = folder.path().join("nginx.conf");
        std::fs::write(&conf, configuration(address, http, options, &server(&path)))
            .expect("write nginx.conf");
        let conf = conf.display().to_string();
        let mut process = Process::start("nginx", &["-p", &path, "-e", "stderr", "-c", &conf]);
        let mut serves = false;
        wait_until("nginx accepts or ends", || {
            serves = TcpStream::connect(address).is_ok();
            serves || !process.runs()
        });
        (serves && process.runs()).then_some(Nginx { address, process, _folder: folder })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it without warning, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process.signal("KILL");
        self.process.wait();
    }
}

fn usual(root: &str, name: &str) -> String {
    format!(
        "root {root};
    location = /ok {{ return 200 \"{name}\"; }}
    location = /post {{ client_max_body_size 0; return 200 \"{name}\"; }}"
    )
}

/// A port below the range of outgoing connections that nobody listens on.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 600 * 20).unwrap_or(0);
    for _ in 0..12_000 {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free loopback port between 20000 and 32000");
}

fn configuration(address: SocketAddr, http: &str, options: &str, server: &str) -> String {
    format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; keepalive_requests 1000000; keepalive_timeout 60s; default_type text/plain;
  client_body_temp_path tmp-b; proxy_temp_path tmp-p; fastcgi_temp_path tmp-f; uwsgi_temp_path tmp-u;
  scgi_temp_path tmp-s;
  {http}
  server {{
    listen {address} backlog=2048{options};
    {server}
  }}
}}
"
    )
}
