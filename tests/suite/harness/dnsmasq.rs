//! A real name server, and a client that asks it as quickly as it answers.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::nginx::free_port;
use super::process::Process;
use super::wait_until;

/// A running dnsmasq that answers every question with one address, ended when dropped.
pub(crate) struct Dnsmasq {
    address: SocketAddr,
    process: Process,
}

impl Dnsmasq {
    /// Starts it and waits until it answers. Every name has the address 192.0.2.`number`.
    #[track_caller]
    pub(crate) fn start(number: u8) -> Dnsmasq {
        // The port is free when chosen and may be taken when dnsmasq comes to it: then another is tried.
        for _ in 0..5 {
            if let Some(server) = Dnsmasq::try_start(number) {
                return server;
            }
        }
        panic!("dnsmasq did not start five times in a row; is it installed (tests/run does that)?");
    }

    fn try_start(number: u8) -> Option<Dnsmasq> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let (port, answer) = (format!("--port={}", address.port()), format!("--address=/#/192.0.2.{number}"));
        let fixed =
            ["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file="];
        let mut args = fixed.to_vec();
        args.extend(["--listen-address=127.0.0.1", "--bind-interfaces", "--log-facility=-", &port, &answer]);
        let mut process = Process::start("dnsmasq", &args);
        let mut serves = false;
        wait_until("dnsmasq answers or ends", || {
            serves = Questions::new(address, 1, 1).try_once(0, Duration::from_millis(50)).is_some();
            serves || !process.runs()
        });
        (serves && process.runs()).then_some(Dnsmasq { address, process })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it without warning, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process.signal("KILL");
        self.process.wait();
    }
}

/// A client that keeps a number of questions under way.
pub(crate) struct Questions {
    /// Each with how many of its questions are under way.
    sockets: Vec<UdpSocket>,
    depth: usize,
}

/// What came of a run of questions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    /// By the last number of the address that was answered.
    pub(crate) by_server: std::collections::BTreeMap<u8, u64>,
    /// Questions that nobody answered in time.
    pub(crate) lost: u64,
    /// Answers to something that the socket had not asked.
    pub(crate) strange: u64,
}

impl Answers {
    pub(crate) fn answered(&self) -> u64 {
        self.by_server.values().sum()
    }
}

/// Nothing is lost on the way so slowly.
const LOST_AFTER: Duration = Duration::from_secs(2);

impl Questions {
    /// `clients` sockets, each with `depth` questions under way.
    pub(crate) fn new(server: SocketAddr, clients: usize, depth: usize) -> Questions {
        let socket = |_| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            socket.connect(server).expect("connected");
            socket
        };
        Questions { sockets: (0..clients).map(socket).collect(), depth }
    }

    /// Asks `count` questions in rounds: each socket sends `depth` of them, then takes the answers.
    pub(crate) fn ask(&self, count: u32) -> Answers {
        let mut answers = Answers::default();
        let mut number = 0;
        while number < count {
            let mut asked = Vec::new();
            for socket in &self.sockets {
                let numbers: Vec<u32> = (number..count).take(self.depth).collect();
                number += u32::try_from(numbers.len()).expect("few");
                for number in &numbers {
                    // A port that nobody listens on is told here; the question is lost, as it will turn out.
                    let _ = socket.send(&question(*number));
                }
                asked.push(numbers);
            }
            for (socket, mut numbers) in self.sockets.iter().zip(asked) {
                socket.set_read_timeout(Some(LOST_AFTER)).expect("set");
                let mut datagram = [0; 1024];
                while !numbers.is_empty() {
                    let Ok(len) = socket.recv(&mut datagram) else { break };
                    let place = numbers.iter().position(|number| is_answer(&datagram[..len], *number));
                    match place {
                        Some(place) => {
                            numbers.swap_remove(place);
                            *answers.by_server.entry(datagram[len - 1]).or_default() += 1;
                        }
                        None => answers.strange += 1,
                    }
                }
                answers.lost += numbers.len() as u64;
            }
        }
        answers
    }

    /// Asks one question as a resolver does: again after `patience`, at most `tries` times. Who answered.
    pub(crate) fn ask_again(&self, number: u32, patience: Duration, tries: usize) -> Option<u8> {
        (0..tries).find_map(|_| self.try_once(number, patience))
    }

    /// Asks one question once.
    pub(crate) fn try_once(&self, number: u32, patience: Duration) -> Option<u8> {
        let socket = &self.sockets[number as usize % self.sockets.len()];
        socket.set_read_timeout(Some(patience)).expect("set");
        socket.send(&question(number)).ok()?;
        let mut datagram = [0; 1024];
        while let Ok(len) = socket.recv(&mut datagram) {
            if is_answer(&datagram[..len], number) {
                return Some(datagram[len - 1]);
            }
        }
        None
    }
}

/// The address of `n12.test`.
fn question(number: u32) -> Vec<u8> {
    let [_, _, high, low] = number.to_be_bytes();
    let mut bytes = vec![high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    bytes.extend_from_slice(&name(number));
    bytes.extend_from_slice(&[0, 1, 0, 1]);
    bytes
}

fn name(number: u32) -> Vec<u8> {
    let label = format!("n{number}");
    let mut bytes = vec![u8::try_from(label.len()).expect("short")];
    bytes.extend_from_slice(label.as_bytes());
    bytes.extend_from_slice(b"\x04test\0");
    bytes
}

/// Whether this answers the question of that number: its id, no error, one answer, its name.
fn is_answer(datagram: &[u8], number: u32) -> bool {
    let [_, _, high, low] = number.to_be_bytes();
    let name = name(number);
    datagram.len() > 12 + name.len()
        && datagram[..2] == [high, low]
        && datagram[2] & 0x80 != 0
        && datagram[3] & 0x0f == 0
        && datagram[6..8] == [0, 1]
        && datagram[12..12 + name.len()] == name[..]
}
