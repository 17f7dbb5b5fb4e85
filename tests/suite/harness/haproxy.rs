//! A real load balancer before or behind us: HAProxy on a free loopback port.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use super::nginx::free_port;
use super::process::Process;
use super::{Folder, wait_until};

/// A running HAProxy, one process in the foreground, ended when dropped.
pub(crate) struct Haproxy {
    address: SocketAddr,
    _process: Process,
    _folder: Folder,
}

impl Haproxy {
    /// Starts it with `sections`, which gives the configuration behind `defaults` for the address on which it is to
    /// listen.
    #[track_caller]
    pub(crate) fn start(sections: impl Fn(SocketAddr) -> String) -> Haproxy {
        for _ in 0..5 {
            if let Some(haproxy) = Haproxy::try_start(&sections) {
                return haproxy;
            }
        }
        panic!("haproxy did not start five times in a row; is it installed (tests/run does that)?");
    }

    fn try_start(sections: &impl Fn(SocketAddr) -> String) -> Option<Haproxy> {
        let folder = Folder::new();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let file = folder.path().join("haproxy.cfg");
        let text = format!(
            "global\n  maxconn 1000\n\
             defaults\n  mode http\n  timeout client 20s\n  timeout server 20s\n  timeout connect 5s\n{}\n",
            sections(address)
        );
        std::fs::write(&file, text).expect("write haproxy.cfg");
        let file = file.display().to_string();
        let mut process = Process::start("haproxy", &["-db", "-f", &file]);
        let mut serves = false;
        wait_until("haproxy accepts or ends", || {
            serves = TcpStream::connect(address).is_ok();
            serves || !process.runs()
        });
        (serves && process.runs()).then_some(Haproxy { address, _process: process, _folder: folder })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}
