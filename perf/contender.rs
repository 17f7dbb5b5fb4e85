//! The proxies that are compared, each configured for the same job: forward to one origin over kept
//! connections, tell it who asked (X-Forwarded-For, -Proto, -Host), one worker, no log unless named so.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::failure::{Failure, at};
use crate::passthrough;
use crate::peers;
use crate::process::Process;
use crate::workload::Workload;

/// A proxy in one of its variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    RingwayUring,
    RingwayEpoll,
    RingwayUringLog,
    RingwayEpollLog,
    Nginx,
    NginxLog,
    Haproxy,
    /// With `option splice-response`; it only takes part where bodies are long.
    HaproxySplice,
    Envoy,
    Traefik,
    /// It has no layer 4, so it takes no part there.
    Caddy,
}

impl Contender {
    /// Every variant.
    pub(crate) const ALL: [Contender; 11] = [
        Contender::RingwayUring,
        Contender::RingwayEpoll,
        Contender::RingwayUringLog,
        Contender::RingwayEpollLog,
        Contender::Nginx,
        Contender::NginxLog,
        Contender::Haproxy,
        Contender::HaproxySplice,
        Contender::Envoy,
        Contender::Traefik,
        Contender::Caddy,
    ];

    /// Name on the command line and in the results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Contender::RingwayUring => "ringway-io_uring",
            Contender::RingwayEpoll => "ringway-epoll",
            Contender::RingwayUringLog => "ringway-io_uring-log",
            Contender::RingwayEpollLog => "ringway-epoll-log",
            Contender::Nginx => "nginx",
            Contender::NginxLog => "nginx-log",
            Contender::Haproxy => "haproxy",
            Contender::HaproxySplice => "haproxy-splice",
            Contender::Envoy => "envoy",
            Contender::Traefik => "traefik",
            Contender::Caddy => "caddy",
        }
    }

    /// True for the variants that write an access log; they only take part in [`Workload::LogOn`].
    pub(crate) fn logs(self) -> bool {
        matches!(self, Contender::RingwayUringLog | Contender::RingwayEpollLog | Contender::NginxLog)
    }

    /// True for our own binary.
    pub(crate) fn is_ringway(self) -> bool {
        matches!(
            self,
            Contender::RingwayUring
                | Contender::RingwayEpoll
                | Contender::RingwayUringLog
                | Contender::RingwayEpollLog
        )
    }

    /// True for the proxies that are not in Debian; a quick comparison does without them.
    pub(crate) fn is_slow_to_get(self) -> bool {
        matches!(self, Contender::Envoy | Contender::Traefik | Contender::Caddy)
    }

    /// Whether it is compared in `workload`.
    pub(crate) fn takes_part(self, workload: Workload) -> bool {
        match workload {
            Workload::LogOn => self.is_ringway() || matches!(self, Contender::Nginx | Contender::NginxLog),
            _ if self.logs() => false,
            Workload::Body1m | Workload::Body128k => true,
            Workload::TcpBulk => self != Contender::Caddy,
            _ if self == Contender::HaproxySplice => false,
            _ => self != Contender::Caddy || !workload.is_tcp(),
        }
    }

    /// The configuration file for `workload`, listening on `port` and forwarding to `origin`.
    ///
    /// It speaks HTTP/2 on the port behind it: where both versions share one, that one speaks both.
    pub(crate) fn configuration(self, workload: Workload, port: u16, origin: u16, dir: &Path) -> String {
        let log = dir.join(format!("{}.access.log", self.name()));
        if workload.is_tcp() {
            return match self {
                Contender::Nginx | Contender::NginxLog => passthrough::nginx(workload, port, origin),
                Contender::Haproxy => passthrough::haproxy(workload, port, origin, false),
                Contender::HaproxySplice => passthrough::haproxy(workload, port, origin, true),
                Contender::Envoy => peers::envoy(workload, port, origin, dir),
                // Caddy takes no part here.
                Contender::Traefik | Contender::Caddy => peers::traefik(workload, origin, dir),
                Contender::RingwayUring | Contender::RingwayUringLog => {
                    passthrough::ringway("io_uring", port, origin)
                }
                Contender::RingwayEpoll | Contender::RingwayEpollLog => {
                    passthrough::ringway("epoll", port, origin)
                }
            };
        }
        match self {
            Contender::Nginx => nginx(workload, port, origin, "off", dir),
            Contender::NginxLog => nginx(workload, port, origin, &log.display().to_string(), dir),
            Contender::Haproxy => haproxy(workload, port, origin, "", dir),
            // `splice-auto` did not choose to splice these answers (790 us per 1 MiB, as without).
            Contender::HaproxySplice => haproxy(workload, port, origin, "  option splice-response\n", dir),
            Contender::RingwayUring => ringway(workload, "io_uring", port, origin, None, dir),
            Contender::RingwayEpoll => ringway(workload, "epoll", port, origin, None, dir),
            Contender::RingwayUringLog => ringway(workload, "io_uring", port, origin, Some(&log), dir),
            Contender::RingwayEpollLog => ringway(workload, "epoll", port, origin, Some(&log), dir),
            Contender::Envoy => peers::envoy(workload, port, origin, dir),
            Contender::Traefik => peers::traefik(workload, origin, dir),
            Contender::Caddy => peers::caddy(workload, port, origin, dir),
        }
    }

    fn file_name(self) -> String {
        let ending = match self {
            Contender::Nginx | Contender::NginxLog => "conf",
            Contender::Haproxy | Contender::HaproxySplice => "cfg",
            Contender::Envoy => "yaml",
            // It takes a `traefik.yaml` in its folder for the other half of its configuration.
            Contender::Traefik => "routes.yaml",
            Contender::Caddy => "caddyfile",
            _ => "kdl",
        };
        format!("{}.{ending}", self.name())
    }
}

/// A contender that serves.
pub(crate) struct Running {
    pub(crate) contender: Contender,
    pub(crate) port: u16,
    pub(crate) process: Process,
    /// The text that it was started with.
    pub(crate) configuration: String,
    /// What the origin saw of a request that went through it.
    pub(crate) seen_by_origin: String,
}

impl Running {
    /// Where `workload` goes to.
    pub(crate) fn port_for(&self, workload: Workload) -> u16 {
        if workload.has_second_port() { self.port + 1 } else { self.port }
    }
}

impl Running {
    /// Starts a contender on `core` and waits until a request through it is answered.
    pub(crate) fn start(
        contender: Contender,
        workload: Workload,
        origin: u16,
        core: usize,
        ringway: &Path,
        dir: &Path,
    ) -> Result<Running, Failure> {
        let port = free_port(2)?;
        if workload.is_secured() {
            make_certificate(dir)?;
        }
        let configuration = contender.configuration(workload, port, origin, dir);
        let file = dir.join(contender.file_name());
        std::fs::write(&file, &configuration).map_err(at(&file))?;
        let path = file.display().to_string();
        let of_traefik = peers::traefik_arguments(port, &path);
        let (program, args): (PathBuf, Vec<&str>) = match contender {
            Contender::Nginx | Contender::NginxLog => {
                ("nginx".into(), vec!["-p", ".", "-e", "stderr", "-c", &path])
            }
            Contender::Haproxy | Contender::HaproxySplice => ("haproxy".into(), vec!["-db", "-f", &path]),
            Contender::Envoy => ("envoy".into(), [&peers::ENVOY_ARGUMENTS[..], &["-c", &path]].concat()),
            Contender::Traefik => ("traefik".into(), of_traefik.iter().map(String::as_str).collect()),
            Contender::Caddy => ("caddy".into(), vec!["run", "--adapter", "caddyfile", "--config", &path]),
            _ => (ringway.into(), vec!["run", &path]),
        };
        let mut process = Process::start(contender.name(), core, &program, &args, dir)?;
        let seen_by_origin = wait_until_serving(&mut process, port)?;
        Ok(Running { contender, port, process, configuration, seen_by_origin })
    }
}

/// Starts the origin: nginx with a fixed answer and two files.
pub(crate) fn start_origin(core: usize, dir: &Path) -> Result<(Process, u16), Failure> {
    let port = free_port(1)?;
    for (name, bytes) in [("16k", 16 << 10), ("128k", 128 << 10), ("1m", 1 << 20)] {
        let file = dir.join(name);
        std::fs::write(&file, vec![b'x'; bytes]).map_err(at(&file))?;
    }
    let file = dir.join("origin.conf");
    std::fs::write(&file, origin(port, dir)).map_err(at(&file))?;
    let path = file.display().to_string();
    let args = ["-p", ".", "-e", "stderr", "-c", &path];
    let mut process = Process::start("origin", core, Path::new("nginx"), &args, dir)?;
    wait_until_serving(&mut process, port)?;
    Ok((process, port))
}

/// A certificate for the workloads over TLS, with its key, and both in one file; ECDSA on P-256.
fn make_certificate(dir: &Path) -> Result<(), Failure> {
    let (cert, key) = (dir.join(CERT), dir.join(KEY));
    if cert.exists() {
        return Ok(());
    }
    let mut command = std::process::Command::new("openssl");
    command.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "30",
    ]);
    command.args(["-subj", "/CN=perf.example", "-addext", "subjectAltName=DNS:perf.example,IP:127.0.0.1"]);
    let output = command.arg("-keyout").arg(&key).arg("-out").arg(&cert).output();
    let output = output.map_err(|source| Failure::Spawn { program: "openssl".into(), source })?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Failure::Unreadable { what: "what openssl made", text });
    }
    let both = [std::fs::read(&cert).map_err(at(&cert))?, std::fs::read(&key).map_err(at(&key))?].concat();
    let file = dir.join(BOTH);
    std::fs::write(&file, both).map_err(at(&file))
}

pub(crate) const CERT: &str = "perf.pem";
pub(crate) const KEY: &str = "perf.key";
const BOTH: &str = "perf-both.pem";

/// The body of `/seen`, asked until it is answered with 200.
fn wait_until_serving(process: &mut Process, port: u16) -> Result<String, Failure> {
    let deadline = Instant::now() + Duration::from_secs(15);
    while Instant::now() < deadline && !process.ended() {
        if let Ok(answer) = ask(port, "/seen")
            && answer.starts_with("HTTP/1.1 200")
        {
            return Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_string()).unwrap_or_default());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(process.not_serving())
}

fn ask(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: perf.example\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The first of so many neighbouring loopback ports that were free a moment ago, below the range that outgoing connections
/// take.
fn free_port(count: u16) -> Result<u16, Failure> {
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 6000).unwrap_or(0);
    for _ in 0..6000 {
        let step = NEXT.fetch_add(count, std::sync::atomic::Ordering::Relaxed);
        let port = 20_000 + (start + step) % 12_000;
        if (port..port + count).all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()) {
            return Ok(port);
        }
    }
    Err(Failure::Usage("no free loopback port between 20000 and 32000".into()))
}

fn origin(port: u16, dir: &Path) -> String {
    let body = "x".repeat(128);
    format!(
        "worker_processes 1; daemon off; pid origin.pid; error_log stderr crit; worker_rlimit_nofile 20000;
events {{ worker_connections 8192; }}
http {{
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; open_file_cache max=16;
  sendfile_max_chunk 1m; keepalive_requests 100000000; keepalive_timeout 300s;
  client_body_temp_path tmp-body; proxy_temp_path tmp-proxy; fastcgi_temp_path tmp-f;
  uwsgi_temp_path tmp-u; scgi_temp_path tmp-s;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    root {dir};
    location = /s {{ return 200 \"{body}\"; }}
    location = /seen {{ return 200 \"$server_protocol host=$http_host connection=$http_connection \
xff=$http_x_forwarded_for xfp=$http_x_forwarded_proto xfh=$http_x_forwarded_host \
forwarded=$http_forwarded via=$http_via\"; }}
  }}
}}
",
        dir = dir.display()
    )
}

fn nginx(workload: Workload, port: u16, origin: u16, log: &str, dir: &Path) -> String {
    // Buffers as large as the answer where that is small, an allocation per request less; for 1 MiB, 128 KiB came
    // out best of 64, 128, 256 and 512 KiB (362 us per request at the least, the others 650 to 750).
    let buffers = match workload {
        Workload::Body1m | Workload::Body128k => {
            "proxy_buffer_size 128k; proxy_buffers 8 128k; proxy_busy_buffers_size 512k;"
        }
        Workload::Body16k => "proxy_buffer_size 32k; proxy_buffers 8 32k; proxy_busy_buffers_size 64k;",
        _ => "proxy_buffer_size 4k; proxy_buffers 8 16k; proxy_busy_buffers_size 32k;",
    };
    let http2 = match workload {
        Workload::Http2 => format!("listen 127.0.0.1:{} http2 backlog=4096;\n    ", port + 1),
        // Sessions are not resumed by wrk; what is compared is the full handshake.
        _ if workload.is_secured() => format!(
            "listen 127.0.0.1:{} ssl backlog=4096; ssl_certificate {}; ssl_certificate_key {};\n    ",
            port + 1,
            dir.join(CERT).display(),
            dir.join(KEY).display()
        ),
        _ => String::new(),
    };
    let log = if log == "off" { "off".into() } else { format!("{log} combined buffer=64k flush=1s") };
    format!(
        "worker_processes 1; daemon off; pid nginx-{port}.pid; error_log stderr crit; worker_rlimit_nofile 20000;
events {{ worker_connections 8192; multi_accept on; }}
http {{
  access_log {log}; sendfile on; tcp_nodelay on; keepalive_requests 100000000; keepalive_timeout 300s;
  client_body_temp_path tmp-body; proxy_temp_path tmp-proxy; fastcgi_temp_path tmp-f;
  uwsgi_temp_path tmp-u; scgi_temp_path tmp-s;
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 1024; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    {http2}location / {{
      proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection \"\";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $host;
      {buffers} proxy_max_temp_file_size 0;
    }}
  }}
}}
"
    )
}

fn haproxy(workload: Workload, port: u16, origin: u16, splice: &str, dir: &Path) -> String {
    // For 1 MiB, 64 KiB came out better than 128 and 256 KiB (458 us per request at the least, against 703 and 884).
    let bufsize = match workload {
        Workload::Body1m | Workload::Body128k if splice.is_empty() => "  tune.bufsize 65536\n",
        // Best of 64 KiB, 256 KiB and 1 MiB, beside buffers of 16 KiB (the default) or 64 KiB.
        Workload::Body1m | Workload::Body128k => "  maxpipes 512\n  tune.pipesize 262144\n",
        Workload::Body16k => "  tune.bufsize 32768\n",
        _ => "",
    };
    let http2 = match workload {
        Workload::Http2 => format!("  bind 127.0.0.1:{} proto h2 backlog 4096\n", port + 1),
        _ if workload.is_secured() => {
            format!("  bind 127.0.0.1:{} ssl crt {} backlog 4096\n", port + 1, dir.join(BOTH).display())
        }
        _ => String::new(),
    };
    format!(
        "global
  nbthread 1
  maxconn 8000
{bufsize}defaults
  mode http
  timeout client 300s
  timeout server 300s
  timeout connect 5s
  option http-keep-alive
  http-reuse always
{splice}frontend web
  bind 127.0.0.1:{port} backlog 4096
{http2}  option forwardfor
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  default_backend origin
backend origin
  server one 127.0.0.1:{origin} pool-max-conn 1024
"
    )
}

fn ringway(workload: Workload, io: &str, port: u16, origin: u16, log: Option<&Path>, dir: &Path) -> String {
    let log = match log {
        Some(file) => format!("file \"{}\"; format \"json\"", file.display()),
        None => "off".into(),
    };
    let http2 = match workload {
        Workload::Http2 => format!(" \"127.0.0.1:{}\"; http2 \"cleartext\"", port + 1),
        _ => String::new(),
    };
    let tls = match workload.is_secured() {
        true => format!(
            "listener \"secured\" {{ bind \"127.0.0.1:{}\"; tls {{ certificate cert=\"{}\" key=\"{}\"; }}; }}\n",
            port + 1,
            dir.join(CERT).display(),
            dir.join(KEY).display()
        ),
        false => String::new(),
    };
    format!(
        "{tls}workers 1
io \"{io}\"
admin {{ bind \"127.0.0.1:0\" }}
access-log {{ {log} }}
listener \"web\" {{ bind \"127.0.0.1:{port}\"{http2} }}
upstream \"origin\" {{ endpoint \"127.0.0.1:{origin}\" }}
site \"*\" {{ route \"/\" upstream=\"origin\" }}
"
    )
}
