//! Which certificate a client gets.

use super::*;

/// The server name that the shown certificate is for, or why there is none.
fn shown(pairs: &[Pair], serves_unknown: bool, ca: &Path, name: &str) -> Result<(), (&'static str, Failure)> {
    let tickets = TicketKeys::new().unwrap();
    let acceptor = Acceptor::new(ServerRules { serves_unknown, ..rules(pairs, &tickets) }).unwrap();
    let mut line = Line::new(&connector(ca), name, &acceptor);
    let end = line.shake();
    if end == Err(("server", Failure::UnknownName)) {
        assert_eq!(line.to_client, [21, 3, 3, 0, 2, 2, 112], "unrecognized_name, fatal, in the clear");
    }
    end
}

#[test]
fn r60_names_are_found_exactly_then_by_wildcard_then_by_rule() {
    let (scratch, authority) = (Scratch::new(), Authority::new("ours"));
    let ca = authority.file(&scratch);
    let pairs = [
        authority.pair(&scratch, &["first.example"]),
        authority.pair(&scratch, &["*.shop.example", "shop.example"]),
        authority.pair(&scratch, &["pay.shop.example"]),
    ];
    for name in ["first.example", "shop.example", "a.shop.example", "pay.shop.example", "A.SHOP.example"] {
        assert_eq!(shown(&pairs, false, &ca, name), Ok(()), "{name}");
    }
    for name in ["a.b.shop.example", "other.example", "example"] {
        assert_eq!(shown(&pairs, false, &ca, name), Err(("server", Failure::UnknownName)), "{name}");
        assert_eq!(shown(&pairs, true, &ca, name), Err(("client", Failure::WrongName)), "{name}");
    }
}

#[test]
fn a_name_may_have_a_certificate_for_each_kind_of_client() {
    let (scratch, authority) = (Scratch::new(), Authority::new("ours"));
    let pairs = [
        authority.pair_of(&scratch, &["a.example"], &rcgen::PKCS_ED25519),
        authority.pair_of(&scratch, &["a.example"], &rcgen::PKCS_ECDSA_P256_SHA256),
    ];
    let ca = authority.file(&scratch);
    assert_eq!(shown(&pairs, false, &ca, "a.example"), Ok(()));
}

#[test]
fn r57_a_connection_covers_hosts_of_its_certificate() {
    let (scratch, authority, tickets) = (Scratch::new(), Authority::new("ours"), TicketKeys::new().unwrap());
    let pairs = [
        authority.pair(&scratch, &["a.example", "b.example", "*.w.example"]),
        authority.pair(&scratch, &["c.example"]),
    ];
    let open = Acceptor::new(rules(&pairs, &tickets)).unwrap();
    let strict = Acceptor::new(ServerRules { serves_unknown: false, ..rules(&pairs, &tickets) }).unwrap();
    for acceptor in [&open, &strict] {
        assert!(acceptor.covers(Some("a.example"), "a.example"));
        assert!(acceptor.covers(Some("a.example"), "b.example"), "the same certificate, the same rules");
        assert!(acceptor.covers(Some("a.example"), "x.w.example"));
        assert!(!acceptor.covers(Some("a.example"), "c.example"));
        assert!(!acceptor.covers(Some("c.example"), "a.example"));
        assert!(acceptor.covers(None, "10.0.0.1"));
        assert!(!acceptor.covers(None, "c.example"));
    }
    assert!(!strict.covers(Some("c.example"), "unknown.example"));
    let ca = authority.file(&scratch);
    let clients = Some(ClientRules::load(&[&ca], &[], true).unwrap());
    let mutual = Acceptor::new(ServerRules { clients, ..rules(&pairs, &tickets) }).unwrap();
    assert!(mutual.covers(Some("a.example"), "a.example"));
    assert!(!mutual.covers(Some("a.example"), "b.example"), "who the client is was decided for one name");
}

#[test]
fn a_thousand_certificates_are_as_quick_as_one() {
    let (scratch, authority, tickets) = (Scratch::new(), Authority::new("ours"), TicketKeys::new().unwrap());
    let pairs: Vec<Pair> =
        (0..1000).map(|n| authority.pair(&scratch, &[&format!("site{n}.example")])).collect();
    let acceptor = Acceptor::new(rules(&pairs, &tickets)).unwrap();
    let ca = authority.file(&scratch);
    for n in [0, 500, 999] {
        let mut line = Line::new(&connector(&ca), &format!("site{n}.example"), &acceptor);
        assert_eq!(line.shake(), Ok(()));
    }
}
