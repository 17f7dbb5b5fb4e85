//! Every interleaving of connections that come and go on two workers (R92).

use super::*;
use loom::sync::Arc;
use loom::thread;
use std::net::Ipv4Addr;

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

/// Two groups: few enough words that the model checker can follow them.
fn small() -> Arc<Clients> {
    Arc::new(Clients::with(1, [7, 9]))
}

#[test]
fn an_address_below_its_limit_is_never_refused_and_nothing_stays_behind() {
    loom::model(|| {
        let clients = small();
        let theirs = Arc::clone(&clients);
        let come_and_go = |clients: &Clients, last| {
            let admitted = clients.enter(address(last), 2).expect("two workers, two connections");
            clients.leave(admitted);
        };
        let other = thread::spawn(move || come_and_go(&theirs, 1));
        come_and_go(&clients, 1);
        other.join().unwrap();
        assert_eq!(clients.totals(), (0, 0));
    });
}

#[test]
fn of_two_connections_at_once_one_is_refused_when_one_is_allowed() {
    loom::model(|| {
        let clients = small();
        let theirs = Arc::clone(&clients);
        let other = thread::spawn(move || theirs.enter(address(1), 1).is_ok());
        let mine = clients.enter(address(1), 1).is_ok();
        assert!(mine != other.join().unwrap(), "exactly one of them");
    });
}

#[test]
fn an_address_at_its_limit_takes_nothing_from_another() {
    loom::model(|| {
        let clients = small();
        let held = clients.enter(address(1), 1).expect("the first");
        let theirs = Arc::clone(&clients);
        let other = thread::spawn(move || {
            // Refused or, once the first has left, let in.
            if let Ok(admitted) = theirs.enter(address(1), 1) {
                theirs.leave(admitted);
            }
        });
        let innocent = clients.enter(address(2), 1).expect("somebody else's limit");
        clients.leave(held);
        clients.leave(innocent);
        other.join().unwrap();
        assert_eq!(clients.totals(), (0, 0));
    });
}
