//! HTTP/1.1 towards an endpoint: the request, and the head of its final response.

use crate::downstream::{Client, ClientWatch};
use crate::exchange::{AttemptFacts, Exchange, HeadBytes};
use crate::relay::{self, UploadFault};
use crate::serve::Fault;
use crate::upstream::forward;
use crate::upstream::lease::Lease;
use base::Instant;
use runtime::{Buf, Timer, race};
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use traffic::snapshot::{Endpoint, Route, Upstream};
use traffic::{Cause, Phase};
use wire::h1::{Progress, ResponseReader, encode};
use wire::http::{BodyLength, Method, ResponseHead, Version};

/// Queues the request head on the leased connection; it leaves at the end of this turn.
pub(crate) fn write_request_head(conn: &Client, x: &Exchange, endpoint: &Endpoint, lease: &Lease) {
    if let Some(stream) = lease.stream.as_http2() {
        let mut text = Vec::with_capacity(1024);
        forward::write_head(&mut text, conn, x, endpoint);
        return stream.start(&text, x.head.body == BodyLength::None);
    }
    lease.stream.write(|out| forward::write_head(out, conn, x, endpoint));
}

/// What came first while waiting for the upstream.
enum Arrival {
    Received(io::Result<Buf>),
    ClientGone,
}

/// The next bytes from the endpoint, unless the client goes away first.
async fn next_arrival(conn: &Client, lease: &Lease, watch: Option<&mut ClientWatch>) -> Arrival {
    let mut watch = watch;
    poll_fn(|cx| {
        if let Poll::Ready(received) = lease.stream.poll_recv(cx) {
            return Poll::Ready(Arrival::Received(received));
        }
        match &mut watch {
            Some(watch) => conn.poll_gone(watch, cx).map(|_| Arrival::ClientGone),
            None => Poll::Pending,
        }
    })
    .await
}

/// What one attempt learns: the head of its final response, and the facts that decide about another attempt.
pub(crate) struct Answer<'a> {
    pub(crate) facts: &'a mut AttemptFacts,
    pub(crate) head: &'a mut ResponseHead,
    pub(crate) bytes: &'a mut HeadBytes,
}

/// What ends an attempt's wait for its answer.
pub(crate) struct Patience<'a> {
    pub(crate) timer: &'a Timer,
    /// The attempt must have its response head by then.
    pub(crate) attempt: Instant,
    /// The whole exchange must be over by then.
    pub(crate) exchange: Instant,
    /// The client is watched, and told of early hints. `None` while two attempts share it.
    pub(crate) watch: Option<ClientWatch>,
}

/// Reads the final response head into `x`; informational responses before it are passed on or dropped.
///
/// `deadline` is the attempt's own; the response-head timeout counts from now.
pub(crate) async fn read_final_head(
    conn: &Client,
    x: &mut Exchange,
    route: &Route,
    upstream: &Upstream,
    lease: &Lease,
    deadline: Instant,
) -> Result<(), Fault> {
    let heads = FinalHead::new(x, upstream);
    await_in_exchange(conn, x, route, upstream, lease, deadline, heads).await
}

/// Waits for the final head of the only attempt that is under way.
async fn await_in_exchange(
    conn: &Client,
    x: &mut Exchange,
    route: &Route,
    upstream: &Upstream,
    lease: &Lease,
    deadline: Instant,
    heads: FinalHead,
) -> Result<(), Fault> {
    let patience = Patience {
        timer: &conn.upstream_timer,
        attempt: deadline.min(conn.worker.rt.now() + response_head_timeout(route, upstream)),
        exchange: x.deadline,
        watch: Some(ClientWatch::of(x)),
    };
    let answer = Answer { facts: &mut x.attempt, head: &mut x.response, bytes: &mut x.response_bytes };
    await_final_head(conn, lease, patience, heads, answer).await
}

/// As [`read_final_head`], for one of two attempts that are under way at once: it has an answer of its own.
pub(crate) async fn read_hedged_head(
    conn: &Client,
    x: &Exchange,
    upstream: &Upstream,
    lease: &Lease,
    patience: Patience<'_>,
    answer: Answer<'_>,
) -> Result<(), Fault> {
    await_final_head(conn, lease, patience, FinalHead::new(x, upstream), answer).await
}

pub(crate) fn response_head_timeout(route: &Route, upstream: &Upstream) -> Duration {
    route.timeouts.response_head.unwrap_or(upstream.timeouts.response_head)
}

async fn await_final_head(
    conn: &Client,
    lease: &Lease,
    patience: Patience<'_>,
    mut heads: FinalHead,
    answer: Answer<'_>,
) -> Result<(), Fault> {
    let Answer { facts, head, bytes } = answer;
    let Patience { timer, attempt, exchange, mut watch } = patience;
    timer.set(attempt);
    loop {
        let received = match race(next_arrival(conn, lease, watch.as_mut()), timer).await {
            None => {
                // Silence after a request that the kernel took: the endpoint may have seen it.
                facts.sent = true;
                let is_total = conn.worker.rt.now() >= exchange;
                return Err(Fault(if is_total { Cause::TotalTimeout } else { Cause::UpstreamTimeout }));
            }
            Some(Arrival::ClientGone) => return Err(Cause::ClientGone.into()),
            Some(Arrival::Received(received)) => received,
        };
        facts.sent = lease.has_sent();
        let received = match received {
            Ok(buf) if !buf.is_empty() => buf,
            ended => return Err(connection_ended(facts, lease, &ended)),
        };
        facts.answered = true;
        if heads.take(conn, watch.is_some(), head, bytes, received)? {
            return Ok(());
        }
    }
}

/// The endpoint has ended the connection, in an orderly way or not, before its answer was complete.
fn connection_ended(attempt: &mut AttemptFacts, lease: &Lease, ended: &io::Result<Buf>) -> Fault {
    if lease.was_refused() {
        // As if nothing had been sent, and nobody's fault.
        (attempt.sent, attempt.fresh) = (false, false);
        return Cause::UpstreamReset.into();
    }
    if matches!(ended, Err(error) if error.kind() == io::ErrorKind::InvalidData) {
        return Cause::UpstreamMalformed.into();
    }
    attempt.unseen = ended.is_ok() && !attempt.answered && lease.ended_before_request();
    Cause::UpstreamReset.into()
}

/// Collects response heads from received buffers until the final one is complete.
struct FinalHead {
    reader: ResponseReader,
    /// An incomplete head; empty while heads arrive whole.
    partial: Vec<u8>,
    informational: u8,
    informational_max: u8,
    upgrade_asked: bool,
    method: Method,
    /// The version that the client speaks.
    client: Version,
}

impl FinalHead {
    fn new(x: &Exchange, upstream: &Upstream) -> FinalHead {
        FinalHead {
            reader: ResponseReader::new(&upstream.http, x.head.method),
            partial: Vec::new(),
            informational: 0,
            informational_max: upstream.http.informational_max,
            upgrade_asked: x.head.upgrade.is_some(),
            method: x.head.method,
            client: x.head.version,
        }
    }

    /// Takes `received` in; true when the final head is complete. `bytes` then hold the head and what arrived behind it.
    fn take(
        &mut self,
        conn: &Client,
        passes_hints: bool,
        head: &mut ResponseHead,
        bytes: &mut HeadBytes,
        mut received: Buf,
    ) -> Result<bool, Fault> {
        loop {
            let is_whole = self.partial.is_empty();
            if !is_whole {
                self.partial.extend_from_slice(&received);
            }
            let seen: &[u8] = if is_whole { &received } else { &self.partial };
            let length = match self.reader.read(seen, head).map_err(Cause::of_response_head)? {
                Progress::Complete(length) => length,
                Progress::Partial => {
                    if is_whole {
                        self.partial.extend_from_slice(&received);
                    }
                    return Ok(false);
                }
            };
            if head.status >= 200 || (head.status == 101 && self.upgrade_asked) {
                *bytes = if is_whole {
                    HeadBytes::Received(received)
                } else {
                    HeadBytes::Copied(std::mem::take(&mut self.partial))
                };
                return Ok(true);
            }
            self.informational += 1;
            if head.status == 101 {
                return Err(Cause::UpstreamMalformed.into());
            }
            if self.informational > self.informational_max {
                return Err(Cause::UpstreamInformational.into());
            }
            if passes_hints {
                pass_on_informational(conn, self.client, head, seen);
            }
            self.reader.reset(self.method);
            if is_whole {
                received.consume(length);
            } else {
                self.partial.drain(..length);
                received = Buf::from_vec(std::mem::take(&mut self.partial));
            }
            if received.is_empty() {
                return Ok(false);
            }
        }
    }
}

/// 103 is for clients that know it; 100 answers an expectation that we settle ourselves; the others say nothing.
fn pass_on_informational(conn: &Client, client: Version, head: &ResponseHead, bytes: &[u8]) {
    const EARLY_HINTS: u16 = 103;
    if head.status != EARLY_HINTS || client < Version::Http11 {
        return;
    }
    conn.stream.inform(|out| {
        encode::status_line(out, head.status, head.reason.of(bytes));
        encode::kept_fields(out, bytes, &head.fields, |_| true);
        encode::end(out);
    });
}

/// Sends the request body and reads the final response head, whichever comes first (R110).
///
/// A response that comes before the whole body ends the upload: the client's rest is not read, and the connection to
/// the endpoint is not used again.
pub(crate) async fn send_body_and_read_head(
    conn: &Client,
    x: &mut Exchange,
    route: &Route,
    upstream: &Upstream,
    lease: &Lease,
    deadline: Instant,
) -> Result<(), Fault> {
    let generation = std::rc::Rc::clone(&x.generation);
    let (call, edits) = (x.call, &x.outgoing.edits);
    let limits =
        relay::UploadLimits::new(conn, &generation, route, upstream, (deadline, x.deadline), call, edits);
    let mut heads = FinalHead::new(x, upstream);
    let body = x.call.upload_framing(x.head.body);
    let mut early = false;
    let uploaded = {
        let mut upload = pin!(relay::upload(conn, &mut x.upload, body, lease, &limits));
        poll_fn(|cx| {
            // The response first: an endpoint that refuses the body often closes right after saying so.
            while let Poll::Ready(received) = lease.stream.poll_recv(cx) {
                let buf = match received {
                    Ok(buf) if !buf.is_empty() => buf,
                    ended => return Poll::Ready(Err(connection_ended(&mut x.attempt, lease, &ended))),
                };
                x.attempt.answered = true;
                match heads.take(conn, true, &mut x.response, &mut x.response_bytes, buf) {
                    Ok(false) => {}
                    Ok(true) => {
                        early = true;
                        return Poll::Ready(Ok(()));
                    }
                    Err(fault) => return Poll::Ready(Err(fault)),
                }
            }
            match upload.as_mut().poll(cx) {
                Poll::Pending => Poll::Pending,
                // The endpoint stopped reading: what it has to say about that may still arrive.
                Poll::Ready(Ok(()) | Err(UploadFault::UpstreamGone)) => Poll::Ready(Ok(())),
                Poll::Ready(Err(UploadFault::Fault(fault))) => Poll::Ready(Err(fault)),
            }
        })
        .await
    };
    x.attempt.sent = lease.has_sent();
    uploaded?;
    x.phases.mark(Phase::Send, conn.worker.rt.now());
    if early {
        return Ok(());
    }
    await_in_exchange(conn, x, route, upstream, lease, deadline, heads).await
}

/// Waits until the endpoint has taken what was queued for it, bounded by the upstream's idle timeout.
pub(crate) async fn flush(
    conn: &Client,
    lease: &Lease,
    limits: &relay::UploadLimits<'_>,
) -> Result<(), UploadFault> {
    sent(conn, limits, lease.stream.flushed(0)).await
}

/// Waits until `sending`, which sends to the endpoint, has ended.
pub(crate) async fn sent(
    conn: &Client,
    limits: &relay::UploadLimits<'_>,
    sending: impl Future<Output = io::Result<()>>,
) -> Result<(), UploadFault> {
    let rt = &conn.worker.rt;
    conn.upstream_timer.set((rt.now() + limits.upstream_idle).min(limits.deadline));
    match race(sending, &conn.upstream_timer).await {
        Some(Ok(())) => Ok(()),
        Some(Err(_)) => Err(UploadFault::UpstreamGone),
        None => Err(UploadFault::Fault(Fault(limits.late(rt.now(), Cause::UpstreamTimeout)))),
    }
}
