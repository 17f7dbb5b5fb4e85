//! From measurements to a level: how much pressure there is, and which rung of the ladder that is.
//!
//! ```text
//!   permille  0 ───── 700 ────── 800 ─── 850 ── 900 ──── 950 ─── 980 ──▶
//!   level     calm    shorten    save    cut    refuse   pause   evict
//! ```
//!
//! A rung is taken at once, and left after the pressure has been five points below it for a second: pressure that wavers
//! around a rung does not make the node waver. Every rung includes those below it.

use base::Instant;
use std::time::Duration;

/// Pressure in thousandths: 1000 is the limit itself, and it may be exceeded.
pub type Permille = u32;

/// A rung of the ladder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// Nothing is shed.
    #[default]
    Calm = 0,
    /// Idle client connections are kept for less time.
    Shorten = 1,
    /// Attempts are not repeated; connections are not kept.
    Save = 2,
    /// Exchanges that stall with the most memory are reset.
    Cut = 3,
    /// New requests are answered 503.
    Refuse = 4,
    /// New connections wait in the kernel's queue.
    Pause = 5,
    /// Idle connections are closed, the oldest first.
    Evict = 6,
}

impl Level {
    /// All of them, from the bottom.
    pub const ALL: [Level; 7] =
        [Level::Calm, Level::Shorten, Level::Save, Level::Cut, Level::Refuse, Level::Pause, Level::Evict];

    /// The pressure at which it begins.
    pub const fn threshold(self) -> Permille {
        match self {
            Level::Calm => 0,
            Level::Shorten => 700,
            Level::Save => 800,
            Level::Cut => 850,
            Level::Refuse => 900,
            Level::Pause => 950,
            Level::Evict => 980,
        }
    }

    /// The highest rung that a pressure reaches.
    pub fn of(pressure: Permille) -> Level {
        let reached = |level: &Level| pressure >= level.threshold();
        Level::ALL.into_iter().rev().find(reached).unwrap_or(Level::Calm)
    }

    /// As status, metrics and log lines name it.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Calm => "calm",
            Level::Shorten => "shorten",
            Level::Save => "save",
            Level::Cut => "cut",
            Level::Refuse => "refuse",
            Level::Pause => "pause",
            Level::Evict => "evict",
        }
    }

    /// The level of a number that a gauge holds; beyond the last one it is the last one.
    pub fn from_number(number: u64) -> Level {
        usize::try_from(number).ok().and_then(|at| Level::ALL.get(at)).copied().unwrap_or(Level::Evict)
    }
}

/// How far below a rung the pressure must fall before the rung is left.
pub const HYSTERESIS: Permille = 50;
/// For how long it must have been there.
pub const HOLD: Duration = Duration::from_secs(1);

/// Where on the ladder one kind of pressure is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ladder {
    level: Level,
    pressure: Permille,
    /// By level: when the pressure was last high enough to stay on that rung; `None` when it is not taken. Each rung
    /// decides for itself, so that more pressure never leads to a lower level.
    held: [Option<Instant>; Level::ALL.len()],
}

impl Ladder {
    /// Takes a measurement; the level that follows from it.
    pub fn observe(&mut self, now: Instant, pressure: Permille) -> Level {
        self.pressure = pressure;
        self.level = Level::Calm;
        for (held, level) in self.held.iter_mut().zip(Level::ALL) {
            if pressure >= level.threshold() || held.is_some() && pressure + HYSTERESIS >= level.threshold() {
                *held = Some(now);
            } else if held.is_some_and(|held| now.since(held) >= HOLD) {
                *held = None;
            }
            if held.is_some() {
                self.level = level;
            }
        }
        self.level
    }

    pub fn level(self) -> Level {
        self.level
    }

    /// The last measurement.
    pub fn pressure(self) -> Permille {
        self.pressure
    }
}

/// What is measured is cut off here, so that sums of pressures do not overflow.
const PRESSURE_MAX: Permille = 1_000_000;

/// `used` of `limit` in thousandths; a limit of 0 or `u64::MAX` is none.
pub fn permille(used: u64, limit: u64) -> Permille {
    if limit == 0 || limit == u64::MAX {
        return 0;
    }
    u32::try_from(u128::from(used) * 1000 / u128::from(limit)).map_or(PRESSURE_MAX, |p| p.min(PRESSURE_MAX))
}
