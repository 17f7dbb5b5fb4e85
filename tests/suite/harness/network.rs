//! A network of a test's own: loopback alone, in which the test may change what the kernel does.

use std::process::Command;

use super::Io;

/// Set in the process that has such a network.
const MARK: &str = "RINGWAY_SUITE_OWN_NETWORK";

/// True in a network of the test's own. Otherwise runs this test again in one, to its end, and returns false.
///
/// `module` is the `module_path!()` of a test in `both!`.
#[track_caller]
pub(crate) fn is_own_network(module: &str, io: Io) -> bool {
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let driver = match io {
        Io::Uring => "io_uring",
        Io::Epoll => "epoll",
    };
    let (_, path) = module.split_once("::").expect("a test stands in a module of the suite");
    let test = format!("{path}::{driver}");
    let suite = std::env::current_exe().expect("the path of this program");
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
        .arg(suite)
        .args(["--exact", &test, "--nocapture"])
        .env(MARK, "1")
        .output()
        .unwrap_or_else(|error| panic!("no unshare (Debian's util-linux): {error}"));
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{test} in a network of its own (needs unshare, ip, and user namespaces):\n{said}"
    );
    false
}

/// Changes the network; only where [`is_own_network`].
#[track_caller]
pub(crate) fn ip(words: &str) {
    assert!(std::env::var_os(MARK).is_some(), "the network of this machine is not ours");
    let done = Command::new("ip").args(words.split(' ')).status();
    assert!(done.is_ok_and(|status| status.success()), "ip {words}");
}

/// From now on new connections get only ports of this range.
#[track_caller]
pub(crate) fn use_ports(first: u16, last: u16) {
    assert!(std::env::var_os(MARK).is_some(), "the network of this machine is not ours");
    let file = "/proc/sys/net/ipv4/ip_local_port_range";
    std::fs::write(file, format!("{first} {last}")).unwrap_or_else(|error| panic!("{file}: {error}"));
}
