//! The end of an exchange: statistics and the access-log record. Never fails and never waits.

use crate::downstream::Client;
use crate::downstream::tcp::Flow;
use crate::exchange::Exchange;
use crate::udp;
use crate::worker::Worker;
use std::net::IpAddr;
use std::time::Duration;
use traffic::recent::{ATTEMPTS_MAX, Decision, Kept, Tried, TriedEnd};
use traffic::record::{Record, Subject};
use traffic::{Cause, Phase};
use wire::http::Known;

/// Counts the exchange and hands its record to the access log.
pub(crate) fn exchange(conn: &Client, x: &mut Exchange) {
    let worker = &*conn.worker;
    worker.stats.requests.add(1);
    worker.stats.bytes_in.add(x.upload.bytes);
    worker.stats.bytes_out.add(x.bytes_out);
    if let Some(cause) = x.cause {
        worker.stats.count(cause);
        if cause == Cause::ClientGone && x.status == 0 {
            x.status = cause.status();
        }
    }
    if let Some(route) = x.route {
        let stats = &x.generation.route(route).stats;
        let shard = stats.shard(worker.id);
        shard.record(x.status, &x.phases, x.upload.bytes, x.bytes_out);
        if let Some(status) = x.call.status {
            shard.count_call(status);
        }
    }
    let kept = kept(worker, x);
    if x.generation.access_log || kept.is_some() {
        log(conn, x, kept);
    }
}

/// Whether the exchange is remembered for whoever asks why: all that failed, and a few of the others.
fn kept(worker: &Worker, x: &Exchange) -> Option<Kept> {
    let rules = &x.generation.recent;
    if rules.bytes_max == 0 {
        return None;
    }
    if x.status >= 500 || x.cause.is_some_and(Cause::is_failure) || !x.tried.is_empty() {
        return Some(Kept::Failure);
    }
    match worker.until_sample.get() {
        0 if rules.sample_every > 0 => {
            worker.until_sample.set(rules.sample_every - 1);
            Some(Kept::Sample)
        }
        left => {
            worker.until_sample.set(left.saturating_sub(1));
            None
        }
    }
}

/// Builds the record and hands it to whoever wants it.
fn log(conn: &Client, x: &Exchange, kept: Option<Kept>) {
    let worker = &*conn.worker;
    let generation = &*x.generation;
    let request = x.request();
    let upstream = x.upstream.map(|id| generation.upstream(id));
    let endpoint = upstream.zip(x.endpoint).map(|(upstream, id)| upstream.endpoint(id));
    let (consumer, auth) = caller(x);
    let record = Record {
        subject: Subject::Exchange,
        time_unix_ns: worker.rt.wall_nanos(),
        request_id: x.id,
        client: x.facts.client,
        listener: &conn.listener(generation).name,
        method: request.method(),
        host: request.host(),
        path: request.path(),
        query: x.outgoing.query(request.query()),
        version: x.head.version,
        status: x.status,
        cause: x.cause,
        grpc_status: x.call.status,
        route: x.route.map_or("", |id| &*generation.route(id).name),
        upstream: upstream.map_or("", |upstream| &*upstream.name),
        endpoint: endpoint.map_or("", |endpoint| &*endpoint.text),
        consumer: &consumer,
        auth: &auth,
        limit: x.tally.names(),
        attempts: x.attempts,
        bytes_in: x.upload.bytes,
        bytes_out: x.bytes_out,
        coded: x.coded.coding.map(|coding| (coding, x.coded.bytes)),
        tls: conn.security.as_ref().map(|security| security.record()),
        user_agent: request.known(Known::UserAgent).unwrap_or_default(),
        referer: request.known(Known::Referer).unwrap_or_default(),
        phases_us: x.phases.durations().map(micros),
        total_us: micros(x.phases.total()),
    };
    if generation.access_log {
        write(worker, &record);
    }
    if let Some(kept) = kept {
        keep(worker, x, kept, &record);
    }
}

/// Remembers the exchange among the recent decisions.
fn keep(worker: &Worker, x: &Exchange, kept: Kept, record: &Record<'_>) {
    let generation = &*x.generation;
    let route = x.route.map(|id| generation.route(id).origin.to_string()).unwrap_or_default();
    let upstream = x.upstream.map(|id| generation.upstream(id));
    let origin = upstream.map(|upstream| upstream.origin.to_string()).unwrap_or_default();
    // The one that became the response is not among those that were tried in vain.
    let last = x.endpoint.filter(|_| usize::from(x.attempts) > x.tried.len());
    let last = last.map(|id| Tried::last(id, TriedEnd::Answered(x.response.status), &x.phases));
    let attempts = || x.tried.iter().chain(&last).take(ATTEMPTS_MAX);
    let mut line = worker.log_line.borrow_mut();
    line.clear();
    Decision::begin(generation.generation, [&route, &origin], attempts().count(), &mut line);
    for tried in attempts() {
        let endpoint = upstream.and_then(|upstream| upstream.endpoints.get(tried.endpoint.index()));
        Decision::attempt(endpoint.map_or("", |endpoint| &endpoint.text), tried, &mut line);
    }
    Decision::finish(record, &mut line);
    worker.stats.recent.keep(kept, &generation.recent, &line);
}

/// Who called and which policy says so, for the log; allocates nothing where nobody was asked.
fn caller(x: &Exchange) -> (String, String) {
    if let Some(refused) = x.caller.refused() {
        return (String::new(), format!("{} {}", refused.by, refused.why));
    }
    if let Some(unjudged) = x.caller.unjudged() {
        return (String::new(), format!("{} {} {}", unjudged.by, unjudged.why, unjudged.choice));
    }
    match x.caller.primary() {
        Some(identity) => (identity.name(), format!("{}:{}", identity.scheme, identity.policy)),
        None => (String::new(), String::new()),
    }
}

/// Counts a flow that ended for `cause` and hands its record to the access log.
pub(crate) fn flow(conn: &Client, flow: &Flow, cause: Cause) {
    let worker = &*conn.worker;
    flow.stats.shard(worker.id).end(cause);
    let generation = worker.generation();
    let is_kept = cause.is_failure() && generation.recent.bytes_max > 0;
    if !generation.access_log && !is_kept {
        return;
    }
    let record = Record {
        subject: Subject::Flow,
        time_unix_ns: worker.rt.wall_nanos(),
        request_id: flow.id,
        client: conn.peer_ip(),
        listener: &flow.listener,
        cause: Some(cause),
        upstream: flow.upstream.as_deref().unwrap_or_default(),
        endpoint: flow.endpoint.as_deref().unwrap_or_default(),
        attempts: flow.attempts,
        bytes_in: flow.bytes_up,
        bytes_out: flow.bytes_down,
        phases_us: flow.phases.durations().map(micros),
        total_us: micros(flow.phases.total()),
        ..Record::EMPTY
    };
    if generation.access_log {
        write(worker, &record);
    }
    if is_kept {
        let mut line = worker.log_line.borrow_mut();
        line.clear();
        Decision::begin(generation.generation, ["", ""], 0, &mut line);
        Decision::finish(&record, &mut line);
        worker.stats.recent.keep(Kept::Failure, &generation.recent, &line);
    }
}

/// Hands the record of a flow of datagrams that ended for `cause` to the access log.
pub(crate) fn datagrams(worker: &Worker, client: IpAddr, flow: &udp::Flow, cause: Cause) {
    if !worker.generation().access_log {
        return;
    }
    let meter = &flow.meter;
    let total = worker.rt.now().since(flow.began);
    let waited = flow.waited.unwrap_or(total);
    let mut phases_us = [0; Phase::ALL.len()];
    phases_us[Phase::Wait as usize] = micros(waited);
    phases_us[Phase::Receive as usize] = micros(total.saturating_sub(waited));
    let record = Record {
        subject: Subject::Datagrams,
        time_unix_ns: worker.rt.wall_nanos(),
        request_id: worker.next_request_id(),
        client,
        listener: &flow.listener,
        cause: Some(cause),
        upstream: &flow.upstream,
        endpoint: &flow.held.text,
        attempts: flow.attempts,
        bytes_in: meter.bytes_in,
        bytes_out: meter.bytes_out,
        phases_us,
        total_us: micros(total),
        ..Record::EMPTY
    };
    write(worker, &record);
}

/// Encodes a record into the worker's ring; one that does not fit is counted.
fn write(worker: &Worker, record: &Record<'_>) {
    let mut line = worker.log_line.borrow_mut();
    line.clear();
    record.encode(&mut line);
    if !worker.log.borrow_mut().push(&line) {
        worker.stats.log_dropped.add(1);
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}
