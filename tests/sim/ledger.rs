//! The books: what clients asked, what upstreams saw, and every rule that was broken.

use crate::client::Ask;
use crate::peer::{End, Reply, hash};
use runtime::sim::Net;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use wire::http::BodyLength;

pub(crate) struct Ledger {
    net: Net,
    seen: RefCell<BTreeMap<String, u32>>,
    /// Requests that were sent on a connection on which a wrong answer was already under way, and such answers.
    excused: RefCell<BTreeSet<String>>,
    /// Requests that got the response of another.
    mistaken: RefCell<BTreeMap<String, String>>,
    broken: RefCell<Vec<String>>,
    counts: RefCell<BTreeMap<String, u32>>,
    /// Calls on any socket fail in this world, those of clients included.
    resets_happen: Cell<bool>,
}

impl Ledger {
    pub(crate) fn new(net: Net) -> Ledger {
        Ledger {
            net,
            seen: RefCell::default(),
            excused: RefCell::default(),
            mistaken: RefCell::default(),
            broken: RefCell::default(),
            counts: RefCell::default(),
            resets_happen: Cell::new(false),
        }
    }

    pub(crate) fn broken(&self, what: String) {
        // The first tells most; a run that went wrong can break thousands more.
        let mut broken = self.broken.borrow_mut();
        if broken.is_empty() && std::env::var_os("SIM_TRACE").is_some() {
            eprintln!("{}\n{what}", self.net.recent().join("\n"));
        }
        if broken.len() < 20 {
            broken.push(what);
        }
    }

    /// From now on a client may lose its connection through no fault of the product.
    pub(crate) fn expect_resets(&self) {
        self.resets_happen.set(true);
    }

    pub(crate) fn excuse(&self, id: &str) {
        self.excused.borrow_mut().insert(id.to_owned());
    }

    pub(crate) fn take_broken(&self) -> Vec<String> {
        for (id, got) in self.mistaken.take() {
            let excused = self.excused.borrow().contains(&id) || self.excused.borrow().contains(&got);
            if !excused {
                self.broken(format!("I1, I4: {id} got the response to {got}"));
            }
        }
        self.broken.take()
    }

    pub(crate) fn count(&self, what: impl Into<String>) {
        *self.counts.borrow_mut().entry(what.into()).or_default() += 1;
    }

    pub(crate) fn counted(&self, what: &str) -> u32 {
        self.counts.borrow().get(what).copied().unwrap_or(0)
    }

    /// An upstream has read the head of a request.
    pub(crate) fn seen(&self, id: &str, method: &str) {
        let mut seen = self.seen.borrow_mut();
        let times = seen.entry(id.to_owned()).or_default();
        *times += 1;
        if *times > 1 && matches!(method, "POST" | "PATCH") {
            self.broken(format!("I2: {method} {id} was seen {times} times"));
        }
    }

    pub(crate) fn was_seen(&self, id: &str) -> bool {
        self.seen.borrow().contains_key(id)
    }

    /// A request body has ended by its framing.
    pub(crate) fn request_complete(&self, id: &str, announced: Option<u64>, body: &[u8]) {
        if announced.is_some_and(|announced| announced != hash(body)) {
            self.broken(format!("I3: the body of request {id} looks complete with {} bytes", body.len()));
        }
    }

    /// A client has got a response; true when it is the upstream's and whole.
    pub(crate) fn judge(&self, ask: &Ask, reply: &Reply) -> bool {
        for status in &reply.informational {
            if !matches!(status, 100 | 103) {
                self.broken(format!("{}: informational response {status} was passed on", ask.id));
            }
        }
        let Some(id) = &reply.id else {
            let ours =
                reply.proxy_status.as_deref().is_some_and(|value| value.starts_with("ringway; error="));
            if !ours || reply.status < 400 {
                self.broken(format!("I1: {} got {} from nobody", ask.id, reply.status));
            }
            let excused = reply.end == End::Reset && self.resets_happen.get();
            if reply.end != End::Complete && !excused {
                self.broken(format!("{}: our own {} is cut ({:?})", ask.id, reply.status, reply.end));
            }
            self.count(format!("status {}", reply.status));
            return false;
        };
        if *id != ask.id {
            self.mistaken.borrow_mut().insert(ask.id.clone(), id.clone());
            return false;
        }
        if reply.end != End::Complete {
            // A connection that ends cleanly says "complete" to whoever reads until the end.
            if reply.end == End::Eof && reply.framing == BodyLength::UntilClose {
                self.broken(format!("I3: {} was cut and looks complete", ask.id));
            }
            self.count("truncated");
            return false;
        }
        let bodiless = ask.method == "HEAD" || matches!(reply.status, 204 | 304);
        if bodiless && !reply.body.is_empty() {
            self.broken(format!("I1: {} got a body with {}", ask.id, reply.status));
        }
        if !bodiless && reply.hash != Some(hash(&reply.body)) {
            let (len, announced) = (reply.body.len(), reply.len);
            self.broken(format!("I3: {} looks complete with {len} of {announced:?} bytes", ask.id));
        }
        if reply.asked_hash.is_some_and(|seen| seen != hash(&ask.body)) {
            self.broken(format!("I1: the upstream saw another body of {}", ask.id));
        }
        self.count("whole");
        true
    }
}
