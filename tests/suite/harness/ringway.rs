//! Ringway itself: the real binary with a configuration of the test's own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::{Client, Response};
use super::process::Process;
use super::{Folder, Io, PATIENCE, pause, wait_until};

/// Gauges of `/v1/status` that have to be back where they were once all connections are gone.
const GAUGES: [&str; 3] = ["live_ops", "leases", "sockets"];

/// A running Ringway.
pub(crate) struct Ringway {
    process: Process,
    admin: SocketAddr,
    /// Gauges and descriptors before the first connection.
    baseline: Held,
    folder: Folder,
    io: Io,
}

/// The usual configuration, with what a test adds to it: one listener `web`, one upstream `origin` with the
/// given endpoints, one site that forwards everything.
#[derive(Default)]
pub(crate) struct Setup<'a> {
    pub(crate) endpoints: Vec<SocketAddr>,
    /// Further nodes at the top of the file.
    pub(crate) top: &'a str,
    /// Further nodes in `listener`, `upstream`, and in the route `/`.
    pub(crate) listener: &'a str,
    pub(crate) upstream: &'a str,
    pub(crate) route: &'a str,
    /// Further routes of the site.
    pub(crate) routes: &'a str,
}

impl<'a> Setup<'a> {
    /// Forwards everything to one endpoint.
    pub(crate) fn to(endpoint: SocketAddr) -> Setup<'a> {
        Setup { endpoints: vec![endpoint], ..Setup::default() }
    }

    /// Starts Ringway with it.
    #[track_caller]
    pub(crate) fn start(&self, io: Io) -> Ringway {
        Ringway::start(&self.text(), io)
    }

    /// The configuration as text.
    pub(crate) fn text(&self) -> String {
        let Setup { top, listener, upstream, route, routes, .. } = self;
        let endpoints: String = self.endpoints.iter().map(|a| format!("endpoint \"{a}\"\n")).collect();
        format!(
            "{top}
listener \"web\" {{ bind \"127.0.0.1:0\"
{listener}
}}
upstream \"origin\" {{ {endpoints}
{upstream}
}}
site \"*\" {{
    route \"/\" upstream=\"origin\" {{
{route}
    }}
{routes}
}}
"
        )
    }
}

/// What a process holds at one moment.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    gauges: Vec<(&'static str, Option<u64>)>,
    descriptors: usize,
}

impl Ringway {
    /// Starts the binary on `configuration` and waits until it is ready.
    ///
    /// The harness adds what every test needs: the driver, two workers unless the test says otherwise, the
    /// admin listener and a JSON access log. Listeners bind `127.0.0.1:0`; see [`Ringway::address`].
    #[track_caller]
    pub(crate) fn start(configuration: &str, io: Io) -> Ringway {
        Ringway::start_through(&[], configuration, io)
    }

    /// The same through a command that ends by executing its arguments, such as `prlimit --nofile=256`.
    #[track_caller]
    pub(crate) fn start_through(wrapper: &[&str], configuration: &str, io: Io) -> Ringway {
        Ringway::started(Ringway::spawn_through(wrapper, configuration, io), io)
    }

    /// The same with further words on the command line.
    #[track_caller]
    pub(crate) fn start_with(words: &[&str], configuration: &str, io: Io) -> Ringway {
        Ringway::started(Ringway::spawn_in(Folder::new(), (&[], words), configuration, io), io)
    }

    #[track_caller]
    fn started((mut process, folder): (Process, Folder), io: Io) -> Ringway {
        let admin = process.wait_for_line("the address of the admin listener", |line| {
            line.split_once("admin on ").and_then(|(_, rest)| rest.trim().parse().ok())
        });
        wait_until_ready(&mut process, admin);
        let baseline = Held { gauges: Vec::new(), descriptors: 0 };
        let mut ringway = Ringway { process, admin, folder, baseline, io };
        ringway.baseline = ringway.settled();
        ringway
    }

    /// Starts the binary and waits for nothing: for configurations that it is to refuse.
    #[track_caller]
    pub(crate) fn spawn(configuration: &str, io: Io) -> (Process, Folder) {
        Ringway::spawn_through(&[], configuration, io)
    }

    /// [`Ringway::spawn`] through a command, as [`Ringway::start_through`].
    #[track_caller]
    pub(crate) fn spawn_through(wrapper: &[&str], configuration: &str, io: Io) -> (Process, Folder) {
        Ringway::spawn_in(Folder::new(), (wrapper, &[]), configuration, io)
    }

    /// `words` stand before the command and behind it.
    #[track_caller]
    fn spawn_in(folder: Folder, words: (&[&str], &[&str]), configuration: &str, io: Io) -> (Process, Folder) {
        let file = folder.path().join("ringway.kdl");
        std::fs::write(&file, complete(configuration, io, &folder)).expect("write the configuration");
        let file = file.display().to_string();
        let mut command = words.0.to_vec();
        command.extend([binary(), "run", &file]);
        command.extend(words.1);
        (Process::start(command[0], &command[1..]), folder)
    }

    /// Where the listener of that name listens, as the binary says on standard error.
    #[track_caller]
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        let mark = format!("(listener \"{listener}\")");
        self.process.wait_for_line(&mark, |line| line.contains(&mark).then(|| listening_address(line))?)
    }

    /// A connection to the listener `web`.
    #[track_caller]
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address("web"))
    }

    /// One request to the admin listener on a connection of its own.
    #[track_caller]
    pub(crate) fn admin(&self, path: &str) -> Response {
        match self.try_admin(path) {
            Some(response) => response,
            None => panic!("no answer from {path} of the admin listener; it said:\n{}", self.stderr()),
        }
    }

    /// The same where it may have stopped already.
    pub(crate) fn try_admin(&self, path: &str) -> Option<Response> {
        admin_get(self.admin, path)
    }

    /// A change through the admin API: JSON sent to `path`.
    #[track_caller]
    pub(crate) fn change(&self, path: &str, json: &str) -> Response {
        let mut client = Client::connect(self.admin);
        let (admin, length) = (self.admin, json.len());
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: {admin}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{json}"
        ));
        client.response("POST")
    }

    /// The file that it was started with.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("ringway.kdl")
    }

    /// Another configuration in the file, with what the harness adds; nobody is told.
    #[track_caller]
    pub(crate) fn rewrite(&self, configuration: &str) {
        let new = self.file().with_extension("new");
        std::fs::write(&new, complete(configuration, self.io, &self.folder))
            .expect("write the configuration");
        std::fs::rename(new, self.file()).expect("replace the configuration");
    }

    /// Another configuration in the file, in force when this returns; what `/v1/reload` has answered.
    #[track_caller]
    pub(crate) fn reload(&self, configuration: &str) -> Value {
        self.rewrite(configuration);
        let answer = self.change("/v1/reload", "{}");
        assert_eq!(answer.status, 200, "{}", answer.text());
        serde_json::from_slice(&answer.body).expect("it is JSON")
    }

    /// A subcommand that asks this one: status, standard output, standard error.
    #[track_caller]
    pub(crate) fn command(&self, words: &[&str]) -> (Option<i32>, String, String) {
        let output = std::process::Command::new(binary())
            .args(words)
            .args(["--admin", &self.admin.to_string()])
            .output()
            .expect("the binary runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// What `/v1/upstreams` says of the upstream `origin`.
    #[track_caller]
    pub(crate) fn upstream(&self) -> Value {
        let all: Value = serde_json::from_slice(&self.admin("/v1/upstreams").body).expect("it is JSON");
        let mut upstreams = all["upstreams"].as_array().expect("a list").iter();
        upstreams.find(|upstream| upstream["name"] == "origin").expect("the upstream of the suite").clone()
    }

    /// A counter by its name without `_total`, over all workers and labels.
    #[track_caller]
    pub(crate) fn counted(&self, name: &str) -> u64 {
        let text = self.admin("/metrics").text();
        let of = |line: &str| {
            line.strip_prefix(name)?.strip_prefix("_total{")?.rsplit_once(' ')?.1.parse::<u64>().ok()
        };
        text.lines().filter_map(of).sum()
    }

    /// Where the admin API listens.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// `/v1/status` as JSON.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        let response = self.admin("/v1/status");
        assert_eq!(response.status, 200, "{}", response.text());
        serde_json::from_slice(&response.body).expect("/v1/status is JSON")
    }

    /// Standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.process.stderr()
    }

    /// Waits until standard error holds `text`: a line is written after what it tells, and read by a thread of ours.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) {
        wait_until(&format!("it says {text:?}"), || self.stderr().contains(text));
    }

    /// Process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// User and system time used so far.
    pub(crate) fn cpu(&self) -> Duration {
        self.process.cpu()
    }

    /// Resident memory now.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/smaps_rollup", self.id());
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// Where the access log is written.
    pub(crate) fn access_log(&self) -> PathBuf {
        self.folder.path().join("access.log")
    }

    /// The records of the access log, once there are at least `count`.
    #[track_caller]
    pub(crate) fn records(&self, count: usize) -> Vec<Value> {
        let file = self.access_log();
        let mut records = Vec::new();
        wait_until(&format!("{count} records in the access log"), || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            let whole = text.rsplit_once('\n').map(|(whole, _)| whole).unwrap_or_default();
            records =
                whole.lines().map(|line| serde_json::from_str(line).expect("a record is JSON")).collect();
            records.len() >= count
        });
        records
    }

    /// Sends a signal to the process.
    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Waits for the end after a signal that the test sent itself, and asserts that it is a clean one.
    #[track_caller]
    pub(crate) fn expect_clean_exit(self) {
        let (clean, said) = self.expect_exit();
        assert!(clean, "did not end well and said:\n{said}");
    }

    /// Waits for the end, good or bad: whether it was good, and what was said on standard error.
    #[track_caller]
    pub(crate) fn expect_exit(mut self) -> (bool, String) {
        let status = self.process.wait();
        let said = self.stderr();
        assert!(status.is_some(), "does not end; it said:\n{said}");
        assert!(!said.contains("panicked at"), "a thread panicked:\n{said}");
        (status.is_some_and(|status| status.success()), said)
    }

    /// [`Ringway::stop`] after everything that keeps connections open (clients, origins) has been dropped.
    #[track_caller]
    pub(crate) fn stop_after<T>(self, others: T) {
        drop(others);
        self.stop();
    }

    /// [`Ringway::stop`] where workers have panicked, as the test wanted.
    #[track_caller]
    pub(crate) fn stop_although_it_panicked(self) {
        self.expect_baseline();
        self.signal("TERM");
        assert_eq!(self.exit_status(), Some(0));
    }

    /// Waits for the end, whatever it says.
    #[track_caller]
    pub(crate) fn exit_status(mut self) -> Option<i32> {
        let status = self.process.wait();
        assert!(status.is_some(), "does not end; it said:\n{}", self.stderr());
        status.and_then(|status| status.code())
    }

    /// The end of every test: with all clients and origins gone, everything that was held for them has been
    /// given back, and SIGTERM leads to a clean exit.
    #[track_caller]
    pub(crate) fn stop(self) {
        self.expect_baseline();
        self.signal("TERM");
        self.expect_clean_exit();
    }

    #[track_caller]
    fn expect_baseline(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let held = self.held();
            if held.gauges == self.baseline.gauges && held.descriptors <= self.baseline.descriptors {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "not given back: {held:?}, it started with {:?}; it said:\n{}",
                self.baseline,
                self.stderr()
            );
            pause();
        }
    }

    fn held(&self) -> Held {
        let status = self.status();
        let gauges = GAUGES.map(|name| (name, sum_of(&status, name))).to_vec();
        Held { gauges, descriptors: self.process.descriptors() }
    }

    /// What is held once two readings in a row agree: the harness' own requests leave a connection behind
    /// for a moment.
    fn settled(&self) -> Held {
        // Ready means that the sockets are bound; a worker says that it listens when it has made its first turn.
        wait_until("every worker listens", || {
            let status = self.status();
            let workers = status["workers"].as_array();
            workers.is_some_and(|all| all.iter().all(|worker| worker["live_ops"].as_u64() > Some(0)))
        });
        let mut last = self.held();
        for _ in 0..100 {
            pause();
            let now = self.held();
            if now == last {
                break;
            }
            last = now;
        }
        last
    }
}

/// A test's configuration with what the harness adds.
fn complete(configuration: &str, io: Io, folder: &Folder) -> String {
    let workers = if configuration.contains("workers ") { "" } else { "workers 2\n" };
    let log = folder.path().join("access.log");
    format!(
        "io \"{}\"\n{workers}admin {{ bind \"127.0.0.1:0\" }}\naccess-log {{ file \"{}\"; format \"json\" }}\n\
         {configuration}",
        io.name(),
        log.display()
    )
}

static OTHER_BINARY: OnceLock<String> = OnceLock::new();

/// Tests another Ringway than the one that was built with this program.
pub(crate) fn use_binary(path: &str) {
    OTHER_BINARY.get_or_init(|| path.to_string());
}

pub(crate) fn binary() -> &'static str {
    OTHER_BINARY.get().map_or(env!("CARGO_BIN_EXE_ringway"), String::as_str)
}

/// `listening on ADDRESS (...)`, with whatever a log line puts before it.
fn listening_address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening on ")?;
    rest.split_whitespace().next()?.parse().ok()
}

fn wait_until_ready(process: &mut Process, admin: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = admin_get(admin, "/ready");
        if answer.as_ref().is_some_and(|answer| answer.status == 200) {
            return;
        }
        assert!(
            process.runs() && Instant::now() < deadline,
            "not ready: {:?}; it said:\n{}",
            answer.map(|answer| answer.text()),
            process.stderr()
        );
        pause();
    }
}

fn admin_get(admin: SocketAddr, path: &str) -> Option<Response> {
    let mut client = Client::try_connect(admin)?;
    client.send(format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n"));
    client.try_response("GET").ok()
}

/// Sum of all numbers under that key, anywhere in the document; None when there is none.
fn sum_of(document: &Value, key: &str) -> Option<u64> {
    match document {
        Value::Object(members) => members
            .iter()
            .filter_map(|(name, value)| if name == key { value.as_u64() } else { sum_of(value, key) })
            .reduce(|a, b| a + b),
        Value::Array(members) => members.iter().filter_map(|member| sum_of(member, key)).reduce(|a, b| a + b),
        _ => None,
    }
}
