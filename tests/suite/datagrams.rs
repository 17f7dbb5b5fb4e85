//! UDP listeners: who gets which datagram and from whom, what forged addresses can do (R160), and that clients stay where
//! they are (R161).

use crate::harness::dnsmasq::{Dnsmasq, Questions};
use crate::harness::{Io, PATIENCE, Ringway, elapse, wait_until};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// An endpoint that does with each datagram what its script says.
struct Endpoint {
    address: SocketAddr,
    seen: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Endpoint {
    /// Sends back what `script` makes of a datagram: any number of them.
    fn start(script: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Endpoint {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("set");
        let address = socket.local_addr().expect("bound");
        let (seen, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut datagram = vec![0; 65_536];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((len, from)) = socket.recv_from(&mut datagram) else { continue };
                counter.fetch_add(1, Ordering::Relaxed);
                for answer in script(&datagram[..len]) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Endpoint { address, seen, stop, thread: Some(thread) }
    }

    /// Sends everything back, with its name in front.
    fn echo(name: &'static str) -> Endpoint {
        Endpoint::start(move |datagram| vec![[name.as_bytes(), datagram].concat()])
    }

    fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn text(endpoints: &[SocketAddr], udp: &str, upstream: &str) -> String {
    let endpoints: String = endpoints.iter().map(|addr| format!("endpoint \"{addr}\"\n")).collect();
    format!(
        "udp \"dns\" {{ bind \"127.0.0.1:0\"; upstream \"origin\"; {udp} }}\n\
         upstream \"origin\" {{ {endpoints}\n{upstream}\n}}\n"
    )
}

#[track_caller]
fn start(endpoints: &[SocketAddr], udp: &str, upstream: &str, io: Io) -> Ringway {
    Ringway::start(&text(endpoints, udp, upstream), io)
}

/// A client of the listener `dns`, from an address of this machine.
#[track_caller]
fn client_from(ip: Ipv4Addr, to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).expect("a free port");
    socket.connect(to).expect("connected");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    socket
}

#[track_caller]
fn client(ringway: &Ringway) -> UdpSocket {
    client_from(Ipv4Addr::LOCALHOST, ringway.address("dns"))
}

#[track_caller]
fn ask(client: &UdpSocket, question: &[u8]) -> Vec<u8> {
    client.send(question).expect("sent");
    receive(client)
}

#[track_caller]
fn receive(client: &UdpSocket) -> Vec<u8> {
    let mut datagram = vec![0; 65_536];
    let len = client.recv(&mut datagram).expect("an answer in time");
    datagram.truncate(len);
    datagram
}

/// The same where the endpoint may be so busy that its kernel drops something.
#[track_caller]
fn ask_patiently(ringway: &Ringway, client: &UdpSocket, question: &[u8]) -> Vec<u8> {
    client.set_read_timeout(Some(Duration::from_secs(1))).expect("set");
    let mut datagram = vec![0; 65_536];
    for _ in 0..10 {
        client.send(question).expect("sent");
        if let Ok(len) = client.recv(&mut datagram) {
            datagram.truncate(len);
            return datagram;
        }
    }
    panic!("ten times no answer: {}", figures(ringway));
}

/// What the status says of the listener.
#[track_caller]
fn figures(ringway: &Ringway) -> Value {
    ringway.status()["udp"][0].clone()
}

#[track_caller]
fn figure(ringway: &Ringway, name: &str) -> u64 {
    figures(ringway).pointer(&format!("/{name}")).and_then(Value::as_u64).expect("a number")
}

both! {
    fn datagrams_of_every_size_pass_both_ways_and_a_flow_has_one_line(io) {
        let endpoint = Endpoint::echo("");
        let ringway = start(&[endpoint.address], "flow-idle \"300ms\"", "", io);
        let client = client(&ringway);
        let mut bytes = 0;
        for size in [0, 1, 512, 1400, 9000, 65_507] {
            let datagram: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).expect("small")).collect();
            assert!(ask(&client, &datagram) == datagram, "{size} bytes");
            bytes += u64::try_from(size).expect("small");
        }
        let record = ringway.records(1).remove(0);
        for (member, expected) in [
            ("protocol", "UDP".into()),
            ("listener", "dns".into()),
            ("upstream", "origin".into()),
            ("endpoint", endpoint.address.to_string().into()),
            ("cause", "flow_idle".into()),
            ("client", "127.0.0.1".into()),
            ("attempts", Value::from(1)),
            ("bytes_in", bytes.into()),
            ("bytes_out", bytes.into()),
        ] {
            assert_eq!(record[member], expected, "{member} of {record}");
        }
        let figures = figures(&ringway);
        for (name, expected) in
            [("flows", 0), ("opened", 1), ("datagrams_in", 6), ("datagrams_out", 6), ("bytes_out", bytes)]
        {
            assert_eq!(figures[name], expected, "{name} of {figures}");
        }
        let metrics = ringway.admin("/metrics").text();
        for line in [
            "ringway_udp_flow_ends_total{listener=\"dns\",cause=\"flow_idle\"} 1",
            "ringway_udp_received_datagrams_total{listener=\"dns\"} 6",
            "ringway_udp_lost_total{listener=\"dns\",reason=\"no_room\"} 0",
        ] {
            assert!(metrics.contains(line), "{line} is missing:\n{metrics}");
        }
        let (code, said, _) = ringway.command(&["status"]);
        assert!(code == Some(0) && said.contains("datagrams"), "{said}");
        ringway.stop_after((client, endpoint));
    }

    fn an_answer_leaves_from_the_address_that_was_asked(io) {
        let endpoint = Endpoint::echo("");
        let text = text(&[endpoint.address], "flow-idle \"1s\"", "").replace("127.0.0.1:0\"; up", "0.0.0.0:0\"; up");
        let ringway = Ringway::start(&text, io);
        let port = ringway.address("dns").port();
        // A connected socket takes nothing from another address.
        for asked in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 53), Ipv4Addr::new(127, 9, 9, 9)] {
            let client = client_from(Ipv4Addr::LOCALHOST, (asked, port).into());
            assert_eq!(ask(&client, b"hello"), b"hello");
        }
        ringway.stop_after(endpoint);
    }

    fn flows_come_from_the_source_addresses_of_the_upstream(io) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        let address = socket.local_addr().expect("bound");
        let ringway = start(&[address], "flow-idle \"1s\"", "source \"127.0.0.8\" \"127.0.0.9\"", io);
        let mut from = BTreeSet::new();
        for _ in 0..20 {
            client(&ringway).send(b"hello").expect("sent");
            from.insert(socket.recv_from(&mut [0; 16]).expect("received").1.ip().to_string());
        }
        assert_eq!(from.into_iter().collect::<Vec<_>>(), ["127.0.0.8", "127.0.0.9"]);
        ringway.stop();
    }

    fn a_flow_ends_when_each_question_has_its_answers(io) {
        let endpoint = Endpoint::start(|datagram| vec![datagram.to_vec(), datagram.to_vec()]);
        let ringway = start(&[endpoint.address], "responses 2; flow-idle \"1m\"", "", io);
        let client = client(&ringway);
        for question in [b"a", b"b", b"c"] {
            client.send(question).expect("sent");
        }
        for _ in 0..6 {
            receive(&client);
        }
        wait_until("the flow is over", || figure(&ringway, "flows") == 0);
        // A question that comes after the others are answered begins a flow of its own.
        let told = |record: &Value| record["bytes_out"].as_u64();
        wait_until("every answer is logged", || ringway.records(1).iter().filter_map(told).sum::<u64>() == 6);
        for record in ringway.records(1) {
            let due = record["bytes_in"].as_u64().map(|asked| 2 * asked);
            assert_eq!((&record["cause"], told(&record)), (&"flow_answered".into(), due), "{record}");
        }
        ringway.stop_after((client, endpoint));
    }

    fn thousands_of_questions_to_a_name_server_are_answered_as_if_nobody_stood_between(io) {
        let server = Dnsmasq::start(1);
        let count = std::env::var("SUITE_QUESTIONS").ok().and_then(|count| count.parse().ok()).unwrap_or(20_000);
        let direct = Questions::new(server.address(), 8, 8).ask(count);
        assert_eq!((direct.answered(), direct.lost), (count.into(), 0), "directly: the pace is right");
        let ringway = start(&[server.address()], "responses 1; reply-ratio 100", "", io);
        let through = Questions::new(ringway.address("dns"), 8, 8).ask(count);
        assert_eq!(through, direct, "{}", figures(&ringway));
        let figures = figures(&ringway);
        let lost: u64 = figures["lost"].as_object().expect("reasons").values().filter_map(Value::as_u64).sum();
        assert_eq!((&figures["datagrams_in"], &figures["datagrams_out"], lost), (&count.into(), &count.into(), 0));
        ringway.stop_after(server);
    }

    fn questions_are_answered_while_one_of_two_name_servers_is_killed(io) {
        let (mut first, second) = (Dnsmasq::start(1), Dnsmasq::start(2));
        let endpoints = [first.address(), second.address()];
        let ringway = start(&endpoints, "flow-idle \"1s\"", "balance \"round-robin\"", io);
        let questions = Questions::new(ringway.address("dns"), 20, 1);
        let ask = |numbers: std::ops::Range<u32>| {
            let mut by_server: BTreeMap<u8, u32> = BTreeMap::new();
            for number in numbers {
                let answered = questions.ask_again(number, Duration::from_millis(500), 4);
                let answered = answered.unwrap_or_else(|| panic!("{number} is not answered: {}", figures(&ringway)));
                *by_server.entry(answered).or_default() += 1;
            }
            by_server
        };
        let before = ask(0..400);
        assert!(before.values().all(|count| *count >= 100) && before.len() == 2, "{before:?}");
        first.kill();
        let after = ask(400..1000);
        assert_eq!(after, BTreeMap::from([(2, 600)]), "flows of the dead one have moved");
        assert!(figure(&ringway, "moved") > 0);
        ringway.stop_after((first, second));
    }

    fn a_datagram_check_takes_a_silent_endpoint_out_and_its_flows_move(io) {
        let silent = Arc::new(AtomicBool::new(false));
        let is_silent = Arc::clone(&silent);
        let first = Endpoint::start(move |datagram| match is_silent.load(Ordering::Relaxed) {
            true => Vec::new(),
            false => vec![[b"first ", datagram].concat()],
        });
        let second = Endpoint::echo("second ");
        let upstream = "balance \"maglev\"; hash-key \"client.ip-port\"
            health { udp send=\"hex:70696e67\" expect=\"ping\" every=\"200ms\" timeout=\"200ms\" rise=1 fall=2 }";
        let ringway = start(&[first.address, second.address], "flow-idle \"8s\"", upstream, io);
        let clients: Vec<UdpSocket> = (0..20).map(|_| client(&ringway)).collect();
        let who = |client: &UdpSocket| ask(client, b"x").starts_with(b"first");
        let before: Vec<bool> = clients.iter().map(who).collect();
        assert!(before.contains(&true) && before.contains(&false), "{before:?}");
        silent.store(true, Ordering::Relaxed);
        wait_until("its check fails", || {
            ringway.upstream()["endpoints"][0]["state"] == "down"
        });
        assert!(clients.iter().all(|client| !who(client)), "all are with the second one");
        let moved = before.iter().filter(|first| **first).count() as u64;
        assert!(figure(&ringway, "moved") >= moved, "{}", figures(&ringway));
        ringway.stop_after((clients, first, second));
    }

    fn r160_forged_addresses_cannot_fill_the_table_or_the_memory(io) {
        let endpoint = Endpoint::echo("");
        let udp = "flow-idle \"2s\"; limits { flows 1000; }";
        let ringway = start(&[endpoint.address], udp, "", io);
        let to = ringway.address("dns");
        // It has got an answer and gone on: it is there.
        let established = client(&ringway);
        ask(&established, b"one");
        ask(&established, b"two");
        let count: u32 = std::env::var("SUITE_FORGED").ok().and_then(|count| count.parse().ok()).unwrap_or(20_000);
        let mut resident = 0;
        for n in 0..count {
            let [_, b, c, d] = n.wrapping_mul(2_654_435_761).to_be_bytes();
            // Each from another address and port, of which nothing is left.
            let forged = UdpSocket::bind((Ipv4Addr::new(127, b | 1, c, d), 0)).expect("a port of another address");
            let _ = forged.send_to(b"who am I?", to);
            if n % 100 == 0 {
                // At the pace at which it is served: what the kernel drops is no trial of Ringway.
                wait_until("it has seen most of them", || {
                    let seen = figures(&ringway);
                    let of = |name: &str| seen[name].as_u64().expect("a number");
                    of("opened") + of("refused") + 50 >= u64::from(n)
                });
                assert!(figure(&ringway, "flows") <= 1000, "{}", figures(&ringway));
                assert_eq!(ask_patiently(&ringway, &established, b"still there"), b"still there");
            }
            if n == count / 4 {
                resident = ringway.resident_bytes();
            }
        }
        let grown = ringway.resident_bytes().saturating_sub(resident);
        assert!(grown < 2 << 20, "{grown} B more after {count} addresses");
        let metrics = ringway.admin("/metrics").text();
        let evicted = metrics.lines().find(|line| line.contains("cause=\"flows_max\"") && line.contains("_ends"));
        assert!(evicted.is_some(), "{metrics}");
        wait_until("all but one are forgotten", || {
            ask_patiently(&ringway, &established, b"still there");
            figure(&ringway, "flows") == 1
        });
        ringway.stop_after((established, endpoint));
    }

    fn r160_an_address_that_never_answers_gets_no_more_than_the_ratio(io) {
        // Ten times as much for each byte, in a hundred datagrams.
        let endpoint = Endpoint::start(|datagram| vec![vec![b'!'; datagram.len()]; 100]);
        let ringway = start(&[endpoint.address], "reply-ratio 10; flow-idle \"1s\"", "", io);
        let client = client(&ringway);
        client.send(&[b'?'; 100]).expect("sent");
        for _ in 0..10 {
            assert_eq!(receive(&client).len(), 100);
        }
        wait_until("the rest is dropped", || figure(&ringway, "lost/reply_ratio") == 90);
        assert_eq!(figure(&ringway, "bytes_out"), 1000);
        // It sends again, and so it is there.
        client.send(&[b'?'; 100]).expect("sent");
        for _ in 0..100 {
            assert_eq!(receive(&client).len(), 100);
        }
        assert_eq!(figure(&ringway, "lost/reply_ratio"), 90);
        ringway.stop_after((client, endpoint));
    }

    fn r160_a_client_with_too_many_flows_gives_up_its_oldest(io) {
        let endpoint = Endpoint::echo("");
        let udp = "flow-idle \"1s\"; limits { flows-per-client 4; }";
        let ringway = Ringway::start(&format!("workers 1\n{}", text(&[endpoint.address], udp, "")), io);
        let greedy = Ipv4Addr::new(127, 0, 0, 2);
        let other = client_from(Ipv4Addr::new(127, 0, 0, 3), ringway.address("dns"));
        ask(&other, b"one");
        let clients: Vec<UdpSocket> = (0..10).map(|_| client_from(greedy, ringway.address("dns"))).collect();
        for client in &clients {
            ask(client, b"hello");
        }
        assert_eq!((figure(&ringway, "flows"), figure(&ringway, "opened")), (5, 11));
        let records = ringway.records(6);
        assert!(records.iter().all(|record| record["cause"] == "flow_quota" && record["client"] == "127.0.0.2"));
        // It begins a new one.
        assert_eq!(ask(&clients[0], b"again"), b"again");
        ringway.stop_after((clients, other, endpoint));
    }

    fn r161_clients_stay_where_they_are_over_twenty_generations(io) {
        let endpoints: Vec<Endpoint> = ["a", "b", "c"].into_iter().map(Endpoint::echo).collect();
        let addresses: Vec<SocketAddr> = endpoints.iter().map(|endpoint| endpoint.address).collect();
        let upstream = "balance \"maglev\"; hash-key \"client.ip-port\"";
        let ringway = start(&addresses, "flow-idle \"2s\"", upstream, io);
        let clients: Vec<UdpSocket> = (0..30).map(|_| client(&ringway)).collect();
        let mut homes: Vec<BTreeSet<u8>> = vec![BTreeSet::new(); clients.len()];
        let mut number = 0_u32;
        let mut round = || {
            for (at, client) in clients.iter().enumerate() {
                number += 1;
                let question = format!("{at}:{number}");
                let answer = ask(client, question.as_bytes());
                homes[at].insert(answer[0]);
                assert_eq!(&answer[1..], question.as_bytes(), "its own answer, and the one to this question");
            }
        };
        for generation in 0..20 {
            round();
            if generation % 5 == 4 {
                // The file again, with another weight in it.
                let endpoint = format!("endpoint \"{}\"", addresses[0]);
                let other = text(&addresses, "flow-idle \"2s\"", upstream)
                    .replace(&endpoint, &format!("{endpoint} weight={}", generation + 2));
                ringway.reload(&other);
            } else {
                let path = format!("/v1/upstreams/origin/endpoints/{}", addresses[generation % 3]);
                let body = format!("{{\"weight\":{}}}", generation % 4 + 2);
                assert_eq!(ringway.change(&path, &body).status, 200);
            }
            round();
        }
        assert!(ringway.status()["generation"].as_u64() >= Some(21));
        assert!(homes.iter().all(|home| home.len() == 1), "{homes:?}");
        let all: BTreeSet<&u8> = homes.iter().flatten().collect();
        assert_eq!(all.len(), 3, "the clients are spread");
        assert_eq!((figure(&ringway, "opened"), figure(&ringway, "moved")), (30, 0));
        ringway.stop_after((clients, endpoints));
    }

    fn r161_an_endpoint_that_is_removed_gives_its_flows_to_others_and_those_stay(io) {
        let endpoints: Vec<Endpoint> = ["a", "b", "c"].into_iter().map(Endpoint::echo).collect();
        let addresses: Vec<SocketAddr> = endpoints.iter().map(|endpoint| endpoint.address).collect();
        let ringway = start(&addresses, "flow-idle \"2s\"", "balance \"round-robin\"", io);
        let clients: Vec<UdpSocket> = (0..30).map(|_| client(&ringway)).collect();
        let homes = || -> Vec<u8> { clients.iter().map(|client| ask(client, b"?")[0]).collect() };
        let before = homes();
        ringway.reload(&text(&addresses[1..], "flow-idle \"2s\"", "balance \"round-robin\""));
        let after = homes();
        for (before, after) in before.iter().zip(&after) {
            assert!(*after != b'a' && (*before == b'a' || before == after), "{before} {after}");
        }
        assert_eq!(homes(), after);
        // Draining: those that are there stay, nobody new comes.
        let path = format!("/v1/upstreams/origin/endpoints/{}", addresses[1]);
        assert_eq!(ringway.change(&path, "{\"state\":\"drain\"}").status, 200);
        assert_eq!(homes(), after);
        let late: Vec<UdpSocket> = (0..10).map(|_| client(&ringway)).collect();
        assert!(late.iter().all(|client| ask(client, b"?")[0] == b'c'));
        assert_eq!(ringway.change(&path, "{\"state\":\"down\"}").status, 200);
        assert!(homes().iter().all(|home| *home == b'c'));
        ringway.stop_after((clients, late, endpoints));
    }

    fn r161_hashed_clients_find_their_endpoint_again_after_a_restart(io) {
        let endpoints: Vec<Endpoint> = ["a", "b", "c"].into_iter().map(Endpoint::echo).collect();
        let addresses: Vec<SocketAddr> = endpoints.iter().map(|endpoint| endpoint.address).collect();
        let sources: Vec<UdpSocket> =
            (0..20).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port")).collect();
        let homes: Vec<Vec<u8>> = (0..2)
            .map(|_| {
                let upstream = "balance \"ring-hash\"; hash-key \"client.ip-port\"";
                let ringway = start(&addresses, "flow-idle \"1s\"", upstream, io);
                let to = ringway.address("dns");
                let homes = sources.iter().map(|source| {
                    source.connect(to).expect("connected");
                    source.set_read_timeout(Some(PATIENCE)).expect("set");
                    ask(source, b"?")[0]
                });
                let homes = homes.collect();
                ringway.stop();
                homes
            })
            .collect();
        assert_eq!(homes[0], homes[1]);
        assert!(homes[0].iter().any(|home| *home != homes[0][0]));
        drop(endpoints);
    }

    fn without_an_endpoint_datagrams_are_dropped_and_counted(io) {
        let gone = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port").local_addr().expect("bound");
        let upstream = "panic \"off\"; health { udp send=\"ping\" every=\"50ms\" timeout=\"50ms\" rise=1 fall=1 }";
        let ringway = start(&[gone], "flow-idle \"1s\"", upstream, io);
        wait_until("its check fails", || ringway.upstream()["endpoints"][0]["state"] == "down");
        let client = client(&ringway);
        for _ in 0..5 {
            client.send(b"anybody?").expect("sent");
        }
        wait_until("they are counted", || figure(&ringway, "lost/no_endpoint") == 5);
        assert!(figure(&ringway, "opened") == 0 && figure(&ringway, "refused") > 0);
        ringway.stop_after(client);
    }

    fn a_stop_lets_answers_through_that_are_on_their_way(io) {
        let endpoint = Endpoint::start(|datagram| {
            elapse(Duration::from_millis(100));
            vec![datagram.to_vec()]
        });
        let ringway = start(&[endpoint.address], "", "", io);
        let client = client(&ringway);
        client.send(b"just before the end").expect("sent");
        wait_until("it is on its way", || endpoint.seen() == 1);
        ringway.signal("TERM");
        assert_eq!(receive(&client), b"just before the end");
        ringway.expect_clean_exit();
        drop(endpoint);
    }
}
