//! Listeners and connections of the admin API, with their limits.

use super::Asked;
use super::guard::Reach;
use super::peer::Peer;
use axum::Extension;
use base::addr::Addr;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::poll_fn;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A socket that listens and whose address is known; serving starts later, on the control plane's thread.
#[derive(Debug)]
pub(crate) enum Bound {
    Ip(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener, SocketFile),
}

impl Bound {
    /// Listens on `addr`. A Unix socket is for this user only (mode 0600); a file left by a dead process is replaced.
    pub(crate) fn bind(addr: &Addr) -> io::Result<Bound> {
        let bound = match addr {
            Addr::Ip(addr) => std::net::TcpListener::bind(addr).map(Bound::Ip),
            Addr::Unix(path) => bind_unix(path),
            // Validation has refused it.
            Addr::Passed(_) => Err(io::ErrorKind::InvalidInput.into()),
        };
        bound.map_err(|error| io::Error::new(error.kind(), format!("admin cannot listen on {addr}: {error}")))
    }

    /// The address with the port that the kernel chose.
    pub(crate) fn addr(&self) -> io::Result<Addr> {
        match self {
            Bound::Ip(listener) => listener.local_addr().map(Addr::Ip),
            Bound::Unix(_, file) => Ok(Addr::Unix(file.0.clone())),
        }
    }
}

/// Removes the socket's file in the end.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have removed it before us, which is as good.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn bind_unix(path: &Path) -> io::Result<Bound> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket {
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process answers there"));
        }
        std::fs::remove_file(path)?;
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    let file = SocketFile(path.to_owned());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(Bound::Unix(listener, file))
}

/// Serves one listener until the task is dropped.
pub(crate) async fn serve(bound: Bound, asked: Asked, slots: Arc<Semaphore>) -> io::Result<()> {
    let reach = Reach::of(&bound.addr()?);
    let router = super::router(asked, reach);
    match bound {
        Bound::Ip(listener) => {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let accept =
                |cx: &mut Context<'_>| listener.poll_accept(cx).map_ok(|(s, addr)| (s, Peer::Ip(addr)));
            accept_each(router, &slots, accept).await
        }
        Bound::Unix(listener, _file) => {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::UnixListener::from_std(listener)?;
            let accept = |cx: &mut Context<'_>| {
                listener.poll_accept(cx).map_ok(|(stream, _)| {
                    let peer = Peer::of_unix(&stream);
                    (stream, peer)
                })
            };
            accept_each(router, &slots, accept).await
        }
    }
}

/// Serves every connection that `accept` brings, each in a task of its own, as far as there are slots.
async fn accept_each<S>(
    router: axum::Router,
    slots: &Arc<Semaphore>,
    mut accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<(S, Peer)>>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    loop {
        let slot = slot(slots).await;
        match poll_fn(&mut accept).await {
            Ok((stream, peer)) => {
                tokio::spawn(connection(stream, router.clone().layer(Extension(peer)), slot));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Waits until one more connection is allowed; the others wait in the kernel's queue.
async fn slot(slots: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    // `None` only if the semaphore were closed, which nobody does.
    Arc::clone(slots).acquire_owned().await.ok()
}

async fn connection<S>(stream: S, router: axum::Router, _slot: Option<OwnedSemaphorePermit>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // Neither a client that goes away nor one that is cut off after its time is worth a line in a log.
    let _ = tokio::time::timeout(CONNECTION_TIME_MAX, serving).await;
}

/// Connections to all admin listeners together.
pub(crate) const CONNECTIONS_MAX: usize = 64;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_BYTES_MAX: usize = 16 << 10;
/// A scraper opens a new connection every five minutes; one that reads nothing keeps its place no longer than that.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(300);
/// After a failed accept, for example without descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
