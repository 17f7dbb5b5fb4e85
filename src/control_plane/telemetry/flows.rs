//! Metrics of TCP listeners, and of what passes through tunnels.

use super::exposition::{Exposition, Kind};
use crate::node::Node;
use base::stat::Counter;
use traffic::Cause;
use traffic::flow::{FlowShard, FlowStats, Moved, Reason};
use traffic::snapshot::Snapshot;

/// All families about bytes that pass through unread.
pub(super) fn collect(out: &mut Exposition, node: &Node, snapshot: &Snapshot) {
    of_listeners(out, snapshot);
    of_tunnels(out, node);
}

/// One figure of a shard.
type Figure = fn(&FlowShard) -> u64;

fn of_listeners(out: &mut Exposition, snapshot: &Snapshot) {
    let flows: Vec<(&str, &FlowStats)> = snapshot
        .listeners
        .iter()
        .filter_map(|listener| Some((&*listener.name, &*listener.passthrough()?.stats)))
        .collect();
    let mut family = out.family("ringway_tcp_flows_open", Kind::Gauge, "Open flows by TCP listener.");
    for (name, stats) in &flows {
        family.whole(&[("listener", name)], stats.open());
    }
    let figures: [(&str, &str, Figure); 5] = [
        ("ringway_tcp_flows", "Flows that were accepted, by TCP listener.", |shard| shard.opened.get()),
        ("ringway_tcp_received_bytes", "Bytes from clients to endpoints.", |shard| {
            shard.moved.up_bytes.get()
        }),
        ("ringway_tcp_sent_bytes", "Bytes from endpoints to clients.", |shard| shard.moved.down_bytes.get()),
        ("ringway_tcp_spliced_bytes", "Bytes of both directions that the kernel passed on.", |shard| {
            shard.moved.spliced_bytes.get()
        }),
        ("ringway_tcp_copied_bytes", "Bytes of both directions that were copied.", |shard| {
            copied(&shard.moved)
        }),
    ];
    for (name, help, figure) in figures {
        let mut family = out.family(name, Kind::Counter, help);
        for (listener, stats) in &flows {
            family.whole(&[("listener", listener)], stats.sum(figure));
        }
    }
    let help = "Flows that ended, by TCP listener and cause; flow_closed is an orderly end.";
    let mut family = out.family("ringway_tcp_flow_ends", Kind::Counter, help);
    for (listener, stats) in &flows {
        for &cause in Cause::ALL {
            let count = stats.sum(|shard| shard.ended(cause));
            if count > 0 || cause == Cause::FlowClosed {
                family.whole(&[("listener", listener), ("cause", cause.name())], count);
            }
        }
    }
    let help = "Changes between copying and pipes, by TCP listener and reason.";
    let mut family = out.family("ringway_tcp_switches", Kind::Counter, help);
    for (listener, stats) in &flows {
        for reason in Reason::ALL {
            let count = stats.sum(|shard| shard.moved.switches(reason));
            family.whole(&[("listener", listener), ("reason", reason.name())], count);
        }
    }
}

/// One figure of what has moved.
type OfMoved = fn(&Moved) -> &Counter;

fn of_tunnels(out: &mut Exposition, node: &Node) {
    let sum = |figure: OfMoved| node.stats.iter().map(|worker| figure(&worker.tunnels).get()).sum::<u64>();
    let figures: [(&str, &str, OfMoved); 3] = [
        ("ringway_tunnel_received_bytes", "Bytes of tunnels from clients.", |moved| &moved.up_bytes),
        ("ringway_tunnel_sent_bytes", "Bytes of tunnels to clients.", |moved| &moved.down_bytes),
        ("ringway_tunnel_spliced_bytes", "Those of both that the kernel passed on.", |moved| {
            &moved.spliced_bytes
        }),
    ];
    for (name, help, figure) in figures {
        out.family(name, Kind::Counter, help).whole(&[], sum(figure));
    }
}

fn copied(moved: &Moved) -> u64 {
    // Spliced first: it is counted last, so that the difference cannot be negative.
    let spliced = moved.spliced_bytes.get();
    (moved.up_bytes.get() + moved.down_bytes.get()).saturating_sub(spliced)
}
