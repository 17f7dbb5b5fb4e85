//! A scripted DNS server on UDP and TCP: what it answers is decided by the test, truth or not.
//!
//! It knows as much of RFC 1035 as that takes: one question per message, and records of four kinds.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What is known of one name.
#[derive(Clone, Debug)]
pub(crate) enum Says {
    /// These records, of whatever kind is asked for, with this lifetime in seconds.
    Records(u32, Vec<Data>),
    /// A different answer each time, in turn.
    Turns(u32, Vec<Vec<Data>>),
    /// An error: 2 is SERVFAIL, 3 is NXDOMAIN.
    Code(u8),
    /// Nothing at all.
    Silence,
    /// By UDP only that the answer is too long; by TCP these.
    Truncated(Vec<Data>),
    /// First an answer with another id and one from another port, both with the first record; then the second one.
    Forged(Data, Data),
}

/// The data of one record.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    Address(IpAddr),
    Alias(&'static str),
    Service { priority: u16, weight: u16, port: u16, target: &'static str },
}

/// An address record.
pub(crate) fn a(ip: impl Into<IpAddr>) -> Data {
    Data::Address(ip.into())
}

/// A service record.
pub(crate) fn srv(priority: u16, weight: u16, port: u16, target: &'static str) -> Data {
    Data::Service { priority, weight, port, target }
}

/// The server.
pub(crate) struct Dns {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    zone: Mutex<Zone>,
    stop: AtomicBool,
}

#[derive(Default)]
struct Zone {
    names: HashMap<String, Says>,
    /// Questions by name.
    asked: HashMap<String, usize>,
    by_tcp: usize,
}

impl Dns {
    /// Starts with these names; there is no other.
    pub(crate) fn start(names: &[(&str, Says)]) -> Dns {
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            let address = tcp.local_addr().expect("it is bound");
            if let Ok(udp) = UdpSocket::bind(address) {
                break (tcp, udp);
            }
        };
        let address = tcp.local_addr().expect("it is bound");
        udp.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket has a timeout");
        let names = names.iter().map(|(name, says)| ((*name).to_owned(), says.clone())).collect();
        let zone = Mutex::new(Zone { names, ..Zone::default() });
        let shared = Arc::new(Shared { zone, stop: AtomicBool::new(false) });
        let (for_udp, for_tcp) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            std::thread::spawn(move || for_udp.serve_udp(&udp)),
            std::thread::spawn(move || for_tcp.serve_tcp(&tcp)),
        ];
        Dns { address, shared, threads }
    }

    /// `dns { … }` that asks this server, with `more` in it.
    pub(crate) fn node(&self, more: &str) -> String {
        format!("dns {{ servers \"{}\"; {more} }}", self.address)
    }

    /// From now on it says this of a name.
    pub(crate) fn set(&self, name: &str, says: Says) {
        self.shared.zone().names.insert(name.to_owned(), says);
    }

    /// Questions about a name so far.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.shared.zone().asked.get(name).copied().unwrap_or(0)
    }

    /// Questions that came by TCP.
    pub(crate) fn by_tcp(&self) -> usize {
        self.shared.zone().by_tcp
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A question, as far as it matters.
struct Question<'a> {
    message: &'a [u8],
    name: String,
    kind: u16,
    /// Where the question ends.
    end: usize,
}

impl<'a> Question<'a> {
    fn read(message: &'a [u8]) -> Option<Question<'a>> {
        let (mut at, mut labels) = (12, Vec::new());
        loop {
            let length = usize::from(*message.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(message.get(at..at + length)?).to_ascii_lowercase());
            at += length;
        }
        let kind = u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]);
        Some(Question { message, name: labels.join("."), kind, end: at + 4 })
    }

    /// An answer: id and question as they came, flags, and the records of the kind that was asked for.
    fn answer(&self, code: u8, truncated: bool, ttl: u32, data: &[Data]) -> Vec<u8> {
        let records: Vec<_> =
            data.iter().filter(|data| data.kind() == self.kind || data.kind() == ALIAS).collect();
        let count = u16::try_from(records.len()).expect("a message holds so many");
        let mut out = self.message[..2].to_vec();
        out.extend([0x81 | if truncated { 2 } else { 0 }, 0x80 | code, 0, 1]);
        out.extend(count.to_be_bytes());
        out.extend([0; 4]);
        out.extend(&self.message[12..self.end]);
        for data in records {
            // The name of the question, by reference.
            out.extend([0xc0, 12]);
            out.extend(data.kind().to_be_bytes());
            out.extend([0, 1]);
            out.extend(ttl.to_be_bytes());
            let bytes = data.bytes();
            out.extend(u16::try_from(bytes.len()).expect("short").to_be_bytes());
            out.extend(bytes);
        }
        out
    }
}

const ALIAS: u16 = 5;

impl Data {
    fn kind(&self) -> u16 {
        match self {
            Data::Address(IpAddr::V4(_)) => 1,
            Data::Address(IpAddr::V6(_)) => 28,
            Data::Alias(_) => ALIAS,
            Data::Service { .. } => 33,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Data::Address(IpAddr::V4(ip)) => ip.octets().to_vec(),
            Data::Address(IpAddr::V6(ip)) => ip.octets().to_vec(),
            Data::Alias(name) => wire_name(name),
            Data::Service { priority, weight, port, target } => {
                let numbers = [*priority, *weight, *port].map(u16::to_be_bytes).concat();
                [numbers, wire_name(target)].concat()
            }
        }
    }
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        out.push(u8::try_from(label.len()).expect("a label is short"));
        out.extend(label.as_bytes());
    }
    out.push(0);
    out
}

impl Shared {
    fn zone(&self) -> MutexGuard<'_, Zone> {
        self.zone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be said now.
    fn says(&self, question: &Question<'_>) -> Says {
        let mut zone = self.zone();
        let asked = zone.asked.entry(question.name.clone()).or_default();
        let turn = *asked;
        *asked += 1;
        match zone.names.get(&question.name).cloned().unwrap_or(Says::Code(3)) {
            Says::Turns(ttl, turns) => Says::Records(ttl, turns[turn % turns.len()].clone()),
            says => says,
        }
    }

    fn serve_udp(&self, socket: &UdpSocket) {
        let mut buffer = [0; 4096];
        while !self.stop.load(Ordering::Acquire) {
            let Ok((length, peer)) = socket.recv_from(&mut buffer) else { continue };
            let Some(question) = Question::read(&buffer[..length]) else { continue };
            let answer = match self.says(&question) {
                Says::Silence => continue,
                Says::Code(code) => question.answer(code, false, 0, &[]),
                Says::Truncated(_) => question.answer(0, true, 0, &[]),
                Says::Records(ttl, data) => question.answer(0, false, ttl, &data),
                Says::Turns(..) => continue,
                Says::Forged(forged, data) => {
                    let mut other_id = question.answer(0, false, 60, std::slice::from_ref(&forged));
                    other_id[0] ^= 0x55;
                    let _ = socket.send_to(&other_id, peer);
                    let elsewhere = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
                    let _ = elsewhere.send_to(&question.answer(0, false, 60, &[forged]), peer);
                    question.answer(0, false, 0, &[data])
                }
            };
            let _ = socket.send_to(&answer, peer);
        }
    }

    fn serve_tcp(&self, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            if let Ok(stream) = stream {
                // One question per connection is all that is needed.
                let _ = self.answer_tcp(stream);
            }
        }
    }

    fn answer_tcp(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut message)?;
        let Some(question) = Question::read(&message) else { return Ok(()) };
        self.zone().by_tcp += 1;
        let answer = match self.says(&question) {
            Says::Silence => return Ok(()),
            Says::Code(code) => question.answer(code, false, 0, &[]),
            Says::Truncated(data) | Says::Records(_, data) => question.answer(0, false, 0, &data),
            Says::Turns(..) | Says::Forged(..) => return Ok(()),
        };
        stream.write_all(&u16::try_from(answer.len()).expect("fits into a message").to_be_bytes())?;
        stream.write_all(&answer)
    }
}
