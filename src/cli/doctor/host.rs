//! What the host allows: read from `/proc` and `/sys`, nothing is changed.

use super::Finding;
use crate::cpu::Cpus;
use crate::memory;
use config::{Address, Config};
use control_plane::LimitFrom;
use runtime::IoChoice;
use std::fs::read_to_string;
use std::path::Path;

/// Everything about the host, in the order in which one would mend it. `root` is `/` outside tests.
pub(super) fn examine(root: &Path, config: Option<&Config>) -> Vec<Finding> {
    let mut found = vec![driver(), descriptors(root), memlock(root), backlog(root), syn_backlog(root)];
    found.push(ports(root));
    if let Some(config) = config {
        found.extend(listeners(root, config));
        found.extend(access_log(config));
    }
    found.extend([processors(), memory_limit(config)]);
    found.extend([huge_pages(root), overcommit(root), clock(root), conntrack(root)].into_iter().flatten());
    found
}

fn driver() -> Finding {
    match runtime::probe(IoChoice::Auto) {
        Ok(selection) => match selection.reason {
            None => Finding::good("io", format!("{} works, with all that is used of it", selection.kind)),
            Some(reason) => Finding::note("io", format!("epoll is used: {reason}")).with(
                "allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile, and \
                 `sysctl -w kernel.io_uring_disabled=0`",
            ),
        },
        Err(error) => Finding::bad("io", error.to_string()),
    }
}

/// Soft and hard limit of a line of `/proc/self/limits`; `u64::MAX` is unlimited.
fn limit(root: &Path, name: &str) -> Option<(u64, u64)> {
    let text = read_to_string(root.join("proc/self/limits")).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    let mut values = rest.split_whitespace().map(|value| match value {
        "unlimited" => Some(u64::MAX),
        value => value.parse().ok(),
    });
    Some((values.next()??, values.next()??))
}

const DESCRIPTORS: u64 = 65_536;

fn descriptors(root: &Path) -> Finding {
    let Some((soft, hard)) = limit(root, "Max open files") else {
        return Finding::note("descriptors", "the limit cannot be read".to_owned());
    };
    let clients = soft / 100 * 45;
    let what = format!("{soft} (hard limit {}): at most {clients} client connections", shown(hard));
    if soft >= DESCRIPTORS {
        return Finding::good("descriptors", what);
    }
    let remedy = if hard >= DESCRIPTORS {
        format!(
            "`ulimit -n {hard}` before the start; `LimitNOFILE={hard}` in the systemd unit",
            hard = hard.min(1 << 20)
        )
    } else {
        "`LimitNOFILE=1048576` in the systemd unit, or `--ulimit nofile=1048576` of the container".to_owned()
    };
    Finding::note("descriptors", what).with(remedy)
}

fn shown(limit: u64) -> String {
    if limit == u64::MAX { "unlimited".to_owned() } else { limit.to_string() }
}

/// Kernels before 5.12 charge rings to the limit of locked memory.
fn memlock(root: &Path) -> Finding {
    let release = read(root, "proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (soft, _) = limit(root, "Max locked memory").unwrap_or((0, 0));
    if version >= (5, 12) || soft >= 64 << 20 {
        return Finding::good(
            "memlock",
            format!("kernel {release} does not bind rings to it, or it is large enough"),
        );
    }
    Finding::note("memlock", format!("{soft} bytes on kernel {release}, which charges rings to it"))
        .with("`LimitMEMLOCK=64M` in the systemd unit, or `ulimit -l 65536`")
}

const BACKLOG: u64 = 4096;

fn backlog(root: &Path) -> Finding {
    sysctl(root, "net.core.somaxconn", BACKLOG, "backlog", "connections that may wait to be accepted")
}

fn syn_backlog(root: &Path) -> Finding {
    let name = "net.ipv4.tcp_max_syn_backlog";
    sysctl(root, name, 1024, "syn backlog", "connections that may be about to be made")
}

/// A number that should be `wanted` at least.
fn sysctl(root: &Path, name: &str, wanted: u64, topic: &'static str, what: &str) -> Finding {
    let path = format!("proc/sys/{}", name.replace('.', "/"));
    match read(root, &path).and_then(|text| text.parse::<u64>().ok()) {
        None => Finding::note(topic, format!("{name} cannot be read")),
        Some(value) if value >= wanted => Finding::good(topic, format!("{name} is {value}: {what}")),
        Some(value) => Finding::bad(topic, format!("{name} is {value}: {what}"))
            .with(format!("`sysctl -w {name}={wanted}`, and a line `{name} = {wanted}` in /etc/sysctl.d")),
    }
}

fn range(root: &Path) -> Option<(u16, u16)> {
    let text = read(root, "proc/sys/net/ipv4/ip_local_port_range")?;
    let mut ports = text.split_whitespace().map(|port| port.parse().ok());
    Some((ports.next()??, ports.next()??))
}

/// Each connection to one endpoint needs a port of its own.
fn ports(root: &Path) -> Finding {
    let Some((first, last)) = range(root) else {
        return Finding::note("ports", "net.ipv4.ip_local_port_range cannot be read".to_owned());
    };
    let count = u32::from(last.saturating_sub(first)) + 1;
    let what = format!("{first} to {last}: at most {count} connections to one endpoint and source address");
    if count >= 20_000 {
        return Finding::good("ports", what);
    }
    Finding::note("ports", what)
        .with("`sysctl -w net.ipv4.ip_local_port_range=\"10240 65535\"`, or several addresses in `source`")
}

/// Ports of listeners: whether they may be opened, and whether a connection of ours could take them first.
fn listeners(root: &Path, config: &Config) -> Vec<Finding> {
    let http = config.listeners.iter().map(|one| (&one.name, &one.binds));
    let tcp = config.tcp.iter().map(|one| (&one.name, &one.binds));
    let privileged =
        read(root, "proc/sys/net/ipv4/ip_unprivileged_port_start").and_then(|text| text.parse().ok());
    let reserved = read(root, "proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
    let mut found = Vec::new();
    for (name, binds) in http.chain(tcp) {
        for port in binds.iter().filter_map(|bind| match bind {
            Address::Ip(addr) if addr.port() != 0 => Some(addr.port()),
            _ => None,
        }) {
            if port < privileged.unwrap_or(1024) && !may_bind(root) {
                found.push(
                    Finding::bad("listener", format!("\"{name}\": port {port} is for privileged processes"))
                        .with("`AmbientCapabilities=CAP_NET_BIND_SERVICE` in the systemd unit, or `setcap cap_net_bind_service=+ep` on the binary"),
                );
            }
            let taken = range(root).is_some_and(|(first, last)| (first..=last).contains(&port));
            if taken && !is_reserved(&reserved, port) {
                found.push(
                    Finding::note("listener", format!("\"{name}\": port {port} lies where the kernel takes ports of outgoing connections, which may have it when Ringway starts"))
                        .with(format!("`sysctl -w net.ipv4.ip_local_reserved_ports={port}`, or a port outside")),
                );
            }
        }
    }
    found
}

fn is_reserved(list: &str, port: u16) -> bool {
    list.split(',').any(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        matches!((first.trim().parse::<u16>(), last.trim().parse::<u16>()), (Ok(first), Ok(last)) if (first..=last).contains(&port))
    })
}

/// CAP_NET_BIND_SERVICE, number 10, is among the effective capabilities.
fn may_bind(root: &Path) -> bool {
    let status = read(root, "proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|line| u64::from_str_radix(line.trim(), 16).ok()).is_some_and(|bits| bits & (1 << 10) != 0)
}

fn access_log(config: &Config) -> Option<Finding> {
    let config::model::AccessLogTarget::File(path) = &config.access_log.target else { return None };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let shown = path.display();
    Some(if folder.is_dir() {
        Finding::good("access log", format!("the directory of {shown} is there"))
    } else {
        Finding::bad("access log", format!("the directory of {shown} is not there"))
            .with(format!("`mkdir -p {}`, owned by the user that Ringway runs as", folder.display()))
    })
}

fn processors() -> Finding {
    let cpus = Cpus::detect();
    let what = format!("{} usable, so many workers: {}", cpus.usable.len(), cpus.workers());
    match cpus.quota {
        Some(quota) if quota.get() < cpus.usable.len() => {
            Finding::note("cpu", format!("{what}; the control group's quota pays for {quota}")).with(
                "whole CPUs in the quota; a part of one makes all workers wait at the end of each period",
            )
        }
        _ => Finding::good("cpu", what),
    }
}

const MEMORY: u64 = 128 << 20;

fn memory_limit(config: Option<&Config>) -> Finding {
    let limit = memory::limit(config.and_then(|config| config.memory).map(|memory| memory.0));
    let from = match limit.from {
        LimitFrom::Configuration => "the configuration",
        LimitFrom::ControlGroup => "the control group",
        LimitFrom::Machine => "the machine",
        LimitFrom::Unknown => return Finding::note("memory", "no limit is known".to_owned()),
    };
    let what = format!("{} MiB, from {from}", limit.bytes >> 20);
    if limit.bytes >= MEMORY {
        return Finding::good("memory", what);
    }
    Finding::note("memory", what)
        .with("128 MiB or more, or fewer workers: bounds of connections are lowered to fit")
}

fn huge_pages(root: &Path) -> Option<Finding> {
    let text = read(root, "sys/kernel/mm/transparent_hugepage/enabled")?;
    let chosen =
        text.split_whitespace().find(|word| word.starts_with('['))?.trim_matches(['[', ']']).to_owned();
    // The allocator asks for none, whatever is chosen.
    Some(Finding::good("huge pages", format!("transparent ones: {chosen}; Ringway asks for none")))
}

fn overcommit(root: &Path) -> Option<Finding> {
    let chosen = read(root, "proc/sys/vm/overcommit_memory")?;
    (chosen == "2").then(|| {
        Finding::note(
            "overcommit",
            "vm.overcommit_memory is 2: what is only reserved counts as used".to_owned(),
        )
        .with("`sysctl -w vm.overcommit_memory=0`, or a higher vm.overcommit_ratio")
    })
}

/// The clock is read once per turn of each worker; some sources need microseconds.
fn clock(root: &Path) -> Option<Finding> {
    let source = read(root, "sys/devices/system/clocksource/clocksource0/current_clocksource")?;
    let is_slow = ["hpet", "acpi_pm", "jiffies", "refined-jiffies"].contains(&source.as_str());
    Some(if is_slow {
        Finding::note("clock", format!("{source} is slow to read"))
            .with("`echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource`, if the machine has it")
    } else {
        Finding::good("clock", source)
    })
}

fn conntrack(root: &Path) -> Option<Finding> {
    let number = |file: &str| read(root, &format!("proc/sys/net/netfilter/{file}"))?.parse::<u64>().ok();
    let (count, max) = (number("nf_conntrack_count")?, number("nf_conntrack_max")?);
    let what = format!("{count} of at most {max} connections are tracked");
    Some(if count.saturating_mul(10) < max.saturating_mul(8) {
        Finding::good("conntrack", what)
    } else {
        let more = max.saturating_mul(4);
        Finding::bad("conntrack", what).with(format!(
            "`sysctl -w net.netfilter.nf_conntrack_max={more}`; new connections are dropped when it is full"
        ))
    })
}

fn read(root: &Path, path: &str) -> Option<String> {
    read_to_string(root.join(path)).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;
    use crate::scratch::Scratch;

    const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units\n\
        Max open files            1024                 1048576              files\n\
        Max locked memory         65536                65536                bytes\n";

    #[test]
    fn small_limits_are_found_with_the_exact_remedy() {
        let scratch = Scratch::new();
        let root = scratch.path();
        scratch.write("proc/self/limits", LIMITS);
        scratch.write("proc/sys/net/core/somaxconn", "128\n");
        scratch.write("proc/sys/net/ipv4/ip_local_port_range", "32768\t40000\n");
        scratch.write("proc/sys/kernel/osrelease", "5.10.0-8-amd64\n");
        scratch.write("proc/sys/net/netfilter/nf_conntrack_count", "900\n");
        scratch.write("proc/sys/net/netfilter/nf_conntrack_max", "1000\n");
        scratch.write("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n");
        let descriptors = descriptors(root);
        assert!(
            descriptors.level == Level::Note && descriptors.remedy().contains("LimitNOFILE=1048576"),
            "{descriptors:?}"
        );
        let backlog = backlog(root);
        assert!(
            backlog.level == Level::Bad && backlog.remedy().contains("sysctl -w net.core.somaxconn=4096"),
            "{backlog:?}"
        );
        assert_eq!(ports(root).level, Level::Note);
        assert_eq!(memlock(root).level, Level::Note);
        assert_eq!(conntrack(root).map(|found| found.level), Some(Level::Bad));
        assert_eq!(clock(root).map(|found| found.level), Some(Level::Note));
        assert_eq!(overcommit(root), None, "what is not there is not told");
        scratch.write("proc/sys/kernel/osrelease", "6.1.0-8-amd64\n");
        scratch.write("proc/sys/net/core/somaxconn", "8192\n");
        assert_eq!([memlock(root).level, super::backlog(root).level], [Level::Good, Level::Good]);
    }

    #[test]
    fn ports_of_listeners_are_held_against_those_of_the_kernel() {
        let scratch = Scratch::new();
        scratch.write("proc/sys/net/ipv4/ip_local_port_range", "32768 60999\n");
        scratch.write("proc/sys/net/ipv4/ip_unprivileged_port_start", "1024\n");
        scratch.write("proc/self/status", "Name:\tx\nCapEff:\t0000000000000000\n");
        let address = |text: &str| Address::Ip(text.parse().expect("an address"));
        let binds = [address("127.0.0.1:80"), address("127.0.0.1:40000"), address("127.0.0.1:8080")];
        let config = config::from_args(&binds, &[address("127.0.0.1:9001")]);
        let told = |found: Vec<Finding>| found.iter().map(|one| one.level).collect::<Vec<_>>();
        assert_eq!(told(listeners(scratch.path(), &config)), [Level::Bad, Level::Note]);
        scratch.write("proc/self/status", "CapEff:\t0000000000000400\n");
        scratch.write("proc/sys/net/ipv4/ip_local_reserved_ports", "39000-40000,50000\n");
        assert_eq!(told(listeners(scratch.path(), &config)), []);
    }

    #[test]
    fn this_machine_can_be_examined() {
        let found = examine(Path::new("/"), None);
        assert!(found.len() >= 8, "{found:?}");
        assert!(
            found
                .iter()
                .all(|one| one.level == Level::Good || one.topic == "overcommit" || !one.what.is_empty())
        );
    }
}
