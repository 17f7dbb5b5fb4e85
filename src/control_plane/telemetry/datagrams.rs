//! Metrics of UDP listeners.

use super::exposition::{Exposition, Kind};
use traffic::Cause;
use traffic::snapshot::Snapshot;
use traffic::udp::{Lost, UdpShard, UdpStats};

/// One figure of a shard.
type Figure = fn(&UdpShard) -> u64;

/// One figure of a shard by cause.
type OfCause = fn(&UdpShard, Cause) -> u64;

/// All families about datagrams.
pub(super) fn collect(out: &mut Exposition, snapshot: &Snapshot) {
    let listeners: Vec<(&str, &UdpStats)> = snapshot
        .listeners
        .iter()
        .filter_map(|listener| Some((&*listener.name, &*listener.datagrams()?.stats)))
        .collect();
    let mut family = out.family("ringway_udp_flows_open", Kind::Gauge, "Open flows by UDP listener.");
    for (name, stats) in &listeners {
        family.whole(&[("listener", name)], stats.open());
    }
    let figures: [(&str, &str, Figure); 7] = [
        ("ringway_udp_flows", "Flows that were opened, by UDP listener.", |shard| shard.opened.get()),
        ("ringway_udp_flows_moved", "Flows that were given another endpoint.", |shard| shard.moved.get()),
        ("ringway_udp_received_datagrams", "Datagrams of clients that were passed on.", |shard| {
            shard.datagrams_in.get()
        }),
        ("ringway_udp_received_bytes", "Bytes in them.", |shard| shard.bytes_in.get()),
        ("ringway_udp_sent_datagrams", "Datagrams of endpoints that were passed on.", |shard| {
            shard.datagrams_out.get()
        }),
        ("ringway_udp_sent_bytes", "Bytes in them.", |shard| shard.bytes_out.get()),
        ("ringway_udp_unreachable", "Times the network told that an endpoint cannot be reached.", |shard| {
            shard.unreachable.get()
        }),
    ];
    for (name, help, figure) in figures {
        let mut family = out.family(name, Kind::Counter, help);
        for (listener, stats) in &listeners {
            family.whole(&[("listener", listener)], stats.sum(figure));
        }
    }
    let of_causes: [(&str, &str, OfCause, Cause); 2] = [
        ("ringway_udp_flow_ends", "Flows that ended, by cause.", UdpShard::ended, Cause::FlowIdle),
        (
            "ringway_udp_flows_refused",
            "Flows that were not opened, by cause.",
            UdpShard::refused,
            Cause::FlowsMax,
        ),
    ];
    for (name, help, figure, always) in of_causes {
        let mut family = out.family(name, Kind::Counter, help);
        for (listener, stats) in &listeners {
            for &cause in Cause::ALL {
                let count = stats.sum(|shard| figure(shard, cause));
                if count > 0 || cause == always {
                    family.whole(&[("listener", listener), ("cause", cause.name())], count);
                }
            }
        }
    }
    let mut family =
        out.family("ringway_udp_lost", Kind::Counter, "Datagrams that were not passed on, by reason.");
    for (listener, stats) in &listeners {
        for lost in Lost::ALL {
            let labels = [("listener", *listener), ("reason", lost.name())];
            family.whole(&labels, stats.sum(|shard| shard.lost(lost)));
        }
    }
}
