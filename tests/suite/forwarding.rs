//! What the origin is told about the client, whom we believe about it, and which fields end here.

use crate::harness::{Origin, Received, Reply, Ringway, Setup};

/// What the origin saw of a GET with these fields.
#[track_caller]
fn seen(origin: &Origin, ringway: &Ringway, fields: &str) -> Received {
    let request = format!("GET / HTTP/1.1\r\nHost: suite.example\r\n{fields}\r\n");
    let response = ringway.client().send(request).response("GET");
    assert_eq!(response.status, 200, "{response:?}");
    origin.requests().pop().expect("a request at the origin")
}

both! {
    fn the_origin_is_told_who_asked(io) {
        let origin = Origin::ok("x");
        let ringway = Setup::to(origin.address()).start(io);
        let head = seen(&origin, &ringway, "").head;
        let port = ringway.address("web").port().to_string();
        assert_eq!(head.get("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(head.get("x-forwarded-proto"), Some("http"));
        assert_eq!(head.get("x-forwarded-host"), Some("suite.example"));
        assert_eq!(head.get("x-forwarded-port"), Some(port.as_str()));
        ringway.stop_after(origin);
    }

    fn what_a_stranger_says_about_the_client_is_not_believed(io) {
        let origin = Origin::ok("x");
        let ringway = Setup::to(origin.address()).start(io);
        let lies = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\
                    Forwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-Port: 1\r\n";
        let head = seen(&origin, &ringway, lies).head;
        assert_eq!(head.get("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(head.get("x-forwarded-proto"), Some("http"));
        assert_eq!(head.get("x-forwarded-host"), Some("suite.example"));
        assert!(head.all("forwarded").iter().all(|v| !v.contains("6.6.6.6")), "{head:?}");
        assert!(head.all("x-real-ip").iter().all(|v| !v.contains("6.6.6.6")), "{head:?}");
        assert_eq!(ringway.records(1)[0]["client"].as_str().map(|c| c.starts_with("127.0.0.1")), Some(true));
        ringway.stop_after(origin);
    }

    fn a_trusted_proxy_is_believed_and_appended_to(io) {
        let origin = Origin::ok("x");
        let listener = "trusted-proxies \"127.0.0.0/8\"";
        let ringway = Setup { listener, ..Setup::to(origin.address()) }.start(io);
        let head =
            seen(&origin, &ringway, "X-Forwarded-For: 6.6.6.6, 7.7.7.7\r\nX-Forwarded-Proto: https\r\n").head;
        assert_eq!(head.get("x-forwarded-for"), Some("6.6.6.6, 7.7.7.7, 127.0.0.1"));
        assert_eq!(head.get("x-forwarded-proto"), Some("https"));
        // The right-most address that is not a trusted proxy is the client.
        assert_eq!(ringway.records(1)[0]["client"].as_str().map(|c| c.starts_with("7.7.7.7")), Some(true));
        ringway.stop_after(origin);
    }

    fn hop_by_hop_fields_end_here_in_both_directions(io) {
        let origin = Origin::start(|_| {
            Reply::bytes(
                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\
                          Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nX-End: 2\r\n\r\n",
            )
        });
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\n\
                     TE: gzip\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nX-End: 1\r\n\r\n");
        let response = client.response("GET");
        for name in ["x-hop", "keep-alive"] {
            assert!(response.head.all(name).is_empty(), "{name} reached the client: {response:?}");
        }
        assert_eq!(response.head.get("x-end"), Some("2"));
        let request = origin.only_request();
        for name in ["x-mine", "keep-alive", "proxy-connection", "te"] {
            assert!(request.head.all(name).is_empty(), "{name} reached the origin: {:?}", request.head);
        }
        assert_eq!(request.head.get("x-end"), Some("1"));
        ringway.stop_after((client, origin));
    }

    fn routes_edit_fields_paths_and_hosts(io) {
        let origin =
            Origin::start(|_| Reply::bytes("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nServer: secret\r\n\r\n"));
        let route = "
            rewrite { strip-prefix \"/\"; host \"internal.example\" }
            headers {
                request { set \"X-Env\" \"prod\"; remove \"X-Debug\"; add \"X-Many\" \"2\" }
                response { add \"X-Frame-Options\" \"DENY\"; remove \"Server\" }
            }";
        let ringway = Setup { route, ..Setup::to(origin.address()) }.start(io);
        let mut client = ringway.client();
        client.send(
            "GET /api/x?y HTTP/1.1\r\nHost: outer.example\r\nX-Env: test\r\nX-Debug: 1\r\nX-Many: 1\r\n\r\n",
        );
        let response = client.response("GET");
        assert_eq!(response.head.get("x-frame-options"), Some("DENY"));
        assert!(response.head.all("server").iter().all(|v| *v != "secret"), "{response:?}");
        let request = origin.only_request();
        assert_eq!(request.head.get("host"), Some("internal.example"));
        assert_eq!(request.head.get("x-forwarded-host"), Some("outer.example"));
        assert_eq!(request.head.get("x-env"), Some("prod"));
        assert_eq!(request.head.all("x-debug"), Vec::<&str>::new());
        assert_eq!(request.head.all("x-many"), ["1", "2"]);
        ringway.stop_after((client, origin));
    }

    fn strip_prefix_takes_the_prefix_off_the_path_only(io) {
        let origin = Origin::ok("x");
        let routes = "route \"/api/\" upstream=\"origin\" { rewrite { strip-prefix \"/api\" } }";
        let ringway = Setup { routes, ..Setup::to(origin.address()) }.start(io);
        let mut client = ringway.client();
        for (asked, forwarded) in [("/api/x?y=/api/", "/x?y=/api/"), ("/api/", "/"), ("/apix", "/apix")] {
            assert_eq!(client.get(asked).status, 200);
            assert_eq!(origin.requests().pop().expect("a request").target(), forwarded);
        }
        ringway.stop_after((client, origin));
    }
}
