//! Sessions that are resumed, and those that must not be.

use super::*;

fn handshake(connector: &Connector, name: &str, acceptor: &Acceptor) -> (bool, bool) {
    let mut line = Line::new(connector, name, acceptor);
    line.shake().unwrap();
    let facts = line.server.facts();
    (facts.resumed, facts.resume_refused)
}

const FULL: (bool, bool) = (false, false);
const RESUMED: (bool, bool) = (true, false);
const REFUSED: (bool, bool) = (false, true);

#[test]
fn r59_a_session_is_resumed_at_any_acceptor_with_the_same_keys_and_rules() {
    let (scratch, authority, tickets) = (Scratch::new(), Authority::new("ours"), TicketKeys::new().unwrap());
    let pairs = [authority.pair(&scratch, &["a.example"])];
    let connector = connector(&authority.file(&scratch));
    let one = Acceptor::new(rules(&pairs, &tickets)).unwrap();
    assert_eq!(handshake(&connector, "a.example", &one), FULL);
    assert_eq!(handshake(&connector, "a.example", &one), RESUMED);
    // A later generation, with a renewed certificate and after a rotation.
    let renewed = [authority.pair(&scratch, &["a.example"])];
    let once = tickets.rotated().unwrap();
    let later = Acceptor::new(rules(&renewed, &once)).unwrap();
    assert_eq!(handshake(&connector, "a.example", &later), RESUMED);
    let twice = once.rotated().unwrap().rotated().unwrap();
    let too_late = Acceptor::new(rules(&renewed, &twice)).unwrap();
    assert_eq!(handshake(&connector, "a.example", &too_late), REFUSED);
}

#[test]
fn r56_a_session_of_one_name_or_listener_or_policy_is_worth_nothing_elsewhere() {
    let (scratch, authority, tickets) = (Scratch::new(), Authority::new("ours"), TicketKeys::new().unwrap());
    let pairs = [authority.pair(&scratch, &["a.example", "b.example"])];
    let ca = authority.file(&scratch);
    let web = || Acceptor::new(rules(&pairs, &tickets)).unwrap();
    let clients = |required| Some(ClientRules::load(&[&ca], &[], required).unwrap());
    let elsewhere = [
        ("another listener", Acceptor::new(ServerRules { listener: "other", ..rules(&pairs, &tickets) })),
        (
            "certificates asked for",
            Acceptor::new(ServerRules { clients: clients(false), ..rules(&pairs, &tickets) }),
        ),
        (
            "another version",
            Acceptor::new(ServerRules { min_version: MinVersion::Tls13, ..rules(&pairs, &tickets) }),
        ),
    ];
    for (what, other) in elsewhere {
        // Each with sessions of its own: they are remembered by what the connector is.
        let connector = Connector::new(&EndpointRules {
            authorities: vec![&ca],
            protocols: vec![what.as_bytes()[..9].to_vec(), b"http/1.1".to_vec()],
            ..EndpointRules::default()
        });
        let connector = connector.unwrap();
        assert_eq!(handshake(&connector, "a.example", &web()), FULL, "{what}");
        assert_eq!(handshake(&connector, "a.example", &other.unwrap()), REFUSED, "{what}");
    }
    let connector = connector(&ca);
    assert_eq!(handshake(&connector, "a.example", &web()), FULL);
    assert_eq!(handshake(&connector, "b.example", &web()), REFUSED, "another name");
}
