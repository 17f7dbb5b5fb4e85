//! Datagrams on their way: from a batch of many clients to their flows, and from many flows back in one batch.

use super::flows::local_of;
use super::{ANSWERS_AT_ONCE, Server, Service};
use runtime::Batch;
use std::io;
use std::ops::Range;
use traffic::Cause;
use traffic::cause::Stage;
use traffic::health::Outcome;
use traffic::udp::{FlowId, Lost, Tuple};

/// Requests.
impl Server {
    /// Passes on what clients have sent, at most a batch; how many datagrams that was.
    pub(super) fn take_requests(&mut self, service: &Service<'_>, may_open: bool) -> u32 {
        self.batch.clear();
        // Nobody tells an unconnected socket about the network; whatever it is, it is over now.
        let Ok(received) = self.socket.recv(&mut self.batch, Batch::SLOTS) else { return 1 };
        let (mut from, mut passed) = (0, 0);
        while from < received {
            let Some(tuple) = self.tuple(from) else {
                from += 1;
                continue;
            };
            // Several from one client leave in one call.
            let mut to = from + 1;
            while to < received && self.tuple(to) == Some(tuple) {
                to += 1;
            }
            passed += self.count(from..to).0;
            self.request(service, &tuple, from..to, may_open);
            from = to;
        }
        self.batch.clear();
        passed
    }

    fn tuple(&self, at: usize) -> Option<Tuple> {
        let datagram = self.batch.get(at);
        Some(Tuple { client: datagram.peer?, local: datagram.local.map(|local| local.ip) })
    }

    /// Datagrams and bytes in these slots.
    fn count(&self, slots: Range<usize>) -> (u32, u64) {
        let datagrams = slots.map(|at| self.batch.get(at));
        datagrams.fold((0, 0), |(count, bytes), d| (count + d.count, bytes + d.bytes.len() as u64))
    }

    /// Passes datagrams of one client on to the endpoint of their flow.
    fn request(&mut self, service: &Service<'_>, tuple: &Tuple, slots: Range<usize>, may_open: bool) {
        let id = match self.flow(service, tuple, may_open) {
            Ok(id) => id,
            Err(cause) => return refuse_flow(service, cause, self.count(slots).0),
        };
        let now = self.worker.rt.now();
        self.flows.touch(id, now);
        let mut from = slots.start;
        let mut tries = 0;
        while from < slots.end {
            let Some(flow) = self.flows.get_mut(id) else { return };
            let sent = flow.socket.send(&mut self.batch, from..slots.end);
            self.requested(service, id, from..from + sent.slots);
            from += sent.slots;
            let Some(error) = sent.error else { return };
            if is_unreachable(&error) {
                // It was not sent, and it tells of an earlier one: once more, to another endpoint if there is one.
                self.refuse(service, id);
                tries += 1;
                if tries <= TRIES_MAX && self.flow(service, tuple, true) == Ok(id) {
                    continue;
                }
            }
            from += self.lose(service, &error, from..slots.end);
        }
    }

    /// Keeps the books of what was sent to an endpoint.
    fn requested(&mut self, service: &Service<'_>, id: FlowId, slots: Range<usize>) {
        let (datagrams, bytes) = self.count(slots);
        if datagrams == 0 {
            return;
        }
        service.stats.datagrams_in.add(datagrams.into());
        service.stats.bytes_in.add(bytes);
        let now = self.worker.rt.now();
        if self.flows.get_mut(id).is_some_and(|flow| flow.meter.request(now, datagrams, bytes)) {
            self.flows.prove(id);
        }
    }

    /// Counts what was not sent: all of it when the kernel has no room, else the first one; returns how many slots.
    fn lose(&self, service: &Service<'_>, error: &io::Error, slots: Range<usize>) -> usize {
        if error.kind() == io::ErrorKind::WouldBlock {
            let slots_lost = slots.len();
            service.stats.lose(Lost::NoRoom, self.count(slots).0);
            return slots_lost;
        }
        service.stats.lose(Lost::SendFailed, self.count(slots.start..slots.start + 1).0);
        1
    }
}

/// Answers.
impl Server {
    /// Takes answers of one flow into the batch, which leaves when it is full or nothing else is there; how many
    /// datagrams.
    pub(super) fn take_answers(&mut self, service: &Service<'_>, id: FlowId) -> u32 {
        if self.batch.room() < ANSWERS_AT_ONCE {
            self.send_answers(service);
        }
        let from = self.batch.len();
        let Some(flow) = self.flows.get_mut(id) else { return 0 };
        match flow.socket.recv(&mut self.batch, ANSWERS_AT_ONCE) {
            Ok(0) => return 0,
            Ok(_) => {}
            Err(_) => {
                self.refuse(service, id);
                return 1;
            }
        }
        self.flows.touch(id, self.worker.rt.now());
        let mut passed = 0;
        for at in from..self.batch.len() {
            passed += self.answer(service, id, at);
        }
        let rules = &service.datagrams.rules;
        if self.flows.get(id).is_some_and(|flow| flow.meter.is_over(rules)) {
            // What it has answered is in the batch, with its address.
            self.end(id, Cause::FlowAnswered);
        }
        passed
    }

    /// Addresses one answer to its client, if that may have it; how many datagrams it is.
    fn answer(&mut self, service: &Service<'_>, id: FlowId, at: usize) -> u32 {
        let now = self.worker.rt.now();
        let (count, bytes) = self.count(at..at + 1);
        let Some(tuple) = self.flows.tuple(id).copied() else { return count };
        let Some(flow) = self.flows.get_mut(id) else { return count };
        let may_leave = flow.meter.may_respond(&service.datagrams.rules, bytes);
        self.outgoing.resize(at, false);
        self.outgoing.push(may_leave);
        if !may_leave {
            service.stats.lose(Lost::ReplyRatio, count);
            return count;
        }
        flow.waited.get_or_insert_with(|| now.since(flow.began));
        if let Some(asked) = flow.meter.response(count, bytes) {
            flow.held.cell.observe(now, now.since(asked), Outcome::Success, &service.upstream.ejection);
        }
        self.batch.direct(at, tuple.client, local_of(&tuple));
        count
    }

    /// Sends the answers in the batch.
    pub(super) fn send_answers(&mut self, service: &Service<'_>) {
        let mut from = 0;
        while from < self.outgoing.len() {
            let leaves = self.outgoing[from];
            let run = self.outgoing[from..].iter().take_while(|other| **other == leaves).count();
            if leaves {
                self.send_run(service, from..from + run);
            }
            from += run;
        }
        self.outgoing.clear();
        self.batch.clear();
    }

    fn send_run(&mut self, service: &Service<'_>, slots: Range<usize>) {
        let mut from = slots.start;
        while from < slots.end {
            let sent = self.socket.send(&mut self.batch, from..slots.end);
            let (datagrams, bytes) = self.count(from..from + sent.slots);
            service.stats.datagrams_out.add(datagrams.into());
            service.stats.bytes_out.add(bytes);
            from += sent.slots;
            if let Some(error) = sent.error {
                from += self.lose(service, &error, from..slots.end);
            }
        }
    }
}

fn refuse_flow(service: &Service<'_>, cause: Cause, datagrams: u32) {
    service.stats.refuse(cause);
    let is_for_endpoint = cause.stage() == Stage::Balance && cause != Cause::Overloaded;
    service.stats.lose(if is_for_endpoint { Lost::NoEndpoint } else { Lost::NoFlow }, datagrams);
}

/// Endpoints that a datagram is given to after the first one was unreachable.
const TRIES_MAX: u32 = 2;

/// What the network tells of an endpoint that nobody is at.
fn is_unreachable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable
    )
}
