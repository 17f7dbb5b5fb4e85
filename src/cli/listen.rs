//! Binds what the configuration says, once for every worker, at the start and for each later generation.
//!
//! A socket that a generation shares with the one before is left alone: it keeps its place in the kernel, its queue and
//! its handshakes. New ones are bound before the generation is published, so that failing changes nothing. Each worker gets a socket of its own (SO_REUSEPORT), so that the
//! kernel spreads connections and no queue is shared.
//! A Unix socket exists once, and so does one that was passed; their workers share the queue.

use crate::exit::say;
use crate::passed::Passed;
use crate::shelf::{OfWorker, Shelf, Spare};
use base::addr::Addr;
use base::ids::{ListenerId, SocketId};
use data_plane::Listening;
use runtime::{BindOptions, Bound, DatagramOptions, FileOptions, bind, bind_datagrams};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
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
            _ if matches!(self.addr, Addr::Passed(_)) => Some(
                "start Ringway through its socket unit, whose FileDescriptorName= is the name, or bind an address",
            ),
            _ if self.error.raw_os_error() == Some(EMFILE) => {
                Some("raise the limit of descriptors, `ulimit -n`")
            }
            io::ErrorKind::AddrInUse => {
                Some("stop the process that listens there (`ss -ltunp`), or take another port")
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

/// What the node listens on, from the start to the end.
pub(crate) struct Sockets {
    open: BTreeMap<SocketId, Open>,
    /// Bound for a generation that is not in force yet.
    new: Vec<New>,
    /// Addresses whose sockets some worker may not have closed yet.
    closed: Vec<(Addr, Instant)>,
    /// What the workers do not hold alone.
    shelf: Shelf,
    /// Open since before the process began.
    passed: Passed,
}

/// A socket (one for each worker) that is listened on.
#[derive(Debug)]
struct Open {
    listener: String,
    /// With the port that the kernel chose.
    real: Addr,
    _file: Option<SocketFile>,
}

struct New {
    id: SocketId,
    place: ListenerId,
    open: Open,
    bound: Vec<OfWorker>,
    /// The same once more.
    spare: Vec<OfWorker>,
}

/// The file of a Unix socket, removed in the end so that nobody finds a socket without a server.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have removed it before us, which is as good.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// How long after it was closed an address may still be in use by ourselves: workers serve the queue first.
const CLOSING_MAX: Duration = Duration::from_secs(5);
/// Sockets that a worker has not taken yet. Beyond it the workers have not looked for long, and nothing new is opened.
const WAITING_MAX: usize = 1024;

impl Sockets {
    /// Binds all addresses of all listeners for the workers of the shelf, unless a socket was passed for them.
    pub(crate) fn bind(snapshot: &Snapshot, shelf: Shelf, passed: Passed) -> Result<Sockets, BindError> {
        let (open, new, closed) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut sockets = Sockets { open, new, closed, shelf, passed };
        sockets.bind_new(snapshot)?;
        for (name, place) in sockets.passed.unused() {
            say(format_args!("the passed socket \"{name}\" is used by no listener: {place}"));
        }
        Ok(sockets)
    }

    /// The sockets that workers start with, by worker.
    pub(crate) fn first(&mut self, generation: u64) -> Vec<Vec<Listening>> {
        let mut of_worker: Vec<Vec<_>> = (0..self.shelf.workers()).map(|_| Vec::new()).collect();
        for New { id, place: listener, open, bound, spare } in self.new.drain(..) {
            for OfWorker { worker, socket } in bound {
                if let Some(of_worker) = of_worker.get_mut(worker) {
                    of_worker.push(Listening { id, listener, generation, socket });
                }
            }
            self.shelf.keep(id, Spare { listener, generation, sockets: spare });
            self.open.insert(id, open);
        }
        of_worker
    }

    /// Name of each listener with each address that it really listens on.
    pub(crate) fn addrs(&self) -> Vec<(String, Addr)> {
        self.open.values().map(|open| (open.listener.clone(), open.real.clone())).collect()
    }

    /// Binds what `snapshot` has and is not open; all of it or nothing.
    fn bind_new(&mut self, snapshot: &Snapshot) -> Result<(), BindError> {
        self.new.clear();
        self.closed.retain(|(_, since)| since.elapsed() < CLOSING_MAX);
        for place in snapshot.open_listeners() {
            let listener = &snapshot.listeners[place.index()];
            for (id, addr) in listener.sockets().iter().zip(&listener.binds) {
                if self.open.contains_key(id) {
                    continue;
                }
                let bound = match (listener.datagrams(), addr) {
                    (Some(_), Addr::Ip(ip)) => self.datagrams_for_all(*ip).map(|bound| (bound, None)),
                    _ => file_options(listener.socket_file.as_deref())
                        .and_then(|file| self.bind_for_all(addr, file)),
                };
                let bound = bound.and_then(|(bound, file)| {
                    let bound = (0..).zip(bound).map(|(worker, socket)| OfWorker { worker, socket });
                    let bound: Vec<_> = bound.collect();
                    let spare = bound.iter().map(OfWorker::try_clone).collect::<io::Result<Vec<_>>>()?;
                    Ok((bound, spare, file))
                });
                let bound = bound.map_err(|error| BindError {
                    listener: listener.name.to_string(),
                    origin: listener.origin.clone(),
                    addr: addr.clone(),
                    error,
                });
                match bound {
                    Ok((bound, spare, file)) => {
                        let real =
                            bound.first().map_or_else(|| addr.clone(), |bound| bound.socket.addr().clone());
                        let open = Open { listener: listener.name.to_string(), real, _file: file };
                        self.new.push(New { id: *id, place, open, bound, spare });
                    }
                    Err(error) => {
                        self.new.clear();
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    fn bind_for_all(
        &mut self,
        addr: &Addr,
        file: FileOptions,
    ) -> io::Result<(Vec<Bound>, Option<SocketFile>)> {
        let workers = self.shelf.workers();
        if let Some(found) = self.passed.find(addr) {
            // Its file, if it has one, belongs to whoever made it.
            return Ok((found?.share(workers)?, None));
        }
        match addr {
            Addr::Ip(ip) => {
                if ip.port() != 0 && !self.may_be_ours(ip.port()) {
                    refuse_if_taken(addr)?;
                }
                let first = bind(addr, BindOptions::default())?;
                let real = first.addr().clone();
                let others = (1..workers).map(|_| bind(&real, BindOptions::default()));
                Ok((std::iter::once(Ok(first)).chain(others).collect::<io::Result<_>>()?, None))
            }
            Addr::Unix(path) => {
                let first = bind(addr, BindOptions { file, ..BindOptions::default() })?;
                let file = addr.has_file().then(|| SocketFile(path.clone()));
                Ok((first.share(workers)?, file))
            }
            // `Passed::find` knows what is wrong with each of these.
            Addr::Passed(_) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The same for datagrams: each worker has a socket, and the kernel gives it always the same clients.
    fn datagrams_for_all(&self, addr: SocketAddr) -> io::Result<Vec<Bound>> {
        let options = DatagramOptions::default();
        if addr.port() != 0 && !self.may_be_ours(addr.port()) {
            bind_datagrams(addr, DatagramOptions { reuse_port: false, ..options })?;
        }
        let first = bind_datagrams(addr, options)?;
        let real = first.addr().ip().unwrap_or(addr);
        let others = (1..self.shelf.workers()).map(|_| bind_datagrams(real, options));
        std::iter::once(Ok(first)).chain(others).collect()
    }

    /// Whether a socket of our own may be in the way on this port: one that workers are about to close, or one for other
    /// addresses, such as 0.0.0.0.
    fn may_be_ours(&self, port: u16) -> bool {
        let open = self.open.values().map(|open| &open.real);
        let closed = self.closed.iter().map(|(addr, _)| addr);
        open.chain(closed).any(|addr| addr.ip().is_some_and(|ip| ip.port() == port))
    }
}

impl control_plane::Entrances for Sockets {
    fn open(&mut self, next: &Snapshot) -> Result<(), String> {
        if let Some(waiting) = self.shelf.untaken(WAITING_MAX) {
            return Err(format!("a worker has not taken {waiting} earlier sockets yet; try again later"));
        }
        self.bind_new(next).map_err(|error| match error.next_step() {
            Some(step) => format!("{error}; {step}"),
            None => error.to_string(),
        })
    }

    fn hand_over(&mut self, next: &Snapshot) -> Vec<(String, Addr)> {
        let (kept, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.open).into_iter().partition(|(id, _)| next.listener_of(*id).is_some());
        self.open = kept;
        for (id, open) in gone {
            self.shelf.close(id);
            say(format_args!("listener \"{}\": closed {}", open.listener, open.real));
            self.closed.push((open.real, Instant::now()));
        }
        for (id, open) in &mut self.open {
            if let Some(place) = next.listener_of(*id) {
                open.listener = next.listeners[place.index()].name.to_string();
            }
        }
        for New { id, place: listener, open, bound, spare } in self.new.drain(..) {
            say(format_args!("listening on {} (listener \"{}\")", open.real, open.listener));
            self.shelf.leave(id, Spare { listener, generation: next.generation, sockets: spare }, bound);
            self.open.insert(id, open);
        }
        self.addrs()
    }
}

/// With numbers for the names of user and group.
fn file_options(written: Option<&traffic::snapshot::SocketFile>) -> io::Result<FileOptions> {
    let Some(written) = written else { return Ok(FileOptions::default()) };
    Ok(FileOptions {
        mode: written.mode.map(u32::from),
        user: written.owner.as_deref().map(|name| number_of(name, "/etc/passwd", "user")).transpose()?,
        group: written.group.as_deref().map(|name| number_of(name, "/etc/group", "group")).transpose()?,
    })
}

/// The third field of the line of that name; a number is one already.
fn number_of(name: &str, file: &str, kind: &str) -> io::Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let text = std::fs::read_to_string(file)?;
    let fields = |line: &str| -> Option<u32> {
        let mut fields = line.split(':');
        if fields.next()? == name { fields.nth(1)?.parse().ok() } else { None }
    };
    text.lines().find_map(fields).ok_or_else(|| {
        let what = format!("{file} has no {kind} \"{name}\"; write one that it has, or a number");
        io::Error::new(io::ErrorKind::InvalidInput, what)
    })
}

/// SO_REUSEPORT would let a second Ringway of the same user join in silently and take a share of the connections. A
/// socket without it finds out whether somebody is there.
fn refuse_if_taken(addr: &Addr) -> io::Result<()> {
    bind(addr, BindOptions { reuse_port: false, ..BindOptions::default() }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use control_plane::Entrances;
    use std::net::{Ipv4Addr, TcpListener};

    fn snapshot(listen: &[&str]) -> Snapshot {
        let listen: Vec<_> = listen.iter().map(|text| text.parse().expect("an address")).collect();
        let config =
            config::from_args(&listen, &["127.0.0.1:1".parse::<config::Address>().expect("an address")]);
        control_plane::compile(&config, 2, None).expect("it is complete").snapshot
    }

    fn bound(listen: &[&str], workers: usize) -> Result<(Sockets, Vec<Vec<Listening>>), BindError> {
        let ushers = (0..workers).map(|_| data_plane::arrivals().0).collect();
        let mut sockets = Sockets::bind(&snapshot(listen), Shelf::new(ushers), Passed::default())?;
        let first = sockets.first(1);
        Ok((sockets, first))
    }

    #[test]
    fn every_worker_listens_on_the_port_that_the_first_one_got() {
        let (sockets, of_worker) = bound(&["127.0.0.1:0"], 3).unwrap_or_else(|error| panic!("{error}"));
        let port = |addr: &Addr| addr.ip().map(|ip| ip.port());
        let real = port(&sockets.addrs()[0].1);
        assert!(real.is_some_and(|port| port != 0));
        assert_eq!(of_worker.len(), 3);
        assert!(of_worker.iter().all(|one| one.len() == 1 && port(one[0].socket.addr()) == real));
    }

    #[test]
    fn a_port_that_another_process_shares_willingly_is_still_taken() {
        let other =
            bind(&Addr::Ip((Ipv4Addr::LOCALHOST, 0).into()), BindOptions::default()).expect("a free port");
        let Err(error) = bound(&[&other.addr().to_string()], 2) else { panic!("it joined the other's port") };
        assert!(error.to_string().contains("listener \"listen\" cannot listen on"), "{error}");
        assert!(error.next_step().is_some_and(|step| step.contains("another port")));
    }

    #[test]
    fn a_unix_socket_is_removed_in_the_end_unless_it_is_another_process_s() {
        let scratch = crate::scratch::Scratch::new();
        let file = scratch.path().join("web.sock");
        let name = format!("unix:{}", file.display());
        let (sockets, of_worker) = bound(&[&name], 2).unwrap_or_else(|error| panic!("{error}"));
        assert!(file.exists() && of_worker.iter().all(|one| one.len() == 1));
        assert!(bound(&[&name], 2).is_err(), "the first one answers there");
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
        assert!(bound(&addrs.each_ref().map(String::as_str), 2).is_err());
        assert!(!file.exists());
    }

    /// Its generation after `previous`.
    fn next(listen: &[&str], previous: &Snapshot) -> Snapshot {
        let listen: Vec<_> = listen.iter().map(|text| text.parse().expect("an address")).collect();
        let config =
            config::from_args(&listen, &["127.0.0.1:1".parse::<config::Address>().expect("an address")]);
        control_plane::compile(&config, 1, Some(previous)).expect("it is complete").snapshot
    }

    #[test]
    fn a_later_generation_opens_and_closes_what_differs_and_keeps_the_rest() {
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|one| one.local_addr());
        let [kept, gone, new] = [free(), free(), free()].map(|addr| addr.expect("a free port").to_string());
        let (usher, arrivals) = data_plane::arrivals();
        let first = snapshot(&[&kept, &gone]);
        let mut sockets = Sockets::bind(&first, Shelf::new(vec![usher.clone()]), Passed::default())
            .unwrap_or_else(|error| panic!("{error}"));
        let started = sockets.first(1);
        let second = next(&[&new, &kept], &first);
        sockets.open(&second).expect("the port is free");
        assert_eq!(usher.waiting(), 0, "nothing is handed over before the generation is sure to come");
        let listening = sockets.hand_over(&second);
        assert_eq!(usher.waiting(), 1);
        let addrs: Vec<_> = listening.iter().map(|(_, addr)| addr.to_string()).collect();
        assert_eq!(addrs, [kept.clone(), new.clone()]);
        let third = next(&[&kept, &gone], &second);
        sockets.open(&third).expect("the old socket of the same port is ours");
        drop((started, arrivals));
    }

    #[test]
    fn what_cannot_be_opened_leaves_everything_as_it_was() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let (usher, _arrivals) = data_plane::arrivals();
        let first = snapshot(&["127.0.0.1:0"]);
        let mut sockets = Sockets::bind(&first, Shelf::new(vec![usher.clone()]), Passed::default())
            .unwrap_or_else(|error| panic!("{error}"));
        let _started = sockets.first(1);
        let before = sockets.addrs();
        let taken = taken.local_addr().expect("bound").to_string();
        let why = sockets.open(&next(&["127.0.0.1:0", "127.0.0.1:0", &taken], &first)).expect_err("taken");
        assert!(why.contains(&taken) && why.contains("or take another port"), "{why}");
        assert_eq!((sockets.addrs(), sockets.new.len(), usher.waiting()), (before, 0, 0));
    }
}
