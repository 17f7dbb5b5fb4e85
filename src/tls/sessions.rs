//! Sessions with endpoints, to be resumed by the next connection. Each worker has its own, so that none waits for another.

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};

/// The sessions of one endpoint under one set of rules.
#[derive(Debug)]
pub(crate) struct Sessions {
    key: Key,
}

/// Identity of the rules, and where the endpoint is: endpoints of one name may not know each other's tickets.
type Key = (u64, Box<str>);

#[derive(Default)]
struct Remembered {
    group: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    /// Each is used once (RFC 8446 §C.4).
    tls13: VecDeque<Tls13ClientSessionValue>,
}

thread_local! {
    static REMEMBERED: RefCell<HashMap<Key, Remembered>> = RefCell::default();
}

impl Sessions {
    pub(crate) fn new(identity: u64, place: &str) -> Sessions {
        Sessions { key: (identity, place.into()) }
    }

    fn change<R>(&self, change: impl FnOnce(&mut Remembered) -> R) -> R {
        REMEMBERED.with_borrow_mut(|all| {
            if all.len() >= ENDPOINTS_MAX && !all.contains_key(&self.key) {
                // Which of so many is forgotten hardly matters; it costs one full handshake.
                if let Some(some) = all.keys().next().cloned() {
                    all.remove(&some);
                }
            }
            change(all.entry(self.key.clone()).or_default())
        })
    }

    fn look<R: Default>(&self, look: impl FnOnce(&mut Remembered) -> R) -> R {
        REMEMBERED.with_borrow_mut(|all| all.get_mut(&self.key).map(look).unwrap_or_default())
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.change(|remembered| remembered.group = Some(group));
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.look(|remembered| remembered.group)
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.change(|remembered| remembered.tls12 = Some(value));
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.look(|remembered| remembered.tls12.clone())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.look(|remembered| remembered.tls12 = None);
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.change(|remembered| {
            while remembered.tls13.len() >= TICKETS_MAX {
                remembered.tls13.pop_front();
            }
            remembered.tls13.push_back(value);
        });
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.look(|remembered| remembered.tls13.pop_back())
    }
}

/// Endpoints of one worker whose sessions are remembered; a session takes some KiB.
const ENDPOINTS_MAX: usize = 1024;
/// Tickets of one endpoint.
const TICKETS_MAX: usize = 8;
