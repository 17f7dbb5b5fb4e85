//! What must hold for every text and every configuration.

use crate::{Format, Sealed, format, parse};
use proptest::prelude::*;

/// The examples as they are in the repository.
const EXAMPLES: [&str; 9] = [
    include_str!("../../configs/minimal.kdl"),
    include_str!("../../configs/edge.kdl"),
    include_str!("../../configs/demo.kdl"),
    include_str!("../../configs/health.kdl"),
    include_str!("../../configs/balancing.kdl"),
    include_str!("../../configs/tcp.kdl"),
    include_str!("../../configs/rate-limits.kdl"),
    include_str!("../../configs/sockets.kdl"),
    include_str!("../../configs/udp.kdl"),
];

/// Pieces of a text that change what the rest of it means.
fn pieces() -> impl Strategy<Value = String> {
    let words = vec![
        "{",
        "}",
        "\"",
        "\\",
        "#",
        "/*",
        "*/",
        "//",
        "\n",
        ";",
        "=",
        "(env)",
        "(",
        "[",
        "]",
        ",",
        ":",
        "null",
        "#null",
        "-1",
        "route",
        "upstream",
        "9999999999999999999999",
        "1e999",
        "\"\"\"",
        "ä",
        "\u{feff}",
        "\u{0}",
        "\"off\"",
        "/-",
        "include \"x\"",
    ];
    prop::sample::select(words).prop_map(str::to_owned)
}

/// A text with pieces put in or taken out at some places.
fn damaged(text: String) -> impl Strategy<Value = String> {
    let cuts = prop::collection::vec((any::<prop::sample::Index>(), pieces(), 0usize..12), 1..4);
    cuts.prop_map(move |cuts| {
        let mut text = text.clone();
        for (at, piece, drop) in cuts {
            let borders: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            let Some(from) = borders.get(at.index(borders.len().max(1))).copied() else { continue };
            let end = borders.iter().copied().find(|border| *border >= from + drop).unwrap_or(text.len());
            text.replace_range(from..end, &piece);
        }
        text
    })
}

fn damaged_kdl() -> impl Strategy<Value = String> {
    prop::sample::select(EXAMPLES.to_vec()).prop_flat_map(|text| damaged(text.to_owned()))
}

fn damaged_json() -> impl Strategy<Value = String> {
    let json = parse(EXAMPLES[1], "edge.kdl", Format::Kdl, &Sealed)
        .map_or(String::new(), |loaded| loaded.config.to_json());
    damaged(json)
}

/// Parts of a configuration that go together in any selection.
fn sound() -> impl Strategy<Value = String> {
    let of = |choices: &[&'static str]| prop::sample::select(choices.to_vec());
    let listener = (
        of(&[
            "",
            "trusted-proxies \"10.0.0.0/8\" \"fd00::/8\" \"192.0.2.1\";",
            "unsafe-underscore-fields;",
            "http2 \"cleartext\";",
        ]),
        of(&[
            "",
            "timeouts { header \"1500ms\"; keep-alive \"90s\"; body-rate \"off\"; };",
            "timeouts { send-rate \"3MiB/s\"; tunnel-idle \"1h\"; };",
        ]),
        of(&[
            "",
            "limits { body \"off\"; header \"64KiB\"; };",
            "limits { body \"1GiB\"; connections 1; header-fields 8; };",
        ]),
    );
    let upstream = (
        of(&[
            "",
            "balance \"round-robin\";",
            "balance \"ring-hash\"; hash-key \"header:X-User\";",
            "balance \"maglev\"; hash-key \"path\"; bounded-load \"101%\"; spill-over \"33.33%\";",
            "sticky;",
            "sticky { cookie \"c\"; max-age \"90m\"; path \"/a\"; domain \"a.example\"; secure; http-only #false; same-site \"none\"; };",
        ]),
        of(&[
            "",
            "health { tcp; }; outlier \"off\"; panic \"off\"; slow-start \"off\";",
            "health { grpc service=\"a.B\" host=\"h:80\"; }; panic \"0.5%\"; slow-start \"1m\";",
            "health { tls server-name=\"h\" ca=\"ca.pem\"; }; outlier { consecutive-errors \"off\"; max-ejected \"0%\"; };",
            "health { http \"/\" method=\"HEAD\" body=\"o k\" { header \"A\" \"b\"; }; }; outlier { success-rate deviation=\"2.25\"; };",
            "outlier { consecutive-errors 1; eject-for \"1s\"; success-rate \"off\"; };",
            "health { http \"/h?x=1\" every=\"500ms\" timeout=\"1ms\" expect=\"200,204,300-399\" host=\"h:80\"; };",
        ]),
        of(&[
            "",
            "timeouts { response-header \"off\"; idle \"off\"; };",
            "limits { requests 5; queue 9; }; circuit-breaker { scope \"upstream\"; error-rate \"12.5%\"; };",
            "adaptive-concurrency; retry-budget { ratio \"0%\"; per-second 0; }; limits { endpoint-connections 7; };",
            "endpoint \"unix:/run/x.sock\" weight=1000 tier=\"backup\";",
            "source \"10.0.0.5\" \"fd00::5\";",
            "source \"client\";",
            "endpoint \"api.internal:80\"; dns { servers \"10.0.0.53\" \"[fd00::53]:5353\"; ttl-max \"1m\"; };",
            "endpoint \"srv:_http._tcp.api.internal\" weight=2; dns { timeout \"1500ms\"; addresses \"ipv6\"; };",
        ]),
    );
    let route = (
        of(&["upstream=\"app\" {", "{ split { upstream \"app\" 0; upstream \"app\" 7; };"]),
        of(&[
            "",
            "timeouts { total \"9s\"; per-try \"off\"; };",
            "methods \"GET\" \"PURGE\"; match { header \"A\"; query \"b c\" \"\"; cookie \"d\" \"e\"; source \"::/0\"; };",
        ]),
        of(&[
            "",
            "retry attempts=2 on=\"timeout,500,599\" idempotency-key=#true;",
            "limits { body \"0B\"; };",
        ]),
        of(&[
            "",
            "rewrite { strip-prefix \"/a\"; prefix \"/b/\"; host \"[::1]:80\"; };",
            "rewrite { path \"/{host}{{\"; };",
        ]),
        of(&[
            "",
            "headers { request { set \"A\" \"\"; add \"A\" \"\\\"\\\\ ä\"; }; response { remove \"B\" \"C\"; }; };",
        ]),
    );
    let top = of(&[
        "",
        "workers 7\n",
        "zone \"eu-1a\"\n",
        "io \"epoll\"\n",
        "listener \"passed\" { bind \"fd:web.1\"; }\n",
        "admin { bind \"127.0.0.1:9\" \"unix:/run/a.sock\"; }\n",
        "access-log { file \"a b\"; format \"combined\"; }\n",
        "access-log \"stdout\"\n",
        "tcp \"db\" { bind \"127.0.0.1:3\"; upstream \"app\"; timeouts { connect \"1500ms\"; half-closed \"9s\"; }; }\n",
        "tcp \"db\" { bind \"127.0.0.1:3\"; upstream \"app\"; limits { connections-per-client \"off\"; }; retry attempts=0; }\n",
        "udp \"dns\" { bind \"127.0.0.1:3\"; upstream \"dns\"; flow-idle \"1500ms\"; responses 2; }\nupstream \"dns\" { endpoint \"127.0.0.1:4\"; balance \"maglev\"; hash-key \"client.ip-port\"; health { udp send=\"hex:00ff\" expect=\"ok\" rise=3; }; }\n",
        "udp \"dns\" { bind \"127.0.0.1:3\"; upstream \"dns\"; reply-ratio 7; limits { flows 9; flows-per-client \"off\"; }; }\nupstream \"dns\" { endpoint \"127.0.0.1:4\"; health { udp send=\"base64:AP8=\"; }; }\n",
    ]);
    (top, listener, upstream, route).prop_map(|(top, (l1, l2, l3), (u1, u2, u3), (r1, r2, r3, r4, r5))| {
        format!(
            "{top}listener \"web\" {{ bind \"127.0.0.1:0\"; {l1} {l2} {l3} }}\n\
             upstream \"app\" {{ endpoint \"127.0.0.1:2\" weight=3; {u1} {u2} {u3} }}\n\
             site \"*.Example.com\" \"*\" {{ route \"/a\" priority=-5 {r1} {r2} {r3} {r4} {r5} }}; route exact=\"/r\" {{ redirect 307 to=\"/x?{{query}}\"; }}; }}\n"
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn json_of_a_configuration_loads_as_the_same_configuration(source in sound()) {
        let first = parse(&source, "a.kdl", Format::Kdl, &Sealed);
        let first = first.map_err(|problems| TestCaseError::fail(format!("{source}{problems}")))?;
        let json = first.config.to_json();
        let second = parse(&json, "a.json", Format::Json, &Sealed);
        let second = second.map_err(|problems| TestCaseError::fail(format!("{json}{problems}")))?;
        prop_assert_eq!(second.config.without_origins(), first.config.without_origins());
        prop_assert_eq!(second.warnings.len(), first.warnings.len());
    }

    #[test]
    fn damaged_kdl_gets_problems_with_places_and_no_panic(source in damaged_kdl()) {
        if let Err(problems) = parse(&source, "a.kdl", Format::Kdl, &Sealed) {
            prop_assert!(problems.errors() > 0);
            prop_assert!(!problems.to_string().is_empty());
            for place in problems.0.iter().filter_map(|problem| problem.place.as_ref()) {
                prop_assert!(place.column as usize <= place.text.chars().count() + 1, "{place:?}");
            }
        }
        if let Ok(formatted) = format(&source, "a.kdl") {
            let outcome = |text: &str| parse(text, "a.kdl", Format::Kdl, &Sealed).map(|loaded| loaded.config.without_origins());
            match (outcome(&source), outcome(&formatted)) {
                (Ok(before), Ok(after)) => prop_assert_eq!(before, after),
                (before, after) => prop_assert_eq!(before.is_err(), after.is_err()),
            }
        }
    }

    #[test]
    fn damaged_json_gets_problems_and_no_panic(source in damaged_json()) {
        if let Err(problems) = parse(&source, "a.json", Format::Json, &Sealed) {
            prop_assert!(problems.errors() > 0);
        }
    }
}
