//! A real database: redis-server on a free loopback port, which keeps nothing on disk.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use super::nginx::free_port;
use super::peer::prepare;
use super::process::Process;
use super::{Folder, wait_until};

/// A running server, ended when dropped.
pub(crate) struct Redis {
    address: SocketAddr,
    process: Process,
    _folder: Folder,
}

impl Redis {
    /// Starts it and waits until it answers; the key `who` holds `name`.
    #[track_caller]
    pub(crate) fn start(name: &str) -> Redis {
        // The port is free when chosen and may be taken when the server comes to it: then another is tried.
        for _ in 0..5 {
            if let Some(redis) = Redis::try_start(name) {
                return redis;
            }
        }
        panic!("redis-server did not start five times in a row; is it installed (tests/run does that)?");
    }

    fn try_start(name: &str) -> Option<Redis> {
        let folder = Folder::new();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let (port, path) = (address.port().to_string(), folder.path().display().to_string());
        let arguments =
            ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", &path];
        let mut process = Process::start("redis-server", &arguments);
        let mut answers = false;
        wait_until("redis-server answers or ends", || {
            let set = || Session::open(address)?.ask(&format!("SET who {name}"));
            answers = set().is_some_and(|answer| answer == "+OK");
            answers || !process.runs()
        });
        (answers && process.runs()).then_some(Redis { address, process, _folder: folder })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it without warning, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process.signal("KILL");
        self.process.wait();
    }
}

/// One connection of a client.
pub(crate) struct Session {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Session {
    pub(crate) fn open(address: SocketAddr) -> Option<Session> {
        let stream = TcpStream::connect(address).ok()?;
        prepare(&stream);
        let reader = BufReader::new(stream.try_clone().ok()?);
        Some(Session { stream, reader })
    }

    /// Sends an inline command; the first line of the answer, or the text of a bulk string. None when the connection broke.
    pub(crate) fn ask(&mut self, command: &str) -> Option<String> {
        self.stream.write_all(format!("{command}\r\n").as_bytes()).ok()?;
        let answer = self.line()?;
        if answer.starts_with('$') { self.line() } else { Some(answer) }
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.reader.read_line(&mut line).ok()?;
        (read > 0 && line.ends_with("\r\n")).then(|| line.trim_end().to_owned())
    }
}
