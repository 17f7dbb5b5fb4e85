//! How many workers the machine has room for: the affinity mask and the CPU quota of the control group both count.
//!
//! A container with a quota of 1.5 CPUs on a machine of 64 gets two workers: with 64 they would be throttled together
//! for most of every period.

use std::num::NonZeroUsize;
use std::path::Path;

/// CPUs that this process may keep busy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cpus {
    /// In the kernel's numbering, ascending; at least one.
    pub(crate) usable: Vec<usize>,
    /// Quota of the control group, rounded up; `None` when there is none.
    pub(crate) quota: Option<NonZeroUsize>,
}

impl Cpus {
    /// Asks the kernel. A mask that cannot be read counts as the one CPU that we run on.
    pub(crate) fn detect() -> Cpus {
        let mut usable = runtime::host::usable_cpus().unwrap_or_default();
        if usable.is_empty() {
            usable.push(0);
        }
        Cpus { usable, quota: quota(Path::new("/")) }
    }

    /// Workers for `workers "auto"`.
    pub(crate) fn workers(&self) -> usize {
        self.quota.map_or(self.usable.len(), |quota| quota.get().min(self.usable.len()))
    }

    /// The CPU to keep worker number `worker` of `workers` on.
    ///
    /// Only when there is one worker for each CPU: fewer workers leave the choice to the scheduler, because several
    /// processes that each take the first CPUs would crowd there while the others idle.
    pub(crate) fn place(&self, worker: usize, workers: usize) -> Option<usize> {
        if workers == self.usable.len() { self.usable.get(worker).copied() } else { None }
    }
}

/// The smallest quota on the path of our control group, in whole CPUs, rounded up. `root` is `/` outside tests.
fn quota(root: &Path) -> Option<NonZeroUsize> {
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    groups.lines().filter_map(|line| quota_of_group(root, line)).min()
}

/// One line of `/proc/self/cgroup`: `0::/path` is version 2, `4:cpu,cpuacct:/path` a controller of version 1.
fn quota_of_group(root: &Path, line: &str) -> Option<NonZeroUsize> {
    let mut parts = line.splitn(3, ':');
    let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let mounts = root.join("sys/fs/cgroup");
    if number == "0" && controllers.is_empty() {
        let read = |group: &Path| parse_cpu_max(&std::fs::read_to_string(group.join("cpu.max")).ok()?);
        return smallest_upwards(&mounts, path, read);
    }
    if !controllers.split(',').any(|controller| controller == "cpu") {
        return None;
    }
    let read = |group: &Path| {
        let number = |file: &str| std::fs::read_to_string(group.join(file)).ok();
        parse_cfs(&number("cpu.cfs_quota_us")?, &number("cpu.cfs_period_us")?)
    };
    // Controllers that are mounted together have a link for each name, but not everywhere.
    [controllers, "cpu"].iter().filter_map(|name| smallest_upwards(&mounts.join(name), path, read)).min()
}

/// The smallest limit of the group and all groups above it. A container often sees its own group as the root although
/// the path says otherwise, so the root is always among them.
pub(crate) fn smallest_upwards<T: Ord>(
    mount: &Path,
    path: &str,
    read: impl Fn(&Path) -> Option<T>,
) -> Option<T> {
    let group = Path::new(path.trim_start_matches('/'));
    group.ancestors().take(DEPTH_MAX).filter_map(|group| read(&mount.join(group))).chain(read(mount)).min()
}

/// Nested groups that are looked at.
const DEPTH_MAX: usize = 64;

/// `cpu.max` of version 2: `150000 100000` are 1.5 CPUs, `max 100000` is no quota.
fn parse_cpu_max(text: &str) -> Option<NonZeroUsize> {
    let (quota, period) = text.trim().split_once(' ')?;
    whole_cpus(quota.parse().ok()?, period.parse().ok()?)
}

/// `cpu.cfs_quota_us` and `cpu.cfs_period_us` of version 1; a quota of -1 is none.
fn parse_cfs(quota: &str, period: &str) -> Option<NonZeroUsize> {
    whole_cpus(u64::try_from(quota.trim().parse::<i64>().ok()?).ok()?, period.trim().parse().ok()?)
}

fn whole_cpus(quota_us: u64, period_us: u64) -> Option<NonZeroUsize> {
    if period_us == 0 || quota_us == 0 {
        return None;
    }
    NonZeroUsize::new(usize::try_from(quota_us.div_ceil(period_us)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn cpus(count: usize) -> Option<NonZeroUsize> {
        NonZeroUsize::new(count)
    }

    #[test]
    fn quotas_of_version_2_are_rounded_up() {
        assert_eq!(parse_cpu_max("150000 100000\n"), cpus(2));
        assert_eq!(parse_cpu_max("100000 100000\n"), cpus(1));
        assert_eq!(parse_cpu_max("10000 100000\n"), cpus(1));
        assert_eq!(parse_cpu_max("6400000 100000\n"), cpus(64));
    }

    #[test]
    fn no_quota_and_nonsense_are_no_quota() {
        for text in ["max 100000\n", "", "max", "1 0", "0 100000", "-5 100000", "a b"] {
            assert_eq!(parse_cpu_max(text), None, "{text:?}");
        }
        assert_eq!(parse_cfs("-1\n", "100000\n"), None);
        assert_eq!(parse_cfs("50000\n", "0\n"), None);
    }

    #[test]
    fn quotas_of_version_1_are_rounded_up() {
        assert_eq!(parse_cfs("250000\n", "100000\n"), cpus(3));
    }

    #[test]
    fn the_tightest_group_on_the_path_decides() {
        let scratch = Scratch::new();
        scratch.write("proc/self/cgroup", "0::/pod/box\n");
        scratch.write("sys/fs/cgroup/pod/cpu.max", "150000 100000\n");
        scratch.write("sys/fs/cgroup/pod/box/cpu.max", "400000 100000\n");
        assert_eq!(quota(scratch.path()), cpus(2));
    }

    #[test]
    fn a_container_sees_its_own_group_as_the_root() {
        let scratch = Scratch::new();
        scratch.write("proc/self/cgroup", "5:devices:/x\n4:cpu,cpuacct:/docker/0123\n");
        scratch.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "300000\n");
        scratch.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
        assert_eq!(quota(scratch.path()), cpus(3));
    }

    #[test]
    fn without_groups_there_is_no_quota() {
        assert_eq!(quota(Scratch::new().path()), None);
    }

    #[test]
    fn workers_are_pinned_only_when_each_cpu_has_one() {
        let machine = Cpus { usable: vec![2, 3, 6], quota: None };
        assert_eq!((machine.workers(), machine.place(2, 3), machine.place(0, 1)), (3, Some(6), None));
        let container = Cpus { quota: cpus(2), ..machine };
        assert_eq!((container.workers(), container.place(0, 2)), (2, None));
        let generous = Cpus { quota: cpus(9), ..container };
        assert_eq!(generous.workers(), 3);
    }
}
