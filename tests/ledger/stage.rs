//! What every scenario needs around it: Ringway with a configuration, the books, and the closing of both.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::book::Book;
use crate::endpoint::Endpoint;
use crate::endpoint::process::EndpointProcess;
use crate::harness::{Io, Ringway, pause, wait_until};
use crate::metrics;
use crate::oracle::{self, Books, Record, Verdict};
use crate::plan::Plan;
use crate::report::Report;

/// Ringway in front of endpoints, and the books about them.
pub(crate) struct Stage {
    pub(crate) plan: Plan,
    pub(crate) book: Arc<Book>,
    pub(crate) ringway: Ringway,
    pub(crate) web: SocketAddr,
    addresses: Vec<SocketAddr>,
    /// Whether the configuration has limits that are meant to be reached.
    pub(crate) sheds: bool,
    /// Whether endpoints come and go while it runs.
    moves: bool,
}

/// The endpoints of a scenario.
#[derive(Default)]
pub(crate) struct Endpoints {
    pub(crate) here: Vec<Endpoint>,
    pub(crate) processes: Vec<EndpointProcess>,
}

impl Endpoints {
    fn addresses(&self) -> Vec<SocketAddr> {
        let here = self.here.iter().map(Endpoint::address);
        here.chain(self.processes.iter().map(EndpointProcess::address)).collect()
    }
}

/// What a scenario adds to the configuration.
#[derive(Clone, Copy, Default)]
pub(crate) struct Settings<'a> {
    pub(crate) top: &'a str,
    pub(crate) listener: &'a str,
    /// Endpoints that come by names, and how many of those of this process they stand for: the last ones.
    pub(crate) named: (&'a str, usize),
    pub(crate) upstream: &'a str,
    /// Nodes in the route of requests without further rules.
    pub(crate) route: &'a str,
}

impl Stage {
    pub(crate) fn start(
        io: Io,
        plan: Plan,
        book: Arc<Book>,
        endpoints: &Endpoints,
        settings: Settings<'_>,
    ) -> Stage {
        let addresses = endpoints.addresses();
        let ringway = Ringway::start(&configuration(endpoints, settings), io);
        let web = ringway.address("web");
        let moves = settings.named.1 > 0;
        Stage { plan, book, ringway, web, addresses, sheds: false, moves }
    }

    /// Waits until nothing is under way, takes in the log, ends everything (with what the suite always asks for: all
    /// that was held is given back) and judges.
    pub(crate) fn close(self, endpoints: Endpoints, losses: bool) -> Report {
        let Stage { plan, book, ringway, addresses, sheds, moves, .. } = self;
        wait_for_quiet(&ringway);
        let log = read_log(&ringway, &book);
        let metrics = ringway.admin("/metrics").text();
        for process in endpoints.processes {
            process.end(&book);
        }
        ringway.stop_after(endpoints.here);

        let pages = book.pages();
        let books = Books { plan, pages: &pages, log: &log, endpoints: &addresses, losses, sheds };
        let mut verdict: Verdict = oracle::judge(&books);
        verdict.wrong.extend(metrics::compare(&metrics, &log, moves));
        Report { verdict, counts: pages.counts.clone() }
    }
}

/// One loopback address per endpoint of each run, so that nobody else can take the port while it refuses.
pub(crate) fn own_address(index: usize) -> SocketAddr {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let last = u8::try_from(index + 1).expect("few endpoints");
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, high | 0x80, low, last)), 0)
}

fn configuration(endpoints: &Endpoints, settings: Settings<'_>) -> String {
    let Settings { top, listener, named: (names, named), upstream, route } = settings;
    let here = &endpoints.here[..endpoints.here.len() - named];
    let addresses = here.iter().map(Endpoint::address);
    let addresses = addresses.chain(endpoints.processes.iter().map(EndpointProcess::address));
    let endpoints: String = addresses.map(|address| format!("endpoint \"{address}\"\n")).collect();
    format!(
        "{top}
listener \"web\" {{ bind \"127.0.0.1:0\"
{listener}
}}
upstream \"pool\" {{ {endpoints}{names}
{upstream}
}}
site \"*\" {{
    route \"/default/\" upstream=\"pool\" {{
{route}
    }}
    route \"/generous/\" upstream=\"pool\" {{ retry attempts=2 on=\"connect,reset,timeout,503\" }}
    route \"/key/\" upstream=\"pool\" {{
        retry attempts=2 on=\"connect,reset,timeout,503\" idempotency-key=#true
    }}
}}
"
    )
}

/// Waits until Ringway has ended all exchanges: those of clients that left go on for a while.
fn wait_for_quiet(ringway: &Ringway) {
    let deadline = Instant::now() + QUIET_WITHIN;
    while !is_quiet(ringway) {
        assert!(Instant::now() < deadline, "exchanges go on {QUIET_WITHIN:?} after their clients have ended");
        pause();
    }
}

/// A client that has ended its side still gets its answer, so the slowest endpoint decides.
const QUIET_WITHIN: Duration = Duration::from_secs(60);

fn is_quiet(ringway: &Ringway) -> bool {
    let status = ringway.status();
    let workers = status["workers"].as_array().cloned().unwrap_or_default();
    workers.iter().all(|worker| worker["connections"].as_u64() == Some(0))
}

/// The access log by id, once every exchange that Ringway counted is in it.
fn read_log(ringway: &Ringway, book: &Book) -> HashMap<u32, Vec<Record>> {
    let exchanges = metrics::sum(&ringway.admin("/metrics").text(), "ringway_worker_requests_total");
    let mut lines = Vec::new();
    wait_until(&format!("{exchanges} records in the access log"), || {
        lines = whole_lines(&ringway.access_log());
        lines.len() as u64 >= exchanges
    });
    let mut log: HashMap<u32, Vec<Record>> = HashMap::new();
    for line in lines {
        match Record::read(&line) {
            Some((id, record)) => log.entry(id).or_default().push(record),
            None => book.pages().wrong.push(format!("a record that belongs to no request: {line}")),
        }
    }
    log
}

fn whole_lines(path: &Path) -> Vec<String> {
    let Ok(file) = std::fs::File::open(path) else { return Vec::new() };
    BufReader::new(file).lines().map_while(Result::ok).filter(|line| line.ends_with('}')).collect()
}

/// A seed that nobody has chosen.
pub(crate) fn any_seed() -> u64 {
    static SALT: AtomicU32 = AtomicU32::new(0);
    let salt = u64::from(SALT.fetch_add(1, Ordering::Relaxed)) << 20;
    (crate::book::now_us() ^ salt ^ u64::from(std::process::id())) % 1_000_000
}
