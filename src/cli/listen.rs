//! Binds what the configuration says, once for every worker.
//!
//! Each worker gets a socket of its own (SO_REUSEPORT), so that the kernel spreads connections and no queue is shared.
//! A Unix socket exists once; its workers share the queue.

use crate::workers::Prepared;
use base::addr::Addr;
use base::ids::ListenerId;
use data_plane::Listening;
use runtime::{BindOptions, Bound, bind};
use std::fmt;
use std::io;
use std::path::PathBuf;
use traffic::Snapshot;

/// An address that could not be bound.
#[derive(Debug)]
pub(crate) struct BindError {
    listener: String,
    origin: traffic::Origin,
    addr: Addr,
    error: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BindError { listener, origin, addr, error } = self;
        write!(f, "{origin}: listener \"{listener}\" cannot listen on {addr}: {error}")
    }
}

impl BindError {
    /// What to do about it, when that is known.
    pub(crate) fn next_step(&self) -> Option<&'static str> {
        match self.error.kind() {
            _ if self.error.raw_os_error() == Some(EMFILE) => {
                Some("raise the limit of descriptors, `ulimit -n`")
            }
            io::ErrorKind::AddrInUse => {
                Some("stop the process that listens there (`ss -ltnp`), or take another port")
            }
            io::ErrorKind::AddrNotAvailable => {
                Some("use an address of this machine (`ip addr`), or 0.0.0.0 for all")
            }
            io::ErrorKind::PermissionDenied => Some(
                "ports below 1024 need CAP_NET_BIND_SERVICE; a unix socket needs a directory that we may write to",
            ),
            io::ErrorKind::NotFound => Some("create the directory of the unix socket first"),
            _ => None,
        }
    }
}

/// Too many open files; std has no kind for it.
const EMFILE: i32 = 24;

/// Everything that was bound.
pub(crate) struct Sockets {
    /// Name of each listener with each address that it really listens on.
    pub(crate) addrs: Vec<(String, Addr)>,
    /// By worker.
    pub(crate) of_worker: Vec<Vec<Listening>>,
    files: SocketFiles,
}

/// The files of Unix sockets, removed in the end so that nobody finds a socket without a server.
#[derive(Debug, Default)]
pub(crate) struct SocketFiles(Vec<PathBuf>);

impl Drop for SocketFiles {
    fn drop(&mut self) {
        for file in &self.0 {
            // Somebody may have removed it before us, which is as good.
            let _ = std::fs::remove_file(file);
        }
    }
}

impl Sockets {
    /// Binds all addresses of all listeners for `workers` workers.
    pub(crate) fn bind(snapshot: &Snapshot, workers: usize) -> Result<Sockets, BindError> {
        let mut sockets = Sockets {
            addrs: Vec::new(),
            of_worker: (0..workers).map(|_| Vec::new()).collect(),
            files: SocketFiles::default(),
        };
        for (index, listener) in snapshot.listeners.iter().enumerate() {
            let id = ListenerId(u16::try_from(index).unwrap_or(u16::MAX));
            for addr in &listener.binds {
                let bound = sockets.bind_for_all(addr, workers).map_err(|error| BindError {
                    listener: listener.name.to_string(),
                    origin: listener.origin.clone(),
                    addr: addr.clone(),
                    error,
                })?;
                let real = bound.first().map_or_else(|| addr.clone(), |bound| bound.addr().clone());
                sockets.addrs.push((listener.name.to_string(), real));
                for (of_worker, socket) in sockets.of_worker.iter_mut().zip(bound) {
                    of_worker.push(Listening { listener: id, socket });
                }
            }
        }
        Ok(sockets)
    }

    fn bind_for_all(&mut self, addr: &Addr, workers: usize) -> io::Result<Vec<Bound>> {
        match addr {
            Addr::Ip(ip) => {
                if ip.port() != 0 {
                    refuse_if_taken(addr)?;
                }
                let first = bind(addr, BindOptions::default())?;
                let real = first.addr().clone();
                let others = (1..workers).map(|_| bind(&real, BindOptions::default()));
                std::iter::once(Ok(first)).chain(others).collect()
            }
            Addr::Unix(path) => {
                let first = bind(addr, BindOptions::default())?;
                self.files.0.push(path.clone());
                let others: Vec<_> = (1..workers).map(|_| first.try_clone()).collect::<io::Result<_>>()?;
                Ok(std::iter::once(first).chain(others).collect())
            }
        }
    }

    /// Splits the sockets from the files that have to outlive them.
    pub(crate) fn hand_over(
        self,
        prepare: impl FnMut((usize, Vec<Listening>)) -> Prepared,
    ) -> (Vec<Prepared>, SocketFiles) {
        (self.of_worker.into_iter().enumerate().map(prepare).collect(), self.files)
    }
}

/// SO_REUSEPORT would let a second Ringway of the same user join in silently and take a share of the connections. A
/// socket without it finds out whether somebody is there.
fn refuse_if_taken(addr: &Addr) -> io::Result<()> {
    bind(addr, BindOptions { reuse_port: false, ..BindOptions::default() }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    fn snapshot(listen: &[&str]) -> Snapshot {
        let listen: Vec<_> = listen.iter().map(|text| text.parse().expect("an address")).collect();
        let config =
            config::from_args(&listen, &["127.0.0.1:1".parse::<config::Address>().expect("an address")]);
        control_plane::compile(&config, 2, None).expect("it is complete").snapshot
    }

    #[test]
    fn every_worker_listens_on_the_port_that_the_first_one_got() {
        let sockets = Sockets::bind(&snapshot(&["127.0.0.1:0"]), 3).unwrap_or_else(|error| panic!("{error}"));
        let port = |addr: &Addr| addr.ip().map(|ip| ip.port());
        let real = port(&sockets.addrs[0].1);
        assert!(real.is_some_and(|port| port != 0));
        assert_eq!(sockets.of_worker.len(), 3);
        assert!(sockets.of_worker.iter().all(|one| one.len() == 1 && port(one[0].socket.addr()) == real));
    }

    #[test]
    fn a_port_that_another_process_shares_willingly_is_still_taken() {
        let other =
            bind(&Addr::Ip((Ipv4Addr::LOCALHOST, 0).into()), BindOptions::default()).expect("a free port");
        let Err(error) = Sockets::bind(&snapshot(&[&other.addr().to_string()]), 2) else {
            panic!("it joined the other's port")
        };
        assert!(error.to_string().contains("listener \"listen\" cannot listen on"), "{error}");
        assert!(error.next_step().is_some_and(|step| step.contains("another port")));
    }

    #[test]
    fn a_unix_socket_is_removed_in_the_end_unless_it_is_another_process_s() {
        let scratch = crate::scratch::Scratch::new();
        let file = scratch.path().join("web.sock");
        let name = format!("unix:{}", file.display());
        let sockets = Sockets::bind(&snapshot(&[&name]), 2).unwrap_or_else(|error| panic!("{error}"));
        assert!(file.exists() && sockets.of_worker.iter().all(|one| one.len() == 1));
        assert!(Sockets::bind(&snapshot(&[&name]), 2).is_err(), "the first one answers there");
        assert!(file.exists(), "the second one must not take it away");
        drop(sockets);
        assert!(!file.exists());
    }

    #[test]
    fn what_was_bound_before_a_failure_is_given_back() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let scratch = crate::scratch::Scratch::new();
        let file = scratch.path().join("web.sock");
        let addrs = [format!("unix:{}", file.display()), taken.local_addr().expect("bound").to_string()];
        assert!(Sockets::bind(&snapshot(&addrs.each_ref().map(String::as_str)), 2).is_err());
        assert!(!file.exists());
    }
}
