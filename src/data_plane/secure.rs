//! TLS handshakes, of both sides, and what is known of a client's connection after its own.

use crate::channel::{Broken, Channel, Secured};
use crate::client_cert;
use crate::worker::Worker;
use runtime::{Stream, race};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use traffic::Cause;
use traffic::record::TlsRecord;
use traffic::snapshot::{Endpoint, EndpointTls};
use wire::secure::{Accept, Client, Facts};

/// What TLS tells about a client's connection.
#[derive(Debug)]
pub(crate) struct Security {
    pub(crate) facts: Facts,
    /// Who the client is, if it has shown a certificate that is believed. For logs, fields to the upstream, and filters.
    pub(crate) client: Option<Client>,
    /// How long the handshake took.
    pub(crate) took: Duration,
    /// What tells an endpoint who the client is, as header fields; empty without a certificate.
    pub(crate) client_fields: Box<[u8]>,
    acceptor: Arc<dyn Accept>,
}

impl Security {
    /// For the access log.
    pub(crate) fn record(&self) -> TlsRecord<'_> {
        TlsRecord {
            is_13: self.facts.version == "TLSv1.3",
            resumed: self.facts.resumed,
            cipher: self.facts.cipher,
            server_name: self.facts.server_name.as_deref().unwrap_or_default(),
            client: self.client.as_ref().map_or("", Client::name),
            fingerprint: self.client.as_ref().map(|client| client.fingerprint),
        }
    }

    /// Whether a request for `host` may come on this connection (R57).
    pub(crate) fn covers(&self, host: &str) -> bool {
        self.acceptor.covers(self.facts.server_name.as_deref(), host)
    }
}

/// How long an alert may take to be sent, and the client to be heard out, when a handshake has failed.
const PART_MAX: Duration = Duration::from_secs(1);

/// The server's handshake with a client.
pub(crate) async fn accept(
    worker: &Rc<Worker>,
    stream: Stream,
    acceptor: Arc<dyn Accept>,
    patience: Duration,
) -> Result<(Channel, Rc<Security>), Cause> {
    let began = worker.rt.now();
    let engine = acceptor.accept().map_err(Cause::of_client_tls)?;
    let secured = Secured::new(stream, engine, Rc::clone(&worker.sealing), false);
    let timer = worker.rt.timer();
    timer.set(began + patience);
    match race(secured.handshake(), &timer).await {
        Some(Ok(())) => {}
        ended => {
            let cause = failed_accept(&secured, ended.and_then(Result::err));
            worker.stats.tls.failed.add(1);
            timer.set(worker.rt.now() + PART_MAX);
            race(secured.part(), &timer).await;
            return Err(cause);
        }
    }
    let facts = secured.facts();
    worker.stats.tls.downstream.count(&facts);
    worker.stats.tls.resume_refused.add(u64::from(facts.resume_refused));
    let took = worker.rt.now().since(began);
    let client = secured.client();
    let client_fields = client.as_ref().map_or_else(Box::default, client_cert::fields);
    let security = Security { client, facts, took, client_fields, acceptor };
    Ok((Channel::Secured(secured), Rc::new(security)))
}

/// Why a client's handshake has failed; `None` stands for the end of our patience.
fn failed_accept(secured: &Secured, broken: Option<Broken>) -> Cause {
    match broken {
        Some(Broken::Failed(failure)) => Cause::of_client_tls(failure),
        _ if secured.is_untouched() => Cause::NoRequest,
        Some(Broken::Ended) => Cause::TlsClosed,
        None if secured.awaits_hello() => Cause::TlsHelloTimeout,
        None => Cause::TlsHandshakeTimeout,
    }
}

/// The client's handshake with an endpoint. The caller says when it takes too long.
pub(crate) async fn connect(
    worker: &Worker,
    stream: Stream,
    endpoint: &Endpoint,
    tls: &EndpointTls,
) -> Result<Channel, Cause> {
    let shaken = async {
        let engine = tls.connect.connect(&tls.name, &endpoint.text).map_err(Cause::of_endpoint_tls)?;
        let secured = Secured::new(stream, engine, Rc::clone(&worker.sealing), true);
        match secured.handshake().await {
            Ok(()) => Ok(secured),
            Err(Broken::Failed(failure)) => Err(Cause::of_endpoint_tls(failure)),
            Err(Broken::Ended) => Err(Cause::UpstreamTlsClosed),
        }
    };
    match shaken.await {
        Ok(secured) => {
            worker.stats.tls.upstream.count(&secured.facts());
            Ok(Channel::Secured(secured))
        }
        Err(cause) => {
            worker.stats.tls.upstream_failed.add(1);
            Err(cause)
        }
    }
}
