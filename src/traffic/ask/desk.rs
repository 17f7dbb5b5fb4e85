//! Where the questions of one policy wait, from all workers, for whoever answers them.

use super::slip::{Asked, Pending, Slip};
use super::{Question, Unanswered};
use crate::admission::{Breaker, BreakerRules, Pass};
use base::Instant;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The bounds of a desk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeskRules {
    /// Questions that wait or are worked on at the same time.
    pub waiting_max: u32,
    /// How long a request waits for an answer.
    pub timeout: Duration,
    /// When to stop asking; `None` never does.
    pub breaker: Option<BreakerRules>,
}

/// See the module. Survives generations.
#[derive(Debug)]
pub struct Desk {
    /// `SCHEME:POLICY`.
    pub name: Box<str>,
    pub rules: DeskRules,
    queue: Mutex<Queue>,
    /// Questions whose askers have not left.
    waiting: AtomicU32,
    /// Nanoseconds of the workers' clock before which nothing new can be learnt here.
    closed_until: AtomicU64,
    breaker: Breaker,
    pub counts: DeskCounts,
}

#[derive(Debug, Default)]
struct Queue {
    slips: VecDeque<(Question, Arc<Slip>)>,
    clerk: Option<Waker>,
}

/// What became of questions, over all workers and generations.
#[derive(Debug, Default)]
pub struct DeskCounts {
    pub answered: AtomicU64,
    pub failed: AtomicU64,
    pub timeout: AtomicU64,
    pub full: AtomicU64,
    pub open: AtomicU64,
    /// The client went away first.
    pub left: AtomicU64,
    /// Requests that went on without an answer, because their policy says so.
    pub allowed: AtomicU64,
    /// Requests that went on with an older answer.
    pub stale: AtomicU64,
}

impl DeskCounts {
    /// By the name that metrics have for it.
    pub fn read(&self) -> [(&'static str, u64); 8] {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("answered", load(&self.answered)),
            ("failed", load(&self.failed)),
            ("timeout", load(&self.timeout)),
            ("full", load(&self.full)),
            ("open", load(&self.open)),
            ("left", load(&self.left)),
            ("allowed", load(&self.allowed)),
            ("stale", load(&self.stale)),
        ]
    }

    fn of(&self, why: Unanswered) -> &AtomicU64 {
        match why {
            Unanswered::Full => &self.full,
            Unanswered::Open => &self.open,
            Unanswered::Timeout => &self.timeout,
            Unanswered::Failed => &self.failed,
        }
    }
}

/// A question that was let on the desk, as far as the breaker is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Ticket(pub(super) Option<Pass>);

impl Desk {
    pub fn new(name: impl Into<Box<str>>, rules: DeskRules) -> Desk {
        Desk {
            name: name.into(),
            rules,
            queue: Mutex::default(),
            waiting: AtomicU32::new(0),
            closed_until: AtomicU64::new(0),
            breaker: Breaker::default(),
            counts: DeskCounts::default(),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something new can be learnt here now, or so soon that it is worth waiting for.
    pub fn is_open(&self, now: Instant) -> bool {
        (now + self.rules.timeout / 2).as_nanos() >= self.closed_until.load(Ordering::Acquire)
    }

    /// Nothing new can be learnt before `until`.
    pub fn close_until(&self, until: Instant) {
        self.closed_until.store(until.as_nanos(), Ordering::Release);
    }

    /// Questions that wait or are worked on.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Puts a question on the desk. What is returned with it goes to [`Desk::settle`] with what came of it.
    ///
    /// # Errors
    /// When there is no room or no sense in asking; that is counted here.
    pub fn ask(self: &Arc<Self>, question: Question, now: Instant) -> Result<(Pending, Ticket), Unanswered> {
        let refuse = |why: Unanswered| {
            self.counts.of(why).fetch_add(1, Ordering::Relaxed);
            Err(why)
        };
        let max = self.rules.waiting_max;
        let room = |waiting: u32| (waiting < max).then_some(waiting + 1);
        if self.waiting.fetch_update(Ordering::AcqRel, Ordering::Relaxed, room).is_err() {
            return refuse(Unanswered::Full);
        }
        let pass = match &self.rules.breaker {
            None => None,
            Some(rules) => match self.breaker.admit(rules, now) {
                Some(pass) => Some(pass),
                None => {
                    self.left();
                    return refuse(Unanswered::Open);
                }
            },
        };
        let slip = Arc::new(Slip::default());
        let mut queue = self.queue();
        // Those who left may lie here for as long as nobody takes anything.
        if queue.slips.len() >= max as usize {
            queue.slips.retain(|(_, slip)| !slip.is_left());
        }
        queue.slips.push_back((question, Arc::clone(&slip)));
        let clerk = queue.clerk.take();
        drop(queue);
        if let Some(clerk) = clerk {
            clerk.wake();
        }
        Ok((Pending::new(Arc::clone(self), slip), Ticket(pass)))
    }

    /// Counts what came of a question: `None` when its asker left before the answer.
    pub fn settle(&self, asked: Ticket, outcome: Option<Result<(), Unanswered>>, now: Instant) {
        let (counter, failed) = match outcome {
            None => (&self.counts.left, None),
            Some(Ok(())) => (&self.counts.answered, Some(false)),
            Some(Err(why)) => (self.counts.of(why), Some(true)),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Some((rules, pass)) = self.rules.breaker.as_ref().zip(asked.0) {
            self.breaker.observe(rules, pass, failed, now);
        }
    }

    pub(super) fn left(&self) {
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }

    /// The oldest question whose asker still waits, if there is one.
    pub fn take(&self) -> Option<Asked> {
        Self::oldest(&mut self.queue())
    }

    fn oldest(queue: &mut Queue) -> Option<Asked> {
        loop {
            let (question, slip) = queue.slips.pop_front()?;
            if !slip.is_left() {
                return Some(Asked::new(question, slip));
            }
        }
    }

    /// Waits for the next question. One at a time may wait here.
    pub async fn next(&self) -> Asked {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&self, cx: &Context<'_>) -> Poll<Asked> {
        let mut queue = self.queue();
        match Self::oldest(&mut queue) {
            Some(asked) => Poll::Ready(asked),
            None => {
                queue.clerk = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
