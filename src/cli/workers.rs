//! The worker threads: starts them, hears when one ends, joins them.
//!
//! A worker that fails or panics is reported like one that was told to stop; what follows from it is decided in `serve`.

use base::ids::WorkerId;
use base::limits::Limits;
use data_plane::WorkerStart;
use runtime::{Options, Remote, Runtime, Selection};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As it was told to.
    Stopped,
    /// It cannot go on; the reason of its loop.
    Failed(String),
    /// An internal error; the panic has been printed.
    Panicked,
}

/// A worker that is ready to run, but for its thread.
pub(crate) struct Prepared {
    pub(crate) start: WorkerStart,
    /// The CPU to stay on; `None` leaves it to the scheduler.
    pub(crate) cpu: Option<usize>,
}

/// The running workers.
pub(crate) struct Workers {
    threads: Vec<JoinHandle<()>>,
    remotes: Vec<Remote>,
    stop: Arc<data_plane::Stop>,
}

/// One message per worker, when it has ended.
pub(crate) type Endings = tokio::sync::mpsc::Receiver<(WorkerId, Ending)>;

impl Workers {
    /// Starts all workers and waits until each has its driver. When one cannot start, the others are stopped again.
    pub(crate) fn start(
        prepared: Vec<Prepared>,
        selection: &Selection,
        stop: Arc<data_plane::Stop>,
    ) -> io::Result<(Workers, Endings)> {
        let (ended, endings) = tokio::sync::mpsc::channel(prepared.len().max(1));
        let (ready, readies) = mpsc::sync_channel(prepared.len());
        let mut workers = Workers { threads: Vec::new(), remotes: Vec::new(), stop };
        let mut trouble = None;
        for one in prepared {
            let (ready, ended, selection) = (ready.clone(), ended.clone(), selection.clone());
            let id = one.start.id;
            let started = Builder::new().name(format!("worker-{}", id.0)).spawn(move || {
                let ending = run(one, &selection, ready);
                // The channel has a place for each worker; it is closed when nobody wants to know any more.
                let _ = ended.try_send((id, ending));
            });
            match started {
                Ok(thread) => workers.threads.push(thread),
                Err(error) => trouble = Some(error),
            }
        }
        drop(ready);
        for result in readies {
            match result {
                Ok(remote) => workers.remotes.push(remote),
                Err(error) => trouble = Some(error),
            }
        }
        if trouble.is_none() && workers.remotes.len() < workers.threads.len() {
            trouble = Some(io::Error::other("a worker stopped on an internal error, printed above"));
        }
        match trouble {
            None => Ok((workers, endings)),
            Some(error) => {
                workers.stop_now();
                workers.join();
                Err(error)
            }
        }
    }

    /// What wakes each of them.
    pub(crate) fn remotes(&self) -> Vec<Remote> {
        self.remotes.clone()
    }

    /// What was accepted is finished, nothing new is accepted.
    pub(crate) fn stop_gracefully(&self) {
        self.stop.gracefully();
        self.remotes.iter().for_each(Remote::wake);
    }

    /// Open exchanges are cut.
    pub(crate) fn stop_now(&self) {
        self.stop.now();
        self.remotes.iter().for_each(Remote::wake);
    }

    /// How many threads were started.
    pub(crate) fn count(&self) -> usize {
        self.threads.len()
    }

    /// Waits for the threads; to be called when all of them were told to stop.
    pub(crate) fn join(self) {
        for thread in self.threads {
            // A panic was caught and reported within the thread already.
            let _ = thread.join();
        }
    }
}

/// A worker's thread, from its driver to its end.
fn run(prepared: Prepared, selection: &Selection, ready: mpsc::SyncSender<io::Result<Remote>>) -> Ending {
    let Prepared { start, cpu } = prepared;
    let id = start.id;
    let options = options(id, &start.snapshot.limits);
    let work = move || {
        if let Some(cpu) = cpu {
            // Another process may have taken the CPU from our mask since it was read; the scheduler knows better then.
            let _ = runtime::host::pin(cpu);
        }
        let rt = match Runtime::new(selection, options) {
            Ok(rt) => rt,
            Err(error) => {
                let told = io::Error::new(error.kind(), format!("worker {} has no driver: {error}", id.0));
                let _ = ready.send(Err(told));
                return Ending::Stopped;
            }
        };
        let _ = ready.send(Ok(rt.remote()));
        // `Workers::start` waits for the last sender to go; a panic drops it as well.
        drop(ready);
        let ending = caught(|| match data_plane::run(&rt, start) {
            Ok(()) => Ending::Stopped,
            Err(error) => Ending::Failed(error.to_string()),
        });
        // After a panic as well: listening sockets that nobody serves would swallow their share of new connections.
        rt.shutdown();
        ending
    };
    caught(work)
}

/// A panic ends here: the other workers go on until their connections are served.
fn caught(work: impl FnOnce() -> Ending) -> Ending {
    // What the closure could have left half-changed is only closed afterwards, not used.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Ending::Panicked)
}

/// Memory that the runtime of a worker takes whatever happens.
pub(crate) fn memory_of_one() -> control_plane::OfWorker {
    let options = Options::default();
    control_plane::OfWorker {
        receive_bytes: u64::from(options.lease_count) * u64::from(options.lease_bytes),
        // Submission entries of 64 B, four times as many completions of 16 B, and an entry of 16 B for each buffer.
        driver_bytes: u64::from(options.ring_entries) * 128 + u64::from(options.lease_count) * 16,
    }
}

fn options(worker: WorkerId, limits: &Limits) -> Options {
    Options {
        worker,
        relay_buffers_bytes_max: limits.relay_buffers_bytes_max,
        pipes_max: limits.pipes_max,
        turn_budget: limits.turn_budget,
        ..Options::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_ending_like_others() {
        assert_eq!(caught(|| Ending::Stopped), Ending::Stopped);
        assert_eq!(caught(|| panic!("on purpose")), Ending::Panicked);
    }
}
