use super::*;
use crate::testing::{endpoint, parse};
use proptest::prelude::*;

const NOON: Duration = Duration::from_secs(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3600);

fn attributes() -> Attributes {
    Attributes {
        name: "route".into(),
        max_age: Some(HOUR),
        path: "/".into(),
        domain: None,
        secure: false,
        http_only: true,
        same_site: SameSite::Lax,
    }
}

fn endpoints(n: u32) -> Vec<Endpoint> {
    (0..n).map(|n| endpoint(n, 1)).collect()
}

fn sticky(secret: &str, upstream: &str, endpoints: &[Endpoint]) -> Sticky {
    Sticky::build(Key::kept(secret.as_bytes()), attributes(), upstream, endpoints)
}

fn three() -> Sticky {
    sticky("a secret of sixteen", "app", &endpoints(3))
}

/// The value of the cookie that a response of the endpoint carries.
fn issued(sticky: &Sticky, at: u32, unix: Duration) -> String {
    let mut line = Vec::new();
    sticky.write_set_cookie(&mut line, EndpointId(at), unix);
    let line = String::from_utf8(line).unwrap();
    let value = line.strip_prefix("Set-Cookie: route=").expect("the name of the cookie");
    value.split(';').next().unwrap().to_owned()
}

fn session(sticky: &Sticky, cookies: &str, unix: Duration) -> Session {
    sticky.session(parse("GET", "a", "/", &[("Cookie", cookies)]).request(), unix)
}

fn held(at: u32) -> Session {
    Session::Held { endpoint: EndpointId(at), renew: false }
}

#[test]
fn a_cookie_leads_back_to_the_endpoint_that_it_was_issued_for() {
    let sticky = three();
    for at in 0..3 {
        let value = issued(&sticky, at, NOON);
        assert_eq!(session(&sticky, &format!("a=b; route={value};c=d"), NOON), held(at));
    }
    assert_eq!(session(&sticky, "a=b; routes=c", NOON), Session::None);
    assert_eq!(sticky.session(crate::testing::get("a", "/").request(), NOON), Session::None);
}

#[test]
fn the_field_carries_every_attribute_that_is_asked_for() {
    let written = |attributes: Attributes| {
        let sticky = Sticky::build(Key::kept(b"k"), attributes, "app", &endpoints(1));
        let mut line = Vec::new();
        sticky.write_set_cookie(&mut line, EndpointId(0), NOON);
        let line = String::from_utf8(line).unwrap();
        line.split_once("; ").unwrap().1.to_owned()
    };
    assert_eq!(written(attributes()), "Path=/; Max-Age=3600; HttpOnly; SameSite=Lax\r\n");
    let all = Attributes {
        max_age: None,
        path: "/app".into(),
        domain: Some("example.com".into()),
        secure: true,
        http_only: false,
        same_site: SameSite::None,
        ..attributes()
    };
    assert_eq!(written(all), "Path=/app; Domain=example.com; Secure; SameSite=None\r\n");
}

#[test]
fn a_session_survives_another_order_another_process_and_new_endpoints() {
    let value = issued(&three(), 1, NOON);
    let turned =
        (0u32..).zip([4u32, 1, 0]).map(|(place, n)| Endpoint { id: EndpointId(place), ..endpoint(n, 1) });
    let turned = sticky("a secret of sixteen", "app", &turned.collect::<Vec<_>>());
    assert_eq!(session(&turned, &format!("route={value}"), NOON), held(1));
    let gone = sticky("a secret of sixteen", "app", &endpoints(1));
    assert_eq!(session(&gone, &format!("route={value}"), NOON), Session::Unknown);
}

/// The expectation comes from another implementation (Python's `hmac`), after the description in `token`.
#[test]
fn values_never_change_from_version_to_version() {
    assert_eq!(
        issued(&three(), 1, NOON),
        "904438db91f4c2a6b492ab196b49d200f757033676abf46fb72ee7189916521f",
        "sessions must survive an upgrade"
    );
}

#[test]
fn cookies_of_another_secret_or_upstream_lead_nowhere() {
    let cookie = format!("route={}", issued(&three(), 1, NOON));
    let other_secret = sticky("another secret of ours", "app", &endpoints(3));
    assert_eq!(session(&other_secret, &cookie, NOON), Session::Forged);
    let other_upstream = sticky("a secret of sixteen", "api", &endpoints(3));
    assert_eq!(session(&other_upstream, &cookie, NOON), Session::Unknown);
}

#[test]
fn the_border_between_name_and_address_cannot_be_moved() {
    let signer = Signer::new(&Key::kept(b"k"));
    assert_ne!(signer.tag("app1", "0.0.0.1:80"), signer.tag("app", "10.0.0.1:80"));
}

#[test]
fn a_session_is_renewed_after_half_its_age_and_ends_after_all_of_it() {
    let sticky = three();
    let cookie = format!("route={}", issued(&sticky, 2, NOON));
    let after = |seconds| session(&sticky, &cookie, NOON + Duration::from_secs(seconds));
    assert_eq!(after(1799), held(2));
    assert_eq!(after(1800), Session::Held { endpoint: EndpointId(2), renew: true });
    assert!(after(1800).needs_cookie(EndpointId(2)));
    assert_eq!(after(3600), Session::Stale);
    assert_eq!(session(&sticky, &cookie, NOON - HOUR), held(2), "issued by a node whose clock is ahead");
    let forever = Attributes { max_age: None, ..attributes() };
    let forever = Sticky::build(Key::kept(b"a secret of sixteen"), forever, "app", &endpoints(3));
    assert_eq!(session(&forever, &cookie, NOON + 10_000 * HOUR), held(2));
}

#[test]
fn a_new_cookie_is_needed_when_the_endpoint_changes_and_only_then() {
    assert!(!held(1).needs_cookie(EndpointId(1)));
    assert!(held(1).needs_cookie(EndpointId(2)));
    for session in [Session::None, Session::Unknown, Session::Stale, Session::Forged] {
        assert!(session.needs_cookie(EndpointId(0)), "{session:?}");
        assert_eq!(session.endpoint(), None);
    }
}

#[test]
fn of_several_cookies_the_first_that_is_good_counts_and_few_are_tried() {
    let sticky = three();
    let good = issued(&sticky, 0, NOON);
    let stale = issued(&sticky, 1, NOON - HOUR);
    assert_eq!(session(&sticky, &format!("route=x; route={stale}; route={good}"), NOON), held(0));
    assert_eq!(session(&sticky, &format!("route={stale}; route=x"), NOON), Session::Stale);
    let late = format!("{}route={good}", "route=x; ".repeat(COOKIES_TRIED_MAX));
    assert_eq!(session(&sticky, &late, NOON), Session::Forged);
}

#[test]
fn other_cookies_are_told_apart_from_ours() {
    let sticky = three();
    for (value, has_ours, others) in [
        ("a=b; route=c; d=\"e\"", true, &["a=b", "d=\"e\""][..]),
        ("route=c", true, &[]),
        (" route = c ;; a", true, &["a"]),
        ("a=route; routes=b", false, &["a=route", "routes=b"]),
    ] {
        assert_eq!(sticky.is_in(value.as_bytes()), has_ours, "{value}");
        let found: Vec<_> = sticky.others(value.as_bytes()).map(String::from_utf8_lossy).collect();
        assert_eq!(found, others, "{value}");
    }
}

#[test]
fn nothing_shows_the_secret() {
    let shown = format!("{:?} {:?}", three(), Key::kept(b"a secret of sixteen"));
    assert!(!shown.contains("secret") && !shown.contains("97, 32"), "{shown}");
}

#[test]
fn ten_thousand_endpoints_have_sessions_of_their_own() {
    let sticky = sticky("a secret of sixteen", "app", &endpoints(10_000));
    assert_eq!(sticky.endpoints.len(), 10_000);
    for at in (0..10_000).step_by(997) {
        assert_eq!(session(&sticky, &format!("route={}", issued(&sticky, at, NOON)), NOON), held(at));
    }
}

proptest! {
    #![proptest_config(crate::testing::cases(300))]

    /// One changed byte anywhere makes it a forgery.
    #[test]
    fn a_value_that_was_tampered_with_is_forged(at in 0usize..64, byte in any::<u8>()) {
        let sticky = three();
        let mut value = issued(&sticky, 1, NOON).into_bytes();
        prop_assume!(value[at] != byte);
        value[at] = byte;
        prop_assert_eq!(sticky.read(&value, NOON), Session::Forged);
    }

    #[test]
    fn any_value_is_read_without_harm(value in prop::collection::vec(any::<u8>(), 0..130)) {
        prop_assert_eq!(three().read(&value, NOON), Session::Forged);
    }
}
