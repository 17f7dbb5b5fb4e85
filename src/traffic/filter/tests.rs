use super::*;
use crate::testing::{Parsed, get};

/// Lets a request pass through a chain.
fn advance(walk: &mut Walk, chain: &Chain, parsed: &Parsed, outgoing: &mut Outgoing) -> Verdict {
    let (caller, memory) = (&mut Caller::default(), &mut auth::Memory::default());
    let response = &mut ResponseEdits::default();
    let client = "192.0.2.1".parse().unwrap();
    walk.advance(
        chain,
        &mut Visit {
            request: parsed.request(),
            client,
            is_secure: true,
            certificate: None,
            unix_s: 1000,
            now: base::Instant::ZERO,
            outgoing,
            response,
            caller,
            memory,
            route: base::ids::RouteId(0),
            tally: &mut crate::limit::Tally::default(),
        },
    )
}

fn rule(kind: fn(Box<[u8]>, Box<[u8]>) -> FieldRule, name: &str, value: &str) -> FieldRule {
    kind(name.as_bytes().into(), value.as_bytes().into())
}

fn additions(edits: &FieldEdits) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    edits.additions().map(|(name, value)| (text(name), text(value))).collect()
}

fn bytes(text: &str) -> Option<Box<[u8]>> {
    Some(text.as_bytes().into())
}

fn rewritten(rewrite: Rewrite, target: &str) -> Option<String> {
    let chain = Chain::new(vec![Filter::Rewrite(rewrite)]).unwrap();
    let mut outgoing = Outgoing::default();
    let verdict = advance(&mut Walk::default(), &chain, &get("a.example", target), &mut outgoing);
    assert_eq!(verdict, Verdict::Continue);
    outgoing.path().map(|path| String::from_utf8(path.to_vec()).unwrap())
}

fn rendered(template: &str, target: &str) -> String {
    let mut out = b"kept:".to_vec();
    Template::parse(template).unwrap().render(get("shop.example:8080", target).request(), "https", &mut out);
    String::from_utf8(out).unwrap().strip_prefix("kept:").unwrap().to_string()
}

#[test]
fn an_empty_chain_changes_nothing() {
    let chain =
        Chain::new(vec![Filter::Headers(Headers::default()), Filter::Rewrite(Rewrite::default())]).unwrap();
    assert!(chain.is_empty() && Chain::default().is_empty());
    let mut outgoing = Outgoing::default();
    assert_eq!(advance(&mut Walk::default(), &chain, &get("a", "/x"), &mut outgoing), Verdict::Continue);
    assert!(outgoing.is_empty());
}

#[test]
fn requests_pass_forwards_and_responses_backwards() {
    let filter = |value| {
        Filter::Headers(Headers {
            request: vec![rule(FieldRule::Add, "X-Seen", value)],
            response: vec![rule(FieldRule::Add, "X-Done", value)],
        })
    };
    let chain = Chain::new(vec![filter("1"), filter("2")]).unwrap();
    let (mut walk, mut outgoing) = (Walk::default(), Outgoing::default());
    assert_eq!(advance(&mut walk, &chain, &get("a", "/"), &mut outgoing), Verdict::Continue);
    let pair = |name: &str, value: &str| (name.to_string(), value.to_string());
    assert_eq!(additions(&outgoing.edits), [pair("X-Seen", "1"), pair("X-Seen", "2")]);
    let mut response = ResponseEdits::default();
    on_response(&chain, 200, &mut response);
    assert_eq!(additions(&response), [pair("X-Done", "2"), pair("X-Done", "1")]);
    assert_eq!(advance(&mut walk, &chain, &get("a", "/"), &mut outgoing), Verdict::Continue);
    assert_eq!(additions(&outgoing.edits).len(), 2, "a finished walk runs nothing again");
}

#[test]
fn headers_are_set_added_and_removed_in_their_order() {
    let request = vec![
        rule(FieldRule::Set, "X-Env", "prod"),
        FieldRule::Remove(b"X-Debug".as_slice().into()),
        rule(FieldRule::Add, "Via", "edge"),
    ];
    let chain = Chain::new(vec![Filter::Headers(Headers { request, response: Vec::new() })]).unwrap();
    assert_eq!(chain.hooks(), Hooks { request_head: true, response_head: false });
    let mut outgoing = Outgoing::default();
    advance(&mut Walk::default(), &chain, &get("a", "/"), &mut outgoing);
    assert!(
        !outgoing.edits.keeps(b"x-env") && !outgoing.edits.keeps(b"x-debug") && outgoing.edits.keeps(b"via")
    );
    assert_eq!(additions(&outgoing.edits).len(), 2);
    outgoing.clear();
    assert!(outgoing.is_empty());
}

#[test]
fn a_prefix_is_stripped_to_a_segment_border_and_another_put_in_front() {
    let strip = |prefix: &str| Rewrite { strip_prefix: bytes(prefix), ..Rewrite::default() };
    for (prefix, target, expected) in [
        ("/api", "/api/x?q=1", "/x"),
        ("/api/", "/api/x", "/x"),
        ("/api", "/api", "/"),
        ("/api/", "/api/", "/"),
        ("/api", "/apix", "/apix"),
        ("/api", "/other", "/other"),
        ("/api", "/api//evil.example", "/evil.example"), // never an authority
        ("/", "/x", "/x"),
    ] {
        assert_eq!(rewritten(strip(prefix), target).as_deref(), Some(expected), "{prefix} {target}");
    }
    let both =
        |add: &str| Rewrite { strip_prefix: bytes("/api"), add_prefix: bytes(add), ..Rewrite::default() };
    assert_eq!(rewritten(both("/v2"), "/api/x").as_deref(), Some("/v2/x"));
    assert_eq!(rewritten(both("/v2/"), "/api/x").as_deref(), Some("/v2/x"));
    assert_eq!(rewritten(both("/v2"), "/api").as_deref(), Some("/v2"));
    assert_eq!(rewritten(both("/"), "/api/x").as_deref(), Some("/x"));
}

#[test]
fn a_template_replaces_the_whole_path_and_a_host_the_authority() {
    let path = Some(Template::parse("/fixed{path}").unwrap());
    let rewrite = Rewrite { path, host: bytes("api.internal"), ..Rewrite::default() };
    let chain = Chain::new(vec![Filter::Rewrite(rewrite)]).unwrap();
    let mut outgoing = Outgoing::default();
    advance(&mut Walk::default(), &chain, &get("a", "/x"), &mut outgoing);
    assert_eq!(outgoing.path(), Some(b"/fixed/x".as_slice()));
    assert_eq!(outgoing.host(), Some(b"api.internal".as_slice()));
    let evil = Rewrite { path: Some(Template::parse("{path}").unwrap()), ..Rewrite::default() };
    assert_eq!(rewritten(evil, "//evil.example/x").as_deref(), Some("/evil.example/x"));
}

#[test]
fn a_path_that_grows_beyond_its_bound_is_refused() {
    let long = format!("/{}", "p".repeat(12 << 10));
    let chain = Chain::new(vec![Filter::Rewrite(Rewrite { add_prefix: bytes(&long), ..Rewrite::default() })])
        .unwrap();
    let request = get("a", &format!("/{}", "x".repeat(6 << 10)));
    let verdict = advance(&mut Walk::default(), &chain, &request, &mut Outgoing::default());
    assert_eq!(verdict, Verdict::Respond(Cause::UriTooLong));
}

#[test]
fn a_chain_has_a_bound() {
    let filters = |n| (0..n).map(|_| Filter::Headers(Headers::default())).collect();
    assert!(Chain::new(filters(FILTERS_PER_CHAIN_MAX)).is_some());
    assert!(Chain::new(filters(FILTERS_PER_CHAIN_MAX + 1)).is_none());
}

#[test]
fn placeholders_are_filled_from_the_request() {
    assert_eq!(rendered("{scheme}://{host}{path}?{query}", "/a/b?x=1"), "https://shop.example/a/b?x=1");
    assert_eq!(rendered("{scheme}://{host}{path}?{query}", "/a/b"), "https://shop.example/a/b");
    assert_eq!(rendered("/new/?from={path}&{query}", "/a"), "/new/?from=/a&");
    assert_eq!(rendered("/{{x}}é", "/"), "/{x}é");
    assert_eq!(rendered("", "/"), "");
}

#[test]
fn a_rendered_path_cannot_lead_to_another_host() {
    assert_eq!(rendered("{path}", "//evil.example"), "/evil.example");
    assert_eq!(rendered("/x{path}", "//evil.example"), "/x//evil.example");
}

#[test]
fn templates_with_mistakes_are_refused() {
    use TemplateError::*;
    for (text, error) in [
        ("/x{pth}", UnknownPlaceholder { at: 2, name: "pth".into() }),
        ("/x{path", UnbalancedBrace { at: 2 }),
        ("/x}", UnbalancedBrace { at: 2 }),
        ("/x\r\nSet-Cookie: a", ControlByte { at: 2 }),
    ] {
        assert_eq!(Template::parse(text), Err(error), "{text:?}");
    }
}

/// The parser refuses such paths; the template must not depend on it.
#[test]
fn what_could_end_a_header_line_is_encoded() {
    let mut out = Vec::new();
    super::template::append(b"/a\r\nb \\ \xff%20", &mut out);
    assert_eq!(out, b"/a%0D%0Ab%20%5C%20%FF%20");
}

/// What asks comes before what transforms, whatever the order of the text.
#[test]
fn g6_stages_have_one_order() {
    let edits = Headers { request: vec![rule(FieldRule::Set, "X-Seen", "1")], response: Vec::new() };
    let denies = Authorize { deny: vec![Rule::default()], ..Authorize::default() };
    let asks = Authenticate { mode: Mode::AnyOf, optional: false, forwards: false, methods: Vec::new() };
    let filters = vec![
        Filter::Headers(edits),
        Filter::Authorize(denies),
        Filter::Authenticate(asks),
        Filter::Anonymize(Anonymize::default()),
    ];
    let chain = Chain::new(filters).unwrap();
    let mut outgoing = Outgoing::default();
    let parsed =
        crate::testing::parse("GET", "a", "/", &[("x_consumer", "root"), ("X-Consumer-Tier", "root")]);
    let verdict = advance(&mut Walk::default(), &chain, &parsed, &mut outgoing);
    assert_eq!(verdict, Verdict::Respond(Cause::CredentialsMissing), "asked before it is denied");
    assert!(!outgoing.edits.keeps(b"x-consumer-tier"), "dropped before anybody is asked");
    assert!(outgoing.edits.keeps(b"x-seen"), "nothing was transformed");
}
