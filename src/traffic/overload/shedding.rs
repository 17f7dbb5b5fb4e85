//! What is shed at which level.
//!
//! There are two kinds of pressure, because what relieves one may worsen the other. *Space* is memory and descriptors: an
//! idle connection takes some of both, so it is kept for less time, and closed in the end. *Time* is how long whatever is
//! ready waits for the worker: an idle connection takes none of that, and closing one costs a handshake when its client
//! comes back. Each kind has a [`Ladder`] of its own; the steps below say which of them they look at.

use super::pressure::{Ladder, Level, Permille};
use base::Instant;
use std::time::Duration;

/// The pressure on one worker, and what follows from it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shedding {
    space: Ladder,
    time: Ladder,
}

/// Of 1000 new requests so many are refused because of time at most. A refusal costs a third of a small exchange: if most
/// requests were refused, refusing them would be all that the worker does.
pub const REFUSED_FOR_TIME_MAX: Permille = 333;
/// Idle time that is left of 1000 at the [`Level::Refuse`] rung.
const IDLE_SCALE_MIN: Permille = 100;

impl Shedding {
    /// Takes the measurements of one moment; tells the level before and after.
    pub fn observe(&mut self, now: Instant, space: Permille, time: Permille) -> (Level, Level) {
        let before = self.level();
        self.space.observe(now, space);
        self.time.observe(now, time);
        (before, self.level())
    }

    /// The higher of the two.
    pub fn level(self) -> Level {
        self.space.level().max(self.time.level())
    }

    /// Memory and descriptors.
    pub fn space(self) -> Ladder {
        self.space
    }

    /// Waiting for the worker.
    pub fn time(self) -> Ladder {
        self.time
    }

    /// How long an idle client connection is kept instead of `configured`: all of it at 70 %, a tenth from 90 % on.
    pub fn idle_timeout(self, configured: Duration) -> Duration {
        if self.space.level() < Level::Shorten {
            return configured;
        }
        let (from, to) = (Level::Shorten.threshold(), Level::Refuse.threshold());
        let above = self.space.pressure().clamp(from, to) - from;
        let scale = 1000 - (1000 - IDLE_SCALE_MIN) * above / (to - from);
        configured / 1000 * scale
    }

    /// Failed attempts may be repeated.
    pub fn repeats(self) -> bool {
        self.level() < Level::Save
    }

    /// A response ends its connection, and idle upstream connections are closed.
    pub fn closes_connections(self) -> bool {
        self.space.level() >= Level::Save
    }

    /// Exchanges that stall with much memory are reset.
    pub fn cuts_stalled(self) -> bool {
        self.space.level() >= Level::Cut
    }

    /// How much a stalled exchange must hold to be reset: a large relay buffer at first; in the end also what a head that
    /// arrives in pieces takes.
    pub fn stalled_bytes_min(self) -> usize {
        match self.space.level() {
            Level::Evict => 8 << 10,
            Level::Refuse | Level::Pause => 32 << 10,
            _ => 256 << 10,
        }
    }

    /// Of 1000 new requests, how many are refused. For space: none at 90 %, all from 95 % on. For time: a part, see
    /// [`REFUSED_FOR_TIME_MAX`].
    pub fn refused(self) -> Permille {
        let share = |ladder: Ladder, from: Level, most: Permille| {
            if ladder.level() < Level::Refuse {
                return 0;
            }
            let width = Level::Pause.threshold() - from.threshold();
            (ladder.pressure().saturating_sub(from.threshold())).min(width) * most / width
        };
        let for_space = share(self.space, Level::Refuse, 1000);
        let for_time = share(self.time, Level::Refuse, REFUSED_FOR_TIME_MAX);
        for_space.max(for_time)
    }

    /// New connections wait in the kernel's queue.
    pub fn pauses_accepting(self) -> bool {
        self.level() >= Level::Pause
    }

    /// Idle connections are closed without waiting for their timeout.
    pub fn evicts_idle(self) -> bool {
        self.space.level() >= Level::Evict
    }
}
