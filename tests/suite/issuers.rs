//! Tokens of an identity provider whose keys are fetched: rotation, unknown keys, outages.

use crate::harness::base64::base64url;
use crate::harness::client::Response;
use crate::harness::nginx::free_port;
use crate::harness::oidc::Provider;
use crate::harness::tls::Authority;
use crate::harness::{Folder, Io, Origin, Ringway, Setup, wait_until};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const ROUTE: &str = "authenticate { any-of { jwt \"corp\"; }; }";

/// A policy for the tokens of `provider`.
fn policy(provider: &Provider, fetch: &str) -> String {
    format!(
        "jwt \"corp\" {{ issuer \"{0}\"; audience \"shop\"; algorithms \"ES256\"; jwks \"{0}/jwks\"
            fetch {{ allow-private; require-at-start; {fetch} }} }}",
        provider.issuer()
    )
}

fn started(provider: &Provider, origin: &Origin, fetch: &str, io: Io) -> Ringway {
    let top = policy(provider, fetch);
    Setup { top: &top, route: ROUTE, ..Setup::to(origin.address()) }.start(io)
}

fn get(ringway: &Ringway, token: &str) -> Response {
    ringway
        .client()
        .send(format!("GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"))
        .response("GET")
}

/// Attempts to fetch keys that were caused by time (`refresh`) or a `token`.
#[track_caller]
fn fetched(ringway: &Ringway, cause: &str) -> u64 {
    let line = format!("ringway_jwks_fetches_total{{policy=\"corp\",cause=\"{cause}\"}} ");
    let text = ringway.admin("/metrics").text();
    text.lines()
        .find_map(|own| own.strip_prefix(&line)?.parse().ok())
        .unwrap_or_else(|| panic!("no {line} in {text}"))
}

/// A token with a good form, of a key that nobody has.
fn of_key(kid: &str) -> String {
    let encode = |text: &str| base64url(text.as_bytes());
    let header = encode(&format!("{{\"alg\":\"ES256\",\"kid\":\"{kid}\"}}"));
    format!("{header}.{}.{}", encode("{\"exp\":9999999999}"), "A".repeat(86))
}

both! {
    /// K3, K6: keys are exchanged under load, half of the time without notice; no good token is refused, and tokens of a
    /// key that is gone are.
    fn k3_k6_keys_rotate_under_load_and_no_good_token_is_refused(io) {
        let provider = Provider::start();
        let origin = Origin::ok("x");
        let ringway = started(&provider, &origin, "cooldown \"200ms\"; refresh \"1s\"", io);
        let (stop, good) = (AtomicBool::new(false), AtomicU64::new(0));
        let first = provider.token("urn:shop");
        assert_eq!(get(&ringway, &first).status, 200);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let token = provider.token("urn:shop");
                        let answer = get(&ringway, &token);
                        assert_eq!(answer.status, 200, "{}", answer.text());
                        good.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            for rotation in 0..6 {
                let before = good.load(Ordering::Relaxed);
                wait_until("requests with tokens", || good.load(Ordering::Relaxed) > before + 10);
                // A token that was signed by the key before may still be on its way.
                provider.control(if rotation % 2 == 0 { "rotate?keep=1" } else { "rotate?keep=1&again" });
            }
            stop.store(true, Ordering::Relaxed);
        });
        provider.control("rotate");
        wait_until("a token of a removed key is refused", || get(&ringway, &first).status == 401);
        assert_eq!(get(&ringway, &provider.token("urn:shop")).status, 200);
        assert!(fetched(&ringway, "token") >= 1 && fetched(&ringway, "refresh") >= 1);
        ringway.stop_after(origin);
    }

    /// K3, R72: whatever strangers put into their tokens, the provider is asked once per cool-down, and good tokens pass.
    fn k3_r72_random_key_names_cause_no_more_fetches_than_the_cool_down(io) {
        let provider = Provider::start();
        let origin = Origin::ok("x");
        let ringway = started(&provider, &origin, "cooldown \"1h\"", io);
        let good = provider.token("urn:shop");
        let before = provider.fetches();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (ringway, good) = (&ringway, &good);
                scope.spawn(move || {
                    let mut client = ringway.client();
                    for n in 0..300 {
                        let token = of_key(&format!("{thread}-{n}"));
                        client.send(format!("GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"));
                        assert_eq!(client.response("GET").status, 401);
                        if n % 50 == 0 {
                            assert_eq!(get(ringway, good).status, 200);
                        }
                    }
                });
            }
        });
        assert_eq!(provider.fetches(), before + 1);
        assert_eq!(fetched(&ringway, "token"), 1);
        ringway.stop_after(origin);
    }

    /// K1, K5: the provider goes away and comes back; what was known stays good, also over a restart, and what nobody can
    /// know is 503, not 401.
    fn k1_k5_an_outage_refuses_no_token_of_a_known_key(io) {
        let provider = Provider::start();
        let origin = Origin::ok("x");
        let state = Folder::new();
        let policy = policy(&provider, "cooldown \"100ms\"; refresh \"1s\"").replace("require-at-start;", "");
        let top = format!("workers 1\n{policy}");
        let text = Setup { top: &top, route: ROUTE, ..Setup::to(origin.address()) }.text();
        let words = ["--last-good", &state.path().display().to_string()];
        let ringway = Ringway::start_with(&words, &text, io);
        let known = provider.token("urn:shop");
        wait_until("the first keys", || get(&ringway, &known).status == 200);
        let later = provider.token("urn:shop");
        provider.control("rotate?keep=1");
        let unknown = provider.token("urn:shop");
        provider.control("down");
        ringway.says("the last keys stay in use");
        assert_eq!(get(&ringway, &later).status, 200);
        let answer = get(&ringway, &unknown);
        assert_eq!((answer.status, answer.text().contains("auth_unavailable")), (503, true), "{}", answer.text());
        assert!(answer.head.all("www-authenticate").is_empty());
        ringway.signal("TERM");
        ringway.expect_clean_exit();
        // Nobody answers, and nothing is in memory: what was kept counts.
        let ringway = Ringway::start_with(&words, &text, io);
        assert_eq!(get(&ringway, &later).status, 200);
        assert_eq!(get(&ringway, &unknown).status, 503);
        let records = ringway.records(2);
        assert_eq!((&records[1]["cause"], &records[1]["auth"]), (&"auth_unavailable".into(), &"jwt:corp keys_unavailable denied".into()));
        provider.control("up");
        wait_until("the new key is known", || get(&ringway, &unknown).status == 200);
        assert_eq!(get(&ringway, &known).status, 200);
        ringway.stop_after(origin);
    }

    /// K7, R77: authorities are checked, and an address that is not public is asked only where that is allowed.
    fn k7_r77_keys_come_from_whom_they_should(io) {
        let authority = Authority::new();
        authority.issue("id", &["127.0.0.1"]);
        let port = free_port();
        let provider = Provider::start_with(port, &[&authority.path("id.key"), &authority.path("id.pem")]);
        let origin = Origin::ok("x");
        let of = |fetch: &str| format!(
            "workers 1\njwt \"corp\" {{ algorithms \"ES256\"; jwks \"https://127.0.0.1:{port}/jwks\"; fetch {{ {fetch} }} }}"
        );
        let start = |fetch: &str| {
            let top = of(fetch);
            Setup { top: &top, route: ROUTE, ..Setup::to(origin.address()) }.start(io)
        };
        let good = start(&format!("allow-private; ca {:?}; require-at-start", authority.ca()));
        good.says("keys fetched: 1");
        // A token of a key that the provider does not have is refused, for there are keys.
        assert_eq!(get(&good, &of_key("x")).status, 401);
        good.stop();
        let private = start(&format!("ca {:?}", authority.ca()));
        private.says("a private address, which needs allow-private");
        assert_eq!(get(&private, &of_key("x")).status, 503);
        private.stop();
        let stranger = Authority::new();
        let foreign = start(&format!("allow-private; ca {:?}", stranger.ca()));
        foreign.says("TLS: ");
        assert_eq!(get(&foreign, &of_key("x")).status, 503);
        foreign.stop_after(origin);
        drop(provider);
    }
}
