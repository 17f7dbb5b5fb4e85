//! Faults of whole endpoints: when one refuses connections, when one is stopped. The schedule follows from the seed
//! and counts requests, not time.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::plan::{Plan, Purpose, number};
use crate::stage::Endpoints;
use crate::talk::linger;

/// A fault that begins when so many requests have been begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) at: u32,
    pub(crate) ms: u64,
    /// One of the endpoints of this process refuses; None stops those that are processes.
    pub(crate) refuses: Option<usize>,
}

/// From the end of one window to the beginning of the next, in requests.
const APART: u32 = 600;

/// The windows of a run.
pub(crate) fn windows(plan: Plan, requests: u32, endpoints: usize) -> Vec<Window> {
    let mut dice = plan.dice(Purpose::Windows, 0);
    let mut windows = Vec::new();
    let mut at = APART;
    while at < requests && plan.faults > 0 {
        let stops = dice.one_in(4);
        let refuses = (!stops).then(|| dice.index(endpoints));
        let ms = if stops { 200 + dice.below(1200) } else { 10 + dice.below(80) };
        windows.push(Window { at, ms, refuses });
        at += APART + number(&mut dice, APART);
    }
    windows
}

/// Carries the windows out until `begun` has reached `total`.
pub(crate) fn direct(windows: &[Window], begun: &AtomicU32, total: u32, endpoints: &Endpoints) {
    let Endpoints { here, processes } = endpoints;
    for window in windows {
        while begun.load(Ordering::Relaxed) < window.at.min(total) {
            linger(Duration::from_millis(2));
        }
        match window.refuses {
            Some(index) => {
                here[index].refuse(true);
                linger(Duration::from_millis(window.ms));
                here[index].refuse(false);
            }
            None => {
                processes.iter().for_each(|process| process.signal("STOP"));
                linger(Duration::from_millis(window.ms));
                processes.iter().for_each(|process| process.signal("CONT"));
            }
        }
    }
}
