//! `ringway demo`: three upstreams and a Ringway before them in one process, with figures once a second.
//!
//! The Ringway is the real one, started exactly as `ringway run` starts it, on the configuration that stands in
//! `configs/demo.kdl`; the addresses that it takes from variables are free ones on loopback.

mod client;
mod live;
mod site;
mod upstreams;

use crate::args::Demo;
use crate::check;
use crate::exit::{Exit, complain, print, say};
use crate::serve::{Main, Watch};
use crate::start::{self, Node};
use base::addr::Addr;
use config::{Environment, Format, Loaded, Sealed};
use live::Live;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use upstreams::Upstreams;

/// The configuration that the demo runs, as it stands in the repository.
const CONFIGURATION: &str = include_str!("../../../configs/demo.kdl");

/// Name and delay of each embedded upstream, in the order of `DEMO_A` to `DEMO_C`.
const PEERS: [(&str, Duration); 3] = [
    ("fast", Duration::from_millis(1)),
    ("middle", Duration::from_millis(20)),
    ("slow", Duration::from_millis(100)),
];

pub(crate) fn demo(args: Demo) -> Exit {
    if args.print_config {
        return print(CONFIGURATION);
    }
    perform(&args).unwrap_or_else(|exit| exit)
}

fn perform(args: &Demo) -> Result<Exit, Exit> {
    let failed = |what: &'static str| {
        move |error: io::Error| complain(Exit::Failed, format_args!("{what}: {error}"), None)
    };
    let main = Main::new().map_err(failed("signals"))?;
    let upstreams = Upstreams::start().map_err(failed("embedded upstreams"))?;
    let node = start::start(configuration(upstreams.addrs())?, start::From::default())?;
    let Some(web) = node.listeners.iter().find_map(|(_, addr)| addr.ip()) else {
        return Err(complain(Exit::Failed, "the demo has no listener", None));
    };
    if let Some(connections) = args.load {
        upstreams.load(web, connections);
    }
    let admin = node.control.admin_addr().and_then(Addr::ip);
    let exit = print(&teach(web, admin, upstreams.addrs(), args.load));
    if exit != Exit::Good {
        return Err(exit);
    }
    let mut watched = Watched { live: Live::new(&node), seconds_left: args.seconds };
    let exit = main.serve(node, std::time::Duration::ZERO, &mut watched);
    upstreams.stop();
    say("the demo has ended");
    Ok(exit)
}

struct Watched {
    live: Live,
    seconds_left: Option<u32>,
}

impl Watch for Watched {
    fn tick(&mut self, node: &Node) -> bool {
        // Whoever closed our output does not want to see more.
        let shown = print(&self.live.tick(node)) == Exit::Good;
        if let Some(left) = &mut self.seconds_left {
            *left = left.saturating_sub(1);
        }
        shown && self.seconds_left != Some(0)
    }
}

/// The embedded configuration, on free ports and before these endpoints.
fn configuration(endpoints: &[SocketAddr]) -> Result<Loaded, Exit> {
    let variables = Variables { endpoints };
    config::parse(CONFIGURATION, "configs/demo.kdl", Format::Kdl, &variables).map_err(|problems| {
        check::report(&problems.0);
        complain(Exit::Refused, "the embedded configuration does not load", None)
    })
}

/// What the configuration takes from outside: the addresses, and nothing else.
struct Variables<'a> {
    endpoints: &'a [SocketAddr],
}

impl Environment for Variables<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        let endpoint = |index: usize| self.endpoints.get(index).map(SocketAddr::to_string);
        match name {
            "DEMO_LISTEN" | "DEMO_ADMIN" => Some("127.0.0.1:0".to_owned()),
            "DEMO_A" => endpoint(0),
            "DEMO_B" => endpoint(1),
            "DEMO_C" => endpoint(2),
            _ => None,
        }
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<String> {
        Sealed.read(path, bytes_max)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        Sealed.list(directory)
    }
}

/// What to try, with the real addresses.
fn teach(web: SocketAddr, admin: Option<SocketAddr>, endpoints: &[SocketAddr], load: Option<u16>) -> String {
    let mut lines = vec!["\nThree upstreams run behind Ringway:".to_owned()];
    for ((name, delay), addr) in PEERS.iter().zip(endpoints) {
        lines.push(format!("  {name:<7} {addr}  answers after {} ms", delay.as_millis()));
    }
    let mut section = |title: &str, commands: &[(String, &str)]| {
        lines.push(format!("\n{title}"));
        lines.extend(commands.iter().map(|(command, remark)| format!("  {command:<56} {remark}")));
    };
    section(
        "Try it, in another terminal:",
        &[
            (format!("curl -i http://{web}/"), "the faster of two answers; ask again, and again"),
            (format!("curl -i http://{web}/hello"), "answered by Ringway itself"),
            (format!("curl -i http://{web}/turn/"), "the three in turn"),
            (
                format!("curl -H 'X-User: ann' http://{web}/sticky/"),
                "always the same for ann; try other names",
            ),
        ],
    );
    if load.is_none() {
        let command = format!("for i in $(seq 500); do curl -s http://{web}/ -o /dev/null; done");
        section("Give it something to do (or start `ringway demo --load`):", &[(command, "")]);
    }
    section(
        "Break an upstream and watch who takes over:",
        &[
            (format!("curl -X POST http://{}/break", endpoints[0]), "`fast` answers 503 from now on"),
            (format!("curl -X POST 'http://{}/break?how=close'", endpoints[1]), "`middle` hangs up instead"),
            (format!("curl -X POST http://{}/heal", endpoints[0]), "`fast` is well again"),
        ],
    );
    if let Some(admin) = admin {
        section(
            "Look inside:",
            &[
                (format!("ringway status --admin {admin}"), "workers, connections, endpoints"),
                (format!("curl -s http://{admin}/v1/upstreams"), "the same for machines"),
                (format!("curl -s http://{admin}/metrics | grep phase"), "where the time goes"),
            ],
        );
    }
    lines.push("\nCtrl-C ends it. `ringway demo --print-config` prints the configuration.\n\n".to_owned());
    lines.join("\n")
}

#[cfg(test)]
mod tests;
