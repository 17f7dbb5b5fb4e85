use super::*;
use crate::source::CidrSet;
use crate::testing::{Parsed, get, parse};
use proptest::prelude::*;
use std::net::IpAddr;

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn route(id: u32, host: &str, path: PathPattern) -> RouteSpec {
    RouteSpec {
        id: RouteId(id),
        hosts: vec![HostPattern::parse(host)],
        path,
        methods: Vec::new(),
        predicates: Vec::new(),
        priority: None,
    }
}

fn prefix(path: &str) -> PathPattern {
    PathPattern::Prefix(path.into())
}

fn exact(path: &str) -> PathPattern {
    PathPattern::Exact(path.into())
}

fn regex(text: &str) -> PathPattern {
    PathPattern::Regex(text.into())
}

fn header(name: &str, value: &str) -> Predicate {
    Predicate::Header { name: name.as_bytes().into(), value: Expected::Exact(value.as_bytes().into()) }
}

fn find(table: &RouteTable, request: &Parsed) -> Option<u32> {
    table.find(request.request(), CLIENT).map(|id| id.0)
}

#[test]
fn the_host_alone_chooses_the_site() {
    let table = RouteTable::build(vec![
        route(1, "shop.example.com", prefix("/api/")),
        route(2, "*.example.com", prefix("/")),
        route(3, "*.eu.example.com", prefix("/")),
        route(4, "*", prefix("/")),
    ])
    .unwrap();
    for (host, path, expected) in [
        ("shop.example.com", "/api/x", Some(1)),
        ("SHOP.Example.COM", "/api/x", Some(1)),
        ("shop.example.com", "/other", None), // no falling through to the wildcard
        ("other.example.com", "/other", Some(2)),
        ("a.b.example.com", "/", Some(2)),
        ("a.eu.example.com", "/", Some(3)),
        ("eu.example.com", "/", Some(2)),
        ("example.com", "/", Some(4)),
        ("badexample.com", "/", Some(4)),
        ("[::1]", "/", Some(4)),
    ] {
        assert_eq!(find(&table, &get(host, path)), expected, "{host}{path}");
    }
}

#[test]
fn a_host_without_site_has_no_route() {
    let table = RouteTable::build(vec![route(1, "a.example", prefix("/"))]).unwrap();
    assert_eq!(find(&table, &get("b.example", "/")), None);
    assert_eq!(find(&RouteTable::default(), &get("b.example", "/")), None);
}

#[test]
fn a_host_with_a_hundred_labels_is_looked_up_by_the_labels_of_the_wildcards() {
    let table = RouteTable::build(vec![route(1, "*.a.a", prefix("/")), route(2, "*", prefix("/"))]).unwrap();
    let long = vec!["a"; 100].join(".");
    assert_eq!(find(&table, &get(&long, "/")), Some(1));
    assert_eq!(find(&table, &get(&format!("{long}.b"), "/")), Some(2));
}

#[test]
fn a_prefix_ends_at_a_segment_border() {
    let table =
        RouteTable::build(vec![route(1, "*", prefix("/api")), route(2, "*", prefix("/img/"))]).unwrap();
    for (path, expected) in [
        ("/api", Some(1)),
        ("/api/", Some(1)),
        ("/api/x/y", Some(1)),
        ("/apix", None),
        ("/ap", None),
        ("/img/", Some(2)),
        ("/img/x", Some(2)),
        ("/img", None),
        ("/API", None),
    ] {
        assert_eq!(find(&table, &get("a", path)), expected, "{path}");
    }
}

#[test]
fn exact_goes_before_the_longest_prefix_and_that_before_expressions() {
    let table = RouteTable::build(vec![
        route(1, "*", regex("^/a")),
        route(2, "*", prefix("/")),
        route(3, "*", prefix("/a/")),
        route(4, "*", prefix("/a/b")),
        route(5, "*", exact("/a/b/c")),
        route(6, "b.example", regex("^/users/[0-9]+$")),
    ])
    .unwrap();
    for (path, expected) in
        [("/a/b/c", 5), ("/a/b/c/", 4), ("/a/b", 4), ("/a/bc", 3), ("/a/", 3), ("/ax", 2), ("/", 2)]
    {
        assert_eq!(find(&table, &get("a", path)), Some(expected), "{path}");
    }
    assert_eq!(find(&table, &get("b.example", "/users/17")), Some(6));
    assert_eq!(find(&table, &get("b.example", "/users/17x")), None);
}

#[test]
fn more_predicates_go_first_and_priority_before_everything() {
    let mut beta = route(1, "*", prefix("/"));
    beta.predicates = vec![header("X-Beta", "1")];
    let mut beta_post = beta.clone();
    beta_post.id = RouteId(2);
    beta_post.methods = vec!["POST".into()];
    let plain = route(3, "*", prefix("/"));
    let mut urgent = route(4, "*", regex("urgent"));
    urgent.priority = Some(1);
    let mut late = route(5, "*", exact("/exact"));
    late.priority = Some(-1);
    let table = RouteTable::build(vec![plain, beta, beta_post, urgent, late]).unwrap();
    assert_eq!(find(&table, &get("a", "/x")), Some(3));
    assert_eq!(find(&table, &parse("GET", "a", "/x", &[("x-beta", "1")])), Some(1));
    assert_eq!(find(&table, &parse("POST", "a", "/x", &[("X-BETA", "1")])), Some(2));
    assert_eq!(find(&table, &parse("POST", "a", "/x", &[("X-BETA", "2")])), Some(3));
    assert_eq!(find(&table, &get("a", "/exact")), Some(3), "priority below the default comes last");
    assert_eq!(find(&table, &get("a", "/urgent")), Some(4));
}

#[test]
fn a_look_up_tells_whom_it_asked_and_what_they_missed() {
    let mut strict = route(1, "*", exact("/x"));
    strict.predicates = vec![header("a", "1"), header("b", "2")];
    let mut posts = route(2, "*", prefix("/x"));
    posts.methods = vec!["POST".into()];
    let table =
        RouteTable::build(vec![strict, posts, route(3, "*", prefix("/")), route(4, "*", prefix("/y"))])
            .unwrap();
    let mut told = Vec::new();
    let request = parse("GET", "a", "/x", &[("a", "1")]);
    let found = table.find_and_tell(request.request(), CLIENT, |id, missed| told.push((id.0, missed)));
    assert_eq!(found, Some(RouteId(3)));
    assert_eq!(told, [(1, Some(Missed::Predicate { place: 1 })), (2, Some(Missed::Method)), (3, None)]);
}

#[test]
fn every_occurrence_of_a_name_must_have_the_value() {
    let table = |predicate| {
        let mut spec = route(1, "*", prefix("/"));
        spec.predicates = vec![predicate];
        RouteTable::build(vec![spec]).unwrap()
    };
    let wanted = |text: &str| Expected::Exact(text.as_bytes().into());
    let by_header = table(header("x-role", "admin"));
    assert_eq!(
        find(&by_header, &parse("GET", "a", "/", &[("X-Role", "admin"), ("X-Role", "admin")])),
        Some(1)
    );
    assert_eq!(find(&by_header, &parse("GET", "a", "/", &[("X-Role", "admin"), ("X-Role", "user")])), None);
    let by_query = table(Predicate::Query { name: b"v a".as_slice().into(), value: wanted("2&") });
    assert_eq!(find(&by_query, &get("a", "/?x=1&v%20a=%32%26")), Some(1));
    assert_eq!(find(&by_query, &get("a", "/?v+a=2%26&v+a=3")), None);
    assert_eq!(find(&by_query, &get("a", "/")), None);
    let by_cookie = table(Predicate::Cookie { name: b"tier".as_slice().into(), value: wanted("gold") });
    assert_eq!(find(&by_cookie, &parse("GET", "a", "/", &[("Cookie", "a=b; tier=gold")])), Some(1));
    assert_eq!(find(&by_cookie, &parse("GET", "a", "/", &[("Cookie", "tier=gold; tier=lead")])), None);
    assert_eq!(find(&by_cookie, &parse("GET", "a", "/", &[("Cookie", "tier")])), None);
    let present = table(Predicate::Query { name: b"debug".as_slice().into(), value: Expected::Present });
    assert_eq!(find(&present, &get("a", "/?debug")), Some(1));
    assert_eq!(find(&present, &get("a", "/?debugger")), None);
}

#[test]
fn the_source_is_the_client_and_extension_methods_are_compared_by_name() {
    let mut spec = route(1, "*", prefix("/"));
    spec.predicates = vec![Predicate::Source(CidrSet::from_cidrs([("10.0.0.0".parse().unwrap(), 8)]))];
    spec.methods = vec!["PURGE".into(), "GET".into()];
    let table = RouteTable::build(vec![spec]).unwrap();
    let from = |method, addr: &str| {
        table.find(parse(method, "a", "/", &[]).request(), addr.parse().unwrap()).is_some()
    };
    assert!(from("GET", "10.1.1.1") && from("PURGE", "::ffff:10.1.1.1"));
    assert!(!from("GET", "11.1.1.1") && !from("purge", "10.1.1.1") && !from("HEAD", "10.1.1.1"));
}

#[test]
fn what_cannot_be_compiled_is_refused_with_its_route() {
    let build = |spec| RouteTable::build(vec![spec]).map(|_| ()).unwrap_err();
    assert_eq!(build(route(7, "*", prefix("api"))), BuildError::BadPath { route: RouteId(7) });
    assert!(matches!(build(route(7, "a.*.b", prefix("/"))), BuildError::BadHost { .. }));
    assert!(matches!(build(route(7, "*.", prefix("/"))), BuildError::BadHost { .. }));
    assert!(matches!(build(route(7, "*", regex("("))), BuildError::BadRegex { .. }));
    let mut spec = route(7, "*", prefix("/"));
    spec.methods = vec!["GE T".into()];
    assert_eq!(build(spec).route(), RouteId(7));
}

#[test]
fn r96_an_expression_that_compiles_to_more_than_a_mebibyte_is_refused() {
    for evil in [r"^/(\w{100}){100}$", r"(?:\pL{500}){20}", r"((a{100}){100}){100}"] {
        let error = RouteTable::build(vec![route(7, "*", regex(evil))]).unwrap_err();
        assert!(
            matches!(error, BuildError::RegexTooLarge { limit_bytes: 1_048_576, .. }),
            "{evil}: {error:?}"
        );
    }
}

#[test]
fn r96_hostile_expressions_stay_linear_on_the_longest_path() {
    let bodies = [
        "(a+)+",
        "(a*)*",
        "(a|aa)+",
        "(a|a?)+",
        "(.*a){12}",
        "(([a-z])+.)+",
        "(a+a+)+",
        "(.*)*",
        "([^/]*a)*",
        "(a?){40}",
    ];
    let tails = ["$", "b", "[A-Z]$", "!!$", "x*y"];
    let path = format!("/{}!", "a".repeat(8_000));
    for pattern in bodies.iter().flat_map(|body| tails.map(|tail| format!("{body}{tail}"))) {
        // A backtracking engine would not come back within the life of the test.
        let table = RouteTable::build(vec![route(1, "*", regex(&pattern))]).unwrap();
        find(&table, &get("a", &path));
    }
}

#[test]
fn a_hundred_thousand_routes_are_compiled_and_found() {
    let specs = (0..100_000)
        .map(|n| route(n, &format!("h{}.example", n % 1000), prefix(&format!("/p{}/", n / 1000))))
        .collect();
    let table = RouteTable::build(specs).unwrap();
    assert_eq!(find(&table, &get("h7.example", "/p42/x")), Some(42_007));
    assert_eq!(find(&table, &get("h7.example", "/p100/x")), None);
}

/// Few letters, so that random tables and requests meet.
fn path_text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::collection::vec(prop::sample::select(vec!["/", "a", "b", "/a", "/ab", "/b"]), 0..5)
            .prop_map(|parts| format!("/{}", parts.concat())),
        1 => Just("/".to_string()),
    ]
}

fn host_pattern() -> impl Strategy<Value = HostPattern> {
    prop::sample::select(vec!["a.x", "b.a.x", "x", "*.x", "*.a.x", "*.b.a.x", "*"])
        .prop_map(HostPattern::parse)
}

fn path_pattern() -> impl Strategy<Value = PathPattern> {
    let expressions = vec!["^/a", "a", "^/a+$", "b/", "^/[ab]/"];
    prop_oneof![
        path_text().prop_map(|path| PathPattern::Exact(path.into())),
        path_text().prop_map(|path| PathPattern::Prefix(path.into())),
        prop::sample::select(expressions).prop_map(regex),
    ]
}

fn predicate() -> impl Strategy<Value = Predicate> {
    let expected = || {
        prop_oneof![
            Just(Expected::Present),
            prop::sample::select(vec!["1", "a", ""]).prop_map(|text| Expected::Exact(text.as_bytes().into()))
        ]
    };
    let name = || prop::sample::select(vec!["q", "w"]).prop_map(|name| Box::from(name.as_bytes()));
    prop_oneof![
        (name(), expected()).prop_map(|(name, value)| Predicate::Header { name, value }),
        (name(), expected()).prop_map(|(name, value)| Predicate::Query { name, value }),
        (name(), expected()).prop_map(|(name, value)| Predicate::Cookie { name, value }),
        (0u8..=32).prop_map(|bits| Predicate::Source(CidrSet::from_cidrs([(CLIENT, bits)]))),
    ]
}

fn table_of_rules() -> impl Strategy<Value = Vec<RouteSpec>> {
    let methods = prop::sample::subsequence(vec!["GET", "POST", "PURGE"], 0..3);
    let priority = prop_oneof![3 => Just(None), 1 => (-1..=1).prop_map(Some)];
    let rule = (
        prop::collection::vec(host_pattern(), 1..3),
        path_pattern(),
        methods,
        prop::collection::vec(predicate(), 0..3),
        priority,
    );
    prop::collection::vec(rule, 0..20).prop_map(|rules| {
        let spec = |(id, (hosts, path, methods, predicates, priority)): (u32, _)| RouteSpec {
            id: RouteId(id),
            hosts,
            path,
            methods: Vec::into_iter(methods).map(Box::from).collect(),
            predicates,
            priority,
        };
        (0u32..).zip(rules).map(spec).collect()
    })
}

fn any_request() -> impl Strategy<Value = Parsed> {
    let host = prop::sample::select(vec!["x", "a.x", "A.X", "b.a.x", "c.b.a.x", "y", "c.x", "b.x"]);
    let queries = vec!["", "?", "?q=1", "?q", "?w=a&q=%31", "?q=1&q=a", "?%71=1", "?w=%61"];
    let fields = vec![("q", "1"), ("Q", "a"), ("w", ""), ("Cookie", "q=1; w=a"), ("cookie", "q = a ;w=1")];
    let fields = prop::sample::subsequence(fields, 0..5);
    let method = prop::sample::select(vec!["GET", "POST", "PURGE", "HEAD"]);
    (method, host, path_text(), prop::sample::select(queries), fields).prop_map(
        |(method, host, path, query, fields)| parse(method, host, &format!("{path}{query}"), &fields),
    )
}

proptest! {
    #![proptest_config(crate::testing::cases(500))]

    #[test]
    fn the_table_finds_what_the_rules_say(
        specs in table_of_rules(),
        requests in prop::collection::vec(any_request(), 1..12),
        other in any::<[u8; 4]>(),
    ) {
        let table = RouteTable::build(specs.clone()).unwrap();
        for request in &requests {
            for client in [CLIENT, IpAddr::from(other)] {
                let expected = naive::find(&specs, request.request(), client);
                prop_assert_eq!(table.find(request.request(), client), expected, "{:?} in {:#?}", request.request(), specs);
            }
        }
    }
}
