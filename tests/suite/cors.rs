//! Pages of other origins: what browsers are told before they ask, and with every answer.

use crate::harness::client::Response;
use crate::harness::{Folder, Origin, Reply, Ringway, Setup};

const PAGE: &str = "Origin: https://app.example\r\n";

fn ask(ringway: &Ringway, method: &str, path: &str, fields: &str) -> Response {
    ringway.client().send(format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n")).response(method)
}

fn allowed(response: &Response) -> Option<&str> {
    response.head.get("access-control-allow-origin")
}

both! {
    /// G10, V1: preflights need no credential and reach no endpoint; refusals and failures can be read by the page.
    fn g10_v1_browsers_are_answered_before_anybody_is_asked_who_calls(io) {
        let origin = Origin::start(|_| Reply::bytes("HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: X-Secret\r\nContent-Length: 1\r\n\r\nx"));
        let keys = Folder::new();
        let file = keys.path().join("keys.kdl");
        std::fs::write(&file, "").expect("write keys");
        let top = format!("keys \"partners\" {{ file {:?} }}\nupstream \"gone\" {{ endpoint \"127.0.0.1:1\" }}", file.display().to_string());
        let route = "limits { body \"10B\"; }
            cors { origins \"https://app.example\"; methods \"PUT\"; headers \"X-Api-Key\"; credentials #true; }
            authenticate { any-of { keys \"partners\"; }; }";
        let routes = "route \"/open\" upstream=\"origin\" { cors { origins \"https://app.example\"; refuse-others; }; }
            route \"/gone\" upstream=\"gone\" { cors { origins \"*\"; }; }
            route \"/fixed\" { respond 200 body=\"ok\"; cors { origins \"*\"; }; }
            route \"/none\" upstream=\"origin\"";
        let ringway = Setup { top: &top, route, routes, ..Setup::to(origin.address()) }.start(io);
        let preflight = format!("{PAGE}Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-api-key\r\n");
        let answer = ask(&ringway, "OPTIONS", "/", &preflight);
        assert_eq!((answer.status, allowed(&answer)), (204, Some("https://app.example")));
        assert_eq!(answer.head.get("access-control-allow-methods"), Some("GET, HEAD, POST, PUT"));
        assert_eq!(answer.head.get("access-control-allow-headers"), Some("X-Api-Key"));
        assert_eq!(answer.head.get("access-control-allow-credentials"), Some("true"));
        assert_eq!(answer.head.get("access-control-max-age"), Some("600"));
        assert!(answer.head.all("vary").iter().any(|value| value.contains("Origin")));
        assert!(answer.head.get("content-length").is_none() && answer.body.is_empty());
        assert!(!answer.closes());
        // An OPTIONS that is no preflight is a request like any other.
        assert_eq!(ask(&ringway, "OPTIONS", "/", PAGE).status, 401);
        let foreign = ask(&ringway, "OPTIONS", "/", &preflight.replace("app.example", "evil.example"));
        assert_eq!((foreign.status, allowed(&foreign)), (204, None));
        assert!(origin.requests().is_empty());

        let nobody = ask(&ringway, "GET", "/", PAGE);
        assert_eq!((nobody.status, allowed(&nobody)), (401, Some("https://app.example")));
        let large = ask(&ringway, "POST", "/", &format!("{PAGE}Content-Length: 11\r\n"));
        assert_eq!((large.status, allowed(&large)), (413, Some("https://app.example")));
        let gone = ask(&ringway, "GET", "/gone", PAGE);
        assert_eq!((gone.status, allowed(&gone)), (502, Some("*")));
        let fixed = ask(&ringway, "GET", "/fixed", PAGE);
        assert_eq!((fixed.status, allowed(&fixed)), (200, Some("*")));
        // What the endpoint says about it does not count, and to whom it is not said, it is not said.
        let open = ask(&ringway, "GET", "/open", PAGE);
        assert_eq!((open.status, open.head.all("access-control-allow-origin")), (200, vec!["https://app.example"]));
        assert!(open.head.get("access-control-expose-headers").is_none());
        let evil = ask(&ringway, "GET", "/open", "Origin: https://evil.example\r\n");
        assert_eq!((evil.status, allowed(&evil)), (403, None));
        assert!(evil.text().contains("origin_refused"));
        let plain = ask(&ringway, "GET", "/open", "");
        assert_eq!((plain.status, allowed(&plain)), (200, None));
        assert_eq!(plain.head.all("vary"), ["Origin"], "a cache must not give this to a page");
        assert_eq!(allowed(&ask(&ringway, "GET", "/none", PAGE)), Some("*"), "the endpoint's own");
        ringway.stop_after(origin);
    }
}
