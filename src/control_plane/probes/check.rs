//! One check of one endpoint: what is done, and within which time.

use super::finding::Finding;
use super::tls::Tls;
use super::{datagram, exchange, grpc};
use base::addr::Addr;
use config::model::{GrpcCheck, Health as Written, HttpCheck, ProxyVersion, TcpCheck, UdpCheck};
use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::Instant;
use traffic::egress::Egress;
use wire::proxy_protocol::Announcement;

/// A check as it is performed.
#[derive(Clone)]
pub(super) struct Check {
    kind: Kind,
    schedule: TcpCheck,
    /// Addresses of this machine that the connection may come from; empty: the kernel chooses.
    sources: Box<[IpAddr]>,
    /// What stands before everything else: a header of the PROXY protocol, or nothing.
    opening: Vec<u8>,
}

#[derive(Clone)]
enum Kind {
    Http(HttpCheck, Option<Tls>),
    Tcp,
    Tls(Tls),
    /// The handshake that requests would make.
    Handshake(Tls),
    Grpc(GrpcCheck),
    Udp(UdpCheck),
    /// It cannot be performed, for this reason. That was refused when the configuration was loaded, unless a file has
    /// changed since.
    Unprepared(String),
}

/// What a check ended with.
#[derive(Debug)]
pub(super) enum Verdict {
    Passed,
    Failed(Finding),
    /// It was we who lacked time or descriptors: no word about the endpoint.
    Void(Finding),
}

impl Check {
    /// `egress` is that of the upstream. A check has no client, so that one for clients comes from this machine.
    /// `announces`: the form of the header with which the check begins.
    pub(super) fn new(
        written: &Written,
        egress: Option<&Egress>,
        connector: Option<&tls::Connector>,
        announces: Option<ProxyVersion>,
    ) -> Check {
        let sources = match egress {
            Some(Egress::Own(own)) => own.clone(),
            Some(Egress::Client) | None => Box::default(),
        };
        let kind = match written {
            Written::Http(check) => Kind::Http(check.clone(), connector.map(Tls::of_upstream)),
            Written::Tcp(_) => Kind::Tcp,
            Written::Tls(check) => Tls::new(check).map_or_else(Kind::Unprepared, Kind::Tls),
            Written::Grpc(check) => Kind::Grpc(check.clone()),
            Written::Udp(check) => Kind::Udp(check.clone()),
        };
        Check { kind, schedule: written.schedule().clone(), sources, opening: opening(announces) }
    }

    /// The same that completes a handshake of TLS and asks nothing.
    pub(super) fn by_handshake(self, tls: Tls) -> Check {
        Check { kind: Kind::Handshake(tls), ..self }
    }

    pub(super) fn schedule(&self) -> &TcpCheck {
        &self.schedule
    }

    /// Performs the check within its time. `name` is what the endpoint must be certified as unless the rules say otherwise.
    pub(super) async fn perform(&self, addr: &Addr, name: &str) -> Verdict {
        let (timeout, began) = (self.schedule.timeout, Instant::now());
        let finding = match tokio::time::timeout(timeout, self.run(addr, name)).await {
            Ok(Ok(())) => return Verdict::Passed,
            Ok(Err(finding)) => finding,
            Err(_) => Finding::TooSlow { timeout },
        };
        // A thread that came to look at its timers so late has not looked at the answer in time either.
        let was_late = began.elapsed() > timeout + LATE;
        if was_late || finding.is_ours() { Verdict::Void(finding) } else { Verdict::Failed(finding) }
    }

    async fn run(&self, addr: &Addr, name: &str) -> Result<(), Finding> {
        match addr {
            Addr::Ip(ip) => {
                if let Kind::Udp(check) = &self.kind {
                    return datagram::check(*ip, check).await;
                }
                let stream = self.connect(*ip).await?;
                stream.set_nodelay(true)?;
                self.over(stream, addr, name).await
            }
            Addr::Unix(path) if addr.has_file() => {
                self.over(UnixStream::connect(path).await?, addr, name).await
            }
            Addr::Unix(path) => {
                // The library writes names without a file as the kernel does, with a zero byte in front.
                let mut name_of_socket = path.clone().into_os_string().into_encoded_bytes();
                if let Some(first) = name_of_socket.first_mut() {
                    *first = 0;
                }
                let stream = UnixStream::connect(OsStr::from_bytes(&name_of_socket)).await?;
                self.over(stream, addr, name).await
            }
            Addr::Passed(_) => Err(Finding::Unprepared("it is no address".to_owned())),
        }
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let source = self.sources.iter().find(|source| source.is_ipv4() == to.is_ipv4());
        let Some(source) = source else { return TcpStream::connect(to).await };
        let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind(SocketAddr::new(*source, 0))?;
        socket.connect(to).await
    }

    /// What follows the connection.
    async fn over<S>(&self, mut stream: S, addr: &Addr, name: &str) -> Result<(), Finding>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if !self.opening.is_empty() {
            stream.write_all(&self.opening).await?;
        }
        let own_name = || addr.ip().map_or_else(|| "localhost".to_owned(), |ip| ip.to_string());
        match &self.kind {
            // There is a connection, to a unix socket: `config` refuses it with datagrams.
            Kind::Tcp | Kind::Udp(_) => Ok(()),
            Kind::Http(check, tls) => {
                let request = exchange::request(&own_name(), check);
                match tls {
                    None => exchange::exchange(stream, &request, check).await,
                    Some(tls) => exchange::exchange(tls.open(name, stream).await?, &request, check).await,
                }
            }
            Kind::Handshake(tls) => tls.open(name, stream).await.map(drop),
            Kind::Tls(tls) => tls.handshake(addr, stream).await,
            Kind::Grpc(check) => {
                let authority = check.host.clone().unwrap_or_else(own_name);
                grpc::check(stream, &authority, &check.service, self.schedule.timeout).await
            }
            Kind::Unprepared(why) => Err(Finding::Unprepared(why.clone())),
        }
    }
}

/// The header of a connection that is nobody's but ours.
fn opening(announces: Option<ProxyVersion>) -> Vec<u8> {
    let own = Announcement { local: true, ..Announcement::default() };
    let mut opening = Vec::new();
    match announces {
        None => {}
        Some(ProxyVersion::V1) => own.write_v1(&mut opening),
        Some(ProxyVersion::V2) => {
            let written = own.write_v2(&mut opening);
            debug_assert!(written.is_ok(), "a header without addresses is short");
        }
    }
    opening
}

/// So much later than its timeout a check may end and still count.
const LATE: Duration = Duration::from_millis(250);
