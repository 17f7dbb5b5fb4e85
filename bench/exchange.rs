//! The whole life of a request on one worker: the data plane over the simulated driver, with a client and an origin
//! beside it on the same loop. The work of both, and that of the simulated network, is in the figure; system calls are
//! not.

use crate::{Case, Operation};
use base::addr::Addr;
use base::ids::{ListenerId, SocketId, WorkerId};
use base::{publish, spsc};
use data_plane::{Listening, Stop, WorkerStart};
use runtime::sim::SimOptions;
use runtime::{ConnectOptions, Listener, Runtime, Stream};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use traffic::Snapshot;
use traffic::stats::WorkerStats;

const CONFIGURATION: &str = r#"
listener "web" { bind "10.0.0.1:8080"; }
upstream "app" { endpoint "10.0.1.1:80"; }
site "*" { route "/" upstream="app"; }
"#;

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

const RESPONSE: &str = "HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Type: text/plain\r\nContent-Length: 16\r\n\r\n\
    0123456789abcdef";

pub(crate) fn proxying() -> Vec<Case> {
    vec![Case::new("exchange", "simulated", proxy)]
}

/// Exchanges one after the other on one kept connection at each side.
fn proxy() -> Operation {
    let loaded = config::parse(CONFIGURATION, "bench.kdl", config::Format::Kdl, &config::Sealed)
        .unwrap_or_else(|problems| panic!("{problems:?}"));
    let mut snapshot = control_plane::compile(&loaded.config, 1, None).expect("it was checked").snapshot;
    snapshot.access_log = false;
    // Otherwise connections would end within a long measurement.
    for listener in &mut snapshot.listeners {
        listener.requests_max = u32::MAX;
    }
    let snapshot = Arc::new(snapshot);
    Box::new(move |times| run(Arc::clone(&snapshot), times))
}

fn run(snapshot: Arc<Snapshot>, times: u32) {
    let (rt, net) = Runtime::simulated(SimOptions::default()).expect("a world");
    let front = net.bind(SocketAddr::from(([10, 0, 0, 1], 8080))).expect("nobody else is there");
    let origin = net.bind(SocketAddr::from(([10, 0, 1, 1], 80))).expect("nobody else is there");
    let origin = rt.listen(origin).expect("bound just now");
    let to = front.addr().clone();
    let (_publisher, snapshots) = publish::channel();
    let (log, _records) = spsc::channel(1 << 16);
    let stop = Arc::new(Stop::default());
    let start = WorkerStart {
        id: WorkerId(0),
        snapshot,
        snapshots,
        listening: vec![Listening { id: SocketId(0), listener: ListenerId(0), generation: 1, socket: front }],
        arrivals: data_plane::arrivals().1,
        stats: Arc::new(WorkerStats::default()),
        log,
        stop: Arc::clone(&stop),
        node: Arc::new(traffic::overload::Node::new(traffic::overload::Supply::UNLIMITED, 1)),
        seed: 1,
    };
    rt.spawn(accept(rt.clone(), origin));
    let client = rt.clone();
    rt.spawn(async move {
        ask(&client, &to, times).await;
        stop.now();
    });
    data_plane::run(&rt, start).expect("a simulated world does not fail");
}

async fn accept(rt: Runtime, origin: Listener) {
    while let Ok(stream) = origin.accept().await {
        rt.spawn(answer(stream));
    }
}

/// Answers whatever ends with an empty line.
async fn answer(stream: Stream) {
    while let Ok(request) = stream.recv().await {
        if request.is_empty() {
            return;
        }
        assert!(request.ends_with(b"\r\n\r\n"), "small heads arrive whole");
        stream.write(|out| out.extend_from_slice(RESPONSE.as_bytes()));
    }
}

async fn ask(rt: &Runtime, to: &Addr, times: u32) {
    let options = ConnectOptions { source: Some(CLIENT), ..ConnectOptions::default() };
    let stream = rt.connect(to, options).await.expect("somebody listens");
    for _ in 0..times {
        stream.write(|out| out.extend_from_slice(crate::heads::WRK.as_bytes()));
        let response = stream.recv().await.expect("the connection is kept");
        assert!(response.starts_with(b"HTTP/1.1 200") && response.ends_with(b"\r\n\r\n0123456789abcdef"));
    }
}
