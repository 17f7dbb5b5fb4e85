//! What outlives a worker: a second descriptor of each of its listening sockets, and its way to later ones.
//!
//! A socket that is open here keeps its place in the kernel and its queue when the worker is gone, so nobody is refused
//! meanwhile; the next worker of the place finds the clients in it.

use base::ids::{ListenerId, SocketId, WorkerId};
use data_plane::{Arrivals, Listening, Usher};
use runtime::Bound;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use traffic::Snapshot;

/// Shared by the control plane, which opens and closes, and the main thread, which replaces workers.
#[derive(Clone)]
pub(crate) struct Shelf(Arc<Mutex<Kept>>);

struct Kept {
    /// By worker.
    ushers: Vec<Usher>,
    sockets: BTreeMap<SocketId, Spare>,
}

/// One address.
pub(crate) struct Spare {
    pub(crate) listener: ListenerId,
    /// The first that has it.
    pub(crate) generation: u64,
    pub(crate) sockets: Vec<OfWorker>,
}

/// A socket, and the worker that accepts from it. A worker may have several of one address.
#[derive(Debug)]
pub(crate) struct OfWorker {
    pub(crate) worker: usize,
    pub(crate) socket: Bound,
}

impl OfWorker {
    pub(crate) fn try_clone(&self) -> io::Result<OfWorker> {
        Ok(OfWorker { worker: self.worker, socket: self.socket.try_clone()? })
    }
}

impl Shelf {
    /// For as many workers as there are ushers.
    pub(crate) fn new(ushers: Vec<Usher>) -> Shelf {
        Shelf(Arc::new(Mutex::new(Kept { ushers, sockets: BTreeMap::new() })))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing that is done under the lock leaves it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn workers(&self) -> usize {
        self.kept().ushers.len()
    }

    /// More sockets than `max` that a worker has not taken yet.
    pub(crate) fn untaken(&self, max: usize) -> Option<usize> {
        self.kept().ushers.iter().map(Usher::waiting).find(|waiting| *waiting > max)
    }

    /// Keeps what a worker starts with.
    pub(crate) fn keep(&self, id: SocketId, spare: Spare) {
        self.kept().sockets.insert(id, spare);
    }

    /// Keeps a socket and leaves it for the workers.
    pub(crate) fn leave(&self, id: SocketId, spare: Spare, sockets: Vec<OfWorker>) {
        let mut kept = self.kept();
        let (listener, generation) = (spare.listener, spare.generation);
        for OfWorker { worker, socket } in sockets {
            if let Some(usher) = kept.ushers.get(worker) {
                usher.leave(Listening { id, listener, generation, socket });
            }
        }
        kept.sockets.insert(id, spare);
    }

    /// Lets go of a socket, so that it closes with its workers.
    pub(crate) fn close(&self, id: SocketId) {
        self.kept().sockets.remove(&id);
    }

    /// Lets go of all of them: the workers are about to end.
    pub(crate) fn clear(&self) {
        self.kept().sockets.clear();
    }

    /// What the next worker of a place starts with under `snapshot`. What belongs to a later generation waits for that.
    pub(crate) fn again(
        &self,
        worker: WorkerId,
        snapshot: &Snapshot,
    ) -> io::Result<(Vec<Listening>, Arrivals)> {
        let mut kept = self.kept();
        let (usher, arrivals) = data_plane::arrivals();
        let mut listening = Vec::new();
        for (id, spare) in &kept.sockets {
            let is_later = spare.generation > snapshot.generation;
            let listener = match snapshot.listener_of(*id) {
                Some(listener) if !is_later => listener,
                _ if is_later => spare.listener,
                _ => continue,
            };
            for one in spare.sockets.iter().filter(|one| one.worker == worker.index()) {
                let socket = one.socket.try_clone()?;
                let one = Listening { id: *id, listener, generation: spare.generation, socket };
                if is_later { usher.leave(one) } else { listening.push(one) }
            }
        }
        if let Some(place) = kept.ushers.get_mut(worker.index()) {
            *place = usher;
        }
        Ok((listening, arrivals))
    }
}
