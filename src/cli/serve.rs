//! The life of a serving process between its start and its end: signals, workers that end, a tick for whoever watches.
//!
//! ```text
//!      SIGTERM, SIGINT, /v1/drain     the pause is over             all workers ended
//!  Serving ───────────────▶ Announced ─────────────────▶ Draining ───────────────────▶ logs flushed, exit
//!     ▲ │                       │                            │  another signal: cut what is open, exit status 1
//!     └─┼──── {"undo": true} ───┘                            │
//!       └── too many workers ended by themselves: status 1 ───┘
//!                                    or 101 when they panicked
//! ```

use crate::exit::{Exit, complain, say};
use crate::notify::{READY, STOPPING, notify};
use crate::restart::Patience;
use crate::start::Node;
use crate::workers::Ending;
use base::ids::WorkerId;
use control_plane::{Draining, ProcessOrder, ProcessOrders};
use std::io;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval_at, sleep_until};

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
    /// SIGTERM only makes it not ready for `pause` before it stops.
    pub(crate) fn serve(mut self, node: Node, pause: Duration, watch: &mut dyn Watch) -> Exit {
        let exit = self.runtime.block_on(serve(&mut self.signals, node, pause, watch));
        self.runtime.shutdown_background();
        exit
    }
}

async fn serve(signals: &mut Signals, mut node: Node, pause: Duration, watch: &mut dyn Watch) -> Exit {
    let Signals { terminate, interrupt, reopen, reload } = signals;
    let mut orders = node.control.take_orders();
    let mut serving = Serving::new(node);
    notify(READY);
    let second = Duration::from_secs(1);
    let mut ticks = interval_at((Instant::now() + second).into(), second);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while serving.running > 0 || !serving.missing.is_empty() {
        let begins = serving.begins();
        let replaces = serving.missing.iter().map(|(due, _)| *due).min();
        tokio::select! {
            Some((id, ending)) = serving.node.endings.recv() => serving.ended(id, &ending),
            () = sleep_until(replaces.unwrap_or_else(Instant::now).into()), if replaces.is_some() => {
                serving.replace_due(Instant::now());
            }
            name = stopping(terminate, interrupt) => serving.signalled(name, pause),
            order = next(&mut orders) => serving.ordered(order),
            () = sleep_until(begins.unwrap_or_else(Instant::now).into()), if begins.is_some() => serving.begin(),
            Some(()) = reopen.recv() => serving.node.control.reopen_logs(),
            Some(()) = reload.recv() => {
                if !serving.node.control.reload("SIGHUP") {
                    say("SIGHUP: too much waits already; send it again later");
                }
            }
            _ = ticks.tick(), if serving.draining == Draining::No => {
                if !watch.tick(&serving.node) {
                    serving.begin();
                }
            }
        }
    }
    let Serving { node: Node { control, workers, .. }, exit, .. } = serving;
    workers.join();
    control.stop();
    exit
}

/// What the admin API asks next.
async fn next(orders: &mut Option<ProcessOrders>) -> ProcessOrder {
    match orders {
        Some(orders) => orders.next().await,
        None => std::future::pending().await,
    }
}

/// A process that serves, and how far it is on the way to its end.
struct Serving {
    node: Node,
    /// Workers that have not ended.
    running: usize,
    /// Those that have, by when they are replaced.
    missing: Vec<(Instant, WorkerId)>,
    patience: Patience,
    draining: Draining,
    /// The worst that has happened.
    exit: Exit,
}

impl Serving {
    fn new(node: Node) -> Serving {
        Serving {
            running: node.workers.count(),
            missing: Vec::new(),
            patience: Patience::new(Instant::now()),
            draining: Draining::No,
            exit: Exit::Good,
            node,
        }
    }

    /// When the pause before a drain is over.
    fn begins(&self) -> Option<Instant> {
        match self.draining {
            Draining::Announced { until } => Some(until),
            Draining::No | Draining::Begun => None,
        }
    }

    fn ended(&mut self, id: WorkerId, ending: &Ending) {
        self.running -= 1;
        let is_draining = self.draining == Draining::Begun;
        let now = Instant::now();
        if !is_draining && let Some(pause) = self.patience.another(now) {
            let why = match ending {
                Ending::Stopped => "unasked".to_owned(),
                Ending::Failed(reason) => format!("because it cannot go on: {reason}"),
                Ending::Panicked(message) => format!("on an internal error: {message}"),
            };
            say(format_args!(
                "worker {} stopped {why}; its connections are lost, another one takes its place in {} ms",
                id.0,
                pause.as_millis()
            ));
            self.missing.push((now + pause, id));
            return self.replace_due(now);
        }
        if !is_draining {
            say("too many workers have stopped within a minute: giving up");
        }
        self.exit = worse(self.exit, after_ending(id.0, ending, is_draining, self.running));
        self.begin();
    }

    /// Replaces the workers whose pause is over.
    fn replace_due(&mut self, now: Instant) {
        while let Some(place) = self.missing.iter().position(|(due, _)| *due <= now) {
            let (_, id) = self.missing.swap_remove(place);
            match self.node.replace(id) {
                Ok(()) => self.running += 1,
                Err(error) => {
                    say(format_args!("no worker {} could be started: {error}", id.0));
                    match self.patience.another(now) {
                        Some(pause) => self.missing.push((now + pause.max(RETRY_AFTER), id)),
                        None => {
                            self.exit = worse(self.exit, Exit::Failed);
                            self.begin();
                        }
                    }
                }
            }
        }
    }

    fn signalled(&mut self, name: &str, pause: Duration) {
        match self.draining {
            Draining::Begun => {
                say(format_args!("{name} again: cutting what is open"));
                self.exit = worse(self.exit, Exit::Failed);
                self.node.workers.stop_now();
            }
            Draining::No if !pause.is_zero() => {
                say(format_args!(
                    "{name}: not ready any more, listening for another {} s; once more to stop listening now",
                    pause.as_secs()
                ));
                self.announce(pause);
            }
            Draining::No | Draining::Announced { .. } => {
                say(format_args!("{name}: finishing what was accepted; once more to end at once"));
                self.begin();
            }
        }
    }

    fn ordered(&mut self, order: ProcessOrder) {
        // Whoever asked may have gone away.
        match order {
            ProcessOrder::Drain { pause, by, answer } => {
                let done = if self.draining == Draining::Begun {
                    Err("it drains already".to_owned())
                } else {
                    say(format_args!("drain after {} s, asked by {by}", pause.as_secs()));
                    if pause.is_zero() {
                        self.begin()
                    } else {
                        self.announce(pause)
                    }
                    Ok(())
                };
                let _ = answer.send(done);
            }
            ProcessOrder::Resume { by, answer } => {
                let done = match self.draining {
                    Draining::No => Err("there is no drain to undo".to_owned()),
                    Draining::Begun => Err("it is too late: listening has ended".to_owned()),
                    Draining::Announced { .. } => {
                        say(format_args!("goes on instead of draining, asked by {by}"));
                        self.set(Draining::No);
                        Ok(())
                    }
                };
                let _ = answer.send(done);
            }
        }
    }

    fn announce(&mut self, pause: Duration) {
        self.set(Draining::Announced { until: Instant::now() + pause });
    }

    /// Nothing new is accepted from here on.
    fn begin(&mut self) {
        if self.draining != Draining::Begun {
            self.set(Draining::Begun);
            notify(STOPPING);
            // Those who wait in the queue of a worker that is missing were accepted by the kernel.
            for (_, id) in std::mem::take(&mut self.missing) {
                self.running += usize::from(self.node.replace(id).is_ok());
            }
            self.node.shelf.clear();
            self.node.workers.stop_gracefully();
        }
    }

    fn set(&mut self, draining: Draining) {
        self.draining = draining;
        self.node.control.set_draining(draining);
    }
}

/// A worker that could not be started is tried again no sooner.
const RETRY_AFTER: Duration = Duration::from_millis(100);

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
        Ending::Panicked(message) => complain(
            Exit::Panicked,
            format_args!("worker {id} stopped on an internal error: {message}"),
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
        let panicked = after_ending(0, &Ending::Panicked("x".into()), false, 1);
        let failed = after_ending(1, &Ending::Failed("no memory".into()), true, 0);
        let stopped = after_ending(2, &Ending::Stopped, true, 0);
        assert_eq!((panicked, failed, stopped), (Exit::Panicked, Exit::Failed, Exit::Good));
        assert_eq!(worse(worse(stopped, failed), panicked), Exit::Panicked);
        assert_eq!(worse(Exit::Panicked, Exit::Good), Exit::Panicked);
        assert_eq!(after_ending(0, &Ending::Stopped, false, 0), Exit::Failed);
    }
}
