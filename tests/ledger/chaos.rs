//! The chaos mix: everything that can go wrong goes wrong, and the books must balance.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::book::Book;
use crate::client::Client;
use crate::director;
use crate::endpoint::process::EndpointProcess;
use crate::endpoint::{Endpoint, Ways};
use crate::harness::{Io, Ringway, wait_until};
use crate::oracle::{self, Books, Record, Verdict};
use crate::plan::{Mix, Plan};

/// How large a run is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) requests: u32,
    pub(crate) connections: u32,
}

/// Of a thousand first attempts, so many go wrong.
pub(crate) const FAULTS: u32 = 250;

/// Endpoints in this process; one more is a process of its own.
const ENDPOINTS: usize = 3;

/// Runs the mix and says what was wrong.
pub(crate) fn run(io: Io, seed: u64, faults: u32, size: Size) -> Result<(), String> {
    let plan = Plan { seed, faults, mix: Mix::All, status: None };
    let book = Arc::new(Book::new(size.requests));
    let endpoints: Vec<Endpoint> = (0..ENDPOINTS)
        .map(|index| Endpoint::start(Ways::of(plan, index), own_address(index), Arc::clone(&book) as _))
        .collect();
    let process = EndpointProcess::start(Ways::of(plan, ENDPOINTS), own_address(ENDPOINTS));
    let mut addresses: Vec<SocketAddr> = endpoints.iter().map(Endpoint::address).collect();
    addresses.push(process.address());

    let ringway = Ringway::start(&configuration(&addresses), io);
    let web = ringway.address("web");
    let windows = director::windows(plan, size.requests, ENDPOINTS);
    let next = AtomicU32::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..size.connections {
            scope.spawn(|| Client::new(plan, web, &book).run(&next, size.requests));
        }
        director::direct(&windows, &next, size.requests, &endpoints, &process);
    });
    let took = began.elapsed();

    wait_for_quiet(&ringway);
    let log = read_log(&ringway, &book);
    process.end(&book);
    let dropped = ringway.admin("/metrics").text();
    ringway.stop_after(endpoints);

    let pages = book.pages();
    let books = Books { plan, pages: &pages, log: &log, endpoints: &addresses, losses: faults > 0 };
    let mut verdict = oracle::judge(&books);
    verdict.wrong.extend(lost_records(&dropped));
    println!(
        "seed {seed}, chaos on {}: {} requests in {took:.1?}, {} windows of refusal or standstill",
        io.name(),
        size.requests,
        windows.len()
    );
    report(&verdict, &pages.counts)
}

/// One loopback address per endpoint of each run, so that nobody else can take the port while it refuses.
pub(crate) fn own_address(index: usize) -> SocketAddr {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let last = u8::try_from(index + 1).expect("few endpoints");
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, high | 0x80, low, last)), 0)
}

fn configuration(endpoints: &[SocketAddr]) -> String {
    let endpoints: String = endpoints.iter().map(|address| format!("endpoint \"{address}\"\n")).collect();
    format!(
        "listener \"web\" {{ bind \"127.0.0.1:0\" }}
upstream \"pool\" {{ {endpoints}
    timeouts {{ connect \"1s\"; response-header \"1s\"; idle \"1s\" }}
}}
site \"*\" {{
    route \"/default/\" upstream=\"pool\"
    route \"/generous/\" upstream=\"pool\" {{ retry attempts=2 on=\"connect,reset,timeout,503\" }}
    route \"/key/\" upstream=\"pool\" {{
        retry attempts=2 on=\"connect,reset,timeout,503\" idempotency-key=#true
    }}
}}
"
    )
}

/// Waits until Ringway has ended all exchanges: those of clients that left go on for a while.
pub(crate) fn wait_for_quiet(ringway: &Ringway) {
    wait_until("all connections of clients are closed", || {
        let status = ringway.status();
        let workers = status["workers"].as_array().cloned().unwrap_or_default();
        workers.iter().all(|worker| worker["connections"].as_u64() == Some(0))
    });
}

/// The access log by id, once every exchange that Ringway counted is in it.
pub(crate) fn read_log(ringway: &Ringway, book: &Book) -> HashMap<u32, Vec<Record>> {
    let exchanges = counter(&ringway.admin("/metrics").text(), "ringway_worker_requests_total");
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

/// Sum of a metric over all its labels.
pub(crate) fn counter(metrics: &str, name: &str) -> u64 {
    let values = metrics.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let same = series == name || series.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'));
        same.then(|| value.parse::<u64>().ok())?
    });
    values.sum()
}

fn lost_records(metrics: &str) -> Option<String> {
    let dropped = counter(metrics, "ringway_log_dropped_total");
    (dropped > 0).then(|| format!("{dropped} records of the access log were dropped"))
}

/// Prints the tables; an error with the first things that were wrong.
pub(crate) fn report(
    verdict: &Verdict,
    counts: &std::collections::BTreeMap<String, u64>,
) -> Result<(), String> {
    println!("  outcomes:");
    for (kind, count) in &verdict.outcomes {
        println!("    {count:>8} {kind}");
    }
    println!("  what endpoints did:");
    for (kind, count) in counts {
        println!("    {count:>8} {kind}");
    }
    println!(
        "  {} requests repeated, {} attempts that no endpoint saw, {} timeouts that nobody planned",
        verdict.repeated, verdict.unseen, verdict.unplanned_timeouts
    );
    if verdict.wrong.is_empty() {
        println!("  nothing wrong");
        return Ok(());
    }
    let first: Vec<&str> = verdict.wrong.iter().take(20).map(String::as_str).collect();
    Err(format!("{} things are wrong:\n{}", verdict.wrong.len(), first.join("\n")))
}

/// A seed that nobody has chosen.
pub(crate) fn any_seed() -> u64 {
    static SALT: AtomicU32 = AtomicU32::new(0);
    let salt = u64::from(SALT.fetch_add(1, Ordering::Relaxed)) << 20;
    (crate::book::now_us() ^ salt ^ u64::from(std::process::id())) % 1_000_000
}
