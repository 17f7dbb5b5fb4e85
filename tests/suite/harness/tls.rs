//! TLS of the suite: authorities and certificates that each test makes, and peers that others wrote.

use super::{Folder, PATIENCE};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// An authority, and a folder for what it issues.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: Folder,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Authority {
    pub(crate) fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // Two of one name would make certificates look badly signed instead of foreign.
        let name = format!("authority {}", NEXT.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let folder = Folder::new();
        let pem = params.self_signed(&key).expect("it signs itself").pem();
        std::fs::write(folder.path().join("ca.pem"), pem).expect("write the authority");
        Authority { issuer: Issuer::new(params, key), folder }
    }

    /// Its own certificate.
    pub(crate) fn ca(&self) -> String {
        self.path("ca.pem")
    }

    /// A file beside what it issues.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes `NAME.pem` and `NAME.key` for a server of these names.
    pub(crate) fn issue(&self, name: &str, names: &[&str]) {
        self.issue_with(name, names, |_| {});
    }

    /// The same, changed before it is signed.
    pub(crate) fn issue_with(&self, name: &str, names: &[&str], change: impl FnOnce(&mut CertificateParams)) {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
                .expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_identifier_method = KeyIdMethod::Sha256;
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("it is signed");
        std::fs::write(self.path(&format!("{name}.pem")), cert.pem()).expect("write the certificate");
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).expect("write the key");
    }

    /// One whose time is over.
    pub(crate) fn issue_expired(&self, name: &str, names: &[&str]) {
        self.issue_with(name, names, |params| {
            params.not_before = date_time_ymd(2019, 1, 1);
            params.not_after = date_time_ymd(2020, 1, 1);
        });
    }

    /// A client's certificate with a URI, a DNS name and a serial number.
    pub(crate) fn issue_client(&self, name: &str, serial: u64) {
        self.issue_with(name, &[&format!("{name}.clients.example")], |params| {
            let uri = format!("spiffe://example/{name}").try_into().expect("a URI");
            params.subject_alt_names.insert(0, SanType::URI(uri));
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params.serial_number = Some(SerialNumber::from(serial));
        });
    }

    /// Writes `NAME` as a list of revoked serial numbers.
    pub(crate) fn revoke(&self, name: &str, serials: &[u64]) {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let pem = list.signed_by(&self.issuer).expect("it is signed").pem().expect("it is text");
        std::fs::write(self.path(name), pem).expect("write the list");
    }

    /// `certificate …` of a listener, for `NAME.pem` and `NAME.key`.
    pub(crate) fn certificate(&self, name: &str) -> String {
        format!(
            "certificate cert=\"{}\" key=\"{}\"\n",
            self.path(&format!("{name}.pem")),
            self.path(&format!("{name}.key"))
        )
    }
}

/// What a program said, on both outputs, and whether it ended well.
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) good: bool,
}

/// Runs a program with that input to its end.
#[track_caller]
pub(crate) fn run(program: &str, args: &[&str], input: &[u8]) -> Said {
    let seconds = (2 * PATIENCE.as_secs()).to_string();
    let mut child = Command::new("timeout")
        .args([&seconds, program])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
    let mut stdin = child.stdin.take().expect("it is piped");
    // Whoever refuses what comes closes its input.
    let _ = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Said { text, good: output.status.success() }
}

/// `openssl s_client` against `to`, asking for `name`, with further arguments; it sends one request and reads to the end.
#[track_caller]
pub(crate) fn s_client(to: SocketAddr, name: &str, args: &[&str], host: &str) -> Said {
    let to = to.to_string();
    let mut all = vec!["s_client", "-connect", &to, "-ign_eof", "-servername", name];
    all.extend(args);
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    run("openssl", &all, request.as_bytes())
}

/// An `openssl s_client` that is typed to: lines that begin with `K` ask for new keys, with `R` for a renegotiation.
pub(crate) struct Typed {
    child: std::process::Child,
    stdin: std::process::ChildStdin,
    said: Arc<Mutex<String>>,
}

impl Typed {
    /// Connects, and waits until the handshake is over.
    #[track_caller]
    pub(crate) fn connect(to: SocketAddr, name: &str, args: &[&str]) -> Typed {
        let to = to.to_string();
        let mut child = Command::new("timeout")
            .args(["60", "openssl", "s_client", "-connect", &to, "-servername", name])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl starts");
        let said = Arc::new(Mutex::new(String::new()));
        let outputs: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().expect("it is piped")),
            Box::new(child.stderr.take().expect("it is piped")),
        ];
        for mut output in outputs {
            let said = Arc::clone(&said);
            std::thread::spawn(move || {
                let mut piece = [0; 4096];
                while let Ok(length @ 1..) = output.read(&mut piece) {
                    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                    said.push_str(&String::from_utf8_lossy(&piece[..length]));
                }
            });
        }
        let stdin = child.stdin.take().expect("it is piped");
        let typed = Typed { child, stdin, said };
        super::wait_until("the handshake is over", || typed.said().contains("Verify return code"));
        typed
    }

    /// Everything that it said so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Types it, and waits until it has had that effect, or the connection is over; false then.
    #[track_caller]
    pub(crate) fn line(&mut self, line: &str, effect: impl Fn(&str) -> bool) -> bool {
        if self.stdin.write_all(line.as_bytes()).is_err() {
            return false;
        }
        let mut ended = false;
        super::wait_until("a line that was typed has its effect", || {
            ended = matches!(self.child.try_wait(), Ok(Some(_)));
            ended || effect(&self.said())
        });
        !ended
    }
}

impl Drop for Typed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `curl` for an URL of `name`, which is taken to be at `to`, with further arguments; both outputs.
#[track_caller]
pub(crate) fn curl(to: SocketAddr, name: &str, path: &str, args: &[&str]) -> Said {
    let place = format!("{name}:{}:{}", to.port(), to.ip());
    let url = format!("https://{name}:{}{path}", to.port());
    let mut all = vec!["--silent", "--show-error", "--max-time", "20", "--resolve", &place];
    all.extend(args);
    all.push(&url);
    run("curl", &all, b"")
}

/// Stands between a client and `to` and passes on what the client sends in pieces of `size` bytes, each a segment of its
/// own; serves one connection.
pub(crate) fn dripping(to: SocketAddr, size: usize) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || -> std::io::Result<()> {
        let (mut client, _) = listener.accept()?;
        let mut server = TcpStream::connect(to)?;
        server.set_nodelay(true)?;
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        }
        let (mut back_from, mut back_to) = (server.try_clone()?, client.try_clone()?);
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut back_from, &mut back_to);
            let _ = back_to.shutdown(std::net::Shutdown::Both);
        });
        let mut buffer = [0; 4096];
        loop {
            let received = client.read(&mut buffer)?;
            if received == 0 {
                return server.shutdown(std::net::Shutdown::Write);
            }
            for piece in buffer[..received].chunks(size) {
                server.write_all(piece)?;
            }
        }
    });
    address
}

/// Sends these bytes and nothing more, and waits until the other side ends the connection.
pub(crate) fn stall(to: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(to).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let _ = stream.write_all(bytes);
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}

/// The first message of a client that asks for `name`, as `openssl` writes it.
#[track_caller]
pub(crate) fn client_hello(name: &str) -> Vec<u8> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let to = listener.local_addr().expect("it is bound").to_string();
    let taking = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("openssl connects");
        let mut hello = vec![0; 4096];
        let length = stream.read(&mut hello).expect("it greets");
        hello.truncate(length);
        hello
    });
    let _ = run("openssl", &["s_client", "-connect", &to, "-servername", name], b"");
    taking.join().expect("a greeting")
}

/// A Python program that is told a folder; ends with the test.
pub(crate) fn python(script: &str, args: &[&str]) -> super::process::Process {
    let mut all = vec!["-c", script];
    all.extend(args);
    super::process::Process::start("python3", &all)
}

/// Where a path lies in the folder of an authority.
pub(crate) fn beside(authority: &Authority, name: &str) -> PathBuf {
    authority.folder().join(name)
}
