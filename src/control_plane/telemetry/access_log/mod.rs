//! The access log: one thread that takes the records of all workers and writes lines.
//!
//! Workers never wait for it. Each pushes encoded [`Record`]s into its own ring and counts those that do not fit; this
//! thread looks into the rings every 50 ms, or sooner when they fill up fast. While the log cannot be written (full
//! disk, broken mount, stopped reader) it makes room by dropping the oldest records, counts them, and carries on by
//! itself when writing works again.

mod cursor;
mod escape;
mod line;
mod redact;
mod sink;
#[cfg(test)]
mod tests;
mod time;

use crate::notice::notice;
use base::spsc::Consumer;
use config::model::{AccessLog as LogConfig, AccessLogFormat, AccessLogTarget};
pub use line::Formatter;
use sink::{Event, Sink, Target};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};
use traffic::record::Record;

/// The running log; dropping it without [`AccessLog::stop`] leaves the thread to the end of the process.
#[derive(Debug)]
pub(crate) struct AccessLog {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

/// What the writer tells and is told, for anybody to hold.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Records dropped here because the log could not be written; those that found a full ring are counted by workers.
    dropped: AtomicU64,
    /// Records that became lines.
    lines: AtomicU64,
    /// The last attempt to write failed.
    in_trouble: AtomicBool,
    reopen: AtomicBool,
    stop: AtomicBool,
    /// The writer has written what it could and is gone, or about to be.
    finished: AtomicBool,
}

impl Shared {
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(crate) fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    pub(crate) fn is_in_trouble(&self) -> bool {
        self.in_trouble.load(Ordering::Relaxed)
    }
}

impl AccessLog {
    /// Opens the log and starts its thread; `None` when the log is off.
    pub(crate) fn start(config: &LogConfig, rings: Vec<Consumer>) -> io::Result<Option<AccessLog>> {
        let target = match &config.target {
            AccessLogTarget::Off => return Ok(None),
            AccessLogTarget::Stdout => Target::Stdout,
            AccessLogTarget::File(path) => Target::File(path.clone()),
        };
        let sink = Sink::open(target).map_err(|error| match &config.target {
            AccessLogTarget::File(path) => io::Error::new(
                error.kind(),
                format!("cannot open the access log {}: {error}", path.display()),
            ),
            _ => error,
        })?;
        let formatter = match config.format {
            AccessLogFormat::Json => Formatter::json(),
            AccessLogFormat::Combined => Formatter::combined(),
        };
        let shared = Arc::new(Shared::default());
        let mut writer = Writer { rings, formatter, sink, shared: Arc::clone(&shared) };
        let thread = thread::Builder::new().name("access-log".into()).spawn(move || writer.run())?;
        Ok(Some(AccessLog { shared, thread }))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// A handle that asks for the file to be opened anew.
    pub(crate) fn reopener(&self) -> Reopener {
        Reopener { shared: Arc::clone(&self.shared), thread: self.thread.thread().clone() }
    }

    /// Writes what is in the rings and ends the thread. Waits at most two seconds: a reader of our output that has
    /// stopped must not keep the process alive.
    pub(crate) fn stop(self) {
        self.shared.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        let deadline = Instant::now() + STOP_WAIT;
        while !self.shared.finished.load(Ordering::Acquire) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                notice(format_args!("access log: gave up writing the last lines"));
                return;
            }
            thread::park_timeout(left.min(Duration::from_millis(5)));
        }
        // A panic of the writer has been printed by its thread; there is nothing to add.
        let _ = self.thread.join();
    }
}

/// Asks the writer to open its file anew; may be kept by a signal handler's thread.
#[derive(Clone, Debug)]
pub(crate) struct Reopener {
    shared: Arc<Shared>,
    thread: Thread,
}

impl Reopener {
    pub(crate) fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

struct Writer {
    rings: Vec<Consumer>,
    formatter: Formatter,
    sink: Sink,
    shared: Arc<Shared>,
}

/// Sets `finished` however the writer ends.
struct Finished<'a>(&'a Shared);

impl Drop for Finished<'_> {
    fn drop(&mut self) {
        self.0.finished.store(true, Ordering::Release);
    }
}

impl Writer {
    fn run(&mut self) {
        let shared = Arc::clone(&self.shared);
        let _finished = Finished(&shared);
        loop {
            // Asked before the rings are emptied: what was logged before the request is in the old file.
            let stop = shared.stop.load(Ordering::Acquire);
            let reopen = shared.reopen.swap(false, Ordering::AcqRel);
            if stop {
                self.sink.end_pause();
            }
            let filled = self.turn();
            if reopen {
                self.sink.reopen(Instant::now(), &mut report);
            }
            shared.in_trouble.store(self.sink.is_in_trouble(), Ordering::Relaxed);
            if stop {
                let lost = self.sink.waiting_bytes();
                if lost > 0 {
                    notice(format_args!("access log: {lost} bytes of lines could not be written"));
                }
                return;
            }
            thread::park_timeout(pause(filled));
        }
    }

    /// Empties the rings into the log, as far as it takes lines. Returns the share of the fullest ring that was filled
    /// when the turn began.
    fn turn(&mut self) -> f64 {
        let mut fullest = 0.0f64;
        for ring in 0..self.rings.len() {
            fullest = fullest.max(share_filled(&self.rings[ring]));
            // What is in the ring now, and no more: a worker that logs faster than we write must not keep the others
            // from their turn.
            let mut left = self.rings[ring].filled_bytes();
            while left > 0 && self.sink.has_room() {
                left = left.saturating_sub(self.collect(ring));
                if !self.sink.has_room() {
                    self.sink.flush(Instant::now(), &mut report);
                }
            }
        }
        self.sink.flush(Instant::now(), &mut report);
        if self.sink.is_in_trouble() {
            self.make_room();
        }
        fullest
    }

    /// Turns records of one ring into lines until a batch is full. Returns the bytes that it took from the ring.
    fn collect(&mut self, ring: usize) -> usize {
        let (mut lines, mut taken) = (0, 0);
        let (sink, formatter) = (&mut self.sink, &mut self.formatter);
        self.rings[ring].drain_while(|bytes| {
            taken += stored_bytes(bytes);
            if let Ok(record) = Record::decode(bytes) {
                formatter.line(&record, sink.lines());
                lines += 1;
            }
            sink.has_room()
        });
        self.shared.lines.fetch_add(lines, Ordering::Relaxed);
        taken
    }

    /// Drops the oldest records of rings that are more than half full, so that the newest find room.
    fn make_room(&mut self) {
        for ring in &mut self.rings {
            let excess = ring.filled_bytes().saturating_sub(ring.capacity_bytes() / 2);
            let mut freed = 0;
            if excess > 0 {
                let dropped = ring.drain_while(|record| {
                    freed += stored_bytes(record);
                    freed < excess
                });
                self.shared.dropped.fetch_add(dropped as u64, Ordering::Relaxed);
            }
        }
    }
}

/// What a record takes in its ring.
fn stored_bytes(record: &[u8]) -> usize {
    record.len().next_multiple_of(8) + 8
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no precision")]
fn share_filled(ring: &Consumer) -> f64 {
    ring.filled_bytes() as f64 / ring.capacity_bytes() as f64
}

/// How long to wait until the next look: 50 ms when little came, less when a ring would be half full by then.
fn pause(filled: f64) -> Duration {
    if filled < 1.0 / 16.0 {
        PAUSE_MAX
    } else if filled < 1.0 / 4.0 {
        Duration::from_millis(10)
    } else {
        Duration::from_millis(1)
    }
}

fn report(event: Event<'_>) {
    match event {
        Event::Failed(target, error) => notice(format_args!(
            "access log: cannot write {target}: {error}; retrying, and dropping lines when the rings are full"
        )),
        Event::Recovered(target) => notice(format_args!("access log: writing {target} works again")),
    }
}

const PAUSE_MAX: Duration = Duration::from_millis(50);
const STOP_WAIT: Duration = Duration::from_secs(2);
