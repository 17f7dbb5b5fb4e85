//! Stopping with a pause: readiness fails first, listening ends later, and until then it can be taken back.

use crate::harness::{Origin, Ringway, Setup, wait_until};

both! {
    fn r129_a_drain_is_announced_before_listening_ends_and_can_be_taken_back(io) {
        let origin = Origin::ok("x");
        let ringway = Setup::to(origin.address()).start(io);
        let mut kept = ringway.client();
        assert_eq!(kept.get("/").status, 200);
        let (status, said, _) = ringway.command(&["drain", "--pause", "1h"]);
        assert_eq!(status, Some(0));
        assert!(said.contains("another 3600 s"), "{said}");
        assert_eq!(ringway.admin("/ready").status, 503);
        assert_eq!(ringway.status()["drain"]["state"], "announced");
        assert!(ringway.command(&["status"]).1.contains("not ready, draining in 3"), "a time below an hour");
        let answer = kept.get("/");
        assert!(answer.status == 200 && !answer.closes(), "connections go on as before");
        assert_eq!(ringway.client().get("/").status, 200, "and new ones are accepted");
        assert_eq!(ringway.command(&["drain", "--undo"]).0, Some(0));
        assert_eq!(ringway.admin("/ready").status, 200);
        assert!(ringway.status()["drain"].is_null());
        let (status, _, said) = ringway.command(&["drain", "--undo"]);
        assert!(status == Some(1) && said.contains("no drain to undo"), "{said}");

        assert_eq!(ringway.change("/v1/drain", "{\"pause\":0}").status, 200);
        let answer = kept.get("/");
        assert!(answer.status == 200 && answer.closes(), "what was on its way is answered, as the last one");
        ringway.says("drain after 0 s, asked by 127.0.0.1");
        drop(kept);
        ringway.expect_clean_exit();
        drop(origin);
    }

    fn r129_sigterm_waits_with_the_end_of_listening_if_told_to(io) {
        let origin = Origin::ok("x");
        let setup = Setup::to(origin.address());
        let ringway = Ringway::start_with(&["--drain-pause", "1h"], &setup.text(), io);
        ringway.signal("TERM");
        wait_until("it is not ready any more", || ringway.admin("/ready").status == 503);
        assert_eq!(ringway.client().get("/").status, 200);
        ringway.signal("TERM");
        ringway.expect_clean_exit();
        drop(origin);
    }

    fn a_drain_that_has_begun_cannot_be_taken_back(io) {
        let gate = crate::harness::Gate::default();
        let held = gate.clone();
        let origin = Origin::start(move |_| {
            crate::harness::Reply::default().then_wait(&held).then("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
        });
        let ringway = Setup::to(origin.address()).start(io);
        let mut client = ringway.client();
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        origin.wait_for_requests(1);
        assert_eq!(ringway.change("/v1/drain", "").status, 200);
        assert_eq!(ringway.status()["drain"]["state"], "begun");
        for order in ["{}", "{\"undo\":true}"] {
            assert_eq!(ringway.change("/v1/drain", order).status, 409);
        }
        assert_eq!(ringway.change("/v1/drain", "{\"pause\":\"5s\"}").status, 400);
        gate.open();
        assert_eq!(client.response("GET").text(), "done");
        ringway.expect_clean_exit();
        drop(origin);
    }
}
