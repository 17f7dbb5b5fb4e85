//! The life of a serving process between its start and its end: signals, workers that end, a tick for whoever watches.
//!
//! ```text
//!            SIGTERM, SIGINT                all workers ended
//!  Serving ───────────────────▶ Draining ───────────────────▶ logs flushed, exit
//!     │                            │  another signal: cut what is open, exit status 1
//!     └── a worker ended by itself ┘  exit status 1, or 101 when it panicked
//! ```

use crate::exit::{Exit, complain, say};
use crate::notify::{READY, STOPPING, notify};
use crate::start::Node;
use crate::workers::Ending;
use std::io;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// Signals that we act on. From the moment this exists they no longer have their default effect.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reopen: Signal,
    reload: Signal,
}

/// The runtime of the main thread: it waits for signals and does nothing else.
pub(crate) struct Main {
    runtime: tokio::runtime::Runtime,
    signals: Signals,
}

/// Told once a second while everything is well.
pub(crate) trait Watch {
    /// Answers whether to go on.
    fn tick(&mut self, node: &Node) -> bool;
}

/// Nobody watches.
pub(crate) struct Unwatched;

impl Watch for Unwatched {
    fn tick(&mut self, _: &Node) -> bool {
        true
    }
}

impl Main {
    /// Takes the signals over; before anything is started, so that none is missed.
    pub(crate) fn new() -> io::Result<Main> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let signals = {
            let _entered = runtime.enter();
            Signals {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                reopen: signal(SignalKind::user_defined1())?,
                reload: signal(SignalKind::hangup())?,
            }
        };
        Ok(Main { runtime, signals })
    }

    /// Serves until a signal or a failure, then ends everything in order.
    pub(crate) fn serve(mut self, node: Node, watch: &mut dyn Watch) -> Exit {
        let exit = self.runtime.block_on(serve(&mut self.signals, node, watch));
        self.runtime.shutdown_background();
        exit
    }
}

async fn serve(signals: &mut Signals, mut node: Node, watch: &mut dyn Watch) -> Exit {
    let Signals { terminate, interrupt, reopen, reload } = signals;
    let mut running = node.workers.count();
    notify(READY);
    let mut exit = Exit::Good;
    let mut draining = false;
    let second = Duration::from_secs(1);
    let mut ticks = interval_at(Instant::now() + second, second);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while running > 0 {
        let stop = tokio::select! {
            Some((id, ending)) = node.endings.recv() => {
                running -= 1;
                exit = worse(exit, after_ending(id.0, &ending, draining, running));
                running > 0
            }
            name = stopping(terminate, interrupt) => {
                if draining {
                    say(format_args!("{name} again: cutting what is open"));
                    exit = worse(exit, Exit::Failed);
                    node.workers.stop_now();
                } else {
                    say(format_args!("{name}: finishing what was accepted; once more to end at once"));
                }
                true
            }
            Some(()) = reopen.recv() => {
                node.control.reopen_logs();
                false
            }
            Some(()) = reload.recv() => {
                if !node.control.reload("SIGHUP") {
                    say("SIGHUP: too much waits already; send it again later");
                }
                false
            }
            _ = ticks.tick(), if !draining => !watch.tick(&node),
        };
        if stop && !draining {
            draining = true;
            notify(STOPPING);
            node.control.begin_drain();
            node.workers.stop_gracefully();
        }
    }
    let Node { control, workers, .. } = node;
    workers.join();
    control.stop();
    exit
}

/// The name of the signal that asks us to stop.
async fn stopping(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// Says what it means that a worker has ended.
fn after_ending(id: u16, ending: &Ending, draining: bool, running: usize) -> Exit {
    let step = (running > 0).then_some("the other workers finish what they accepted, then the process ends");
    match ending {
        Ending::Stopped if draining => Exit::Good,
        Ending::Stopped => complain(Exit::Failed, format_args!("worker {id} stopped unasked"), step),
        Ending::Failed(reason) => {
            complain(Exit::Failed, format_args!("worker {id} cannot go on: {reason}"), step)
        }
        Ending::Panicked => complain(
            Exit::Panicked,
            format_args!("worker {id} stopped on an internal error, printed above"),
            step,
        ),
    }
}

fn worse(one: Exit, other: Exit) -> Exit {
    if other.status() > one.status() { other } else { one }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_ending_decides_the_status() {
        let panicked = after_ending(0, &Ending::Panicked, false, 1);
        let failed = after_ending(1, &Ending::Failed("no memory".into()), true, 0);
        let stopped = after_ending(2, &Ending::Stopped, true, 0);
        assert_eq!((panicked, failed, stopped), (Exit::Panicked, Exit::Failed, Exit::Good));
        assert_eq!(worse(worse(stopped, failed), panicked), Exit::Panicked);
        assert_eq!(worse(Exit::Panicked, Exit::Good), Exit::Panicked);
        assert_eq!(after_ending(0, &Ending::Stopped, false, 0), Exit::Failed);
    }
}
