//! More clients, bytes or requests than there is room for (R92, R98, R99, R141, R144).

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::harness::{Client, Ending, Origin, Ringway, Setup, wait_until};

/// A client address of its own; all of 127.0.0.0/8 is this machine, and only 127.0.0.1 is exempt from limits.
fn address(group: u8, last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, group, last).into()
}

/// How many connections ended for that cause.
fn ended(ringway: &Ringway, cause: &str) -> u64 {
    metric(ringway, &format!("ringway_connections_ended_total{{cause=\"{cause}\""))
}

/// Sum of all samples that begin like this.
fn metric(ringway: &Ringway, begins: &str) -> u64 {
    let text = ringway.admin("/metrics").text();
    let values =
        text.lines().filter(|line| line.starts_with(begins)).filter_map(|line| line.rsplit(' ').next());
    values.filter_map(|value| value.parse::<u64>().ok()).sum()
}

/// The status of one request, where there may be no answer at all.
fn ask(client: &mut Client) -> Option<u16> {
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    client.try_response("GET").ok().map(|response| response.status)
}

both! {
    fn r92_an_address_over_its_limit_is_reset_and_others_are_served(io) {
        let origin = Origin::ok("x");
        let listener = "limits { connections-per-client 20; }";
        let ringway = Setup { listener, ..Setup::to(origin.address()) }.start(io);
        let web = ringway.address("web");
        let mut flood: Vec<Client> = (0..60).filter_map(|_| Client::connect_from(web, address(0, 5))).collect();
        wait_until("forty were too many", || ended(&ringway, "client_connections") == 40);
        let mut other = Client::connect_from(web, address(0, 6)).expect("another address");
        assert_eq!(other.get("/").status, 200);
        flood.retain_mut(|client| client.ending_within(Duration::from_millis(10)) == Ending::Open);
        assert_eq!(flood.len(), 20, "as many as are allowed stay open");
        assert!(flood.iter_mut().all(|client| client.get("/").status == 200), "and are served");
        drop(flood);
        wait_until("there is room for the address again", || {
            Client::connect_from(web, address(0, 5)).is_some_and(|mut client| ask(&mut client) == Some(200))
        });
        ringway.stop_after((other, origin));
    }

    fn r92_a_flood_from_many_addresses_leaves_others_unharmed(io) {
        let origin = Origin::ok("x");
        let listener = "limits { connections-per-client 8; }";
        let ringway = Setup { listener, ..Setup::to(origin.address()) }.start(io);
        let web = ringway.address("web");
        let mut local = ringway.client();
        let mut flood = Vec::new();
        for last in 1..=100 {
            flood.extend((0..12).filter_map(|_| Client::connect_from(web, address(7, last))));
            assert_eq!(local.get("/").status, 200);
        }
        wait_until("four of each were too many", || ended(&ringway, "client_connections") == 400);
        let counted = ringway.status()["overload"]["client_connections_counted"].as_u64();
        assert!(counted.is_some_and(|counted| (790..=800).contains(&counted)), "{counted:?}");
        let mut crowd: Vec<Client> = (0..40).map(|_| ringway.client()).collect();
        assert!(crowd.iter_mut().all(|client| client.get("/").status == 200), "127.0.0.1 has no limit");
        ringway.stop_after((local, flood, crowd, origin));
    }

    fn r92_trusted_proxies_and_off_have_no_limit(io) {
        for listener in [
            "trusted-proxies \"127.0.3.0/24\"\nlimits { connections-per-client 2; }",
            "limits { connections-per-client \"off\"; }",
        ] {
            let origin = Origin::ok("x");
            let ringway = Setup { listener, ..Setup::to(origin.address()) }.start(io);
            let web = ringway.address("web");
            let mut clients: Vec<Client> =
                (0..10).filter_map(|_| Client::connect_from(web, address(3, 1))).collect();
            assert!(clients.iter_mut().all(|client| client.get("/").status == 200));
            ringway.stop_after((clients, origin));
        }
    }

    fn r141_a_configuration_that_does_not_fit_is_refused_with_the_table(io) {
        let text = Setup { top: "memory \"16MiB\"\nworkers 2\n", ..Setup::to("127.0.0.1:1".parse().expect("an address")) };
        let (mut process, _folder) = Ringway::spawn(&text.text(), io);
        process.wait_for_line("what to do", |line| line.contains("fewer `workers`").then_some(()));
        let status = process.wait().expect("it ends");
        assert_eq!(status.code(), Some(1));
        let said = process.last_words();
        for part in ["receive buffers of a worker", "all together", "16.0", "does not fit", "fewer `workers`"] {
            assert!(said.contains(part), "{part:?} is missing:\n{said}");
        }
    }

    fn r141_what_fits_with_fewer_connections_says_so_and_shows_the_table(io) {
        let origin = Origin::ok("x");
        let ringway = Setup { top: "memory \"100MiB\"\nworkers 2\n", ..Setup::to(origin.address()) }.start(io);
        ringway.says("client connections and");
        ringway.says("fits into 100 MiB");
        let status = ringway.status();
        let budget = &status["budget"];
        assert_eq!(budget["limit_bytes"], 100 << 20);
        assert!(budget["sum_bytes"].as_u64().is_some_and(|sum| sum <= 95 << 20), "{budget}");
        assert!(status["connections"]["max"].as_u64().is_some_and(|max| (1_000..20_000).contains(&max)), "{status}");
        assert_eq!(ringway.client().get("/").status, 200);
        ringway.stop_after(origin);
    }

    fn r98_a_flood_of_half_heads_is_shed_and_service_is_back_within_five_seconds(io) {
        let origin = Origin::ok("x");
        let top = "memory \"80MiB\"\nworkers 1\n";
        let ringway = Setup { top, ..Setup::to(origin.address()) }.start(io);
        let web = ringway.address("web");
        let mut level = 0;
        let mut flood = Vec::new();
        let half = format!("GET / HTTP/1.1\r\nHost: x\r\n{}", "X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(80));
        let more = format!("X-More: {}", "a".repeat(12_000));
        // Each holds what it has sent of its head. It never ends one, so all of them are to be got rid of.
        let swell = |flood: &mut Vec<Client>| {
            for _ in 0..50 {
                let Some(mut client) = Client::try_connect(web).filter(|_| flood.len() < 4000) else { break };
                client.send(&half).send(&more);
                flood.push(client);
            }
        };
        while level < 3 && flood.len() < 4000 {
            swell(&mut flood);
            level = level.max(metric(&ringway, "ringway_shed_level"));
        }
        assert!(level >= 3, "level {level} with {} half heads", flood.len());
        assert!(ringway.resident_bytes() < 80 << 20, "above the limit");
        assert_eq!(ringway.admin("/live").status, 200);
        wait_until("half heads are reset", || {
            // A head counts as stalled after two seconds; what is given back meanwhile by other means is taken again.
            // On the fourth level it is new requests that are refused, and somebody has to make them.
            if metric(&ringway, "ringway_shed_level") < 5 {
                swell(&mut flood);
            }
            metric(&ringway, "ringway_shed_total{action=\"reset_stalled\"}") > 0
                || metric(&ringway, "ringway_shed_total{action=\"refuse_request\"}") > 0
        });
        drop(flood);
        let began = std::time::Instant::now();
        wait_until("the pressure is over", || metric(&ringway, "ringway_shed_level") == 0);
        assert_eq!(ringway.client().get("/").status, 200);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?} until it serves again", began.elapsed());
        wait_until("both changes are reported", || {
            let said = ringway.stderr();
            said.contains("overload: level") && said.contains("overload is over")
        });
        ringway.stop_after(origin);
    }

    fn r144_a_stopped_process_keeps_its_idle_connections(io) {
        let origin = Origin::ok("x");
        let listener = "timeouts { keep-alive \"3s\"; }";
        let ringway = Setup { listener, ..Setup::to(origin.address()) }.start(io);
        let mut idle: Vec<Client> = (0..10).map(|_| ringway.client()).collect();
        assert!(idle.iter_mut().all(|client| client.get("/").status == 200));
        ringway.signal("STOP");
        // Nothing can arrive from a process that is stopped: this only lets its deadlines pass.
        assert_eq!(idle[0].ending_within(Duration::from_secs(6)), Ending::Open);
        ringway.signal("CONT");
        assert_eq!(idle[0].ending_within(Duration::from_millis(300)), Ending::Open, "timed out at once");
        assert!(idle.iter_mut().all(|client| client.get("/").status == 200));
        wait_until("the gap is counted", || metric(&ringway, "ringway_worker_gaps_total") >= 1);
        wait_until("the gap is reported", || ringway.stderr().contains("stood still"));
        ringway.stop_after((idle, origin));
    }
}
