//! Places of listeners and ids of sockets, which stay the same from one generation to the next.
//!
//! A connection knows its listener by its place: a listener is the same while its name and its kind are. So a listener that goes away leaves its place empty for as long as any
//! generation that had it is used, and the others do not move up. A socket belongs to its address: it goes on when its
//! listener has another name or more addresses.

use base::addr::Addr;
use base::ids::SocketId;
use std::collections::HashMap;
use std::mem::discriminant;
use std::sync::Arc;
use traffic::route::RouteTable;
use traffic::snapshot::{Listener, Presence, Snapshot};

/// `listeners` at the places of those of the same name in `previous`, with the ids of their sockets; and the next id.
pub(super) fn settle(listeners: Vec<Listener>, previous: Option<&Snapshot>) -> (Vec<Listener>, u32) {
    let before = previous.map_or(&[][..], |previous| &previous.listeners);
    let mut next_socket = previous.map_or(0, |previous| previous.next_socket);
    let known = sockets(before);
    let mut places: Vec<Option<Listener>> = before.iter().map(|_| None).collect();
    let mut new = Vec::new();
    for mut listener in listeners {
        let is_same = |old: &Listener| {
            old.name == listener.name && discriminant(&old.kind) == discriminant(&listener.kind)
        };
        let at = before.iter().position(is_same);
        let token = at.and_then(|at| before[at].presence.token());
        let sockets = keys(&listener).map(|key| {
            known.get(&key).copied().unwrap_or_else(|| {
                next_socket += 1;
                SocketId(next_socket - 1)
            })
        });
        let sockets = sockets.collect();
        listener.presence = Presence::Open { sockets, token: token.unwrap_or_default() };
        match at {
            Some(at) => places[at] = Some(listener),
            None => new.push(listener),
        }
    }
    let mut new = new.into_iter();
    let mut settled: Vec<Listener> = before
        .iter()
        .zip(places)
        .map(|(old, same)| match same {
            Some(same) => same,
            None if old.presence.is_vacant() => new.next().unwrap_or_else(|| empty(old)),
            None => empty(old),
        })
        .collect();
    settled.extend(new);
    while settled.last().is_some_and(|last| last.presence.is_vacant()) {
        settled.pop();
    }
    (settled, next_socket)
}

/// The place of a listener that is gone: what its last connections are held to, and no way in.
fn empty(old: &Listener) -> Listener {
    let presence = match &old.presence {
        Presence::Open { token, .. } => Presence::Closed(Arc::downgrade(token)),
        Presence::Closed(token) => Presence::Closed(token.clone()),
    };
    Listener { presence, binds: Vec::new(), table: RouteTable::default(), ..old.clone() }
}

/// What tells a socket from others: whether it is one of datagrams, and its address; where the kernel chooses the port, also whose it is and which of them.
type Key<'l> = (bool, Option<&'l str>, &'l Addr, usize);

fn keys(listener: &Listener) -> impl Iterator<Item = Key<'_>> {
    let is_udp = listener.datagrams().is_some();
    listener.binds.iter().enumerate().map(move |(at, addr)| {
        if addr.ip().is_some_and(|ip| ip.port() == 0) {
            let nth = listener.binds[..at].iter().filter(|other| *other == addr).count();
            (is_udp, Some(&*listener.name), addr, nth)
        } else {
            (is_udp, None, addr, 0)
        }
    })
}

fn sockets(listeners: &[Listener]) -> HashMap<Key<'_>, SocketId> {
    let of = |listener| keys(listener).zip(Listener::sockets(listener).iter().copied());
    listeners.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use crate::compile;
    use base::ids::{ListenerId, SocketId};
    use config::{Format, Sealed};
    use traffic::Snapshot;

    fn after(previous: Option<&Snapshot>, listeners: &[(&str, &[&str])]) -> Snapshot {
        let listeners: String = listeners
            .iter()
            .map(|(name, binds)| {
                let binds: String = binds.iter().map(|bind| format!(" \"{bind}\"")).collect();
                format!("listener \"{name}\" {{ bind{binds}; }}\n")
            })
            .collect();
        let text = format!("{listeners}site \"*\" {{ route \"/\" {{ respond 200; }}; }}\n");
        let config = config::parse(&text, "test.kdl", Format::Kdl, &Sealed).unwrap().config;
        compile(&config, 1, previous).unwrap().snapshot
    }

    fn names(snapshot: &Snapshot) -> Vec<(&str, bool)> {
        snapshot.listeners.iter().map(|listener| (&*listener.name, !listener.is_closed())).collect()
    }

    #[test]
    fn a_listener_keeps_its_place_and_its_sockets_wherever_it_stands_in_the_text() {
        let first = after(None, &[("a", &["127.0.0.1:1", "127.0.0.1:2"]), ("b", &["127.0.0.1:3"])]);
        let second = after(Some(&first), &[("b", &["127.0.0.1:3"]), ("a", &["127.0.0.1:2", "127.0.0.1:4"])]);
        assert_eq!(names(&second), [("a", true), ("b", true)]);
        assert_eq!(first.listeners[0].sockets(), [SocketId(0), SocketId(1)]);
        assert_eq!(second.listeners[0].sockets(), [SocketId(1), SocketId(3)], "127.0.0.1:4 is new");
        assert_eq!(second.listener_of(SocketId(2)), Some(ListenerId(1)));
        assert_eq!(second.listener_of(SocketId(0)), None);
    }

    #[test]
    fn a_place_is_given_away_when_nobody_can_mean_its_old_owner() {
        let first = after(None, &[("a", &["127.0.0.1:1"]), ("b", &["127.0.0.1:2"])]);
        let second = after(Some(&first), &[("b", &["127.0.0.1:2"]), ("c", &["127.0.0.1:3"])]);
        assert_eq!(names(&second), [("a", false), ("b", true), ("c", true)]);
        assert!(second.listener(ListenerId(0)).is_none() && second.listeners[0].sockets().is_empty());
        let still = after(Some(&second), &[("b", &["127.0.0.1:2"]), ("d", &["127.0.0.1:4"])]);
        assert_eq!(names(&still), [("a", false), ("b", true), ("c", false), ("d", true)]);
        drop((first, second));
        let later = after(Some(&still), &[("b", &["127.0.0.1:2"]), ("e", &["127.0.0.1:5"])]);
        assert_eq!(names(&later), [("e", true), ("b", true), ("c", false), ("d", false)]);
        drop(still);
        let last = after(Some(&later), &[("b", &["127.0.0.1:2"])]);
        assert_eq!(names(&last), [("e", false), ("b", true)], "empty places at the end are dropped");
    }

    #[test]
    fn a_listener_that_comes_back_has_its_place_again_but_a_new_socket() {
        let first = after(None, &[("a", &["127.0.0.1:1"]), ("b", &["127.0.0.1:2"])]);
        let second = after(Some(&first), &[("b", &["127.0.0.1:2"])]);
        let third = after(Some(&second), &[("b", &["127.0.0.1:2"]), ("a", &["127.0.0.1:1"])]);
        assert_eq!(names(&third), [("a", true), ("b", true)]);
        assert_eq!(third.listeners[0].sockets(), [SocketId(2)]);
    }

    #[test]
    fn a_socket_belongs_to_its_address_or_where_the_kernel_chooses_to_its_listener() {
        let first = after(None, &[("a", &["127.0.0.1:1", "127.0.0.1:0", "127.0.0.1:0"])]);
        let second = after(Some(&first), &[("b", &["127.0.0.1:1", "127.0.0.1:0"])]);
        let sockets = second.listeners[1].sockets();
        assert_eq!(sockets, [SocketId(0), SocketId(3)], "the fixed port goes on under another name");
        let third = after(Some(&first), &[("a", &["127.0.0.1:0"])]);
        assert_eq!(third.listeners[0].sockets(), [SocketId(1)]);
    }
}
