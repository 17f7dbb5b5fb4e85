//! One service: its connections, and one call after the other.

use super::Reach;
use crate::names::Asker;
use crate::node::Node;
use crate::probes::Tls;
use base::addr::Addr;
use bytes::Bytes;
use config::model::Dns;
use config::{Address, Target, Url};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// How long they are kept.
const IDLE_FOR: Duration = Duration::from_secs(30);
/// How long a connection may take, with its handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of a response head.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// See the module.
pub(crate) struct Client {
    pub(crate) url: Url,
    reach: Reach,
    tls: Option<Tls>,
    names: tokio::sync::Mutex<Asker>,
    idle: Mutex<Vec<(Instant, Connection)>>,
    /// Connections that are kept for the next call.
    idle_max: usize,
    node: Arc<Node>,
}

type Connection = SendRequest<Full<Bytes>>;

/// A whole response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) fields: http::HeaderMap,
    pub(crate) body: Bytes,
}

/// Why there is no response.
#[derive(Debug)]
pub(crate) enum CallError {
    Name(String),
    /// The name stands for an address that must not be reached.
    Forbidden(SocketAddr, &'static str),
    Connect(String),
    ConnectTimeout,
    Tls(String),
    Http(String),
    TooLarge {
        bytes_max: usize,
    },
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Name(why) => write!(f, "its name cannot be resolved: {why}"),
            CallError::Forbidden(addr, why) => write!(f, "{addr} is not asked: {why}"),
            CallError::Connect(why) => write!(f, "no connection: {why}"),
            CallError::ConnectTimeout => write!(f, "no connection within {} s", CONNECT_TIMEOUT.as_secs()),
            CallError::Tls(why) => write!(f, "TLS: {why}"),
            CallError::Http(why) => write!(f, "no valid response: {why}"),
            CallError::TooLarge { bytes_max } => write!(f, "the response has more than {bytes_max} bytes"),
        }
    }
}

impl Client {
    /// A client of the service at `url`; `tls` for `https`.
    pub(crate) fn new(url: Url, tls: Option<Tls>, reach: Reach, dns: Dns, node: Arc<Node>) -> Client {
        let names = tokio::sync::Mutex::new(Asker::new(dns, Arc::new(Semaphore::new(2))));
        Client { url, reach, tls, names, idle: Mutex::default(), idle_max: 0, node }
    }

    /// The same, which keeps as many connections for the next call.
    pub(crate) fn keeping(self, idle_max: usize) -> Client {
        Client { idle_max, ..self }
    }

    /// Asks once. The caller bounds the time. A connection that was kept may have ended meanwhile; then the same is asked
    /// on a new one.
    pub(crate) async fn call(
        &self,
        request: &http::Request<Bytes>,
        bytes_max: usize,
    ) -> Result<Reply, CallError> {
        if let Some(kept) = self.kept() {
            match self.exchange(kept, request, bytes_max).await {
                Err(CallError::Http(_)) => {}
                done => return done,
            }
        }
        let fresh =
            timeout(CONNECT_TIMEOUT, self.connect()).await.map_err(|_| CallError::ConnectTimeout)??;
        self.exchange(fresh, request, bytes_max).await
    }

    fn kept(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(since, connection)| since.elapsed() < IDLE_FOR && !connection.is_closed());
        idle.pop().map(|(_, connection)| connection)
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.idle_max && !connection.is_closed() {
            idle.push((Instant::now(), connection));
        }
    }

    async fn exchange(
        &self,
        mut connection: Connection,
        request: &http::Request<Bytes>,
        bytes_max: usize,
    ) -> Result<Reply, CallError> {
        let broken = |error: hyper::Error| CallError::Http(shown(&error));
        connection.ready().await.map_err(broken)?;
        let response = connection.send_request(request.clone().map(Full::new)).await.map_err(broken)?;
        let (head, mut body) = response.into_parts();
        let mut collected = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            if collected.len() + data.len() > bytes_max {
                return Err(CallError::TooLarge { bytes_max });
            }
            collected.extend_from_slice(&data);
        }
        self.keep(connection);
        Ok(Reply { status: head.status.as_u16(), fields: head.headers, body: collected.into() })
    }

    async fn connect(&self) -> Result<Connection, CallError> {
        let addrs = match &self.url.target {
            Target::Address(Address::Ip(addr)) => vec![*addr],
            name => {
                let answer = self.names.lock().await.ask(name).await;
                let answer = answer.map_err(|error| CallError::Name(error.why().to_owned()))?;
                answer.found.iter().map(|found| found.addr).collect()
            }
        };
        let mut last = CallError::Name("it has no address".to_owned());
        for addr in addrs {
            if let Some(why) = self.refuses(addr) {
                last = CallError::Forbidden(addr, why);
                continue;
            }
            match TcpStream::connect(addr).await {
                Ok(stream) => return self.open(stream).await,
                Err(error) => last = CallError::Connect(format!("{addr}: {error}")),
            }
        }
        Err(last)
    }

    fn refuses(&self, addr: SocketAddr) -> Option<&'static str> {
        let ip = addr.ip().to_canonical();
        if let Some(why) = self.reach.refuses(ip) {
            return Some(why);
        }
        if self.tls.is_none() && Reach::Public.refuses(ip).is_none() {
            return Some("without TLS only private addresses are asked");
        }
        let is_own = |(_, own): &(String, Addr)| match own {
            Addr::Ip(own) => {
                let is_this_host = own.ip().is_unspecified() && ip.is_loopback();
                own.port() == addr.port() && (own.ip().to_canonical() == ip || is_this_host)
            }
            _ => false,
        };
        self.node.listening().iter().any(is_own).then_some("a listener of this node")
    }

    async fn open(&self, stream: TcpStream) -> Result<Connection, CallError> {
        // Latency matters more than packets; a socket that refuses the option works all the same.
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => handshake(stream).await,
            Some(tls) => {
                let host = self.url.host().trim_start_matches('[').trim_end_matches(']');
                let stream = tls.open(host, stream).await.map_err(|why| CallError::Tls(why.to_string()))?;
                handshake(stream).await
            }
        }
    }
}

async fn handshake<S>(stream: S) -> Result<Connection, CallError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let made = builder.handshake(TokioIo::new(stream)).await;
    let (sender, connection) = made.map_err(|error| CallError::Http(shown(&error)))?;
    // Ends with its sender, or when the service closes.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

/// An error with what it comes from.
fn shown(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
