//! What a service manager is told about our state (sd_notify(3)): one datagram to the socket that `NOTIFY_SOCKET` names.

use crate::exit::say;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Everything is bound and the workers run.
pub(crate) const READY: &str = "READY=1";
/// What was accepted is finished, and then the process ends.
pub(crate) const STOPPING: &str = "STOPPING=1";

/// Tells the manager, if there is one that wants to know.
pub(crate) fn notify(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else { return };
    if let Err(error) = send(&socket, state) {
        say(format_args!("the service manager cannot be told {state}: {}: {error}", socket.display()));
    }
}

/// `socket` is a path, or begins with `@` and names an abstract socket.
fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let addr = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    // A manager that does not read must not hold us up.
    sender.set_nonblocking(true)?;
    sender.send_to_addr(state.as_bytes(), &addr).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_state_arrives_at_a_path_and_at_an_abstract_name() {
        let scratch = Scratch::new();
        let path = scratch.path().join("notify.sock");
        let at_path = UnixDatagram::bind(&path).expect("a new path");
        let name = format!("ringway-notify-{}", std::process::id());
        let addr = SocketAddr::from_abstract_name(&name).expect("a short name");
        let at_name = UnixDatagram::bind_addr(&addr).expect("nobody has the name");
        let name = format!("@{name}");
        for (socket, to) in [(at_path, path.as_os_str()), (at_name, OsStr::new(&name))] {
            send(to, READY).expect("somebody reads");
            let mut got = [0; 32];
            let length = socket.recv(&mut got).expect("it arrives");
            assert_eq!(&got[..length], READY.as_bytes());
        }
        assert!(send(OsStr::new("/nowhere/at/all"), READY).is_err());
    }
}
