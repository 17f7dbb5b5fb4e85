//! How much memory the node may use: what the configuration says, the limit of the control group, the machine's memory.

use crate::cpu::smallest_upwards;
use control_plane::{LimitFrom, MemoryLimit};
use std::fs::read_to_string;
use std::path::Path;

/// The smallest of all that is known. `written` stands in the configuration.
pub(crate) fn limit(written: Option<u64>) -> MemoryLimit {
    limit_under(Path::new("/"), written)
}

/// `root` is `/` outside tests.
fn limit_under(root: &Path, written: Option<u64>) -> MemoryLimit {
    let known = [
        (written, LimitFrom::Configuration),
        (of_groups(root), LimitFrom::ControlGroup),
        (of_machine(root), LimitFrom::Machine),
    ];
    let smallest = known.into_iter().filter_map(|(bytes, from)| Some(MemoryLimit { bytes: bytes?, from }));
    smallest
        .min_by_key(|limit| limit.bytes)
        .unwrap_or(MemoryLimit { bytes: u64::MAX, from: LimitFrom::Unknown })
}

/// The smallest limit on the path of our control group.
fn of_groups(root: &Path) -> Option<u64> {
    let groups = read_to_string(root.join("proc/self/cgroup")).ok()?;
    groups.lines().filter_map(|line| of_group(root, line)).min()
}

/// One line of `/proc/self/cgroup`: `0::/path` is version 2, `4:memory:/path` a controller of version 1.
fn of_group(root: &Path, line: &str) -> Option<u64> {
    let mut parts = line.splitn(3, ':');
    let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let mounts = root.join("sys/fs/cgroup");
    let read = |file: &'static str| move |group: &Path| parse(&read_to_string(group.join(file)).ok()?);
    if number == "0" && controllers.is_empty() {
        return smallest_upwards(&mounts, path, read("memory.max"));
    }
    if !controllers.split(',').any(|controller| controller == "memory") {
        return None;
    }
    let places = [controllers, "memory"];
    places
        .iter()
        .filter_map(|name| smallest_upwards(&mounts.join(name), path, read("memory.limit_in_bytes")))
        .min()
}

/// `max`, and the huge number that version 1 has for it, are no limit.
fn parse(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes < 1 << 60)
}

fn of_machine(root: &Path) -> Option<u64> {
    let info = read_to_string(root.join("proc/meminfo")).ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    const INFO: &str = "MemTotal:        1048576 kB\nMemFree:  1 kB\n";

    #[test]
    fn the_tightest_of_configuration_groups_and_machine_decides() {
        let scratch = Scratch::new();
        scratch.write("proc/meminfo", INFO);
        let limit = |written| limit_under(scratch.path(), written);
        assert_eq!(limit(None), MemoryLimit { bytes: 1 << 30, from: LimitFrom::Machine });
        scratch.write("proc/self/cgroup", "0::/pod/box\n");
        scratch.write("sys/fs/cgroup/pod/memory.max", "536870912\n");
        scratch.write("sys/fs/cgroup/pod/box/memory.max", "max\n");
        assert_eq!(limit(None), MemoryLimit { bytes: 512 << 20, from: LimitFrom::ControlGroup });
        assert_eq!(limit(Some(1 << 20)), MemoryLimit { bytes: 1 << 20, from: LimitFrom::Configuration });
        assert_eq!(limit(Some(1 << 40)).from, LimitFrom::ControlGroup, "more than there is");
    }

    #[test]
    fn version_1_has_a_huge_number_for_no_limit() {
        let scratch = Scratch::new();
        scratch.write("proc/meminfo", INFO);
        scratch.write("proc/self/cgroup", "4:memory:/docker/0123\n0::/\n");
        scratch.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(limit_under(scratch.path(), None).from, LimitFrom::Machine);
        scratch.write("sys/fs/cgroup/memory/docker/0123/memory.limit_in_bytes", "268435456\n");
        let limit = limit_under(scratch.path(), None);
        assert_eq!(limit, MemoryLimit { bytes: 256 << 20, from: LimitFrom::ControlGroup });
    }

    #[test]
    fn without_any_of_them_there_is_no_limit() {
        assert_eq!(limit_under(Scratch::new().path(), None).bytes, u64::MAX);
    }
}
