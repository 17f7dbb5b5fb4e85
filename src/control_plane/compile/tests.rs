use super::*;
use base::addr::Addr;
use base::ids::{RouteId, UpstreamId};
use config::{Format, Sealed};
use std::net::IpAddr;
use std::time::Duration;
use traffic::balance::Thresholds;
use traffic::health::{EjectionRules, Health, SuccessRateRules};
use traffic::snapshot::Action;
use wire::h1::{Progress, RequestReader};
use wire::http::{Request, RequestHead};

fn config(text: &str) -> Config {
    match config::parse(text, "test.kdl", Format::Kdl, &Sealed) {
        Ok(loaded) => loaded.config,
        Err(problems) => panic!("{problems:?}"),
    }
}

fn compiled(text: &str) -> Compiled {
    compile(&config(text), 2, None).unwrap()
}

/// The name of the route that serves a request on the listener at that place.
fn route_of<'s>(snapshot: &'s Snapshot, listener: usize, host: &str, path: &str) -> Option<&'s str> {
    let bytes = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
    let mut head = RequestHead::default();
    let progress = RequestReader::new(&snapshot.listeners[listener].http).read(&bytes, &mut head).unwrap();
    assert_eq!(progress, Progress::Complete(bytes.len()));
    let client = IpAddr::from([192, 0, 2, 1]);
    let id = snapshot.listeners[listener].table.find(Request::new(&head, &bytes), client)?;
    Some(&snapshot.route(id).name)
}

const TWO_SITES: &str = r#"
listener "public" { bind "127.0.0.1:8080"; limits { body "1MiB" } }
listener "internal" { bind "127.0.0.1:8081" "unix:/run/x.sock" }
upstream "api" {
    endpoint "10.0.0.1:80" weight=3
    endpoint "10.0.0.9:80" tier="backup"
    health { http "/healthz" every="1s" }
}
upstream "web" { endpoint "10.0.1.1:80"; balance "maglev"; hash-key "cookie:sid" }
site "shop.example.com" "*.shop.example.com" {
    route "/" upstream="web"
    route "/api/" upstream="api" {
        timeouts { total "15s" }
        limits { body "2MiB" }
        retry attempts=2 on="connect,503"
        rewrite { strip-prefix "/api" }
    }
    route "/old" { redirect 308 to="/new?{query}" }
    route "/split" { split { upstream "api" 95; upstream "web" 5 } }
}
site "*" {
    listeners "internal"
    route "/" { respond 200 body="hello" }
}
"#;

#[test]
fn each_listener_serves_its_sites_only() {
    let snapshot = compiled(TWO_SITES).snapshot;
    assert_eq!(snapshot.generation, 1);
    assert_eq!(route_of(&snapshot, 0, "shop.example.com", "/api/x"), Some("shop.example.com /api/"));
    assert_eq!(route_of(&snapshot, 0, "a.shop.example.com", "/"), Some("shop.example.com /"));
    assert_eq!(route_of(&snapshot, 0, "other.example.com", "/"), None);
    assert_eq!(route_of(&snapshot, 1, "other.example.com", "/"), Some("* /"));
    assert_eq!(snapshot.listeners[1].binds.len(), 2);
}

#[test]
fn what_is_written_at_a_route_arrives_there() {
    let snapshot = compiled(TWO_SITES).snapshot;
    let api = snapshot.routes.iter().find(|route| &*route.name == "shop.example.com /api/").unwrap();
    assert_eq!(api.timeouts.total, Some(Duration::from_secs(15)));
    assert_eq!((api.retry.attempts, api.retry.on.reset, &api.retry.on.statuses[..]), (2, false, &[503][..]));
    assert!(!api.chain.is_empty());
    assert_eq!(api.origin.to_string(), "test.kdl:12:5");
    let Action::Forward(split) = &api.action else { panic!("{:?}", api.action) };
    assert_eq!(split.targets, [(UpstreamId(0), 1)]);
    let ids: Vec<_> = snapshot.routes.iter().map(|route| route.id).collect();
    assert_eq!(ids, (0..5).map(RouteId).collect::<Vec<_>>());
}

#[test]
fn the_nearest_body_limit_wins_and_the_listener_lets_it_through() {
    let snapshot = compiled(TWO_SITES).snapshot;
    let limit =
        |name: &str| snapshot.routes.iter().find(|route| &*route.name == name).unwrap().body_bytes_max;
    assert_eq!(limit("shop.example.com /api/"), 2 << 20);
    assert_eq!(limit("shop.example.com /"), 1 << 20, "the strictest of its listeners");
    assert_eq!(limit("* /"), u64::MAX);
    assert_eq!(snapshot.listeners[0].http.body_bytes_max, 2 << 20);
}

#[test]
fn endpoints_with_checks_wait_for_them_and_others_are_up() {
    let snapshot = compiled(TWO_SITES).snapshot;
    let [api, web] = &snapshot.upstreams[..] else { panic!() };
    assert_eq!(api.endpoint(base::ids::EndpointId(1)).tier, 1);
    assert_eq!(api.endpoints[0].weight, 3);
    assert!(api.endpoints.iter().all(|endpoint| endpoint.cell.health() == Health::Checking));
    assert_eq!(web.endpoints[0].cell.health(), Health::Up);
    assert_eq!(&*web.endpoints[0].text, "10.0.1.1:80");
}

#[test]
fn run_time_state_carries_over_by_identity_not_by_place() {
    let before = compiled(TWO_SITES).snapshot;
    before.upstreams[0].endpoints[1].cell.begin();
    let reordered = TWO_SITES
        .replace(
            "endpoint \"10.0.0.1:80\" weight=3",
            "endpoint \"10.0.0.9:80\" tier=\"backup\"; endpoint \"10.0.0.3:80\"",
        )
        .replace("    endpoint \"10.0.0.9:80\" tier=\"backup\"\n", "");
    let after = compile(&config(&reordered), 2, Some(&before)).unwrap().snapshot;
    assert_eq!(after.generation, 2);
    let cells: Vec<_> =
        after.upstreams[0].endpoints.iter().map(|endpoint| endpoint.cell.in_flight()).collect();
    assert_eq!(cells, [1, 0]);
    assert!(Arc::ptr_eq(&before.upstreams[1].budget, &after.upstreams[1].budget));
    assert!(before.routes.iter().zip(&after.routes).all(|(old, new)| Arc::ptr_eq(&old.stats, &new.stats)));
}

#[test]
fn an_endpoint_that_is_new_beside_others_begins_slowly_and_a_new_upstream_does_not() {
    let now = base::Instant::from_nanos(5_000_000_000);
    let first = compiled(TWO_SITES).snapshot;
    assert!(
        first
            .upstreams
            .iter()
            .flat_map(|upstream| &upstream.endpoints)
            .all(|e| e.cell.ramp_permille(now) == 1000)
    );
    let more = TWO_SITES
        .replace("endpoint \"10.0.1.1:80\"", "endpoint \"10.0.1.1:80\"; endpoint \"10.0.1.2:80\"")
        .replace("listener \"public\"", "upstream \"new\" { endpoint \"10.0.2.1:80\" }\nlistener \"public\"");
    let loaded = config::parse(&more, "test.kdl", Format::Kdl, &Sealed).unwrap();
    let second = compile(&loaded.config, 2, Some(&first)).unwrap().snapshot;
    let ramps = |name: &str| -> Vec<u32> {
        let upstream = second.upstreams.iter().find(|upstream| &*upstream.name == name).unwrap();
        upstream.endpoints.iter().map(|endpoint| endpoint.cell.ramp_permille(now)).collect()
    };
    assert_eq!(ramps("web"), [1000, 100]);
    assert_eq!(ramps("new"), [1000]);
}

#[test]
fn what_an_upstream_says_about_health_reaches_balancer_and_workers() {
    let text = |more: &str| {
        format!(
            "listener \"web\" {{ bind \"127.0.0.1:8080\" }}\nsite \"*\" {{ route \"/\" upstream=\"api\" }}\n\
             upstream \"api\" {{ endpoint \"10.0.0.1:80\"; {more} }}"
        )
    };
    let upstream = |more: &str| compiled(&text(more)).snapshot.upstreams.remove(0);
    let usual = upstream("");
    assert_eq!(usual.ejection, EjectionRules::default());
    assert_eq!(usual.success_rate, Some(SuccessRateRules::default()));
    assert_eq!(*usual.balancer.thresholds(), Thresholds::default());

    let own = upstream(
        "panic \"50%\"; slow-start \"1m\"
         outlier { consecutive-errors 7; eject-for \"2s\"; eject-longest \"8s\"; max-ejected \"12.5%\"
                   success-rate deviation=\"2.5\" every=\"5s\" requests=10 endpoints=3 }",
    );
    let seconds = Duration::from_secs;
    let (first, longest, slow_start) = (seconds(2), seconds(8), seconds(60));
    assert_eq!(own.ejection, EjectionRules { failures_in_a_row: 7, first, longest, slow_start });
    let rate = SuccessRateRules { every: seconds(5), requests_min: 10, endpoints_min: 3, deviation: 2.5 };
    assert_eq!(own.success_rate, Some(rate));
    let thresholds = Thresholds { healthy_permille_min: 500, fail_open: true, ejected_permille_max: 125 };
    assert_eq!(*own.balancer.thresholds(), thresholds);

    let off = upstream("panic \"off\"; slow-start \"off\"; outlier \"off\"");
    assert_eq!((off.ejection.failures_in_a_row, off.ejection.slow_start), (0, Duration::ZERO));
    assert_eq!(off.success_rate, None);
    let thresholds = Thresholds { healthy_permille_min: 0, fail_open: false, ejected_permille_max: 0 };
    assert_eq!(*off.balancer.thresholds(), thresholds);
}

#[test]
fn an_endpoint_that_is_down_does_not_stay_down_when_its_checks_are_taken_away() {
    let before = compiled(TWO_SITES).snapshot;
    before.upstreams[0].endpoints[0].cell.set_health(Health::Down, base::Instant::ZERO, Duration::ZERO);
    let unchecked = TWO_SITES.replace("health { http \"/healthz\" every=\"1s\" }", "");
    let after = compile(&config(&unchecked), 2, Some(&before)).unwrap().snapshot;
    assert_eq!(after.upstreams[0].endpoints[0].cell.health(), Health::Up);
    let again = compile(&config(TWO_SITES), 2, Some(&before)).unwrap().snapshot;
    assert_eq!(again.upstreams[0].endpoints[0].cell.health(), Health::Down);
}

#[test]
fn routes_of_one_path_are_told_apart_by_what_they_ask_for() {
    let text = r#"
        listener "web" { bind "127.0.0.1:8080" }
        site "*" {
            route "/" { respond 200 }
            route "/" { methods "POST"; respond 200 }
            route "/" { match { header "X-Beta" "1"; query "v" }; respond 200 }
        }
    "#;
    let names: Vec<_> = compiled(text).snapshot.routes.into_iter().map(|route| route.name).collect();
    assert_eq!(names, ["* /".into(), "* / POST".into(), Box::from("* / header:X-Beta=1 query:v")]);
}

#[test]
fn limits_of_the_node_are_shared_out_over_the_workers() {
    let text = r#"
        listener "a" { bind "127.0.0.1:8080"; limits { connections 101 } }
        listener "b" { bind "127.0.0.1:8081"; limits { connections 100; requests-per-connection 7 } }
        site "*" { route "/" { respond 200 } }
    "#;
    let snapshot = compiled(text).snapshot;
    assert_eq!(snapshot.limits.connections_max, 101);
    let of_listeners =
        snapshot.listeners.iter().map(|listener| (listener.connections_max, listener.requests_max));
    assert_eq!(of_listeners.collect::<Vec<_>>(), [(51, 10_000), (50, 7)]);
}

#[test]
fn what_is_in_use_is_carried_over_and_the_bounds_are_those_of_the_new_generation() {
    let limited = |limits: &str| {
        TWO_SITES.replace("balance \"maglev\"", &format!("limits {{ {limits} }}; balance \"maglev\""))
    };
    let of_web = |snapshot: &traffic::Snapshot| {
        let found = snapshot.upstreams.iter().position(|upstream| &*upstream.name == "web");
        found.expect("it is there")
    };
    let before = compiled(&limited("connections 10; endpoint-requests 3")).snapshot;
    let web = of_web(&before);
    let gate = &before.upstreams[web].admission.as_ref().unwrap().gate;
    assert!(gate.enter(10) && gate.connect(10));
    let after = compile(&config(&limited("requests 1; queue 7; endpoint-requests 2")), 2, Some(&before));
    let after = after.unwrap().snapshot;
    let admission = after.upstreams[web].admission.as_ref().unwrap();
    assert_eq!((admission.in_flight_max(), admission.queue_max), (1, 7));
    assert!(Arc::ptr_eq(gate, &admission.gate) && !admission.gate.enter(1));
    let state = |snapshot: &traffic::Snapshot| {
        Arc::clone(&snapshot.upstreams[web].endpoints[0].valve.as_ref().unwrap().state)
    };
    assert!(Arc::ptr_eq(&state(&before), &state(&after)));
    assert_eq!(after.upstreams[web].endpoints[0].valve.as_ref().unwrap().in_flight_max(), 2);
    let unlimited = compile(&config(TWO_SITES), 2, Some(&after)).unwrap().snapshot;
    assert!(unlimited.upstreams.iter().all(|upstream| upstream.admission.is_none()));
}

#[test]
fn a_configuration_from_the_command_line_compiles() {
    let address = |text: &str| config::Address::Ip(text.parse().unwrap());
    let config =
        config::from_args(&[address("127.0.0.1:0")], &[address("127.0.0.1:9001"), address("127.0.0.1:9002")]);
    let snapshot = compile(&config, 1, None).unwrap().snapshot;
    assert_eq!(snapshot.listeners[0].binds, [Addr::Ip("127.0.0.1:0".parse().unwrap())]);
    assert_eq!(snapshot.upstreams[0].endpoints.len(), 2);
    assert!(route_of(&snapshot, 0, "anything", "/x").is_some());
}

/// Loopback addresses for whatever variable is asked for, and a secret where one is.
struct AnyVariable;

impl config::Environment for AnyVariable {
    fn variable(&self, name: &str) -> Option<String> {
        if name.ends_with("_SECRET") {
            return Some("thirty-two random bytes or more.".to_owned());
        }
        // The same name is the same address.
        let port = 20_000
            + name.bytes().fold(0u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % 10_000;
        Some(format!("127.0.0.1:{port}"))
    }

    fn read(&self, path: &std::path::Path, bytes_max: u64) -> std::io::Result<String> {
        config::System.read(path, bytes_max)
    }

    fn list(&self, directory: &std::path::Path) -> std::io::Result<Vec<String>> {
        config::System.list(directory)
    }
}

#[test]
fn every_example_compiles() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let mut compiled = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "kdl") {
            continue;
        }
        let loaded = match config::load_from(&path, &AnyVariable) {
            Ok(loaded) => loaded,
            Err(problems) => panic!("{}: {problems:?}", path.display()),
        };
        // Certificates are not among the examples; the suite makes some and starts these files.
        let is_brought_along = |problem: &Problem| problem.what.starts_with("cannot read");
        match compile(&loaded.config, 4, None) {
            Err(problems) if !problems.iter().all(is_brought_along) => {
                panic!("{}: {problems:?}", path.display());
            }
            _ => compiled += 1,
        }
    }
    assert!(compiled >= 3, "{compiled} examples");
}

#[test]
fn ten_thousand_endpoints_compile() {
    let address = |text: String| config::Address::Ip(text.parse().unwrap());
    let endpoints: Vec<_> =
        (0..10_000).map(|number| address(format!("10.1.{}.{}:80", number / 250, number % 250))).collect();
    let config = config::from_args(&[address("127.0.0.1:0".to_owned())], &endpoints);
    let before = compile(&config, 2, None).unwrap().snapshot;
    let after = compile(&config, 2, Some(&before)).unwrap().snapshot;
    let pairs = before.upstreams[0].endpoints.iter().zip(&after.upstreams[0].endpoints);
    assert_eq!(pairs.filter(|(old, new)| Arc::ptr_eq(&old.cell, &new.cell)).count(), 10_000);
}

/// Cookies of a generation are good in the next one, with and without a secret that is kept.
#[test]
fn sessions_survive_a_new_generation_and_their_key_does_not_leave_the_upstream() {
    let with = |sticky: &str| {
        config(&format!(
            "listener \"web\" {{ bind \"127.0.0.1:0\" }}
            upstream \"a\" {{ endpoint \"10.0.0.1:80\"; endpoint \"10.0.0.2:80\" weight=0; {sticky} }}
            upstream \"b\" {{ endpoint \"10.0.0.1:80\"; sticky {{ cookie \"other\" }} }}
            site \"*\" {{ route \"/a\" upstream=\"a\"; route \"/b\" upstream=\"b\" }}"
        ))
    };
    let key = |snapshot: &Snapshot, at: usize| snapshot.upstreams[at].sticky.as_ref().unwrap().key().clone();
    let first = compile(&with("sticky"), 1, None).unwrap().snapshot;
    assert!(key(&first, 0).ends_with_process());
    assert_ne!(key(&first, 0), key(&first, 1), "each upstream has a random key of its own");
    let second = compile(&with("sticky"), 1, Some(&first)).unwrap().snapshot;
    assert_eq!(key(&second, 0), key(&first, 0));
    assert!(Arc::ptr_eq(&second.upstreams[0].stats, &first.upstreams[0].stats));
    let without = compile(&with(""), 1, Some(&second)).unwrap().snapshot;
    assert!(without.upstreams[0].sticky.is_none());
}

const BY_NAME: &str = r#"
listener "web" { bind "127.0.0.1:8080" }
upstream "api" {
    endpoint "10.0.0.1:80" weight=3
    endpoint "api.internal:80" weight=2
    endpoint "srv:_http._tcp.api.internal" tier="backup"
}
upstream "web" { endpoint "web.internal:80" }
site "*" { route "/" upstream="api"; route "/web" upstream="web" }
"#;

fn found(rank: u8, addr: &str, weight: u32) -> live::Found {
    live::Found { rank, addr: addr.parse().unwrap(), weight }
}

#[test]
fn names_stand_for_endpoints_once_each_with_the_weights_of_both() {
    let config = config(BY_NAME);
    let first = compile_live(&config, &Live::default(), 1, None).unwrap().snapshot;
    assert_eq!((first.upstreams[0].endpoints.len(), first.upstreams[0].unresolved), (1, false));
    assert_eq!((first.upstreams[1].endpoints.len(), first.upstreams[1].unresolved), (0, true));
    let mut live = Live::default();
    let [host, service] = [1, 2].map(|at: usize| config.upstreams[0].endpoints[at].address.clone());
    let addresses = [found(0, "10.0.0.1:80", 1), found(0, "10.0.0.2:80", 1)];
    live.set_found("api", host, Arc::new(addresses));
    live.set_found("api", service, Arc::new([found(0, "10.0.0.2:80", 9), found(1, "10.0.0.3:81", 7)]));
    live.set_found("web", config.upstreams[1].endpoints[0].address.clone(), Arc::new(addresses));
    let second = compile_live(&config, &live, 1, Some(&first)).unwrap().snapshot;
    let [api, web] = &second.upstreams[..] else { panic!() };
    let read = api.endpoints.iter().map(|one| format!("{} {} {}", one.text, one.weight, one.tier));
    assert_eq!(read.collect::<Vec<_>>(), ["10.0.0.1:80 3 0", "10.0.0.2:80 2 0", "10.0.0.3:81 7 2"]);
    assert!(Arc::ptr_eq(&first.upstreams[0].endpoints[0].cell, &api.endpoints[0].cell));
    assert!(!web.unresolved && web.endpoints.len() == 2);
    let now = base::Instant::from_nanos(1);
    let shares = |upstream: &traffic::snapshot::Upstream| {
        upstream.endpoints.iter().map(|one| one.cell.ramp_permille(now)).collect::<Vec<_>>()
    };
    assert_eq!(shares(web), [1000, 1000], "the first endpoints of an upstream have nobody to begin beside");
}
