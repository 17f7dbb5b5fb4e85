//! The client's side of one exchange, whatever version of HTTP it speaks.
//!
//! Everything from routing to the log line sees the client through this: where it is, whether it is still there, how
//! long it may take, and its stream of bytes.

use super::ClientStream;
use super::proxy_header::Announced;
use crate::crowd::Place;
use crate::exchange::Exchange;
use crate::secure::Security;
use crate::worker::Worker;
use base::ids::ListenerId;
use runtime::{Timer, race};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use traffic::Cause;
use traffic::snapshot::Listener;

/// The client's side of the exchange that is under way: an HTTP/1.1 connection, which carries one after the other, or one
/// stream of an HTTP/2 connection.
pub(crate) struct Client {
    pub(crate) worker: Rc<Worker>,
    pub(crate) stream: ClientStream,
    /// `None`: plain text.
    pub(crate) security: Option<Rc<Security>>,
    /// For waits on the client.
    pub(crate) timer: Timer,
    /// For waits on the upstream, which may go on at the same time.
    pub(crate) upstream_timer: Timer,
    pub(crate) listener: ListenerId,
    pub(crate) peer: SocketAddr,
    /// The port that the client connected to; 0 on a Unix socket.
    pub(crate) local_port: u16,
    /// Where the two above come from, if a load balancer in front said so.
    pub(crate) announced: Option<Rc<Announced>>,
    /// Among the connections of the worker.
    pub(crate) place: Place,
    /// Requests that were begun on this connection.
    pub(crate) requests: u32,
}

impl Client {
    /// The listener of this connection in `generation`.
    pub(crate) fn listener<'a>(&self, generation: &'a traffic::Snapshot) -> &'a Listener {
        &generation.listeners[self.listener.index()]
    }

    pub(crate) fn peer_ip(&self) -> IpAddr {
        self.peer.ip()
    }

    /// `http` or `https`.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.security.is_some() { "https" } else { "http" }
    }

    /// Whether what the client sends is encrypted, as far as we or a trusted proxy know.
    pub(crate) fn is_secure(&self, x: &Exchange) -> bool {
        x.facts.proto.map_or(self.security.is_some(), |proto| proto == "https")
    }

    /// Whether the connection was made for another name than `host`.
    pub(crate) fn is_misdirected(&self, host: &[u8]) -> bool {
        let Some(security) = &self.security else { return false };
        !security.covers(&String::from_utf8_lossy(host).to_ascii_lowercase())
    }

    /// The output of `wait`, or why the connection should end before there is one.
    pub(crate) async fn unless_shed<T>(&self, wait: impl Future<Output = T>) -> Result<T, Cause> {
        let mut wait = pin!(wait);
        poll_fn(|cx| match wait.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending if self.worker.overload.crowd.is_told(self.place, cx.waker()) => {
                Poll::Ready(Err(Cause::Shed))
            }
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Ready when the client has gone for good; bytes that it sends early stay with the stream.
    ///
    /// A client that only closes its sending side still wants its response (RFC 9112 §9.6), so the end of input is not
    /// taken for absence unless `abort-on-close` says so.
    pub(crate) fn poll_gone(&self, watch: &mut ClientWatch, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.stream.is_multiplexed() {
            return self.stream.poll_cancelled(cx).map(|()| io::ErrorKind::ConnectionReset.into());
        }
        if watch.settled {
            return Poll::Pending;
        }
        match self.stream.poll_recv(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(error),
            Poll::Ready(Ok(buf)) => {
                watch.settled = true;
                if buf.is_empty() && watch.end_is_absence {
                    return Poll::Ready(io::ErrorKind::UnexpectedEof.into());
                }
                if !buf.is_empty() {
                    self.stream.unread(buf);
                }
                Poll::Pending
            }
        }
    }

    /// The output of `work`, or `None` when the client goes away first: nobody is left to read what would come.
    pub(crate) async fn while_present<T>(
        &self,
        watch: &mut ClientWatch,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            self.poll_gone(watch, cx).map(|_| None)
        })
        .await
    }

    /// Ends our side and reads what the client still sends, so that the last response is not destroyed by a reset
    /// (RFC 9112 §9.6). Bounded in time, and in bytes once the client has all of the response: what our kernel still
    /// holds of it a reset would throw away.
    pub(crate) async fn linger(&self) {
        let (patience, mut left) = {
            let generation = self.worker.generation_of(self.listener);
            (self.listener(&generation).timeouts.linger, generation.limits.drain_bytes_max as usize)
        };
        self.stream.shutdown_write();
        self.timer.set(self.worker.rt.now() + patience);
        while let Some(Ok(buf)) = race(self.stream.recv(), &self.timer).await {
            let is_enough = buf.len() > left && self.stream.unacked_bytes().is_none_or(|bytes| bytes == 0);
            if buf.is_empty() || is_enough {
                return;
            }
            left = left.saturating_sub(buf.len());
        }
    }
}

/// Whether the client's side still has something to tell while we wait for the upstream.
pub(crate) struct ClientWatch {
    /// It sent more, or ended its side: nothing further can be learnt without taking it.
    settled: bool,
    /// The end of its side means that it is gone.
    end_is_absence: bool,
}

impl ClientWatch {
    /// Sees nothing.
    pub(crate) const NONE: ClientWatch = ClientWatch { settled: true, end_is_absence: false };

    pub(crate) fn of(x: &Exchange) -> ClientWatch {
        // Nothing of a flow is taken before there is somebody to pass it on to.
        ClientWatch { settled: x.is_flow, end_is_absence: x.abort_on_close }
    }
}
