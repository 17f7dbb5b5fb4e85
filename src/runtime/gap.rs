//! Times at which the worker stood still: the process was stopped, the machine suspended, or the CPU was not to be had.
//!
//! When it goes on, every deadline that passed meanwhile would fire at once, although nobody had a chance to keep it: what
//! peers sent is still in the kernel. So after a gap all timers are moved by its length. A deadline that was computed
//! before the gap and is set again after it is not moved; callers that add up what they waited ask
//! [`Runtime::stood_still`] and take that off.

use std::time::Duration;

use base::time::Instant;

use crate::core::Core;
use crate::runtime::Runtime;

/// Shorter gaps are ordinary delays: deadlines are long enough to bear them.
const GAP_MIN: Duration = Duration::from_secs(2);

/// What a worker has counted of its gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    pub count: u64,
    /// All of them together.
    pub time: Duration,
}

impl Core {
    /// Compares the clock, just read after a wait, with when the wait should have ended at the latest.
    pub(crate) fn notice_gap(&self, expected: Instant) {
        let late = self.now().since(expected);
        if late < GAP_MIN {
            return;
        }
        let gaps = self.gaps.get();
        self.gaps.set(Gaps { count: gaps.count + 1, time: gaps.time + late });
        self.timers.borrow_mut().shift(late);
    }
}

impl Runtime {
    /// The gaps of at least two seconds that this worker has seen.
    pub fn gaps(&self) -> Gaps {
        self.core.gaps.get()
    }

    /// How long this worker has stood still in all.
    pub fn stood_still(&self) -> Duration {
        self.core.gaps.get().time
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::race;
    use crate::sim::SimOptions;

    /// Two timers of five and six seconds while the process stands still for `stopped` after the first second; when each
    /// of them fired.
    fn timers_around(stopped: Duration) -> (Duration, Duration, Gaps) {
        let (rt, net) = Runtime::simulated(SimOptions::default()).expect("a world");
        let began = rt.now();
        let (first, second) = (rt.timer(), rt.timer());
        let seconds = Duration::from_secs;
        let fired = rt.block_on(async {
            first.set(began + seconds(5));
            second.set(began + seconds(6));
            let pause = rt.timer();
            // Something is due every second, as in a worker.
            for second in 1..20 {
                pause.set(rt.now() + seconds(1));
                if race(first.wait(), &pause).await.is_some() {
                    break;
                }
                if second == 1 {
                    net.stop_process(stopped);
                }
            }
            let first = rt.now().since(began);
            second.wait().await;
            (first, rt.now().since(began))
        });
        let (first, second) = fired.expect("it ends");
        (first, second, rt.gaps())
    }

    #[test]
    fn r144_deadlines_move_by_the_time_in_which_the_process_stood_still() {
        let seconds = Duration::from_secs;
        let (first, second, gaps) = timers_around(seconds(31));
        // The wait was to end within a second anyway.
        assert!(gaps.count == 1 && (seconds(30)..=seconds(31)).contains(&gaps.time), "{gaps:?}");
        assert_eq!((first, second), (gaps.time + seconds(5), gaps.time + seconds(6)));
    }

    #[test]
    fn r144_a_short_delay_moves_nothing() {
        let (first, second, gaps) = timers_around(Duration::from_millis(2_900));
        assert_eq!((first, second, gaps), (Duration::from_secs(5), Duration::from_secs(6), Gaps::default()));
    }
}
