//! The worker threads: starts them, hears when one ends, joins them.
//!
//! A worker that fails or panics is reported like one that was told to stop; whether another one takes its place is decided
//! in `serve`.

use base::ids::WorkerId;
use base::limits::Limits;
use data_plane::WorkerStart;
use runtime::{Options, Remote, Runtime, Selection};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{Builder, JoinHandle};

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As it was told to.
    Stopped,
    /// It cannot go on; the reason of its loop.
    Failed(String),
    /// An internal error, with its message; where it happened has been printed.
    Panicked(String),
}

/// A worker that is ready to run, but for its thread.
pub(crate) struct Prepared {
    pub(crate) start: WorkerStart,
    /// The CPU to stay on; `None` leaves it to the scheduler.
    pub(crate) cpu: Option<usize>,
}

/// The running workers.
pub(crate) struct Workers {
    /// By worker.
    threads: Vec<Option<JoinHandle<()>>>,
    remotes: Remotes,
    selection: Selection,
    stop: Arc<data_plane::Stop>,
    ended: tokio::sync::mpsc::Sender<(WorkerId, Ending)>,
}

/// One message per worker, when it has ended.
pub(crate) type Endings = tokio::sync::mpsc::Receiver<(WorkerId, Ending)>;

/// What ends the waits of the workers, by worker; shared with whoever publishes for them.
#[derive(Clone, Default)]
pub(crate) struct Remotes(Arc<RwLock<Vec<Option<Remote>>>>);

impl Remotes {
    /// Wakes the workers that there are.
    pub(crate) fn wake(&self) {
        self.0.read().unwrap_or_else(PoisonError::into_inner).iter().flatten().for_each(Remote::wake);
    }

    fn set(&self, worker: WorkerId, remote: Remote) {
        let mut remotes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if remotes.len() <= worker.index() {
            remotes.resize(worker.index() + 1, None);
        }
        remotes[worker.index()] = Some(remote);
    }
}

impl Workers {
    /// Starts all workers and waits until each has its driver. When one cannot start, the others are stopped again.
    pub(crate) fn start(
        prepared: Vec<Prepared>,
        selection: &Selection,
        stop: Arc<data_plane::Stop>,
        remotes: Remotes,
    ) -> io::Result<(Workers, Endings)> {
        let (ended, endings) = tokio::sync::mpsc::channel(prepared.len().max(1));
        let threads = prepared.iter().map(|_| None).collect();
        let mut workers = Workers { threads, remotes, selection: selection.clone(), stop, ended };
        let begun: Vec<_> = prepared.into_iter().map(|one| workers.begin(one)).collect();
        let outcome = begun.into_iter().map(|begun| begun?.wait(&workers.remotes)).fold(Ok(()), Result::and);
        match outcome {
            Ok(()) => Ok((workers, endings)),
            Err(error) => {
                workers.stop_now();
                workers.join();
                Err(error)
            }
        }
    }

    /// Starts another worker in the place of one that has ended, and waits until it has its driver.
    pub(crate) fn replace(&mut self, prepared: Prepared) -> io::Result<()> {
        if let Some(thread) = self.threads[prepared.start.id.index()].take() {
            // It has said that it has ended; a panic was caught and reported within the thread.
            let _ = thread.join();
        }
        self.begin(prepared)?.wait(&self.remotes)
    }

    fn begin(&mut self, one: Prepared) -> io::Result<Begun> {
        let (ready, readies) = mpsc::sync_channel(1);
        let (ended, selection, id) = (self.ended.clone(), self.selection.clone(), one.start.id);
        let thread = Builder::new().name(format!("worker-{}", id.0)).spawn(move || {
            let ending = run(one, &selection, ready);
            // The channel has a place for each worker; it is closed when nobody wants to know any more.
            let _ = ended.try_send((id, ending));
        })?;
        self.threads[id.index()] = Some(thread);
        Ok(Begun { id, ready: readies })
    }

    /// What was accepted is finished, nothing new is accepted.
    pub(crate) fn stop_gracefully(&self) {
        self.stop.gracefully();
        self.remotes.wake();
    }

    /// Open exchanges are cut.
    pub(crate) fn stop_now(&self) {
        self.stop.now();
        self.remotes.wake();
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.threads.len()
    }

    /// Waits for the threads; to be called when all of them were told to stop.
    pub(crate) fn join(self) {
        for thread in self.threads.into_iter().flatten() {
            // A panic was caught and reported within the thread already.
            let _ = thread.join();
        }
    }
}

/// A worker whose thread has been started.
struct Begun {
    id: WorkerId,
    ready: mpsc::Receiver<io::Result<Remote>>,
}

impl Begun {
    /// Until it has its driver, or the reason why not.
    fn wait(self, remotes: &Remotes) -> io::Result<()> {
        let internal = |_| io::Error::other("a worker stopped on an internal error, printed above");
        remotes.set(self.id, self.ready.recv().map_err(internal)??);
        Ok(())
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
        // Whoever waits hears of the end of the channel as well: a panic before drops it.
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
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
        Ending::Panicked(message.unwrap_or("without a message").to_owned())
    })
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
        assert_eq!(caught(|| panic!("on {}", "purpose")), Ending::Panicked("on purpose".to_owned()));
        assert_eq!(caught(|| panic!("on purpose")), Ending::Panicked("on purpose".to_owned()));
    }
}
